"""The values of a queue's znodes: jobs, job names, settings. This package sends no requests."""
