"""The program that ``ServerProcess()`` runs: a server with its data in memory.

Usage: python -m zoolet.testing.servers.memory ZOO_CFG
"""

import logging
import os
import sys
from pathlib import Path

from zoolet.process import collector
from zoolet.server.cli.running import run
from zoolet.server.zoo_cfg.reading import read_config
from zoolet.testing.servers.memory_disk import MemoryDisk

if __name__ == "__main__":
    collector.configure()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    run(read_config(Path(sys.argv[1]), environment=os.environ), MemoryDisk())
