"""What Apache ZooKeeper's variables mean: where zoo.cfg and the log are, and flags as settings."""

import random
import shlex
from pathlib import Path

import pytest

from tests.support.simulated import default_config
from zoolet.server.cli.environment import Environment
from zoolet.server.cli.jvm_flags import read_flags
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.zoo_cfg.reading import read_config


@pytest.mark.parametrize(
    ("text", "properties", "ignored"),
    [
        ("", {}, ()),
        ("-Dzookeeper.maxCnxns=5", {"zookeeper.maxCnxns": "5"}, ()),
        ("-Djute.maxbuffer=4194304 -Xmx2g", {"jute.maxbuffer": "4194304"}, ("-Xmx2g",)),
        ('-Dzookeeper.a="two words"', {"zookeeper.a": "two words"}, ()),
        (
            "'-Dzookeeper.a=it is' -Dzookeeper.b=x=y",
            {"zookeeper.a": "it is", "zookeeper.b": "x=y"},
            (),
        ),
        ("-Dzookeeper.a=1 -Dzookeeper.a=2", {"zookeeper.a": "2"}, ()),
        ("-Dzookeeper.skipACL", {"zookeeper.skipACL": ""}, ()),
        ("  -server\t-XX:+UseG1GC\n", {}, ("-server", "-XX:+UseG1GC")),
        ("-Dzookeeperx.a=1 -Dcom.x=secret", {}, ("-Dzookeeperx.a=...", "-Dcom.x=...")),
        ("zookeeper.a=1", {}, ("zookeeper.a=...",)),
        ("-javaagent:/x.jar=7070:/c.yaml", {}, ("-javaagent:/x.jar=...",)),
    ],
)
def test_flags(text: str, properties: dict[str, str], ignored: tuple[str, ...]) -> None:
    assert read_flags([("JVMFLAGS", text)]) == (properties, ignored)


@pytest.mark.parametrize("text", ['-Dzookeeper.a="x', "-Dzookeeper.a='x", "-Dzookeeper.a=x\\"])
def test_flags_with_an_open_quote_are_refused(text: str) -> None:
    with pytest.raises(ServerError, match=r"SERVER_JVMFLAGS cannot be read: No .*Close the quote"):
        read_flags([("SERVER_JVMFLAGS", text)])


def test_any_value_comes_through_a_shells_quotes() -> None:
    chance = random.Random(16)
    for _ in range(300):
        values = {
            f"zookeeper.k{number}": "".join(chance.choices("ab '\"\\=$\t\n", k=8))
            for number in range(3)
        }
        text = " ".join(shlex.quote(f"-D{name}={value}") for name, value in values.items())
        assert read_flags([("JVMFLAGS", text)]).properties == values


def test_the_later_variable_wins() -> None:
    environment = Environment.read(
        {"JVMFLAGS": "-Dzookeeper.a=2", "SERVER_JVMFLAGS": "-Dzookeeper.a=1 -Dzookeeper.b=1"}
    )
    assert environment.flags.properties == {"zookeeper.a": "2", "zookeeper.b": "1"}


def test_flags_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nclientPort=1\n")
    flags = "-Dzookeeper.maxCnxns=5 -Djute.maxbuffer=8192"
    config = read_config(path, Environment.read({"JVMFLAGS": flags}).flags.properties)
    assert (config.max_connections, config.max_frame_bytes) == (5, 8192)


@pytest.mark.parametrize("variables", [{}, {"ZOOCFGDIR": "", "ZOOCFG": "", "ZOO_LOG_DIR": ""}])
def test_variables_that_are_not_set(
    variables: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = Environment.read(variables)
    with pytest.raises(ConfigError, match=r"no file exists at conf/zoo\.cfg or /etc/zookeeper"):
        environment.find_config(None)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "zoo.cfg").touch()
    assert environment.find_config(None) == Path("conf/zoo.cfg")
    assert environment.find_config(Path("other.cfg")) == Path("other.cfg")
    config = default_config(tmp_path / "data")
    assert environment.log_path(config) == tmp_path / "data" / "zookeeper.out"
    assert (environment.pid_path, environment.ignored) == (None, ())


def test_the_directory_of_zoo_cfg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    environment = Environment.read({"ZOOCFGDIR": "/etc/zk"})
    assert environment.find_config(None) == Path("/etc/zk/zoo.cfg")
    assert environment.find_config(Path("b.cfg")) == Path("/etc/zk/b.cfg")
    assert environment.find_config(Path("./b/zoo.cfg")) == Path("b/zoo.cfg")
    assert environment.find_config(Path("/x/zoo.cfg")) == Path("/x/zoo.cfg")
    (tmp_path / "b.cfg").touch()
    assert environment.find_config(Path("b.cfg")) == Path("b.cfg")
    named = Environment.read({"ZOOCFGDIR": "/etc/zk", "ZOOCFG": "mine.cfg"})
    assert named.find_config(None) == Path("/etc/zk/mine.cfg")
    # The option is stronger than the variable.
    assert named.with_config_directory(Path("/y")).find_config(None) == Path("/y/mine.cfg")
    assert named.with_config_directory(None) == named


def test_the_directory_of_the_log() -> None:
    path = Environment.read({"ZOO_LOG_DIR": "/var/log/zk"}).log_path(default_config(Path("/d")))
    assert path.parent == Path("/var/log/zk")
    assert path.name.startswith("zookeeper-")
    assert path.name.endswith(".out")


def test_what_has_no_effect_is_named_and_no_secret_is_shown(tmp_path: Path) -> None:
    (tmp_path / "java.env").touch()
    flags = "-Xmx1g -Djavax.net.ssl.keyStorePassword=secret"
    environment = Environment.read({"SERVER_JVMFLAGS": flags, "JMXPORT": "9999"})
    warnings = environment.warnings(tmp_path / "zoo.cfg")
    assert warnings == [
        "the JVM flag -Xmx1g is ignored: zoolet has no JVM",
        "the JVM flag -Djavax.net.ssl.keyStorePassword=... is ignored: zoolet has no JVM",
        "JMXPORT is ignored: zoolet has no JVM",
        f"{tmp_path / 'java.env'} is not read: set its variables in the environment",
    ]


def test_autocreate_can_be_switched_off_as_with_apache() -> None:
    environment = Environment.read({"ZOO_DATADIR_AUTOCREATE_DISABLE": "1"})
    assert environment.flags.properties == {"zookeeper.datadir.autocreate": "false"}
