"""Authentications with SASL's mechanism GSSAPI: clients that have tickets of Kerberos.

Source: RFC 4752, and ``GssKrb5Server`` of OpenJDK, which Apache ZooKeeper uses. The security layer
is always "none".

The library checks a token within the event loop: it takes about 0.1 ms and waits for no network. It
reads krb5.conf, the keytab and the replay cache, which are small local files. It opens the keytab
for each authentication, so a replaced keytab needs no restart.

Invariants: a token raises SaslError or NoReplyError, and no other error. Only an exchange
whose last token was made with the session key has an identity.
"""

import os
from enum import Enum, auto
from typing import Any, Final

from zoolet.console.extras import missing
from zoolet.server.common.errors import ServerError
from zoolet.server.sasl.exchanges import NoReplyError, SaslError
from zoolet.server.sasl.principals import NameRules, PrincipalError
from zoolet.server.zoo_cfg.config import KerberosConfig

MAX_TOKEN_BYTES: Final = 64 << 10
"""The longest token. Tickets of Active Directory with many groups have up to 48 KB."""

FIRST_BYTE: Final = b"\x60"
"""The first byte of each first token of GSSAPI (RFC 2743, section 3.1)."""

_NO_LAYER: Final = 1
_LAYERS: Final = bytes([_NO_LAYER, 1, 0, 0])
"""The security layers and the longest message, as Apache ZooKeeper sends them."""

_CHOICE_BYTES: Final = 4
_PROBE: Final = "x"


def use_krb5_conf(path: str) -> None:
    """Let Kerberos in this process use another krb5.conf; "" for the one that it finds itself."""
    if path:
        os.environ["KRB5_CONFIG"] = path


class Acceptor:
    """Accepts tickets for the principal of this server.

    Attributes:
        default_realm: the default realm of Kerberos on this machine; "" if there is none.

    Raises:
        ServerError: the Python package gssapi is missing, or the keytab cannot be used.
    """

    def __init__(self, config: KerberosConfig) -> None:
        if (advice := missing("gssapi")) is not None:
            raise ServerError(f"{config.place}: Kerberos is not available: {advice}")
        try:
            import gssapi  # noqa: PLC0415 -- optional, and slow to import
        except ImportError as error:
            raise ServerError(
                f"{config.place}: the libraries of Kerberos cannot be loaded ({error}): install MIT"
                " Kerberos, for example Debian's package libgssapi-krb5-2"
            ) from None
        use_krb5_conf(config.krb5_conf)
        self._raw: Any = gssapi.raw
        self._error: Any = gssapi.exceptions.GSSError
        kerberos = gssapi.MechType.kerberos
        name = gssapi.Name(config.principal, gssapi.NameType.kerberos_principal)
        try:
            self._credentials: Any = gssapi.Credentials(
                name=name, usage="accept", mechs=[kerberos], store={"keytab": str(config.keytab)}
            )
        except self._error as error:
            raise ServerError(
                f"{config.place}: no key of {config.principal} in the keytab {config.keytab}"
                f" ({reason_of(error)}). `klist -k {config.keytab}` shows the keys of a keytab;"
                f" `ktadd -k {config.keytab} {config.principal}` of kadmin adds one"
            ) from None
        self.default_realm = _default_realm(gssapi)

    def accept(self, token: bytes, context: Any) -> Any:
        """Return what ``gss_accept_sec_context`` returns. Raises SaslError."""
        try:
            return self._raw.accept_sec_context(token, self._credentials, context)
        except self._error as error:
            raise SaslError(f"the ticket is refused: {reason_of(error)}") from None

    def wrap(self, context: Any, message: bytes) -> bytes:
        """Return a message with its checksum. Raises SaslError."""
        try:
            wrapped: bytes = self._raw.wrap(context, message, confidential=False).message
        except self._error as error:  # for example, the ticket has expired meanwhile
            raise SaslError(f"the ticket cannot be used: {reason_of(error)}") from None
        return wrapped

    def unwrap(self, context: Any, token: bytes) -> bytes:
        """Return the message of a token. Raises SaslError."""
        try:
            message: bytes = self._raw.unwrap(context, token).message
        except self._error as error:
            raise SaslError(f"the last token is refused: {reason_of(error)}") from None
        return message

    def text_of(self, name: Any) -> str:
        """Return a name as Kerberos shows it, like ``service/host@REALM``. Raises SaslError."""
        try:
            text: bytes = self._raw.display_name(name, name_type=False).name
            return text.decode()
        except (self._error, UnicodeDecodeError) as error:
            raise SaslError(f"the name in the ticket cannot be shown: {error}") from None


class _Stage(Enum):
    """What the next token of the client is for."""

    TICKET = auto()
    EMPTY = auto()
    CHOICE = auto()
    NONE = auto()


class KerberosExchange:
    """An authentication with the mechanism GSSAPI."""

    def __init__(self, acceptor: Acceptor, names: NameRules) -> None:
        self._acceptor = acceptor
        self._names = names
        self._stage = _Stage.TICKET
        self._context: Any = None
        self._login = ""
        self._identity: str | None = None

    @property
    def identity(self) -> str | None:
        """The name of the user, as ACLs contain it; None if the user is not authenticated."""
        return self._identity

    def step(self, token: bytes) -> bytes | None:
        """Check a token; return the next one, or None for the last one."""
        if len(token) > MAX_TOKEN_BYTES:
            raise SaslError(f"a token of {len(token)} bytes; the limit is {MAX_TOKEN_BYTES}")
        stage, self._stage = self._stage, _Stage.NONE  # after an error, no token is accepted
        if stage is _Stage.TICKET:
            return self._take_ticket(token)
        if stage is _Stage.EMPTY:
            if token:
                raise SaslError("the client sent data where GSSAPI has an empty token")
            return self._offer()
        if stage is _Stage.CHOICE:
            self._take_choice(token)
            return None
        raise SaslError("the authentication has ended already")

    def _take_ticket(self, token: bytes) -> bytes:
        if not token:
            raise SaslError("the client wants DIGEST-MD5, and the server has only Kerberos")
        found = self._acceptor.accept(token, self._context)
        self._context = found.context
        if found.more_steps:
            self._stage = _Stage.TICKET
            return found.token or b""
        self._login = self._acceptor.text_of(found.initiator_name)
        if not found.token:  # the client does not ask the server to authenticate itself
            return self._offer()
        self._stage = _Stage.EMPTY
        return bytes(found.token)

    def _offer(self) -> bytes:
        self._stage = _Stage.CHOICE
        return self._acceptor.wrap(self._context, _LAYERS)

    def _take_choice(self, token: bytes) -> None:
        """Take the client's choice of a layer; the user name behind it has no meaning.

        Apache ZooKeeper accepts every name there, and uses that of the ticket.
        """
        choice = self._acceptor.unwrap(self._context, token)
        if len(choice) < _CHOICE_BYTES:
            raise NoReplyError(f"the last token has {len(choice)} bytes, not {_CHOICE_BYTES}")
        if not choice[0] & _NO_LAYER:
            raise SaslError(f"the client wants the security layer {choice[0]}; there is none")
        try:
            self._identity = self._names.name_of(self._login)
        except PrincipalError as error:
            raise NoReplyError(str(error)) from None


def reason_of(error: Any) -> str:
    """Return what Kerberos says of an error of gssapi, without the codes around it."""
    mechanism = " ".join(error.get_all_statuses(error.min_code, False)) if error.min_code else ""
    return mechanism or " ".join(error.get_all_statuses(error.maj_code, True))


def _default_realm(gssapi: Any) -> str:
    name = gssapi.Name(_PROBE, gssapi.NameType.user)
    try:
        return str(name.canonicalize(gssapi.MechType.kerberos)).partition("@")[2]
    except gssapi.exceptions.GSSError:
        return ""
