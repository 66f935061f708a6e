"""The program that measures attacks: that it measures, at sizes that take no time.

What it measures is not judged here: times are for ``make attack``.
"""

import pytest
from click.testing import CliRunner

from benchmarks.attack import wire
from benchmarks.attack.__main__ import main
from benchmarks.attack.arena import Arena, Attack, Options, run_attack
from benchmarks.attack.clients import Load
from zoolet.model.codes import OpCode

_SMALL = Options(connections=2, scale=0.001, settle_s=0.0, limit_s=30.0)


def _two_reads(arena: Arena) -> None:
    arena.pipeline([wire.path_watch(1, OpCode.EXISTS, "/")] * 2)


def _kills_the_server(arena: Arena) -> None:
    arena.target.kill()


def _is_closed_out(arena: Arena) -> None:
    client = arena.client()
    arena.send([Load(client, [b"\xff" * 8])])


class TestRunAttack:
    def test_a_bystander_is_measured_and_the_server_starts_again(self) -> None:
        outcome = run_attack(Attack("reads", "", _two_reads), _SMALL)
        figures = outcome.figures
        assert figures.session_lives
        assert figures.longest_ms > 0
        assert figures.memory.before_mb > 0
        assert figures.memory.peak_mb >= figures.memory.before_mb
        assert not figures.server_ended
        assert not figures.restart_error

    def test_a_server_that_ends_is_noticed(self) -> None:
        outcome = run_attack(Attack("kill", "", _kills_the_server), _SMALL)
        assert outcome.figures.server_ended
        assert not outcome.figures.session_lives
        assert not outcome.figures.restart_error

    def test_connections_that_the_server_closes_are_noted(self) -> None:
        outcome = run_attack(Attack("malformed", "", _is_closed_out), _SMALL)
        assert "1 connections closed by the server" in outcome.notes


class TestMain:
    def test_every_attack_is_listed_once(self) -> None:
        listed = CliRunner().invoke(main, ["--list"])
        names = [line.split()[0] for line in listed.output.splitlines()]
        assert listed.exit_code == 0
        assert len(names) == len(set(names))
        assert {"count-children", "sessions-expire", "memory-limit"} <= set(names)

    def test_an_unknown_attack_is_refused(self) -> None:
        refused = CliRunner().invoke(main, ["--only", "nothing"])
        assert refused.exit_code != 0
        assert "see --list" in refused.output

    @pytest.mark.parametrize("name", ["count-children", "auth-requests", "not-read"])
    def test_an_attack_runs_at_a_small_size(self, name: str) -> None:
        options = ["--scale", "0.001", "--settle-s", "0", "--limit-s", "20", "--connections", "3"]
        run = CliRunner().invoke(main, ["--only", name, *options])
        assert run.exit_code in {0, 1}
        assert f"{name} | 3 | " in run.output
        assert "LOST" not in run.output
