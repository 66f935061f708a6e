"""The authentication with SASL of one server."""

from zoolet.model.acl import Id
from zoolet.server.sasl.exchanges import DigestExchange, Exchange
from zoolet.server.sasl.principals import NameRules
from zoolet.server.sasl.users import Users
from zoolet.server.zoo_cfg.config import SaslConfig


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
    """

    def __init__(self, config: SaslConfig) -> None:
        self.users = Users(config.users)
        self.super_users = config.super_users
        self.further = frozenset([Id("sasl", config.any_user)] if config.any_user else ())
        self.keeps_failed_clients = config.keeps_failed_clients
        self.failure_delay_ms = config.failure_delay_ms
        self._names = NameRules(
            config.name_rules,
            removes_host=config.removes_host,
            removes_realm=config.removes_realm,
        )

    def begin(self) -> Exchange:
        """Return a new authentication."""
        return DigestExchange(self.users, self._names)
