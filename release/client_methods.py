"""Makes the methods of the client for threads from those of `AsyncClient`.

Usage: python -m release.client_methods

So both clients have the same methods. tests/unit/client/test_client_methods.py checks that the made
modules are those of the current source.
"""

import re
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[1] / "src/zoolet/client"
SOURCE: Final = CLIENT / "asyncio_client/methods.py"
NOTE: Final = (
    "Made by `release.client_methods` from `zoolet.client.asyncio_client.methods`: change that.\n"
)

_INTRODUCTION: Final = re.compile(r"`release.client_methods` makes .*?results\.\n", re.DOTALL)
_RESULT: Final = re.compile(r"-> Future\[(.*)\]:$", re.MULTILINE)


def blocking(source: str) -> str:
    """Return the module of the methods that wait for their results."""
    made = _INTRODUCTION.sub(NOTE, source)
    made = made.replace("methods that return a future", "methods that wait for the result")
    made = made.replace("from asyncio import Future\n", "").replace("AsyncRequests", "Requests")
    return _RESULT.sub(r"-> \1:", made)


def futures(source: str) -> str:
    """Return the module of the methods that return futures of threads."""
    made = _INTRODUCTION.sub(NOTE, source).replace("AsyncRequests", "FutureRequests")
    made = made.replace("from asyncio import Future\n", "")
    made = made.replace(
        "from zoolet.model.stat import Stat\n",
        "from zoolet.client.thread_client.futures import CallFuture\n"
        "from zoolet.model.stat import Stat\n",
    )
    imports = sorted(re.findall(r"^from zoolet.*\n", made, re.MULTILINE))
    begin, end = made.index("from zoolet"), made.rindex("from zoolet.model.stat import Stat\n")
    made = (
        made[:begin] + "".join(imports) + made[end + len("from zoolet.model.stat import Stat\n") :]
    )
    return _RESULT.sub(r"-> CallFuture[\1]:", made)


MADE: Final = {
    CLIENT / "thread_client/methods.py": blocking,
    CLIENT / "thread_client/future_methods.py": futures,
}
"""The made modules, and the function that makes each."""


def main() -> None:
    """Write the made modules."""
    source = SOURCE.read_text()
    for path, make in MADE.items():
        path.write_text(make(source))


if __name__ == "__main__":
    main()
