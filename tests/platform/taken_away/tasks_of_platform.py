"""The loader and the task of the platform tests."""

import subprocess
import sys
from typing import Any


def load(dataset: str, groupid: str) -> list[str]:
    return [dataset, groupid]


def greet(group: list[str], parameters: dict[str, Any]) -> dict[str, Any]:
    """Print, and let a child print, as tasks do."""
    print(f"hello {parameters['name'][:10]}")
    subprocess.run([sys.executable, "-S", "-c", "print('hello from a child')"], check=True)
    return {"group": group, "name": parameters["name"]}
