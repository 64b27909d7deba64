"""Procedural pictures of coloured shapes, with expressions that are true by construction."""
