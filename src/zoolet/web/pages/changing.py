"""The forms that change something: data, ACLs, new znodes, deletions.

Invariants: a change uses the version that the user has seen; on a conflict nothing is written; each
change writes one record of the audit.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import AsyncClient, BadVersionError, CreateMode, NoNodeError, UnimplementedError
from zoolet.model import paths
from zoolet.model.acl_texts import format_acl, parse_acl
from zoolet.web.access.audit import audited
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.posting import MOST_VERSION, Form, cluster_of, number_in, page, posting
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import check_path, data_values, path_in, tree_url
from zoolet.web.values.values import edited, edited_hex, value_of

MODES: Final = {
    "persistent": CreateMode.PERSISTENT,
    "sequential": CreateMode.PERSISTENT_SEQUENTIAL,
    "container": CreateMode.CONTAINER,
}
"""The kinds of znodes that the page creates. An ephemeral would end with the page's session."""


async def _save(request: Request, form: Form) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path, version = path_in(form), number_in(form, "version", MOST_VERSION)
    czxid, view, text = number_in(form, "czxid"), form.get("view", "text"), form.get("content", "")
    edit = {"text": edited, "json": edited, "hex": edited_hex}.get(view)
    if edit is None:
        raise RefusedError(400, "view must be text or hex")
    with audited(visitor, cluster.name, "set", path, version=version) as record:
        async with site.connection(cluster, visitor) as connection:
            client = connection.client
            data, stat = await client.get(path)
            if (stat.version, stat.czxid) == (version, czxid):
                try:
                    new = await client.set(path, edit(value_of(data), text), version=version)
                except BadVersionError:
                    data, stat = await client.get(path)
                else:
                    return done(request, tree_url(request, path), version=new.version)
        record["result"] = "conflict"
    theirs = data_values(value_of(data), {"view": view})
    value = {
        "title": f"Conflict: {path}",
        "cluster": cluster.name,
        "path": path,
        "kind": "data",
        "error": "Another program has changed the data. Nothing was written.",
        "theirs": theirs["_edited_hex"] if view == "hex" else theirs["data"]["text"],
        "yours": text,
        "version": stat.version,
        "czxid": stat.czxid,
        "view": view,
        "_cluster": cluster,
    }
    return answer(request, "conflict.html", value, 409)


async def _set_acl(request: Request, form: Form) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path, aversion = path_in(form), number_in(form, "aversion", MOST_VERSION)
    lines = [line.strip() for line in form.get("acl", "").splitlines()]
    acl = parse_acl(",".join(line for line in lines if line))
    with audited(visitor, cluster.name, "setACL", path, acl=format_acl(acl)) as record:
        async with site.connection(cluster, visitor) as connection:
            try:
                stat = await connection.client.set_acl(path, acl, version=aversion)
            except BadVersionError:
                found = await connection.client.get_acl(path)
            else:
                return done(request, tree_url(request, path), aversion=stat.aversion)
        record["result"] = "conflict"
    value = {
        "title": f"Conflict: {path}",
        "cluster": cluster.name,
        "path": path,
        "kind": "acl",
        "error": "Another program has changed the ACL. Nothing was written.",
        "theirs": format_acl(found.acl),
        "yours": format_acl(acl),
        "aversion": found.stat.aversion,
        "_cluster": cluster,
    }
    return answer(request, "conflict.html", value, 409)


async def _create(request: Request, form: Form) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    parent, mode = path_in(form, "parent"), MODES.get(form.get("mode", "persistent"))
    if mode is None:
        raise RefusedError(400, f"mode must be one of {', '.join(MODES)}")
    name = form.get("name", "")
    path = paths.join(parent, name)
    if "/" in name or (not name and mode is not CreateMode.PERSISTENT_SEQUENTIAL):
        raise RefusedError(400, "give a name without /")
    if name:
        check_path(path)
    data = form.get("content", "").replace("\r\n", "\n").encode()
    with audited(visitor, cluster.name, "create", path, mode=mode.name.lower()) as record:
        async with site.connection(cluster, visitor) as connection:
            created = await connection.client.create(path, data, mode=mode)
        record["path"] = created.path
    return done(request, tree_url(request, created.path), path=created.path)


async def _deletion(request: Request) -> Response:
    """Show how many znodes a deletion deletes."""
    path = path_in(dict(request.query_params))
    return await _ask(request, path, "", 200)


async def _ask(request: Request, path: str, error: str, status: int) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    async with site.connection(cluster, visitor) as connection:
        count, czxid = await _count(connection.client, path)
    value = {
        "title": f"Delete {path}",
        "cluster": cluster.name,
        "path": path,
        "count": count,
        "czxid": czxid,
        "error": error,
        "_cluster": cluster,
    }
    return answer(request, "delete.html", value, status)


async def _delete(request: Request, form: Form) -> Response:
    """Delete a subtree if it is the one that the user has seen, and not larger."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path, czxid, seen = path_in(form), number_in(form, "czxid"), number_in(form, "count")
    if path in paths.SYSTEM_PATHS:
        raise RefusedError(400, f"{path} belongs to ZooKeeper and cannot be deleted")
    with audited(visitor, cluster.name, "delete", path) as record:
        async with site.connection(cluster, visitor) as connection:
            client = connection.client
            count, found = await _count(client, path)
            if found == czxid and count <= seen:
                record["deleted"] = 0
                deleted = await client.delete_recursive(
                    path, progress=lambda number: record.update(deleted=number)
                )
                record["deleted"] = deleted
                url = tree_url(request, paths.parent_of(path))
                return done(request, url, deleted=deleted)
        record["result"] = "conflict"
    error = "The subtree has changed meanwhile. Nothing was deleted. Check the number again."
    return await _ask(request, path, error, 409)


async def _count(client: AsyncClient, path: str) -> tuple[int, int]:
    """Return the number of znodes of a subtree, and the czxid of its root."""
    stat = await client.exists(path)
    if stat is None:
        raise NoNodeError("delete", path)
    try:
        return 1 + await client.count_descendants(path), stat.czxid
    except UnimplementedError:
        count = 0
        async for _ in client.walk(path):
            count += 1
        return count, stat.czxid


def routes() -> list[Route]:
    """Return the routes of this module."""
    forms: dict[str, Any] = {"save": _save, "acl": _set_acl, "create": _create, "delete": _delete}
    return [
        page("/c/{cluster}/delete", _deletion, "delete"),
        *(
            posting(f"/c/{{cluster}}/{name}", handler, f"do-{name}", changes=True)
            for name, handler in forms.items()
        ),
    ]
