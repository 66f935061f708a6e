"""The worker: it takes jobs, gives them to executors, and records their outcomes."""
