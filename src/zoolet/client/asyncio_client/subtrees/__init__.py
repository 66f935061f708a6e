"""Work on whole subtrees: walk, delete, copy, move, export, import."""
