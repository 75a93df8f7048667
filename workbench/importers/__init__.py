"""Checkpoints of other programs as run folders: one format per file."""
