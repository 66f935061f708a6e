"""The page of the busiest clients, paths and operations of a cluster.

Invariant: a page whose cluster has a chroot shows only paths below it, as its tree does.
"""

from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.client.connecting.servers import parse_servers
from zoolet.top.reports import Kind, Report, Row
from zoolet.web.pages.answers import answer
from zoolet.web.pages.posting import cluster_of, page
from zoolet.web.pages.site import site_of
from zoolet.web.settings import Cluster

_ORDER: Final = ("clients", "addresses", "paths", "operations", "parents")
_CAPTIONS: Final = {
    "clients": "Clients",
    "addresses": "Addresses of clients",
    "paths": "Paths",
    "operations": "Operations",
    "parents": "Parents",
}
_WITH_PATHS: Final = frozenset({"paths", "parents"})
_HEADINGS: Final = {
    "session": "Session",
    "address": "Address",
    "last_operation": "Last operation",
    "path": "Path",
    "operation": "Operation",
    "requests_per_s": "Requests/s",
    "error_per_s": "±",
    "writes_per_s": "Writes/s",
    "bytes_per_s": "Bytes/s",
    "samples": "Samples",
}
_CUT: Final = "\u2026"


async def _top(request: Request) -> Response:
    site, cluster = site_of(request), cluster_of(request)
    part = request.headers.get("x-part", "")
    servers = parse_servers(cluster.hosts)
    addresses = [each.address for each in site.sampler.servers(cluster.name)]
    reports = await site.busiest.reports(cluster.name, addresses or servers.addresses)
    shown = [_shown(report, servers.chroot) for report in reports]
    value: dict[str, Any] = {
        "title": f"Busiest clients and paths - {cluster.name}",
        "cluster": cluster.name,
        "servers": [report.as_json() for report in shown],
        "_cluster": cluster,
        "_reports": [_view(report, cluster) for report in shown],
        "_headings": _HEADINGS,
        "_figure": _figure,
    }
    return answer(request, "top_tables.html" if part else "top.html", value)


def _shown(report: Report, chroot: str) -> Report:
    """Return a report with only the paths below the chroot, as the tree of the page names them."""
    if not chroot or report.kind is not Kind.SAMPLES:
        return report
    tables = dict(report.tables)
    for name in _WITH_PATHS:
        tables[name] = [
            row | {"path": row["path"].removeprefix(chroot) or "/"}
            for row in tables[name]
            if f"{row['path']}/".startswith(f"{chroot}/")
        ]
    return replace(report, tables=tables)


def _view(report: Report, cluster: Cluster) -> dict[str, Any]:
    """Return what the template needs: the tables in their order, with the links of rows."""
    texts = report.texts
    listed = [name for name in _ORDER if name in texts] or ["clients", "addresses"]
    return {
        "server": report.server,
        "kind": str(report.kind),
        "note": report.note,
        "covered_s": report.covered_s,
        "gap": report.gap,
        "total": report.total,
        "tables": [
            {
                "name": name,
                "caption": _CAPTIONS[name],
                "texts": texts.get(name, ["address"]),
                "figures": report.figures,
                "rows": [
                    {**row, "link": _link(row, cluster)} for row in report.tables.get(name, [])
                ],
            }
            for name in listed
        ],
    }


def _link(row: Row, cluster: Cluster) -> str:
    """Return the page of the session or the znode of a row, below the base path; "" for none."""
    if "session" in row:
        return f"/c/{cluster.name}/sessions/{quote(row['session'], safe='')}"
    path = str(row.get("path", ""))
    if not path.startswith("/") or path.endswith(_CUT):
        return ""
    return f"/c/{cluster.name}/tree?{urlencode({'path': path})}"


def _figure(value: float) -> str:
    """Return a number for people: small ones with digits after the point."""
    digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/top", _top, "top")]
