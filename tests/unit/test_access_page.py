"""docs/access.md shows the table of state_machine/disclosures.py, each row as it is."""

from pathlib import Path

import pytest

from zoolet.model.codes import Permission
from zoolet.state_machine.disclosures import (
    EVENTS,
    OPERATOR_COMMANDS,
    OPERATOR_WORDS,
    REPLIES,
    Disclosure,
    Of,
)
from zoolet.state_machine.rules import DEFAULT_MOST_ACL_ENTRIES, DEFAULT_MOST_IDENTITIES

PAGE = (Path(__file__).parents[2] / "docs" / "access.md").read_text()
SECTION = PAGE.split("## Information that replies and events reveal")[1].split("\n## ")[0]
LINES = SECTION.splitlines()


def permission_of(row: Disclosure) -> str:
    if row.permission is None:
        return "none"
    names = [
        each.name or ""
        for each in Permission
        if each in row.permission and each is not Permission.ALL
    ]
    return " or ".join(names) + (" of the parent" if row.of is Of.PARENT else "")


@pytest.mark.parametrize("row", [*REPLIES, *EVENTS], ids=lambda row: row.name)
def test_the_page_has_the_row(row: Disclosure) -> None:
    assert f"| {row.name} | {row.shows} | {permission_of(row)} | {row.without} |" in LINES


def test_the_page_has_no_other_row() -> None:
    rows = [line for line in LINES if line.startswith("| ")]
    assert len(rows) == len(REPLIES) + len(EVENTS) + 4  # two heads of two lines


def test_the_page_names_what_operators_alone_see() -> None:
    (paragraph,) = [
        part for part in SECTION.split("\n\n") if part.startswith("**Operators only.**")
    ]
    words, commands = paragraph.split("admin commands")
    assert {word for word in OPERATOR_WORDS if f"`{word}`" in words} == OPERATOR_WORDS
    assert words.count("`") == 2 * len(OPERATOR_WORDS)
    assert {name for name in OPERATOR_COMMANDS if f"`{name}`" in commands} == OPERATOR_COMMANDS


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("zoolet.maxIdentitiesPerConnection", DEFAULT_MOST_IDENTITIES),
        ("zoolet.maxEntriesPerAcl", DEFAULT_MOST_ACL_ENTRIES),
    ],
)
def test_the_page_has_the_limits(key: str, default: int) -> None:
    assert f"| `{key}` | {default:,} |" in PAGE
