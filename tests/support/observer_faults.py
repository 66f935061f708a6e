"""What goes wrong around an observer: servers end or stand still, links break, members change."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException

from tests.support.ensemble import ApacheEnsemble
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from zoolet.testing.servers.base import ADDRESS
from zoolet.testing.servers.process import ExternalServer

MOST_IN_DIFF = 500
"""A leader without ``snapshotSizeFactor`` sends a snapshot to an observer that lacks more txns."""

SUPER = {"DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="}
"""The digest of ``super:test``."""

MEMBER_SETTINGS = {"snapshotSizeFactor": -1, **SUPER}
_SHORT_S = 0.7


class Faults:
    """Makes one fault after another; each method returns when the servers run again.

    Apache's observer does not start where ``reconfigEnabled`` is set, if its zoo.cfg has other
    addresses of the members than theirs.
    """

    def __init__(
        self,
        chance: random.Random,
        ensemble: ApacheEnsemble,
        observer: ExternalServer,
        links: Sequence[Proxy],
        *,
        with_reconfig: bool,
        longest_s: float,
    ) -> None:
        """Some faults last until ``longest_s``, and the others end soon."""
        self._longest_s = longest_s
        self._chance = chance
        self._ensemble = ensemble
        self._observer = observer
        self._links = links
        self._kinds: list[Callable[[], None]] = [
            self.kill_leader,
            self.freeze_leader,
            self.kill_observer,
            self.freeze_observer,
            self.cut_links,
            partial(self._pass_over, Proxy.requests_held),
            partial(self._pass_over, Proxy.requests_lost),
            partial(self._pass_over, Proxy.replies_held),
            partial(self._pass_over, Proxy.replies_lost),
            partial(self._pass_over, Proxy.cut_off),
            self.restart_ensemble,
            self.need_snapshot,
            *([self.reconfigure] if with_reconfig else []),
        ]

    def rounds(self, count: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """Yield faults with their names; each kind comes once before one is repeated."""
        left: list[Callable[[], None]] = []
        for _ in range(count):
            if not left:
                left = self._chance.sample(self._kinds, len(self._kinds))
            kind = left.pop()
            named = kind.args[0] if isinstance(kind, partial) else kind
            yield named.__name__, kind

    def _last(self, most_s: float = _SHORT_S) -> None:
        """Let a fault last for some time."""
        time.sleep(self._chance.uniform(0.05, most_s))

    def _last_some_or_long(self) -> None:
        self._last(self._chance.choice([_SHORT_S, self._longest_s]))

    def kill_leader(self) -> None:
        """Kill the leader, and start it again."""
        leader = self._ensemble.leader()
        leader.kill()
        self._last(1.5)
        leader.start()

    def freeze_leader(self) -> None:
        """Let the leader stand still, sometimes until there is another one."""
        leader = self._ensemble.leader()
        leader.pause()
        self._last_some_or_long()
        leader.resume()

    def kill_observer(self) -> None:
        """Kill the observer, and start it again."""
        self._observer.kill()
        self._last()
        self._observer.start()

    def freeze_observer(self) -> None:
        """Let the observer stand still, sometimes until its sessions expire."""
        self._observer.pause()
        self._last_some_or_long()
        self._observer.resume()

    def cut_links(self) -> None:
        """Break the connections to the members."""
        for link in self._links:
            link.cut()

    def _pass_over(self, fault: Callable[[Proxy], AbstractContextManager[None]]) -> None:
        """Make one fault on all links, for some time."""
        with contextlib.ExitStack() as made:
            for link in self._links:
                made.enter_context(fault(link))
            self._last_some_or_long()

    def restart_ensemble(self) -> None:
        """Kill all members, and start them again."""
        for member in self._ensemble.members:
            member.kill()
        self._last()
        self._ensemble.__enter__()

    @contextlib.contextmanager
    def _client(self) -> Iterator[KazooClient]:
        client = KazooClient(hosts=self._ensemble.hosts, timeout=20.0)
        client.start(timeout=30)
        yield client
        client.stop()
        client.close()

    def reconfigure(self) -> None:
        """Remove a follower from the ensemble, and add it again."""
        leader = self._ensemble.leader()
        followers = [
            (number, member)
            for number, member in enumerate(self._ensemble.members, 1)
            if member is not leader
        ]
        number, member = self._chance.choice(followers)
        line = self._ensemble.servers[f"server.{number}"]
        joining = f"server.{number}={line}:participant;{ADDRESS}:{member.port}"
        with self._client() as client:
            client.add_auth("digest", "super:test")
            self._ask_until_done(client, None, str(number))
            self._last()
            self._ask_until_done(client, joining, None)

    @staticmethod
    def _ask_until_done(client: KazooClient, joining: str | None, leaving: str | None) -> None:
        """A leader refuses a reconfig for some time after the last one."""

        def is_done() -> bool:
            try:
                client.reconfig(joining, leaving, None)
            except KazooException:
                return False
            return True

        wait_until(is_done, f"a reconfig: {joining or ''}, without {leaving or 'none'}")

    def need_snapshot(self) -> None:
        """Cut the links until the observer lacks more txns than a DIFF may have."""
        with self._client() as client, contextlib.ExitStack() as cut:
            client.ensure_path("/many")
            for link in self._links:
                cut.enter_context(link.cut_off())
            made = [client.set_async("/many", b"%d" % n) for n in range(MOST_IN_DIFF + 100)]
            for each in made:
                each.get(30)
