"""The authentication with SASL of one server."""

from typing import TYPE_CHECKING

from zoolet.model.acl import Id
from zoolet.server.common.errors import ServerError
from zoolet.server.sasl.exchanges import DigestExchange, Exchange
from zoolet.server.sasl.principals import NameRules, PrincipalError
from zoolet.server.sasl.users import Users
from zoolet.server.zoo_cfg.config import SaslConfig

if TYPE_CHECKING:
    from zoolet.server.sasl.kerberos import Acceptor


class SaslLogins:
    """Begins the authentications of clients.

    Attributes:
        users: the users.
        super_users: the names of the users to whom every ACL gives all permissions.
        further: an identity that every authenticated user has in addition
            (``letAnySaslUserDoX``).
        keeps_failed_clients: whether a client may go on after its authentication has failed.
        failure_delay_ms: the time until a client is told that its authentication has failed.

    Raises:
        UsersError: the users cannot be read.
        ServerError: Kerberos or the rules for names cannot be used.
    """

    def __init__(self, config: SaslConfig) -> None:
        self.users = Users(config.users)
        self.super_users = config.super_users
        self.further = frozenset([Id("sasl", config.any_user)] if config.any_user else ())
        self.keeps_failed_clients = config.keeps_failed_clients
        self.failure_delay_ms = config.failure_delay_ms
        self._acceptor: Acceptor | None = None
        if config.kerberos is not None:
            from zoolet.server.sasl.kerberos import Acceptor as New  # noqa: PLC0415 -- rare

            self._acceptor = New(config.kerberos)
        try:
            self._names = NameRules(
                config.name_rules,
                "" if self._acceptor is None else self._acceptor.default_realm,
                removes_host=config.removes_host,
                removes_realm=config.removes_realm,
            )
        except PrincipalError as error:
            raise ServerError(f"security.auth_to_local cannot be used: {error}") from None

    def begin(self, token: bytes) -> Exchange:
        """Return a new authentication; ``token`` is the client's first one.

        If the server has a keytab and also users with passwords, the token shows the mechanism:
        that of DIGEST-MD5 is empty.
        """
        acceptor = self._acceptor
        if acceptor is None:
            return DigestExchange(self.users, self._names)
        from zoolet.server.sasl.kerberos import (  # noqa: PLC0415 -- rare
            FIRST_BYTE,
            KerberosExchange,
        )

        if self.users.is_empty or token.startswith(FIRST_BYTE):
            return KerberosExchange(acceptor, self._names)
        return DigestExchange(self.users, self._names)
