"""The small objects of an archive: JSON objects that describe the archive, owners and timelines."""

import json
from enum import Enum
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
"""The version of the format of archives."""


class MalformedRecordError(ValueError):
    """The content of an object is not the JSON object that its name says."""


class Identity(NamedTuple):
    """The identity of an archive.

    Attributes:
        id: a random id.
        created_ms: the time of the creation, in ms since the epoch.
        key_id: the id of the key that encrypts the other objects; None without encryption.
    """

    id: str
    created_ms: int
    key_id: str | None

    def encode(self) -> bytes:
        """Return the content of the object."""
        return _encode({"format": FORMAT, **self._asdict()})

    @classmethod
    def decode(cls, content: bytes) -> "Identity":
        """Return the value of a content; raises MalformedRecordError."""
        fields = _Fields(content)
        if (version := fields.number("format")) != FORMAT:
            raise MalformedRecordError(f"format {version} of archives is not supported")
        return cls(fields.text("id"), fields.number("created_ms"), fields.optional_text("key_id"))


class Owner(NamedTuple):
    """The archiver that writes, or wrote, into the archive.

    Attributes:
        id: a random id of the process.
        host: the name of its machine.
        machine: the boot of this machine, and the name space of process ids; "" if not known.
        pid: its process id.
        began_ms: when it began, in ms since the epoch.
        seen_ms: when it wrote this object.
        ended: whether it stopped cleanly.
        timeline: the number of the newest timeline; 0 if there is none.
        last_zxid: the last archived zxid of this timeline.
    """

    id: str
    host: str
    machine: str
    pid: int
    began_ms: int
    seen_ms: int
    ended: bool = False
    timeline: int = 0
    last_zxid: int = 0

    def encode(self) -> bytes:
        """Return the content of the object."""
        return _encode(self._asdict())

    @classmethod
    def decode(cls, content: bytes) -> "Owner":
        """Return the value of a content; raises MalformedRecordError."""
        fields = _Fields(content)
        return cls(
            fields.text("id"),
            fields.text("host"),
            fields.text("machine"),
            fields.number("pid"),
            fields.number("began_ms"),
            fields.number("seen_ms"),
            fields.flag("ended"),
            fields.number("timeline"),
            fields.number("last_zxid"),
        )


class Reason(Enum):
    """Why a timeline began."""

    START = "start"
    SNAPSHOT = "snapshot"
    TRUNCATED = "truncated"
    MISSING_LOGS = "missing-logs"


class Previous(NamedTuple):
    """The timeline before a timeline, and where it ended."""

    number: int
    last_zxid: int
    last_ms: int


class Timeline(NamedTuple):
    """An unbroken sequence of txns.

    Attributes:
        base_zxid: the zxid of its first snapshot; its txns follow this zxid.
        reason: why it began.
        previous: the timeline before it; None for the first timeline.
        time_ms: the time of its first snapshot, in ms since the epoch.
        txns_after: its txns after this zxid are in the archive; retention has removed older txns.
    """

    base_zxid: int
    reason: Reason
    previous: Previous | None
    time_ms: int
    txns_after: int

    def encode(self) -> bytes:
        """Return the content of the object."""
        previous = None if self.previous is None else self.previous._asdict()
        fields = {**self._asdict(), "reason": self.reason.value, "previous": previous}
        return _encode(fields)

    @classmethod
    def decode(cls, content: bytes) -> "Timeline":
        """Return the value of a content; raises MalformedRecordError."""
        fields = _Fields(content)
        previous = fields.optional_object("previous")
        try:
            reason = Reason(fields.text("reason"))
        except ValueError as error:
            raise MalformedRecordError(str(error)) from error
        return cls(
            fields.number("base_zxid"),
            reason,
            None
            if previous is None
            else Previous(
                previous.number("number"), previous.number("last_zxid"), previous.number("last_ms")
            ),
            fields.number("time_ms"),
            fields.number("txns_after"),
        )


def _encode(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, sort_keys=True).encode()


class _Fields:
    """The fields of a JSON object; each method raises MalformedRecordError for another type."""

    def __init__(self, content: bytes | dict[str, Any]) -> None:
        if isinstance(content, bytes):
            try:
                content = json.loads(content)
            except (ValueError, RecursionError) as error:
                raise MalformedRecordError("the content is not JSON") from error
        if not isinstance(content, dict):
            raise MalformedRecordError("the content is not a JSON object")
        self._fields = content

    def number(self, name: str) -> int:
        value = self._fields.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise MalformedRecordError(f"the field {name} must be a whole number")
        return value

    def flag(self, name: str) -> bool:
        value = self._fields.get(name)
        if not isinstance(value, bool):
            raise MalformedRecordError(f"the field {name} must be true or false")
        return value

    def text(self, name: str) -> str:
        value = self.optional_text(name)
        if value is None:
            raise MalformedRecordError(f"the field {name} must be a text")
        return value

    def optional_text(self, name: str) -> str | None:
        value = self._fields.get(name)
        if value is not None and not isinstance(value, str):
            raise MalformedRecordError(f"the field {name} must be a text")
        return value

    def optional_object(self, name: str) -> "_Fields | None":
        value = self._fields.get(name)
        return None if value is None else _Fields(value)
