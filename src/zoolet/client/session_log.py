"""The log of a client, ``zoolet.client``: each record has the id of the session.

The module logging takes 1 MB and 3 ms. It is imported when there is a warning or an error to log,
or when the program has imported it: another program cannot have asked for less important records.
Imports ``model`` and the client's protocol.
"""

import sys

from zoolet.client.protocol.session import ClientSession
from zoolet.model.numbers import hex64


class SessionLog:
    """The logger ``zoolet.client`` for one client.

    The text of each record begins with the session id, and its attribute ``session_id`` is the same
    text: ``0x`` and hexadecimal digits. Between two sessions, it is the id of the earlier one.
    """

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._last_id = 0

    def info(self, message: str, *arguments: object) -> None:
        """Log a record with the level INFO."""
        if "logging" in sys.modules:
            self._log("INFO", message, arguments, has_exception=False)

    def warning(self, message: str, *arguments: object) -> None:
        """Log a record with the level WARNING."""
        self._log("WARNING", message, arguments, has_exception=False)

    def exception(self, message: str, *arguments: object) -> None:
        """Log the exception that is handled now, with the level ERROR and its traceback."""
        self._log("ERROR", message, arguments, has_exception=True)

    def _log(
        self, level: str, message: str, arguments: tuple[object, ...], *, has_exception: bool
    ) -> None:
        import logging  # noqa: PLC0415 -- slow import

        self._last_id = self._session.session.id or self._last_id
        session_id = f"0x{hex64(self._last_id)}"
        logging.getLogger("zoolet.client").log(
            getattr(logging, level),
            f"session {session_id}: {message}",  # noqa: G004 -- the arguments follow
            *arguments,
            exc_info=has_exception,
            extra={"session_id": session_id},
            stacklevel=3,
        )
