"""The alternative name that a rule chooses."""

import re

import pytest

from zoolet.server.sockets.certificate_ids import NoChosenNameError, chosen_name
from zoolet.server.zoo_cfg.config import AlternativeNameRule

NAMES = [
    (2, "worker.example.org"),
    (2, "other.example.com"),
    (6, "urn:li:servicePrincipal(worker;1)"),
    (6, "https://example.org/worker"),
    (7, "10.0.0.1"),
]


def rule(kind: int, match: str = ".*", extract: str = ".*", group: int = 0) -> AlternativeNameRule:
    return AlternativeNameRule(
        kind, re.compile(match, re.ASCII), re.compile(extract, re.ASCII), group
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (rule(7), "10.0.0.1"),
        (rule(2, "org"), "worker.example.org"),
        (rule(6, "^urn:", r"\((.+);", 1), "worker"),
        (rule(6, "^urn:", r"\((.+);"), "(worker;"),
        (rule(6, "^https:", r"//(\w+)\.(\w+)/", 2), "org"),
    ],
)
def test_the_one_name_that_matches(wanted: AlternativeNameRule, found: str) -> None:
    assert chosen_name(NAMES, wanted) == found


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (rule(2), "2 of its alternative names match"),
        (rule(1), "0 of its alternative names match"),
        (rule(6, "ftp:"), "0 of its alternative names match"),
        (rule(7, extract="x"), "finds nothing"),
        (rule(7, extract="x*"), "finds nothing"),
        (rule(7, extract="(x)?10", group=1), "finds nothing"),
    ],
)
def test_no_name(wanted: AlternativeNameRule, said: str) -> None:
    with pytest.raises(NoChosenNameError, match=said):
        chosen_name(NAMES, wanted)
