"""Backbone families, one file each: how their checkpoints become a `Backbone`."""
