"""What a request goes through: connection, processor, group commit, and back."""
