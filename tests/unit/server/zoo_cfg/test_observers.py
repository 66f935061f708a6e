"""The settings of an observer: what is read, and what is refused with advice."""

from pathlib import Path

import pytest

from zoolet.model.ensemble import QuorumAddress
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import (
    Config,
    QuorumLogin,
    QuorumTls,
    StoreConfig,
    StoreFormat,
)
from zoolet.server.zoo_cfg.reading import parse_config

MEMBERS = "server.1=a:2888:3888\nserver.2=[::1]:2889:3889;2181\n"
LIMITS = "initLimit=10\nsyncLimit=5\n"
TLS = "sslQuorum=true\nssl.quorum.keyStore.location=/k.pem\nssl.quorum.trustStore.location=/t.pem\n"


def parse(directory: Path, lines: str, my_id: str | None = "101") -> Config:
    """Parse the zoo.cfg of an observer whose dataDir is ``directory``."""
    if my_id is not None:
        (directory / "myid").write_text(f"{my_id}\n")
    start = f"dataDir={directory}\nclientPort=2181\ntickTime=500\npeerType=observer\n"
    return parse_config(start + lines, directory / "zoo.cfg")


def test_an_observer_knows_its_ensemble(tmp_path: Path) -> None:
    found = parse(tmp_path, MEMBERS + LIMITS).observer
    assert found is not None
    assert (found.my_id, found.init_limit_ms, found.sync_limit_ms) == (101, 5000, 2500)
    assert {number: member.addresses[0] for number, member in found.members.items()} == {
        1: QuorumAddress("a", 2888, 3888),
        2: QuorumAddress("::1", 2889, 3889),
    }
    assert (found.tls, found.login, found.has_read_only_mode) == (None, None, False)


def test_an_observer_may_come_from_an_ensemble_that_is_never_standalone(tmp_path: Path) -> None:
    config = parse(tmp_path, MEMBERS + LIMITS + "standaloneEnabled=false\nreconfigEnabled=true\n")
    assert config.observer is not None


def test_an_observer_reads_tls_and_login(tmp_path: Path) -> None:
    login = (
        "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n"
        "zoolet.quorumUsername=zoo\nzoolet.quorumPassword=keeper\n"
    )
    config = parse(tmp_path, MEMBERS + LIMITS + TLS + login + "readonlymode.enabled=true\n")
    found = config.observer
    assert found is not None
    assert found.tls == QuorumTls(
        StoreConfig("ssl.quorum.keyStore", Path("/k.pem"), StoreFormat.PEM, "", None),
        StoreConfig("ssl.quorum.trustStore", Path("/t.pem"), StoreFormat.PEM, "", None),
        True,
        ("TLSv1.2", "TLSv1.3"),
        (),
    )
    assert found.login == QuorumLogin("zoo", "keeper")
    assert found.has_read_only_mode
    assert config.warnings == ()
    assert "keeper" not in config.text + repr(config) + repr(found)


def test_its_own_line_may_have_the_port_for_clients(tmp_path: Path) -> None:
    (tmp_path / "myid").write_text("3")
    lines = f"dataDir={tmp_path}\npeerType=observer\n{MEMBERS}{LIMITS}"
    config = parse_config(f"{lines}server.3=c:1:2:observer;127.0.0.1:2199\n", Path("zoo.cfg"))
    assert (config.client_address, config.client_port) == ("127.0.0.1", 2199)


@pytest.mark.parametrize(
    ("lines", "my_id", "said"),
    [
        (MEMBERS + LIMITS, None, "myid does not exist, and an observer needs it. Write a number"),
        (MEMBERS + LIMITS, "0", "myid has no valid number. Write a number from 1 to 254"),
        (MEMBERS + LIMITS, "255", "myid has no valid number"),
        (MEMBERS + LIMITS, "\N{SUPERSCRIPT TWO}", "cannot be read: it is not ASCII"),
        (MEMBERS + LIMITS, "2", "the file myid has 2, and server.2 is a participant"),
        (LIMITS, "101", "peerType=observer needs the members of the ensemble"),
        ("server.101=a:1:2:observer\n" + LIMITS, "101", "needs the members of the ensemble"),
        ("server.1=a:1\n" + LIMITS, "101", "zoo.cfg:5: server.1: 'a:1' does not have the form"),
        (MEMBERS, "101", "initLimit is missing"),
        (MEMBERS + "initLimit=10\n", "101", "syncLimit is missing"),
        (MEMBERS + LIMITS + "sslQuorum=true\n", "101", "sslQuorum=true needs ssl.quorum.keyStore"),
        (
            MEMBERS + LIMITS + TLS.replace("t.pem", "t.bcfks"),
            "101",
            "/t.bcfks has the format BCFKS, which zoolet does not read",
        ),
        (MEMBERS + LIMITS + TLS + "ssl.quorum.crl=true\n", "101", "ssl.quorum.crl=true is not"),
        (
            MEMBERS + LIMITS + "zoolet.sessionSecret=0123456789abcdef\n",
            "101",
            "an observer cannot have zoolet.sessionSecret",
        ),
        (
            MEMBERS + LIMITS + "quorum.auth.learnerRequireSasl=true\n",
            "101",
            "needs quorum.auth.enableSasl=true",
        ),
        (
            MEMBERS + LIMITS + "quorum.auth.enableSasl=true\nquorum.auth.learnerRequireSasl=true\n",
            "101",
            "set zoolet.quorumUsername and zoolet.quorumPassword",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_advice(
    tmp_path: Path, lines: str, my_id: str | None, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(tmp_path, lines, my_id)
    assert said in str(refused.value)


def test_a_standalone_server_ignores_the_keys_of_observers(tmp_path: Path) -> None:
    lines = f"dataDir={tmp_path}\nclientPort=2181\n{LIMITS}{TLS}ssl.quorum.crl=true\n"
    config = parse_config(lines, Path("zoo.cfg"))
    assert config.observer is None
    assert [line.split()[1] for line in config.warnings] == [
        "initLimit",
        "syncLimit",
        "sslQuorum",
        "ssl.quorum.crl",
        "ssl.quorum.keyStore.location",
        "ssl.quorum.trustStore.location",
    ]
    assert "zoolet is not a member of an ensemble" in config.warnings[0]
