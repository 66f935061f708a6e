"""mypy accepts the examples of docs/client.md with its strictest settings."""

import subprocess
import sys
from pathlib import Path

from tests.support.pages import ROOT, read_page


def test_mypy_accepts_the_examples(tmp_path: Path) -> None:
    page = read_page(ROOT / "docs" / "client.md")
    examples = [block for block in page.blocks if block.language == "python" and block.file]
    assert len(examples) == 7
    for block in examples:
        (tmp_path / block.file).write_text(block.content)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--disallow-any-expr"),
            *("--cache-dir", str(tmp_path / "cache"), "--config-file", ""),
            *(str(tmp_path / block.file) for block in examples),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout
