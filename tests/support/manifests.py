"""The validators for manifests, in the virtual environment of the tools that check files."""

import json
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".cache" / "tools" / "check" / "bin"
TIMEOUT_S = 90

_TO_JSON = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"


def run_tool(name: str, *arguments: str | Path, text: str = "") -> str:
    """Run a validator and return its output; skips if it is not installed."""
    program = TOOLS / name
    if not program.exists():
        pytest.skip(f"{name} is not installed: run make check-workflows")
    return run([program, *arguments], text)


def run(command: Sequence[str | Path], text: str = "") -> str:
    """Run a command and return its output; fails if the command fails."""
    completed = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout + completed.stderr


@cache
def load_yaml(path: Path) -> list[Any]:
    """Return the documents of a YAML file."""
    documents: list[Any] = json.loads(run_tool("python", "-c", _TO_JSON, text=path.read_text()))
    return documents
