"""Patterns of tasks and loaders: what jobs may name."""

import os.path
import random
from typing import Any

import pytest

from zoolet.jobs.errors import InvalidJobError
from zoolet.jobs.records.allow_lists import AllowLists
from zoolet.jobs.records.task_names import MERGE_TASK

ALPHABET = "ab_.*:["


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("mail:*", ["mail:send", "mail:a1"], ["mail:os.system", "mail:_private", "mail:__import__",
                                             "mailman:send", "a.mail:send", "mail", "os:system"]),
        ("mail:send", ["mail:send"], ["mail:sender", "mail:send.x", "Mail:send"]),
        ("mail.*:*", ["mail.tasks:send", "mail.a.b:c"], ["mail:send", "mail.tasks:os.system"]),
        ("mail:Box.*", ["mail:Box.send"], ["mail:Box.__init__", "mail:Box", "mail:send"]),
        ("mail:send_*", ["mail:send_all", "mail:send_"], ["mail:send"]),
        ("*:*", ["a:b", "os:system"], ["report", "a:b.c"]),
        ("*", ["report"], ["a:b"]),
        ("report-*", ["report-daily"], ["report", "report-daily:x"]),
        ("a[b]:c", ["a[b]:c"], ["ab:c"]),
        ("a.b:c", ["a.b:c"], ["axb:c"]),
    ],
)  # fmt: skip
def test_a_pattern_matches_whole_names(
    pattern: str, allowed: list[str], refused: list[str]
) -> None:
    lists = AllowLists([pattern])
    assert {name for name in (*allowed, *refused) if lists.of_task(name) is None} == set(allowed)
    for name in refused:
        assert pattern in str(lists.of_task(name))


def test_without_lists_everything_is_allowed_and_an_empty_list_allows_nothing() -> None:
    assert AllowLists().is_open
    assert AllowLists().refusal("os:system", {}, {"loader": "a:b"}) is None
    assert AllowLists([]).of_task("a:b") is not None
    assert AllowLists([], []).of_loader("csv") is not None


def test_loaders_have_a_list_of_their_own() -> None:
    tasks_only = AllowLists(["mail:*"])
    assert tasks_only.of_loader("csv") is None
    assert "only built-in loaders" in str(tasks_only.of_loader("shop:load"))
    both = AllowLists(["mail:*"], ["csv", "shop.data:*"])
    assert both.of_loader("csv") is both.of_loader("shop.data:Orders") is None
    assert "--loaders csv, shop.data:*" in str(both.of_loader("sql"))
    assert AllowLists(None, ["csv"]).of_task("os:system") is None


def test_the_merging_function_of_a_reduction_is_a_task() -> None:
    lists = AllowLists(["mail:*"])
    assert lists.refusal(MERGE_TASK, {"function": "mail:add"}, None) is None
    assert "os:system" in str(lists.refusal(MERGE_TASK, {"function": "os:system"}, None))
    assert lists.refusal("mail:send", {}, {"loader": "csv"}) is None
    assert lists.refusal("mail:send", {}, {"loader": "x:y"}) is not None


def test_an_imported_function_needs_its_exact_name() -> None:
    lists = AllowLists(["os.*:*", "tests.*:*", "json:dumps"])
    join = os.path.join
    assert lists.of_function("os.path:join", join, lists.tasks) is not None  # posixpath defines it
    assert lists.of_function("tests.x:f", ALPHABET.join, lists.tasks) is not None
    assert (
        lists.of_function("tests.x:f", test_loaders_have_a_list_of_their_own, lists.tasks) is None
    )
    assert lists.of_function("json:dumps", join, lists.tasks) is None
    assert lists.of_function("os.path:join", join, None) is None


@pytest.mark.parametrize("patterns", ["mail:*", [""], [1], ["a:b:c"], ["x" * 501], ["a"] * 1001])
def test_invalid_patterns_are_refused(patterns: Any) -> None:
    for lists in ((patterns, None), (None, patterns)):
        with pytest.raises(InvalidJobError, match="patterns like mail"):
            AllowLists(*lists)


def test_a_long_name_of_another_program_takes_no_long_time() -> None:
    lists = AllowLists(["*a*a*a*a*a*a*a*b:*a*a*a*a*b"])
    assert lists.of_task("a" * 249 + ":" + "a" * 250) is not None
    assert lists.of_task("a" * 249 + "b:" + "a" * 249 + "b") is None


def matches(pattern: str, name: str) -> bool:
    """A naive matcher: the first character of the name is that of the pattern, or a star's."""
    module, colon, function = pattern.partition(":")
    name_module, name_colon, name_function = name.partition(":")
    if colon != name_colon or not _glob(module, name_module, ":"):
        return False
    parts, names = function.split("."), name_function.split(".")
    return len(parts) == len(names) and all(
        _glob(part, one, ".:") and not (part.startswith("*") and one.startswith("_"))
        for part, one in zip(parts, names, strict=True)
    )


def _glob(pattern: str, text: str, excluded: str) -> bool:
    if not pattern:
        return not text
    if pattern[0] != "*":
        return text[:1] == pattern[0] and _glob(pattern[1:], text[1:], excluded)
    is_longer = bool(text) and text[0] not in excluded and _glob(pattern, text[1:], excluded)
    return _glob(pattern[1:], text, excluded) or is_longer


@pytest.mark.parametrize("seed", range(20))
def test_random_patterns_match_as_a_naive_matcher(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(300):
        pattern = "".join(chance.choices(ALPHABET, k=chance.randrange(1, 7)))
        if pattern.count(":") > 1:
            continue
        lists = AllowLists([pattern])
        for _ in range(10):
            name = "".join(chance.choices(ALPHABET.replace("*", ""), k=chance.randrange(1, 7)))
            assert (lists.of_task(name) is None) == matches(pattern, name), (pattern, name)
