"""What an error of the operating system means for the person who reads it."""

import errno
from typing import Final

_ADVICE: Final = {
    errno.EACCES: "Give this user the right to use it, or run as the user who owns it",
    errno.EPERM: "Give this user the right to use it, or run as the user who owns it",
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file: name a directory",
    errno.EISDIR: "This is a directory: name a file",
    errno.EEXIST: "Remove it, or use another name",
    errno.ENOTEMPTY: "Remove what is in it, or use another name",
    errno.ELOOP: "Its symbolic links form a loop: correct them",
    errno.ENAMETOOLONG: "Use a shorter path",
    errno.ENOSPC: "Make room on this disk",
    errno.EDQUOT: "Make room, or raise the disk quota of this user",
    errno.EFBIG: "Raise the limit of the file size (ulimit -f)",
    errno.EROFS: "The file system is read-only: mount it writable, or use another path",
    errno.EMFILE: "Raise the limit of open files (ulimit -n)",
    errno.ENFILE: "Raise the limit of open files of this machine (fs.file-max)",
    errno.EIO: "Check the disk: the system log has the details",
    errno.ESTALE: "Mount the network file system again",
    errno.ENOMEM: "Free memory on this machine, or raise the limit of this process",
    errno.EAGAIN: "Another process uses it: try again later",
    errno.EADDRINUSE: "Stop the process that uses the port, or choose another port",
    errno.EADDRNOTAVAIL: "This machine does not have the address: use one that it has",
    errno.ECONNREFUSED: "Check that the server runs",
}


def explain(error: OSError) -> str:
    """Return one line: what the error is about, its reason, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    if error.filename2 is not None:
        where = f"{error.filename} -> {error.filename2}: "
    advice = _ADVICE.get(error.errno or 0, "")
    return f"{where}{reason}.{advice and ' ' + advice + '.'}"
