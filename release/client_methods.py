"""Makes modules of the client for threads from those of the client for asyncio.

Usage: python -m release.client_methods

So both clients have the same methods. tests/unit/client/test_client_methods.py checks that the made
modules are those of the current sources.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

_CLIENT: Final = Path(__file__).parents[1] / "src/zoolet/client"
_ASYNCIO: Final = _CLIENT / "asyncio_client"
_THREADS: Final = _CLIENT / "thread_client"

_INTRODUCTION: Final = re.compile(r"`release.client_methods` makes .*?\.\n(?=\"\"\")", re.DOTALL)
_RESULT: Final = re.compile(r"-> Future\[(.*)\]:$", re.MULTILINE)

_WITHOUT_ASYNCIO: Final = {
    r"^.*  # asyncio only\n": "",
    r"\basync (def|for|with) ": r"\1 ",
    r"\bawait ": "",
    r"\bAsyncIterator\b": "Iterator",
    r"\bStopAsyncIteration\b": "StopIteration",
    r"__a(iter|next|enter|exit)__": r"__\1__",
    r"\bHolder\(is_cancelled=\w+\)": "Holder()",
    r"\bAwaitable, ": "",
    r"\bAwaitable\[(\w+)\]": r"\1",
    r"\bAsync(?=[A-Z])": "",
    r"\bzoolet\.client\.asyncio_client\b": "zoolet.client.thread_client",
}
"""The texts that differ in the client for threads."""


def blocking(source: str, name: str) -> str:
    """Return the module with methods that wait for their results."""
    made = _with_note(source, name).replace("from asyncio import Future\n", "")
    made = made.replace("methods that return a future.", "methods that wait for the result.", 1)
    for pattern, replacement in _WITHOUT_ASYNCIO.items():
        made = re.sub(pattern, replacement, made, flags=re.MULTILINE)
    return _formatted(_RESULT.sub(r"-> \1:", made))


def futures(source: str, name: str) -> str:
    """Return the module with methods that return futures of threads."""
    made = _with_note(source, name).replace("AsyncRequests", "FutureRequests")
    made = made.replace("from asyncio import Future\n", "")
    before = "from zoolet.model.acl import"
    imported = "from zoolet.client.thread_client.futures import CallFuture\n"
    return _RESULT.sub(r"-> CallFuture[\1]:", made.replace(before, imported + before, 1))


def _formatted(made: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "-"]
    return subprocess.run(command, input=made, capture_output=True, text=True, check=True).stdout


def _with_note(source: str, name: str) -> str:
    note = f"Made by `release.client_methods` from `asyncio_client/{name}`: change that module.\n"
    return _INTRODUCTION.sub(note, source)


MADE: Final[dict[Path, tuple[Path, Callable[[str, str], str]]]] = {
    _THREADS / "methods.py": (_ASYNCIO / "methods.py", blocking),
    _THREADS / "future_methods.py": (_ASYNCIO / "methods.py", futures),
    _THREADS / "operations.py": (_ASYNCIO / "operations.py", blocking),
    _THREADS / "watching.py": (_ASYNCIO / "watching.py", blocking),
}
MADE.update(
    {
        _THREADS / folder / source.name: (source, blocking)
        for folder in ("subtrees", "recipes")
        for source in sorted((_ASYNCIO / folder).glob("*.py"))
        if source.name != "__init__.py"
    }
)
"""Each made module: its source, and the function that makes it."""


def made_text(path: Path) -> str:
    """Return what a made module must contain."""
    source, make = MADE[path]
    return make(source.read_text(), source.relative_to(_ASYNCIO).as_posix())


def main() -> None:
    """Write the made modules."""
    for path in MADE:
        path.write_text(made_text(path))


if __name__ == "__main__":
    main()
