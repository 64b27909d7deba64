"""Batch of prompts -> descriptor texts."""
