"""Answers of servers that ``zoolet top`` and the web page show."""

import json

from tests.fuzz.targets.target import Target, text_in
from zoolet.client.connecting.answer_lines import parse_connection
from zoolet.top.counters import Differences
from zoolet.top.reports import FIGURES, TABLES, ReportError, parse_samples

_FIGURES = dict.fromkeys(FIGURES, 1.5)
_SAMPLES = json.dumps(
    {"covered_s": 60, "gap": 2, "total": _FIGURES}
    | {name: [dict.fromkeys(texts, "/a") | _FIGURES] for name, texts in TABLES.items()}
).encode()
_CONNECTIONS = b""" /127.0.0.1:4[0](queued=0,recved=1,sent=0)
 /[::1]:5[1](queued=0,recved=12,sent=13,sid=0x100000a2b3c0000,lop=GETD,est=17,to=10000,lcxid=0x5)

"""


def _samples(data: bytes) -> None:
    json.dumps(parse_samples("h:1", text_in(data)).as_json(), allow_nan=False)


def _connections(data: bytes) -> None:
    lines = (parse_connection(line, "h:1") for line in text_in(data).split("\n"))
    connections = [found for found in lines if found is not None]
    differences = Differences()
    differences.add("h:1", "", [], 0.0)
    json.dumps(differences.add("h:1", "", connections, 1.0).as_json(), allow_nan=False)


TARGETS = {
    "top-samples": Target(_samples, (ReportError,), (_SAMPLES,)),
    "top-connections": Target(_connections, (), (_CONNECTIONS,)),
}
