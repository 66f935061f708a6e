"""Lets tests run with all clients on an observer of an Apache ensemble: ``--on-observer``.

The ensemble runs as long as the tests do. Each test has its own observer, and finds no znodes.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, NoNodeError

from tests.support.ensemble import ApacheEnsemble, new_observer
from tests.support.waiting import wait_until
from zoolet.state_machine.access import digest_of
from zoolet.testing import ServerProcess

MY_ID = 101
OPTION = "--on-observer"
_HEAP_MIB = 192
_SETTINGS = {"tickTime": 200, "initLimit": 100, "syncLimit": 50}
_SUPER = {"DigestAuthenticationProvider.superDigest": digest_of(b"super:test")}
_FEATURES = {"extendedTypesEnabled": "true", "enforceQuota": "true"}
_QUOTAS = "/zookeeper/quota"
_FIXTURES = ("server", "any_server")


class ObservedEnsemble:
    """An ensemble for many tests, one after the other."""

    def __init__(self, ensemble: ApacheEnsemble) -> None:
        self._ensemble = ensemble

    @contextlib.contextmanager
    def observer(self, directory: Path) -> Iterator[ServerProcess]:
        """Run an observer; its clients see a database without znodes."""
        self._delete_all()
        settings: Mapping[str, object] = {**_SETTINGS, **_FEATURES}
        with new_observer(directory, self._ensemble, MY_ID, settings) as running:
            yield running
        assert "Traceback" not in running.log, running.log

    def _delete_all(self) -> None:
        client: Any = KazooClient(hosts=self._ensemble.hosts, timeout=20.0)
        client.start(timeout=30)
        client.add_auth("digest", "super:test")

        def is_empty() -> bool:
            """Clients of the test before may still delete, or even create."""
            paths = [f"/{name}" for name in client.get_children("/") if name != "zookeeper"]
            paths += [f"{_QUOTAS}/{name}" for name in client.get_children(_QUOTAS)]
            for path in paths:
                with contextlib.suppress(NoNodeError, KazooException):
                    client.delete(path, recursive=True)
            return not paths

        wait_until(is_empty, "an empty ensemble")
        client.stop()
        client.close()


@contextlib.contextmanager
def observed_ensemble(directory: Path, jars: Path, members: int) -> Iterator[ObservedEnsemble]:
    """Run an ensemble with everything that may be turned on."""
    settings = {**_SETTINGS, **_FEATURES, **_SUPER}
    with ApacheEnsemble(directory, jars, _HEAP_MIB, settings, count=members) as ensemble:
        yield ObservedEnsemble(ensemble)


def select(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests that would not run on the observer, and those on Apache ZooKeeper."""
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        (kept if _is_on_observer(item) else left).append(item)
    config.hook.pytest_deselected(items=left)
    items[:] = kept


def _is_on_observer(item: pytest.Item) -> bool:
    """Say whether a test uses a server of ``tests/conftest.py``, and not of its own module."""
    if not isinstance(item, pytest.Function):
        return False
    parameters = getattr(item, "callspec", None)
    if parameters is not None and parameters.params.get("any_server") == "apache":
        return False
    definitions = item._fixtureinfo.name2fixturedefs
    if "hosts_in" in definitions:
        return True
    return any(
        definitions[name][-1].func.__module__.endswith("conftest")
        and definitions[name][-1].baseid in {"", "tests"}
        for name in _FIXTURES
        if name in definitions
    )
