"""The log of a client: each record has the id of the session.

Imports ``model`` and the client's protocol.
"""

import logging
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

from zoolet.client.protocol.session import ClientSession
from zoolet.model.numbers import hex64

if TYPE_CHECKING:
    Adapter = logging.LoggerAdapter[logging.Logger]
else:
    Adapter = logging.LoggerAdapter


class SessionLog(Adapter):
    """The logger ``zoolet.client`` for one client.

    The text of each record begins with the session id, and its attribute ``session_id`` is the same
    text: ``0x`` and hexadecimal digits. Between two sessions, it is the id of the earlier one.
    """

    def __init__(self, session: ClientSession) -> None:
        super().__init__(logging.getLogger("zoolet.client"), {})
        self._session = session
        self._last_id = 0

    def process(
        self, msg: object, kwargs: MutableMapping[str, Any]
    ) -> tuple[object, MutableMapping[str, Any]]:
        """Add the session id to a record."""
        self._last_id = self._session.session.id or self._last_id
        session_id = f"0x{hex64(self._last_id)}"
        extra = {**(kwargs.get("extra") or {}), "session_id": session_id}
        return f"session {session_id}: {msg}", {**kwargs, "extra": extra}
