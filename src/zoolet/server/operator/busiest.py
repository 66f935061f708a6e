"""The busiest clients, paths and operations of the last minute, as estimates from samples.

`topk` and the admin command ``top`` show them. Each sample stands for ``weight`` requests. The
variance of a sum of weights is the sum of ``weight * (weight - 1)``, because the server looks at
each request independently (Horvitz and Thompson). So a sum of samples with the weight 1 is exact.
"""

import math
from collections.abc import Generator, Iterable
from typing import Final, TypeVar

from zoolet.model.codes import OpCode
from zoolet.model.numbers import hex64
from zoolet.server.common.samples import WINDOW_S, Sample
from zoolet.wire.requests import WRITE_OP_CODES

MOST_ROWS: Final = 50
"""Most rows of each table."""

_SAMPLES_AT_ONCE: Final = 250
_LEAST_COVERED_S: Final = 1.0
_DIGITS: Final = 2

_NAMES: Final = {OpCode.CREATE_TTL: "createTTL", OpCode.GET_ACL: "getACL", OpCode.SET_ACL: "setACL"}
"""The names of operations that do not follow from the names in ``OpCode``."""

UNKNOWN_OPERATION: Final = "unknown"

Row = dict[str, object]

K = TypeVar("K")


class _Sum:
    """The sum of the samples with the same key."""

    __slots__ = ("num_samples", "requests", "size_bytes", "variance", "writes")

    def __init__(self) -> None:
        self.num_samples = 0
        self.requests = 0
        self.writes = 0
        self.size_bytes = 0
        self.variance = 0

    def add(self, sample: Sample) -> None:
        weight = sample.weight
        self.num_samples += 1
        self.requests += weight
        if sample.op_code in WRITE_OP_CODES:
            self.writes += weight
        self.size_bytes += weight * sample.size_bytes
        self.variance += weight * (weight - 1)

    def row(self, over_s: float) -> Row:
        return {
            "requests_per_s": round(self.requests / over_s, _DIGITS),
            "error_per_s": round(math.sqrt(self.variance) / over_s, _DIGITS),
            "writes_per_s": round(self.writes / over_s, _DIGITS),
            "bytes_per_s": round(self.size_bytes / over_s, _DIGITS),
            "samples": self.num_samples,
        }


def busiest(
    samples: list[Sample], covered_s: float, gap: int
) -> Generator[None, None, dict[str, object]]:
    """Return the estimates; pause often, because there may be thousands of samples.

    Args:
        samples: the samples.
        covered_s: the time in which they were taken.
        gap: the mean number of requests for each sample, now.

    Returns:
        a JSON object. ``total`` is the sum of all requests except pings. ``clients``,
        ``addresses``, ``paths``, ``parents`` and ``operations`` have at most MOST_ROWS rows each,
        the busiest first. ``error_per_s`` is the standard error of ``requests_per_s``.
    """
    over_s = max(covered_s, _LEAST_COVERED_S)
    total = _Sum()
    clients: dict[tuple[int, str], _Sum] = {}
    addresses: dict[str, _Sum] = {}
    paths: dict[str, _Sum] = {}
    parents: dict[str, _Sum] = {}
    operations: dict[str, _Sum] = {}
    for number, sample in enumerate(samples):
        total.add(sample)
        if sample.session_id:  # an observer opens sessions later than it looks at the request
            clients.setdefault((sample.session_id, sample.address), _Sum()).add(sample)
        addresses.setdefault(sample.address, _Sum()).add(sample)
        operations.setdefault(name_of(sample.op_code), _Sum()).add(sample)
        if sample.path is not None:
            paths.setdefault(sample.path, _Sum()).add(sample)
            parents.setdefault(sample.path.rpartition("/")[0] or "/", _Sum()).add(sample)
        if number % _SAMPLES_AT_ONCE == 0:
            yield
    rows: list[Row] = []
    for (session_id, address), found in _first(clients.items()):
        rows.append({"session": f"0x{hex64(session_id)}", "address": address, **found.row(over_s)})
    yield
    return {
        "window_s": WINDOW_S,
        "covered_s": round(covered_s, _DIGITS),
        "gap": gap,
        "total": total.row(over_s),
        "clients": rows,
        "addresses": _rows("address", addresses, over_s),
        "paths": _rows("path", paths, over_s),
        "parents": _rows("path", parents, over_s),
        "operations": _rows("operation", operations, over_s),
    }


def name_of(op_code: int) -> str:
    """Return ZooKeeper's name of an operation, for example ``getData``."""
    try:
        known = OpCode(op_code)
    except ValueError:
        return UNKNOWN_OPERATION
    words = known.name.lower().split("_")
    return _NAMES.get(known, words[0] + "".join(map(str.capitalize, words[1:])))


def _rows(key: str, sums: dict[str, _Sum], over_s: float) -> list[Row]:
    return [{key: name, **found.row(over_s)} for name, found in _first(sums.items())]


def _first(sums: Iterable[tuple[K, _Sum]]) -> list[tuple[K, _Sum]]:
    """Return the busiest; for equal numbers, the order of the keys decides."""
    return sorted(sums, key=lambda pair: (-pair[1].requests, str(pair[0])))[:MOST_ROWS]
