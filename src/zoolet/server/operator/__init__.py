"""This package answers operators: four-letter words, the admin endpoint, metrics and backups."""
