"""The quotas of a cluster as bars, what a quota contains, and the form that changes it.

Invariants: a change uses the version that the user has seen; each change writes one record of the
audit.
"""

import asyncio
import heapq
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client import AsyncClient, BadVersionError, NodeExistsError, ZooKeeperError
from zoolet.client.connecting.servers import parse_servers
from zoolet.model import paths
from zoolet.model.quotas import BYTES, COUNT, HARD_BYTES, HARD_COUNT, UNLIMITED
from zoolet.web.access.audit import audited
from zoolet.web.charts import number_text
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.posting import (
    MOST_VERSION,
    Form,
    cluster_of,
    cluster_url,
    number_in,
    page,
    posting,
    start_of,
)
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import path_in
from zoolet.web.servers.quotas import (
    Quota,
    QuotaConflictError,
    read_quota,
    read_quotas,
    remove_quota,
    set_quota,
)
from zoolet.web.settings import Cluster

ROWS: Final = 50
"""The number of quotas on a page."""

MOST_COUNTED: Final = 500
"""Most children whose znodes the page of a quota counts."""

_SHOWN_CHILDREN: Final = 20
_MOST_LIMIT: Final = 2**63 - 1

FIELDS: Final = (
    (COUNT, "Znodes, soft limit"),
    (HARD_COUNT, "Znodes, hard limit"),
    (BYTES, "Bytes, soft limit"),
    (HARD_BYTES, "Bytes, hard limit"),
)
"""The fields of the form: the key of the limit, and its label."""


async def _quotas(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    _refuse_chroot(cluster)
    start = start_of(request)
    async with site.connection(cluster, visitor_of(request)) as connection:
        found, is_complete = await read_quotas(connection.client)
    shown = found[start : start + ROWS]
    value = {
        "title": f"Quotas - {cluster.name}",
        "cluster": cluster.name,
        "total": len(found),
        "is_complete": is_complete,
        "start": start,
        "quotas": [quota.value() for quota in shown],
        "_uses": [quota.uses() for quota in shown],
        "_rows": ROWS,
        "_number": number_text,
        "_cluster": cluster,
    }
    return answer(request, "quotas.html", value, parts={"quotas": "quotas_list.html"})


async def _quota(request: Request) -> Response:
    """Show the quota of a znode and what it contains."""
    cluster, path = cluster_of(request), _quota_path_in(dict(request.query_params))
    _refuse_chroot(cluster)
    return await _shown(request, cluster, path, "", 200)


async def _shown(
    request: Request, cluster: Cluster, path: str, error: str, status: int
) -> Response:
    site = site_of(request)
    async with site.connection(cluster, visitor_of(request)) as connection:
        client = connection.client
        quota = await read_quota(client, path)
        children, left_out, problem = await _largest_children(client, path)
    value = {
        "title": f"Quota of {path}",
        "cluster": cluster.name,
        "path": path,
        "quota": None if quota is None else quota.value(),
        "children": children,
        "not_counted": left_out,
        "children_problem": problem,
        "error": error,
        "_uses": [] if quota is None else quota.uses(),
        "_fields": [(key, label, _limit_text(quota, key)) for key, label in FIELDS],
        "_number": number_text,
        "_most_counted": MOST_COUNTED,
        "_cluster": cluster,
    }
    return answer(request, "quota.html", value, status)


async def _largest_children(
    client: AsyncClient, path: str
) -> tuple[list[dict[str, Any]], int, str]:
    """Return the children with the most znodes, the number of children that are not counted."""
    try:
        names, _ = await client.children(path)
        counted = sorted(names)[:MOST_COUNTED]
        below = [paths.join(path, name) for name in counted]
        numbers = await asyncio.gather(
            *map(client.count_descendants, below), return_exceptions=True
        )
    except ZooKeeperError as error:
        return [], 0, str(error)
    found = [
        (1 + number, name)
        for name, number in zip(counted, numbers, strict=True)
        if isinstance(number, int)
    ]
    if counted and not found:
        return [], len(names), "The server does not count the znodes of a subtree."
    largest = heapq.nsmallest(_SHOWN_CHILDREN, found, key=lambda each: (-each[0], each[1]))
    values = [{"name": name, "znodes": number} for number, name in largest]
    return values, len(names) - len(found), ""


async def _set(request: Request, form: Form) -> Response:
    """Set the limits of a quota, or remove the quota."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    path, removes = _quota_path_in(form), form.get("remove", "") == "yes"
    _refuse_chroot(cluster)
    seen = number_in(form, "version", MOST_VERSION) if form.get("version") else None
    limits = {} if removes else _limits_in(form)
    if removes and seen is None:
        raise RefusedError(400, f"{path} has no quota")
    operation = "removeQuota" if removes else "setQuota"
    with audited(visitor, cluster.name, operation, path, limits=limits) as record:
        try:
            async with site.connection(cluster, visitor) as connection:
                if removes and seen is not None:
                    await remove_quota(connection.client, path, seen)
                else:
                    await set_quota(connection.client, path, limits, seen)
        except (BadVersionError, NodeExistsError):
            record["result"] = "conflict"
        except QuotaConflictError as conflict:
            raise RefusedError(409, str(conflict)) from None
        else:
            return done(request, cluster_url(request, "quotas"), path=path, limits=limits or None)
    error = "Another program has changed the quota. Nothing was written. Check it again."
    return await _shown(request, cluster, path, error, 409)


def _limits_in(form: Form) -> dict[str, int]:
    """Return the limits of the form; an empty field is no limit."""
    limits = {
        key: number_in(form, key, _MOST_LIMIT) if form.get(key, "").strip() else UNLIMITED
        for key, _ in FIELDS
    }
    if set(limits.values()) == {UNLIMITED}:
        raise RefusedError(400, "give at least one limit, or remove the quota")
    if 0 in {limits[COUNT], limits[HARD_COUNT]}:
        raise RefusedError(400, "a limit of znodes is at least 1, because the root counts too")
    return limits


def _limit_text(quota: Quota | None, key: str) -> str:
    limit = UNLIMITED if quota is None else quota.limits.get(key, UNLIMITED)
    return "" if limit <= UNLIMITED else str(limit)


def _quota_path_in(fields: Form) -> str:
    path = path_in(fields)
    if path in {paths.ROOT, paths.SYSTEM} or path.startswith(f"{paths.SYSTEM}/"):
        raise RefusedError(400, f"{path} cannot have a quota: choose another znode below /")
    return path


def _refuse_chroot(cluster: Cluster) -> None:
    chroot = parse_servers(cluster.hosts).chroot
    if chroot:
        raise RefusedError(
            400,
            f"quotas are in {paths.QUOTA}, which the chroot {chroot} of {cluster.name} hides: add"
            " a --server without a chroot",
        )


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/quotas", _quotas, "quotas"),
        page("/c/{cluster}/quota", _quota, "quota"),
        posting("/c/{cluster}/quota", _set, "do-quota", changes=True),
    ]
