"""The list of clusters, login, logout, and the credentials of users at ZooKeeper."""

import asyncio
import dataclasses
import logging
import math
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import AuthFailedError, Credential, NoServerError
from zoolet.web.access.guard import cookie_header, cookie_name
from zoolet.web.access.logins import new_token
from zoolet.web.access.users import check_password
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.posting import Form, cluster_of, cluster_url, page, posting
from zoolet.web.pages.site import MOST_WAITING_LOGINS, Site, site_of, visitor_of

log = logging.getLogger(__name__)

SCHEMES: Final = ("digest", "sasl")
"""The schemes of credentials that users may enter: kerberos would read files of this machine."""

_MOST_CHARACTERS: Final = 1000


async def _clusters(request: Request) -> Response:
    clusters = [dataclasses.asdict(found) for found in site_of(request).settings.clusters]
    return answer(request, "clusters.html", {"title": "Clusters", "list": clusters})


async def _login_page(request: Request) -> Response:
    value = {"title": "Log in", "next": _next(request, dict(request.query_params)), "error": ""}
    return answer(request, "login.html", value)


async def _login(request: Request, form: Form) -> Response:
    site, visitor = site_of(request), visitor_of(request)
    name, password = form.get("name", ""), form.get("password", "")
    if max(len(name), len(password)) > _MOST_CHARACTERS:
        raise RefusedError(400, "the name or the password is too long")
    if wait_s := site.attempts.wait_s(visitor.address, name, site.now_s()):
        response = _failed(request, form, 429, "Too many logins. Wait a minute, and try again.")
        response.headers["Retry-After"] = str(math.ceil(wait_s))
        return response
    if not await _matches(site, name, password):
        log.warning("a login of user %r from %s failed", name, visitor.address)
        return _failed(request, form, 403, "The name or the password is wrong.")
    site.logins.end(visitor.token)
    token = new_token()  # a token that others may have seen or set is not that of the login
    site.logins.begin(token, name, site.now_s(), has_password=True)
    log.info("user %r has logged in from %s", name, visitor.address)
    csrf = site.logins.form_token(token, name)
    response = done(request, _next(request, form), user=name, csrf=csrf)
    cookie = cookie_header(token, site.settings, is_secure=visitor.is_secure)
    response.headers["Set-Cookie"] = cookie
    return response


async def _matches(site: Site, name: str, password: str) -> bool:
    """Check a password in a thread; few logins may wait for it."""
    if site.num_waiting >= MOST_WAITING_LOGINS:
        raise RefusedError(503, "too many users log in at the moment: try again in a minute")
    site.num_waiting += 1
    try:
        async with site.hashing:
            return await asyncio.to_thread(check_password, site.users.current(), name, password)
    finally:
        site.num_waiting -= 1


def _failed(request: Request, form: Form, status: int, error: str) -> Response:
    value = {"title": "Log in", "next": _next(request, form), "error": error}
    return answer(request, "login.html", value, status)


def _next(request: Request, fields: Form) -> str:
    """Return the page after the login: one of this site, whatever the field says."""
    start = f"{site_of(request).settings.base_path}/"
    wanted = fields.get("next", "")
    is_own = wanted.startswith(start) and not wanted.startswith("//") and "\\" not in wanted
    return wanted if is_own and wanted.isprintable() else start


async def _logout(request: Request, _: Form) -> Response:
    site, visitor = site_of(request), visitor_of(request)
    site.logins.end(visitor.token)
    response = done(request, f"{site.settings.base_path}/", user="")
    response.delete_cookie(cookie_name(site.settings), path=site.settings.base_path or "/")
    return response


async def _credentials_page(request: Request) -> Response:
    cluster, visitor = cluster_of(request), visitor_of(request)
    found = visitor.credential(cluster.name)
    value = {
        "title": f"Login at {cluster.name}",
        "cluster": cluster.name,
        "scheme": None if found is None else found.scheme,
        "name": None if found is None else found.secret.partition(":")[0],
        "error": "",
        "_cluster": cluster,
        "_schemes": SCHEMES,
    }
    return answer(request, "credentials.html", value)


async def _credentials(request: Request, form: Form) -> Response:
    """Keep the credential of a user if the cluster accepts it; an empty name removes it."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    url = cluster_url(request, "tree")
    name, password, scheme = (form.get(field, "") for field in ("name", "password", "scheme"))
    login = visitor.login or site.logins.begin(visitor.token, visitor.user, site.now_s())
    before = login.credentials.pop(cluster.name, None)
    if before is not None:
        site.clients.end_one(cluster.name, login.key)
    if not name:
        return done(request, url, cluster=cluster.name, name=None)
    if scheme not in SCHEMES or ":" in name or max(len(name), len(password)) > _MOST_CHARACTERS:
        raise RefusedError(400, "choose digest or sasl, and a name without a colon")
    credential = Credential(scheme, f"{name}:{password}")
    try:
        async with site.clients.use(cluster, login.key, credential):
            pass
    except (AuthFailedError, NoServerError) as error:
        raise RefusedError(403, f"{cluster.name} does not accept this login: {error}") from None
    if not site.logins.has(login.key):
        site.clients.end_one(cluster.name, login.key)
        raise RefusedError(401, "the login has ended: load the page, and send the form again")
    login.credentials[cluster.name] = credential
    site.clients.end_one(cluster.name, login.key, but=credential)  # another form came meanwhile
    return done(request, url, cluster=cluster.name, name=name)


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/", _clusters, "clusters"),
        page("/login", _login_page, "login"),
        posting("/login", _login, "do-login", changes=False),
        posting("/logout", _logout, "do-logout", changes=False),
        page("/c/{cluster}/credentials", _credentials_page, "credentials"),
        posting("/c/{cluster}/credentials", _credentials, "do-credentials", changes=False),
    ]
