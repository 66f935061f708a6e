"""Series of samples: restarts and gaps; and random samples against a simple model."""

import random

import pytest

from zoolet.model.addresses import Address
from zoolet.web.servers.sampling import FIELDS, Sample, Sampled


def sampled(*values: tuple[float, float | None, float | None]) -> Sampled:
    """Return samples of the time, and of fsync_ms and fsyncs."""
    made = Sampled(Address("h", 1))
    for at, one, other in values:
        row: dict[str, float | None] = dict.fromkeys(FIELDS)
        row |= {"fsync_ms": one, "fsyncs": other}
        sample: Sample = (at, *row.values())
        made.samples.append(sample)
    return made


def test_a_counter_that_starts_again_makes_a_gap() -> None:
    found = sampled((0, 10, 1), (10, 30, 2), (20, 5, 1), (30, None, None), (40, 9, 3), (50, 11, 4))
    assert found.rate("fsync_ms").points == [
        (0, None),
        (10, 2.0),
        (20, None),
        (30, None),
        (40, None),
        (50, 0.2),
    ]
    assert [value for _, value in found.rate("fsync_ms", "fsyncs").points][-1] == 2.0


def test_the_number_of_samples_is_bounded() -> None:
    found = sampled(*((at, 1.0, 1.0) for at in range(5000)))
    assert len(found.samples) == 721


@pytest.mark.parametrize("seed", range(20))
def test_rates_are_never_negative_and_never_cross_a_gap(seed: int) -> None:
    rng = random.Random(seed)
    rows = [
        (float(at), rng.choice([None, rng.randrange(50)]), rng.choice([None, rng.randrange(9)]))
        for at in range(200)
    ]
    found = sampled(*rows)
    for name, per in (("fsync_ms", ""), ("fsync_ms", "fsyncs")):
        points = found.rate(name, per).points
        assert [at for at, _ in points] == [at for at, _, _ in rows]
        for before, row, (_, value) in zip(rows, rows[1:], points[1:], strict=False):
            if value is not None:
                assert value >= 0
                assert None not in {before[1], row[1]}
            elif per == "" and before[1] is not None and row[1] is not None:
                assert row[1] < before[1]
