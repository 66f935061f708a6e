"""Quotas of a cluster: read, judged by how full they are, set and removed, with the client.

Paths and formats are those of Apache ZooKeeper (``Quotas``, ``StatsTrack``, ``SetQuotaCommand``).
Invariant: the number of quotas that are read is bounded.
"""

import asyncio
from typing import Any, Final, NamedTuple

from zoolet.client import (
    AsyncClient,
    BadVersionError,
    Multi,
    NodeExistsError,
    NoNodeError,
    ZooKeeperError,
)
from zoolet.model import paths
from zoolet.model.quotas import (
    BYTES,
    COUNT,
    HARD_BYTES,
    HARD_COUNT,
    LIMITS_NAME,
    STATS_NAME,
    UNLIMITED,
    format_quota,
    parse_quota,
)

MOST_QUOTAS: Final = 5000
"""Most quotas that the page reads."""

_MOST_VISITED: Final = 50_000
_AT_A_TIME: Final = 200
_LIMITS: Final = ((COUNT, COUNT), (HARD_COUNT, COUNT), (BYTES, BYTES), (HARD_BYTES, BYTES))
_NESTED: Final = "{} has a quota, and quotas cannot be nested: remove it before you set that of {}"
_NAMES: Final = {
    COUNT: "znodes, soft",
    HARD_COUNT: "znodes, hard",
    BYTES: "bytes, soft",
    HARD_BYTES: "bytes, hard",
}


class QuotaConflictError(Exception):
    """A quota cannot be set because of another quota; the message says which."""


class Use(NamedTuple):
    """How much of a limit is used.

    Attributes:
        name: the name of the limit.
        is_hard: whether the server refuses writes above it; above a soft limit it logs a warning.
        limit: the limit.
        used: what is used.
    """

    name: str
    is_hard: bool
    limit: int
    used: int

    @property
    def share(self) -> float:
        """The used share; a limit of 0 is full."""
        return self.used / self.limit if self.limit > 0 else 1.0

    @property
    def percent(self) -> str:
        """The used share as text."""
        return f"{100 * self.share:,.0f}%"


class Quota(NamedTuple):
    """The quota of a subtree.

    Attributes:
        path: the root of the subtree.
        limits: the limits by their keys in the znode; -1 is no limit.
        used: the number of znodes and of bytes, by the same keys.
        version: the version of the znode with the limits.
    """

    path: str
    limits: dict[str, int]
    used: dict[str, int]
    version: int

    def uses(self) -> list[Use]:
        """Return the limits of the quota with what is used."""
        return [
            Use(_NAMES[key], key != used, self.limits[key], max(0, self.used.get(used, 0)))
            for key, used in _LIMITS
            if self.limits.get(key, UNLIMITED) > UNLIMITED
        ]

    @property
    def share(self) -> float:
        """The used share of the limit that is the fullest."""
        return max((use.share for use in self.uses()), default=0.0)

    def value(self) -> dict[str, Any]:
        """Return the quota for JSON."""
        return {**self._asdict(), "share": round(self.share, 4)}


async def read_quota(client: AsyncClient, path: str) -> Quota | None:
    """Return the quota of a znode; None if it has none. Raises NoAuthError and others."""
    place = f"{paths.QUOTA}{path}"
    try:
        data, stat = await client.get(f"{place}/{LIMITS_NAME}")
        used, _ = await client.get(f"{place}/{STATS_NAME}")
    except NoNodeError:
        return None
    return Quota(path, parse_quota(data or b""), parse_quota(used or b""), stat.version)


async def read_quotas(client: AsyncClient) -> tuple[list[Quota], bool]:
    """Return the quotas, the fullest first, and whether these are all."""
    found: list[str] = []
    is_complete, visited = True, 0
    async for znode in client.walk(paths.QUOTA):
        visited += 1
        if LIMITS_NAME in znode.names:
            found.append(znode.path.removeprefix(paths.QUOTA))
        if len(found) >= MOST_QUOTAS or visited >= _MOST_VISITED:
            is_complete = False
            break
    quotas: list[Quota] = []
    for start in range(0, len(found), _AT_A_TIME):
        part = found[start : start + _AT_A_TIME]
        read = await asyncio.gather(*(read_quota(client, path) for path in part if path))
        quotas += [quota for quota in read if quota is not None]
    quotas.sort(key=lambda quota: (-quota.share, quota.path))
    return quotas, is_complete


async def set_quota(
    client: AsyncClient, path: str, limits: dict[str, int], version: int | None
) -> None:
    """Set all limits of a znode; ``version`` is that of the quota that was seen, None for none.

    Raises:
        QuotaConflictError: a znode above or below has a quota.
        BadVersionError: another program has changed or deleted the quota.
        NodeExistsError: another program has made a quota.
        NoNodeError: the znode does not exist.
    """
    if await client.exists(path) is None:
        raise NoNodeError("setQuota", path)
    place, text = f"{paths.QUOTA}{path}", format_quota(limits)
    if version is not None:
        try:
            await client.set(f"{place}/{LIMITS_NAME}", text, version=version)
        except NoNodeError:
            raise BadVersionError("setQuota", path) from None
        return
    await _refuse_nested(client, path)
    above = paths.QUOTA
    for name in path[1:].split("/"):
        above = paths.join(above, name)
        try:
            await client.create(above, None)
        except NodeExistsError:
            continue
    multi = Multi()
    multi.create(f"{place}/{LIMITS_NAME}", text)
    multi.create(f"{place}/{STATS_NAME}", format_quota({COUNT: 0, BYTES: 0}))
    await client.multi(multi)


async def remove_quota(client: AsyncClient, path: str, version: int) -> None:
    """Remove the quota that was seen, and the znodes above it that have no other quota.

    Raises:
        BadVersionError: another program has changed or deleted the quota.
    """
    place = f"{paths.QUOTA}{path}"
    multi = Multi()
    multi.delete(f"{place}/{LIMITS_NAME}", version=version)
    multi.delete(f"{place}/{STATS_NAME}")
    try:
        await client.multi(multi)
    except NoNodeError:
        raise BadVersionError("removeQuota", path) from None
    while place != paths.QUOTA:
        try:
            await client.delete(place)
        except ZooKeeperError:
            break  # it has another quota, or another program has deleted it
        place = paths.parent_of(place)


async def _refuse_nested(client: AsyncClient, path: str) -> None:
    above = paths.parent_of(path)
    while above != paths.ROOT:
        if await client.exists(f"{paths.QUOTA}{above}/{LIMITS_NAME}") is not None:
            raise QuotaConflictError(_NESTED.format(above, path))
        above = paths.parent_of(above)
    place = f"{paths.QUOTA}{path}"
    try:
        async for znode in client.walk(place):
            if znode.path != place and LIMITS_NAME in znode.names:
                below = znode.path.removeprefix(paths.QUOTA)
                raise QuotaConflictError(_NESTED.format(below, path))
    except NoNodeError:
        return
