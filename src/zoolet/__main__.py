"""``python -m zoolet``: the ``zoolet`` command."""

import sys

# ``python -m`` puts the working directory first in sys.path, so a queue.py there would be imported
# instead of Python's own. The installed command does not search the working directory either.
if not sys.flags.safe_path and sys.path:
    del sys.path[0]

from zoolet.entry import main

main()
