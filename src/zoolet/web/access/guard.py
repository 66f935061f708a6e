"""The guard before all pages: the name of the page, the user, and the headers of each response.

Invariants: a request for another name than the page's reaches no page; a user who must log in
reaches only the login page and the static files; every response has the security headers.
"""

import ipaddress
import logging
import re
from collections.abc import Callable
from typing import Final
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zoolet.web.access.logins import Logins, new_token
from zoolet.web.access.users import Role, UsersFile
from zoolet.web.access.visitors import Visitor
from zoolet.web.settings import WebSettings

log = logging.getLogger(__name__)

_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_USER: Final = re.compile(r"[^\s:]{1,200}")

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""The headers of every response."""


class Guard:
    """ASGI middleware.

    Args:
        app: the pages.
        settings: the settings.
        users: the file of users.
        logins: the logins.
        now_s: the monotonic clock.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: WebSettings,
        users: UsersFile,
        logins: Logins,
        now_s: Callable[[], float],
    ) -> None:
        self._app = app
        self._settings = settings
        self._users = users
        self._logins = logins
        self._now_s = now_s
        self._names = settings.accepted_names
        self._open = (f"{settings.base_path}/login", f"{settings.base_path}/static/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or give it to the pages with its visitor."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if _name_of(headers.get("host", "")) not in self._names:
            response: Response = PlainTextResponse(
                "The page does not have this name. Use another URL, or start zoolet web with --host"
                " NAME.\n",
                status_code=421,
            )
            await response(scope, receive, _Sending(send, {}))
            return
        visitor, is_new = self._visitor(scope, headers)
        scope.setdefault("state", {})["visitor"] = visitor
        more = {"Set-Cookie": self.cookie(visitor)} if is_new else {}
        sending = _Sending(send, more)
        if visitor.role is None and not self._is_open(scope["path"]):
            await self._refusal(scope, headers, visitor)(scope, receive, sending)
            return
        try:
            await self._app(scope, receive, sending)
        except Exception:
            if sending.has_started:
                raise
            log.exception("an unexpected error at %s", scope["path"])
            await _unexpected(headers)(scope, receive, sending)

    def cookie(self, visitor: Visitor) -> str:
        """Return the header that gives the browser its token."""
        return cookie_header(visitor.token, self._settings, is_secure=visitor.is_secure)

    def _is_open(self, path: str) -> bool:
        login, static = self._open
        return path == login or path.startswith(static)

    def _visitor(self, scope: Scope, headers: Headers) -> tuple[Visitor, bool]:
        peer = (scope.get("client") or ("", 0))[0]
        is_trusted = self._is_proxy(peer)
        sent = _token_of(headers, cookie_name(self._settings))
        token = sent or new_token()
        login = self._logins.find(token, self._now_s()) if sent else None
        named = headers.get(self._settings.user_header, "") if is_trusted else ""
        users = self._users.current()
        role: Role | None = None if self._settings.needs_login else Role.VIEWER
        user = ""
        if named and _USER.fullmatch(named):
            user, role = named, users.proxied.get(named, Role.VIEWER)
        elif login is not None and login.has_password and login.user in users.passwords:
            user, role = login.user, users.passwords[login.user][1]
        if login is not None and (login.user != user or (bool(named) and login.has_password)):
            login = None
        visitor = Visitor(
            user=user,
            role=role,
            address=_client_of(headers, peer, self._is_proxy) if is_trusted else peer,
            is_secure=scope["scheme"] == "https"
            or (is_trusted and headers.get("x-forwarded-proto", "") == "https"),
            token=token,
            form_token=self._logins.form_token(token, user),
            login=login,
            is_proxied=bool(named),
        )
        return visitor, not sent

    def _is_proxy(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(
            found in network
            for network in self._settings.trusted_proxies
            if network.version == found.version
        )

    def _refusal(self, scope: Scope, headers: Headers, visitor: Visitor) -> Response:
        """Return the answer to a request that needs a login."""
        can_log_in = bool(self._users.current().passwords)
        if not can_log_in or visitor.is_proxied:
            return PlainTextResponse(
                "Open the page through its proxy, which names the user.\n", status_code=403
            )
        login = f"{self._settings.base_path}/login"
        if scope["method"] != "GET" or "application/json" in headers.get("accept", ""):
            return JSONResponse({"error": f"log in first: POST {login}"}, status_code=401)
        query = scope["query_string"].decode("latin-1")
        back = scope["path"] + (f"?{query}" if query else "")
        return RedirectResponse(f"{login}?next={quote(back)}", status_code=303)


def cookie_name(settings: WebSettings) -> str:
    """Return the name of the cookie with the token of the browser.

    Browsers send a cookie to all ports of a host, so the port is in its name. Without it, a login
    at one page would end the login at another page of the same machine.
    """
    return f"zoolet_web_{settings.port}"


def cookie_header(token: str, settings: WebSettings, *, is_secure: bool) -> str:
    """Return the header that sets the cookie; JavaScript and other sites cannot read it."""
    secure = "; Secure" if is_secure else ""
    path = settings.base_path or "/"
    return f"{cookie_name(settings)}={token}; Path={path}; HttpOnly; SameSite=Lax{secure}"


def is_same_origin(headers: Headers) -> bool:
    """Return whether a form was sent by a page of this name, as far as the browser says it."""
    if headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        return False
    origin = headers.get("origin")
    return origin is None or urlsplit(origin).netloc == headers.get("host", "")


def _unexpected(headers: Headers) -> Response:
    text = "An unexpected error: the log of the page has a traceback."
    if "application/json" in headers.get("accept", ""):
        return JSONResponse({"error": text, "status": 500}, status_code=500)
    return PlainTextResponse(f"{text}\n", status_code=500)


class _Sending:
    """Sends a response with the security headers.

    Attributes:
        has_started: whether the browser gets a response already.
    """

    def __init__(self, send: Send, more: dict[str, str]) -> None:
        self.has_started = False
        self._send = send
        self._more = more

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_started = True
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if "set-cookie" not in headers:
                for name, value in self._more.items():
                    headers.append(name, value)
        await self._send(message)


def _name_of(host: str) -> str:
    """Return the header Host without its port, in lower case."""
    name, _, port = host.rpartition(":")
    return (name if name and port.isdigit() else host).lower()


def _token_of(headers: Headers, name: str) -> str:
    """Return the token in the cookie; "" if there is none that could be ours."""
    found = cookie_parser(headers.get("cookie", "")).get(name, "")
    return found if _TOKEN.fullmatch(found) else ""


def _client_of(headers: Headers, peer: str, is_proxy: Callable[[str], bool]) -> str:
    """Return the address that the last trusted proxy has seen."""
    for part in reversed(headers.get("x-forwarded-for", "").split(",")):
        address = part.strip()
        if not address:
            continue
        try:
            found = str(ipaddress.ip_address(address))
        except ValueError:
            break
        if not is_proxy(found):
            return found
        peer = found
    return peer
