"""What a read-out finds in activations, and what its score is worth."""
