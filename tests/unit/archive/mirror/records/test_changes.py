"""The paths that a mirror has to look at: each once, bounded, with the oldest moment."""

import random

from zoolet.archive.mirror.records.changes import Changes, CopyEvents


def test_each_path_is_taken_once_with_its_first_moment() -> None:
    changes = Changes()
    changes.add("/a", 1.0)
    changes.add("/b", 2.0)
    changes.add("/a", 3.0)
    assert changes.take(1) == {"/a": 1.0}
    changes.add("/a", 4.0)
    assert changes.take(10) == {"/b": 2.0, "/a": 4.0}
    assert changes.is_empty


def test_the_oldest_moment_includes_what_was_taken() -> None:
    changes = Changes()
    assert changes.since_s() is None
    changes.add("/a", 1.0)
    changes.add("/b", 2.0)
    changes.take(1)
    assert changes.since_s() == 1.0
    changes.end_taken()
    assert changes.since_s() == 2.0


def test_above_the_limit_a_comparison_replaces_the_paths() -> None:
    changes = Changes(most=3)
    for number in range(4):
        changes.add(f"/{number}", float(number))
    assert changes.needs_comparison
    assert len(changes) == 0
    assert changes.since_s() == 0.0
    changes.add("/later", 9.0)  # the comparison finds it
    assert len(changes) == 0
    changes.begin_comparison()
    changes.add("/meanwhile", 10.0)
    assert changes.since_s() == 0.0
    changes.end_comparison()
    assert changes.since_s() == 10.0


def test_parents_are_bounded_too() -> None:
    changes = Changes(most=2)
    for number in range(3):
        changes.add_parent(f"/{number}")
    assert changes.needs_comparison
    assert changes.take_parents(10) == []


def test_nothing_is_forgotten_at_random() -> None:
    chance = random.Random(7)
    changes = Changes(most=20)
    open_since: dict[str, float] = {}
    for now in range(1, 3000):
        step = chance.random()
        if step < 0.6:
            path = f"/{chance.randrange(40)}"
            open_since.setdefault(path, float(now))
            changes.add(path, float(now))
        elif step < 0.9:
            for path in changes.take(chance.randrange(1, 10)):
                del open_since[path]
            changes.end_taken()
        elif changes.needs_comparison:
            changes.begin_comparison()
            open_since.clear()
            changes.end_comparison()
        oldest = min(open_since.values(), default=None)
        assert changes.since_s() is None if oldest is None else changes.since_s() is not None
        if oldest is not None:
            since_s = changes.since_s()
            assert since_s is not None
            assert since_s <= oldest
        if not changes.needs_comparison:
            assert len(changes) == len(open_since)


def test_events_of_one_txn_have_its_zxid_and_those_of_several_have_none() -> None:
    events = CopyEvents(most=3)
    events.add("/a", 7)
    events.add("/a", 7)
    events.add("/b", 7)
    events.add("/b", 8)
    events.add("/c", -1)
    assert events.take() == {"/a": 7, "/b": -1, "/c": -1}
    for number in range(4):
        events.add(f"/{number}", 1)
    assert events.needs_comparison
    assert len(events) == 0
