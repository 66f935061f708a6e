"""Changes as they happen: streams to browsers, and the watches that feed them."""
