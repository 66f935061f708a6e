"""The receiving side of a connection: keeps the bytes of incomplete frames."""

from typing import TYPE_CHECKING

from mypy_extensions import i64

from zoolet.server.connections.arriving import PartialFrame, wanted_bytes
from zoolet.server.connections.sending import SendingSide
from zoolet.server.operator.four_letter_words import WORD_BYTES, WORDS

if TYPE_CHECKING:
    from zoolet.state_machine.sessions import Session


class ReceivingSide(SendingSide):
    """The receiving side of a connection.

    Attributes:
        session: the client's session; None until the client has opened or resumed a session.
    """

    def __init__(self) -> None:
        super().__init__()
        self.session: Session | None = None
        self._unread = b""
        # Most clients are idle most of the time, so this object is created only when needed.
        self._partial: PartialFrame | None = None

    def _begins_with_word(self, data: bytes) -> bool:
        """Return whether the data is a four-letter word and not a frame."""
        return self.session is None and data[:WORD_BYTES] in WORDS

    def _keep(self, data: bytes) -> bool:
        """Keep bytes that have arrived; return whether they may contain a whole frame."""
        partial = self._partial
        if partial is not None:
            whole = partial.add(data)
            if whole is None:
                return False
            self._unread, self._partial = whole, None
            return True
        unread = self._unread
        if not unread:
            self._unread = data
            return True
        wanted: i64 = WORD_BYTES if self._begins_with_word(unread) else wanted_bytes(unread)
        if len(unread) + len(data) < wanted:
            self._partial = PartialFrame(unread, data, wanted)
            self._unread = b""
            return False
        self._unread = unread + data
        return True
