"""Starts the server in the built root file system, and checks what docs/container.md promises.

``python packaging/container/check_rootfs.py DIRECTORY``, where DIRECTORY is the result of
``build_rootfs``. Each container is a bubblewrap sandbox: a read-only root, /tmp in memory, its own
processes and network, and a directory of this machine for each volume. The entry point is process
1, as in a container. The first failed check ends the program with status 1.

This needs root, Debian's package bubblewrap, and kazoo, which the checks use as the client.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

USER: Final = 1000
OTHER_USER: Final = 5000
TIMEOUT_S: Final = 60.0
_CHECK_S: Final = 0.05
_TMP: Final = "/tmp"  # noqa: S108 -- in the container, where it is empty
_CAPABILITIES: Final = (
    *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
    *("NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
)
"""The capabilities that Docker gives to root."""

_CLIENT: Final = """
import sys
from kazoo.client import KazooClient
client = KazooClient(hosts="127.0.0.1:2181")
client.start(timeout=20)
for name in sys.argv[1:]:
    if not client.exists(f"/{name}"):
        client.create(f"/{name}", name.encode())
    assert client.get(f"/{name}")[0] == name.encode()
print(*sorted(set(client.get_children("/")) - {"zookeeper"}))
client.stop()
"""


class CheckError(Exception):
    """The image does not do what it promises."""


class Container:
    """A container of the image; `started` starts and ends it.

    Attributes:
        pid: the process id of its process 1, as this machine sees it.
    """

    def __init__(
        self,
        directory: Path,
        volumes: Mapping[str, Path],
        *,
        variables: Mapping[str, str] | None = None,
        user: int = 0,
        command: Sequence[str] = (),
        has_capabilities: bool = True,
        read_only: Mapping[str, Path] | None = None,
    ) -> None:
        """Create the container; ``read_only`` are further directories that are mounted."""
        config: dict[str, Any] = json.loads((directory / "config.json").read_text())["config"]
        self._environment = dict(entry.split("=", 1) for entry in config["Env"])
        self._environment.update(variables or {})
        self._working = config["WorkingDir"]
        self._health = config["Healthcheck"]["Test"][1:]
        self._command = [*config["Entrypoint"], *(command or config["Cmd"])]
        self._user = user
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 -- end() closes it
        sandbox = ["bwrap", "--ro-bind", str(directory / "rootfs"), "/", "--proc", "/proc"]
        sandbox += [
            "--dev",
            "/dev",
            "--perms",
            "1777",
            "--tmpfs",
            _TMP,
            "--unshare-pid",
            "--unshare-net",
        ]
        sandbox += ["--unshare-ipc", "--unshare-uts", "--as-pid-1", "--die-with-parent"]
        sandbox += ["--chdir", self._working, "--clearenv"]
        for path, source in volumes.items():
            sandbox += ["--bind", str(source), path]
        for path, source in (read_only or {}).items():
            sandbox += ["--ro-bind", str(source), path]
        for name, value in self._environment.items():
            sandbox += ["--setenv", name, value]
        sandbox += ["--cap-drop", "ALL"]
        if user == 0 and has_capabilities:
            for name in _CAPABILITIES:
                sandbox += ["--cap-add", f"CAP_{name}"]
        self._sandbox = sandbox
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the container; return when process 1 exists."""
        receiving, sending = os.pipe()
        sandbox = self._sandbox
        as_user = []
        if self._user:
            ids = [f"--reuid={self._user}", f"--regid={self._user}", "--clear-groups"]
            as_user = ["/usr/bin/setpriv", *ids]
            # setpriv needs these two capabilities; the entry point does not get them.
            sandbox = [*sandbox, "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
        self._process = subprocess.Popen(
            [*sandbox, "--info-fd", str(sending), *as_user, *self._command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            pass_fds=(sending,),
        )
        os.close(sending)
        with os.fdopen(receiving) as info:
            text = info.read()
        self.pid = json.loads(text)["child-pid"] if text else 0

    def wait(self) -> int:
        """Wait for the end of the container; return its exit status."""
        if self._process is None:
            raise CheckError("the container was not started")
        status = self._process.wait(TIMEOUT_S)
        self._process = None
        return status

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to process 1, as ``docker kill`` and ``docker stop`` do."""
        os.kill(self.pid, number)

    def end(self) -> None:
        """End the container, if it runs."""
        if self._process is not None:
            self._process.kill()
            self.wait()
        self._log.close()

    @property
    def log(self) -> str:
        """Everything that the container has printed."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def execute(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command in the container, as ``docker exec`` does."""
        ids = [f"--setuid={self._user}", f"--setgid={self._user}"] if self._user else []
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", *ids]
        script = 'cd "$0" && exec "$@"'
        return subprocess.run(
            [*enter, "/bin/sh", "-c", script, self._working, *command],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env=self._environment,
        )

    def wait_until_healthy(self) -> None:
        """Return when the health check of the image succeeds."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            checked = self.execute(self._health)
            if checked.returncode == 0:
                return
            if self._process is None or self._process.poll() is not None:
                raise CheckError(f"the container has ended:\n{self.log}")
            if time.monotonic() > deadline:
                raise CheckError(f"not healthy: {checked.stdout}{checked.stderr}\n{self.log}")
            time.sleep(_CHECK_S)

    def client(self, *names: str) -> str:
        """Create znodes if they do not exist, read them, and return the names of all znodes."""
        command = ["nsenter", f"--target={self.pid}", "--net", sys.executable, "-c", _CLIENT]
        done = subprocess.run(
            [*command, *names], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        if done.returncode:
            raise CheckError(f"the client failed: {done.stderr}\n{self.log}")
        return done.stdout.strip()

    def status_lines(self) -> dict[str, str]:
        """Return the lines of ``/proc/PID/status`` of process 1, for example its user."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@contextmanager
def started(container: Container) -> Iterator[Container]:
    """Start a container, and end it at the end of the block."""
    try:
        container.start()
        yield container
    finally:
        container.end()


def expect(found: object, wanted: object, what: str) -> None:
    """Raise CheckError if two values differ."""
    if found != wanted:
        raise CheckError(f"{what}: {found!r} instead of {wanted!r}")


def stopped(container: Container, number: signal.Signals, status: int) -> None:
    """Send a signal, and check the exit status."""
    container.kill(number)
    found = container.wait()
    if found != status:
        raise CheckError(f"{number.name}: exit status {found}, not {status}\n{container.log}")


# --- The checks


class Checks:
    """The checks; each one gets new, empty volumes that belong to root."""

    def __init__(self, directory: Path) -> None:
        self.image = directory
        self.work = Path(tempfile.mkdtemp(prefix="zoolet-image-"))
        self.work.chmod(0o755)

    def volumes(self, owner: int = 0) -> dict[str, Path]:
        """Return new directories for the three volumes."""
        base = Path(tempfile.mkdtemp(dir=self.work))
        base.chmod(0o755)
        found = {f"/{name}": base / name for name in ("data", "datalog", "logs")}
        for path in found.values():
            path.mkdir()
            os.chown(path, owner, owner)
        return found

    def check_default_start(self) -> None:
        """Root starts the image: the volumes and the server belong to user 1000."""
        volumes = self.volumes()
        with started(Container(self.image, volumes)) as container:
            container.wait_until_healthy()
            expect(container.client("first"), "first", "the znodes")
            status = container.status_lines()
            expect(status["Uid"].split(), ["1000"] * 4, "the user of process 1")
            expect(status["Gid"].split(), ["1000"] * 4, "the group of process 1")
            expect(status["Groups"], "1000", "the groups of process 1")
            expect(int(status["CapEff"], 16), 0, "the capabilities of process 1")
            expect("(compiled)" in container.log, True, "compiled, as the log says")
            self._check_owners(volumes)
            expect((volumes["/data"] / "myid").read_text(), "1\n", "myid")
            stopped(container, signal.SIGTERM, 128 + signal.SIGTERM)
            expect("every acknowledged change is on disk" in container.log, True, "a clean stop")
        with started(Container(self.image, volumes)) as container:
            container.wait_until_healthy()
            expect(container.client("second"), "first second", "the znodes after a restart")
            stopped(container, signal.SIGKILL, 128 + signal.SIGKILL)
        with started(Container(self.image, volumes)) as container:
            container.wait_until_healthy()
            expect(container.client(), "first second", "the znodes after kill -9")
            stopped(container, signal.SIGINT, 128 + signal.SIGINT)

    def _check_owners(self, volumes: Mapping[str, Path]) -> None:
        for volume in volumes.values():
            for path in (volume, *volume.rglob("*")):
                expect(path.stat().st_uid, USER, f"the owner of {path}")

    def check_other_users(self) -> None:
        """The image starts as user 1000 and as any other user that owns the volumes."""
        for user in (USER, OTHER_USER):
            volumes = self.volumes(user)
            with started(Container(self.image, volumes, user=user)) as container:
                container.wait_until_healthy()
                expect(container.client("mine"), "mine", f"the znodes of user {user}")
                expect(container.status_lines()["Uid"].split()[0], str(user), "the user")
                stopped(container, signal.SIGTERM, 128 + signal.SIGTERM)

    def check_refusals(self) -> None:
        """A start that cannot succeed ends with one sentence and Apache ZooKeeper's status."""
        three = " ".join(f"server.{n}=zoo{n}:2888:3888;2181" for n in (1, 2, 3))
        container = Container(self.image, self.volumes(), variables={"ZOO_SERVERS": three})
        self._check_refusal(container, 2, "sets up an ensemble (3 servers)")
        container = Container(self.image, self.volumes(), user=OTHER_USER)
        self._check_refusal(container, 1, "cannot write in ZOO_DATA_DIR")
        container = Container(self.image, self.volumes(), has_capabilities=False)
        self._check_refusal(container, 1, "Start the container with the capabilities")

    def _check_refusal(self, container: Container, status: int, said: str) -> None:
        with started(container):
            expect(container.wait(), status, f"the exit status of: {said}")
            expect(said in container.log, True, f"{said}, in:\n{container.log}")
            expect("Traceback" in container.log, False, "a traceback")

    def check_settings(self) -> None:
        """Variables, flags and a mounted zoo.cfg are settings; the admin endpoint is reachable."""
        variables = {
            "ZOO_MY_ID": "7",
            "ZOO_4LW_COMMANDS_WHITELIST": "conf,ruok",
            "ZOO_CFG_EXTRA": "maxSessionTimeout=70000 preAllocSize=64",
            "JVMFLAGS": "-Xmx1g -Dzookeeper.maxCnxns=900",
        }
        volumes = self.volumes()
        with started(Container(self.image, volumes, variables=variables)) as container:
            # srvr is not in the whitelist, so its answer is a refusal.
            container.wait_until_healthy()
            expect((volumes["/data"] / "myid").read_text(), "7\n", "myid")
            answer = self._ask(container, "http://127.0.0.1:8080/commands/configuration")
            expect(answer["max_session_timeout"], 70000, "maxSessionTimeout")
            expect("-Xmx1g is ignored" in container.log, True, "a flag without effect")
            expect("admin *:8080" in container.log, True, "the address of the admin endpoint")
        mounted = self.work / "conf"
        mounted.mkdir()
        (mounted / "zoo.cfg").write_text(
            "dataDir=/data\ndataLogDir=/datalog\nclientPort=2181\ntickTime=777\n"
        )
        mounts = {"/conf": mounted}
        with started(Container(self.image, self.volumes(), read_only=mounts)) as container:
            container.wait_until_healthy()
            answer = self._ask(container, "http://127.0.0.1:8080/commands/configuration")
            expect(answer["tick_time"], 777, "tickTime of the mounted zoo.cfg")
            done = container.execute(["zkServer.sh", "status"])
            expect("Mode: standalone" in done.stdout, True, "zkServer.sh status")
            done = container.execute(["bin/zkCli.sh", "-server", "127.0.0.1:2181", "ls", "/"])
            expect("[zookeeper]" in done.stdout, True, f"zkCli.sh: {done.stdout}{done.stderr}")

    def _ask(self, container: Container, url: str) -> dict[str, Any]:
        script = (
            f"import urllib.request as r; print(r.urlopen({url!r}, timeout=20).read().decode())"
        )
        done = container.execute(["/opt/zoolet/bin/python", "-c", script])
        if done.returncode:
            raise CheckError(f"{url}: {done.stderr}")
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def check_commands(self) -> None:
        """Another command is executed as given, as root, and its exit status is the container's."""
        for command, status, said in (
            (["sh", "-c", "id -u; exit 7"], 7, "0\n"),
            (["zoolet", "--version"], 0, "compiled"),
            (["cat", f"{_TMP}/zoolet-conf/zoo.cfg"], 0, "dataDir=/data\n"),
            (["no-such-program"], 127, "no-such-program cannot be executed"),
        ):
            with started(Container(self.image, self.volumes(), command=command)) as container:
                expect(container.wait(), status, f"the exit status of {command}")
                expect(said in container.log, True, f"{said} in: {container.log}")


def main() -> None:
    """Run all checks, and print each one."""
    if len(sys.argv) != 2 or os.geteuid() != 0:
        sys.exit("Run as root: check_rootfs.py DIRECTORY, the directory of build_rootfs.py.")
    checks = Checks(Path(sys.argv[1]).resolve())
    steps: list[Callable[[], None]] = [
        checks.check_default_start,
        checks.check_other_users,
        checks.check_refusals,
        checks.check_settings,
        checks.check_commands,
    ]
    try:
        for step in steps:
            step()
            sys.stdout.write(f"ok: {step.__doc__}\n")
            sys.stdout.flush()
    except CheckError as error:
        sys.exit(f"failed: {error}")
    finally:
        shutil.rmtree(checks.work)


if __name__ == "__main__":
    main()
