"""Compares the directories of the members of an ensemble before the first start.

This module changes no files.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from zoolet.console.reporting import text_of
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import directories_of
from zoolet.ensemble.configurations import MAX_BUFFER, TTL_KEY, Needs
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.member_directories import MYID_NAME, MemberDirectory
from zoolet.ensemble.stopped_data import (
    StoppedData,
    check_stopped,
    read_epoch,
    read_stopped_data,
)
from zoolet.model.ensemble import LARGEST_ID
from zoolet.model.limits import DEFAULT_MAX_FRAME_BYTES
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import read_marker
from zoolet.storage.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from zoolet.storage.errors import StorageError

_MOST_DIFFERENCES: Final = 5


class Finding(NamedTuple):
    """A result of the check.

    Attributes:
        is_sound: whether the ensemble can start as far as this finding says.
        text: the description, for people.
    """

    is_sound: bool
    text: str


class _Found(NamedTuple):
    """The content of a member's directory."""

    member: MemberDirectory
    data: StoppedData
    epochs: tuple[int | None, int | None]


class _Reference(NamedTuple):
    """The state and the settings with which those of each member are compared.

    ``name`` is the place of the state, ``member`` the first member that can be read.
    """

    name: str
    machine: StateMachine
    member: MemberDirectory
    epochs: tuple[int | None, int | None]


def check_copies(
    members: Sequence[MemberDirectory], source: StoppedData | None = None
) -> Iterator[Finding]:
    """Yield the findings about the members' directories, and about all of them together.

    The state of each member is compared with ``source``, or else with that of the first member.
    """
    reference: _Reference | None = None
    for member in members:
        try:
            found = _read(member)
        except (EnsembleError, StorageError, OSError) as error:
            yield Finding(False, f"{member.name}: {text_of(error)}")
            continue
        machine = found.data.machine
        yield Finding(
            True,
            f"{member.name}: {len(machine.tree)} znodes, {len(machine.sessions)} sessions, zxid"
            f" 0x{machine.zxid:x}, epoch {found.epochs[1]}",
        )
        if reference is None:
            name = member.name if source is None else str(source.directories.snapshots)
            original = machine if source is None else source.machine
            reference = _Reference(name, original, member, found.epochs)
        for text in (*_faults_of(found), *_compared(reference, found)):
            yield Finding(False, f"{member.name}: {text}")
        del found, machine  # before the next tree is read
    yield from _together(members)


def _read(member: MemberDirectory) -> _Found:
    directories_of(member.data_dir, member.directories.logs.parent)
    check_stopped(member.homes)
    epochs = tuple(read_epoch(member.directories, name) for name in (ACCEPTED_EPOCH, CURRENT_EPOCH))
    return _Found(member, read_stopped_data(Disk(), member.directories), (epochs[0], epochs[1]))


def _faults_of(found: _Found) -> Iterator[str]:
    """Yield what is wrong with one member."""
    member, data, (accepted, current) = found
    if member.number is None:
        yield f"{member.data_dir / MYID_NAME} is missing: write the member's number into the file"
    elif not 1 <= member.number <= LARGEST_ID:
        yield f"the number in {MYID_NAME} must be from 1 to {LARGEST_ID}"
    if read_marker(Disk(), member.directories) is not None:
        yield "this is the old directory of the server, not the directory of a member"
    for path in data.damaged:
        yield f"{path} is damaged"
    if accepted is None or current is None:
        yield "the directory has no epoch files: it was not made by zoolet ensemble create"
    if member.config_path is None:
        return
    if member.servers and member.number not in member.servers:
        yield f"{member.config_path} has no line server.{member.number}"
    yield from _missing_settings(member, data)


def _missing_settings(member: MemberDirectory, data: StoppedData) -> Iterator[str]:
    if data.has_ttl and member.value(TTL_KEY).lower() != "true":
        yield f"there are TTL znodes, but {member.config_path} does not have {TTL_KEY}=true"
    needed = Needs(data.has_ttl, data.largest_bytes).least_max_buffer
    if member.java_options.get(MAX_BUFFER, DEFAULT_MAX_FRAME_BYTES) < needed:
        yield (
            f"the largest txn has {data.largest_bytes} bytes: start Java with"
            f" -D{MAX_BUFFER}={needed} (SERVER_JVMFLAGS)"
        )


def _compared(reference: _Reference, found: _Found) -> Iterator[str]:
    """Yield the differences between the reference and a member."""
    ours, theirs, other = reference.machine, found.data.machine, reference.member
    if ours.zxid != theirs.zxid:
        yield f"the zxid is 0x{theirs.zxid:x}, but 0x{ours.zxid:x} in {reference.name}"
    if reference.epochs != found.epochs:
        yield f"the epochs are {found.epochs}, but {reference.epochs} in {other.name}"
    if other.servers != found.member.servers:
        yield f"the server.N lines are not those of {other.name}"
    if ours is theirs:
        return
    for number, (sign, path, _) in enumerate(differences(ours, theirs)):
        if number == _MOST_DIFFERENCES:
            yield "there are more differences: run zoolet data diff"
            break
        yield f"differs from {reference.name}: {sign} {path}"


def _together(members: Sequence[MemberDirectory]) -> Iterator[Finding]:
    """Yield what is wrong with all members together."""
    if len(members) < len(("one", "another")):
        yield Finding(False, "name the directories of all members: there is nothing to compare")
    numbers = [member.number for member in members if member.number is not None]
    for number in sorted({number for number in numbers if numbers.count(number) > 1}):
        yield Finding(False, f"two directories have the number {number} in {MYID_NAME}")
    listed = {number for member in members for number in member.servers}
    for number in sorted(listed - set(numbers)):
        yield Finding(True, f"member {number} was not named, and was not compared")
