"""``zoolet init`` creates a configuration with which a server starts, and never changes a file."""

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.scripts import run_script
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing import ReservedPort

SEED = 20261129


def init(*arguments: str | Path, cwd: Path | None = None) -> tuple[int, str, str]:
    completed = run_script("zoolet", "init", *arguments, cwd=cwd)
    return completed.returncode, completed.stdout, completed.stderr


def test_a_server_starts_with_it(tmp_path: Path) -> None:
    reserved = ReservedPort()
    port = reserved.number
    status, output, _ = init(tmp_path / "zk", "--port", str(port))
    config = tmp_path / "zk" / "zoo.cfg"
    assert status == 0
    assert output.splitlines()[-1] == f"Start the server:  zkServer.sh start {config}"
    config.write_text(config.read_text() + "admin.enableServer=false\n")
    assert run_script("zkServer.sh", "start", config).returncode == 0
    try:
        answered = run_script("zkCli.sh", "-server", f"127.0.0.1:{port}", "create", "/a", "b")
        assert answered.stdout.strip().endswith("Created /a"), answered
    finally:
        assert run_script("zkServer.sh", "stop", config).returncode == 0


def test_the_working_directory_is_the_default(tmp_path: Path) -> None:
    assert init(cwd=tmp_path)[0] == 0
    config = read_config(tmp_path / "zoo.cfg")
    assert (config.data_dir, config.client_port) == (tmp_path / "data", 2181)
    assert not config.warnings


def test_an_existing_file_is_not_changed(tmp_path: Path) -> None:
    config = tmp_path / "zoo.cfg"
    config.write_text("mine")
    status, output, error = init(tmp_path)
    assert (status, output) == (1, "")
    assert error == (
        f"zoolet: {config} exists already and was not changed. Name another directory.\n"
    )
    assert config.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["zoo.cfg"]


def test_one_of_many_at_once_creates_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        ports = range(3000, 3006)
        ended = list(threads.map(lambda port: init(tmp_path, "--port", str(port)), ports))
    (created,) = [port for port, (status, *_) in zip(ports, ended, strict=True) if status == 0]
    assert read_config(tmp_path / "zoo.cfg").client_port == created
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "zoo.cfg"]


def test_any_directory_name_is_kept_or_refused(tmp_path: Path) -> None:
    """The model: either the server would use exactly DIR/data, or nothing is created."""
    random_ = random.Random(SEED)
    letters = "ab \\=:#!%${}é界\t'\"~,;&"
    for _ in range(12):
        name = "".join(random_.choice(letters) for _ in range(random_.randint(1, 6)))
        directory = tmp_path / name
        status, _, error = init(directory)
        if status == 0:
            assert read_config(directory / "zoo.cfg").data_dir == directory / "data", name
        else:
            assert error.startswith("zoolet: "), (name, error)
            assert not directory.exists(), name


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x"])
def test_a_wrong_port_is_refused(tmp_path: Path, port: str) -> None:
    status, _, error = init(tmp_path / "zk", "--port", port)
    assert (status, "Invalid value for '--port'" in error) == (2, True)
    assert not (tmp_path / "zk").exists()


def test_a_directory_that_cannot_be_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    status, _, error = init(tmp_path / "file" / "zk")
    assert status == 1
    assert error.startswith("zoolet: ")
    assert "Traceback" not in error
