"""Long operations in the process of the page: their progress, their results, their end."""
