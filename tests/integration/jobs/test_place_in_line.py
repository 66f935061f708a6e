"""The place of a worker in a line, on a real server."""

import pytest
from kazoo.client import KazooClient

from tests.support.jobs import ROOT
from zoolet.jobs import Dispatcher
from zoolet.jobs.housekeeping.place import PlaceInLine


def test_a_new_session_during_a_look_is_not_first_in_line(
    client: KazooClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    znodes = Dispatcher(client, ROOT, create=True).queue.layout.znodes
    place = PlaceInLine(znodes, f"{ROOT}/keeper", lambda: None)
    children = znodes.children

    def with_new_session(path: str) -> list[str]:
        found = children(path)
        place.line_up()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(znodes, "children", with_new_session)
        assert not place.look()
    assert not place.is_first
    # Its old ephemeral is first now, as that of a session that has not ended yet.
    assert not place.look()
    client.delete(f"{ROOT}/keeper/{min(client.get_children(f'{ROOT}/keeper'))}")
    assert place.look()
