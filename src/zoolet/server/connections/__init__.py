"""A client's connection: frames in, replies out, and replies that wait for a sync to disk."""
