"""The links between the pages lead somewhere, as the repository is read without the site.

``make docs`` checks the links of the site.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT

FENCED = re.compile(r"^ *(`{3,}).*?^ *\1$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINKING = sorted({*PAGES, *ROOT.glob("*.md")})


@cache
def text_of(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCED.sub("", page.read_text())


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return LINK.findall(re.sub(r"`[^`\n]*`", "", text_of(page)))


@cache
def anchors_of(page: Path) -> frozenset[str]:
    """Return the anchors of a page's headings, as code hosts make them."""
    found: set[str] = set()
    for heading in HEADING.findall(text_of(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = 0
        while (anchor := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(anchor)
    return frozenset(found)


def problem_of(page: Path, link: str) -> str | None:
    """Return what is wrong with a link; None if it leads somewhere."""
    path, _, anchor = link.partition("#")
    if re.match(r"[a-z]+:", link):
        return None  # on another host
    target = (page.parent / path).resolve() if path else page
    if not target.is_file():
        return "there is no such file"
    if anchor and anchor not in anchors_of(target):
        return f"{target.name} has no heading with this anchor"
    return None


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    problems = {link: problem_of(page, link) for link in links_of(page)}
    assert {link: problem for link, problem in problems.items() if problem} == {}


def test_links_are_found() -> None:
    assert sum(len(links_of(page)) for page in LINKING) > 150
    readme = ROOT / "README.md"
    assert problem_of(readme, "docs/jobs.md#limits") is None
    assert problem_of(readme, "docs/jobs.md#no-such-heading") is not None
    assert problem_of(readme, "docs/no-such-page.md") is not None
