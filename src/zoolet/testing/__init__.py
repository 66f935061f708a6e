"""What tests of code that uses ZooKeeper need: servers of their own.

Owns starting, stopping, killing and restarting a real server process on a free port. May import all
of zoolet.
"""

from zoolet.testing.process import ServerProcess

__all__ = ["ServerProcess"]
