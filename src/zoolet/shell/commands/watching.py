"""Commands about watches: addWatch, removewatches, printwatches, watch."""

import argparse
import queue
from collections.abc import Iterator

from zoolet.client.errors import NoNodeError
from zoolet.client.protocol.watches import Resynced
from zoolet.exports.lines import show_data
from zoolet.model.codes import AddWatchMode, EventType, WatcherType
from zoolet.model.results import Event
from zoolet.shell.answers import Answer
from zoolet.shell.commands.arguments import Option
from zoolet.shell.commands.registry import command
from zoolet.shell.context import Context
from zoolet.shell.errors import UsageError
from zoolet.shell.formatting import format_data, show_event, show_removed

_VERBS = {
    EventType.NODE_CREATED: "created",
    EventType.NODE_DELETED: "deleted",
    EventType.NODE_DATA_CHANGED: "changed",
    EventType.NODE_CHILDREN_CHANGED: "children",
}

_WATCHER_TYPES = {
    "c": WatcherType.CHILDREN,
    "d": WatcherType.DATA,
    "p": WatcherType.PERSISTENT,
    "r": WatcherType.PERSISTENT_RECURSIVE,
    "a": WatcherType.ANY,
}


@command(
    "addWatch path",
    "add a persistent watch on a znode, or on a subtree",
    Option(
        *("m", "mode of the watch (default PERSISTENT_RECURSIVE)", "mode", str.upper),
        tuple(mode.name for mode in AddWatchMode),
    ),
)
def _add_watch(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    mode = AddWatchMode[arguments.m or AddWatchMode.PERSISTENT_RECURSIVE.name]
    context.watches.add(arguments.path, mode)
    yield Answer({"watched": arguments.path, "mode": mode.name})


@command(
    "removewatches path",
    "remove this session's watches of a znode",
    Option("c", "remove watches of the children"),
    Option("d", "remove watches of the data"),
    Option("p", "remove persistent watches"),
    Option("r", "remove persistent recursive watches"),
    Option("a", "remove all watches (the default)"),
    Option("l", "remove the watches in the shell even if no server is connected"),
    is_local=True,
)
def _remove_watches(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    if not arguments.l:
        context.connection.wait()
    chosen = next((name for name in _WATCHER_TYPES if getattr(arguments, name)), "a")
    watcher_type = _WATCHER_TYPES[chosen]
    kinds = context.watches.remove(arguments.path, watcher_type, locally=arguments.l)
    if context.prints_watches:
        yield from show_removed(kinds, arguments.path)


@command("printwatches [on|off]", "show or set whether watch events are printed", is_local=True)
def _print_watches(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    chosen = getattr(arguments, "on|off")
    if chosen not in {None, "on", "off"}:
        raise UsageError("usage: printwatches [on|off]")
    if chosen is not None:
        context.prints_watches = chosen == "on"
        return
    state = "on" if context.prints_watches else "off"
    yield Answer({"printwatches": state}, f"printwatches is {state}")


@command(
    "watch path",
    "print the changes of a znode until Ctrl-C",
    Option("R", "print the changes of the whole subtree"),
    Option("n", "stop after N events", "events", int),
    is_live=True,
)
def _watch(context: Context, arguments: argparse.Namespace) -> Iterator[Answer]:
    mode = AddWatchMode.PERSISTENT_RECURSIVE if arguments.R else AddWatchMode.PERSISTENT
    came: queue.SimpleQueue[Event | Resynced] = queue.SimpleQueue()
    context.client.add_watch(arguments.path, came.put, mode=mode)
    seen = 0
    try:
        while arguments.n is None or seen < arguments.n:
            event = came.get()
            if isinstance(event, Resynced):
                context.output.complain(
                    "The connection was lost and is restored; changes in between are not shown"
                )
                continue
            seen += 1
            yield _show_change(context, event)
    finally:
        context.client.forget_watch(arguments.path, came.put)


def _show_change(context: Context, event: Event) -> Answer:
    """Return an event; add the znode's current data if the znode was created or its data set."""
    value, line = dict(show_event(event).value), f"{_VERBS[event.type]} {event.path}"
    if event.type in {EventType.NODE_CREATED, EventType.NODE_DATA_CHANGED}:
        try:
            data, _ = context.client.get(event.path)
        except NoNodeError:  # deleted again; its event comes next
            return Answer(value, line)
        value |= show_data(data)
        line = f"{line}: {format_data(data)}"
    return Answer(value, line)
