"""Stat and its packed bytes."""

from zoolet.model.stat import STAT, Stat


def test_a_stat_survives_packing() -> None:
    stat = Stat(1, 2, 3, 4, 5, 6, 7, -8, 9, 10, 11)
    assert len(stat.pack()) == STAT.size == 68
    assert Stat.unpack(b"xx" + stat.pack(), 2) == stat
