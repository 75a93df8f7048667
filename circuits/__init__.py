"""Which parts of the model do the work."""
