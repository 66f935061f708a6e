"""Answers: the same value as a page of HTML or as JSON, and errors as either.

Invariant: templates escape every value.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from zoolet.client import (
    AuthFailedError,
    BadVersionError,
    ConnectionLossError,
    DeadlineError,
    InvalidAclError,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NoServerError,
    NotEmptyError,
    QuotaExceededError,
    SessionExpiredError,
    ZooKeeperError,
)
from zoolet.exports.lines import ExportError
from zoolet.jobs import (
    AccessDeniedError,
    BatchExistsError,
    DisconnectedError,
    InvalidJobError,
    JobError,
    JobNotFoundError,
    JobTakenError,
    JobTimeoutError,
    ScheduleExistsError,
    UnknownBatchError,
    UnknownDatasetError,
    UnknownLimitError,
    UnknownQueueError,
    UnknownScheduleError,
)
from zoolet.web.clusters.clients import TooManyClientsError
from zoolet.web.clusters.lists import TooManyChildrenError
from zoolet.web.live.streams import TooManyStreamsError
from zoolet.web.operations.operation import OperationError
from zoolet.web.operations.registry import TooManyOperationsError
from zoolet.web.operations.uploads import NoRoomError, TooLargeError
from zoolet.web.pages.site import site_of, visitor_of

_TEMPLATES: Final = Environment(
    loader=FileSystemLoader(Path(__file__).parents[1] / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    auto_reload=False,  # an update of the package would mix templates of two versions
    trim_blocks=True,
    lstrip_blocks=True,
)

_STATUSES: Final[dict[type[Exception], int]] = {
    InvalidAclError: 400,
    InvalidJobError: 400,
    ExportError: 400,
    ValueError: 400,
    NoAuthError: 403,
    AuthFailedError: 403,
    AccessDeniedError: 403,
    NoNodeError: 404,
    UnknownQueueError: 404,
    UnknownBatchError: 404,
    UnknownDatasetError: 404,
    UnknownLimitError: 404,
    UnknownScheduleError: 404,
    JobNotFoundError: 404,
    BadVersionError: 409,
    NodeExistsError: 409,
    NotEmptyError: 409,
    QuotaExceededError: 409,
    BatchExistsError: 409,
    ScheduleExistsError: 409,
    JobTakenError: 409,
    OperationError: 409,
    TooManyChildrenError: 413,
    TooLargeError: 413,
    TooManyOperationsError: 429,
    ZooKeeperError: 502,
    JobError: 502,
    NoServerError: 503,
    ConnectionLossError: 503,
    SessionExpiredError: 503,
    DisconnectedError: 503,
    TooManyClientsError: 503,
    TooManyStreamsError: 503,
    OSError: 503,
    DeadlineError: 504,
    JobTimeoutError: 504,
    NoRoomError: 507,
}
"""The status of each kind of error; the nearest kind counts, so the order does not matter."""
EXPECTED: Final[tuple[type[Exception], ...]] = tuple(_STATUSES)
"""The errors of ZooKeeper, of the job system and of the parts of the page."""


class _Json(JSONResponse):
    """JSON of any texts: data in ZooKeeper may have halves of characters (U+D800)."""

    def render(self, content: Any) -> bytes:
        """Return the bytes to send."""
        try:
            return super().render(content)
        except UnicodeEncodeError:
            return json.dumps(content, allow_nan=False, separators=(",", ":")).encode()


class RefusedError(Exception):
    """A request is refused; ``status`` is the status of the response."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


EXPLAINED: Final[tuple[type[Exception], ...]] = (RefusedError, *EXPECTED)
"""The errors that `error_page` explains."""


def load_templates() -> None:
    """Read all templates, so that a page needs no file: there may be no free descriptor."""
    for name in _TEMPLATES.list_templates():
        _TEMPLATES.get_template(name)


def wants_json(request: Request) -> bool:
    """Return whether the client asks for JSON."""
    return "application/json" in request.headers.get("accept", "")


def answer(
    request: Request,
    template: str,
    value: Mapping[str, Any],
    status: int = 200,
    *,
    parts: Mapping[str, str] | None = None,
) -> Response:
    """Return a value as JSON or as a page; a page may use values that JSON leaves out.

    The names of values that JSON leaves out begin with ``_``. ``parts`` has the templates of the
    parts that a script may ask for with the header X-Part.
    """
    visitor = visitor_of(request)
    if wants_json(request):
        shown = {name: found for name, found in value.items() if not name.startswith("_")}
        shown["csrf"] = visitor.form_token
        return _Json(shown, status, headers={"Vary": "Accept"})
    site = site_of(request)
    context = {
        **value,
        "base": site.settings.base_path,
        "visitor": visitor,
        "needs_login": site.settings.needs_login,
        "may_change": site.may_change(visitor),
        "clusters": site.settings.clusters,
    }
    chosen = (parts or {}).get(request.headers.get("x-part", ""), template)
    page = _TEMPLATES.get_template(chosen).render(context)
    content = page.encode("utf-8", "backslashreplace")  # it shows halves of characters
    return HTMLResponse(content, status, headers={"Vary": "Accept, X-Part"})


def fragment(template: str, value: Mapping[str, Any]) -> str:
    """Return a part of a page that is the same for all visitors, as HTML."""
    return _TEMPLATES.get_template(template).render(value)


def done(request: Request, url: str, **value: Any) -> Response:
    """Return the answer to a form that has done its work: JSON, or the next page."""
    if wants_json(request):
        return JSONResponse(value)
    return RedirectResponse(url, status_code=303)


def status_of(error: Exception) -> int:
    """Return the status of a response that explains an error."""
    return next((_STATUSES[kind] for kind in type(error).__mro__ if kind in _STATUSES), 500)


def error_page(request: Request, error: Exception) -> Response:
    """Return the page that explains an error."""
    status = error.status if isinstance(error, RefusedError) else status_of(error)
    cluster = site_of(request).settings.cluster(request.path_params.get("cluster", ""))
    value = {
        "error": str(error),
        "status": status,
        "_cluster": cluster,
        "_back": _page_before(request),
    }
    return answer(request, "error.html", value, status)


def _page_before(request: Request) -> str:
    """Return the page of this site from which a form was sent; "" if it is unknown."""
    if request.method != "POST":
        return ""
    before = urlsplit(request.headers.get("referer", ""))
    is_own = before.netloc == request.headers.get("host") and before.path.startswith("/")
    if not is_own or before.path.startswith("//"):
        return ""
    return before.path + (f"?{before.query}" if before.query else "")
