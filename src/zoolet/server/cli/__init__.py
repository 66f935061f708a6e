"""``zoolet server``: the commands that start, stop and look at a server."""
