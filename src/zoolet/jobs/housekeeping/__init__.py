"""What one worker does for all of a queue: it releases deferred jobs and removes ended ones."""
