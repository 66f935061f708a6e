"""A running server answers each four-letter word, or refuses it if the whitelist lacks it.

``tests/conformance/test_operator.py`` compares the answers with Apache ZooKeeper's.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from zoolet.server.operator.four_letter_words import WORDS
from zoolet.testing import ServerProcess

ANSWERS = {
    "conf": r"clientPort=\d+\n(.*\n)*dataDir=/.*\n(.*\n)*",
    "cons": r"( /127\.0\.0\.1:\d+\[\d+\]\(.*\)\n)+\n",
    "crst": r"Connection stats reset\.\n",
    "dirs": r"datadir_size: \d+\nlogdir_size: \d+\n",
    "dump": r"SessionTracker dump:\n(.*\n)+ephemeral nodes dump:\n(.*\n)+Connections dump:(.*\n)+",
    "envi": r"Environment:\n(.+=.*\n)+",
    "gtmk": r"306",
    "hash": r"",
    "isro": r"rw",
    "mntr": r"(zk_\w+\t.+\n)+",
    "ruok": r"imok",
    "srst": r"Server stats reset\.\n",
    "srvr": r"Zookeeper version: .+\n(.+: .+\n)+Mode: standalone\nNode count: \d+\n",
    "stat": r"Zookeeper version: .+\nClients:\n(.*\n)+Mode: standalone\nNode count: \d+\n",
    "stmk": r"306",
    "topk": r"\{\n \"window_s\": 60\.0,\n(.*\n)+\}\n",
    "wchc": r"\n",
    "wchp": r"\n",
    "wchs": r"0 connections watching 0 paths\nTotal watches:0\n",
}
"""The complete answer to each word of a server without sessions, as a regular expression."""

ARGUMENTS = {"stmk": "stmk" + (306).to_bytes(8).decode()}
"""The words that need an argument, with the argument."""


@pytest.fixture(scope="module")
def idle_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that all tests of this module share, with ``4lw.commands.whitelist=*``."""
    with ServerProcess(tmp_path_factory.mktemp("words")) as running:
        yield running


@pytest.mark.parametrize("word", ANSWERS)
def test_a_word_gets_its_answer(idle_server: ServerProcess, word: str) -> None:
    answer = idle_server.ask(ARGUMENTS.get(word, word))
    assert re.fullmatch(ANSWERS[word], answer), answer


def test_each_word_is_tested() -> None:
    assert sorted(ANSWERS) == sorted(word.decode() for word in WORDS)


def test_the_answers_count_what_a_client_did(server: ServerProcess, client: Any) -> None:
    client.create("/a", ephemeral=True)
    assert server.ask("ruok") == "imok"
    lines = dict(line.split(": ") for line in server.ask("srvr").splitlines() if ": " in line)
    assert lines["Mode"] == "standalone"
    assert (lines["Zxid"], lines["Node count"], lines["Connections"]) == ("0x2", "6", "2")
    assert "\nClients:\n /127.0.0.1:" in server.ask("stat")
    figures = dict(line.split("\t") for line in server.ask("mntr").splitlines())
    assert figures["zk_server_state"] == "standalone"
    assert (figures["zk_znode_count"], figures["zk_ephemerals_count"]) == ("6", "1")


def test_a_word_that_the_whitelist_lacks_is_refused(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, {"4lw.commands.whitelist": "srvr"}) as server:
        assert "Mode: standalone" in server.ask("srvr")
        for word in ANSWERS.keys() - {"srvr", "stmk"}:
            refusal = f"{word} is not executed because it is not in the whitelist.\n"
            assert server.ask(word) == refusal
