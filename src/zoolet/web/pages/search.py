"""The search in a subtree: a form, and the operation that it has started.

The URL keeps the query. Only the form starts a search, because a search costs the server work.
"""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.model import paths
from zoolet.web.operations.operation import Handle, Operation
from zoolet.web.operations.searching import MOST_TEXT, PLACES, SEARCH, Query, search
from zoolet.web.pages.answers import answer
from zoolet.web.pages.operations import is_part, operation_values, started
from zoolet.web.pages.posting import Form, cluster_of, cluster_url, page, posting
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import check_path


async def _search(request: Request) -> Response:
    fields, cluster = dict(request.query_params), cluster_of(request)
    path = fields.get("path", "") or paths.ROOT
    check_path(path)
    value: dict[str, Any] = {
        "title": f"Search in {cluster.name}",
        "cluster": cluster.name,
        "path": path,
        "text": fields.get("text", ""),
        "in": fields.get("in", "both"),
        "exact": bool(fields.get("exact")),
        "operation": None,
        "_most_text": MOST_TEXT,
        "_places": PLACES,
        "_in": fields.get("in", "both"),
        "_cluster": cluster,
    }
    found = _found(request, fields, value)
    if found is not None:
        shown = operation_values(request, found)
        if is_part(request):
            return answer(request, "operation_part.html", shown)
        value["operation"] = {name: one for name, one in shown.items() if not name.startswith("_")}
        value |= {name: one for name, one in shown.items() if name.startswith("_")}
    return answer(request, "search.html", value)


def _found(request: Request, fields: Form, value: Mapping[str, Any]) -> Operation | None:
    """Return the search with this id, if it is one of this visitor and of this query."""
    key, cluster = fields.get("operation", ""), cluster_of(request)
    found = site_of(request).operations.find(visitor_of(request), cluster.name, key)
    is_same = found is not None and found.facts == _facts(
        value["path"], value["text"], value["in"], is_exact=value["exact"]
    )
    return found if is_same else None


def _facts(path: str, text: str, place: str, *, is_exact: bool) -> dict[str, str]:
    facts = {"path": path, "text": text, "in": place}
    return facts | ({"exact": "yes"} if is_exact else {})


async def _start(request: Request, form: Form) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path = form.get("path", "") or paths.ROOT
    check_path(path)
    query = Query(path, form.get("text", ""), form.get("in", "both"), bool(form.get("exact")))

    async def work(handle: Handle) -> Mapping[str, Any]:
        async with site.connection(cluster, visitor) as connection:
            return await search(handle, connection.client, query)

    facts = _facts(path, query.text, query.place, is_exact=query.is_exact)
    found = site.operations.start(
        visitor,
        SEARCH,
        cluster=cluster.name,
        path=path,
        title=f"Search for {query.text!r} in {path}",
        work=work,
        url=cluster_url(request, "search", facts),
        facts=facts,
    )
    return started(request, found)


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/search", _search, "search"),
        posting("/c/{cluster}/search", _start, "do-search", changes=False),
    ]
