"""What a queue is made of, as values: jobs, their names, settings. They talk to no server."""
