"""The rate limit of logins: few attempts a minute for each address and each name.

The caller passes the time. Invariant: the memory is bounded, whatever names clients try.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

WINDOW_S: Final = 60.0
"""The time in which attempts are counted."""

OF_ADDRESS: Final = 10
"""Most attempts of one address in this time."""

OF_NAME: Final = 20
"""Most attempts with one name in this time, from all addresses."""

_MOST_KEYS: Final = 10_000


class Attempts:
    """Counts attempts."""

    def __init__(self) -> None:
        self._counts: OrderedDict[tuple[str, str], tuple[float, int]] = OrderedDict()

    def wait_s(self, address: str, name: str, now_s: float) -> float:
        """Count an attempt; return 0.0 if it is allowed, else the seconds until one is."""
        limits = ((("address", address), OF_ADDRESS), (("name", name), OF_NAME))
        wait_s = max(self._wait_s(key, limit, now_s) for key, limit in limits)
        if not wait_s:
            self._count((key for key, _ in limits), now_s)
        return wait_s

    def _wait_s(self, key: tuple[str, str], limit: int, now_s: float) -> float:
        since_s, count = self._counts.get(key, (now_s, 0))
        left_s = since_s + WINDOW_S - now_s
        return left_s if count >= limit and left_s > 0 else 0.0

    def _count(self, keys: Iterable[tuple[str, str]], now_s: float) -> None:
        for key in keys:
            since_s, count = self._counts.pop(key, (now_s, 0))
            if now_s - since_s >= WINDOW_S:
                since_s, count = now_s, 0
            self._counts[key] = since_s, count + 1
        while len(self._counts) > _MOST_KEYS:
            self._counts.popitem(last=False)
