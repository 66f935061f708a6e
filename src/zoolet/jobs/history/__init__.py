"""Long-term history: the attempts and times of jobs that were removed from the queue."""
