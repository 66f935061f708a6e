"""zoo.cfg: what each key means, and what is said of one that cannot be."""

from operator import attrgetter
from pathlib import Path

import pytest

from zoolet.server.common.errors import ConfigError
from zoolet.server.operator.four_letter_words import unknown_words
from zoolet.server.zoo_cfg.config import Config, X509Config
from zoolet.server.zoo_cfg.reading import parse_config, read_config
from zoolet.state_machine.rules import Rules
from zoolet.storage.compression import Compression

MINIMUM = "dataDir=/data\nclientPort=2181\n"


def parse(text: str) -> Config:
    return parse_config(MINIMUM + text, Path("zoo.cfg"))


def test_three_lines_are_enough() -> None:
    config = parse("tickTime=2000\n")
    assert (config.min_session_timeout_ms, config.max_session_timeout_ms) == (4000, 40_000)
    assert config.four_letter_words == {"srvr"}
    assert config.admin is not None
    # Apache listens on all addresses here.
    assert config.admin.listener == ("127.0.0.1", 8080)
    assert config.admin.rate_limit_ms == 300_000
    assert config.admin.offers_snapshot
    assert config.admin.offers_restore
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
        ("znode.container.maxPerMinute=3", "max_removed_per_minute", 3),
        ("znode.container.maxNeverUsedIntervalMs=9", "container_unused_ms", 9),
        ("admin.enableServer=false", "admin", None),
        ("4lw.commands.whitelist=*", "four_letter_words", {"*"}),
        ("maxClientCnxns=-1", "max_connections_per_address", 0),
        ("maxCnxns=-1", "max_connections", 0),
        ("snapCount=1", "storage.snap_count", 2),
        ("snapCount=0x10", "storage.snap_count", 16),
        ("snapCount=+7", "storage.snap_count", 7),
        ("snapSizeLimitInKb=5000000000", "storage.snap_size_bytes", 5_120_000_000_000),
        ("snapSizeLimitInKb=-1", "storage.snap_size_bytes", 1 << 62),
        ("txnLogSizeLimitInKb=-7", "storage.log_size_bytes", 0),
        ("preAllocSize=-1", "storage.preallocate_bytes", 0),
        ("autopurge.snapRetainCount=-5", "storage.kept_snapshots", 3),
        ("autopurge.purgeInterval=-5", "storage.purge_interval_h", 0),
        ("fsync.warningthresholdms=-1", "storage.sync_warning_ms", 0),
        ("clientPortListenBacklog=-9", "listen_backlog", -9),
        ("minSessionTimeout=-5", "min_session_timeout_ms", 0),
        ("znode.container.maxNeverUsedIntervalMs=-1", "container_unused_ms", 0),
        (
            "X509AuthenticationProvider.superUser=CN=root,O=x",
            "x509",
            X509Config("CN=root,O=x", None),
        ),
        ("datadir.autocreate=false", "creates_directories", False),
        ("clientPortAddress=[::1]", "client_address", "::1"),
        ("clientPortAddress=::1", "client_address", "::1"),
        ("clientPortAddress=::", "client_address", None),
        ("clientPortAddress=0.0.0.0", "client_address", None),
        ("clientPortAddress=zk.example.org", "client_address", "zk.example.org"),
        (
            "authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider",
            "tls",
            None,
        ),
    ],
)
def test_a_key_says_what_it_says_in_apache(line: str, attribute: str, value: object) -> None:
    config = parse(line)
    assert attrgetter(attribute)(config) == value
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


def test_the_zoo_cfg_of_a_member_is_refused_as_such(tmp_path: Path) -> None:
    """Not because of ``db.autocreate``: without that line, a member could lose all data."""
    with pytest.raises(ConfigError, match="sets up an ensemble"):
        parse("db.autocreate=false\nserver.1=a:1:2\nserver.2=b:1:2")
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text("server.1=a:1:2\nserver.2=b:1:2\n")
    with pytest.raises(ConfigError, match="sets up an ensemble"):
        parse(f"db.autocreate=false\ndynamicConfigFile={dynamic}")
    with pytest.raises(ConfigError, match=r"db\.autocreate=false is not supported"):
        parse("db.autocreate=false\nserver.1=a:1:2")


def test_refusals_of_ensembles_name_the_way_to_one(tmp_path: Path) -> None:
    dynamic = tmp_path / "zoo.cfg.dynamic"
    servers = "server.1=a:1:2\nserver.2=b:1:2\n"
    for lines in (servers, f"dynamicConfigFile={dynamic}", f"dynamicConfigFile={tmp_path}/none"):
        dynamic.write_text(servers)
        with pytest.raises(ConfigError, match=r"use: zoolet ensemble\.?$"):
            parse(lines)


@pytest.mark.parametrize(
    "lines",
    [
        "server.1=localhost:2888:3888",
        "server.1=localhost:2888:3888:participant;2181",
        "server.1=localhost:2888:3888;0.0.0.0:2181",
        "server.7=[::1]:2888:3888|other:2889:3889;2181",
        "server.1=a:1:2\npeerType=participant\nstandaloneEnabled=true\nreconfigEnabled=false",
    ],
)
def test_one_member_is_no_ensemble(lines: str) -> None:
    config = parse(lines)
    assert (config.client_address, config.client_port) == (None, 2181)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("server.1=a:1:2\nserver.2=b:1:2", "zoo.cfg:3: server.1 sets up an ensemble"),
        ("secureClientPort=2281", "secureClientPort needs ssl.keyStore.location, a file with"),
        (
            "secureClientPort=2281\nssl.keyStore.location=a.pem",
            "the server trusts no CA: set ssl.trustStore.location, or ssl.clientAuth=none",
        ),
        ("client.portUnification=true", "client.portUnification needs ssl.keyStore.location"),
        ("server.1=a:1:2:observer", "zoo.cfg:3: server.1 sets up an ensemble (an observer)"),
        ("server.1=a:1:2\nserver.2=b:1:2:observer", "zoo.cfg:4: server.2 sets up an ensemble"),
        ("server.1=a:1:2;2182", "clientPort=2181, but server.1 has the client port 2182"),
        ("server.x=a:1:2", "zoo.cfg:3: server.x has no number"),
        ("server.1=a:1:2;b:c", "server.1: the client address 'c' is not a port"),
        ("peerType=observer", "peerType=observer needs the members of the ensemble"),
        ("peerType=arbiter", "peerType=arbiter is not one of 'participant', 'observer'"),
        ("standaloneEnabled=false", "Apache starts an ensemble of one server"),
        ("sessionRequireClientSASLAuth=true", "needs the scheme sasl: add authProvider.1=org"),
        ("authProvider.1=com.example.Ldap", "cannot run Java classes. Remove the line"),
        ("ssl.enabledProtocols=TLSv1.1,TLSv1.2", "zoolet has TLSv1.2 and TLSv1.3"),
        ("ssl.enabledProtocols=", "ssl.enabledProtocols= is not supported"),
        ("ssl.protocol=SSLv3", "ssl.protocol=SSLv3 is not supported"),
        ("ssl.clientAuth=maybe", "ssl.clientAuth=maybe is not one of 'need', 'want', 'none'"),
        ("secureClientPortAddress=::1", "secureClientPortAddress needs secureClientPort"),
        ("enforce.auth.enabled=true", "enforce.auth.schemes must list one or more of"),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=kerberos",
            "zoo.cfg:4: enforce.auth.schemes must list one or more of: digest, ip",
        ),
        ("DigestAuthenticationProvider.digestAlg=MD99", "MD99 is not a hash function that"),
        ("admin.serverPort=65536", "admin.serverPort=65536 is not a whole number from 0 to 65535"),
        ("maxClientCnxns=many", "zoo.cfg:3: maxClientCnxns=many is not a whole number"),
        ("maxClientCnxns=1_000", "maxClientCnxns=1_000 is not a whole number"),
        ("maxClientCnxns=3000000000", "maxClientCnxns=3000000000 is not a whole number"),
        ("tickTime=", "zoo.cfg:3: tickTime= is not a whole number from 1"),
        ("clientPortAddress=", "clientPortAddress: '' is not a host name"),
        ("clientPortAddress=[::1", "clientPortAddress: '[::1' is not"),
        ("dataDir=/x\\u12", "zoo.cfg:3: \\u is not followed by four hexadecimal digits"),
        ("metricsProvider.className=x.Y", "zoolet supports only the metrics provider org.apache"),
    ],
)
def test_what_cannot_be_is_said_with_its_line(line: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(line)
    assert said in str(refused.value)


def test_what_is_switched_off_need_not_be_removed() -> None:
    assert parse("sessionRequireClientSASLAuth=false\n").client_port == 2181


@pytest.mark.parametrize(
    ("line", "attribute", "default"),
    [
        ("preAllocSize=64M", "storage.preallocate_bytes", 64 << 20),
        ("snapCount=many", "storage.snap_count", 100_000),
        ("snapCount=3000000000", "storage.snap_count", 100_000),
        ("maxCnxns=", "max_connections", 0),
        ("jute.maxbuffer=4MB", "max_frame_bytes", 1_048_575),
        ("znode.container.maxPerMinute=x", "max_removed_per_minute", 10_000),
        ("snapshot.compression.method=zip", "storage.compression", Compression.NONE),
    ],
)
def test_a_value_that_apache_ignores_is_ignored_with_a_warning(
    line: str, attribute: str, default: object
) -> None:
    config = parse(line)
    assert attrgetter(attribute)(config) == default
    (warning,) = config.warnings
    assert warning.startswith(f"zoo.cfg:3: {line}")
    assert "as in Apache ZooKeeper" in warning


@pytest.mark.parametrize("port", ["admin.serverPort", "metricsProvider.httpPort", "clientPort"])
def test_port_0_is_any_free_port(port: str) -> None:
    parse(f"{port}=0")


def test_the_admin_endpoint_is_switched_off_by_false_only() -> None:
    assert parse("admin.enableServer=no").admin is not None
    assert parse("admin.enableServer=FALSE").admin is not None
    assert parse("admin.enableServer=false").admin is None


def test_the_sample_switches_autopurge_on_and_causes_no_warning() -> None:
    """Autopurge is off by default, and then old snapshots and logs fill the disk."""
    config = read_config(Path(__file__).parents[4] / "conf" / "zoo.cfg")
    assert config.storage.purge_interval_h == 1
    assert config.storage.kept_snapshots == 3
    assert config.warnings == ()
    assert not unknown_words(config.four_letter_words)


def test_the_file_of_the_official_container_starts() -> None:
    config = parse_config(
        "dataDir=/data\ndataLogDir=/datalog\ntickTime=2000\ninitLimit=5\nsyncLimit=2\n"
        "autopurge.snapRetainCount=3\nautopurge.purgeInterval=0\nmaxClientCnxns=60\n"
        "standaloneEnabled=true\nadmin.enableServer=true\n"
        "server.1=localhost:2888:3888;2181\n",
        Path("zoo.cfg"),
    )
    assert (config.client_address, config.client_port) == (None, 2181)
    assert [warning.split()[1] for warning in config.warnings] == ["initLimit", "syncLimit"]


@pytest.mark.parametrize(
    ("client", "listener"),
    [("127.0.0.1:2182", ("127.0.0.1", 2182)), ("[::]:2183", (None, 2183)), ("2184", (None, 2184))],
)
def test_the_client_port_may_be_in_the_server_line(
    client: str, listener: tuple[str | None, int]
) -> None:
    config = parse_config(f"dataDir=/d\nserver.3=a:1:2;{client}\n", Path("zoo.cfg"))
    assert (config.client_address, config.client_port) == listener


def test_without_any_client_port_the_error_names_the_key() -> None:
    for lines in ("", "server.1=a:1:2\n"):
        with pytest.raises(ConfigError, match="clientPort is missing: add clientPort"):
            parse_config(f"dataDir=/d\n{lines}", Path("zoo.cfg"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\n", ":1: server.1 sets up an ensemble"),
        ("# only me\nserver.1=a:1:2:observer;2181\n", ":2: server.1 sets up an ensemble"),
        ("server.1=a:1:2\ntickTime=5\n", ":2: tickTime cannot be in a dynamicConfigFile"),
        ("server.1=a:1:2;\\u1", ":1: \\u is not followed"),
        (None, "the file does not exist"),
    ],
)
def test_a_dynamic_file_that_does_not_start_standalone_refuses(
    tmp_path: Path, content: str | None, said: str
) -> None:
    dynamic = tmp_path / "zoo.cfg.dynamic"
    if content is not None:
        dynamic.write_text(content)
    with pytest.raises(ConfigError) as refused:
        parse(f"dynamicConfigFile={dynamic}")
    assert said in str(refused.value)
    assert str(dynamic) in str(refused.value)


def test_a_dynamic_file_with_one_server_starts(tmp_path: Path) -> None:
    dynamic = tmp_path / "zoo.cfg.dynamic"
    dynamic.write_text("server.1=a:1:2;127.0.0.1:2199\nserver.1=a:1:2;127.0.0.1:2200\n")
    lines = f"dataDir=/d\ndynamicConfigFile={dynamic}\n"
    config = parse_config(lines, Path("zoo.cfg"))
    assert (config.client_address, config.client_port) == ("127.0.0.1", 2200)
    with pytest.raises(ConfigError, match=r"server.2 must be in the dynamicConfigFile"):
        parse_config(f"{lines}server.2=b:1:2\n", Path("zoo.cfg"))


@pytest.mark.parametrize(
    ("line", "suggested"),
    [
        ("tcikTime=5", "tickTime"),
        ("maxClientCnxn=5", "maxClientCnxns"),
        ("autopurge.purgeinterval=1", "autopurge.purgeInterval"),
        ("zookeeper.snapCount=5", "snapCount"),
        ("ssl.cipherSuites=x", "ssl.ciphersuites"),
        ("my.own.thing=5", None),
    ],
)
def test_an_unknown_key_gets_the_known_one_that_it_probably_is(
    line: str, suggested: str | None
) -> None:
    (warning,) = parse(line).warnings
    key = line.split("=", maxsplit=1)[0]
    hint = "" if suggested is None else f" Did you mean {suggested}?"
    assert warning == f"zoo.cfg:3: {key} is not a known key and is ignored.{hint}"


def test_the_later_of_two_lines_counts_and_a_warning_names_both() -> None:
    config = parse("tickTime=1000\ntickTime=500\n")
    assert config.tick_time_ms == 500
    assert config.warnings == (
        "zoo.cfg:4: tickTime is set again; the value in zoo.cfg:3 has no effect.",
    )


def test_a_file_with_every_way_to_write_a_line(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_bytes(
        b"\xef\xbb\xbf# caf\xe9\r\n\x0c dataDir = C:\\\\d\\u00e9\r\nclientPort: 2181\n"
        b"tickTime 500\r4lw.commands.whitelist = ruok, \\\n    srvr\n"
    )
    config = read_config(path)
    assert config.data_dir == Path("C:\\dé")
    assert (config.client_port, config.tick_time_ms) == (2181, 500)
    assert config.four_letter_words == {"ruok", "srvr"}
    assert config.warnings == ()


def test_a_directory_that_apache_reads_otherwise_is_refused(tmp_path: Path) -> None:
    lines = f"dataDir={tmp_path}/é\nclientPort=2181\n"
    assert parse_config(lines, Path("zoo.cfg")).data_dir == tmp_path / "é"
    (tmp_path / "Ã©").mkdir()
    with pytest.raises(ConfigError, match="can be read in two ways") as refused:
        parse_config(lines, Path("zoo.cfg"))
    assert f"dataDir={tmp_path}/\\u00c3\\u00a9" in str(refused.value)
    (tmp_path / "é").mkdir()
    assert parse_config(lines, Path("zoo.cfg")).data_dir == tmp_path / "é"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path, "Is a directory"),
        (tmp_path / "none", "the file does not exist"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_config(path)


def overridden(overrides: dict[str, str], text: str = "") -> Config:
    return parse_config(MINIMUM + text, Path("zoo.cfg"), overrides)


def test_a_system_property_sets_what_zoo_cfg_does_not() -> None:
    config = overridden({"zookeeper.snapCount": " 7 ", "jute.maxbuffer": "4096"})
    assert (config.storage.snap_count, config.max_frame_bytes) == (7, 4096)
    assert config.warnings == ()
    assert config.settings["snapCount"] == "7"


def test_zoo_cfg_wins_but_where_apache_does_not_read_it() -> None:
    config = overridden(
        {"zookeeper.snapCount": "7", "jute.maxbuffer": "4096"},
        "snapCount=9\njute.maxbuffer=8192\n",
    )
    assert (config.storage.snap_count, config.max_frame_bytes) == (9, 4096)
    assert config.warnings == (
        "-Dzookeeper.snapCount is ignored: zoo.cfg:3 sets snapCount, and zoo.cfg has precedence.",
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("zookeeper.clientPort", "as in Apache, clientPort is read only in zoo.cfg"),
        ("zookeeper.jute.maxbuffer", "The property is -Djute.maxbuffer."),
        ("snapCount", "Did you mean -Dzookeeper.snapCount?"),
        ("zookeeper.snapcount", "Did you mean -Dzookeeper.snapCount?"),
        ("java.io.tmpdir", "-Djava.io.tmpdir is not a setting of the server and is ignored."),
    ],
)
def test_a_system_property_without_effect_is_named(name: str, said: str) -> None:
    config = overridden({name: "5"})
    (warning,) = config.warnings
    assert said in warning
    assert config.settings == {"dataDir": "/data", "clientPort": "2181"}


def test_a_system_property_is_checked_like_a_key() -> None:
    with pytest.raises(ConfigError, match=r"-Dzookeeper.ssl.ocsp: ssl.ocsp=true is not supported"):
        overridden({"zookeeper.ssl.ocsp": "true"})
    assert "snapCount=x" in overridden({"zookeeper.snapCount": "x"}).warnings[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [("0.0.0.0", None), ("::", None), ("10.0.0.1", "10.0.0.1"), ("127.0.0.1", "127.0.0.1")],
)
def test_the_admin_endpoint_listens_where_it_is_told(address: str, expected: str | None) -> None:
    config = parse(f"tickTime=2000\nadmin.serverAddress={address}\n")
    assert config.admin is not None
    assert config.admin.listener.address == expected


@pytest.mark.parametrize("key", ["admin.snapshot.enabled", "admin.restore.enabled"])
def test_backup_commands_can_be_switched_off(key: str) -> None:
    config = parse(f"tickTime=2000\n{key}=false\nadmin.rateLimiterIntervalInMS=0\n")
    assert config.admin is not None
    assert config.admin.rate_limit_ms == 0
    offered = (config.admin.offers_snapshot, config.admin.offers_restore)
    assert offered == (key != "admin.snapshot.enabled", key != "admin.restore.enabled")


def test_a_directory_with_a_name_that_is_too_long_is_an_error_of_the_key(tmp_path: Path) -> None:
    text = f"dataDir={tmp_path}/{'ä' * 300}\nclientPort=1\n"
    with pytest.raises(ConfigError, match="dataDir cannot be looked at: File name too long"):
        parse_config(text, tmp_path / "zoo.cfg")
