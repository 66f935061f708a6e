"""Bad input to the commands: a message that says what to do, and an exit code that says so too."""

import socket
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from zoolet.cli import main
from zoolet.jobs.cli.commands import jobs

SUBMIT = ["jobs", "submit", "--queue", "/q", "--task", "m:f", "--dataset", "d", "--group", "g"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["worker", "--loader", "json:dumps"], "Missing option '--queue'"),
        (["worker", "--queue", "q", "--loader", "json:dumps"], "a path starts with /"),
        (["worker", "--queue", "/q", "--loader", "json:lost"], "'json:lost' cannot be imported"),
        (["worker", "--queue", "/q", "--loader", "lost"], "neither of the form module:function"),
        (["worker", "--queue", "/q", "--loader", "json:dumps", "--executors", "0"], "--executors"),
        (["worker", "--queue", "/q", "--loader", "json:dumps", "--import-path", "/no/such"],
         "'/no/such' does not exist"),
        (["worker", "--queue", "/q", "--loader", "json:dumps", "--server", "h:x"],
         "'x' is not a port: write a number from 1 to 65535; write HOST:PORT[,HOST:PORT...]"),
        (["jobs", "list", "--queue", "/q", "--server", "no-such-host.invalid"],
         "the host name 'no-such-host.invalid' cannot be resolved: "),
        (["worker", "--queue", "/q", "--loader", "json:dumps", "--server", "no-such-host.invalid"],
         "the host name 'no-such-host.invalid' cannot be resolved: "),
        (["jobs", "create", "--queue", "/q", "--server", " , "], "names no server"),
        ([*SUBMIT, "--parameters", "{"], "is not JSON"),
        ([*SUBMIT, "--parameters", "[1]"], "is not a JSON object"),
        ([*SUBMIT, "--priority", "1000"], "--priority"),
        ([*SUBMIT, "--not-before", "soon"], "neither a time like"),
        (SUBMIT[:-2], "give both --dataset and --group"),
        (["jobs", "purge", "--queue", "/q"], "--older-than-s"),
        (["jobs", "create", "--queue", "/q", "--shards", "0"], "--shards"),
        (["jobs", "list", "--queue", "/q", "--state", "ASLEEP"], "--state"),
        (["jobs", "status", "--queue", "/q/"], "a path does not end with /"),
    ],
)  # fmt: skip
def test_bad_input_is_a_clear_error(arguments: list[str], complaint: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code != 0
    assert complaint in " ".join(result.output.split())
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [["worker", "--queue", "/q", "--loader", "json:dumps"], SUBMIT,
     ["jobs", "status", "--queue", "/q"], ["jobs", "list", "--queue", "/q"]],
)  # fmt: skip
def test_no_server_is_a_clear_error(arguments: list[str]) -> None:
    with socket.socket() as bound_and_not_listening:
        bound_and_not_listening.bind(("127.0.0.1", 0))
        hosts = "{}:{}".format(*bound_and_not_listening.getsockname())
        arguments = [*arguments, "--server", hosts, "--connect-timeout-ms", "100"]
        result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert f"Error: no ZooKeeper server answers at {hosts} within 0.1 s" in result.output


BAD = ("", "-1", "x", "\x1b[2J[/b]", "1e400", "9" * 400, "/no/such", "{", "\udc80")


def _options() -> Iterator[tuple[str, str]]:
    """Yield each option of each command that takes a value; those of all commands once."""
    common = {option for p in jobs.commands["resume"].params for option in p.opts}
    for name, command in jobs.commands.items():
        for parameter in command.params:
            is_flag = isinstance(parameter, click.Option) and parameter.is_flag
            if not is_flag and (name == "resume" or parameter.opts[0] not in common):
                yield name, parameter.opts[0]


@pytest.mark.parametrize(("command", "option"), list(_options()))
def test_no_value_of_an_option_is_a_traceback(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket() as bound_and_not_listening:
        bound_and_not_listening.bind(("127.0.0.1", 0))
        hosts = "{}:{}".format(*bound_and_not_listening.getsockname())
        where = ["--server", hosts, "--queue", "/q", "--connect-timeout-ms", "1"]
        if command == "submit":
            where += ["--task", "m:f", "--dataset", "d", "--group", "1"]
        for value in BAD:
            written = [option, value] if option.startswith("-") else [value]
            result = CliRunner().invoke(main, ["jobs", command, *where, *written])
            assert isinstance(result.exception, SystemExit), (written, result.exc_info)
            assert result.exit_code in {1, 2}
            assert "Error: " in result.output
            assert "\x1b" not in result.output


@pytest.mark.parametrize(
    "variable", ["ZOOLET_SERVER", "ZOOLET_QUEUE", "ZOOLET_AUTH", "ZOOLET_TLS_CA"]
)
def test_a_bad_variable_is_as_a_bad_option(variable: str) -> None:
    environment = {"ZOOLET_SERVER": "127.0.0.1:1", "ZOOLET_QUEUE": "/q"} | {variable: "no:such:1"}
    command = ["jobs", "status", "--connect-timeout-ms", "1"]  # nothing listens at the port 1
    result = CliRunner(env=environment).invoke(main, command)
    assert result.exit_code in {1, 2}
    assert "Error: " in result.output
    assert isinstance(result.exception, SystemExit)


def test_a_missing_option_is_named_with_its_variable() -> None:
    result = CliRunner().invoke(main, ["jobs", "status"])
    assert result.exit_code == 2
    assert "Missing option '--queue'" in result.output
    assert "ZOOLET_QUEUE" in result.output
