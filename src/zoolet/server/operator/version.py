"""Which ZooKeeper the server claims to be, and when it was released.

A release changes ``BUILT_ON`` together with ``zoolet.__version__``. The text has the form of Apache
ZooKeeper's ``Version.getFullVersion``: monitoring tools take it apart. Must not import anything but
the version of the package.
"""

from zoolet import __version__

ZOOKEEPER_VERSION = "3.9.5"
"""The version of Apache ZooKeeper whose behaviour the server has."""

BUILT_ON = "2026-11-28 00:00 UTC"
"""The date of the release, as ``yyyy-MM-dd HH:mm UTC``: the form that Apache's ``VerGen`` takes."""

FULL_VERSION = f"{ZOOKEEPER_VERSION}-zoolet-{__version__}, built on {BUILT_ON}"
"""What ``srvr``, ``stat``, ``mntr`` and ``envi`` show."""
