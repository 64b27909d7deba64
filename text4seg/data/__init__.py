"""Annotations -> samples -> shards -> batches."""
