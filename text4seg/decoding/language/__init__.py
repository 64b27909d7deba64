"""The language of descriptors: what may be written next, in whichever vocabulary."""
