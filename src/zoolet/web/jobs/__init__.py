"""Queues of jobs as the pages read them: with the visitor's client, bounded, never all jobs."""
