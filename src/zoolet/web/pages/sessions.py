"""The sessions of a cluster, and one session with its ephemerals and watches."""

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client.connecting.answer_lines import parse_wchs, session_id_of
from zoolet.client.connecting.servers import parse_servers
from zoolet.model.addresses import Address
from zoolet.web.pages.answers import RefusedError, answer
from zoolet.web.pages.posting import cluster_of, number_in, page, start_of
from zoolet.web.pages.site import Site, site_of
from zoolet.web.pages.times import age_text, time_text
from zoolet.web.servers.asking import AskError
from zoolet.web.servers.sampling import SHORT_TIMEOUT_S
from zoolet.web.servers.sessions import ORDERS, Paths, Session, selected
from zoolet.web.settings import Cluster

ROWS: Final = 100
"""The number of sessions, or of paths, on a page."""

_MOST_FILTER: Final = 200


async def _sessions(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    fields = request.query_params
    order, text = fields.get("order", "ephemerals"), fields.get("filter", "")[:_MOST_FILTER]
    if order not in ORDERS:
        raise RefusedError(400, f"order must be one of {', '.join(ORDERS)}")
    start, servers = start_of(request), _servers(site, cluster)
    reading, totals = await asyncio.gather(
        site.sessions.reading(cluster.name, servers), _watch_totals(site, servers)
    )
    found = list(reading.sessions.values())
    total, shown = await asyncio.to_thread(selected, found, text, order, start, ROWS)
    value = {
        "title": f"Sessions - {cluster.name}",
        "cluster": cluster.name,
        "total": total,
        "all": len(found),
        "start": start,
        "order": order,
        "filter": text,
        "sessions": [session.value() for session in shown],
        "watches": totals,
        "problems": reading.problems,
        "_rows": ROWS,
        "_orders": list(ORDERS),
        "_ages": [_since(site, session) for session in shown],
        "_cluster": cluster,
    }
    return answer(request, "sessions.html", value, parts={"sessions": "sessions_list.html"})


async def _watch_totals(site: Site, servers: list[Address]) -> list[dict[str, Any]]:
    """Return the number of watches of each server, or why it is not known."""

    async def one(address: Address) -> dict[str, Any]:
        try:
            found = parse_wchs(await site.asker.text(address, "wchs", SHORT_TIMEOUT_S))
        except AskError as error:
            return {"server": str(address), "problem": str(error)}
        if found is None:
            return {"server": str(address), "problem": f"{address}: wchs has another form"}
        return {"server": str(address), "problem": "", **found._asdict()}

    return list(await asyncio.gather(*map(one, servers)))


async def _session(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    session_id = session_id_of(request.path_params["id"])
    if not session_id:
        raise RefusedError(400, "the id of a session has the form 0x1a2b")
    fields = {"ephemerals": "0", "watches": "0", **request.query_params}
    from_ephemeral, from_watch = number_in(fields, "ephemerals"), number_in(fields, "watches")
    servers = _servers(site, cluster)
    reading = await site.sessions.reading(cluster.name, servers)
    session = reading.sessions.get(session_id)
    connected = None if session is None else session.connected
    server = next((one for one in servers if connected and str(one) == connected.server), None)
    none = Paths(0, [], [])
    ephemerals = await site.sessions.ephemerals(servers, session_id, from_ephemeral, ROWS)
    watches = (
        none
        if server is None
        else await site.sessions.watches(server, session_id, from_watch, ROWS)
    )
    if session is None and not ephemerals.total and not reading.problems:
        raise RefusedError(404, f"there is no session {session_id:#x}: it has ended")
    session = session or Session(session_id, None, 0, ephemerals.total)
    problems = [*reading.problems, *ephemerals.problems, *watches.problems]
    value = {
        "title": f"Session {session.name}",
        "cluster": cluster.name,
        "session": session.value(),
        "ephemerals": _part(ephemerals, from_ephemeral, cluster),
        "watches": _part(watches, from_watch, cluster),
        "problems": list(dict.fromkeys(problems)),
        "_since": _since(site, session),
        "_time": time_text(connected.since_ms) if connected else "",
        "_rows": ROWS,
        "_cluster": cluster,
    }
    return answer(request, "session.html", value)


def _part(found: Paths, start: int, cluster: Cluster) -> dict[str, Any]:
    """Return a part of the paths, each with its path for the tree of the cluster."""
    chroot = parse_servers(cluster.hosts).chroot
    shown = [{"path": path, "in_tree": _below(path, chroot)} for path in found.paths]
    return {"total": found.total, "start": start, "paths": shown}


def _below(path: str, chroot: str) -> str | None:
    """Return the path as the clients of the page name it; None if their chroot hides it."""
    if not chroot:
        return path
    is_below = path == chroot or path.startswith(f"{chroot}/")
    return (path[len(chroot) :] or "/") if is_below else None


def _since(site: Site, session: Session) -> str:
    return age_text(site.time_s(), session.connected.since_ms) if session.connected else ""


def _servers(site: Site, cluster: Cluster) -> list[Address]:
    return [sampled.address for sampled in site.sampler.servers(cluster.name)]


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [
        page("/c/{cluster}/sessions", _sessions, "sessions"),
        page("/c/{cluster}/sessions/{id}", _session, "session"),
    ]
