"""Errors that stop the server, and errors that only close one connection."""

import asyncio


class ServerError(Exception):
    """The server cannot start or cannot continue; the message has the reason and the remedy."""


class ConfigError(Exception):
    """zoo.cfg cannot be used; the message has the file, the line, the key and the remedy."""


class AuditError(Exception):
    """The audit log cannot be written, and the server must stop; the message says what to do."""


HARMLESS_IN_CALLBACKS = (OSError, EOFError, asyncio.CancelledError, asyncio.TimeoutError)
"""Exceptions from callbacks of the event loop that affect one connection only.

They are caused by broken connections, failed TLS handshakes (``ssl.SSLError`` is an OSError) and
time-outs. Any other exception in a callback stops the server.
"""
