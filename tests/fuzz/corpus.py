"""The inputs in the repository: one file for each target, with one input in base64 on each line."""

import base64
from pathlib import Path

from tests.fuzz.targets import TARGETS

DIRECTORY = Path(__file__).parent / "corpus"


def corpus_file(name: str) -> Path:
    """Return the file with the inputs of a target."""
    return DIRECTORY / f"{name}.txt"


def inputs_of(name: str) -> list[bytes]:
    """Return the seeds of a target, and the inputs in its file."""
    path = corpus_file(name)
    lines = path.read_text("ascii").splitlines() if path.exists() else []
    return [*TARGETS[name].seeds, *(base64.b64decode(line, validate=True) for line in lines)]


def write_inputs(name: str, inputs: set[bytes]) -> None:
    """Write the inputs of a target, except its seeds: the shortest first, in a fixed order."""
    kept = sorted(inputs - set(TARGETS[name].seeds), key=lambda data: (len(data), data))
    DIRECTORY.mkdir(exist_ok=True)
    corpus_file(name).write_text("".join(f"{base64.b64encode(data).decode()}\n" for data in kept))
