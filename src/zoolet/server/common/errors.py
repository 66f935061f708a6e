"""The errors that a server can end in, and those that end one connection only."""

import asyncio


class ServerError(Exception):
    """The server cannot start, or cannot go on; the message says why and what to do."""


class ConfigError(Exception):
    """zoo.cfg cannot be used; the message names file, line and key, and says what to do."""


HARMLESS_IN_CALLBACKS = (OSError, EOFError, asyncio.CancelledError, asyncio.TimeoutError)
"""What may come out of a callback of the event loop and concerns one connection only.

Broken connections, failed TLS handshakes (``ssl.SSLError`` is an OSError), time-outs. Any other
exception in a callback ends the server.
"""
