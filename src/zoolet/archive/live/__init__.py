"""Work on running servers, with a client: restores and mirrors use it."""
