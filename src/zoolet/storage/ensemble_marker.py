"""The marker in a data directory whose data were given to an ensemble.

After that, a server must not start in the directory: its changes and those of the ensemble would be
two histories, and one of them would be lost. The marker is a file in ``version-2`` of the dataDir.
Apache ZooKeeper ignores the file. Only its existence counts: a server also refuses to start if the
content cannot be read.
"""

from pathlib import Path
from typing import Final, NamedTuple

from zoolet.storage.disk import Disk
from zoolet.storage.errors import StorageError
from zoolet.storage.files import DataDirectories, replace_file

MARKER_NAME: Final = "ensemble.json"


class Marker(NamedTuple):
    """What the marker says about the ensemble; empty values if the file cannot be read.

    Attributes:
        zxid: the last zxid of the data that the members got.
        epoch: the epoch in the members' files ``acceptedEpoch`` and ``currentEpoch``.
        time: the time at which the marker was written, in ISO 8601.
        members: the directories of the members, as absolute paths on this machine.
    """

    zxid: int
    epoch: int
    time: str
    members: tuple[str, ...]


def marker_path(directories: DataDirectories) -> Path:
    """Return the path of the marker."""
    return directories.snapshots / MARKER_NAME


def read_marker(disk: Disk, directories: DataDirectories) -> Marker | None:
    """Return the marker; None if the directory has no marker."""
    path = marker_path(directories)
    if MARKER_NAME not in disk.list_names(path.parent):
        return None
    import json  # noqa: PLC0415 -- an empty server does not need it

    try:
        found = json.loads(disk.read(path))
        members = tuple(str(member) for member in found["members"])
        return Marker(int(found["zxid"], 16), int(found["epoch"]), str(found["time"]), members)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return Marker(0, 0, "", ())


def write_marker(disk: Disk, directories: DataDirectories, marker: Marker) -> None:
    """Write the marker; return when it is on disk. Raises OSError."""
    import json  # noqa: PLC0415 -- an empty server does not need it

    shown = marker._asdict() | {"zxid": f"{marker.zxid:x}"}
    replace_file(disk, marker_path(directories), f"{json.dumps(shown, indent=2)}\n".encode())


def remove_marker(disk: Disk, directories: DataDirectories) -> None:
    """Remove the marker if it exists; return when this is on disk. Raises OSError."""
    path = marker_path(directories)
    disk.remove(path)
    disk.sync_directory(path.parent)


def check_not_marked(disk: Disk, directories: DataDirectories) -> None:
    """Raise StorageError if the data of this directory were given to an ensemble."""
    marker = read_marker(disk, directories)
    if marker is None:
        return
    import shlex  # noqa: PLC0415 -- an empty server does not need it

    data_dir = directories.snapshots.parent
    since = f" on {marker.time}" if marker.time else ""
    members = f" ({', '.join(marker.members)})" if marker.members else ""
    raise StorageError(
        f"the data in {data_dir} were given to the members of an ensemble{since}{members}. A server"
        " that starts here would not have the changes of the ensemble. Start the members instead."
        " To return to one server, run: zoolet ensemble import. If no member has ever been started,"
        f" run: zoolet ensemble undo {shlex.quote(str(data_dir))}"
    )
