"""The page of the servers of a cluster: figures, members, the leader, lag, charts of the last hour.

Invariant: the page shows what the samples say. It waits only for the configuration, a few seconds.
"""

import asyncio
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client.connecting.servers import parse_servers
from zoolet.model.addresses import Address
from zoolet.web.charts import number_text
from zoolet.web.pages.answers import EXPECTED, answer, wants_json
from zoolet.web.pages.posting import cluster_of, page
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.servers.members import Member, all_addresses, members_of
from zoolet.web.servers.sampling import Sampled
from zoolet.web.settings import Cluster

_EPOCH_BITS: Final = 32
CONFIG_S: Final = 3.0
"""How long the page waits for the configuration of the ensemble."""

_PARTS: Final = {"figures": "server_figures.html", "charts": "server_charts.html"}

_COLUMNS: Final = (
    ("Connections", "connections", ""),
    ("Sessions", "sessions", ""),
    ("Latency min, ms", "min_latency", "ms"),
    ("Latency average, ms", "avg_latency", "ms"),
    ("Latency max, ms", "max_latency", "ms"),
    ("Waiting requests", "outstanding", ""),
    ("Znodes", "znodes", ""),
    ("Data in memory", "data_bytes", "bytes"),
    ("Ephemerals", "ephemerals", ""),
    ("Watches", "watches", ""),
    ("Open files", "open_files", ""),
)
"""The columns of the table: heading, figure and unit."""

_OF_LEADER: Final = (
    ("learners", "learners"),
    ("synced_followers", "synced followers"),
    ("synced_observers", "synced observers"),
    ("pending_syncs", "waiting syncs"),
)


async def _server(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    part = request.headers.get("x-part", "")
    # The parts that are fetched again and again do not ask ZooKeeper.
    members, problem = ([], "") if part else await _members(request, cluster)
    servers = site.sampler.servers(cluster.name)
    value: dict[str, Any] = {
        "title": f"Server - {cluster.name}",
        "cluster": cluster.name,
        "servers": [_server_value(each, servers) for each in servers],
        "members": [each._asdict() | {"clients": _text(each.clients)} for each in members],
        "config_problem": problem,
        "charts": [],
        "_cluster": cluster,
        "_columns": _COLUMNS,
        "_number": number_text,
    }
    if wants_json(request):
        value["charts"] = [chart.value() for chart in site.history.charts(cluster.name)]
    elif part != "figures":
        value["_charts"] = site.history.markup(cluster.name)
    return answer(request, "server.html", value, parts=_PARTS)


async def _members(request: Request, cluster: Cluster) -> tuple[list[Member], str]:
    """Return the members of the configuration, and why it is not known; sample new members."""
    site = site_of(request)
    hosts = parse_servers(cluster.hosts).addresses
    try:
        async with asyncio.timeout(CONFIG_S):
            async with site.connection(cluster, visitor_of(request)) as connection:
                data, _ = await connection.client.config()
    except TimeoutError:
        return [], "ZooKeeper does not answer, so the members of the ensemble are not known."
    except EXPECTED as error:
        return [], f"The configuration of the ensemble cannot be read: {error}"
    members = members_of(data)
    site.sampler.watch(cluster.name, all_addresses(hosts, members))
    return members, ""


def _server_value(sampled: Sampled, servers: list[Sampled]) -> dict[str, Any]:
    """Return what the page shows of a server; the mode is None if it does not answer."""
    answered, lag = sampled.answered, None
    if answered is None:
        empty = {"mode": None, "version": None, "zxid": None, "lag": None}
        about = {"address": str(sampled.address), "problem": sampled.problem}
        return {**about, **empty, "figures": {}, "of_leader": []}
    known = [each.answered.zxid for each in servers if each.answered and each.answered.zxid]
    if answered.zxid is not None and known and len(servers) > 1:
        newest = max(known)
        is_same = newest >> _EPOCH_BITS == answered.zxid >> _EPOCH_BITS
        lag = newest - answered.zxid if is_same else None
    return {
        "address": str(sampled.address),
        "problem": sampled.problem,
        "mode": answered.mode,
        "version": answered.version,
        "zxid": None if answered.zxid is None else f"{answered.zxid:#x}",
        "lag": lag,
        "figures": answered.figures,
        "of_leader": [
            [name, answered.figures[key]] for key, name in _OF_LEADER if key in answered.figures
        ],
    }


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/server", _server, "server")]
