"""Write start_functions.txt: the compiled functions that run when a server starts without znodes.

setup.py puts these functions together, so that an empty server uses few pages of its code. The list
need not be complete or new: a wrong name only costs memory. Needs valgrind and compiled modules.
Usage: python -m release.start_functions.
"""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from release.version import ROOT
from zoolet.testing import ServerProcess

LIST: Final = ROOT / "start_functions.txt"

_HEADER: Final = """\
# The compiled functions that a server without znodes uses. setup.py puts them together.
# Written by: python -m release.start_functions
"""
_LIBRARY: Final = "zoolet__mypyc"
_POSITION: Final = re.compile(r"(ob|fn)=\((\d+)\)(?: (.*))?")
_RUN_ONCE: Final = ("CPyExec_", "CPyInit", "PyInit_")
"""The beginnings of functions that setup.py puts together anyway; so are module bodies."""


class _Watched(ServerProcess):
    """A server under callgrind, which writes its counts when the server stops."""

    _start_timeout_s = 300.0

    @property
    def counts(self) -> Path:
        """The file that callgrind writes."""
        return self.directory / "callgrind.out"

    def _command(self) -> list[str]:
        option = f"--callgrind-out-file={self.counts}"
        return ["valgrind", "--tool=callgrind", option, *super()._command()]


def executed(counts: str) -> Iterator[str]:
    """Yield the names of the compiled functions in a file of callgrind.

    A name is written at its first use, and later only its number. Source: the manual of Valgrind,
    "Callgrind Format Specification".
    """
    names: dict[tuple[str, str], str] = {}
    library = ""
    for line in counts.splitlines():
        # Lines of called functions begin with c; they can have the first use of a name.
        found = _POSITION.fullmatch(line.removeprefix("c"))
        if found is None:
            continue
        kind, number, name = found.groups()
        text = names.setdefault((kind, number), name or "")
        if line.startswith("c"):
            continue
        if kind == "ob":
            library = text
        elif _LIBRARY in library:
            yield re.split(r"[.']", text)[0]  # without the marks of clones and recursion


def main() -> None:
    """Run a server, and write the list."""
    with tempfile.TemporaryDirectory() as directory:
        server = _Watched(Path(directory) / "server")
        server.start()
        server.ask("srvr")
        server.stop()
        found = set(executed(server.counts.read_text()))
    names = [
        name
        for name in sorted(found)
        if "___" in name and "_top_level_" not in name and not name.startswith(_RUN_ONCE)
    ]
    LIST.write_text(_HEADER + "".join(f"{name}\n" for name in names))
    subprocess.run(["git", "diff", "--stat", LIST], check=True)


if __name__ == "__main__":
    main()
