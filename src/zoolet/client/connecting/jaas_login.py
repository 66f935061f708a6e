"""The login of a client in a JAAS file of Apache ZooKeeper.

Source: ``DigestLoginModule`` of Apache ZooKeeper, ``Krb5LoginModule`` of OpenJDK. Invariant: no
message shows a password. Imports ``model`` and the options of clients.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zoolet.client.connecting.kerberos_options import KerberosOptions
from zoolet.client.connecting.options import KERBEROS, SASL, Credential
from zoolet.model.jaas import JaasError, LoginModule, parse_jaas

DIGEST_MODULE: Final = "org.apache.zookeeper.server.auth.DigestLoginModule"
KERBEROS_MODULE: Final = "com.sun.security.auth.module.Krb5LoginModule"
_FILE_PREFIX: Final = "FILE:"


class LoginFileError(ValueError):
    """A JAAS file has no login for a client; the message says why, and shows no password."""


def login_in_jaas(path: Path, section: str, servers: KerberosOptions) -> Credential:
    """Return the login of a section in a JAAS file; ``servers`` has options of the servers' names.

    Raises:
        LoginFileError: the file cannot be read, or the section has no login that can be used.
    """
    try:
        sections = parse_jaas(path.read_text())
    except OSError as error:
        raise LoginFileError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise LoginFileError(f"{path} is not UTF-8") from None
    except JaasError as error:
        raise LoginFileError(f"{path}: {error}") from None
    for module in sections.get(section, ()):
        if module.class_name == KERBEROS_MODULE:
            return _kerberos(path, module, servers)
        options = module.options
        if module.class_name == DIGEST_MODULE and {"username", "password"} <= options.keys():
            if ":" in options["username"]:
                raise LoginFileError(f"{path}: a user name must not have a colon")
            return Credential(SASL, f"{options['username']}:{options['password']}")
    raise LoginFileError(
        f"{path} has no section {section} with {DIGEST_MODULE}, username and password, or with"
        f" {KERBEROS_MODULE}; its sections are: {', '.join(sorted(sections)) or 'none'}"
    )


def _kerberos(path: Path, module: LoginModule, servers: KerberosOptions) -> Credential:
    options = module.options
    keytab = options.get("keyTab", "") if _is_on(options, "useKeyTab") else ""
    if _is_on(options, "useKeyTab") and not keytab:
        raise LoginFileError(f'{path}: with useKeyTab=true, keyTab="FILE" is necessary')
    if not keytab and not _is_on(options, "useTicketCache"):
        raise LoginFileError(
            f"{path}: the login with Kerberos needs useKeyTab=true or useTicketCache=true, because"
            " nobody asks for a password"
        )
    found = servers._replace(
        principal=options.get("principal", ""),
        keytab=keytab.removeprefix(_FILE_PREFIX),
        cache="" if keytab else options.get("ticketCache", ""),
    )
    if any("," in value for value in found if isinstance(value, str)):
        raise LoginFileError(f"{path}: a comma in a value of Kerberos is not supported")
    return Credential(KERBEROS, found.text)


def _is_on(options: Mapping[str, str], name: str) -> bool:
    return options.get(name, "").lower() == "true"
