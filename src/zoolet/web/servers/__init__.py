"""What the page knows of servers: four-letter words, samples of figures, sessions, quotas."""
