"""The worker: it takes jobs, gives them to executors, and records what comes of them."""
