"""The pages of queues of jobs."""
