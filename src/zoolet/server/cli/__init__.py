"""``zoolet server``: the commands that start, stop and inspect a server."""
