"""Functions of users that are called when jobs are submitted, start and end."""
