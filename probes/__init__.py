"""What a read-out finds in activations."""
