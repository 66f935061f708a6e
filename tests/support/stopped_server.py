"""A stopped server with data of each kind, the members of an ensemble, and its commands."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from click.testing import CliRunner, Result

from tests.support.writer import Writer
from zoolet.ensemble.commands import ensemble
from zoolet.ensemble.members import Member, parse_member
from zoolet.model import requests
from zoolet.model.acl import ACL, OPEN_ACL, Id
from zoolet.model.codes import OpCode
from zoolet.model.owner_kinds import CONTAINER, TTL
from zoolet.state_machine.rules import Rules

MEMBERS = ("1=zk1:2888:3888;2181", "2=zk2:2888:3888;2181", "3=zk3:2888:3888;2181")

CONFIG = """\
# comment
dataDir={data}
clientPort=2181
tickTime=2000
4lw.commands.whitelist=srvr, ruok
"""


class StoppedServer(NamedTuple):
    """A stopped server; ``writer`` can add txns."""

    config_path: Path
    writer: Writer

    @property
    def data_dir(self) -> Path:
        return self.writer.directories.snapshots.parent

    def files(self) -> dict[Path, bytes]:
        """Return the content of each snapshot and log."""
        return {
            path: path.read_bytes()
            for path in self.writer.directories.snapshots.iterdir()
            if path.name.startswith(("snapshot.", "log."))
        }


def write_data(directory: Path) -> Writer:
    """Write snapshots and logs with an ephemeral, ACLs, a container and a TTL znode."""
    writer = Writer(directory)
    writer.create("/a", "/a/b")
    writer.snapshot()
    writer.create("/e", mode=1)
    writer.create("/secret", acl=(ACL(31, Id("digest", "u:x")),))
    writer.change(OpCode.CREATE_CONTAINER, requests.Create("/c", b"", OPEN_ACL, 4, CONTAINER))
    writer.snapshot()
    writer.change(OpCode.SET_DATA, requests.SetData("/a", b"\xff\xfe", -1))
    return writer


def stopped_server(home: Path) -> StoppedServer:
    """Write the files of a stopped server; the newest log has its zero padding."""
    writer = write_data(home / "data")
    config_path = home / "zoo.cfg"
    config_path.write_text(CONFIG.format(data=home / "data"))
    return StoppedServer(config_path, writer)


def members_of(texts: Sequence[str] = MEMBERS) -> list[Member]:
    return [parse_member(text) for text in texts]


def run(*arguments: object) -> Result:
    """Run a command of ``zoolet ensemble``."""
    result = CliRunner().invoke(ensemble, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def add_ttl(server: StoppedServer) -> None:
    """Create a TTL znode."""
    server.writer.machine.rules = Rules(allows_ttl=True)
    server.writer.change(OpCode.CREATE_TTL, requests.Create("/ttl", b"", OPEN_ACL, 5, TTL, 60_000))
