"""The login that Apache ZooKeeper's shell finds in Java's options: ``CLIENT_JVMFLAGS``.

The options name a JAAS file and its section, with the user and the password of SASL. Source:
``zkCli.sh``, ``ZooKeeperSaslClient`` and ``ZKClientConfig`` of Apache ZooKeeper.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from zoolet.client.connecting.options import SASL, Credential
from zoolet.client.connecting.sasl import LoginFileError, login_in_jaas

_VARIABLES = ("CLIENT_JVMFLAGS", "JVMFLAGS")
_FILE = "java.security.auth.login.config"
_SECTION = "zookeeper.sasl.clientconfig"
_IS_ON = "zookeeper.sasl.client"
_DEFAULT_SECTION = "Client"


def with_login_of_java(
    logins: tuple[Credential, ...], environment: Mapping[str, str]
) -> tuple[Credential, ...]:
    """Return the logins, and the one of the JAAS file unless there is a login with SASL already.

    Raises:
        LoginFileError: the file or its section cannot be used.
    """
    properties = _properties(environment)
    path = properties.get(_FILE)
    is_off = properties.get(_IS_ON, "true").lower() == "false"
    if path is None or is_off or any(login.scheme == SASL for login in logins):
        return logins
    user = login_in_jaas(Path(path), properties.get(_SECTION, _DEFAULT_SECTION))
    return (*logins, Credential(SASL, user))


def _properties(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the system properties in the variables."""
    found: dict[str, str] = {}
    for variable in _VARIABLES:
        try:
            flags = shlex.split(environment.get(variable, ""))
        except ValueError as error:
            raise LoginFileError(f"{variable} cannot be read: {error}. Close the quote.") from None
        for flag in flags:
            name, _, value = flag.partition("=")
            if name.startswith("-D"):
                found[name.removeprefix("-D")] = value
    return found
