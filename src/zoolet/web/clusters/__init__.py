"""The clusters that the page shows: the clients of its users, and lists of children."""
