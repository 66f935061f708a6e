"""What known programs take out of four-letter words, they take out of ours.

Each parser is written in our own words after its source. It returns what the program shows, or
raises ValueError where the program gives up. ``GIVES_UP`` lists the parsers that give up on Apache
ZooKeeper 3.9.5's answers as well, with the reason.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import pytest
from kazoo.client import KazooClient

from zoolet.testing import ApacheServer, ServerProcess
from zoolet.testing.servers.apache import release_of

Shown = dict[str, Any]


def wanted(match: re.Match[str] | None) -> re.Match[str]:
    if match is None:
        raise ValueError("the pattern does not match")
    return match


def go_srvr(text: str) -> Shown:
    """go-zookeeper, ``FLWSrvr``: one pattern over the whole answer, latencies are whole numbers."""
    match = wanted(
        re.match(
            r"Zookeeper version: ([\w.-]+), built on (\d\d/\d\d/\d{4} \d\d:\d\d [\w:+-]+).*\n"
            r"Latency min/avg/max: (\d+)/(\d+)/(\d+).*\n"
            r"Received: (\d+).*\nSent: (\d+).*\nConnections: (\d+).*\nOutstanding: (\d+).*\n"
            r"Zxid: (0x\w+).*\nMode: (\w+).*\nNode count: (\d+)",
            text,
        )
    )
    return {"mode": match[11]}


def go_cons(text: str) -> Shown:
    """go-zookeeper, ``FLWCons``: a pattern for each line that is not empty."""
    lines = [line for line in text.splitlines() if line]
    for line in lines:
        wanted(
            re.match(
                r" /\d+\.\d+\.\d+\.\d+:\d+\[\d+\]\(queued=-?\d+,recved=\d+,sent=\d+"
                r"(,sid=0x\w+,lop=\w+,est=\d+,to=\d+,lcxid=0x\w+,lzxid=0x\w+,lresp=\d+"
                r",llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+)?\)",
                line,
            )
        )
    return {"num_clients": len(lines)}


def metricbeat_server(text: str) -> Shown:
    """Metricbeat, metricset server: the first line has to have a version and a date."""
    lines = text.splitlines()
    shown: Shown = {"version": wanted(re.search(r":\s(.*),", lines[0]))[1].split(".")[0]}
    wanted(re.search(r"built on (.*)", lines[0]))
    for line in lines[1:]:
        if line.startswith("Zxid"):
            shown["has_zxid"] = int(line.split(" ")[1], 0) >= 0
        elif line.startswith("Mode"):
            shown["mode"] = line.split(" ")[1]
        elif (match := re.match(r"([a-zA-Z\s]+):\s(\d+)", line)) is not None:
            shown[match[1].lower().replace(" ", "_")] = match[2].isdigit()
    return shown


def metricbeat_connection(text: str) -> Shown:
    """Metricbeat, metricset connection: a pattern searched for in each line."""
    lines = [line for line in text.splitlines() if line.strip()]
    for line in lines:
        wanted(
            re.search(r"/(.*):(\d+)\[(\d+)\]\(queued=(\d+),recved=(\d+),sent=(\d+)", line.strip())
        )
    return {"num_clients": len(lines)}


def metricbeat_mntr(text: str) -> Shown:
    """Metricbeat, metricset mntr: pairs, of which a schema takes those that it knows."""
    matches = [wanted(re.match(r"(\S+)\s+(.*)", line)) for line in text.splitlines()]
    pairs = {match[1]: match[2] for match in matches}
    required = {
        "zk_server_state",
        "zk_avg_latency",
        "zk_max_latency",
        "zk_min_latency",
        "zk_packets_received",
        "zk_packets_sent",
        "zk_num_alive_connections",
        "zk_outstanding_requests",
        "zk_znode_count",
        "zk_watch_count",
        "zk_ephemerals_count",
        "zk_approximate_data_size",
    }
    if not required <= pairs.keys():
        raise ValueError(required - pairs.keys())
    wanted(re.search(r"\d+\.\d+\.\d+", pairs["zk_version"]))
    return {"state": pairs["zk_server_state"], "latency": float(pairs["zk_avg_latency"]) >= 0}


def telegraf_mntr(text: str) -> Shown:
    """Telegraf: every line is a name and a value, or the whole answer is refused."""
    lines = text.splitlines()
    matches = [wanted(re.match(r"zk_(\w+)\s+([\w.\-]+)", line)) for line in lines]
    return {"state": {match[1]: match[2] for match in matches}["server_state"]}


def datadog_stat(text: str) -> Shown:
    """Datadog: line after line, from the version to the count of znodes."""
    lines = iter(text.splitlines())
    wanted(re.search(r"\d+\.\d+\.\d+", next(lines)))
    if next(lines) != "Clients:":
        raise ValueError("no list of clients")
    num_clients = sum(1 for _ in iter(lambda: next(lines).strip(), ""))
    latencies = [float(part) for part in next(lines).split(":")[1].strip().split("/")]
    values = [int(next(lines).split(":")[1]) for _name in ("Received", "Sent", "Connections")]
    # Any number: Apache counts a request after it has passed it on, so it may show -1 for a moment.
    int(next(lines).split(":")[1])
    zxid = int(next(lines).split(":")[1].strip(), 16)
    mode = next(lines).split(":")[1].strip()
    num_znodes = int(next(lines).split(":")[1])
    good = len(latencies) == 3 and min(values) >= 0 and zxid >= 0 and num_znodes > 0
    return {"mode": mode, "has_clients": num_clients > 0, "is_good": good}


def datadog_stat_of_2019(text: str) -> Shown:
    """Datadog before its fix for 3.6: the mean latency is a whole number."""
    line = wanted(re.search(r"^Latency.*: (.*)$", text, re.MULTILINE))
    return {"latencies": len([int(part) for part in line[1].split("/")])}


def datadog_mntr(text: str) -> Shown:
    """Datadog: lines that are no pair of words are passed over, such as the version."""
    pairs = [line.split() for line in text.splitlines()[1:]]
    numbers = {pair[0]: float(pair[1]) for pair in pairs if pair[0] != "zk_server_state"}
    return {"has_packets": "zk_packets_sent" in numbers}


def exporter_mntr(text: str) -> Shown:
    """Prometheus exporters (dabealu, jiankunking): split at the tab, numbers become samples."""
    pairs = dict(line.split("\t", 1) for line in text.strip().split("\n"))
    version = wanted(re.match(r"(\d+)\.(\d+)\.(\d+)", pairs.pop("zk_version")))
    state = pairs.pop("zk_server_state")
    return {"state": state, "major": version[1], "numbers": all(map(is_number, pairs.values()))}


def is_number(text: str) -> bool:
    float(text)
    return True


def exporter_ruok(text: str) -> Shown:
    """Health checks: nothing but the four letters."""
    if text != "imok":
        raise ValueError(text)
    return {}


def kazoo_envi(text: str) -> Shown:
    """kazoo, ``server_version``: the value of zookeeper.version begins with numbers and dots."""
    pairs = dict(line.split("=", 1) for line in text.strip().split("\n") if "=" in line)
    version = wanted(re.match(r"([\d.]*).*", pairs["zookeeper.version"]))[1]
    return {"is_3": int(version.split(".")[0]) == 3}


def node_stat(text: str) -> Shown:
    """Node programs (zookeeper-status): each line is split at its first colon."""
    pairs = dict(line.split(":", 1) for line in text.split("\n") if ":" in line and "[" not in line)
    version = wanted(re.search(r"(\d+\.\d+\.\d+)\S*, built on \S+", pairs["Zookeeper version"]))
    return {"mode": pairs["Mode"].strip(), "has_version": bool(version)}


def curator_conf(text: str) -> Shown:
    """Java's Properties (Exhibitor, Curator): name=value."""
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {"ticks": pairs["tickTime"], "names": {"clientPort", "dataDir"} <= pairs.keys()}


def zktop_dump(text: str) -> Shown:
    """zk-top and scripts: the sessions with their ephemerals, each behind a line with its id."""
    wanted(re.search(r"^Sessions with Ephemerals \((\d+)\):$", text, re.MULTILINE))
    owners = re.findall(r"^(0x[0-9a-f]+):$", text, re.MULTILINE)
    return {"owners": len(owners), "paths": re.findall(r"^\t(/\S+)$", text, re.MULTILINE)}


def zktop_wchs(text: str) -> Shown:
    """zk-top: the counts of watches."""
    match = wanted(re.match(r"(\d+) connections watching (\d+) paths\nTotal watches:(\d+)\n", text))
    return {"counts": match.groups()}


def zktop_wchc(text: str) -> Shown:
    """zk-top: session ids, each before its paths."""
    return {"lines": [re.sub(r"0x[0-9a-f]+", "ID", line) for line in text.splitlines()]}


def zktop_wchp(text: str) -> Shown:
    """zk-top: paths, each before its session ids."""
    return {"lines": [re.sub(r"0x[0-9a-f]+", "ID", line) for line in text.splitlines()]}


def dirs_sizes(text: str) -> Shown:
    """Scripts: two sizes in bytes."""
    match = wanted(re.fullmatch(r"datadir_size: (\d+)\nlogdir_size: (\d+)\n", text))
    return {"num_sizes": len(match.groups())}


def said(text: str) -> Shown:
    """Scripts compare the whole answer."""
    return {"text": text}


class Parser(NamedTuple):
    """A program's parser of a word."""

    word: str
    parse: Callable[[str], Shown]


PARSERS = [
    Parser("srvr", go_srvr),
    Parser("cons", go_cons),
    Parser("srvr", metricbeat_server),
    Parser("cons", metricbeat_connection),
    Parser("mntr", metricbeat_mntr),
    Parser("mntr", telegraf_mntr),
    Parser("stat", datadog_stat),
    Parser("stat", datadog_stat_of_2019),
    Parser("mntr", datadog_mntr),
    Parser("mntr", exporter_mntr),
    Parser("ruok", exporter_ruok),
    Parser("envi", kazoo_envi),
    Parser("stat", node_stat),
    Parser("conf", curator_conf),
    Parser("dump", zktop_dump),
    Parser("wchs", zktop_wchs),
    Parser("wchc", zktop_wchc),
    Parser("wchp", zktop_wchp),
    Parser("dirs", dirs_sizes),
    Parser("isro", said),
    Parser("crst", said),
    Parser("srst", said),
    Parser("hash", lambda text: {"is_text": isinstance(text, str)}),
    Parser("gtmk", lambda text: {"is_number": int(text) > 0}),
]

GIVES_UP = {
    "go_srvr": "it wants month/day/year as ZooKeeper wrote before 3.5.5, and whole mean latencies",
    "datadog_stat_of_2019": "it wants a whole mean latency; 3.6 and newer write decimals",
}


class Asked:
    """A server with a client that has an ephemeral and a watch."""

    def __init__(self, server: ServerProcess | ApacheServer) -> None:
        self.server = server
        self.client = KazooClient(hosts=server.hosts, timeout=10.0)

    def __enter__(self) -> Self:
        self.client.start()
        self.client.create("/e", b"x", ephemeral=True)
        self.client.get("/e", watch=print)
        return self

    def __exit__(self, *_: object) -> None:
        self.client.stop()
        self.client.close()

    def ask(self, word: str) -> str:
        """Return the answer to a word, behind a request: crst may have reset what cons shows."""
        self.client.exists("/e")
        return self.server.ask(word)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with ServerProcess(tmp_path_factory.mktemp("ours")) as server, Asked(server) as asked:
        yield asked


@pytest.fixture(scope="module")
def theirs(apache_jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    home = tmp_path_factory.mktemp("theirs")
    with ApacheServer(home, apache_jars) as server, Asked(server) as asked:
        yield asked


def outcome(parser: Parser, answer: str) -> object:
    try:
        return parser.parse(answer)
    except ValueError:
        return "gives up"


def name_of(parser: Parser) -> str:
    return parser.parse.__name__


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: f"{parser.word}-{name_of(parser)}")
def test_a_parser_takes_our_answer(ours: Asked, parser: Parser) -> None:
    gives_up = outcome(parser, ours.ask(parser.word)) == "gives up"
    assert gives_up == (name_of(parser) in GIVES_UP)


@pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: f"{parser.word}-{name_of(parser)}")
def test_a_parser_shows_the_same_of_apaches_answer(
    ours: Asked, theirs: Asked, parser: Parser
) -> None:
    assert outcome(parser, ours.ask(parser.word)) == outcome(parser, theirs.ask(parser.word))


def test_the_apache_compared_with_is_that_of_the_option(theirs: Asked, apache_jars: Path) -> None:
    release = ".".join(map(str, release_of(apache_jars)))
    assert theirs.ask("srvr").startswith(f"Zookeeper version: {release}-")


@pytest.mark.parametrize("word", ["srvr", "stat"])
def test_our_outstanding_requests_are_never_negative(ours: Asked, word: str) -> None:
    for _ in range(20):
        line = wanted(re.search(r"^Outstanding: (-?\d+)$", ours.ask(word), re.MULTILINE))
        assert int(line[1]) >= 0


def test_the_version_line_has_apaches_form(ours: Asked) -> None:
    form = r"3\.9\.5-[\w.-]+, built on \d{4}-\d\d-\d\d \d\d:\d\d UTC"
    for word, line in (
        ("srvr", "Zookeeper version: "),
        ("stat", "Zookeeper version: "),
        ("mntr", "zk_version\t"),
        ("envi", "zookeeper.version="),
    ):
        assert re.search(f"^{line}{form}$", ours.ask(word), re.MULTILINE)
