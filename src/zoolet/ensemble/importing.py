"""Makes the data directory of one server from the directories of the members of an ensemble.

The members' directories are never changed. The new server continues the data of the member with the
highest (currentEpoch, last zxid): every acknowledged txn is there if the directories are those of a
majority. Source: ``FastLeaderElection.totalOrderPredicate``.

The new server begins an epoch that no member has used. Clients may have seen the zxid that begins
the last epoch although no txn has it; a server with a lower zxid would refuse these clients. The
epoch is much higher than the last one. If somebody starts the members again by mistake, they elect
leaders of lower epochs. So they refuse the clients that have seen a zxid of the new server.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from zoolet.console.reporting import text_of
from zoolet.data.comparing import differences
from zoolet.data.directory_reader import directories_of, state_of
from zoolet.ensemble.configurations import standalone_config
from zoolet.ensemble.copying import (
    copy_data,
    directories_in,
    has_log_directory,
    places_of,
)
from zoolet.ensemble.errors import EnsembleError
from zoolet.ensemble.member_directories import (
    CONFIG_NAME,
    MYID_NAME,
    MemberDirectory,
    observers_in,
)
from zoolet.ensemble.members import majority_of
from zoolet.ensemble.new_directory import (
    NewDirectory,
    check_is_new,
    check_space,
    leftovers_of,
    new_directory,
)
from zoolet.ensemble.stopped_data import (
    NoDataError,
    StoppedData,
    check_stopped,
    check_unchanged,
    listing_of,
    read_epoch,
    read_stopped_data,
)
from zoolet.model import paths
from zoolet.model.learner import epoch_of, first_zxid_of
from zoolet.server.zoo_cfg.properties import PropertiesError, parse_properties
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk
from zoolet.storage.ensemble_marker import read_marker
from zoolet.storage.epochs import ACCEPTED_EPOCH, CURRENT_EPOCH
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories

EPOCH_STEP: Final = 100
"""The number of epochs between the last one of the members and that of the new server."""


class Candidate(NamedTuple):
    """The directory of a member, and how new its data are.

    Attributes:
        member: the member.
        current_epoch: the epoch of the last leader whose data the member had; None if unknown.
        accepted_epoch: the highest epoch that the member has promised to a leader.
        zxid: the last zxid; None if the data cannot be read.
        error: why the data cannot be read; "" if they can.
        has_data: whether there are data, readable or not.
    """

    member: MemberDirectory
    current_epoch: int | None
    accepted_epoch: int
    zxid: int | None
    error: str
    has_data: bool

    @property
    def position(self) -> tuple[int, int]:
        """The value by which an election selects the leader."""
        return self.current_epoch or 0, self.zxid or 0


class Imported(NamedTuple):
    """The result of an import.

    Attributes:
        candidates: all directories.
        selected: the one whose data were used.
        path: the new directory.
        config_path: the new zoo.cfg; None if no zoo.cfg of the member was found.
        zxid: the zxid of the new server.
        num_znodes: the number of znodes.
        num_sessions: the number of sessions.
        notes: what the user must know.
    """

    candidates: tuple[Candidate, ...]
    selected: Candidate
    path: Path
    config_path: Path | None
    zxid: int
    num_znodes: int
    num_sessions: int
    notes: tuple[str, ...]


def import_ensemble(
    disk: Disk,
    members: Sequence[MemberDirectory],
    new_path: Path,
    *,
    needs_majority: bool = True,
) -> Imported:
    """Create ``new_path`` with the data of the newest member; return what was done.

    Raises EnsembleError if a member that cannot be read might be newer. Also raises it if the
    directories are not those of a majority, unless ``needs_majority`` is false. After an error,
    nothing was created.
    """
    _check_names(disk, members)
    check_is_new(new_path.absolute())
    before = [listing_of(member.directories) for member in members]
    candidates = tuple(_candidate(disk, member) for member in members)
    selected = _select(candidates)
    data = read_stopped_data(disk, selected.member.directories)
    notes = list(data.notes)
    notes += _check_majority(candidates, data.machine, needs_majority)
    notes += [
        f"{path} is left from an interrupted command: remove it" for path in leftovers_of(new_path)
    ]
    notes += _access_notes(selected.member)
    check_space(new_path, data.size_bytes)
    zxid = first_zxid_of(max(_epochs(candidates)) + EPOCH_STEP)
    machine = _standalone(data.machine, zxid)
    with new_directory(disk, new_path) as directory:
        config_path = _write(disk, directory, selected.member, data, machine)
        for member, listing in zip(members, before, strict=True):
            check_unchanged(member.directories, listing)
        has_log_dir = has_log_directory(data.directories)
        _check_copy(directories_in(directory.unfinished, has_log_dir=has_log_dir), machine)
        directory.rename()
    directory.sync_name()
    return Imported(
        candidates,
        selected,
        directory.path,
        None if config_path is None else directory.path / CONFIG_NAME,
        zxid,
        len(machine.tree),
        len(machine.sessions),
        tuple(notes),
    )


def _check_names(disk: Disk, members: Sequence[MemberDirectory]) -> None:
    """Raise EnsembleError if the directories cannot be those of the members of one ensemble."""
    seen: dict[Path, MemberDirectory] = {}
    numbers: dict[int, MemberDirectory] = {}
    for member in members:
        directories_of(member.data_dir, member.directories.logs.parent)
        home = member.directories.snapshots.resolve()
        if home in seen:
            raise EnsembleError(f"{member.path} and {seen[home].path} are the same directory.")
        seen[home] = member
        if member.number is not None:
            if (other := numbers.get(member.number)) is not None:
                raise EnsembleError(
                    f"{member.path} and {other.path} both have the number {member.number} in"
                    f" {MYID_NAME}: name only the directories of one ensemble."
                )
            numbers[member.number] = member
        if read_marker(disk, member.directories) is not None:
            raise EnsembleError(
                f"{member.path} is the old directory of the server from which the ensemble was"
                " created: name only directories of members."
            )
        check_stopped(member.homes)


def _candidate(disk: Disk, member: MemberDirectory) -> Candidate:
    current, accepted = None, 0
    try:
        accepted = read_epoch(member.directories, ACCEPTED_EPOCH) or 0
        current = read_epoch(member.directories, CURRENT_EPOCH)
        zxid = read_stopped_data(disk, member.directories).machine.zxid
    except (EnsembleError, StorageError, OSError) as error:
        has_data = not isinstance(error, NoDataError)
        return Candidate(member, current, accepted, None, text_of(error), has_data)
    # A member that has crashed may have txns of an epoch that is not in the file yet.
    epoch = max(epoch_of(zxid), current or 0)
    return Candidate(member, epoch, max(accepted, epoch), zxid, "", has_data=True)


def _select(candidates: Sequence[Candidate]) -> Candidate:
    """Return the newest candidate; raises EnsembleError if an unreadable one might be newer."""
    readable = [candidate for candidate in candidates if candidate.zxid is not None]
    if not readable:
        raise EnsembleError(
            f"no directory can be read: {candidates[0].error if candidates else 'none was named.'}"
        )
    selected = max(readable, key=lambda candidate: candidate.position)
    for candidate in candidates:
        if candidate.zxid is None and not _is_older(candidate, selected):
            raise EnsembleError(
                f"{candidate.member.name} cannot be read, and it might be newer than"
                f" {selected.member.name}: {candidate.error} Restore its files. If the other"
                " directories are those of a majority, you can also leave this one out: each"
                " acknowledged change is in one of them."
            )
    return selected


def _is_older(candidate: Candidate, selected: Candidate) -> bool:
    """Return whether an unreadable candidate is certainly older: empty, or of an earlier epoch."""
    if not candidate.has_data:
        return (candidate.current_epoch or 0) <= selected.position[0]
    is_known = candidate.current_epoch is not None
    return is_known and (candidate.current_epoch or 0) < selected.position[0]


def _epochs(candidates: Sequence[Candidate]) -> Iterator[int]:
    for candidate in candidates:
        yield candidate.accepted_epoch
        yield candidate.current_epoch or 0


def _check_majority(
    candidates: Sequence[Candidate], machine: StateMachine, needs_majority: bool
) -> Iterator[str]:
    """Yield notes; raise EnsembleError if too few participants are readable."""
    servers = _servers(candidates, machine)
    if not servers:
        yield (
            "neither the data nor a zoo.cfg name the members of the ensemble: check that a majority"
            " of the directories was named, or acknowledged changes may be missing"
        )
        return
    observers = observers_in(servers)
    participants = set(servers) - observers
    readable = [
        candidate
        for candidate in candidates
        if candidate.zxid is not None and candidate.member.number not in observers
    ]
    wanted = majority_of(len(participants))
    if len(readable) >= wanted:
        return
    named = {candidate.member.number for candidate in readable}
    missing = ", ".join(map(str, sorted(participants - {number for number in named if number})))
    text = (
        f"only {len(readable)} of the {len(participants)} participants can be read, and {wanted}"
        f" are a majority: acknowledged changes may be missing. Participants without a readable"
        f" directory: {missing}"
    )
    if needs_majority:
        raise EnsembleError(
            f"{text}. Name their directories too. If they are lost, add --without-majority."
        )
    yield text


def _access_notes(member: MemberDirectory) -> Iterator[str]:
    """Yield a note if the new server accepts clients from all networks."""
    address = member.client[0] if member.client else member.value("clientPortAddress")
    if member.config_path is not None and not address:
        yield (
            "the server accepts clients on all addresses of its machine: add clientPortAddress to"
            " its zoo.cfg if that is wrong"
        )


def _servers(candidates: Sequence[Candidate], machine: StateMachine) -> dict[int, str]:
    """Return the members of the ensemble: as the data say, or else as a zoo.cfg says."""
    node = machine.tree.find(paths.CONFIG)
    try:
        text = (node.data or b"" if node is not None else b"").decode(errors="replace")
        found = {
            int(number): value
            for key, value, _ in parse_properties(text)
            if key.startswith("server.") and (number := key.removeprefix("server.")).isdecimal()
        }
    except PropertiesError:
        found = {}
    if found:
        return found
    return max((candidate.member.servers for candidate in candidates), key=len, default={})


def _standalone(machine: StateMachine, zxid: int) -> StateMachine:
    """Change the state of a member to that of one server, and return it."""
    if paths.CONFIG in machine.tree.records:
        machine.tree.replace_data(paths.CONFIG, b"")  # it named the members
    return StateMachine(machine.tree, machine.sessions, zxid)


def _write(
    disk: Disk,
    directory: NewDirectory,
    member: MemberDirectory,
    data: StoppedData,
    machine: StateMachine,
) -> Path | None:
    """Write the new directory under its temporary name; return the path of its zoo.cfg."""
    has_log_dir = has_log_directory(data.directories)
    targets = directories_in(directory.unfinished, has_log_dir=has_log_dir)
    copy_data(disk, directory, data, machine, targets)
    owner = data.directories.snapshots.parent
    config_path = None
    if member.config_path is not None:
        config_path = directory.unfinished / CONFIG_NAME
        places = places_of(directories_in(directory.path, has_log_dir=has_log_dir))
        text = standalone_config(member.properties, member.client, places, member.java_options)
        directory.write(config_path, text, owner, mode_of=member.config_path)
    directory.sync()
    return config_path


def _check_copy(directories: DataDirectories, machine: StateMachine) -> None:
    """Raise EnsembleError unless a server would start with this state."""
    copied = state_of(directories).machine
    if copied.zxid != machine.zxid or any(True for _ in differences(machine, copied)):
        raise EnsembleError(
            f"the copy in {directories.snapshots} differs from the member: repeat the command, and"
            " report this error if it happens again."
        )
