"""The ZooKeeper version that the server reports, and its release date.

A release changes ``BUILT_ON`` together with ``zoolet.__version__``. The text has the form of Apache
ZooKeeper's ``Version.getFullVersion``, because monitoring tools parse it. This module must import
nothing except the version of the package.
"""

from zoolet import __version__

ZOOKEEPER_VERSION = "3.9.5"
"""The version of Apache ZooKeeper with which the server is compatible."""

BUILT_ON = "2026-11-28 00:00 UTC"
"""The release date, as ``yyyy-MM-dd HH:mm UTC``, the form that Apache's ``VerGen`` requires."""

FULL_VERSION = f"{ZOOKEEPER_VERSION}-zoolet-{__version__}, built on {BUILT_ON}"
"""The version that ``srvr``, ``stat``, ``mntr`` and ``envi`` show."""
