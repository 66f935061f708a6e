"""The admin endpoint: ``GET /commands/NAME`` answers JSON.

Source: the administrator's guide of ZooKeeper 3.9, "The AdminServer", and the original's
``server.admin.Commands`` for names and fields. What changes the server over HTTP with a password
(snapshot, restore) is not offered.
"""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus

from zoolet.server.fourletter import flat_figures
from zoolet.server.http import Page, Request, Respond, Response, text
from zoolet.server.inspection import VERSION, Inspector

log = logging.getLogger(__name__)

Answer = dict[str, object]
Command = Callable[[Inspector, dict[str, str]], Answer]

_NO_SIZES = {"last_buffer_size": -1, "min_buffer_size": -1, "max_buffer_size": -1}
"""Sizes of replies are not measured; this is what the original says where it has none."""


def admin_page(
    inspector: Inspector, when_durable: Callable[[Callable[[], None]], None], root: str
) -> Page:
    """Return the page that answers the commands below ``root``, ``/commands`` say."""
    listing = "<br/>\n".join(f'<a href="{root}/{name}">{name}</a>' for name in sorted(_PRIMARY))

    def page(request: Request, respond: Respond) -> None:
        if request.path.rstrip("/") == root:
            respond(Response(HTTPStatus.OK, "text/html; charset=utf-8", listing.encode()))
        elif not request.path.startswith(f"{root}/"):
            respond(text(HTTPStatus.NOT_FOUND, f"the commands are at {root}"))
        elif request.method not in {"GET", "HEAD"}:
            respond(text(HTTPStatus.METHOD_NOT_ALLOWED, "commands are asked with GET"))
        else:
            name = request.path.removeprefix(f"{root}/")
            when_durable(lambda: respond(_run(inspector, name, request.query)))

    return page


def _run(inspector: Inspector, name: str, arguments: dict[str, str]) -> Response:
    primary = _NAMES.get(name)
    if primary is None:
        answer: Answer = {"command": name, "error": f"Unknown command: {name}"}
        return _json(HTTPStatus.NOT_FOUND, answer)
    answer = _COMMANDS[primary](inspector, arguments)
    return _json(HTTPStatus.OK, {**answer, "command": primary, "error": answer.get("error")})


def _json(status: HTTPStatus, answer: Answer) -> Response:
    body = json.dumps(answer, indent=2, ensure_ascii=False) + "\n"
    return Response(status, "application/json", body.encode("utf-8", "replace"))


def _configuration(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    shown = inspector.configuration()
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
        "connections": list(inspector.connections(secure=False)),
        "secure_connections": list(inspector.connections(secure=True)),
    }


def _server_stats(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    stats, sizes = inspector.stats, inspector.directory_sizes()
    return {
        "version": VERSION,
        "read_only": False,
        "server_stats": {
            "packets_sent": stats.packets_sent,
            "packets_received": stats.packets_received,
            "fsync_threshold_exceed_count": stats.slow_syncs,
            "client_response_stats": _NO_SIZES,
            "data_dir_size": sizes["datadir_size"],
            "log_dir_size": sizes["logdir_size"],
            "provider_null": False,
            "server_state": "standalone",
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


def _stats(inspector: Inspector, arguments: dict[str, str]) -> Answer:
    plain, secure = (
        [
            {name: shown[name] for name in list(shown)[:5]}
            for shown in inspector.connections(secure=under_tls)
        ]
        for under_tls in (False, True)
    )
    return {
        **_server_stats(inspector, arguments),
        "connections": plain,
        "secure_connections": secure,
    }


def _dump(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    return {
        "expiry_time_to_session_ids": inspector.sessions_by_expiry(),
        "session_id_to_ephemeral_paths": {
            session_id: list(paths) for session_id, paths in inspector.ephemerals().items()
        },
    }


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
    return {"zxid": f"{zxid & 0xFFFFFFFFFFFFFFFF:x}", "timestamp": timestamp_s}


def _reset_connections(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    inspector.reset_connections()
    return {}


def _reset_stats(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    inspector.stats.reset()
    return {}


def _monitor(inspector: Inspector, _arguments: dict[str, str]) -> Answer:
    return {"version": VERSION, "server_state": "standalone", **flat_figures(inspector)}


def _constant(**answer: object) -> Command:
    """Return a command that always answers the same."""
    return lambda _inspector, _arguments: dict(answer)


_TABLE: tuple[tuple[tuple[str, ...], Command], ...] = (
    (("connection_stat_reset", "crst"), _reset_connections),
    (("configuration", "conf", "config"), _configuration),
    (("connections", "cons"), _connections),
    (("hash",), _constant(digests=[])),
    (("dirs",), lambda inspector, _: dict(inspector.directory_sizes())),
    (("dump",), _dump),
    (("environment", "env", "envi"), lambda inspector, _: dict(inspector.environment())),
    (("get_trace_mask", "gtmk"), lambda inspector, _: {"tracemask": inspector.trace_mask}),
    (
        ("initial_configuration", "icfg"),
        lambda inspector, _: {"initial_configuration": inspector.config.text},
    ),
    (("is_read_only", "isro"), _constant(read_only=False)),
    (("last_snapshot", "lsnp"), _last_snapshot),
    (("leader", "lead"), _constant(error="server is not initialized")),
    (("monitor", "mntr"), _monitor),
    (("observer_connection_stat_reset", "orst"), _constant()),
    (("ruok",), _constant()),
    (("set_trace_mask", "stmk"), _set_trace_mask),
    (("server_stats", "srvr"), _server_stats),
    (("stats", "stat"), _stats),
    (("stat_reset", "srst"), _reset_stats),
    (("observers", "obsr"), _constant(synced_observers=0, observers=[])),
    (("system_properties", "sysp"), lambda inspector, _: dict(inspector.config.settings)),
    (("voting_view",), _constant(current_config={})),
    (
        ("watches", "wchc"),
        lambda inspector, _: {"session_id_to_watched_paths": inspector.watches_by_session()},
    ),
    (
        ("watches_by_path", "wchp"),
        lambda inspector, _: {"path_to_session_ids": inspector.watches_by_path()},
    ),
    (("watch_summary", "wchs"), lambda inspector, _: dict(inspector.watch_summary())),
    (("zabstate",), _constant(voting=False, zabstate="")),
)
"""The names of each command, the one that answers call it by first."""

_PRIMARY = [names[0] for names, _ in _TABLE]
_NAMES = {name: names[0] for names, _ in _TABLE for name in names}
_COMMANDS = {names[0]: command for names, command in _TABLE}
