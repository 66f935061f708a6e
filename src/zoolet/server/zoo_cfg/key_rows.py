"""Rows of the table of keys, by the place where Apache ZooKeeper reads a key."""

from typing import Final

from zoolet.server.zoo_cfg.key import Flag, Key, Number, Source, Text, Use

LARGEST_PORT: Final = 65535

ADDRESS: Final = Text("host name or address")
ALL_ADDRESSES_NOTE: Final = "`0.0.0.0` and `::` mean all addresses"

Value = Number | Flag | Text

BARE_NOTE: Final = "Apache reads this only as a system property, not from zoo.cfg"


def file_key(name: str, value: Value, meaning: str, note: str = "") -> Key:
    """Return a key that Apache reads only in zoo.cfg."""
    return Key(name, Use.SAME, note, Source.FILE, value=value, meaning=meaning)


def property_key(name: str, value: Value, meaning: str, note: str = "") -> Key:
    """Return a key that Apache reads as the system property ``zookeeper.KEY``."""
    return Key(name, Use.SAME, note, value=value, meaning=meaning)


def bare_key(name: str, value: Value, meaning: str) -> Key:
    """Return a key that Apache reads only as the system property of the same name."""
    return Key(name, Use.SAME, BARE_NOTE, Source.BARE_PROPERTY, value=value, meaning=meaning)


def own_key(name: str, value: Value, meaning: str) -> Key:
    """Return a key that Apache does not have."""
    return Key(name, Use.OWN, value=value, meaning=meaning)


def port(default: int) -> Number:
    """Return the type of a key whose value is a TCP port."""
    return Number(default, least=0, most=LARGEST_PORT, unit="TCP port")
