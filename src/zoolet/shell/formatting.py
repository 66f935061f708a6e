"""How names, data and Stats are printed: as the original prints them, and never raw bytes."""

import time
from collections.abc import Iterable

from kazoo.protocol.states import ZnodeStat


def format_data(data: bytes | None) -> str:
    r"""Return data as text; bytes that are no text, and control characters, as ``\xNN``.

    A line feed and a tab stand as they are.
    """
    if data is None:
        return "null"
    return printable(data.decode("utf-8", "backslashreplace"), also="\n\t")


def printable(text: str, also: str = "") -> str:
    """Return ``text`` with every character that could change the terminal escaped."""
    return "".join(
        character
        if character.isprintable() or character in also
        else character.encode("unicode_escape").decode()
        for character in text
    )


def format_names(names: Iterable[str]) -> str:
    """Return children as ``[a, b]``, sorted."""
    return f"[{', '.join(printable(name) for name in sorted(names))}]"


def format_stat(stat: ZnodeStat) -> str:
    """Return a Stat, a field a line, under the original's names."""
    return "\n".join(
        (
            f"cZxid = 0x{stat.czxid:x}",
            f"ctime = {_format_time(stat.ctime)}",
            f"mZxid = 0x{stat.mzxid:x}",
            f"mtime = {_format_time(stat.mtime)}",
            f"pZxid = 0x{stat.pzxid:x}",
            f"cversion = {stat.cversion}",
            f"dataVersion = {stat.version}",
            f"aclVersion = {stat.aversion}",
            f"ephemeralOwner = 0x{stat.ephemeralOwner & 0xFFFFFFFFFFFFFFFF:x}",
            f"dataLength = {stat.dataLength}",
            f"numChildren = {stat.numChildren}",
        )
    )


def _format_time(time_ms: int) -> str:
    """Return a time as Java's ``Date`` prints it, in this machine's zone."""
    local = time.localtime(time_ms / 1000)
    return time.strftime("%a %b %d %H:%M:%S %Z %Y", local)
