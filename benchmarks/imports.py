"""How long the imports of zoolet take, beside kazoo's.

Each figure is the median processor time of ROUNDS new processes, less that of an empty program.
Usage: python -m benchmarks.imports.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from release.sizes import IMPORTS, import_s


def main() -> None:
    """Measure and print."""
    table = Table("import", "processor time")
    for module in (*IMPORTS, "zoolet.cli", "zoolet.server.cli.running", "zoolet.shell.main"):
        table.add_row(module, f"{import_s(Path(sys.executable), module) * 1000:.0f} ms")
    Console().print(table)


if __name__ == "__main__":
    main()
