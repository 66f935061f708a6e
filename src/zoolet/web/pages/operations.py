"""The long operations of a visitor: a list, the progress of one, and its cancellation."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.web.operations.operation import Operation
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.posting import (
    Form,
    cluster_of,
    cluster_url,
    page,
    posting,
    start_of,
)
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.times import time_text
from zoolet.web.pages.tree import tree_url

MATCHES_OF_PAGE: Final = 100
"""The number of entries of a result on one page."""

_CANCEL_S: Final = 1.0
"""How long an answer to a cancellation waits for the end of the operation."""


async def _list(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    found = site.operations.list(visitor_of(request), cluster.name)
    value = {
        "title": f"Operations - {cluster.name}",
        "cluster": cluster.name,
        "operations": [{**one.values(), "result": None} for one in found],
        "_times": {one.id: time_text(int(one.begun_s * 1000)) for one in found},
        "_urls": {one.id: operation_url(request, one)[:-1] for one in found},
        "_cluster": cluster,
    }
    return answer(request, "operations.html", value)


async def _operation(request: Request) -> Response:
    found = operation_of(request)
    template = "operation_part.html" if is_part(request) else "operation.html"
    return answer(request, template, operation_values(request, found))


async def _cancel(request: Request, _: Form) -> Response:
    site, found = site_of(request), operation_of(request)
    site.operations.cancel(found)
    await site.operations.ended(found, _CANCEL_S)
    url = operation_url(request, found)[:-1]
    return done(request, url, id=found.id, state=found.state.value)


def operation_of(request: Request) -> Operation:
    """Return the operation in the URL; raises RefusedError, also if it is another visitor's."""
    key, cluster = request.path_params["operation"], cluster_of(request)
    found = site_of(request).operations.find(visitor_of(request), cluster.name, key)
    if found is None:
        raise RefusedError(
            404, "you have no operation of this name here: it ended long ago, or with its login"
        )
    return found


def is_part(request: Request) -> bool:
    """Return whether a script asks for the part of the page that shows the operation."""
    return request.headers.get("x-part") == "operation"


def operation_values(request: Request, found: Operation) -> dict[str, Any]:
    """Return what the page of an operation shows."""
    start = start_of(request)
    place = operation_url(request, found)
    ended_s = site_of(request).time_s() if found.ended_s is None else found.ended_s
    return {
        **found.values(),
        "_seconds": max(0, round(ended_s - found.begun_s)),
        "_begun": time_text(int(found.begun_s * 1000)),
        "_is_cancelled": found.is_cancelled,
        "_template": found.kind.template,
        "_cancel_url": cluster_url(request, f"operations/{found.id}/cancel"),
        "_start": start,
        "_count": MATCHES_OF_PAGE,
        "_part_url": f"{place}start={start}",
        "_place": place,
        "_link": found.kind.link,
        "_back": found.end_url or tree_url(request, found.path),
        "_cluster": cluster_of(request),
    }


def operation_url(request: Request, found: Operation) -> str:
    """Return the URL of the page of an operation; more fields of the query may follow it."""
    if found.url:
        return f"{found.url}&operation={found.id}&"
    return cluster_url(request, f"operations/{found.id}") + "?"


def started(request: Request, found: Operation) -> Response:
    """Return the answer to a form that has started an operation: JSON, or its page."""
    url = operation_url(request, found)[:-1]
    return done(request, url, id=found.id, page=url, state=found.state.value)


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/operations"
    return [
        page(url, _list, "operations"),
        page(f"{url}/{{operation}}", _operation, "operation"),
        posting(f"{url}/{{operation}}/cancel", _cancel, "do-cancel-operation", changes=False),
    ]
