"""Four-letter words: the commands that an operator sends with ``echo srvr | nc``.

Source: the administrator's guide of ZooKeeper 3.9, "The Four Letter Words", and Apache ZooKeeper's
``server.command`` package for the format of the answers.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from typing import TypeVar

from zoolet.model.numbers import hex64
from zoolet.server.operator.answers import in_chunks
from zoolet.server.operator.inspection import Inspector
from zoolet.server.operator.version import FULL_VERSION

T = TypeVar("T")

WORD_BYTES = 4
TRACE_MASK_WORD = b"stmk"
TRACE_MASK_BYTES = 8
"""The length of the trace mask after ``stmk``, a big-endian number."""

LARGE_WORDS = frozenset({"dump", "topk", "wchc", "wchp"})
"""The words whose answers copy a table or its keys (``answers.Answer.is_large``)."""


def answer(word: str, whitelist: Collection[str], inspector: Inspector) -> Iterator[bytes]:
    """Yield the answer to a word in chunks, or a refusal if the whitelist lacks the word and ``*``.

    Raises OSError if the operating system fails to provide a value.
    """
    if word not in whitelist and "*" not in whitelist:
        pieces: Iterator[str] = iter(
            [f"{word} is not executed because it is not in the whitelist.\n"]
        )
    else:
        pieces = _ANSWERS[word](inspector)
    for chunk in in_chunks(pieces):
        yield chunk.encode("utf-8", "replace")


def failure(error: Exception) -> bytes:
    """Return the answer to a word that could not be answered because of an error."""
    return f"The answer could not be made: {error}.\n".encode("utf-8", "replace")


def _ruok(_inspector: Inspector) -> Iterator[str]:
    yield "imok"


def _isro(inspector: Inspector) -> Iterator[str]:
    yield "ro" if inspector.is_read_only else "rw"


def _srvr(inspector: Inspector) -> Iterator[str]:
    yield f"Zookeeper version: {FULL_VERSION}\n{_figures(inspector)}"


def _stat(inspector: Inspector) -> Iterator[str]:
    yield f"Zookeeper version: {FULL_VERSION}\nClients:\n"
    for shown in inspector.connections():
        yield f"{_connection(shown)})\n" if shown else ""
    yield f"\n{_figures(inspector)}"


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
        f"Mode: {inspector.mode}\n"
        f"{_leader(inspector)}"
        f"Node count: {inspector.znode_count}\n"
    )


def _leader(inspector: Inspector) -> str:
    """Return the lines of an observer about its leader; empty if the server is standalone."""
    ensemble = inspector.ensemble
    if ensemble is None:
        return ""
    released = ensemble.release_ms
    return (
        f"Leader: {ensemble.leader or 'none'}\n"
        f"Lag: {inspector.lag}\n"
        f"Release min/avg/max: {released.min_ms}/{released.average_ms}/{released.max_ms}\n"
    )


def _cons(inspector: Inspector) -> Iterator[str]:
    for shown in inspector.connections():
        yield f"{_connection(shown)}{_of_session(shown)})\n" if shown else ""
    yield "\n"


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
    """Return a number in the form of ``Long.toHexString``: two's complement if it is negative."""
    return hex64(number) if isinstance(number, int) else ""


def _crst(inspector: Inspector) -> Iterator[str]:
    for _ in inspector.reset_connections():
        yield ""
    yield "Connection stats reset.\n"


def _srst(inspector: Inspector) -> Iterator[str]:
    inspector.stats.reset()
    yield "Server stats reset.\n"


def _conf(inspector: Inspector) -> Iterator[str]:
    configuration = yield from _paused(inspector.configuration())
    yield _pairs(configuration, "=")


def _envi(inspector: Inspector) -> Iterator[str]:
    yield "Environment:\n" + _pairs(inspector.environment(), "=")


def _dirs(inspector: Inspector) -> Iterator[str]:
    sizes = yield from _paused(inspector.directory_sizes())
    yield _pairs(sizes, ": ")


def _pairs(values: "dict[str, object] | dict[str, str] | dict[str, int]", between: str) -> str:
    return "".join(f"{name}{between}{value}\n" for name, value in values.items())


def _paused(steps: Generator[None, None, T]) -> Generator[str, None, T]:
    """Run steps; yield a pause for each step and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            result: T = stop.value
            return result
        yield ""


def _dump(inspector: Inspector) -> Iterator[str]:
    from datetime import datetime  # noqa: PLC0415 -- an empty server does not need it

    by_expiry = yield from _paused(inspector.sessions_by_expiry())
    yield "SessionTracker dump:\n"
    yield f"Session Sets ({len(by_expiry)})/({sum(map(len, by_expiry.values()))}):\n"
    for at_ms, session_ids in by_expiry.items():
        at = datetime.fromtimestamp(at_ms / 1000).astimezone()
        yield f"{len(session_ids)} expire at {at:%a %b %d %H:%M:%S %Z %Y}:\n"
        for session_id in session_ids:
            yield f"\t0x{session_id:x}\n"
    owners = inspector.sessions_with_ephemerals()
    yield "ephemeral nodes dump:\n"
    yield f"Sessions with Ephemerals ({len(owners)}):\n"
    for session_id in owners:
        yield f"0x{session_id:x}:\n"
        for path in inspector.ephemerals_of(session_id):
            yield f"\t{path}\n"
    yield "Connections dump:\n"
    num_connections = inspector.num_connections
    # Connections do not expire as in Apache ZooKeeper, so all of them are in one set.
    yield f"Connections Sets ({int(bool(num_connections))})/({num_connections}):\n"
    for shown in inspector.connections():
        if shown:
            connected_id = shown.get("session_id", 0)
            yield f"\tip: {shown['remote_socket_address']} sessionId: 0x{connected_id:x}\n"


def _mntr(inspector: Inspector) -> Iterator[str]:
    figures: dict[str, object] = {"version": FULL_VERSION, "server_state": inspector.mode}
    if inspector.ensemble is not None:
        figures["leader_address"] = inspector.ensemble.leader or "none"
    figures |= flat_figures(inspector)
    yield "".join(f"zk_{name}\t{value}\n" for name, value in figures.items())


def flat_figures(inspector: Inspector) -> dict[str, float]:
    """Return all figures; a summary becomes five figures, as in ``DefaultMetricsProvider``."""
    from zoolet.server.operator.figures import figures, summaries  # noqa: PLC0415 -- a large table

    flat: dict[str, float] = {
        name: each.value(inspector) for name, each in figures(inspector).items()
    }
    for name, (summary, _) in summaries(inspector).items():
        flat |= {
            f"avg_{name}": summary.average_ms,
            f"min_{name}": summary.min_ms,
            f"max_{name}": summary.max_ms,
            f"cnt_{name}": summary.count,
            f"sum_{name}": summary.total_ms,
        }
    return flat


def _hash(_inspector: Inspector) -> Iterator[str]:
    """Yield nothing, because the server does not compute digests of the tree."""
    yield ""


def _gtmk(inspector: Inspector) -> Iterator[str]:
    yield str(inspector.trace_mask)


def _topk(inspector: Inspector) -> Iterator[str]:
    """Yield JSON in ASCII, so that no path can control the terminal of an operator."""
    import json  # noqa: PLC0415 -- an empty server does not need it

    found = yield from _paused(inspector.busiest())
    yield from json.JSONEncoder(indent=1).iterencode(found)
    yield "\n"


def _wchs(inspector: Inspector) -> Iterator[str]:
    summary = inspector.watch_summary()
    yield (
        f"{summary['num_connections']} connections watching {summary['num_paths']} paths\n"
        f"Total watches:{summary['num_total_watches']}\n"
    )


def _wchc(inspector: Inspector) -> Iterator[str]:
    for session_id, paths in inspector.watches_by_session():
        yield f"0x{session_id:x}\n"
        for path in paths:
            yield f"\t{path}\n"
    yield "\n"


def _wchp(inspector: Inspector) -> Iterator[str]:
    for watched in inspector.watches_by_path():
        if watched is None:
            yield ""
            continue
        path, session_ids = watched
        yield f"{path}\n"
        for session_id in session_ids:
            yield f"\t0x{session_id:x}\n"
    yield "\n"


_ANSWERS: dict[str, Callable[[Inspector], Iterator[str]]] = {
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
    "topk": _topk,
    "wchc": _wchc,
    "wchp": _wchp,
    "wchs": _wchs,
}

WORDS = frozenset(word.encode() for word in _ANSWERS)
"""The words as the first bytes of a connection; none of them is a valid frame length."""


def unknown_words(words: Iterable[str]) -> list[str]:
    """Return those of ``words`` that the server cannot answer; ``*`` means all known words."""
    return sorted(set(words) - set(_ANSWERS) - {"*"})
