"""The server: the part of zoolet with the server's sockets, clock and event loop.

This package contains zoo.cfg, the listening sockets and connections, the processing of requests
(*prepare, append, apply, sync, release*: ``pipeline.processor``), the four-letter words, and the
start and stop of the server. One thread holds all state and runs the event loop. A second thread
only writes and syncs the log, and a third thread writes snapshots. The package imports ``model``,
``wire``, ``state_machine`` and ``storage``.
"""
