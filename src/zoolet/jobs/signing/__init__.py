"""Signatures of jobs and schedules: keys in a file, and who may submit work."""
