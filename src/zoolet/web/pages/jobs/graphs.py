"""The graph of a batch or a job: what it waits for, and what waits for it, as nested lists."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from zoolet.console.texts import escaped
from zoolet.jobs import Follower, Node, job_graph
from zoolet.web.pages.answers import answer
from zoolet.web.pages.jobs.opening import QueuePlace, opened
from zoolet.web.pages.posting import page


async def _graph(request: Request) -> Response:
    name = request.path_params["name"]
    async with opened(request) as queue:
        found = await queue.dispatcher.run(job_graph, queue.dispatcher.queue, name)
    place = queue.place
    value = place.values("Graph")
    value |= {
        "name": name,
        "batch": found.batch,
        "before": found.before.as_json(),
        "after": found.after.as_json(),
        "unread": found.unread,
        "_name": escaped(name),
        "_url": place.graph_url(name),
        "_before": _before(place, found.before),
        "_after": _after(place, found.after),
    }
    return answer(request, "jobs/graph.html", value)


def _before(place: QueuePlace, node: Node) -> dict[str, Any]:
    return {
        "name": escaped(node.name),
        "url": place.graph_url(node.name),
        "about": escaped(node.about),
        "when": escaped(node.when or ""),
        "waits": node.waits,
        "children": [_before(place, one) for one in node.after],
        "left_out": node.left_out,
    }


def _after(place: QueuePlace, node: Follower) -> dict[str, Any]:
    return {
        "name": escaped(node.name),
        "url": place.graph_url(node.name),
        "about": "",
        "when": escaped(node.when),
        "waits": node.waits,
        "children": [_after(place, one) for one in node.followers],
        "left_out": node.left_out,
    }


def routes() -> list[Route]:
    """Return the routes of this module."""
    return [page("/c/{cluster}/jobs/{queue}/graph/{name}", _graph, "job-graph")]
