"""Errors that stop the server."""


class ServerError(Exception):
    """The server cannot start or cannot continue; the message has the reason and the remedy."""


class ConfigError(Exception):
    """zoo.cfg cannot be used; the message has the file, the line, the key and the remedy."""


class AuditError(Exception):
    """The audit log cannot be written, and the server must stop; the message says what to do."""
