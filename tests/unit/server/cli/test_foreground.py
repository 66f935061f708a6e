"""The usual arguments of start-foreground mean the same with and without click."""

import random
from pathlib import Path

import click
import pytest

from zoolet.server.cli.commands import start_foreground
from zoolet.server.cli.foreground import Options, simple_options

WORDS = (
    *("--apache-exit-status", "--discard-local-data", "--log-level", "--log-format", "--log-file"),
    *("--ready-fd", "--log-level=info", "--log", "--help", "-h", "-x", "--", "-", "", "7", "-1"),
    *("\u0663", "1_0", "info", "debug", "INFO", "text", "json", "zoo.cfg", "/no/zoo.cfg"),
    "n" * 5000,
)


def with_click(arguments: list[str]) -> Options | None:
    """Return what click makes of the arguments; None if it refuses them or prints its help."""
    try:
        context = start_foreground.make_context("start-foreground", list(arguments))
    except (click.UsageError, click.exceptions.Exit):
        return None
    return Options(**context.params)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["zoo.cfg"],
        ["/etc/zoolet/zoo.cfg", "--apache-exit-status"],
        ["--log-level", "debug", "--log-format", "json", "zoo.cfg"],
        ["--log-file", "/no/file", "--ready-fd", "5", "--discard-local-data", "zoo.cfg"],
        ["--log-level", "error", "--log-level", "info"],
    ],
)
def test_the_usual_arguments_need_no_click(arguments: list[str]) -> None:
    found = simple_options(arguments)
    assert found is not None
    assert found == with_click(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--config", "/etc"],
        ["a.cfg", "b.cfg"],
        ["--log-level"],
        ["--log-level", "loud"],
        ["--log-level=info"],
        ["--log-file", "--ready-fd"],
        ["--ready-fd", "x"],
        ["-v"],
        ["--", "zoo.cfg"],
    ],
)
def test_click_looks_at_everything_else(arguments: list[str]) -> None:
    assert simple_options(arguments) is None


@pytest.mark.parametrize("seed", range(20))
def test_click_agrees_with_every_result(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    secret = tmp_path / "secret"
    secret.write_text("")
    secret.chmod(0)
    words = [*WORDS, str(tmp_path), str(tmp_path / "new"), str(secret)]
    agreed = 0
    for _ in range(300):
        arguments = chosen.choices(words, k=chosen.randrange(5))
        found = simple_options(arguments)
        if found is not None:
            assert found == with_click(arguments), arguments
            agreed += 1
    assert agreed > 20
