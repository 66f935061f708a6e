"""``python -m zoolet``: the ``zoolet`` command."""

import sys

# Python puts the working directory first, so a queue.py there would be imported instead of Python's
# own. The installed command does not have it either.
if not sys.flags.safe_path and sys.path:
    del sys.path[0]

from zoolet.cli import main

main()
