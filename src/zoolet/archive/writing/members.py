"""The configuration of the observer that feeds an archiver."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from zoolet.archive.errors import ArchiveError
from zoolet.archive.writing.proof import OTHER_HISTORY_ADVICE
from zoolet.archive.writing.status import log
from zoolet.client import Client, ClientOptions, ZooKeeperError
from zoolet.model.ensemble import LARGEST_ID, EnsembleConfig
from zoolet.server.common.errors import ConfigError
from zoolet.server.zoo_cfg.config import NO_CLIENTS, Config
from zoolet.server.zoo_cfg.properties import PropertiesError, parse_properties
from zoolet.server.zoo_cfg.reading import parse_config
from zoolet.server.zoo_cfg.settings import read_settings_text
from zoolet.wire.ensemble_config import decode_config
from zoolet.wire.jute import MalformedError

_CONFIG_PATH: Final = "/zookeeper/config"
_CONNECT_TIMEOUT_S: Final = 15.0
_KNOWN_NAME: Final = "members.json"
_FIRST_ID: Final = 128
"""Members usually have small numbers."""

_LIMITS: Final = {"tickTime": "2000", "initLimit": "30", "syncLimit": "10"}
"""The leader has its own limits; these end a link on which the leader is silent."""

_KEPT: Final = (
    "initLimit",
    "jute.maxbuffer",
    "quorum.auth.enableSasl",
    "quorum.auth.learnerRequireSasl",
    "server.",
    "group.",
    "weight.",
    "ssl.quorum.",
    "sslQuorum",
    "syncLimit",
    "tickTime",
    "dynamicConfigFile",
    "zoolet.quorum",
)
"""The keys, or their beginnings, that the archiver takes from a zoo.cfg of the ensemble."""


_STANDALONE_ADVICE: Final = (
    "For a standalone server, run the archiver on its machine, with --from-dir DATADIR in place of"
    " --from or --config."
)


class UnreachableError(ArchiveError):
    """No server of the ensemble answers."""


def known_lines(hosts: str, work_dir: Path) -> dict[str, str]:
    """Return the same lines as ``lines_of_servers``; if no server answers, those of the last start.

    So an archiver also starts while the ensemble has no leader. Raises ArchiveError.
    """
    path = work_dir / _KNOWN_NAME
    try:
        lines = lines_of_servers(hosts)
    except UnreachableError as error:
        try:
            stored: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))[hosts]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise error from None
        log.warning("%s The members of the last start are used.", error)
        return stored
    work_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({hosts: lines}), encoding="utf-8")
    return lines


def lines_of_servers(hosts: str) -> dict[str, str]:
    """Return the lines ``server.N`` of the ensemble that serves clients at ``hosts``.

    Raises UnreachableError if no server answers, and ArchiveError if the server is not a member of
    an ensemble.
    """
    options = ClientOptions(connect_timeout_s=_CONNECT_TIMEOUT_S)
    try:
        with Client(hosts, options) as client:
            data, _ = client.get(_CONFIG_PATH)
    except ZooKeeperError as error:
        raise UnreachableError(
            f"the members of the ensemble at {hosts} cannot be read from {_CONFIG_PATH}:"
            f" {str(error).rstrip('.')}. Correct --from, or give --config with the zoo.cfg of a"
            " member."
        ) from error
    try:
        config = decode_config(data or b"")
    except MalformedError as error:
        raise ArchiveError(
            f"{_CONFIG_PATH} at {hosts} cannot be read: {error}. Give --config with the zoo.cfg of"
            " a member."
        ) from error
    if not config.participants():
        raise ArchiveError(
            f"the server at {hosts} is not a member of an ensemble, so it sends no txns to"
            f" observers. {_STANDALONE_ADVICE}"
        )
    return _lines(config)


def _lines(config: EnsembleConfig) -> dict[str, str]:
    lines = {}
    for member in config.members.values():
        places = "|".join(f"{each.quorum}:{each.election_port}" for each in member.addresses)
        role = "participant" if member.is_participant else "observer"
        lines[f"server.{member.id}"] = f"{places}:{role}"
    return lines


def lines_of_file(path: Path) -> dict[str, str]:
    """Return the settings of a member's zoo.cfg that concern its ensemble; raises ConfigError."""
    try:
        properties = list(parse_properties(read_settings_text(path)))
    except PropertiesError as error:
        raise ConfigError(f"{path}:{error.line}: {error.reason}.") from error
    lines = {key: value for key, value, _ in properties if key.startswith(_KEPT)}
    if not any(key.startswith(("server.", "dynamicConfigFile")) for key in lines):
        raise ConfigError(
            f"{path} has no lines server.N, so it is the zoo.cfg of a standalone server."
            f" {_STANDALONE_ADVICE}"
        )
    return lines


def observer_config(
    work_dir: Path, lines: Mapping[str, str], my_id: int | None, source: Path
) -> Config:
    """Return the configuration of the observer in ``work_dir``, and write its file ``myid``.

    ``source`` names the origin of ``lines`` in messages. Raises ConfigError.
    """
    _write_id(work_dir / "myid", lines, my_id)
    settings = {
        **_LIMITS,
        **lines,
        "dataDir": str(work_dir),
        "clientPort": "0",
        "peerType": "observer",
        "admin.enableServer": "false",
    }
    text = "".join(f"{key}={_escaped(value)}\n" for key, value in settings.items())
    config = parse_config(text, source)
    if config.observer is None:
        raise AssertionError("peerType=observer gives an observer")
    message = (
        f"the ensemble of {source} has another history than {work_dir}, which has the newest state"
        f" of the archive: they have no session and no znode in common. {OTHER_HISTORY_ADVICE}"
    )
    observer = config.observer._replace(other_history=message)
    return config._replace(client_port=NO_CLIENTS, tls=None, observer=observer)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\")


def _write_id(path: Path, lines: Mapping[str, str], my_id: int | None) -> None:
    used = {int(key[7:]) for key in lines if key.startswith("server.") and key[7:].isdecimal()}
    if my_id is None:
        try:
            stored = int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            stored = 0
        free = [each for each in range(_FIRST_ID, LARGEST_ID + 1) if each not in used]
        my_id = stored if stored in free else random.choice(free)  # noqa: S311 -- no secret
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{my_id}\n", encoding="ascii")
