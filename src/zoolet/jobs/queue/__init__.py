"""`JobQueue`, and the moves of jobs between places: take, start, end, retry."""
