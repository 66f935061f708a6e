"""zoolet: ZooKeeper for Python in one ``pip install``.

A coordination server that speaks ZooKeeper's protocol and keeps ZooKeeper's files, the tools
around it, and a job system on kazoo. ARCHITECTURE.md says what each package owns.
"""

__version__ = "0.1.0"
