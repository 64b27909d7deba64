"""Text4Seg: a multimodal language model segments by writing run-length coded label grids (arXiv 2410.09855)."""

__version__ = "0.1.0"
