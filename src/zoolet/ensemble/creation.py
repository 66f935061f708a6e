"""Creates the directories of the members of an ensemble from the data of one stopped server.

The order of the steps keeps two histories apart. First the directories are written under a
temporary name and checked. Then the marker is written into the server's directory. Last, the
directories get their names. So members never exist while the old server can still start.
"""

import contextlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from zoolet.data.directory_reader import directories_of
from zoolet.ensemble.checking import Finding, check_copies
from zoolet.ensemble.configurations import (
    Needs,
    Places,
    java_env,
    java_options,
    member_config,
    notes_on_members,
)
from zoolet.ensemble.copying import (
    copy_data,
    directories_in,
    has_log_directory,
    places_of,
)
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.member_directories import (
    CONFIG_NAME,
    JAVA_ENV_NAME,
    LOG_NAME,
    MYID_NAME,
    find_member,
)
from zoolet.ensemble.members import Member, check_members
from zoolet.ensemble.new_directory import (
    NewDirectory,
    check_is_new,
    check_space,
    leftovers_of,
    new_directory,
)
from zoolet.ensemble.stopped_data import (
    StoppedData,
    locked,
    read_epoch,
    read_stopped_data,
)
from zoolet.model.learner import epoch_of
from zoolet.server.zoo_cfg.config import Config
from zoolet.server.zoo_cfg.properties import Property, parse_properties
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.server.zoo_cfg.settings import read_settings_text
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import (
    Marker,
    check_not_marked,
    read_marker,
    remove_marker,
    write_marker,
)
from zoolet.storage.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from zoolet.storage.files import DataDirectories, by_zxid


class Created(NamedTuple):
    """The result of a creation.

    Attributes:
        members: the members with their directories.
        findings: the findings of the check of the directories.
        zxid: the last zxid of the data.
        java_options: the settings that Apache reads only as Java's system properties.
        notes: what the user must know.
    """

    members: tuple[tuple[Member, Path], ...]
    findings: tuple[Finding, ...]
    zxid: int
    java_options: dict[str, int]
    notes: tuple[str, ...]


class _Source(NamedTuple):
    """The server whose data the members get."""

    config_path: Path
    properties: tuple[Property, ...]
    config: Config
    directories: DataDirectories


def create_ensemble(
    disk: Disk,
    config_path: Path,
    members: Sequence[Member],
    new_path: Path,
    named: Places | None = None,
) -> Created:
    """Create ``new_path`` with a directory for each member; return what was done.

    Args:
        disk: the disk.
        config_path: the zoo.cfg of the stopped server.
        members: the members; a member without a client port gets that of the server.
        new_path: the new directory.
        named: the directories that each member's zoo.cfg names; None for those that are created.

    Raises EnsembleError, ConfigError, StorageError or OSError; then nothing was created, and the
    server can start again.
    """
    source = _source_of(config_path)
    members = [_with_client_port(member, source.config) for member in members]
    check_members(members)
    check_is_new(new_path.absolute())
    with locked(disk, source.directories):
        check_not_marked(disk, source.directories)
        data = read_stopped_data(disk, source.directories)
        check_space(new_path, data.size_bytes * len(members))
        notes = list(data.notes)
        notes += notes_on_members(source.properties, members)
        notes += [
            f"{path} is left from an interrupted command: remove it"
            for path in leftovers_of(new_path)
        ]
        with new_directory(disk, new_path) as directory:
            epoch = _write_members(disk, directory, source, data, members, named)
            findings = _checked(directory, members, data)
            marker = _marker(data, epoch, directory.path, members)
            _publish(disk, source.directories, marker, directory)
    return Created(
        tuple((member, directory.path / str(member.number)) for member in members),
        findings,
        data.machine.zxid,
        java_options(source.properties, Needs(data.has_ttl, data.largest_bytes)),
        tuple(notes),
    )


def _source_of(config_path: Path) -> _Source:
    config = read_config(config_path)
    properties = tuple(parse_properties(read_settings_text(config_path)))
    directories = directories_of(config.data_dir.absolute(), _absolute(config.data_log_dir))
    return _Source(config_path, properties, config, directories)


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def _with_client_port(member: Member, config: Config) -> Member:
    """Return the member with a port for clients."""
    if member.client_port is not None or not config.client_port:
        return member
    return member._replace(client_port=config.client_port)


def _write_members(
    disk: Disk,
    directory: NewDirectory,
    source: _Source,
    data: StoppedData,
    members: Sequence[Member],
    named: Places | None,
) -> int:
    """Write the directories of all members under the temporary name; return their epoch."""
    current = max(epoch_of(data.machine.zxid), read_epoch(source.directories, CURRENT_EPOCH) or 0)
    accepted = max(current, read_epoch(source.directories, ACCEPTED_EPOCH) or 0)
    needs = Needs(data.has_ttl, data.largest_bytes)
    options = java_options(source.properties, needs)
    owner = source.directories.snapshots.parent
    has_log_dir = has_log_directory(data.directories)
    if named is not None:
        has_log_dir = named.data_log_dir is not None
    for member in members:
        home = directory.unfinished / str(member.number)
        copied = directories_in(home, has_log_dir=has_log_dir)
        copy_data(disk, directory, data, data.machine, copied)
        versioned = copied.snapshots
        directory.write(versioned / CURRENT_EPOCH, f"{current}\n", owner)
        directory.write(versioned / ACCEPTED_EPOCH, f"{accepted}\n", owner)
        directory.write(versioned.parent / MYID_NAME, f"{member.number}\n", owner)
        final = directories_in(directory.path / str(member.number), has_log_dir=has_log_dir)
        places = named or places_of(final)
        text = member_config(source.properties, members, member, places, needs)
        directory.write(home / CONFIG_NAME, text, owner, mode_of=source.config_path)
        if options:
            directory.write(home / JAVA_ENV_NAME, java_env(options), owner)
    directory.sync()
    return accepted


def _checked(
    directory: NewDirectory, members: Sequence[Member], data: StoppedData
) -> tuple[Finding, ...]:
    """Return the findings about the new directories; raises EnsembleError if one is wrong."""
    paths = [directory.unfinished / str(member.number) for member in members]
    found = [find_member(path, is_unpublished=True) for path in paths]
    unfinished = check_copies(found, data)
    findings = tuple(
        finding._replace(text=finding.text.replace(str(directory.unfinished), str(directory.path)))
        for finding in unfinished
    )
    wrong = [finding.text for finding in findings if not finding.is_sound]
    if wrong:
        raise EnsembleError(
            f"the new directories are not as they must be: {'; '.join(wrong)}. Repeat the command,"
            " and report this error if it happens again."
        )
    return findings


def _marker(data: StoppedData, epoch: int, path: Path, members: Sequence[Member]) -> Marker:
    time = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    paths = tuple(str(path / str(member.number)) for member in members)
    return Marker(data.machine.zxid, epoch, time, paths)


def _publish(
    disk: Disk, directories: DataDirectories, marker: Marker, directory: NewDirectory
) -> None:
    """Write the marker, then give the new directory its name.

    After an error the marker is removed, unless the new directory has its name already.
    """
    try:
        write_marker(disk, directories, marker)
        directory.rename()
    except (OSError, EnsembleError):
        with contextlib.suppress(OSError):
            remove_marker(disk, directories)
        raise
    directory.sync_name()


def undo_ensemble(disk: Disk, path: Path, *, discards_changes: bool = False) -> Marker:
    """Remove the marker from a data directory, so that a server can start there again.

    Raises EnsembleError if there is no marker. Also raises it if one of the members has been
    started, unless ``discards_changes``.
    """
    directories = find_member(path).directories
    with locked(disk, directories):
        marker = read_marker(disk, directories)
        if marker is None:
            raise EnsembleError(
                f"{directories.snapshots} has no marker of an ensemble: a server can start there."
            )
        started = [member for member in marker.members if _was_started(Path(member), marker)]
        if started and not discards_changes:
            raise EnsembleError(
                f"the member in {started[0]} has been started: its changes would be missing in"
                f" {directories.snapshots.parent}. To return to one server with all changes, run:"
                " zoolet ensemble import. To give up the changes, add --discard-changes."
            )
        remove_marker(disk, directories)
    return marker


def _was_started(path: Path, marker: Marker) -> bool:
    """Return whether a member has taken part in an election or has written txns.

    False if its data are not on this machine any more.
    """
    directories = directories_in(path, has_log_dir=(path / LOG_NAME).is_dir())
    try:
        epoch = read_epoch(directories, ACCEPTED_EPOCH)
        zxids = [
            zxid
            for place, kind in zip(directories, ("snapshot", "log"), strict=True)
            for zxid, _ in by_zxid([found.name for found in place.iterdir()], kind)
        ]
    except FileNotFoundError:
        return False
    except EnsembleError:  # the file has changed
        return True
    return epoch != marker.epoch or max(zxids, default=0) > marker.zxid
