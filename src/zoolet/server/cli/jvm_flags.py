"""The flags for a Java server in ``SERVER_JVMFLAGS`` and ``JVMFLAGS``.

zoolet uses the system properties that Apache ZooKeeper reads as settings. It ignores all other
flags because it has no Java virtual machine. Source: ``zkServer.sh`` of Apache ZooKeeper 3.9.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from zoolet.server.common.errors import ServerError

_PROPERTY = "-D"
_PREFIX = "zookeeper."
_OTHER_PROPERTIES = frozenset(
    {"java.security.auth.login.config", "java.security.krb5.conf", "jute.maxbuffer"}
)


class JvmFlags(NamedTuple):
    """The parsed flags.

    Attributes:
        properties: the Java system properties that are settings, by name. If a name is repeated,
            the last value is used.
        ignored: the other flags, without their values, which may be passwords.
    """

    properties: Mapping[str, str]
    ignored: tuple[str, ...]


def read_flags(variables: Iterable[tuple[str, str]]) -> JvmFlags:
    """Return the flags of several variables, each given as its name and its value.

    Quotes have the same meaning as in a shell. Raises ServerError if a quote is not closed.
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
                ignored.append(f"{name}=..." if equals else flag)
    return JvmFlags(properties, tuple(ignored))


def _split(variable: str, text: str) -> list[str]:
    import shlex  # noqa: PLC0415 -- most servers have no flags

    try:
        return shlex.split(text)
    except ValueError as error:
        raise ServerError(f"{variable} cannot be read: {error}. Close the quote.") from error
