"""What kazoo's client lacks: requests, watches that stay, and four-letter words of any length.

Owns the requests of ZooKeeper 3.5 to 3.9 that kazoo does not know, written over kazoo's own
serialisation, so that any started KazooClient can send them, and the watches that outlive a
connection. What holds: a call returns what the server answered, or raises kazoo's error for it;
paths are the client's, under its chroot. Imports ``model`` and kazoo.
"""

from zoolet.client.calls import (
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
from zoolet.client.four_letter_words import ask
from zoolet.client.watches import Watches, WatchEvent, WatchKind
from zoolet.model.acl import ACL, Id
from zoolet.model.codes import AddWatchMode, CreateMode, EventType, WatcherType

__all__ = [
    "ACL",
    "AddWatchMode",
    "CreateMode",
    "EventType",
    "Id",
    "WatchEvent",
    "WatchKind",
    "WatcherType",
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
