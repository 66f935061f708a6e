"""docs/operating.md names each message with which a server refuses to start or ends.

A message is found in the sources: the text of every error of ERRORS in server/ and storage/. Its
key is the beginning of the first part between two values that has three words; the page has to have
it. For a new message, add a row with the key that this test prints.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import zoolet

PACKAGE = Path(zoolet.__file__).parent
PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
ERRORS = {
    *("ServerError", "ConfigError", "error"),
    *("StorageError", "DirectoryError", "DamagedFileError"),
}
KEY_WORDS = 5
LEAST_WORDS = 3


def texts_of(node: ast.expr) -> Iterator[str]:
    """Yield the parts of a message that are written in the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        text = "".join(
            str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values
        )
        yield from text.split("\0")
    elif isinstance(node, ast.BinOp):
        yield from texts_of(node.left)
        yield from texts_of(node.right)


def key_of(call: ast.Call) -> str:
    """Return the beginning of the first part of a message that says something; "" if none does."""
    parts = [
        sentence.strip(" :,;.()'\"")
        for argument in call.args
        for text in texts_of(argument)
        for sentence in re.split(r"[.:;] ", text)
    ]
    longest = max((part for part in parts if " " in part), key=len, default="")
    telling = next((part for part in parts if len(part.split()) >= LEAST_WORDS), longest)
    return " ".join(telling.split()[:KEY_WORDS])


def keys() -> dict[str, str]:
    """Return the key of each message, with the place in the source."""
    found = {}
    for source in sorted([*PACKAGE.glob("server/**/*.py"), *PACKAGE.glob("storage/*.py")]):
        for node in ast.walk(ast.parse(source.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if name in ERRORS and not _is_logging(node.func) and (key := key_of(node)):
                    found[key] = f"{source.relative_to(PACKAGE)}:{node.lineno}"
    return found


def _is_logging(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and getattr(function.value, "id", "") in {
        "log",
        "logger",
        "logging",
    }


def plain(text: str) -> str:
    return " ".join(text.replace("`", "").replace("\\|", "|").split())


def test_each_message_of_a_refused_start_is_on_the_page() -> None:
    page = plain(PAGE.read_text())
    missing = {key: place for key, place in keys().items() if plain(key) not in page}
    assert not missing, f"docs/operating.md lacks these messages: {missing}"


def test_the_messages_are_found() -> None:
    found = keys()
    assert len(found) > 40
    assert "cannot write in the directory" in found
    assert any(place.startswith("server/zoo_cfg/listeners.py") for place in found.values())
    assert any(place.startswith("storage/txn_log.py") for place in found.values())
