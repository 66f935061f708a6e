"""The errors that a server can end in, or that a command about one ends in."""


class ServerError(Exception):
    """The server cannot start, or cannot go on; the message says why and what to do."""


class ConfigError(Exception):
    """zoo.cfg cannot be used; the message names file, line and key, and says what to do."""
