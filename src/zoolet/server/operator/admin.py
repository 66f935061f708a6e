"""The admin endpoint: ``GET /commands/NAME`` returns JSON.

Source: the administrator's guide of ZooKeeper 3.9, "The AdminServer", and Apache ZooKeeper's
``server.admin.Commands`` for names and fields. ``snapshot`` and ``restore`` are in ``backup``.
Invariant: an answer is produced in steps, and its text is never in memory as a whole.
"""

import itertools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import TypeVar

from zoolet.model.numbers import hex64
from zoolet.server.operator.answers import in_chunks
from zoolet.server.operator.four_letter_words import flat_figures
from zoolet.server.operator.http import Exchange, Page, Request, Response, Upload, text
from zoolet.server.operator.inspection import Inspector
from zoolet.server.operator.json_chunks import PAUSE, Entries, Items, Later, encode
from zoolet.server.operator.roles import Role
from zoolet.server.operator.version import FULL_VERSION

Answer = dict[str, object]
Steps = Generator[None, None, Answer]
"""A generator that returns an answer and pauses at each ``yield``."""

Command = Callable[[Inspector, dict[str, str]], Answer | Steps]

T = TypeVar("T")

_NO_SIZES = {"last_buffer_size": -1, "min_buffer_size": -1, "max_buffer_size": -1}
"""zoolet does not measure the sizes of replies; Apache ZooKeeper shows -1 if it has no sizes."""

DEFAULT_LIMIT = 1000
MAX_LIMIT = 100_000
"""The default and the greatest number of watches that ``watch_details`` shows."""


class ArgumentError(ValueError):
    """An argument of a command is invalid; the message says which arguments are valid."""


def admin_page(inspector: Inspector, root: str, pages: Mapping[str, Page] | None = None) -> Page:
    """Return the page that answers the commands below ``root``, for example ``/commands``.

    ``pages`` has the pages of further commands, by their names. The list of commands has only the
    first name of each page.
    """
    others = pages or {}
    first_names = {page: name for name, page in reversed(list(others.items()))}
    names = sorted((*_PRIMARY, *first_names.values()))
    listing = "<br/>\n".join(f'<a href="{root}/{name}">{name}</a>' for name in names)

    def page(request: Request, exchange: Exchange) -> Upload | None:
        name = request.path.removeprefix(f"{root}/")
        if request.path.rstrip("/") == root:
            body = iter([listing.encode()])
            exchange.respond(Response(HTTPStatus.OK, "text/html; charset=utf-8", body))
        elif not request.path.startswith(f"{root}/"):
            exchange.respond(text(HTTPStatus.NOT_FOUND, f"the commands are at {root}"))
        elif name in others:
            return others[name](request, exchange)
        elif request.method not in {"GET", "HEAD"}:
            message = "use the method GET for this command"
            exchange.respond(text(HTTPStatus.METHOD_NOT_ALLOWED, message))
        else:
            exchange.respond(_run(inspector, name, request.query))
        return None

    return page


def needed_role(root: str) -> Callable[[Request], Role]:
    """Return the function that says which role a request for a command below ``root`` needs."""

    def needed(request: Request) -> Role:
        if request.path.rstrip("/") == root:
            return Role.READ_ONLY
        name = request.path.removeprefix(f"{root}/")
        return Role.READ_ONLY if _NAMES.get(name, name) in READ_ONLY_COMMANDS else Role.FULL

    return needed


def json_response(
    status: HTTPStatus, answer: Answer, headers: tuple[tuple[str, str], ...] = ()
) -> Response:
    """Return a response with an answer in JSON."""
    chunks = _encoded(encode(answer))
    return Response(status, "application/json", chunks, headers)


def _run(inspector: Inspector, name: str, arguments: dict[str, str]) -> Response:
    primary = _NAMES.get(name)
    if primary is None:
        answer: Answer = {"command": name, "error": f"Unknown command: {name}"}
        return json_response(HTTPStatus.NOT_FOUND, answer)

    def make() -> Steps:
        made = _COMMANDS[primary](inspector, arguments)
        if not isinstance(made, dict):
            made = yield from made
        return {**made, "command": primary, "error": made.get("error")}

    def pieces() -> Iterator[str]:
        made = yield from _with_pauses(make())
        yield from encode(made)

    def failed(error: Exception) -> Response:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        if isinstance(error, ArgumentError):
            status = HTTPStatus.BAD_REQUEST
        return json_response(status, {"command": primary, "error": str(error)})

    return Response(
        HTTPStatus.OK,
        "application/json",
        _encoded(pieces()),
        is_large=primary in _LARGE,
        failed=failed,
    )


def _encoded(pieces: Iterator[str]) -> Iterator[bytes]:
    """Yield the pieces of a text in chunks, followed by a line end."""
    for chunk in in_chunks(itertools.chain(pieces, ["\n"])):
        yield chunk.encode("utf-8", "replace")


def _with_pauses(steps: Generator[None, None, T]) -> Generator[str, None, T]:
    """Run steps; yield a pause for each step and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield ""


def _paused(values: Iterable[T | None]) -> Iterator[object]:
    """Yield the values, and a PAUSE for each None."""
    for value in values:
        yield PAUSE if value is None else value


def _configuration(inspector: Inspector, _arguments: dict[str, str]) -> Steps:
    shown = yield from inspector.configuration()
    return {name: shown[key] for name, key in _CONFIGURATION.items()}


_CONFIGURATION = {
    "client_port": "clientPort",
    "data_dir": "dataDir",
    "data_log_dir": "dataLogDir",
    "tick_time": "tickTime",
    "max_client_cnxns": "maxClientCnxns",
    "min_session_timeout": "minSessionTimeout",
    "max_session_timeout": "maxSessionTimeout",
    "server_id": "serverId",
    "client_port_listen_backlog": "clientPortListenBacklog",
}


def _connections(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    return {
        "connections": Items(_paused(inspector.connections(secure=False))),
        "secure_connections": Items(_paused(inspector.connections(secure=True))),
    }


def _server_stats(inspector: Inspector, _arguments: dict[str, str]) -> Steps:
    stats = inspector.stats
    sizes = yield from inspector.directory_sizes()
    return {
        "version": FULL_VERSION,
        "read_only": inspector.is_read_only,
        "server_stats": {
            "packets_sent": stats.packets_sent,
            "packets_received": stats.packets_received,
            "fsync_threshold_exceed_count": stats.slow_syncs,
            "client_response_stats": _NO_SIZES,
            "data_dir_size": sizes["datadir_size"],
            "log_dir_size": sizes["logdir_size"],
            "provider_null": False,
            "server_state": inspector.mode,
            "last_processed_zxid": inspector.zxid,
            "outstanding_requests": inspector.outstanding_requests,
            "avg_latency": stats.latency.average_ms,
            "max_latency": stats.latency.max_ms,
            "min_latency": stats.latency.min_ms,
            "num_alive_client_connections": inspector.num_connections,
            "auth_failed_count": stats.auth_failures,
            "non_mtlsremote_conn_count": 0,
            "non_mtlslocal_conn_count": 0,
            "uptime": inspector.uptime_ms,
        },
        "client_response": _NO_SIZES,
        "node_count": inspector.znode_count,
    }


def _stats(inspector: Inspector, arguments: dict[str, str]) -> Steps:
    server_stats = yield from _server_stats(inspector, arguments)
    plain, secure = (
        Items(
            PAUSE if shown is None else {name: shown[name] for name in list(shown)[:5]}
            for shown in inspector.connections(secure=under_tls)
        )
        for under_tls in (False, True)
    )
    return {
        **server_stats,
        "connections": plain,
        "secure_connections": secure,
    }


def _dirs(inspector: Inspector, _arguments: dict[str, str]) -> Steps:
    sizes = yield from inspector.directory_sizes()
    return dict(sizes)


def _dump(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    def by_expiry() -> Iterator[object]:
        steps = inspector.sessions_by_expiry()
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                yield from stop.value.items()
                return
            yield PAUSE

    return {
        "expiry_time_to_session_ids": Entries(by_expiry()),
        "session_id_to_ephemeral_paths": Entries(
            (session_id, Items(inspector.ephemerals_of(session_id)))
            for session_id in inspector.sessions_with_ephemerals()
        ),
    }


def _watches(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    by_session = inspector.watches_by_session()
    return {
        "session_id_to_watched_paths": Entries(
            (session_id, Items(paths)) for session_id, paths in by_session
        )
    }


def _watches_by_path(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    return {
        "path_to_session_ids": Entries(
            PAUSE if watched is None else (watched[0], Items(watched[1]))
            for watched in inspector.watches_by_path()
        )
    }


def _watch_details(inspector: Inspector, arguments: dict[str, str]) -> Answer:
    """Return the watches that match ``path``, ``session`` and ``address``, up to ``limit``."""
    unknown = sorted(arguments.keys() - {"path", "session", "address", "limit"})
    if unknown:
        raise ArgumentError(
            f"watch_details has no argument {unknown[0]}: give path, session, address or limit"
        )
    limit = _number("limit", arguments.get("limit", str(DEFAULT_LIMIT)))
    if not 1 <= limit <= MAX_LIMIT:
        raise ArgumentError(f"limit={limit} is not from 1 to {MAX_LIMIT}")
    session = arguments.get("session")
    found = inspector.watch_details(
        arguments.get("path"),
        None if session is None else _number("session", session),
        arguments.get("address"),
    )
    has_more = False

    def limited() -> Iterator[object]:
        nonlocal has_more
        num_shown = 0
        for watch in found:
            if watch is None:
                yield PAUSE
            elif num_shown == limit:
                has_more = True
                return
            else:
                num_shown += 1
                yield watch

    return {
        "limit": limit,
        "watches": Items(limited()),
        "has_more": Later(lambda: has_more),
    }


def _number(name: str, value: str) -> int:
    """Return a number, decimal or hexadecimal (four-letter words show session ids like 0x1f)."""
    try:
        return int(value, 16 if value.lower().startswith("0x") else 10)
    except ValueError as error:
        raise ArgumentError(f"{name}={value} is not a number, such as 10 or 0x1f") from error


def _set_trace_mask(inspector: Inspector, arguments: dict[str, str]) -> Answer:
    wanted = arguments.get("traceMask")
    if wanted is None:
        return {"error": "setTraceMask requires long traceMask argument"}
    try:
        inspector.trace_mask = int(wanted)
    except ValueError:
        return {"error": f"setTraceMask requires long traceMask argument, got {wanted}"}
    return {"tracemask": inspector.trace_mask}


def _last_snapshot(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    zxid, timestamp_s = inspector.last_snapshot()
    return {"zxid": hex64(zxid), "timestamp": timestamp_s}


def _reset_connections(inspector: Inspector, _arguments: dict[str, str]) -> Steps:
    yield from inspector.reset_connections()
    return {}


def _reset_stats(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    inspector.stats.reset()
    return {}


def _monitor(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    return {"version": FULL_VERSION, "server_state": inspector.mode, **flat_figures(inspector)}


def _leader(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    """Return the leader that an observer follows, and how far the observer is behind it."""
    ensemble = inspector.ensemble
    if ensemble is None or not ensemble.leader:
        return {"error": "server is not initialized"}
    return {
        "is_leader": False,
        "leader_id": ensemble.leader_id,
        "leader_ip": ensemble.leader.rpartition(":")[0].strip("[]"),
        "leader_address": ensemble.leader,
        "lag": inspector.lag,
        "avg_release_time": ensemble.release_ms.average_ms,
        "max_release_time": ensemble.release_ms.max_ms,
    }


def _zab_state(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    ensemble = inspector.ensemble
    state = ""
    if ensemble is not None:
        state = "broadcast" if ensemble.is_serving else "election"
    return {"voting": False, "zabstate": state}


def _top(inspector: Inspector, _arguments: dict[str, str]) -> Steps:
    """Return the busiest clients, paths and operations of the last minute."""
    found = yield from inspector.busiest()
    return dict(found)


def _constant(**answer: object) -> Command:
    """Return a command that always returns the same answer."""
    return lambda _inspector, _arguments: dict(answer)


_TABLE: tuple[tuple[tuple[str, ...], Command], ...] = (
    (("connection_stat_reset", "crst"), _reset_connections),
    (("configuration", "conf", "config"), _configuration),
    (("connections", "cons"), _connections),
    (("hash",), _constant(digests=[])),
    (("dirs",), _dirs),
    (("dump",), _dump),
    (("environment", "env", "envi"), lambda inspector, _: dict(inspector.environment())),
    (("get_trace_mask", "gtmk"), lambda inspector, _: {"tracemask": inspector.trace_mask}),
    (
        ("initial_configuration", "icfg"),
        lambda inspector, _: {"initial_configuration": inspector.config.text},
    ),
    (("is_read_only", "isro"), lambda inspector, _: {"read_only": inspector.is_read_only}),
    (("last_snapshot", "lsnp"), _last_snapshot),
    (("leader", "lead"), _leader),
    (("monitor", "mntr"), _monitor),
    (("observer_connection_stat_reset", "orst"), _constant()),
    (("ruok",), _constant()),
    (("set_trace_mask", "stmk"), _set_trace_mask),
    (("server_stats", "srvr"), _server_stats),
    (("stats", "stat"), _stats),
    (("stat_reset", "srst"), _reset_stats),
    (("observers", "obsr"), _constant(synced_observers=0, observers=[])),
    (("system_properties", "sysp"), lambda inspector, _: dict(inspector.config.settings)),
    (("top", "topk"), _top),
    (("voting_view",), _constant(current_config={})),
    (("watches", "wchc"), _watches),
    (("watches_by_path", "wchp"), _watches_by_path),
    (("watch_details",), _watch_details),
    (("watch_summary", "wchs"), lambda inspector, _: dict(inspector.watch_summary())),
    (("zabstate",), _zab_state),
)
"""The names and the function of each command; answers contain the first name."""

_PRIMARY = [names[0] for names, _ in _TABLE]
_NAMES = {name: names[0] for names, _ in _TABLE for name in names}
_COMMANDS = {names[0]: command for names, command in _TABLE}

FULL_COMMANDS = frozenset(
    {
        "connection_stat_reset",
        "observer_connection_stat_reset",
        "set_trace_mask",
        "stat_reset",
    }
)
"""The commands of this module that change something; they need the role full."""

READ_ONLY_COMMANDS = frozenset({*_PRIMARY} - FULL_COMMANDS)
"""The commands for which the role read-only is enough. All others need the role full, also those of
``backup``."""

_LARGE = frozenset({"dump", "top", "watches", "watches_by_path", "watch_details"})
"""The commands that copy a table or its keys (``answers.Answer``)."""
