"""Schedules: jobs that a queue submits at times of a cron expression or of an interval."""
