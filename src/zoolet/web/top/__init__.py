"""The busiest clients and paths for the web page: who is asked, and what all users share."""
