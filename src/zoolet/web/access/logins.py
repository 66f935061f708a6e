"""Logins: which browser belongs to which user, and the credentials that users have entered.

A browser has a random token in a cookie. The page keeps only a hash of it. All of this is in
memory, so a restart ends all logins. The caller passes the time. Invariant: no representation shows
a token or a credential.
"""

import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from zoolet.client.connecting.options import Credential

IDLE_S: Final = 8 * 3600.0
"""A login ends after this time without a request."""

MOST_LOGINS: Final = 1000
"""Above this number, the login that was not used for the longest time ends."""

OnEnd = Callable[[str], None]
"""A function that is called with the key of a login that has ended."""


@dataclass(slots=True)
class Login:
    """What the page knows of a browser.

    Attributes:
        key: identifies the login; it is no secret.
        user: the name of the user; "" if the page needs no login.
        has_password: whether the user has logged in with a password.
        credentials: the login of the user at ZooKeeper, by the name of the cluster.
    """

    key: str
    user: str
    has_password: bool
    used_s: float
    credentials: dict[str, Credential] = field(default_factory=dict, repr=False)


def new_token() -> str:
    """Return a new token for a browser."""
    return secrets.token_urlsafe(32)


class Logins:
    """The logins that have not ended."""

    def __init__(self, on_end: OnEnd) -> None:
        self._on_end = on_end
        self._logins: OrderedDict[str, Login] = OrderedDict()
        self._key = secrets.token_bytes(32)

    def form_token(self, token: str, user: str) -> str:
        """Return what each form of this browser and user must contain (against CSRF)."""
        text = f"{token}\0{user}".encode("utf-8", "surrogatepass")
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    def begin(self, token: str, user: str, now_s: float, *, has_password: bool = False) -> Login:
        """Begin a login of a browser; one that it has already ends."""
        self.end(token)
        login = Login(key_of(token), user, has_password, now_s)
        self._logins[login.key] = login
        while len(self._logins) > MOST_LOGINS:
            self._drop(next(iter(self._logins)))
        return login

    def find(self, token: str, now_s: float) -> Login | None:
        """Return the login of a browser; None if it has none, or the login has ended."""
        login = self._logins.get(key_of(token))
        if login is None:
            return None
        if now_s - login.used_s > IDLE_S:
            self._drop(login.key)
            return None
        login.used_s = now_s
        self._logins.move_to_end(login.key)
        return login

    def end(self, token: str) -> None:
        """End the login of a browser, if it has one."""
        self._drop(key_of(token))

    def end_idle(self, now_s: float) -> None:
        """End the logins that were not used for a long time."""
        for login in list(self._logins.values()):
            if now_s - login.used_s <= IDLE_S:
                break
            self._drop(login.key)

    def _drop(self, key: str) -> None:
        login = self._logins.pop(key, None)
        if login is not None:
            login.credentials.clear()
            self._on_end(key)


def key_of(token: str) -> str:
    """Return what identifies a browser, from its token; it does not tell the token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
