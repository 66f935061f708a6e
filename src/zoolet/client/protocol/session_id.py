"""What identifies a session."""

from typing import Final, NamedTuple


class SessionId(NamedTuple):
    """What a program needs to continue a session: its id and its password."""

    id: int
    password: bytes


NO_SESSION: Final = SessionId(0, bytes(16))
