"""The tree, and what the page shows of one znode."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from zoolet.client import AclOf, NoAuthError, Stat, ZnodeData, ZooKeeperError
from zoolet.model import paths
from zoolet.model.acl_texts import format_acl
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES
from zoolet.model.owner_kinds import OwnerKind
from zoolet.web.clusters.clients import Connection
from zoolet.web.pages.answers import EXPECTED, RefusedError, answer, status_of
from zoolet.web.pages.posting import Form, cluster_of, cluster_url, number_in, page
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.times import age_text, time_text
from zoolet.web.recipes.reading import hint
from zoolet.web.values.values import MOST_EDITED_HEX_BYTES, Value, value_of
from zoolet.web.values.views import HEX_BYTES, hex_rows, json_markup

MOST_ROWS: Final = 500
"""Most names in one answer about children."""

FIRST_ROWS: Final = 100
"""The number of names in the JSON of a tree page."""

VIEWS: Final = ("text", "json", "hex")
"""The views of data."""


async def _tree(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    fields = dict(request.query_params)
    path, root = (path_in(fields, name, paths.ROOT) for name in ("path", "root"))
    value: dict[str, Any] = {
        "title": f"{path} - {cluster.name}",
        "cluster": cluster.name,
        "path": path,
        "root": root,
        "filter": fields.get("filter", ""),
        "error": None,
        "recipe": "",
        "_cluster": cluster,
        "_parts": _parts_of(path),
        "_parent": paths.parent_of(path),
    }
    status = 200
    try:
        async with site.connection(cluster, visitor_of(request)) as connection:
            value |= await znode_values(connection, path, fields, site.time_s())
            num_children = value["stat"]["num_children"] if "stat" in value else 0
            value["recipe"] = await hint(connection, site.lists, path, num_children)
            if request.headers.get("accept", "") == "application/json":
                value["children"] = await _first_children(request, connection, path)
    except EXPECTED as error:
        value["error"], status = str(error), status_of(error)
    return answer(request, "tree.html", value, status, parts={"znode": "znode.html"})


async def _first_children(request: Request, connection: Connection, path: str) -> dict[str, Any]:
    try:
        found = await site_of(request).lists.page(connection, path, start=0, count=FIRST_ROWS)
    except EXPECTED as error:
        return {"error": str(error)}
    return {"total": found.total, "names": found.names}


async def _children(request: Request) -> Response:
    """Answer with a part of a list of children; always as JSON."""
    site, cluster = site_of(request), cluster_of(request)
    fields = {"start": "0", "count": str(FIRST_ROWS), **request.query_params}
    path = path_in(fields, missing=paths.ROOT)
    start, count = number_in(fields, "start"), number_in(fields, "count", MOST_ROWS)
    try:
        async with site.connection(cluster, visitor_of(request)) as connection:
            found = await site.lists.page(
                connection,
                path,
                start=start,
                count=count,
                wanted=fields.get("list", ""),
                filter_text=fields.get("filter", ""),
                find=fields.get("find", ""),
            )
    except EXPECTED as error:
        return JSONResponse({"error": str(error)}, status_of(error))
    return JSONResponse(
        {
            "list": found.id,
            "total": found.total,
            "start": found.start,
            "names": found.names,
            "index": found.found_at,
            "isCurrent": found.is_current,
            "warning": _warning(found.reply_bytes),
        }
    )


def _warning(reply_bytes: int) -> str:
    """Return what to say about a list that other programs cannot read with their defaults."""
    if reply_bytes <= DEFAULT_MAX_FRAME_BYTES:
        return ""
    return (
        f"This list has {reply_bytes:,} bytes, more than the default of jute.maxbuffer"
        f" ({DEFAULT_MAX_FRAME_BYTES:,}). Clients in Java list it only with"
        f" -Djute.maxbuffer={1 << reply_bytes.bit_length()}."
    )


async def znode_values(
    connection: Connection, path: str, fields: Form, now_s: float
) -> dict[str, Any]:
    """Return what the page shows of a znode.

    Raises:
        NoNodeError: the znode does not exist.
    """
    client = connection.client
    read, acl = await asyncio.gather(client.get(path), client.get_acl(path), return_exceptions=True)
    shown: dict[str, Any] = {"data": None, "data_error": None, "acl": None, "acl_error": None}
    stat: Stat | None = None
    if isinstance(read, ZnodeData):
        stat = read.stat
        shown |= data_values(value_of(read.data), fields)
    elif isinstance(read, NoAuthError):
        shown["data_error"] = str(read)
        with contextlib.suppress(NoAuthError):
            stat = await client.exists(path)
    else:
        raise read
    if isinstance(acl, AclOf):
        shown["acl"], shown["aversion"] = format_acl(acl.acl), acl.stat.aversion
    elif isinstance(acl, ZooKeeperError):
        shown["acl_error"] = str(acl)
    else:
        raise acl
    if stat is not None:
        shown["stat"] = stat._asdict()
        shown["_stat_rows"] = stat_rows(stat, now_s)
        shown["_id"] = data_id(stat)
    return shown | {"_address": str(client.address or "")}


def data_values(value: Value, fields: Form) -> dict[str, Any]:
    """Return what the page shows of data."""
    view = fields.get("view", "") or value.kind
    if view not in VIEWS:
        raise RefusedError(400, f"view must be one of {', '.join(VIEWS)}")
    markup = json_markup(value.text) if view == "json" and value.is_json and value.text else None
    if view == "json" and markup is None:
        view = "text"
    if view == "text" and value.text is None:
        view = "hex"
    offset = number_in({"offset": "0", **fields}, "offset") if view == "hex" else 0
    offset -= offset % 16
    is_short = len(value.content) <= MOST_EDITED_HEX_BYTES
    return {
        "data": {
            "view": view,
            "encodings": list(value.layers),
            "length": None if value.data is None else len(value.data),
            "content_length": len(value.content),
            "text": value.text,
            "hex": value.content[offset : offset + HEX_BYTES].hex() if view == "hex" else None,
            "offset": offset,
            "is_json": value.is_json,
            "locked": value.locked,
        },
        "_json": markup,
        "_hex_rows": hex_rows(value.content, offset) if view == "hex" else [],
        "_hex_bytes": HEX_BYTES,
        "_edited_hex": value.content.hex(" ") if view == "hex" and is_short else None,
    }


def stat_rows(stat: Stat, now_s: float) -> list[tuple[str, str, str]]:
    """Return the name, the value and the explanation of each row of the Stat."""
    kind = OwnerKind.of(stat.ephemeral_owner)
    is_ephemeral = kind is OwnerKind.SESSION
    owner = f"{stat.ephemeral_owner % (1 << 64):#x}" if is_ephemeral else "none"
    return [
        ("Created", time_text(stat.ctime), age_text(now_s, stat.ctime)),
        ("Data set", time_text(stat.mtime), age_text(now_s, stat.mtime)),
        ("Version", str(stat.version), "how often the data were set"),
        ("Children", f"{stat.num_children:,}", f"version {stat.cversion}"),
        ("Data length", f"{stat.data_length:,} bytes", ""),
        ("ACL version", str(stat.aversion), "how often the ACL was set"),
        ("Owner session", owner, "" if kind is OwnerKind.NOBODY else kind.value),
        ("czxid", f"{stat.czxid:#x}", "created"),
        ("mzxid", f"{stat.mzxid:#x}", "data set"),
        ("pzxid", f"{stat.pzxid:#x}", "a child was created or deleted"),
    ]


def data_id(stat: Stat) -> str:
    """Return what identifies the data and the ACL of a znode."""
    return f"{stat.czxid:x}-{stat.mzxid:x}-{stat.aversion}"


def _parts_of(path: str) -> list[tuple[str, str]]:
    """Return the name and the path of each ancestor, and of the znode itself."""
    parts = [("/", paths.ROOT)]
    for name in path.split("/"):
        if name:
            parts.append((name, paths.join(parts[-1][1], name)))
    return parts


def check_path(path: str) -> None:
    """Raise RefusedError for a path that no znode can have."""
    reason = paths.reason_invalid(path)
    if reason is not None:
        raise RefusedError(400, f"the path is not valid: {reason}")


def path_in(fields: Mapping[str, str], name: str = "path", missing: str = "") -> str:
    """Return a field that is a path, or ``missing``; raises RefusedError as `check_path`."""
    path = fields.get(name, missing)
    check_path(path)
    return path


def tree_url(request: Request, path: str) -> str:
    """Return the URL of the page of a znode in the same cluster; its heading gets the focus."""
    return cluster_url(request, "tree", {"path": path}) + "#name"


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/tree", _tree, "tree"),
        page("/c/{cluster}/children", _children, "children"),
    ]
