"""Four-letter words: what an operator asks with ``echo srvr | nc``.

Source: the administrator's guide of ZooKeeper 3.9, "The Four Letter Words", and the original's
``server.command`` package for the format of the answers.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime

from zoolet.server.inspection import VERSION, Inspector

WORD_BYTES = 4
TRACE_MASK_WORD = b"stmk"
TRACE_MASK_BYTES = 8
"""What follows ``stmk``: the mask, as a big-endian number."""


def answer(word: str, whitelist: Collection[str], inspector: Inspector) -> str:
    """Return the answer to a word, or that it may not be asked; ``*`` whitelists all."""
    if word not in whitelist and "*" not in whitelist:
        return f"{word} is not executed because it is not in the whitelist.\n"
    return _ANSWERS[word](inspector)


def _ruok(_inspector: Inspector) -> str:
    return "imok"


def _isro(_inspector: Inspector) -> str:
    return "rw"


def _srvr(inspector: Inspector) -> str:
    return f"Zookeeper version: {VERSION}\n{_figures(inspector)}"


def _stat(inspector: Inspector) -> str:
    clients = "".join(f"{_connection(shown)})\n" for shown in inspector.connections())
    return f"Zookeeper version: {VERSION}\nClients:\n{clients}\n{_figures(inspector)}"


def _figures(inspector: Inspector) -> str:
    stats = inspector.stats
    return (
        f"Latency min/avg/max: {stats.latency.min_ms}/{stats.latency.average_ms}"
        f"/{stats.latency.max_ms}\n"
        f"Received: {stats.packets_received}\n"
        f"Sent: {stats.packets_sent}\n"
        f"Connections: {inspector.num_connections}\n"
        f"Outstanding: {inspector.outstanding_requests}\n"
        f"Zxid: 0x{inspector.zxid:x}\n"
        "Mode: standalone\n"
        f"Node count: {inspector.znode_count}\n"
    )


def _cons(inspector: Inspector) -> str:
    return (
        "".join(f"{_connection(shown)}{_of_session(shown)})\n" for shown in inspector.connections())
        + "\n"
    )


def _connection(shown: dict[str, object]) -> str:
    return (
        f" {shown['remote_socket_address']}[{shown['interest_ops']}]"
        f"(queued={shown['outstanding_requests']},recved={shown['packets_received']}"
        f",sent={shown['packets_sent']}"
    )


def _of_session(shown: dict[str, object]) -> str:
    if "session_id" not in shown:
        return ""
    last_cxid = shown["last_cxid"]
    cxid = f",lcxid=0x{last_cxid:x}" if isinstance(last_cxid, int) and last_cxid >= 0 else ""
    return (
        f",sid=0x{shown['session_id']:x},lop={shown['last_operation']}"
        f",est={shown['established']},to={shown['session_timeout']}{cxid}"
        f",lzxid=0x{_java_hex(shown['last_zxid'])},lresp={shown['last_response_time']}"
        f",llat={shown['last_latency']},minlat={shown['min_latency']}"
        f",avglat={shown['avg_latency']},maxlat={shown['max_latency']}"
    )


def _java_hex(number: object) -> str:
    """Write a number as ``Long.toHexString`` does: a negative one in two's complement."""
    return f"{number & 0xFFFFFFFFFFFFFFFF:x}" if isinstance(number, int) else ""


def _crst(inspector: Inspector) -> str:
    inspector.reset_connections()
    return "Connection stats reset.\n"


def _srst(inspector: Inspector) -> str:
    inspector.stats.reset()
    return "Server stats reset.\n"


def _conf(inspector: Inspector) -> str:
    return _pairs(inspector.configuration(), "=")


def _envi(inspector: Inspector) -> str:
    return "Environment:\n" + _pairs(inspector.environment(), "=")


def _dirs(inspector: Inspector) -> str:
    return _pairs(inspector.directory_sizes(), ": ")


def _pairs(values: "dict[str, object] | dict[str, str] | dict[str, int]", between: str) -> str:
    return "".join(f"{name}{between}{value}\n" for name, value in values.items())


def _dump(inspector: Inspector) -> str:
    return "".join(f"{line}\n" for line in _dump_lines(inspector))


def _dump_lines(inspector: Inspector) -> Iterator[str]:
    by_expiry = inspector.sessions_by_expiry()
    yield "SessionTracker dump:"
    yield f"Session Sets ({len(by_expiry)})/({sum(map(len, by_expiry.values()))}):"
    for at_ms, session_ids in by_expiry.items():
        at = datetime.fromtimestamp(at_ms / 1000).astimezone()
        yield f"{len(session_ids)} expire at {at:%a %b %d %H:%M:%S %Z %Y}:"
        yield from (f"\t0x{session_id:x}" for session_id in session_ids)
    ephemerals = inspector.ephemerals()
    yield "ephemeral nodes dump:"
    yield f"Sessions with Ephemerals ({len(ephemerals)}):"
    for session_id, paths in ephemerals.items():
        yield f"0x{session_id:x}:"
        yield from (f"\t{path}" for path in paths)
    yield "Connections dump:"
    connections = list(inspector.connections())
    # The original's connections expire; here they end with their session, or with their client.
    yield f"Connections Sets ({int(bool(connections))})/({len(connections)}):"
    for shown in connections:
        yield f"\tip: {shown['remote_socket_address']} sessionId: 0x{shown.get('session_id', 0):x}"


def _mntr(inspector: Inspector) -> str:
    figures: dict[str, object] = {"version": VERSION, "server_state": "standalone"}
    figures |= flat_figures(inspector)
    return "".join(f"zk_{name}\t{value}\n" for name, value in figures.items())


def flat_figures(inspector: Inspector) -> dict[str, float]:
    """Return all figures, a summary as five of them (``DefaultMetricsProvider``)."""
    flat: dict[str, float] = {name: shown.value for name, shown in inspector.figures().items()}
    for name, (summary, _) in inspector.summaries().items():
        flat |= {
            f"avg_{name}": summary.average_ms,
            f"min_{name}": summary.min_ms,
            f"max_{name}": summary.max_ms,
            f"cnt_{name}": summary.count,
            f"sum_{name}": summary.total_ms,
        }
    return flat


def _hash(_inspector: Inspector) -> str:
    """Return nothing: no digests of the tree are kept."""
    return ""


def _gtmk(inspector: Inspector) -> str:
    return str(inspector.trace_mask)


def _wchs(inspector: Inspector) -> str:
    summary = inspector.watch_summary()
    return (
        f"{summary['num_connections']} connections watching {summary['num_paths']} paths\n"
        f"Total watches:{summary['num_total_watches']}\n"
    )


def _wchc(inspector: Inspector) -> str:
    lines: list[str] = []
    for session_id, paths in inspector.watches_by_session().items():
        lines += (f"0x{session_id:x}", *(f"\t{path}" for path in paths))
    return "".join(f"{line}\n" for line in (*lines, ""))


def _wchp(inspector: Inspector) -> str:
    lines: list[str] = []
    for path, session_ids in inspector.watches_by_path().items():
        lines += (path, *(f"\t0x{session_id:x}" for session_id in session_ids))
    return "".join(f"{line}\n" for line in (*lines, ""))


_ANSWERS: dict[str, Callable[[Inspector], str]] = {
    "conf": _conf,
    "cons": _cons,
    "crst": _crst,
    "dirs": _dirs,
    "dump": _dump,
    "envi": _envi,
    "gtmk": _gtmk,
    "hash": _hash,
    "isro": _isro,
    "mntr": _mntr,
    "ruok": _ruok,
    "srst": _srst,
    "srvr": _srvr,
    "stat": _stat,
    "stmk": _gtmk,
    "wchc": _wchc,
    "wchp": _wchp,
    "wchs": _wchs,
}

WORDS = frozenset(word.encode() for word in _ANSWERS)
"""The words as a connection's first bytes; none of them could be the length of a frame."""


def unknown_words(words: Iterable[str]) -> list[str]:
    """Return those of ``words`` that are not answered here; ``*`` stands for all that are."""
    return sorted(set(words) - set(_ANSWERS) - {"*"})
