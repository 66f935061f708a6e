"""The values of the znodes of a dataset: its description, and the groups that it has.

Any program may have written these values. This module imports `zoolet.jobs.errors` and other
modules of its package.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from zoolet.jobs.errors import InvalidJobError, UnreadableJobError
from zoolet.jobs.records import job_names
from zoolet.jobs.records.batches import is_batch_name
from zoolet.jobs.records.job_values import TIME_LIMIT_MS, is_text
from zoolet.jobs.records.json_values import decode_json, plain_json

GROUPS_LIMIT: Final = 1_000_000
"""The most groups of a dataset."""
CHUNK_BYTES: Final = 256 * 1024
"""The size at which a znode with groups is full."""
TEXT_LIMIT_CHARACTERS: Final = 4096
"""The most characters of a location, and of the texts of a group."""
OPTIONS_LIMIT_BYTES: Final = 64 * 1024
_NUMBER_LIMIT: Final = 2**63
_REVISION = re.compile(r"[0-9a-f]{16}", re.ASCII)

GroupValues = tuple[str, str, int | None, int | None, dict[str, Any]]
"""A group: its id, version, rows, size in bytes, and position (`zoolet.jobs.loaders`)."""


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """The description of a dataset.

    Attributes:
        name: the dataset's name.
        loader: the name of the loader.
        location: where the data is: a file, a directory, a pattern or a URL.
        options: all options of the loader.
        revision: the id of the list of groups; each refresh writes a list with a new id.
        chunks: the number of znodes that have the groups.
        groups: the number of groups.
        rows: the number of rows in all groups; None if it is not known.
        size_bytes: the number of bytes of all groups; None if it is not known.
        created_ms: the time when the dataset was first described, in ms since the epoch.
        refreshed_ms: the time when the groups were listed, in ms since the epoch.
    """

    name: str
    loader: str
    location: str
    options: Mapping[str, Any]
    revision: str
    chunks: int
    groups: int
    rows: int | None
    size_bytes: int | None
    created_ms: int
    refreshed_ms: int

    def encode(self) -> bytes:
        """Return the znode's value."""
        value = asdict(self)
        del value["name"]
        return json.dumps(value).encode()

    @classmethod
    def decode(cls, name: str, value: bytes) -> Self:
        """Decode the value of a dataset's znode.

        Raises:
            UnreadableJobError: the value is not the description of a dataset.
        """
        try:
            found = decode_json(value)
        except ValueError as error:
            raise UnreadableJobError(
                f"the description of dataset {name} is not JSON: {error}"
            ) from None
        fields: dict[str, Any] = found if isinstance(found, dict) else {}
        for key, is_right in _FIELDS.items():
            if not is_right(fields.get(key)):
                raise UnreadableJobError(
                    f"the description of dataset {name} is invalid: {key} is"
                    f" {ascii(fields.get(key))[:80]}. Remove the dataset and describe it again"
                )
        checked: dict[str, Any] = {key: fields.get(key) for key in _FIELDS}
        return cls(name, **checked)


def _is_number(value: object, most: int = _NUMBER_LIMIT) -> bool:
    return type(value) is int and 0 <= value <= most


def _is_count(value: object) -> bool:
    return value is None or _is_number(value)


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and is_text(value) and len(value) <= TEXT_LIMIT_CHARACTERS


def _are_options(value: object) -> bool:
    return isinstance(value, dict) and len(json.dumps(value)) <= OPTIONS_LIMIT_BYTES


_FIELDS: Final[Mapping[str, Callable[[object], bool]]] = {
    "loader": _is_short_text,
    "location": _is_short_text,
    "options": _are_options,
    "revision": lambda value: isinstance(value, str) and _REVISION.fullmatch(value) is not None,
    "chunks": lambda value: _is_number(value, GROUPS_LIMIT),
    "groups": lambda value: _is_number(value, GROUPS_LIMIT),
    "rows": _is_count,
    "size_bytes": _is_count,
    "created_ms": lambda value: _is_number(value, TIME_LIMIT_MS),
    "refreshed_ms": lambda value: _is_number(value, TIME_LIMIT_MS),
}


def check_dataset_name(name: str) -> None:
    """Raise InvalidJobError if ``name`` is not a valid name of a dataset with a description."""
    if not is_batch_name(name):
        raise InvalidJobError(
            f"dataset {name!r} is not a name of 1 to 200 characters without /, which a znode can"
            " have"
        )
    job_names.build(0, name, "0")


def encode_groups(groups: Sequence[GroupValues]) -> list[bytes]:
    """Return the values of the znodes that have these groups, in order.

    Raises:
        InvalidJobError: there are too many groups, or a group is too large.
    """
    if len(groups) > GROUPS_LIMIT:
        raise InvalidJobError(
            f"the dataset has {len(groups)} groups; at most {GROUPS_LIMIT} are allowed: use larger"
            " groups"
        )
    chunks: list[bytes] = []
    texts: list[str] = []
    size_bytes = 0
    for group in groups:
        text = json.dumps(plain_json("a group", list(group)), separators=(",", ":"))
        if len(text) > CHUNK_BYTES:
            raise InvalidJobError(f"the group {group[0]} needs {len(text)} bytes of JSON")
        if size_bytes + len(text) > CHUNK_BYTES:
            chunks.append(f"[{','.join(texts)}]".encode())
            texts, size_bytes = [], 0
        texts.append(text)
        size_bytes += len(text) + 1
    return [*chunks, f"[{','.join(texts)}]".encode()] if texts else chunks


def decode_groups(name: str, value: bytes) -> list[GroupValues]:
    """Decode the groups in a znode of the dataset of this name.

    Raises:
        UnreadableJobError: the value is not a list of groups.
    """
    try:
        found = decode_json(value)
    except ValueError:
        found = None
    if isinstance(found, list) and all(map(_is_group, found)):
        return [(*group[:4], group[4]) for group in found]
    raise UnreadableJobError(
        f"the groups of dataset {name} are invalid: refresh the dataset, or remove it"
    )


def _is_group(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 5
        and _is_short_text(value[0])
        and bool(value[0])
        and _is_short_text(value[1])
        and _is_count(value[2])
        and _is_count(value[3])
        and isinstance(value[4], dict)
    )
