"""Trained models against closed forms."""
