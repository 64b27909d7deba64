"""WebDataset shards of samples: written atomically, readable with plain tar, described by an index."""
