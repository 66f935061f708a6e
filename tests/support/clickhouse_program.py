"""Runs statements in ClickHouse: its server as a library, with its own client of ZooKeeper.

The arguments are the configuration and a directory for data. The statements come as a JSON list on
the standard input; a JSON list of their answers, or of their errors, goes to the standard output.
"""

import importlib
import json
import os
import sys
from typing import Any


def main() -> None:
    """Run the statements."""
    config, directory = sys.argv[1:]
    chdb: Any = importlib.import_module("chdb.session")
    session = chdb.Session(f"{directory}?config-file={config}")
    answers = []
    for statement in json.load(sys.stdin):
        try:
            answers.append(str(session.query(statement, "TSV")).strip())
        except RuntimeError as error:
            answers.append(f"error: {error}")
    sys.stdout.write(json.dumps(answers))
    sys.stdout.flush()
    os._exit(0)  # the end of the library waits for tables in ZooKeeper


if __name__ == "__main__":
    main()
