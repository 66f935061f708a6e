"""A section at the end of a test run: which tests were skipped, grouped by what they miss.

pytest's own list (`-rs`) has one line for each place in the sources that skips. Most tests skip in
a function of ``tests/support/``, so that list does not say which tests did not run.
"""

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

TITLE = "skipped tests, by reason"
_PREFIX = "Skipped: "
_INDENT = "    "
_WIDTH = 100


def needs(what: str, *packages: str) -> str:
    """Return the reason of a skipped test that needs a program of Debian's packages."""
    noun = "package" if len(packages) == 1 else "packages"
    return f"needs {what}: install Debian's {noun} {' and '.join(packages)}"


def groups_of(reports: Iterable[pytest.TestReport]) -> dict[str, Counter[str]]:
    """Return the number of skipped tests of each file, by reason; the largest group comes first."""
    groups: dict[str, Counter[str]] = {}
    for report in reports:
        assert isinstance(report.longrepr, tuple)  # what pytest stores for a skipped test
        reason = report.longrepr[2].removeprefix(_PREFIX)
        groups.setdefault(reason, Counter())[report.nodeid.partition("::")[0]] += 1
    return dict(sorted(groups.items(), key=lambda group: -group[1].total()))


def lines_of(groups: dict[str, Counter[str]], width: int = _WIDTH) -> Iterator[str]:
    """Yield the lines of the section: a reason with its number of tests, then the files."""
    for reason, files in groups.items():
        count = files.total()
        first = f"{count} {'test' if count == 1 else 'tests'}: {reason}"
        yield from textwrap.wrap(first, width, subsequent_indent=_INDENT, break_long_words=False)
        listed = ", ".join(f"{file} ({number})" for file, number in sorted(files.items()))
        yield from textwrap.wrap(
            listed,
            width,
            initial_indent=2 * _INDENT,
            subsequent_indent=2 * _INDENT,
            break_long_words=False,
            break_on_hyphens=False,
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the section; with pytest-xdist, only the process that collects the reports does so."""
    skipped = [
        report
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report, pytest.TestReport)
    ]
    if not skipped or terminalreporter.no_summary:
        return
    terminalreporter.ensure_newline()
    terminalreporter.section(TITLE)
    for line in lines_of(groups_of(skipped)):
        terminalreporter.write_line(line)
