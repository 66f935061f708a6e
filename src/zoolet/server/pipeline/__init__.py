"""The path of a request: connection, processor, group commit, and the reply to the connection."""
