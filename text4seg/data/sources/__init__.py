"""One file a data set family; each yields `Example`s."""
