"""Features that kazoo's client lacks.

This package contains the requests of ZooKeeper 3.5 to 3.9 that kazoo does not have (for any
started KazooClient), watches that survive the loss of a connection, and four-letter words with
replies of any length. Invariants: a call returns the content of the server's reply, or raises
kazoo's error for it; paths are relative to the client's chroot. Imports ``model`` and kazoo.

Provisional: these names may change in any release (docs/releases.md).
"""

from zoolet.client.kazoo.calls import (
    call,
    count_descendants,
    create,
    create_request,
    full_path,
    get_config,
    get_ephemerals,
    multi_async,
    multi_read,
    multi_read_async,
    who_am_i,
)
from zoolet.client.kazoo.four_letter_words import ask
from zoolet.client.kazoo.watches import Watches, WatchEvent, WatchKind

__all__ = [
    "WatchEvent",
    "WatchKind",
    "Watches",
    "ask",
    "call",
    "count_descendants",
    "create",
    "create_request",
    "full_path",
    "get_config",
    "get_ephemerals",
    "multi_async",
    "multi_read",
    "multi_read_async",
    "who_am_i",
]
