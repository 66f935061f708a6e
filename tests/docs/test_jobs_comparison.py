"""The table of job systems: cells of zoolet link to a test, the others to documentation."""

import re

from tests.support.pages import ROOT

PAGE = ROOT / "docs" / "jobs-comparison.md"
SITES = [
    "https://docs.celeryq.dev/en/stable/",
    "https://python-rq.org/docs/",
    "https://dramatiq.io/",
    "https://huey.readthedocs.io/en/latest/",
    "https://procrastinate.readthedocs.io/en/stable/",
    "https://distributed.dask.org/en/latest/",
]
TEST = re.compile(r"\(\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)\)$")
LINK = re.compile(r"\[([^]]+)\]\((https://[^)\s]+)\)$")


def rows() -> list[list[str]]:
    """Return the cells of the table, without its head."""
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_head_names_the_systems_with_their_versions() -> None:
    [head] = [line for line in PAGE.read_text().splitlines() if line.startswith("| | zoolet")]
    others = head.strip("| ").split(" | ")[1:]
    assert len(others) == len(SITES)
    assert all(re.search(r" \d+\.\d+$", other) for other in others)


def test_each_cell_of_zoolet_links_to_a_test_that_exists() -> None:
    assert len(rows()) > 15
    for feature, ours, *_ in rows():
        found = TEST.search(ours)
        assert found is not None, feature
        path = ROOT / found[2]
        assert path.exists(), feature
        assert re.search(rf"^def {found[1]}\(", path.read_text(), re.MULTILINE), feature


def test_each_other_cell_links_to_the_documentation_of_its_system() -> None:
    for feature, _, *others in rows():
        assert len(others) == len(SITES), feature
        for cell, site in zip(others, SITES, strict=True):
            found = LINK.fullmatch(cell)
            assert found is not None, f"{feature}: {cell}"
            assert found[2].startswith(site), f"{feature}: {cell}"
