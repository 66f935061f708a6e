"""The past of a path: older changes, and two moments compared."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.model import paths
from zoolet.web.history import comparing
from zoolet.web.history.changes import PastChange, PastChanges, permitted
from zoolet.web.history.comparing import Comparison, Difference
from zoolet.web.history.permission import Acls, Judge, identities_of
from zoolet.web.history.places import NOW, Places, moment
from zoolet.web.history.process import PastError
from zoolet.web.live.streams import left
from zoolet.web.pages.answers import RefusedError, answer
from zoolet.web.pages.posting import cluster_of, page, start_of
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import path_in
from zoolet.web.settings import PastSource

T = TypeVar("T")

KINDS: Final = {
    "created": "Created",
    "data": "Data set",
    "acl": "ACL set",
    "deleted": "Deleted",
    "missing": "Changes are missing",
}
"""The kinds of changes in the past, as the page shows them."""


async def _history(request: Request) -> Response:
    """Show the older changes of a znode or a subtree."""
    fields = dict(request.query_params)
    path, recursive = path_in(fields, missing=paths.ROOT), fields.get("recursive", "1") != "0"
    since, until = fields.get("since", ""), fields.get("until", "")
    options = ["--recursive"] if recursive else []
    for name, text in (("--since", since), ("--until", until)):
        if given := moment(text):
            options += [name, given]
    places = Places(cluster_of(request))
    found = PastChanges(places)
    arguments = [*options, "--", "{}", places.full(path)]
    source = _source(request)
    lines = site_of(request).data_tool.lines(source, "history", arguments)

    async def work() -> tuple[list[PastChange], int]:
        async with aclosing(lines):
            await found.read(lines)
        async with _judge(request, found.acls) as judge:
            return await permitted(list(found.changes), judge)

    changes, num_hidden = await _while_here(request, work())
    value = _value(request, path, f"Older changes of {path}") | {
        "recursive": recursive,
        "since": since,
        "until": until,
        "num_hidden": num_hidden,
        "num_left_out": found.num_left_out,
        "changes": [_shown(change) for change in reversed(changes)],
        "_kinds": KINDS,
    }
    return answer(request, "history.html", value)


async def _compare(request: Request) -> Response:
    """Show which znodes of a subtree differ between two moments."""
    fields = dict(request.query_params)
    path = path_in(fields, missing=paths.ROOT)
    start = start_of(request)
    before, after = fields.get("from", ""), fields.get("to", NOW)
    value = _value(request, path, f"Compare {path}") | {
        "from": before,
        "_from": before,
        "to": after,
        "start": start,
        "step": comparing.MOST_SHOWN,
        "differences": [],
        "total": 0,
        "most": comparing.MOST_COMPARED,
        "num_hidden": 0,
        "is_asked": bool(before),
    }
    if not before:
        return answer(request, "compare.html", value)
    places = Places(cluster_of(request))
    found = Comparison(places, start)
    # Without a second moment, zoolet data takes the newest state.
    first, second = moment(before), moment(after)
    if not first:
        raise RefusedError(400, "give a zxid or a time as the first moment")
    options = ["--as-of", first, *(["--as-of", second] if second else [])]
    options += ["--json", "--path", places.full(path)]
    lines = site_of(request).data_tool.lines(
        _source(request), "diff", [*options, "--", "{}", "{}"], may_differ=True
    )

    async def work() -> tuple[list[Difference], int]:
        async with aclosing(lines):
            await found.read(lines)
        async with _judge(request, found.acls) as judge:
            return await comparing.permitted(found.found, judge)

    shown, value["num_hidden"] = await _while_here(request, work())
    value["differences"] = [_difference(difference) for difference in shown]
    value["total"] = found.total
    return answer(request, "compare.html", value)


def _value(request: Request, path: str, title: str) -> dict[str, Any]:
    cluster = cluster_of(request)
    source = _source(request)
    return {
        "title": f"{title} - {cluster.name}",
        "cluster": cluster.name,
        "path": path,
        "source": "archive" if source.is_archive else "data directory",
        "_cluster": cluster,
    }


def _source(request: Request) -> PastSource:
    name = cluster_of(request).name
    found = site_of(request).settings.past.get(name)
    if found is None:
        raise RefusedError(
            404,
            "the page knows only changes since it was opened. Start zoolet web with --archive"
            f" {name}=URL or --data-dir {name}=DIR to see older ones",
        )
    return found


@asynccontextmanager
async def _judge(request: Request, acls: Acls) -> AsyncIterator[Judge]:
    cluster, visitor = cluster_of(request), visitor_of(request)
    identities = identities_of(visitor.credential(cluster.name))
    async with site_of(request).connection(cluster, visitor) as connection:
        yield Judge(connection.client, identities, acls)


async def _while_here(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of work; end it if the browser leaves."""
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(left(request.receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RefusedError(400, "the browser has left")
        return working.result()
    except PastError as error:
        raise RefusedError(502, str(error)) from None
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


def _shown(change: PastChange) -> dict[str, Any]:
    return {
        "time": change.time,
        "kind": change.kind,
        "path": change.path,
        "zxid": change.zxid,
        "version": change.version,
        "old": None if change.old is None else change.old._asdict(),
        "new": None if change.new is None else change.new._asdict(),
        "note": change.note,
    }


def _difference(found: Difference) -> dict[str, Any]:
    return {
        "path": found.path,
        "kind": found.kind,
        "what": found.what,
        "is_hidden": found.is_hidden,
        "is_cut": any(side is not None and side.is_cut for side in (found.before, found.after)),
        "before_bytes": None if found.before is None else found.before.length,
        "after_bytes": None if found.after is None else found.after.length,
        "rows": found.rows,
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/history", _history, "history"),
        page("/c/{cluster}/compare", _compare, "compare"),
    ]
