"""Explanations of errors and limits of the operating system, with advice for the user."""

import errno
from typing import Final

_ADVICE: Final = {
    errno.EACCES: "Give this user permission for the file or port, or run as the file's owner",
    errno.EPERM: "Give this user permission for the file or port, or run as the file's owner",
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file: name a directory",
    errno.EISDIR: "This is a directory: name a file",
    errno.EEXIST: "Remove the existing file, or use another name",
    errno.ENOTEMPTY: "Remove the content of the directory, or use another name",
    errno.ELOOP: "The symbolic links in the path form a loop: correct the links",
    errno.ENAMETOOLONG: "Use a shorter path",
    errno.ENOSPC: "Free space on this disk",
    errno.EDQUOT: "Free space on this disk, or raise the disk quota of this user",
    errno.EFBIG: "Raise the limit of the file size (ulimit -f)",
    errno.EROFS: "The file system is read-only: mount it writable, or use another path",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Raise the limit of open files of this machine (fs.file-max)",
    errno.EIO: "Check the disk: the system log has the details",
    errno.ESTALE: "Mount the network file system again",
    errno.ENOMEM: "Free memory on this machine, or raise the limit of this process",
    errno.EAGAIN: "Another process uses the resource: try again later",
    errno.EADDRINUSE: "Stop the process that uses the port, or choose another port",
    errno.EADDRNOTAVAIL: "This machine does not have the address: use an address of this machine",
    errno.ECONNREFUSED: "Check that the server runs",
}


def needs_posix(what: str) -> str:
    """Return the message for a part of zoolet that Windows does not support."""
    return (
        f"{what} needs Linux, macOS or another POSIX system. On Windows, run it in WSL or in a"
        " container. The client, the job queue and recordings also work on Windows."
    )


def explain(error: OSError) -> str:
    """Return one line with the file of an error, the reason, and advice for the user."""
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.filename2 is not None:
        where = f"{error.filename} -> {error.filename2}: "
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{where}{reason}.{advice and ' ' + advice + '.'}"
