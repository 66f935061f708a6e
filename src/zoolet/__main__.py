"""``python -m zoolet``: the ``zoolet`` command."""

from zoolet.cli import main

main()
