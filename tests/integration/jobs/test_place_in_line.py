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
        place._session_id = 0  # the ephemeral is one of an earlier session
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


def looks(*places: PlaceInLine) -> list[bool]:
    return [place.look() for place in places]


def test_a_worker_with_a_new_id_in_the_same_session_keeps_its_place(client: KazooClient) -> None:
    woken: list[int] = []
    znodes = Dispatcher(client, ROOT, create=True).queue.layout.znodes
    places = [PlaceInLine(znodes, f"{ROOT}/keeper", lambda: woken.append(1)) for _ in range(2)]
    assert [place.path for place in places] == [None, None]
    assert looks(*places) == [True, False]
    path = places[0].path
    for place in places:
        place.line_up()
    assert len(woken) == 2
    assert looks(*places) == [True, False]
    assert places[0].path == path
    assert path is not None
    # Somebody deletes the ephemeral: then it joins the end of the line.
    client.delete(path)
    assert looks(places[0]) == [False]
    assert looks(*places) == [False, True]
    assert places[0].path != path
