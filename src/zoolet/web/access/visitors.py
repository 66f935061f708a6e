"""Who sends a request: the user, the role, and the login of the browser."""

from dataclasses import dataclass, field

from zoolet.client.connecting.options import Credential
from zoolet.web.access.logins import Login, key_of
from zoolet.web.access.users import Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who sends a request.

    Attributes:
        user: the name of the user; "" without a login.
        role: what the user may do; None if the user must log in first.
        address: the address of the browser.
        is_secure: whether the browser uses TLS.
        token: the token of the browser.
        form_token: the token that its forms must contain.
        login: the login of the browser; None if it has none.
        is_proxied: whether a trusted proxy has named the user.
    """

    user: str
    role: Role | None
    address: str
    is_secure: bool
    token: str = field(repr=False)
    form_token: str = field(repr=False)
    login: Login | None = None
    is_proxied: bool = False

    @property
    def key(self) -> str:
        """Identifies the login; "" without a login."""
        return "" if self.login is None else self.login.key

    @property
    def owner(self) -> tuple[str, str]:
        """The user and the browser: who owns what a request starts. It tells no token."""
        return self.user, key_of(self.token)

    def credential(self, cluster: str) -> Credential | None:
        """Return the login at a cluster that the user has entered; None if there is none."""
        return None if self.login is None else self.login.credentials.get(cluster)
