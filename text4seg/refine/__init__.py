"""Coarse label grid + picture -> mask at the picture's size."""
