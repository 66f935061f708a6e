"""Routes: pages, forms without changes, and forms that change something.

Invariant: each route for POST is made by `posting` or `uploading`, so it checks the token first;
each route that changes something also needs ``--allow-changes`` and the role editor.
"""

import asyncio
import hmac
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.web.access.guard import is_same_origin
from zoolet.web.access.users import Role
from zoolet.web.pages.answers import EXPLAINED, RefusedError, error_page
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.settings import Cluster

log = logging.getLogger(__name__)

MOST_FORM_BYTES: Final = 8 << 20
"""Most bytes of a form: three for each byte of the longest data that the page edits."""

FORM_S: Final = 60.0
"""A form must arrive within this time."""

MOST_VERSION: Final = 2**31 - 1
"""The greatest version of a znode."""

_MOST_FIELDS: Final = 20

Form = dict[str, str]
"""The fields of a form."""

Page = Callable[[Request], Awaitable[Response]]
FormHandler = Callable[[Request, Form], Awaitable[Response]]


class FormRoute(Route):
    """A route for POST.

    Attributes:
        changes: whether it changes something in ZooKeeper.
    """

    changes: bool = True


def page(path: str, handler: Page, name: str) -> Route:
    """Return the route of a page."""

    async def endpoint(request: Request) -> Response:
        try:
            return await handler(request)
        except EXPLAINED as error:
            return error_page(request, error)

    return Route(path, endpoint, methods=["GET"], name=name)


def posting(path: str, handler: FormHandler, name: str, *, changes: bool) -> FormRoute:
    """Return the route of a form; ``changes`` says whether it changes something in ZooKeeper."""

    async def endpoint(request: Request) -> Response:
        try:
            if changes:
                _check_role(request)
            form = await _read(request)
            _check_token(request, form)
            _check_still(request, changes=changes)
            return await handler(request, form)
        except EXPLAINED as error:
            return error_page(request, error)

    route = FormRoute(path, endpoint, methods=["POST"], name=name)
    route.changes = changes
    return route


def uploading(path: str, handler: Page, name: str) -> FormRoute:
    """Return the route of a file that changes something: the handler reads the body itself.

    The token is in the header ``X-CSRF-Token``.
    """

    async def endpoint(request: Request) -> Response:
        try:
            _check_role(request)
            _check_token(request, {})
            return await handler(request)
        except ClientDisconnect:
            return error_page(request, RefusedError(400, "the file is not complete"))
        except EXPLAINED as error:
            return error_page(request, error)

    return FormRoute(path, endpoint, methods=["POST"], name=name)


def cluster_of(request: Request) -> Cluster:
    """Return the cluster in the URL of a request."""
    found = site_of(request).settings.cluster(request.path_params["cluster"])
    if found is None:
        raise RefusedError(404, "there is no cluster of this name: see the list of clusters")
    return found


def cluster_url(
    request: Request,
    name: str,
    fields: Mapping[str, str] | None = None,
    cluster: Cluster | None = None,
) -> str:
    """Return the URL of a page of a cluster; without ``cluster``, of that of the request."""
    base = site_of(request).settings.base_path
    url = f"{base}/c/{(cluster or cluster_of(request)).name}/{name}"
    return f"{url}?{urlencode(fields)}" if fields else url


def start_of(request: Request) -> int:
    """Return the field ``start``, from which on a list is shown, or 0; raises RefusedError."""
    return number_in({"start": "0", **request.query_params}, "start")


def number_in(fields: Form, name: str, limit: int = 2**63 - 1) -> int:
    """Return a field as a number from 0 to ``limit``; raises RefusedError."""
    text = fields.get(name, "")
    if not text.isascii() or not text.isdigit() or len(text) > 19 or int(text) > limit:
        raise RefusedError(400, f"the field {name} must be a number from 0 to {limit}")
    return int(text)


def _check_role(request: Request) -> None:
    site, visitor = site_of(request), visitor_of(request)
    if site.may_change(visitor):
        return
    log.warning(
        "refused a change of user %r at %s: %s", visitor.user, visitor.address, request.url.path
    )
    if not site.settings.allows_changes:
        raise RefusedError(403, "the page allows no changes: start it with --allow-changes")
    raise RefusedError(403, "only an editor may change something: ask for the role editor")


def _check_still(request: Request, *, changes: bool) -> None:
    """Check the login and the role again: a form may arrive long after its headers."""
    site, visitor = site_of(request), visitor_of(request)
    if visitor.role is not None and not site.is_welcome(visitor):
        raise RefusedError(401, "the login has ended: load the page, and send the form again")
    if changes and site.role_now(visitor) is not Role.EDITOR:
        raise RefusedError(403, "you are no editor any more: ask for the role editor")


async def _read(request: Request) -> Form:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"", "application/x-www-form-urlencoded"}:
        raise RefusedError(415, "send the form as application/x-www-form-urlencoded")
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_FORM_BYTES:
                    raise RefusedError(413, f"the form is longer than {MOST_FORM_BYTES >> 20} MiB")
    except TimeoutError:
        raise RefusedError(408, f"the form has not arrived within {FORM_S:.0f} s") from None
    except ClientDisconnect:
        raise RefusedError(400, "the form is not complete") from None
    try:
        return dict(
            parse_qsl(
                body.decode("ascii"),
                keep_blank_values=True,
                errors="strict",
                max_num_fields=_MOST_FIELDS,
            )
        )
    except ValueError:
        raise RefusedError(400, "the form is not valid: send its fields in UTF-8") from None


def _check_token(request: Request, form: Form) -> None:
    sent = request.headers.get("x-csrf-token", "") or form.get("csrf", "")
    expected = visitor_of(request).form_token
    is_valid = hmac.compare_digest(sent.encode("utf-8", "replace"), expected.encode())
    if not is_valid or not is_same_origin(request.headers):
        raise RefusedError(
            403, "the form is too old, or another site has sent it: load the page again"
        )
