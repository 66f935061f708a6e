"""The worked examples of docs/testing.md run as they stand there."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
EXAMPLES = dict(
    re.findall(r"<!-- test: (\w+) -->\n```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
)


def test_there_are_the_examples() -> None:
    assert set(EXAMPLES) == {"lock", "election", "queue"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_worked_example_works(pytester: pytest.Pytester, name: str) -> None:
    pytester.makeconftest(
        """
        def pytest_generate_tests(metafunc):
            metafunc.fixturenames.append("again")
            metafunc.parametrize("again", range(3))
        """
    )
    pytester.makepyfile(EXAMPLES[name])
    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
    outcomes = result.parseoutcomes()
    assert set(outcomes) == {"passed"}
    assert outcomes["passed"] == 3 * EXAMPLES[name].count("def test_")
