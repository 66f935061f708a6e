"""The table of all keys of zoo.cfg: how the server uses each key, and why.

The table has every key of Apache ZooKeeper 3.9.5 and zoolet's own keys (``used_keys`` and
``unused_keys``). ``docs/compatibility.md`` shows the same table; a test compares the two.
"""

from typing import Final

from zoolet.server.zoo_cfg.key import Key
from zoolet.server.zoo_cfg.unused_keys import IGNORED, REFUSED
from zoolet.server.zoo_cfg.used_keys import OWN, SAME

KEYS: Final[dict[str, Key]] = {
    key.name: key
    for key in sorted((*SAME, *OWN, *REFUSED, *IGNORED), key=lambda key: key.name.lower())
}
"""Every key, by its name."""

_PREFIXES: Final = {name[:-1]: key for name, key in KEYS.items() if name[-2:] in {".N", ".*"}}
_EXACT: Final = [name for name in KEYS if name[-2:] not in {".N", ".*"}]


def find_key(name: str) -> Key | None:
    """Return the entry of a key, or of its prefix; None if the table does not have the key."""
    if name in KEYS and name[-2:] not in {".N", ".*"}:
        return KEYS[name]
    prefixes = [prefix for prefix in _PREFIXES if name.startswith(prefix) and name != prefix]
    return _PREFIXES[max(prefixes, key=len)] if prefixes else None


def similar_key(name: str) -> str | None:
    """Return the key of the table that is most similar to an unknown name, if any is similar."""
    without_prefix = name.removeprefix("zookeeper.")
    if without_prefix != name and find_key(without_prefix) is not None:
        return without_prefix
    import difflib  # noqa: PLC0415 -- needed only for a file with a mistake

    by_lower_case = {known.lower(): known for known in _EXACT}
    found = difflib.get_close_matches(without_prefix.lower(), by_lower_case, n=1, cutoff=0.8)
    return by_lower_case[found[0]] if found else None
