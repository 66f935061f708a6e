"""What the entry point of the container image does before the command: files, owners, variables."""

import os
import random
import re
from pathlib import Path

import pytest

from zoolet.server.cli import container
from zoolet.server.cli.container import (
    ADMIN_FLAG,
    FALLBACK_NAME,
    USER_ID,
    VARIABLES,
    EntryError,
    command_environment,
    config_path,
    hand_over,
    value_of,
    with_exit_status,
    write_config,
    write_my_id,
    zoo_cfg_text,
)
from zoolet.server.zoo_cfg.reading import parse_config

ENSEMBLE = {"ZOO_INIT_LIMIT": "initLimit=", "ZOO_SYNC_LIMIT": "syncLimit="}


def lines_of(variables: dict[str, str]) -> list[str]:
    """Return the lines of zoo.cfg without the comment at its head."""
    header, *lines, end = zoo_cfg_text(variables).split("\n")
    assert (header[0], end) == ("#", "")
    return lines


def extra(value: str) -> list[str]:
    """Return the lines that ZOO_CFG_EXTRA adds to those of no variable."""
    return lines_of({"ZOO_CFG_EXTRA": value})[len(lines_of({})) :]


def directories(root: Path) -> dict[str, str]:
    """Create the directories of an image below ``root``; return the variables that name them."""
    names = {"ZOO_CONF_DIR": "conf", "ZOO_DATA_DIR": "data", "TMPDIR": "tmp"}
    for name in names.values():
        (root / name).mkdir()
    return {variable: str(root / name) for variable, name in names.items()}


# --- The text of zoo.cfg


def test_the_default_zoo_cfg() -> None:
    assert lines_of({}) == [
        "dataDir=/data",
        "dataLogDir=/datalog",
        "tickTime=2000",
        "autopurge.snapRetainCount=3",
        "autopurge.purgeInterval=0",
        "maxClientCnxns=60",
        "standaloneEnabled=true",
        "admin.enableServer=true",
        "server.1=localhost:2888:3888;2181",
    ]
    config = parse_config(zoo_cfg_text({}), Path("zoo.cfg"))
    assert (config.client_port, config.client_address) == (2181, None)
    assert config.warnings == ()


@pytest.mark.parametrize("variable", VARIABLES, ids=lambda variable: variable.name)
def test_each_variable_with_a_key_is_a_line(variable: container.Variable) -> None:
    lines = lines_of({variable.name: "x1"})
    if variable.is_lines:
        assert "x1" in lines
    elif variable.key:
        assert lines.count(f"{variable.key}=x1") == 1
    else:
        assert lines == lines_of({})


def test_an_empty_variable_has_its_default() -> None:
    assert lines_of({variable.name: "" for variable in VARIABLES}) == lines_of({})
    assert value_of({"ZOO_MY_ID": ""}, "ZOO_MY_ID") == "1"


@pytest.mark.parametrize(
    ("value", "lines"),
    [
        ("a=1", ["a=1"]),
        ("a=1 b=2", ["a=1", "b=2"]),
        ("  a=1\t\tb=2\n", ["a=1", "b=2"]),
        ("a=1\nb=2\n\nc=3\n", ["a=1", "b=2", "c=3"]),  # a block of YAML
        (" \n\t ", []),
        # A blank always begins a new line, also in quotation marks, which are part of the value.
        ("a=1 2", ["a=1", "2"]),
        ('"a=1 b=2"', ['"a=1', 'b=2"']),
        ("a='x y'", ["a='x", "y'"]),
        ("a b", ["a", "b"]),
        ("a:1 b==2 =c", ["a:1", "b==2", "=c"]),
        ("#a=1 b=2", ["#a=1", "b=2"]),
        ("a=1\\ b=2", ["a=1\\", "b=2"]),  # the line continues, as Java reads it
        ("a=* b=$HOME c=~ d=`e`", ["a=*", "b=$HOME", "c=~", "d=`e`"]),
        ("a=1\r\nb=2\r\n", ["a=1\r", "b=2\r"]),  # a file from Windows
        ("a=1\u00a0b=2\u2003c", ["a=1\u00a0b=2\u2003c"]),  # no blanks for a shell
        ("a=gr\u00fcn", ["a=gr\u00fcn"]),
    ],
)
def test_formats_of_zoo_cfg_extra(value: str, lines: list[str]) -> None:
    assert extra(value) == lines


def test_what_the_server_makes_of_odd_extra_lines() -> None:
    odd = 'maxCnxns=5\r\n"snapCount=7 snapCount:9 #skipACL=yes preAllocSize=1\\ 28'
    config = parse_config(zoo_cfg_text({"ZOO_CFG_EXTRA": odd}), Path("zoo.cfg"))
    assert (config.max_connections, config.storage.snap_count) == (5, 9)
    assert config.storage.preallocate_bytes == 128 * 1024
    assert not config.skips_acl
    assert [warning for warning in config.warnings if '"snapCount is not a known key' in warning]


def test_an_extra_line_replaces_a_variable() -> None:
    variables = {"ZOO_TICK_TIME": "3000", "ZOO_CFG_EXTRA": "tickTime=4000"}
    config = parse_config(zoo_cfg_text(variables), Path("zoo.cfg"))
    assert config.tick_time_ms == 4000


def test_the_settings_of_ensembles_are_written_only_if_they_are_set() -> None:
    for name, line in ENSEMBLE.items():
        assert not any(found.startswith(line) for found in lines_of({}))
        assert f"{line}9" in lines_of({name: "9"})


# --- The place of zoo.cfg


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "/tmp/zoolet-conf/zoo.cfg"),
        ({"ZOO_CONF_DIR": "{conf}"}, "{conf}/zoo.cfg"),
        ({"ZOO_CONF_DIR": "{conf}", "ZOOCFGDIR": "/conf"}, "{conf}/zoo.cfg"),
        ({"ZOO_CONF_DIR": "/nowhere", "ZOOCFGDIR": "{conf}"}, "{conf}/zoo.cfg"),
        ({"ZOO_CONF_DIR": "{conf}", "ZOOCFG": "mine.cfg"}, "{conf}/mine.cfg"),
        ({"ZOOCFGDIR": "/nowhere", "TMPDIR": "/t"}, "/t/zoolet-conf/zoo.cfg"),
        ({"ZOOCFGDIR": "/nowhere", "TMPDIR": "/t", "ZOOCFG": "m"}, "/t/zoolet-conf/m"),
    ],
)
def test_the_zoo_cfg_that_the_server_reads(
    variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    for name in ("zoo.cfg", "mine.cfg"):
        (tmp_path / name).touch()
    named = {name: value.replace("{conf}", str(tmp_path)) for name, value in variables.items()}
    assert config_path(named) == Path(expected.replace("{conf}", str(tmp_path)))


def test_a_zoo_cfg_is_written_once(tmp_path: Path) -> None:
    variables = directories(tmp_path) | {"ZOO_TICK_TIME": "1111"}
    path = write_config(variables)
    assert path == tmp_path / "conf" / "zoo.cfg" == config_path(variables)
    assert path.read_text() == zoo_cfg_text(variables)
    assert list(path.parent.iterdir()) == [path]
    variables["ZOO_TICK_TIME"] = "2222"
    assert write_config(variables) == path
    assert "1111" in path.read_text()


def test_any_bytes_of_a_variable_are_in_zoo_cfg(tmp_path: Path) -> None:
    variables = directories(tmp_path) | {"ZOO_CFG_EXTRA": os.fsdecode(b"a=\xfc b=\xe2\x82\xac")}
    assert b"\na=\xfc\nb=\xe2\x82\xac\n" in write_config(variables).read_bytes()


def test_a_directory_instead_of_zoo_cfg_is_refused(tmp_path: Path) -> None:
    variables = directories(tmp_path)
    (tmp_path / "conf" / "zoo.cfg").mkdir()
    with pytest.raises(EntryError, match="does not exist on the host: create it"):
        write_config(variables)


def test_a_read_only_directory_for_zoo_cfg(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fallback is written at each start, because the variables may have changed."""
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    variables = directories(tmp_path)
    for tick_time_ms in ("1111", "2222"):
        variables["ZOO_TICK_TIME"] = tick_time_ms
        path = write_config(variables)
        assert path == tmp_path / "tmp" / FALLBACK_NAME / "zoo.cfg" == config_path(variables)
        assert f"tickTime={tick_time_ms}\n" in path.read_text()
        assert f"conf cannot be written, so zoo.cfg is {path}" in capsys.readouterr().err
    (tmp_path / "conf" / "zoo.cfg").touch()
    assert write_config(variables) == tmp_path / "conf" / "zoo.cfg" == config_path(variables)


def test_a_zoo_cfg_that_can_be_written_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    variables = directories(tmp_path) | {"TMPDIR": "/dev/null"}
    wanted = rf"Not a directory.* Mount a zoo\.cfg at {tmp_path}/conf/zoo\.cfg, or make"
    with pytest.raises(EntryError, match=wanted):
        write_config(variables)


def test_a_link_instead_of_the_fallback_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    variables = directories(tmp_path)
    (tmp_path / "tmp" / FALLBACK_NAME).symlink_to(tmp_path / "data")
    with pytest.raises(EntryError, match="belongs to another user: remove it"):
        write_config(variables)
    assert not list((tmp_path / "data").iterdir())


# --- The file myid


def test_myid_is_written_once(tmp_path: Path) -> None:
    variables = directories(tmp_path)
    path = tmp_path / "data" / "myid"
    write_my_id(variables)
    assert path.read_text() == "1\n"
    write_my_id(variables | {"ZOO_MY_ID": "5"})
    assert path.read_text() == "1\n"
    path.unlink()
    write_my_id(variables | {"ZOO_MY_ID": "5"})
    assert path.read_text() == "5\n"


def test_a_missing_data_directory_is_refused(tmp_path: Path) -> None:
    """A volume that is not mounted must not look like an empty one."""
    with pytest.raises(EntryError, match=r"which is no directory: mount a volume there"):
        write_my_id({"ZOO_DATA_DIR": str(tmp_path / "lost")})
    assert not (tmp_path / "lost").exists()


def test_a_myid_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "myid").mkdir()
    with pytest.raises(EntryError, match=r"cannot write in ZOO_DATA_DIR\. .*This is a directory"):
        write_my_id({"ZOO_DATA_DIR": str(tmp_path)})


# --- The owners


def become(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """Record the calls that change this process; return the record."""
    calls: list[tuple[str, object]] = []
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda value, name=name: calls.append((name, value)))
    return calls


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to another user")
def test_directories_are_given_to_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = become(monkeypatch)
    chance = random.Random(19)
    inside = [tmp_path / "data"]
    outside = tmp_path / "outside"
    for number in range(30):
        parent = chance.choice([path for path in inside if path.is_dir()] or inside)
        path = parent / f"n{number}"
        if chance.random() < 0.4:
            path.mkdir(parents=True)
        else:
            parent.mkdir(exist_ok=True)
            path.touch()
        if chance.random() < 0.3:
            os.chown(path, USER_ID, 7)
        inside.append(path)
    outside.mkdir()
    (inside[0] / "link").symlink_to(outside)
    (inside[0] / "dangling").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to(inside[0])  # a volume may be named by a link
    groups = {path: path.stat().st_gid for path in inside}
    hand_over([tmp_path / "linked", tmp_path / "not there"])
    assert {path.stat().st_uid for path in inside} == {USER_ID}
    assert {path: path.stat().st_gid for path in inside} == groups
    assert outside.stat().st_uid == 0
    links = [inside[0] / name for name in ("link", "dangling")]
    assert [link.lstat().st_uid for link in links] == [USER_ID, USER_ID]
    # The groups can change only before the user.
    assert calls == [("setgroups", [1000]), ("setgid", 1000), ("setuid", 1000)]


def test_no_file_is_changed_that_has_the_right_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    become(monkeypatch)
    monkeypatch.setattr(container, "USER_ID", os.geteuid())
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("an owner was changed"))
    (tmp_path / "a" / "b").mkdir(parents=True)
    hand_over([tmp_path])


def test_a_refused_change_names_the_capabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: str, *_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted", path)

    monkeypatch.setattr(container, "USER_ID", os.geteuid() + 1)
    monkeypatch.setattr(os, "chown", refused)
    wanted = re.escape(f"{tmp_path}: Operation not permitted") + ".*capabilities CHOWN.*--user"
    with pytest.raises(EntryError, match=wanted):
        hand_over([tmp_path])


# --- The command and its environment


def test_the_admin_endpoint_listens_on_all_addresses_by_default(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nclientPort=1\n")
    for before, after in (
        ({}, ADMIN_FLAG),
        ({"SERVER_JVMFLAGS": "-Xmx1g"}, f"{ADMIN_FLAG} -Xmx1g"),
    ):
        found = command_environment({"A": "b", **before}, path)
        assert found == {"A": "b", "ZOOCFGDIR": str(tmp_path), "SERVER_JVMFLAGS": after}


@pytest.mark.parametrize("line", ["admin.serverAddress=127.0.0.1", "admin.serverAddress : ::1"])
def test_an_address_in_zoo_cfg_is_not_replaced(line: str, tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir=/d\n{line}\n")
    assert command_environment({}, path) == {"ZOOCFGDIR": str(tmp_path)}


def test_a_zoo_cfg_that_cannot_be_parsed_is_left_to_the_server(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("a=\\u12\nadmin.serverAddress=::1\n")
    assert command_environment({}, path)["SERVER_JVMFLAGS"] == ADMIN_FLAG
    path.unlink()
    assert command_environment({}, path)["SERVER_JVMFLAGS"] == ADMIN_FLAG


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("zkServer.sh start-foreground", "zkServer.sh start-foreground --apache-exit-status"),
        (
            "zkServer.sh --config /c start-foreground my.cfg",
            "zkServer.sh --config /c start-foreground --apache-exit-status my.cfg",
        ),
        ("zkServer.sh status", "zkServer.sh status"),
        ("/x/zkServer.sh start-foreground", "/x/zkServer.sh start-foreground"),
        ("bash start-foreground", "bash start-foreground"),
    ],
)
def test_the_exit_status_of_a_start_is_apaches(command: str, expected: str) -> None:
    assert with_exit_status(command.split()) == expected.split()
