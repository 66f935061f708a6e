"""The health check of the container image: does the server answer?

``python -m zoolet.server.cli.container_health [ZOO_CFG]`` sends the four-letter word ``srvr`` to
the client port. The server is healthy if it gives any answer, because an answer shows that its
event loop runs, and that the disk has what the answer shows. So the check also succeeds if
``4lw.commands.whitelist`` lacks ``srvr``: then the answer is a refusal. The check opens no session,
because that would write to the transaction log.

The exit status is 0 (healthy) or 1. Without the argument, the check reads the zoo.cfg that the
entry point (``container``) has found or written.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from zoolet.console.os_errors import explain
from zoolet.server.cli.container import config_path
from zoolet.server.cli.control import ask, client_address
from zoolet.server.cli.environment import Environment
from zoolet.server.common.errors import ConfigError, ServerError
from zoolet.server.zoo_cfg.reading import read_config

_WORD = "srvr"


def check(path: Path, variables: Mapping[str, str]) -> str:
    """Return the reason why the server that uses a zoo.cfg is not healthy; "" if it is healthy."""
    try:
        config = read_config(path, Environment.read(variables).flags.properties)
        answer = ask(config, _WORD)
    except (ConfigError, ServerError) as error:
        return str(error)
    except OSError as error:
        return explain(error)
    if answer.strip():
        return ""
    address, port = client_address(config)
    return f"the server at {address}:{port} closed the connection without an answer to {_WORD}."


def main() -> None:
    """Print the reason if the server is not healthy, and exit with the status."""
    arguments = sys.argv[1:]
    path = Path(arguments[0]) if arguments else config_path(os.environ)
    reason = check(path, os.environ)
    sys.stdout.write(f"{reason or 'healthy'}\n")
    sys.exit(1 if reason else 0)


if __name__ == "__main__":
    main()
