"""The limit of descriptors is raised as far as the system permits, and no farther is asked."""

import random
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from zoolet.process import descriptors

INFINITY = resource.RLIM_INFINITY


class Limits:
    """The limits of a system that permits no soft limit above ``permitted``."""

    def __init__(self, soft: int, hard: int, permitted: int) -> None:
        self.soft, self.hard, self.permitted = soft, hard, permitted
        self.calls = 0

    def get(self, which: int) -> tuple[int, int]:
        assert which == resource.RLIMIT_NOFILE
        return self.soft, self.hard

    def change(self, which: int, wanted: tuple[int, int]) -> None:
        assert which == resource.RLIMIT_NOFILE
        self.calls += 1
        soft, hard = wanted
        assert hard == self.hard
        if soft == INFINITY or soft > self.permitted:
            raise ValueError("current limit exceeds maximum limit")
        self.soft = soft


@pytest.fixture
def having(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int, int], Limits]:
    """Return what gives this process other limits."""

    def have(soft: int, hard: int, permitted: int) -> Limits:
        limits = Limits(soft, hard, permitted)
        monkeypatch.setattr(resource, "getrlimit", limits.get)
        monkeypatch.setattr(resource, "setrlimit", limits.change)
        return limits

    return have


@pytest.mark.parametrize(
    ("soft", "hard", "permitted", "raised", "calls"),
    [
        (1024, 4096, 4096, 4096, 1),
        (1024, 1024, 1024, 1024, 0),
        (1024, 1 << 30, 1 << 30, 1 << 30, 1),
        (256, INFINITY, 10_240, 10_240, 21),
        (256, INFINITY, 245_760, 245_760, 21),
        (256, INFINITY, 1 << 30, descriptors.ENOUGH, 1),
        (256, INFINITY, 256, 256, 21),
        (INFINITY, INFINITY, INFINITY, INFINITY, 0),
        (2 << 20, INFINITY, 4 << 20, 2 << 20, 0),
    ],
    ids=["usual", "at its hard limit", "container", "macOS", "macOS, changed", "no limit", "fixed",
         "unlimited already", "more than enough"],
)  # fmt: skip
def test_the_limit_is_raised(
    having: Callable[[int, int, int], Limits],
    soft: int,
    hard: int,
    permitted: int,
    raised: int,
    calls: int,
) -> None:
    limits = having(soft, hard, permitted)
    descriptors.raise_limit()
    assert (limits.soft, limits.hard) == (raised, hard)
    assert limits.calls <= calls


def test_any_permitted_limit_is_found(having: Callable[[int, int, int], Limits]) -> None:
    chance = random.Random(1)
    for _ in range(200):
        soft = chance.randrange(1, 1 << chance.randrange(1, 18))
        permitted = chance.randrange(soft, 1 << 19)
        hard = chance.choice((INFINITY, chance.randrange(permitted, 1 << 20)))
        limits = having(soft, hard, permitted)
        descriptors.raise_limit()
        assert limits.soft == permitted, (soft, hard)


@pytest.mark.parametrize(("soft", "limit"), [(256, 256), (INFINITY, None)])
def test_the_limit_is_read(
    having: Callable[[int, int, int], Limits], soft: int, limit: int | None
) -> None:
    having(soft, INFINITY, INFINITY)
    assert descriptors.limit() == limit


def test_open_descriptors_are_counted(tmp_path: Path) -> None:
    before = descriptors.open_descriptors()
    if before == -1:
        pytest.skip("this system does not show the descriptors of a process")
    with (tmp_path / "file").open("w"):
        assert descriptors.open_descriptors() == before + 1


def test_a_system_that_does_not_show_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(descriptors, "_DIRECTORY", tmp_path / "missing")
    assert descriptors.open_descriptors() == -1
