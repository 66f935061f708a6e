"""A person at a real terminal: what TAB shows, what Ctrl-C ends, a terminal without a size."""

import re
from typing import Any

import pytest

from tests.integration.shell.test_terminal import CTRL_C, TAB, Sit, at_prompt, sit
from tests.support.proxy import Proxy
from tests.support.waiting import wait_until
from zoolet.client.kazoo import create_request, multi_async
from zoolet.testing import ServerProcess

__all__ = ["sit"]  # the fixture

MORE = r"--MORE--\Z"


def fill(client: Any, root: str, count: int) -> None:
    """Create children whose names are their numbers."""
    client.create(root)
    for start in range(0, count, 1000):
        numbers = range(start, min(start + 1000, count))
        multi_async(
            client, [create_request(client, f"{root}/{number:04d}", b"") for number in numbers]
        ).get()


# --- TAB


@pytest.mark.parametrize(("count", "said"), [(3000, "3,000"), (1001, "1,001"), (999, "999")])
def test_tab_says_how_many_children_there_are(sit: Sit, client: Any, count: int, said: str) -> None:
    fill(client, "/many", count)
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press(f"get /many/{TAB}")
    if count < 1000:  # they all begin with a 0, which TAB completes first
        terminal.wait_for("get /many/0$")
        terminal.press(TAB)
    terminal.wait_for(rf"^Display all {said} possibilities\? \(y or n\)\Z")
    terminal.press("y")
    terminal.wait_for(MORE)
    terminal.press("q")
    terminal.wait_for(r"0\] get /many/0?\Z")
    terminal.press("0007")
    terminal.wait_for(r"0\] get /many/0?0007\Z")


def test_what_fits_the_screen_is_shown_without_a_question(sit: Sit, client: Any) -> None:
    fill(client, "/few", 30)
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press(f"get /few/{TAB}")
    terminal.wait_for("/few/00$")
    terminal.press(TAB)
    terminal.wait_for(r"^0000 .*0028\n0001 .* 0029\n(\n|.)*0\] get /few/00\Z")


def test_every_name_is_on_some_page(sit: Sit, client: Any) -> None:
    fill(client, "/many", 1500)
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press(f"get /many/{TAB}")
    terminal.wait_for(r"1,500 possibilities\? \(y or n\)\Z")
    terminal.press("y")
    seen: set[str] = set()
    page = 19 * (100 // 6)
    for start in range(0, 1500, page):
        last = min(start + page, 1500) - 1
        is_end = last == 1499
        terminal.wait_for(
            rf"^{start:04d} (\n|.)*{last:04d}\n(\n|.)*{'get /many/' if is_end else MORE}"
        )
        seen |= set(re.findall(r"\b\d{4}\b", terminal.text))
        if not is_end:
            terminal.press(" ")
    assert seen >= {f"{number:04d}" for number in range(1500)}


@pytest.mark.parametrize("at", ["the question", "a page"])
def test_ctrl_c_ends_the_list_and_keeps_the_line(sit: Sit, client: Any, at: str) -> None:
    fill(client, "/many", 3000)
    terminal = sit()
    at_prompt(terminal, 0)
    terminal.press(f"get /many/{TAB}")
    terminal.wait_for(r"possibilities\? \(y or n\)\Z")
    if at == "a page":
        terminal.press("y")
        terminal.wait_for(MORE)
    terminal.press(CTRL_C)
    terminal.wait_for(r"0\] get /many/\Z")
    terminal.press("0007")
    terminal.enter("")
    at_prompt(terminal, 1)
    terminal.enter("version")
    terminal.wait_for("^ZooKeeper CLI version")
    assert "Traceback" not in terminal.text
    assert "Unhandled" not in terminal.text


def test_ctrl_c_while_tab_waits_for_the_server(
    sit: Sit, server: ServerProcess, client: Any
) -> None:
    fill(client, "/many", 30)
    with Proxy(server.port) as network:
        terminal = sit("-server", network.hosts)
        at_prompt(terminal, 0)
        with network.replies_held():
            terminal.press(f"get /many/{TAB}{CTRL_C}")
            at_prompt(terminal, 0)
        terminal.enter("version")
        terminal.wait_for("^ZooKeeper CLI version")
        assert "Traceback" not in terminal.text


# --- Ctrl-C


@pytest.mark.parametrize("read", ["ls /", "get -s /a", "find -name x /", "du /", "diff /a /b"])
def test_ctrl_c_during_a_read_speaks_of_no_change(
    sit: Sit, server: ServerProcess, client: Any, read: str
) -> None:
    client.create("/a")
    client.create("/b")
    with Proxy(server.port) as network:
        terminal = sit("-server", network.hosts)
        at_prompt(terminal, 0)
        with network.replies_held():
            terminal.enter(read)
            terminal.wait_for(rf"\] {read}\n*\Z")
            terminal.press(CTRL_C)
            terminal.wait_for(r"\^C: the command was stopped$")
        at_prompt(terminal, 1)


def test_ctrl_c_says_what_is_known_of_a_change(
    sit: Sit, server: ServerProcess, client: Any
) -> None:
    client.create("/a", b"before")
    with Proxy(server.port) as network:
        terminal = sit("-server", network.hosts)
        at_prompt(terminal, 0)
        with network.replies_held():
            terminal.enter("set /a after")
            wait_until(lambda: client.get("/a")[0] == b"after", "the change")
            terminal.press(CTRL_C)
            terminal.wait_for("stopped; a change that it sent may have been executed$")
        at_prompt(terminal, 1)
        with network.cut_off():
            at_prompt(terminal, 1, "CONNECTING")
            terminal.enter("set /a never")
            terminal.wait_for("waiting for a new connection")
            terminal.press(CTRL_C)
            terminal.wait_for("stopped; nothing was changed$")
        at_prompt(terminal, 2)
    assert client.get("/a")[0] == b"after"


# --- Where things go


def test_the_question_before_overwriting_names_the_server(
    sit: Sit, server: ServerProcess, client: Any
) -> None:
    client.create("/a/b", makepath=True)
    client.create("/c/d", makepath=True)
    with Proxy(server.port) as other:
        terminal = sit()
        at_prompt(terminal, 0)
        terminal.enter(f"cp -f /a {other.hosts}/c")
        terminal.wait_for(rf"^Overwrite /c on {other.hosts}: 2 znodes\? \[y/N\]\Z")
        terminal.enter("n")
        at_prompt(terminal, 1)
        terminal.enter("cp -f /a /c")
        terminal.wait_for(rf"^Overwrite /c on {server.hosts}: 2 znodes\? \[y/N\]\Z")
        terminal.enter("n")
        at_prompt(terminal, 2)
        terminal.enter(f"mv /a {other.hosts}/e")
        terminal.wait_for(rf"^Move /a on {server.hosts} to /e on {other.hosts}: 2 znodes\? ")
        terminal.enter("n")
        at_prompt(terminal, 3)
        terminal.enter("setAcl -R /a world:anyone:r")
        terminal.wait_for(rf"^Set the ACL of /a on {server.hosts}: 2 znodes\? \[y/N\]\Z")
        terminal.enter("n")
        at_prompt(terminal, 4)


# --- The terminal


@pytest.mark.parametrize("told_size", [(0, 0), (0, 100), (20, 0)])
def test_a_terminal_that_does_not_know_its_size(
    sit: Sit, client: Any, told_size: tuple[int, int]
) -> None:
    fill(client, "/many", 300)
    terminal = sit(told_size=told_size)
    at_prompt(terminal, 0)
    terminal.enter("ls -R /many")
    rows = told_size[0] or 24
    terminal.wait_for(rf"^/many/{rows - 3:04d}\n-- more: .*--\Z")
    terminal.press("q")
    at_prompt(terminal, 1)
    terminal.press(f"get /many/{TAB}")
    terminal.wait_for(r"get /many/0\Z")
    terminal.press(TAB)
    terminal.wait_for(r"possibilities\?|^0000 ")
    terminal.press("n" if "possibilities" in terminal.text else "")
    terminal.wait_for(r"get /many/0\Z")
    terminal.enter("")
    terminal.wait_for("^Node does not exist: /many/0$")
    terminal.enter("deleteall -y /many")
    wait_until(lambda: client.exists("/many") is None, "the deletes")


def test_only_ascii_blanks_separate_words(sit: Sit, client: Any) -> None:
    terminal = sit()
    at_prompt(terminal, 0)
    for number, space in enumerate("\u00a0\u2003\u3000"):
        terminal.enter(f"create /a{space}b x{space}y")
        at_prompt(terminal, number + 1)
        assert client.get(f"/a{space}b")[0] == f"x{space}y".encode()
