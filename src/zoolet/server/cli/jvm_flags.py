"""What the flags for a Java server mean here: ``SERVER_JVMFLAGS`` and ``JVMFLAGS``.

A system property that Apache ZooKeeper reads is a setting. Every other flag is for a Java virtual
machine, which does not exist here. Source: ``zkServer.sh`` of Apache ZooKeeper 3.9.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from zoolet.server.common.errors import ServerError

_PROPERTY = "-D"
_PREFIX = "zookeeper."
_OTHER_PROPERTIES = frozenset({"jute.maxbuffer"})


class JvmFlags(NamedTuple):
    """What was read from flags.

    Attributes:
        properties: the Java system properties that are settings, by name; the last one wins.
        ignored: the other flags. Values of properties are left out: they may be passwords.
    """

    properties: Mapping[str, str]
    ignored: tuple[str, ...]


def read_flags(variables: Iterable[tuple[str, str]]) -> JvmFlags:
    """Return what the variables hold, each a name and a text of flags, in their order.

    Quotes work as in a shell. Raises ServerError if one is not closed.
    """
    properties: dict[str, str] = {}
    ignored: list[str] = []
    for variable, text in variables:
        for flag in _split(variable, text) if text else ():
            name, equals, value = flag.partition("=")
            key = name.removeprefix(_PROPERTY)
            if name != key and (key.startswith(_PREFIX) or key in _OTHER_PROPERTIES):
                properties[key] = value
            else:
                ignored.append(f"{name}=..." if equals and name != key else flag)
    return JvmFlags(properties, tuple(ignored))


def _split(variable: str, text: str) -> list[str]:
    import shlex  # noqa: PLC0415 -- most servers have no flags

    try:
        return shlex.split(text)
    except ValueError as error:
        raise ServerError(f"{variable} cannot be read: {error}. Close the quote.") from error
