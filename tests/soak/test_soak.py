"""The report of the soak test: what a place that shows only its first lines must show."""

from collections import Counter

import pytest

from tests.soak.soak import SHOWN, report_text


@pytest.mark.parametrize("count", [0, 1, SHOWN + 1])
def test_the_first_lines_have_the_seed_and_the_problems(count: int) -> None:
    found = [f"wrong {n}" for n in range(count)]
    counts = {"faults": Counter({"worker killed": 2})}
    text = report_text("--seed 7", [("one place", []), ("all ended", found)], counts, 1500)
    first, *lines = text.splitlines()
    assert first == f"python -m tests.soak --seed 7: {'FAILED' if count else 'passed'}"
    shown = lines[1 : 1 + min(count, SHOWN)]
    assert shown == [f"  {one}" for one in found[:SHOWN]]
    assert lines[0].startswith("all ended: " if count else "one place: no problems")
    assert lines[-3:-1] == ["faults:", "        2 worker killed"]
