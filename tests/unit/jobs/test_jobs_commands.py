"""Bad input to the commands: a message that says what to do, and an exit code that says so too."""

import socket

import pytest
from click.testing import CliRunner

from zoolet.cli import main

SUBMIT = ["jobs", "submit", "--queue", "/q", "--task", "m:f", "--dataset", "d", "--group", "g"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["worker", "--loader", "json:dumps"], "Missing option '--queue'"),
        (["worker", "--queue", "q", "--loader", "json:dumps"], "a path starts with /"),
        (["worker", "--queue", "/q", "--loader", "json:lost"], "'json:lost' cannot be imported"),
        (["worker", "--queue", "/q", "--loader", "lost"], "neither written module:function"),
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
        (SUBMIT[:-2], "a job needs --group"),
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
    assert f"Error: no ZooKeeper server answers at {hosts} within 100 ms" in result.output
