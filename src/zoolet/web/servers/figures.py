"""The figures in answers to srvr and mntr. No I/O.

Source: the administrator's guide of ZooKeeper 3.9, "The Four Letter Words", and the answers of
Apache ZooKeeper 3.9.5 and of zoolet.
"""

import math
import re
from typing import Final, NamedTuple

_LATENCY: Final = re.compile(r"Latency min/avg/max: (\S+)/(\S+)/(\S+)")
_MOST_TEXT: Final = 200

_OF_SRVR: Final = {
    "Received": "received",
    "Sent": "sent",
    "Connections": "connections",
    "Outstanding": "outstanding",
    "Node count": "znodes",
    "Lag": "lag",
}
_OF_MNTR: Final = {
    "zk_packets_received": "received",
    "zk_packets_sent": "sent",
    "zk_num_alive_connections": "connections",
    "zk_outstanding_requests": "outstanding",
    "zk_znode_count": "znodes",
    "zk_min_latency": "min_latency",
    "zk_avg_latency": "avg_latency",
    "zk_max_latency": "max_latency",
    "zk_watch_count": "watches",
    "zk_ephemerals_count": "ephemerals",
    "zk_approximate_data_size": "data_bytes",
    "zk_global_sessions": "sessions",
    "zk_open_file_descriptor_count": "open_files",
    "zk_max_file_descriptor_count": "most_files",
    "zk_uptime": "uptime_ms",
    "zk_cnt_fsynctime": "fsyncs",
    "zk_sum_fsynctime": "fsync_ms",
    "zk_max_fsynctime": "max_fsync_ms",
    "zk_learners": "learners",
    "zk_synced_followers": "synced_followers",
    "zk_synced_observers": "synced_observers",
    "zk_pending_syncs": "pending_syncs",
    "zk_connection_rejected": "rejected",
}
"""The figures that the page keeps, by their names in the answers."""


class Answered(NamedTuple):
    """What a server has answered.

    Attributes:
        mode: leader, follower, observer, standalone or read-only; "" if it is not known.
        version: the version of the server; "" if it is not known.
        zxid: the last zxid; None if it is not known.
        figures: the numbers by their names on the page; latencies are in ms.
    """

    mode: str
    version: str
    zxid: int | None
    figures: dict[str, float]


def parse_srvr(text: str) -> Answered:
    """Return what an answer to srvr says; unknown lines and bad numbers are ignored."""
    mode, version = "", ""
    zxid: int | None = None
    figures: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition(": ")
        if name in _OF_SRVR:
            _put(figures, _OF_SRVR[name], value)
        elif name == "Mode":
            mode = value[:_MOST_TEXT]
        elif name == "Zookeeper version":
            version = value[:_MOST_TEXT]
        elif name == "Zxid":
            zxid = _hex(value)
        elif found := _LATENCY.match(line):
            for key, number in zip(("min", "avg", "max"), found.groups(), strict=True):
                _put(figures, f"{key}_latency", number)
    return Answered(mode, version, zxid, figures)


def parse_mntr(text: str) -> Answered:
    """Return what an answer to mntr says; unknown lines and bad numbers are ignored."""
    mode, version = "", ""
    figures: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.partition("\t")
        if name in _OF_MNTR:
            _put(figures, _OF_MNTR[name], value)
        elif name == "zk_server_state":
            mode = value[:_MOST_TEXT]
        elif name == "zk_version":
            version = value[:_MOST_TEXT]
    return Answered(mode, version, None, figures)


def merged(one: Answered, other: Answered) -> Answered:
    """Return both; where both know a value, the first counts."""
    return Answered(
        one.mode or other.mode,
        one.version or other.version,
        other.zxid if one.zxid is None else one.zxid,
        other.figures | one.figures,
    )


def _put(figures: dict[str, float], name: str, text: str) -> None:
    try:
        number = float(text)
    except ValueError:
        return
    if math.isfinite(number):
        figures[name] = number


def _hex(text: str) -> int | None:
    try:
        return int(text[:20], 16)
    except ValueError:
        return None
