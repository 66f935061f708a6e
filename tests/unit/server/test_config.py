"""zoo.cfg: what each key means, and what is said of one that cannot be."""

from pathlib import Path

import pytest

from zoolet.core.rules import Rules
from zoolet.server.config import Config, ConfigError, parse_config

MINIMUM = "dataDir=/data\nclientPort=2181\n"


def parse(text: str) -> Config:
    return parse_config(MINIMUM + text, Path("zoo.cfg"))


def test_three_lines_are_enough() -> None:
    config = parse("tickTime=2000\n")
    assert (config.min_session_timeout_ms, config.max_session_timeout_ms) == (4000, 40_000)
    assert config.four_letter_words == {"srvr"}
    assert config.admin is not None
    assert config.admin.listener == (None, 8080)
    assert config.metrics is None
    assert not config.warnings


@pytest.mark.parametrize(
    ("line", "attribute", "value"),
    [
        ("maxCnxns=5", "max_connections", 5),
        ("clientTcpKeepAlive=true", "keeps_alive", True),
        ("clientPortListenBacklog=10", "listen_backlog", 10),
        ("skipACL=yes", "skips_acl", True),
        ("skipACL=true", "skips_acl", False),
        ("znode.container.maxPerMinute=3", "max_perished_per_minute", 3),
        ("znode.container.maxNeverUsedIntervalMs=9", "container_unused_ms", 9),
        ("admin.enableServer=false", "admin", None),
        ("4lw.commands.whitelist=*", "four_letter_words", {"*"}),
    ],
)
def test_a_key_says_what_it_says_in_apache(line: str, attribute: str, value: object) -> None:
    config = parse(line)
    assert getattr(config, attribute) == value
    assert not config.warnings


def test_rules_and_digests() -> None:
    config = parse(
        "extendedTypesEnabled=TRUE\nenforceQuota=true\n"
        "DigestAuthenticationProvider.superDigest=super:x=\n"
        "DigestAuthenticationProvider.digestAlg=SHA-256\n"
    )
    assert config.rules == Rules(allows_ttl=True, enforces_quota=True)
    assert config.digests == ("sha256", "super:x=", True)


def test_required_schemes() -> None:
    lines = "enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n"
    assert parse(lines).required_schemes == {"digest", "ip"}
    assert parse("enforce.auth.schemes=digest\n").required_schemes == frozenset()


def test_metrics() -> None:
    provider = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
    lines = f"metricsProvider.className={provider}\nmetricsProvider.httpHost=127.0.0.1\n"
    assert parse(lines).metrics == ("127.0.0.1", 7000)


def test_secrets_are_not_shown() -> None:
    config = parse("DigestAuthenticationProvider.superDigest=super:secret\n")
    assert "secret" not in config.text
    assert "clientPort=2181" in config.text


def test_one_member_is_no_ensemble() -> None:
    config = parse("server.1=localhost:2888:3888\ninitLimit=5\n")
    assert [warning.split(": ")[1] for warning in config.warnings] == [
        "server.1 has no effect here and is passed over.",
        "initLimit has no effect here and is passed over.",
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("server.1=a:1:2\nserver.2=b:1:2", "zoo.cfg:3: server.1 sets up an ensemble"),
        ("secureClientPort=2281", "secureClientPort wants ssl.keyStore.location, a PEM file"),
        (
            "secureClientPort=2281\nssl.keyStore.location=a.pem",
            "nobody is trusted to sign one: set ssl.trustStore.location, or ssl.clientAuth=none",
        ),
        ("ssl.keyStore.location=store.p12", "Convert a PKCS12 store with: openssl pkcs12"),
        ("client.portUnification=true", "serves TLS on secureClientPort alone. Remove the line"),
        ("sessionRequireClientSASLAuth=true", "zoolet does not speak SASL yet"),
        ("enforce.auth.enabled=true", "enforce.auth.schemes must list one or more of"),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=sasl",
            "zoo.cfg:4: enforce.auth.schemes must list one or more of: digest, ip",
        ),
        ("DigestAuthenticationProvider.digestAlg=MD99", "MD99 is no hash that this Python knows"),
        ("admin.serverPort=0", "admin.serverPort=0 is not a whole number from 1 to 65535"),
        ("metricsProvider.className=x.Y", "the metrics provider there is, is org.apache"),
        ("maxCnxns=-1", "maxCnxns=-1 is not a whole number"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(line)
    assert said in str(refused.value)


def test_what_is_switched_off_need_not_be_removed() -> None:
    assert parse("sessionRequireClientSASLAuth=false\n").client_port == 2181
