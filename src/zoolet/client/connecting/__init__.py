"""How a client finds and reaches its servers: addresses, options, TLS, the reason of a failure."""
