"""The verdict on what SASL, ACLs and TLS cost."""

import pytest

from benchmarks.secure import ACLS, ALL, APACHE, PLAIN, SASL, TLS, VARIANTS, WANTED, show, verdict


def rates_of(sasl: float, acls: float, tls: float, apache: float) -> dict[str, list[float]]:
    """Return three rounds on a machine whose speed varies; the ratios are the same in each."""
    ratios = {PLAIN: 1.0, SASL: sasl, ACLS: acls, TLS: tls, ALL: 0.5, APACHE: apache}
    return {
        variant.name: [ratios[variant] * speed for speed in (1000.0, 300.0, 5000.0)]
        for variant in VARIANTS
    }


@pytest.mark.parametrize(
    ("rates", "reached"),
    [
        (rates_of(1.0, 0.9, 0.8, 0.05), [True, True, True, True]),
        (rates_of(0.97, 1.2, 1.0, 0.01), [True, True, True, True]),
        (rates_of(0.96, 0.89, 0.79, 0.051), [False, False, False, False]),
    ],
)
def test_ratios_are_those_of_each_round(rates: dict[str, list[float]], reached: list[bool]) -> None:
    assert [verdict(wanted, rates)[1] for wanted in WANTED] == reached
    table, all_reached = show(rates)
    assert all_reached is all(reached)
    assert table.row_count == len(WANTED)
