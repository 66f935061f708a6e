"""The table of all keys of zoo.cfg: what the server does with each, and why.

It holds every key of Apache ZooKeeper 3.9.5 (``used_keys`` and ``unused_keys``) and zoolet's own.
``docs/compatibility.md`` shows it, and a test compares the two.
"""

from typing import Final

from zoolet.server.zoo_cfg.key import Key
from zoolet.server.zoo_cfg.unused_keys import IGNORED, REFUSED
from zoolet.server.zoo_cfg.used_keys import OWN, SAME

KEYS: Final[dict[str, Key]] = {
    key.name: key
    for key in sorted((*SAME, *OWN, *REFUSED, *IGNORED), key=lambda key: key.name.lower())
}
"""Every key under its name."""

_PREFIXES: Final = {name[:-1]: key for name, key in KEYS.items() if name[-2:] in {".N", ".*"}}
_EXACT: Final = [name for name in KEYS if name[-2:] not in {".N", ".*"}]


def find_key(name: str) -> Key | None:
    """Return what the table says of a key, None if it does not know the key."""
    if name in KEYS and name[-2:] not in {".N", ".*"}:
        return KEYS[name]
    prefixes = [prefix for prefix in _PREFIXES if name.startswith(prefix) and name != prefix]
    return _PREFIXES[max(prefixes, key=len)] if prefixes else None


def similar_key(name: str) -> str | None:
    """Return the known key that an unknown one probably means, None if there is none."""
    without_prefix = name.removeprefix("zookeeper.")
    if without_prefix != name and find_key(without_prefix) is not None:
        return without_prefix
    import difflib  # noqa: PLC0415 -- only for a file with a mistake

    by_lower_case = {known.lower(): known for known in _EXACT}
    found = difflib.get_close_matches(without_prefix.lower(), by_lower_case, n=1, cutoff=0.8)
    return by_lower_case[found[0]] if found else None
