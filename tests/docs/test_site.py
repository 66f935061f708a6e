"""The site: every page and every public name is on it; ``make docs`` checks the rest."""

import re
import runpy
from importlib import import_module
from pathlib import Path

import pytest

from tests.support.pages import PAGES, ROOT

PUBLIC = ["client", "client.kazoo", "jobs", "testing"]
INDEX = ROOT / "docs" / "index.md"
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTED = re.compile(r"^\.\. (?:auto\w+|py:data):: (\w+)$", re.MULTILINE)


def listed_pages() -> set[Path]:
    """Return the pages in the menu of the site."""
    return {
        (INDEX.parent / f"{line}.md").resolve()
        for menu in TOCTREE.findall(INDEX.read_text())
        for line in menu.splitlines()
        if line and not line.startswith(":")
    }


def test_every_page_is_in_the_menu() -> None:
    decisions = {page for page in PAGES if re.match(r"\d", page.name)}
    missing = {*PAGES} - decisions - {INDEX} - listed_pages()
    assert missing == set(), "add these pages to a list at the end of docs/index.md"


@pytest.mark.parametrize("name", PUBLIC)
def test_the_reference_has_every_public_name_once(name: str) -> None:
    page = name.replace(".", "_")
    documented = DOCUMENTED.findall((ROOT / "docs" / "api" / f"{page}.md").read_text())
    assert sorted(documented) == sorted(import_module(f"zoolet.{name}").__all__)


@pytest.mark.parametrize("name", PUBLIC)
def test_no_summary_of_a_property_has_a_colon(name: str) -> None:
    """napoleon takes the words before a colon for the type of the property."""
    package = import_module(f"zoolet.{name}")
    classes = [getattr(package, each) for each in package.__all__]
    summaries = {
        f"{kind.__name__}.{attribute}": (value.__doc__ or "").partition("\n")[0]
        for kind in classes
        if isinstance(kind, type)
        for attribute, value in vars(kind).items()
        if isinstance(value, property) and not attribute.startswith("_")
    }
    assert {each for each, summary in summaries.items() if ": " in summary} == set()


def test_every_decision_is_in_the_list_of_decisions() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text()))
    assert listed == {page.name for page in folder.glob("[0-9]*.md")}


def test_broken_links_of_a_site_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<p id="here"><a href="#here"><a href="b.html#there"><a href="b.html#no"><img src="c.png">'
        '<a href="//host/d.html"><a href="#no">'
    )
    (tmp_path / "b.html").write_text('<p id="there"><a href="a.html">')
    check_site = runpy.run_path(str(ROOT / "docs" / "check_site.py"))
    assert check_site["broken_links"](tmp_path) == [
        "a.html: #no: the page has no such anchor",
        "a.html: b.html#no: the page has no such anchor",
        "a.html: c.png: there is no such file",
    ]
