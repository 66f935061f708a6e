"""The list of known attacks: each has a test that exists."""

import re

from tests.support.pages import ROOT
from zoolet.web.commands import web

PAGE = ROOT / "docs" / "threat-model.md"
TEST = re.compile(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)")
NUMBERS = (
    "2026-84501",
    "2026-84439",
    "2026-79993",
    "2026-59969",
    "2026-59739",
    "2026-24308",
    "2026-24281",
    "2025-58457",
    "2024-51504",
    "2024-23944",
    "2023-44981",
    "2019-0201",
    "2018-8012",
    "2017-5637",
    "2016-5017",
)
"""All numbers on the security page of Apache ZooKeeper in November 2026."""


def test_each_known_attack_has_a_test_that_exists() -> None:
    rows = {
        line.split(" | ")[0].removeprefix("| CVE-"): line
        for line in PAGE.read_text().splitlines()
        if line.startswith("| CVE-")
    }
    assert sorted(rows) == sorted(NUMBERS)
    for number, row in rows.items():
        found = TEST.search(row)
        assert found is not None, number
        text = (ROOT / found[2]).read_text()
        assert re.search(rf"^ *def {found[1]}\(", text, re.MULTILINE), number


def test_the_ports_the_files_and_the_cookie_of_the_web_page_have_rows() -> None:
    text = PAGE.read_text()
    options = {name for option in web.params for name in option.opts}
    for name in ("--listen", "--users-file", "--https-key"):
        assert name in options
        assert f"\n| `zoolet web {name}` | " in text
    assert "--trusted-proxy" in options
    assert "| the header of `--trusted-proxy` | " in text
    assert "| the cookie `zoolet_web_PORT` | " in text
