"""`Dispatcher` and `Batch`: submits jobs, follows them, returns their results."""
