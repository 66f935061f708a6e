"""``python -m zoolet.shell``: the same as ``zkCli.sh``."""

import sys

from zoolet.shell.main import main

sys.exit(main(sys.argv[1:]))
