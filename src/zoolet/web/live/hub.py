"""The hub: all feeds, by login and path. Browsers with the same rights share a feed.

Invariants: the number of feeds is bounded; a feed without browsers ends soon; the feeds of a login
end with it.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, TypeVar

from zoolet.client import Credential
from zoolet.web.clusters.clients import Clients, Connection
from zoolet.web.clusters.lists import ChildLists
from zoolet.web.live.changes import ChangesFeed
from zoolet.web.live.feeds import Feed, Form
from zoolet.web.live.streams import Stream, Streams, TooManyStreamsError
from zoolet.web.live.znodes import DataFeed, ListFeed
from zoolet.web.settings import Cluster

MOST_FEEDS: Final = 2000
"""Most feeds at a time."""

KEPT_S: Final = {DataFeed: 30.0, ListFeed: 30.0, ChangesFeed: 120.0}
"""How long a feed of each kind is kept without browsers: one that reconnects misses nothing."""


class Login(NamedTuple):
    """With which rights a browser reads.

    Attributes:
        cluster: the cluster.
        key: the login of the browser; "" for the rights of everybody.
        credential: what the user has entered for this cluster; None if nothing.
    """

    cluster: Cluster
    key: str
    credential: Credential | None


_Place = tuple[str, str, type[Feed], str, bool]
F = TypeVar("F", bound=Feed)


class Hub:
    """All feeds and streams.

    Args:
        clients: the clients of ZooKeeper.
        lists: the lists of children.
        now_s: the monotonic clock.
        time_s: the clock of the system.
    """

    def __init__(
        self,
        clients: Clients,
        lists: ChildLists,
        now_s: Callable[[], float],
        time_s: Callable[[], float],
    ) -> None:
        self.streams = Streams()
        self._clients = clients
        self._lists = lists
        self._now_s = now_s
        self._time_s = time_s
        self._feeds: dict[_Place, Feed] = {}
        self._used_s: dict[Feed, float] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    def follow_znode(self, login: Login, path: str, stream: Stream, form: Form) -> None:
        """Send the changes of the Stat and the data of a znode to a stream.

        Raises:
            TooManyStreamsError: there are too many feeds.
        """

        def made() -> DataFeed:
            return DataFeed(path, lambda: self._use(login), self._forget)

        self._feed((*_who(login), DataFeed, path, False), made).add(stream, form)

    def follow_list(self, login: Login, path: str, stream: Stream, form: Form) -> None:
        """Send the changes of the list of children of a znode to a stream.

        Raises:
            TooManyStreamsError: there are too many feeds.
        """

        def made() -> ListFeed:
            return ListFeed(path, lambda: self._use(login), self._forget, self._lists)

        self._feed((*_who(login), ListFeed, path, False), made).add(stream, form)

    def changes(self, login: Login, path: str, *, recursive: bool) -> ChangesFeed:
        """Return the feed of all changes of a znode, or of its subtree.

        Raises:
            TooManyStreamsError: there are too many feeds.
        """

        def made() -> ChangesFeed:
            return ChangesFeed(
                path, lambda: self._use(login), self._forget, self._time_s, recursive=recursive
            )

        return self._feed((*_who(login), ChangesFeed, path, recursive), made)

    def leave(self, stream: Stream) -> None:
        """Forget a stream."""
        self.streams.close(stream)
        for feed in self._feeds.values():
            if feed.remove(stream):
                self._used_s[feed] = self._now_s()

    def end(self, key: str) -> None:
        """End the streams and the feeds of a login."""
        self.streams.end(key)
        if key:
            self._end(feed for place, feed in self._feeds.items() if place[1] == key)

    def end_idle(self) -> None:
        """End the feeds that nobody has used for some time."""
        now_s = self._now_s()
        self._end(
            feed
            for feed, used_s in self._used_s.items()
            if not feed.subscribers and now_s - used_s > KEPT_S[type(feed)]
        )

    async def close(self) -> None:
        """End all streams and feeds."""
        self.streams.stop()
        feeds = list(self._feeds.values())
        await asyncio.gather(*(feed.close() for feed in feeds), return_exceptions=True)

    def _use(self, login: Login) -> AbstractAsyncContextManager[Connection]:
        return self._clients.use(login.cluster, login.key, login.credential)

    def _feed(self, place: _Place, made: Callable[[], F]) -> F:
        found = self._feeds.get(place)
        if found is None:
            if len(self._feeds) >= MOST_FEEDS:
                self._end([feed for feed in self._used_s if not feed.subscribers][:1])
            if len(self._feeds) >= MOST_FEEDS:
                raise TooManyStreamsError(
                    f"the pages follow {MOST_FEEDS:,} znodes. Close other pages, or try again later"
                )
            found = self._feeds[place] = made()
        self._used_s[found] = self._now_s()
        return found  # type: ignore[return-value]

    def _end(self, feeds: Iterable[Feed]) -> None:
        for feed in list(feeds):
            feed.cancel()
            self._forget(feed)

    def _forget(self, feed: Feed) -> None:
        self._used_s.pop(feed, None)
        for place in [place for place, found in self._feeds.items() if found is feed]:
            del self._feeds[place]


def _who(login: Login) -> tuple[str, str]:
    return login.cluster.name, login.key if login.credential is not None else ""
