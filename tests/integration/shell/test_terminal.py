"""A person at a real terminal: completion, history, pages, Ctrl-C, a server that goes and comes."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.terminal import Terminal
from tests.support.waiting import wait_until
from zoolet.client.kazoo import create_request, multi_async
from zoolet.testing import ServerProcess

TAB, UP, CTRL_C, CTRL_D, BACKSPACE = "\t", "\x1b[A", "\x03", "\x04", "\x7f"

Sit = Callable[..., Terminal]


@pytest.fixture
def sit(server: ServerProcess, tmp_path: Path) -> Iterator[Sit]:
    """Start shells at terminals of their own, which share a history."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **settings: Any) -> Terminal:
            command = [sys.executable, "-m", "zoolet.shell", "-server", server.hosts, *arguments]
            environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
            return stack.enter_context(Terminal(command, environment, **settings))

        yield start


def at_prompt(terminal: Terminal, number: int, state: str = "CONNECTED") -> None:
    """Wait for the empty prompt of the line with this number, below everything else."""
    terminal.wait_for(rf"\({state}\) {number}\]\Z")


def test_commands_and_paths_are_completed(sit: Sit, client: Any) -> None:
    client.create("/completed/one", makepath=True)
    client.create("/completed/two words", b"quoted")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press(f"getAl{TAB} /comp{TAB}")
    terminal.wait_for(r"0\] getAllChildrenNumber /completed$")
    terminal.enter("")
    terminal.wait_for("^2$")
    at_prompt(terminal, 1)
    terminal.press(f"ls /completed/{TAB}")
    terminal.wait_for(r"^one +two words *\n.* 1\] ls /completed/$")
    terminal.press(f"{CTRL_C}get /completed/tw{TAB}")
    terminal.wait_for(r"1\] get '/completed/two words'$")
    terminal.enter("")
    terminal.wait_for("^quoted$")
    at_prompt(terminal, 2)
    assert terminal.is_coloured("get '/completed")


def test_history_outlives_a_run(sit: Sit, client: Any, tmp_path: Path) -> None:
    client.create("/a", b"remembered")
    first = sit()
    at_prompt(first, 0)
    first.enter("get /a")
    at_prompt(first, 1)
    first.enter("addauth digest ann:secret")
    at_prompt(first, 2)
    first.enter("quit")
    assert first.wait_for_end() == 0
    assert "secret" not in (tmp_path / ".zoolet_history").read_text()
    second = sit()
    at_prompt(second, 0)
    second.press(UP)
    second.wait_for(r"0\] quit$")
    second.press(UP)
    second.wait_for(r"0\] get /a$")
    second.enter("")
    second.wait_for("^remembered$")
    at_prompt(second, 1)
    second.press(CTRL_D)
    assert second.wait_for_end() == 0


def test_ctrl_c_ends_a_command_and_not_the_shell(
    sit: Sit, server: ServerProcess, client: Any
) -> None:
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press("not yet finished")
    terminal.wait_for("not yet finished$")
    terminal.press(CTRL_C)  # at the prompt it clears the line
    at_prompt(terminal, 0)
    terminal.enter("watch -R /")
    wait_until(lambda: "Total watches:1" in watchers(server), "the watch")
    client.create("/a", b"seen")
    terminal.wait_for("^created /a: seen$")
    terminal.press(CTRL_C)
    terminal.wait_for("the command was stopped")
    at_prompt(terminal, 1)
    wait_until(lambda: "Total watches:0" in watchers(server), "the end of the watch")
    terminal.enter("get /a")
    terminal.wait_for("^seen$")
    at_prompt(terminal, 2)


def watchers(server: ServerProcess) -> str:
    """Return what the server says of its watches, in the end ``Total watches:N``."""
    return server.ask("wchs")


def test_a_server_that_restarts(sit: Sit, server: ServerProcess, client: Any) -> None:
    client.create("/a", b"x")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("addWatch /a")
    at_prompt(terminal, 1)
    server.stop()
    at_prompt(terminal, 1, "CONNECTING")
    server.start()
    at_prompt(terminal, 1)
    terminal.enter("set /a changed")
    terminal.wait_for("^WatchedEvent state:SyncConnected type:NodeDataChanged path:/a")
    at_prompt(terminal, 2)
    server.stop()
    at_prompt(terminal, 2, "CONNECTING")
    terminal.enter("get /a")
    terminal.wait_for("is lost; waiting for a new connection")
    server.start()
    terminal.wait_for("^changed$")
    at_prompt(terminal, 3)


def test_ctrl_c_ends_the_wait_for_a_server(sit: Sit, server: ServerProcess) -> None:
    terminal = sit()
    at_prompt(terminal, 0)
    server.stop()
    at_prompt(terminal, 0, "CONNECTING")
    terminal.enter("ls /")
    terminal.wait_for("waiting for a new connection")
    terminal.press(CTRL_C)
    terminal.wait_for("the command was stopped")
    at_prompt(terminal, 1, "CONNECTING")
    server.start()
    at_prompt(terminal, 1)


def test_events_come_above_the_line_that_is_typed(sit: Sit, client: Any) -> None:
    client.create("/a", b"x")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("get -w /a")
    at_prompt(terminal, 1)
    terminal.press("stat ")
    terminal.wait_for(r"1\] stat$")
    client.set("/a", b"changed meanwhile")
    terminal.wait_for(r"type:NodeDataChanged path:/a zxid: \d+\n(\n)*.* 1\] stat$")
    terminal.enter("/a")
    terminal.wait_for("^dataLength = 17$")


def test_long_answers_stop_at_each_page(sit: Sit, client: Any) -> None:
    client.create("/many")
    for number in range(200):
        client.create(f"/many/child-{number:03d}")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("ls -R /many")
    terminal.wait_for(r"^/many/child-017\n-- more: .*--\Z")
    terminal.press(" ")
    terminal.wait_for(r"^/many/child-036\n-- more: .*--\Z")
    terminal.press("\r")
    terminal.wait_for(r"^/many/child-037\n-- more: .*--\Z")
    terminal.press("q")
    at_prompt(terminal, 1)
    assert "more" not in terminal.text
    terminal.enter("ls /many")  # one line of 2,200 characters
    terminal.wait_for(r"-- more: .*--\Z")
    assert "child-199" not in terminal.text
    terminal.press(CTRL_C)
    terminal.wait_for("the command was stopped")
    at_prompt(terminal, 2)


def test_without_a_pager_nothing_stops(sit: Sit, client: Any) -> None:
    client.create("/many")
    for number in range(100):
        client.create(f"/many/child-{number:03d}")
    terminal = sit("--no-pager")
    at_prompt(terminal, 0)
    terminal.enter("ls -R /many")
    terminal.wait_for("^/many/child-099$")
    at_prompt(terminal, 1)


def test_it_asks_before_more_than_one_znode_goes(
    sit: Sit, server: ServerProcess, client: Any
) -> None:
    client.create("/a/b", makepath=True)
    client.create("/c/d", makepath=True)
    client.create("/single")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("deleteall /a")
    terminal.wait_for(rf"^Delete /a on {server.hosts}: 2 znodes\? \[y/N\]\Z")
    terminal.enter("n")
    terminal.wait_for("^Nothing was done$")
    at_prompt(terminal, 1)
    terminal.enter("deleteall /a")
    terminal.wait_for(r"znodes\? \[y/N\]\Z")
    terminal.press(CTRL_C)
    terminal.wait_for("the command was stopped; nothing was changed$")
    at_prompt(terminal, 2)
    assert client.exists("/a/b") is not None
    terminal.enter("deleteall /a")
    terminal.wait_for(r"znodes\? \[y/N\]\Z")
    terminal.enter("y")
    at_prompt(terminal, 3)
    assert client.exists("/a") is None
    terminal.enter("deleteall -y /c")
    at_prompt(terminal, 4)
    terminal.enter("deleteall /single")
    at_prompt(terminal, 5)
    assert client.get_children("/") == ["zookeeper"]


def test_json_is_indented_and_coloured(sit: Sit, client: Any) -> None:
    client.create("/json", b'{"name":"x","list":[1,2]}')
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("get /json")
    at_prompt(terminal, 1)
    assert '{\n  "name": "x",\n  "list": [\n    1,\n    2\n  ]\n}\n' in terminal.text
    assert terminal.is_coloured('"name"')


def test_binary_data_does_not_touch_the_terminal(sit: Sit, client: Any) -> None:
    client.create("/nasty", b"\x1b[2J\x1b]0;title\x07\x00\xff\x9b31m")
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("get /nasty")
    at_prompt(terminal, 1)
    assert "\n\\x1b[2J\\x1b]0;title\\x07\\x00\\xff\\x9b31m\n" in terminal.text
    terminal.enter("get -x /nasty")
    at_prompt(terminal, 2)
    row = "|00000000| 1b 5b 32 4a 1b 5d 30 3b 74 69 74 6c 65 07 00 ff |.[2J.]0;title...|"
    assert row in terminal.lines


def test_one_command_at_a_terminal(sit: Sit, server: ServerProcess, client: Any) -> None:
    client.create("/a/b", makepath=True)
    terminal = sit("deleteall", "/a")
    terminal.wait_for(rf"^Delete /a on {server.hosts}: 2 znodes\? \[y/N\]\Z")
    terminal.enter("no")
    assert terminal.wait_for_end() == 1
    assert "Nothing was done" in terminal.text


def test_300_000_children_neither_freeze_nor_flood(sit: Sit, client: Any) -> None:
    fill(client, "/big", 300_000)
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.enter("ls /big")
    terminal.wait_for(r"^\[child-000000, (.|\n)*-- more: .*--\Z")
    terminal.press("q")
    at_prompt(terminal, 1)
    terminal.press(f"get /big/{TAB}")
    terminal.wait_for(r"1\] get /big/child-$")
    terminal.press(f"12345{TAB}")
    terminal.wait_for(r"1\] get /big/child-12345$")
    terminal.press(TAB)
    terminal.wait_for(r"^child-123451 .* child-123459$")
    terminal.press(f"{BACKSPACE * 5}{TAB}")
    terminal.wait_for(r"^Display all 300,000 possibilities\? \(y or n\)\Z")
    terminal.press("n")
    terminal.press("123459")
    terminal.enter("")
    terminal.wait_for("^x$")
    at_prompt(terminal, 2)
    terminal.enter("tree /big")
    terminal.wait_for(r"^├── child-000017\n-- more: .*--\Z")
    terminal.press(CTRL_C)
    at_prompt(terminal, 3)
    terminal.enter("find -name '*99999' /big")
    terminal.wait_for("^/big/child-299999$")
    at_prompt(terminal, 4)


def fill(client: Any, root: str, count: int) -> None:
    """Create children, a thousand in a multi."""
    client.create(root)
    sent = []
    for start in range(0, count, 1000):
        names = [f"{root}/child-{number:06d}" for number in range(start, start + 1000)]
        sent.append(multi_async(client, [create_request(client, name, b"x") for name in names]))
    for result in sent:
        result.get()
