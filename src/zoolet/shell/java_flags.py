"""The login that Apache ZooKeeper's shell finds in Java's options: ``CLIENT_JVMFLAGS``.

The options name a JAAS file and its section, with the user and the password of SASL, or with the
keytab of Kerberos. Source: ``zkCli.sh``, ``ZooKeeperSaslClient``, ``SaslServerPrincipal`` and
``ZKClientConfig`` of Apache ZooKeeper.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from zoolet.client.connecting.jaas_login import LoginFileError, login_in_jaas
from zoolet.client.connecting.kerberos_options import KerberosOptions
from zoolet.client.connecting.options import SASL_SCHEMES, Credential

_VARIABLES = ("CLIENT_JVMFLAGS", "JVMFLAGS")
_FILE = "java.security.auth.login.config"
_SECTION = "zookeeper.sasl.clientconfig"
_IS_ON = "zookeeper.sasl.client"
_DEFAULT_SECTION = "Client"
_KRB5_CONF = "java.security.krb5.conf"


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
    if path is None or is_off or any(login.scheme in SASL_SCHEMES for login in logins):
        return logins
    section = properties.get(_SECTION, _DEFAULT_SECTION)
    return (*logins, login_in_jaas(Path(path), section, _servers(properties)))


def krb5_conf_of_java(environment: Mapping[str, str]) -> str:
    """Return the path of krb5.conf in Java's options; "" if it is not there.

    Raises:
        LoginFileError: a variable has a quote without an end.
    """
    return _properties(environment).get(_KRB5_CONF, "")


def _servers(properties: Mapping[str, str]) -> KerberosOptions:
    """Return the options of the principals of servers."""
    canonicalize = properties.get("zookeeper.sasl.client.canonicalize.hostname", "true")
    return KerberosOptions(
        service=properties.get("zookeeper.sasl.client.username", KerberosOptions().service),
        server=properties.get("zookeeper.server.principal", ""),
        realm=properties.get("zookeeper.server.realm", ""),
        canonicalize=canonicalize.lower() == "true",
    )


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
