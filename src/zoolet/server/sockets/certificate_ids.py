"""The identities that a client's certificate proves.

The server imports this module only for connections with TLS. Source: Apache ZooKeeper's
``X509AuthenticationProvider``. The choice of a subject alternative name is that of LinkedIn's fork
of Apache ZooKeeper (``X509AuthenticationUtil``); Apache ZooKeeper 3.9.5 has none.
"""

import ssl

from zoolet.model.acl import Id
from zoolet.server.logs.log_limiter import LogLimiter
from zoolet.server.sockets.alternative_names import alternative_names_in
from zoolet.server.sockets.der import DerError
from zoolet.server.sockets.distinguished_names import subject_in
from zoolet.server.zoo_cfg.config import AlternativeNameRule, X509Config


class NoChosenNameError(ValueError):
    """The rule of zoo.cfg chooses no alternative name of a certificate."""


def proven_by(connection: ssl.SSLObject, config: X509Config, limited: LogLimiter) -> tuple[Id, ...]:
    """Return the identities that a client's certificate proves.

    The result is empty if the client showed no certificate, if the certificate was not verified,
    or if the name in it is empty.
    """
    certificate = connection.getpeercert(binary_form=True)
    if not certificate or connection.context.verify_mode is ssl.CERT_NONE:
        return ()
    name = _name_in(certificate, config, limited)
    if not name:
        return ()
    x509 = Id("x509", name)
    return (Id("super", name), x509) if name == config.super_user else (x509,)


def _name_in(certificate: bytes, config: X509Config, limited: LogLimiter) -> str:
    """Return the name by which ACLs know the client; "" if there is none."""
    rule = config.alternative_name
    if rule is not None:
        try:
            return chosen_name(alternative_names_in(certificate), rule)
        except (DerError, NoChosenNameError) as error:
            limited.warning(
                "the subject of a client's certificate becomes its id, because %s"
                " (X509AuthenticationProvider.clientCertIdType=SAN)",
                error,
            )
    try:
        return subject_in(certificate)
    except DerError as error:
        limited.warning("the subject of a client's certificate cannot be read: %s", error)
        return ""


def chosen_name(names: list[tuple[int, str]], rule: AlternativeNameRule) -> str:
    """Return the client's id in its alternative names; each name has a type and a text.

    Exactly one name of the rule's type must match. Raises NoChosenNameError.
    """
    matching = [
        text for kind, text in names if kind == rule.kind and rule.match.search(text) is not None
    ]
    if len(matching) != 1:
        raise NoChosenNameError(
            f"{len(matching)} of its alternative names match clientCertIdSanMatchRegex, instead of"
            " one"
        )
    found = rule.extract.search(matching[0])
    name: str | None = None if found is None else found.group(rule.group)
    if not name:
        raise NoChosenNameError("clientCertIdSanExtractRegex finds nothing in its alternative name")
    return name
