"""Ctrl-C at any moment of a command that changes many znodes: what it then says is true.

The signal is a real one. It comes while the shell waits for an answer: with a wrong count of what
was under way, the numbers of the message differ from what the server has.
"""

import contextlib
import os
import random
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from tests.support.outcomes import Running
from tests.support.shell import Ran, run_shell
from zoolet.client.kazoo import create_request, multi_async
from zoolet.client.thread_client.client import Client, _Futures
from zoolet.client.thread_client.interruption import Uninterrupted
from zoolet.model.codes import OpCode
from zoolet.process import interrupts
from zoolet.shell.commands import writing
from zoolet.shell.commands.registry import COMMANDS
from zoolet.shell.connection import Connection
from zoolet.testing import ServerProcess

ZNODES = 2_500
DELETED_IN_A_MULTI = 100


class Person:
    """Somebody who presses Ctrl-C while the shell waits for an answer, the Nth of those it gets."""

    def __init__(self, waits_before: int) -> None:
        self.waits_before = waits_before

    def look_at(self, wait: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``wait``, in which the shell waits for the answer to a change."""

        def watched(*arguments: Any) -> Any:
            self.waits_before -= 1
            if self.waits_before == -1:
                signal.raise_signal(signal.SIGINT)
            return wait(*arguments)

        return watched


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """See that Ctrl-C is KeyboardInterrupt, and is so afterwards."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def many(client: Any) -> Any:
    """A client of a server with a root ``/s`` of 2,500 children."""
    client.create("/s")
    for start in range(0, ZNODES, 500):
        numbers = range(start, start + 500)
        multi_async(
            client, [create_request(client, f"/s/n{number}", b"x") for number in numbers]
        ).get()
    return client


def run_interrupted(server: ServerProcess, waits_before: int, *words: str) -> Ran:
    """Run a command; Ctrl-C comes at the wait for an answer with this number."""
    person = Person(waits_before)
    watched = person.look_at(Uninterrupted.result_of)
    with mock.patch.object(Uninterrupted, "result_of", watched):
        return run_shell(server.hosts, *words)


def present(client: Any, root: str) -> int:
    """Return how many znodes a subtree has."""
    stat = client.exists(root)
    return 0 if stat is None else 1 + stat.numChildren


def said(pattern: str, message: str) -> int:
    """Return the number in a message; none is 0."""
    found = re.match(pattern, message)
    assert found is not None, message
    return int(found[1] or 0)


def check_cp(server: ServerProcess, client: Any, waits_before: int) -> None:
    found = run_interrupted(server, waits_before, "cp", "/s", "/t")
    if found.status:
        pattern = r"\^C; (?:nothing was written|(\d+) znodes had been written)$"
        assert said(pattern, found.err) == present(client, "/t")
    else:
        assert present(client, "/t") == ZNODES + 1


def check_deleteall(server: ServerProcess, client: Any, waits_before: int) -> None:
    batch = str(DELETED_IN_A_MULTI)
    found = run_interrupted(server, waits_before, "deleteall", "-b", batch, "/s")
    left = present(client, "/s")
    if found.status:
        pattern = r"\^C; (\d+) znodes had been deleted"
        assert said(pattern, found.err) == ZNODES + 1 - left
        assert ("the rest of /s was not" in found.err) == (left > 0)
    else:
        assert left == 0


def check_mv(server: ServerProcess, client: Any, waits_before: int) -> None:
    found = run_interrupted(server, waits_before, "mv", "/s", "/u")
    left = present(client, "/s")
    if not found.status:
        assert (left, present(client, "/u")) == (0, ZNODES + 1)
    elif "copied" not in found.err:
        pattern = r"\^C; (?:nothing was moved|(\d+) znodes had been written)$"
        assert said(pattern, found.err) == present(client, "/u")
        assert left == ZNODES + 1
    else:
        pattern = r"\^C; everything was copied, and (\d+) of 2501 znodes of /s were deleted$"
        assert said(pattern, found.err) == ZNODES + 1 - left
        assert present(client, "/u") == ZNODES + 1


@pytest.mark.parametrize("waits_before", [0, 1, 3])
@pytest.mark.parametrize("check", [check_cp, check_deleteall])
def test_the_message_counts_what_was_under_way(
    server: ServerProcess,
    many: Any,
    check: Callable[[ServerProcess, Any, int], None],
    waits_before: int,
) -> None:
    check(server, many, waits_before)


@pytest.mark.parametrize("waits_before", [0, 6, 8])  # the copy has six multis, the deletes six
def test_a_move_says_what_is_where(server: ServerProcess, many: Any, waits_before: int) -> None:
    check_mv(server, many, waits_before)


@pytest.mark.parametrize("seed", range(3))
def test_the_message_is_true_whenever_ctrl_c_comes(
    server: ServerProcess, many: Any, seed: int
) -> None:
    chance = random.Random(seed)
    check_cp(server, many, chance.randrange(7))
    check_mv(server, many, chance.randrange(14))
    if many.exists("/s") is not None:
        many.delete("/s", recursive=True)
    many.create("/s")
    for number in range(ZNODES):
        many.create_async(f"/s/n{number}")
    check_deleteall(server, many, chance.randrange(27))


class Impatient:
    """A person who presses Ctrl-C some time after a command has begun to change znodes."""

    def __init__(self, client: Any, chance: random.Random) -> None:
        self._client = client
        self._delay_s = chance.uniform(0.0, 0.3)
        self._before = present(client, "/")
        self._is_over = threading.Event()

    def press(self) -> None:
        """Press Ctrl-C, unless the command is over before."""
        while not self._has_begun():
            if self._is_over.is_set():
                return
        if not self._is_over.wait(self._delay_s):
            os.kill(os.getpid(), signal.SIGINT)

    def _has_begun(self) -> bool:
        left = present(self._client, "/s")
        return left < ZNODES + 1 or present(self._client, "/") > self._before

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Press Ctrl-C while the block runs, or just after it."""
        thread = Running(self.press)
        with contextlib.suppress(KeyboardInterrupt):  # it comes after the end of the command
            yield
        with contextlib.suppress(KeyboardInterrupt):
            self._is_over.set()
            thread.end()


@pytest.mark.parametrize("check", [check_cp, check_deleteall, check_mv])
def test_the_message_is_true_if_ctrl_c_comes_at_any_time(
    server: ServerProcess, many: Any, check: Callable[[ServerProcess, Any, int], None]
) -> None:
    """It comes while the client reads too, which then may lose replies to changes."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    with Impatient(many, random.Random(seed)).waiting():
        check(server, many, -1)


def test_ctrl_c_after_the_end_of_a_command_changes_nothing(server: ServerProcess) -> None:
    def interrupted(connection: Connection) -> None:
        connection.client.close()
        raise KeyboardInterrupt

    with mock.patch.object(Connection, "close", interrupted):
        found = run_shell(server.hosts, "create", "/a")
    assert (found.status, found.err) == (0, "")


def test_an_acl_that_was_set_is_counted(server: ServerProcess, many: Any) -> None:
    """Ctrl-C comes at the 250th answer: up to a hundred more are under way then, and count."""
    settle = writing._SettingAcls._settle_next
    calls = 0

    def settling(setting: writing._SettingAcls) -> None:
        nonlocal calls
        calls += 1
        if calls == 250:
            signal.raise_signal(signal.SIGINT)
        settle(setting)

    with mock.patch.object(writing._SettingAcls, "_settle_next", settling):
        found = run_shell(server.hosts, "setAcl", "-R", "/s", "world:anyone:cdra")
    done = said(r"\^C; the ACL of (\d+) znodes was set$", found.err)
    changed = sum(many.exists(f"/s/n{number}").aversion for number in range(ZNODES))
    changed += many.exists("/s").aversion
    assert done == changed
    assert 0 < done < ZNODES


MAYBE = "^C: the command was stopped; a change that it sent may have been executed"
MESSAGES = {
    "create": ("/x", MAYBE),
    "set": ("/s y", MAYBE),
    "delete": ("/s", MAYBE),
    "setAcl": ("/s world:anyone:cdrwa", MAYBE),
    "setquota": ("-n 5 /s", MAYBE),
    "delquota": ("/q", MAYBE),
    "reconfig": ("-remove 1", MAYBE),
    "deleteall": ("/s", "^C; 0 znodes had been deleted, the rest of /s was not"),
    "cp": ("/s /t", "^C; nothing was written"),
    "mv": ("/s /t", "^C; nothing was moved"),
    "import": ("FILE /t", "^C; nothing was written"),
    "edit": ("/s", "^C; the text may have been set or not. Your text is in "),
}
"""The arguments of each command that changes something, and its message after Ctrl-C."""

CHANGES = frozenset(
    {
        OpCode.CREATE2,
        OpCode.DELETE,
        OpCode.SET_DATA,
        OpCode.SET_ACL,
        OpCode.MULTI,
        OpCode.RECONFIG,
    }
)


def test_each_command_that_changes_something_is_here() -> None:
    assert set(MESSAGES) == {name for name, command in COMMANDS.items() if command.changes}


@pytest.mark.parametrize("name", MESSAGES)
def test_ctrl_c_while_a_change_is_sent(
    server: ServerProcess, client: Any, tmp_path: Path, name: str
) -> None:
    client.create("/s/child", makepath=True)
    client.create("/q")
    assert run_shell(server.hosts, "setquota", "-n", "3", "/q").status == 0
    file = tmp_path / "export"
    assert run_shell(server.hosts, "export", "/s", str(file)).status == 0

    def interrupting(run: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(requests: Any, call: Any, timeout_s: float | None) -> Any:
            if call.op_code in CHANGES:
                raise KeyboardInterrupt
            return run(requests, call, timeout_s)

        return interrupted

    arguments, message = MESSAGES[name]
    with (
        mock.patch.object(Client, "_run", interrupting(Client._run)),
        mock.patch.object(_Futures, "_run", interrupting(_Futures._run)),
        mock.patch.dict(os.environ, {"EDITOR": "sh -c 'echo new >$0'"}),
        mock.patch("tempfile.tempdir", str(tmp_path)),
    ):
        found = run_shell(server.hosts, name, *arguments.replace("FILE", str(file)).split())
    assert (found.status, found.out) == (1, "")
    assert found.err.startswith(message)


@pytest.mark.usefixtures("many")
def test_a_second_ctrl_c_gives_no_number(server: ServerProcess) -> None:
    wait = Uninterrupted.result_of
    waits = 0

    def interrupted(*args: Any) -> Any:
        nonlocal waits
        waits += 1
        if waits == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return wait(*args)

    with mock.patch.object(Uninterrupted, "result_of", interrupted):
        found = run_shell(server.hosts, "cp", "/s", "/t")
    assert found == Ran(1, "", f"{MAYBE}\n")


def press_ctrl_c_twice() -> None:
    with interrupts.held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("the second is held back too")


def fail_after_ctrl_c() -> None:
    with interrupts.held_back():
        signal.raise_signal(signal.SIGINT)
        raise ValueError("refused")


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt):
        press_ctrl_c_twice()


def test_an_error_comes_before_a_ctrl_c_that_was_held_back() -> None:
    with pytest.raises(ValueError, match="refused"):
        fail_after_ctrl_c()


def test_ctrl_c_is_the_editors_while_it_runs(
    server: ServerProcess, client: Any, tmp_path: Path
) -> None:
    """An editor that takes Ctrl-C for a key of its own goes on, and what it saves is set."""
    client.create("/a", b"old")
    editor = tmp_path / "editor.py"
    editor.write_text(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "os.kill(os.getppid(), signal.SIGINT)\n"
        "os.kill(os.getpid(), signal.SIGINT)\n"
        "open(sys.argv[1], 'w').write('new')\n"
    )
    with mock.patch.dict(os.environ, {"EDITOR": f"{sys.executable} {editor}"}):
        found = run_shell(server.hosts, "edit", "/a")
    assert found == Ran(0, "Set /a, version 1\n", "")
    assert client.get("/a")[0] == b"new"


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("zoolet.shell.connection.Connection.wait", "^C; nothing was set"),
        ("zoolet.client.Client.set", "^C; the text may have been set or not"),
    ],
)
def test_ctrl_c_after_the_editor_names_the_text(
    server: ServerProcess, client: Any, tmp_path: Path, where: str, told: str
) -> None:
    client.create("/a", b"old")
    calls = 0

    def interrupted(*_: Any, **__: Any) -> None:
        nonlocal calls
        calls += 1
        if calls > where.endswith("wait"):  # the first wait is the one before the command
            raise KeyboardInterrupt

    with (
        mock.patch.dict(os.environ, {"EDITOR": "sed -i s/old/new/"}),
        mock.patch("tempfile.tempdir", str(tmp_path)),
        mock.patch(where, interrupted),
    ):
        found = run_shell(server.hosts, "edit", "/a")
    assert found.err.startswith(f"{told}. Your text is in {tmp_path}")
    assert Path(found.err.split(" is in ")[1].strip()).read_text() == "new"
