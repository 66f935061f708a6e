"""Walking, copying, moving and deleting subtrees, on zoolet and on Apache ZooKeeper."""

import contextlib
import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from kazoo.security import make_acl, make_digest_acl

from tests.support.shell import GUARDED, Ran, fill, printed, ran, run_shell
from zoolet.client import Client, FutureRequests, MultiRead, transfers
from zoolet.client.thread_client.subtrees import reading, writing
from zoolet.shell.output import Output
from zoolet.testing.servers.process import ExternalServer


@pytest.mark.usefixtures("kazoo")
def test_trees_are_drawn(any_server: ExternalServer) -> None:
    assert printed(any_server, "tree", "/s") == "/s\n├── a\n│   └── deep\n├── b\n└── null\n"
    assert printed(any_server, "tree", "-L", "1", "/s") == "/s\n├── a  (1 below)\n├── b\n└── null\n"
    assert printed(any_server, "tree", "-L", "0", "/s") == "/s  (3 below)\n"
    assert printed(any_server, "tree", "/").startswith("/\n├── s\n│   ├── a\n│   │   └── deep\n")


def test_znodes_are_found(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/a/mine", b"", ephemeral=True)
    owner = f"0x{kazoo.client_id[0]:x}"
    assert printed(any_server, "find", "/s") == "/s\n/s/a\n/s/a/deep\n/s/a/mine\n/s/b\n/s/null\n"
    assert printed(any_server, "find", "-name", "*e*", "/s") == "/s/a/deep\n/s/a/mine\n"
    assert printed(any_server, "find", "-e", "/s") == "/s/a/mine\n"
    assert printed(any_server, "find", "-owner", owner, "/") == "/s/a/mine\n"
    assert printed(any_server, "find", "-owner", "0x1", "/") == ""
    assert printed(any_server, "find", "-larger", "7", "/s") == "/s/a\n/s/a/deep\n"
    assert printed(any_server, "find", "-empty", "-L", "1", "/s") == "/s/b\n/s/null\n"
    assert ran(any_server, "find", "/missing").err == "Node does not exist: /missing\n"


@pytest.mark.usefixtures("kazoo")
def test_data_is_searched(any_server: ExternalServer) -> None:
    assert printed(any_server, "grep", "line", "/s") == "/s/a/deep: line one\n"
    assert printed(any_server, "grep", "-i", "^line", "/s") == (
        "/s/a/deep: line one\n/s/a/deep: Line two\n"
    )
    assert printed(any_server, "grep", "-F", '{"k"', "/s") == '/s/a: {"k": 1}\n'
    assert printed(any_server, "grep", "-l", "o", "/s") == "/s\n/s/a/deep\n"
    assert ran(any_server, "grep", "nothing", "/s") == Ran(1, "", "")


@pytest.mark.usefixtures("kazoo")
def test_sizes_are_summed(any_server: ExternalServer) -> None:
    def sums(*words: str) -> list[list[str]]:
        return [line.split() for line in printed(any_server, "du", *words).splitlines()]

    assert sums("/s") == [
        ["25", "2", "/s/a"],
        ["2", "1", "/s/b"],
        ["0", "1", "/s/null"],
        ["31", "5", "/s"],
    ]
    assert sums("-d", "0", "/s") == [["31", "5", "/s"]]
    assert sums("-d", "2", "/s")[0] == ["17", "1", "/s/a/deep"]


def test_what_may_not_be_read_is_counted(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/closed", acl=[make_digest_acl("ann", "secret", all=True)])
    for words in (["tree", "/s"], ["find", "/s"], ["du", "/s"], ["grep", "-l", "root", "/s"]):
        found = ran(any_server, *words)
        assert (found.status, found.err) == (
            1,
            "Insufficient permission : /s/closed (1 in all)\n",
        )
        assert "/s" in found.out
    for words in (["cp", "/s", "/t"], ["export", "/s"], ["diff", "/s", "/s"]):
        found = ran(any_server, *words)
        assert found.status == 1
        assert "Insufficient permission : /s/closed" in found.err


@contextlib.contextmanager
def noting_reads() -> Iterator[list[int]]:
    """Give the numbers of operations of the multiReads that are sent."""
    reads: list[int] = []
    send = FutureRequests.multi_read

    def noting(requests: FutureRequests, batch: MultiRead) -> Any:
        reads.append(len(batch))
        return send(requests, batch)

    with mock.patch.object(FutureRequests, "multi_read", noting):
        yield reads


def test_a_walk_reads_many_znodes_at_once(any_server: ExternalServer, kazoo: Any) -> None:
    fill(kazoo, "/s/many", 3000)
    with noting_reads() as reads, Client(any_server.hosts) as client:
        visited = list(client.walk("/s", with_data=True))
    assert len(visited) == 3006
    assert [one.path for one in visited[:5]] == ["/s", "/s/a", "/s/a/deep", "/s/b", "/s/many"]
    assert len(reads) < 25
    assert max(reads) <= 1000


def test_a_walk_holds_no_more_than_fits(any_server: ExternalServer, kazoo: Any) -> None:
    for number in range(40):
        kazoo.create(f"/s/large{number:02d}", b"x" * 500_000)
    with noting_reads() as reads, Client(any_server.hosts) as client:
        assert sum(1 for _ in client.walk("/s", with_data=True)) == 45
    assert max(reads[2:]) <= 6, "after the first the size is known"


def test_a_subtree_is_copied_with_its_acls(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/a/mine", b"", ephemeral=True)
    text = "Copied 5 znodes from /s to /t; left out 1 ephemeral\n"
    assert printed(any_server, "cp", "/s", "/t") == text
    assert kazoo.get("/t/b")[0] == b"\xff\x00"
    assert kazoo.get("/t/null")[0] is None
    assert kazoo.get_acls("/t/b")[0] == kazoo.get_acls("/s/b")[0]
    assert ran(any_server, "diff", "/s", "/t") == Ran(1, "- /a/mine\n", "")
    kazoo.delete("/s/a/mine")
    assert ran(any_server, "diff", "/s", "/t") == Ran(0, "", "")
    found = ran(any_server, "cp", "/s", "/t")
    assert found == Ran(1, "", "Node already exists: /t; nothing was written\n")
    found = ran(any_server, "cp", "/s", "/missing/t")
    assert found.err == "Node does not exist: /missing/t; nothing was written\n"
    found = ran(any_server, "cp", "/s", "/s/a/t")
    assert "is inside /s" in found.err
    for name in ("cp", "mv"):
        found = ran(any_server, name, "/s", f"{any_server.hosts}/s/a/t")
        assert found.err == "/s/a/t is inside /s: the copy would never end; nothing was %s\n" % (
            "written" if name == "cp" else "moved"
        )


def test_nothing_goes_below_a_target_that_is_there(any_server: ExternalServer, kazoo: Any) -> None:
    fill(kazoo, "/s/many", 2000)
    kazoo.create("/t")
    kazoo.create("/t/many")
    found = ran(any_server, "cp", "/s", "/t")
    assert found.err == "Node already exists: /t; nothing was written\n"
    assert kazoo.get_children("/t/many") == []


def test_a_copy_holds_no_more_than_fits(any_server: ExternalServer, kazoo: Any) -> None:
    for number in range(30):
        kazoo.create(f"/s/large{number:02d}", b"x" * 300_000)
    outstanding: list[int] = []
    exported = transfers.exported

    def noting(*args: Any) -> Any:
        outstanding.append(len(sent) - len(outstanding))
        return exported(*args)

    sent: list[str] = []
    send = FutureRequests.get_acl

    def sending(requests: FutureRequests, path: str) -> Any:
        sent.append(path)
        return send(requests, path)

    with (
        mock.patch.object(reading, "exported", noting),
        mock.patch.object(FutureRequests, "get_acl", sending),
    ):
        printed(any_server, "cp", "/s", "/t")
    assert len(outstanding) == 35
    assert max(outstanding) <= 6, "the znodes that wait for their ACLs are bounded by their bytes"
    assert len(kazoo.get_children("/t")) == 33


def test_ephemerals_may_be_copied_as_plain_znodes(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/mine", b"x", ephemeral=True)
    assert printed(any_server, "cp", "-e", "/s", "/t") == "Copied 6 znodes from /s to /t\n"
    assert kazoo.exists("/t/mine").ephemeralOwner == 0


def test_a_copy_over_what_is_there(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/t", b"old")
    kazoo.create("/t/b", b"old")
    kazoo.create("/t/other", b"kept")
    assert printed(any_server, "cp", "-f", "/s", "/t") == (
        "Copied 5 znodes from /s to /t; 2 of them existed and were overwritten\n"
    )
    assert ran(any_server, "diff", "/s", "/t").out == "+ /other\n"
    assert kazoo.get_acls("/t/b")[0] == kazoo.get_acls("/s/b")[0]
    kazoo.set_acls("/t/b", [make_acl("world", "anyone", all=True)])
    printed(any_server, "cp", "-f", "-A", "/s", "/t")
    assert kazoo.get_acls("/t/b")[0] == [make_acl("world", "anyone", all=True)]


def test_differences_are_told(any_server: ExternalServer, kazoo: Any) -> None:
    printed(any_server, "cp", "/s", "/t")
    kazoo.set("/t/a", b"x" * 500)
    kazoo.set("/t/null", b"null")
    kazoo.set_acls("/t/b", [make_acl("world", "anyone", all=True)])
    kazoo.delete("/t/a/deep")
    kazoo.create("/t/aa")
    assert ran(any_server, "diff", "/s", "/t").out == (
        f'~ /a\n    data: {{"k": 1}} -> {"x" * 200}...\n'
        "- /a/deep\n"
        "+ /aa\n"
        "~ /b\n    acl: world:anyone:rwa -> world:anyone:cdrwa\n"
        "~ /null\n    data: None -> b'null'\n"
    )
    assert "acl" not in ran(any_server, "diff", "-A", "/s", "/t").out


def test_an_acl_that_is_not_shown_whole_is_not_copied(
    any_server: ExternalServer, kazoo: Any
) -> None:
    acl = [make_digest_acl("ann", "secret", all=True), make_acl("world", "anyone", read=True)]
    kazoo.create("/s/guarded", b"", acl=acl)
    for words in (["cp", "/s", "/t"], ["mv", "/s", "/t"], ["export", "/s"]):
        found = ran(any_server, *words)
        assert found.status == 1
        assert "/s/guarded: the server shows the complete ACL only to users with ADMIN" in found.err
    lines = "addauth digest ann:secret\ncp /s /t\ngetAcl /t/guarded\n"
    found = run_shell(any_server.hosts, lines=lines)
    assert found.err == ""
    assert "Copied 6 znodes" in found.out
    kazoo.add_auth("digest", "ann:secret")
    assert kazoo.get_acls("/t/guarded")[0] == acl
    assert printed(any_server, "cp", "-A", "/s", "/u") == "Copied 6 znodes from /s to /u\n"


def test_a_small_subtree_moves_in_one_txn(any_server: ExternalServer, kazoo: Any) -> None:
    assert printed(any_server, "mv", "/s", "/t") == "Moved 5 znodes from /s to /t\n"
    assert kazoo.exists("/s") is None
    assert len({kazoo.exists(path).czxid for path in ("/t", "/t/a/deep", "/t/null")}) == 1


def test_a_move_does_not_lose_what_is_changed_meanwhile(
    any_server: ExternalServer, kazoo: Any
) -> None:
    read = Client.read_subtree

    def changing(client: Client, root: str, *, with_acl: bool) -> Any:
        yield from read(client, root, with_acl=with_acl)
        kazoo.set("/s/a", b"newer")

    with mock.patch.object(Client, "read_subtree", changing):
        found = ran(any_server, "mv", "/s", "/t")
    assert found.err == "version No is not valid : /s/a; nothing was moved\n"
    assert kazoo.exists("/t") is None

    def adding(client: Client, root: str, *, with_acl: bool) -> Any:
        yield from read(client, root, with_acl=with_acl)
        kazoo.create("/s/a/new")

    with mock.patch.object(Client, "read_subtree", adding):
        found = ran(any_server, "mv", "/s", "/t")
    assert found.err == "Node not empty: /s/a; nothing was moved\n"
    assert kazoo.exists("/t") is None


def test_ephemerals_do_not_move(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/mine", b"x", ephemeral=True)
    found = ran(any_server, "mv", "/s", "/t")
    assert found.status == 1
    assert "/s/mine is ephemeral and belongs to its session" in found.err
    assert kazoo.exists("/t") is None
    assert kazoo.exists("/s/a") is not None


def test_a_large_subtree_moves_by_a_copy(any_server: ExternalServer, kazoo: Any) -> None:
    fill(kazoo, "/s/many", 1500)
    assert printed(any_server, "mv", "/s", "/t") == "Moved 1506 znodes from /s to /t\n"
    assert kazoo.exists("/s") is None
    assert len(kazoo.get_children("/t/many")) == 1500
    assert kazoo.get_acls("/t/b")[0] == GUARDED


def test_a_large_move_leaves_what_is_changed_meanwhile(
    any_server: ExternalServer, kazoo: Any
) -> None:
    fill(kazoo, "/s/many", 600)
    write = writing.Writer.write

    def changing(self: Any, znodes: Any) -> Any:
        written = write(self, znodes)
        kazoo.set("/s/many/n00300", b"newer")
        return written

    with mock.patch.object(writing.Writer, "write", changing):
        found = ran(any_server, "mv", "/s", "/t")
    assert found.err == (
        "version No is not valid : /s/many/n00300, which was changed after it was copied;"
        " everything was copied, and 0 of 606 znodes of /s were deleted\n"
    )
    assert kazoo.get("/s/many/n00300")[0] == b"newer"
    assert len(kazoo.get_children("/t/many")) == 600


def test_the_largest_data_is_copied(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/largest", b"x" * (1024 * 1024 - 100))
    printed(any_server, "cp", "/s", "/t")
    assert kazoo.exists("/t/largest").dataLength == 1024 * 1024 - 100
    printed(any_server, "mv", "/t", "/u")
    assert kazoo.exists("/u/largest").dataLength == 1024 * 1024 - 100


def test_deleteall_goes_on_over_what_others_do(any_server: ExternalServer, kazoo: Any) -> None:
    fill(kazoo, "/s/many", 600)
    walk, rounds = Client.walk, []

    def meddling(client: Client, root: str, **how: Any) -> Any:
        found = list(walk(client, root, **how))
        rounds.append(len(found))
        if len(rounds) == 1:
            kazoo.delete("/s/many/n00007")
            kazoo.create("/s/many/n00008/new")
        return iter(found)

    with mock.patch.object(Client, "walk", meddling):
        assert printed(any_server, "deleteall", "-b", "50", "/s") == ""
    assert kazoo.exists("/s") is None
    assert len(rounds) == 2


class Interrupted:
    """A person who presses Ctrl-C when the first batch is done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, steps: int) -> None:
        self.done += steps
        if self.done == steps:
            raise KeyboardInterrupt


def test_ctrl_c_says_what_was_done(any_server: ExternalServer, kazoo: Any) -> None:
    fill(kazoo, "/s/many", 5000)
    with mock.patch.object(Output, "progress") as progress:
        progress.return_value.__enter__.side_effect = Interrupted
        found = ran(any_server, "cp", "/s", "/t")
        assert found.err == "^C; 500 znodes had been written\n"
        found = ran(any_server, "deleteall", "-b", "100", "/s/many")
    left = kazoo.exists("/s/many").numChildren
    assert found.err == f"^C; {5000 - left} znodes had been deleted, the rest of /s/many was not\n"
    assert 0 < left < 5000


def test_deleteall_says_what_stays(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/locked", acl=[make_acl("world", "anyone", read=True)])
    kazoo.create("/s/locked-parent")
    kazoo.create("/s/locked-parent/x")
    kazoo.set_acls("/s/locked-parent", [make_acl("world", "anyone", read=True)])
    found = ran(any_server, "deleteall", "-b", "2", "/s")
    assert found.status == 1
    assert "Insufficient permission : /s/locked-parent/x; " in found.err
    assert "the rest of /s was not" in found.err
    kazoo.create("/t")
    kazoo.create("/t/hidden", acl=[make_acl("world", "anyone", delete=True, create=True)])
    kazoo.create("/t/hidden/x")
    found = ran(any_server, "deleteall", "/t")
    told = "Insufficient permission : /t/hidden: its children cannot be listed\n"
    assert found == Ran(1, "", told)


def test_acls_of_a_subtree(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/kept", acl=[make_acl("world", "anyone", read=True)])
    found = ran(any_server, "setAcl", "-R", "/s", "world:anyone:cdrwa")
    assert found.err == (
        "Insufficient permission : /s/kept\n"
        "The ACL of 1 znode was not set; the ACL of 5 znodes was set\n"
    )
    assert found.status == 1
    printed(any_server, "setAcl", "-R", "/s/a", "world:anyone:r")
    assert kazoo.get_acls("/s/a/deep")[0] == [make_acl("world", "anyone", read=True)]


def test_sessions_are_listed(any_server: ExternalServer, kazoo: Any) -> None:
    kazoo.create("/s/mine", b"x", ephemeral=True)
    found = run_shell(any_server.hosts, "sessions", options=("--output", "json"))
    assert found.err == ""
    sessions = {one["session"]: one for one in map(json.loads, found.out.splitlines())}
    mine = sessions[f"0x{kazoo.client_id[0]:x}"]
    assert mine["ephemerals"] == ["/s/mine"]
    assert mine["address"].startswith("127.0.0.1:")
    assert mine["timeout_ms"] > 0
    assert len(sessions) == 2, "this session, and the shell's"
