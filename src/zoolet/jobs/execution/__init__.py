"""How an attempt is made, in a thread or in a process that can be ended. It talks to no server."""
