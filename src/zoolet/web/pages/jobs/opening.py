"""What all pages of a queue have in common: the queue in the URL, links, and how it is read.

The URL of a queue has the name of its znode; the parameter ``root`` is the path of the parent, if
it is not the default. An empty ``root`` stands for a queue at the root of the cluster.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request

from zoolet.jobs import AccessDeniedError, AsyncDispatcher
from zoolet.model import paths
from zoolet.web.clusters.clients import Connection
from zoolet.web.jobs.reading import DEFAULT_ROOT, open_queue
from zoolet.web.pages.answers import RefusedError
from zoolet.web.pages.posting import cluster_of
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.tree import check_path
from zoolet.web.settings import Cluster


@dataclass(frozen=True, slots=True)
class QueuePlace:
    """A queue in the URL of a request.

    Attributes:
        base: the base path of the page.
        cluster: the cluster.
        path: the path of the queue's root.
    """

    base: str
    cluster: Cluster
    path: str

    @property
    def root(self) -> str | None:
        """The parameter ``root`` of the queue's URLs; None if it is the default."""
        root = paths.parent_of(self.path) if self.path != paths.ROOT else ""
        return None if root == DEFAULT_ROOT else root

    def url(self, part: str = "", **fields: Any) -> str:
        """Return the URL of a page of the queue, for example of ``list`` with ``state="FAILED"``.

        Fields with an empty value are left out. Names in ``part`` must be quoted.
        """
        given = {} if self.root is None else {"root": self.root}
        given |= {name: str(value) for name, value in fields.items() if value not in {None, ""}}
        name = quote(paths.name_of(self.path), safe="") or "queue"
        url = f"{self.base}/c/{self.cluster.name}/jobs/{name}" + (f"/{part}" if part else "")
        return url + (f"?{urlencode(given)}" if given else "")

    def parts_url(self, part: str, **fields: Any) -> str:
        """Return the URL of a page with a part of a list, up to the number of the first row."""
        url = self.url(part, **fields)
        return f"{url}{'&' if '?' in url else '?'}start="

    def job_url(self, name: str, action: str = "") -> str:
        """Return the URL of the page of a job, or of an action: ``/retry`` or ``/cancel``."""
        return self.url(f"job/{quote(name, safe='')}{action}")

    def batch_url(self, name: str) -> str:
        """Return the URL of the page of a batch."""
        return self.url(f"batch/{quote(name, safe='')}")

    def graph_url(self, name: str) -> str:
        """Return the URL of the graph of a batch or a job."""
        return self.url(f"graph/{quote(name, safe='')}")

    def values(self, title: str) -> dict[str, Any]:
        """Return the values that each page of the queue has."""
        return {
            "title": f"{title} - {self.path} - {self.cluster.name}",
            "cluster": self.cluster.name,
            "queue": self.path,
            "_cluster": self.cluster,
            "_place": self,
        }


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """A queue that a page reads, or changes.

    Attributes:
        place: where it is.
        connection: the visitor's connection.
        dispatcher: the dispatcher of the queue.
    """

    place: QueuePlace
    connection: Connection
    dispatcher: AsyncDispatcher


def place_of(request: Request) -> QueuePlace:
    """Return the queue in the URL of a request; raises RefusedError if the path is not valid."""
    root = request.query_params.get("root", DEFAULT_ROOT)
    path = paths.ROOT if not root else paths.join(root, request.path_params["queue"])
    check_path(path)
    return QueuePlace(site_of(request).settings.base_path, cluster_of(request), path)


@asynccontextmanager
async def connected(request: Request) -> AsyncIterator[Connection]:
    """Give the block the visitor's connection to the cluster in the URL.

    Raises:
        RefusedError: the visitor lacks a permission.
    """
    cluster = cluster_of(request)
    async with site_of(request).connection(cluster, visitor_of(request)) as connection:
        try:
            yield connection
        except AccessDeniedError as error:
            raise RefusedError(403, f"{error}. On this page: Login at ZooKeeper") from error


@asynccontextmanager
async def opened(request: Request) -> AsyncIterator[OpenQueue]:
    """Open the queue in the URL with the visitor's connection.

    Raises:
        RefusedError: the path is not valid, or the visitor lacks a permission.
        UnknownQueueError: there is no queue at this path.
    """
    place = place_of(request)
    async with (
        connected(request) as connection,
        open_queue(connection, place.path) as dispatcher,
    ):
        yield OpenQueue(place, connection, dispatcher)
