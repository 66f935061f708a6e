"""What commands do with whole subtrees: read, delete, copy."""
