"""Passwords of people: slow hashes in files, and the question for a password."""
