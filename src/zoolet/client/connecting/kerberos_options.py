"""The options of a login with Kerberos, as the text of a credential.

The text has pairs like ``keytab=/etc/bob.keytab,principal=bob@EXAMPLE.ORG``; an empty text means
the ticket cache of the user who runs the program. This module imports nothing of zoolet.
"""

from typing import Final, NamedTuple

_FLAGS: Final = {"true": True, "false": False}


class KerberosOptions(NamedTuple):
    """The options of a login with Kerberos.

    Attributes:
        principal: the principal of the client; "" for the one of the ticket cache, or the first one
            in the keytab.
        keytab: a file with the keys of the client, with which it gets its tickets itself; "" for
            the tickets in the cache.
        cache: the ticket cache; "" for the one that Kerberos finds (``KRB5CCNAME``, krb5.conf).
        service: the first part of the principal of the servers.
        server: the principal of the servers, the same for all of them; "" for a principal of the
            service and the host of each server.
        realm: the realm of the servers; "" for the one that krb5.conf gives for a host.
        canonicalize: whether the host in the principal is the name that the DNS gives for the
            address of a server, as with Java's client. False: the name in the list of servers.
    """

    principal: str = ""
    keytab: str = ""
    cache: str = ""
    service: str = "zookeeper"
    server: str = ""
    realm: str = ""
    canonicalize: bool = True

    @property
    def text(self) -> str:
        """The options as a text, without those that have the default."""
        defaults = KerberosOptions()
        return ",".join(
            f"{name}={value if isinstance(value, str) else str(value).lower()}"
            for name, value, default in zip(self._fields, self, defaults, strict=True)
            if value != default
        )


def parse_kerberos(text: str) -> KerberosOptions:
    """Return the options in a text.

    Raises:
        ValueError: the text does not have the right form; the message says which one that is.
    """
    found: dict[str, str] = {}
    for pair in text.split(",") if text else ():
        name, equals, value = pair.partition("=")
        if name not in KerberosOptions._fields or not equals or not value:
            raise ValueError(
                "a login with Kerberos has the form kerberos:NAME=VALUE,NAME=VALUE, or kerberos:"
                f" without options; the names are {', '.join(KerberosOptions._fields)}"
            )
        found[name] = value
    canonicalize = found.pop("canonicalize", "true")
    if canonicalize not in _FLAGS:
        raise ValueError("canonicalize of a login with Kerberos is true or false")
    if "keytab" in found and "cache" in found:
        raise ValueError("a login with Kerberos has a keytab or a cache, not both")
    return KerberosOptions()._replace(canonicalize=_FLAGS[canonicalize], **found)
