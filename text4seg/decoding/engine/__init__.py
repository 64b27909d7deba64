"""Drafts are verified, many tokens a pass; the text is that of plain generation."""
