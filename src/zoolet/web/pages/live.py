"""What changes while a page is open: the stream of the tree, and the page of changes of a path."""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from zoolet.client import Stat
from zoolet.model import paths
from zoolet.web.access.visitors import Visitor
from zoolet.web.clusters.readable import Denied, readable
from zoolet.web.live.changes import Change, ChangesFeed
from zoolet.web.live.feeds import Form
from zoolet.web.live.hub import Login
from zoolet.web.live.streams import EventResponse, Stream, encoded
from zoolet.web.live.znodes import ListNews, ZnodeNews
from zoolet.web.pages.answers import RefusedError, answer, fragment, wants_json
from zoolet.web.pages.posting import cluster_of, number_in, page
from zoolet.web.pages.site import Site, site_of, visitor_of
from zoolet.web.pages.times import time_text
from zoolet.web.pages.tree import VIEWS, check_path, data_id, data_values, path_in, stat_rows
from zoolet.web.values.values import value_of

MOST_BRANCHES: Final = 20
"""Most lists of children that one page follows."""


async def _stream(request: Request) -> Response:
    """Send the changes of the znode that a page shows, and of the lists in its tree."""
    site, login = site_of(request), _login_of(request)
    fields = dict(request.query_params)
    branches = dict.fromkeys(request.query_params.getlist("branch"))
    if len(branches) > MOST_BRANCHES:
        raise RefusedError(400, f"a page follows at most {MOST_BRANCHES} lists")
    znode, view = fields.get("znode", ""), fields.get("view", "")
    for path in (*branches, *([znode] if znode else [])):
        check_path(path)
    if view and view not in VIEWS:
        raise RefusedError(400, f"view must be one of {', '.join(VIEWS)}")
    offset = number_in({"offset": "0", **fields}, "offset")
    if wants_json(request):
        return await _state(request, znode or paths.ROOT)
    stream = _opened(site, visitor_of(request))
    try:
        if znode:
            site.live.follow_znode(login, znode, stream, _znode_form(site, view, offset))
        for path in branches:
            site.live.follow_list(login, path, stream, _LIST_FORM)
    except BaseException:
        site.live.leave(stream)
        raise
    return EventResponse(stream, lambda: site.live.leave(stream))


async def _state(request: Request, path: str) -> Response:
    """Answer with the Stat: programs ask for it, and a page whose stream was refused."""
    async with site_of(request).connection(cluster_of(request), visitor_of(request)) as connection:
        stat = await connection.client.exists(path)
    return JSONResponse({"path": path, "stat": None if stat is None else stat._asdict()})


def _login_of(request: Request) -> Login:
    cluster, visitor = cluster_of(request), visitor_of(request)
    return Login(cluster, visitor.key, visitor.credential(cluster.name))


def _opened(site: Site, visitor: Visitor) -> Stream:
    owner = visitor.user or visitor.address
    return site.live.streams.open(visitor.key, owner, lambda: site.is_welcome(visitor))


def _znode_form(site: Site, view: str, offset: int) -> Form:
    fields = {"view": view, "offset": str(offset)}

    def show(news: object) -> bytes | None:
        if not isinstance(news, ZnodeNews):
            return None
        html = None
        if news.has_data:
            html = fragment("data.html", data_values(value_of(news.data), fields))
        return encoded("znode", _znode_value(news, site.time_s()) | {"html": html})

    return Form(("znode", view, offset), show)


def _znode_value(news: ZnodeNews, now_s: float) -> dict[str, Any]:
    stat = news.stat
    return {
        "path": news.path,
        "error": news.error,
        "stat": None if stat is None else stat._asdict(),
        "rows": [] if stat is None else stat_rows(stat, now_s),
        "id": "" if stat is None else data_id(stat),
    }


def _show_list(news: object) -> bytes | None:
    if not isinstance(news, ListNews):
        return None
    value = news._asdict()
    value["isLong"] = value.pop("is_long")
    return encoded("list", value)


_LIST_FORM: Final = Form("list", _show_list)


async def _changes(request: Request) -> Response:
    """Show the page of changes; as JSON, the changes after the field ``last``."""
    site, cluster, login = site_of(request), cluster_of(request), _login_of(request)
    fields = dict(request.query_params)
    path, recursive = _followed(request)
    value: dict[str, Any] = {
        "title": f"Changes of {path} - {cluster.name}",
        "cluster": cluster.name,
        "path": path,
        "recursive": recursive,
        "_cluster": cluster,
        "_has_past": cluster.name in site.settings.past,
    }
    if wants_json(request):
        feed = site.live.changes(login, path, recursive=recursive)
        last = fields.get("last", "")
        changes, is_complete = await _since(request, feed, last)
        value |= {
            "last": _last(feed),
            "is_complete": is_complete or not last,
            "is_ready": feed.is_ready,
        }
        value["changes"] = [change_value(change) for change in changes]
    return answer(request, "changes.html", value)


async def _changes_stream(request: Request) -> Response:
    site, login = site_of(request), _login_of(request)
    path, recursive = _followed(request)
    last = request.headers.get("last-event-id", "") or request.query_params.get("last", "")
    stream = _opened(site, visitor_of(request))
    try:
        feed = site.live.changes(login, path, recursive=recursive)
        changes, is_complete = await _since(request, feed, last)
        begin = {"last": _last(feed), "isComplete": is_complete or not last}
        stream.put(encoded("begin", begin, _last(feed)))
        if changes:
            stream.put(_encoded(feed, changes))
        feed.add(stream, Form("changes", lambda news: _encoded(feed, news)))
    except BaseException:
        site.live.leave(stream)
        raise
    return EventResponse(stream, lambda: site.live.leave(stream))


async def _since(request: Request, feed: ChangesFeed, last: str) -> tuple[list[Change], bool]:
    """Return the changes after an event, without values that the visitor may not read now."""
    seen = feed.number
    changes, _ = feed.since(last)
    allowed: dict[str, Stat | Denied | None] = {}
    if changes:
        wanted = dict.fromkeys(change.path for change in changes)
        site, cluster = site_of(request), cluster_of(request)
        async with site.connection(cluster, visitor_of(request)) as connection:
            allowed = await readable(connection.client, wanted)
    changes, is_complete = feed.since(last)  # nothing waits between this and the end
    return [
        change
        if change.number > seen or isinstance(allowed.get(change.path), Stat)
        else change._replace(old=None, new=None)
        for change in changes
    ], is_complete


def _last(feed: ChangesFeed) -> str:
    return f"{feed.id}-{feed.number}"


def _encoded(feed: ChangesFeed, changes: list[Change]) -> bytes:
    """Return the event of changes; without changes, it says that the watch is set."""
    if not changes:
        return encoded("ready", {}, _last(feed))
    shown = [change_value(change) for change in changes]
    return encoded("changes", {"changes": shown}, f"{feed.id}-{changes[-1].number}")


def change_value(change: Change) -> dict[str, Any]:
    """Return a change as JSON."""
    value = change._asdict()
    value["time"] = time_text(change.time_ms)
    for name in ("old", "new"):
        found = getattr(change, name)
        value[name] = None if found is None else found._asdict()
    return value


def _followed(request: Request) -> tuple[str, bool]:
    path = path_in(request.query_params, missing=paths.ROOT)
    return path, request.query_params.get("recursive", "1") != "0"


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/live", _stream, "live"),
        page("/c/{cluster}/changes", _changes, "changes"),
        page("/c/{cluster}/changes/live", _changes_stream, "changes-live"),
    ]
