"""Asks a server for its busiest clients, paths and operations.

A server that takes no samples is asked for its counters of connections. Invariant: an answer is
bounded in bytes and in time.
"""

import time
from collections.abc import Callable
from typing import Final

from zoolet.client.connecting.answer_lines import parse_connection
from zoolet.client.connecting.four_letter_words import (
    ask,
    is_not_serving,
    is_refused,
    refusal,
)
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address
from zoolet.top.counters import Differences
from zoolet.top.reports import Report, ReportError, parse_samples

TIMEOUT_S: Final = 4.0
"""The time limit of an answer."""

MOST_BYTES: Final = {"topk": 1 << 20, "cons": 16 << 20}
"""Most bytes of an answer; 16 MiB are the answer to cons with 80,000 connections."""

AGAIN_S: Final = 60.0
"""The time after which a server without samples is asked again: it logs a warning each time."""

NO_SAMPLES: Final = (
    "{} takes no samples of requests: it is Apache ZooKeeper, or an older zoolet. These are the"
    " differences of its counters: all requests of a connection, with pings, and no paths"
)


class Source:
    """A server, and what it has said before. Not for several threads at the same time."""

    def __init__(
        self,
        address: Address,
        tls: TlsFiles | None,
        timeout_s: float = TIMEOUT_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._tls = tls
        self._timeout_s = timeout_s
        self._now_s = now_s
        self._differences = Differences()
        self._again_s = now_s()
        self._note = ""

    def look(self) -> Report:
        """Ask the server; a failure is in the report's note.

        The first report of a server without samples is incomplete: it has no numbers.
        """
        server = str(self._address)
        try:
            if self._now_s() >= self._again_s:
                report = self._samples(server)
                if report is not None:
                    return report
            return self._counters(server)
        except (OSError, ValueError) as error:
            self._again_s = self._now_s()  # another server may be there the next time
            return Report(server, note=f"{server} does not answer: {_reason(error)}")

    def _samples(self, server: str) -> Report | None:
        """Return the report of a server that takes samples; None if it takes none."""
        try:
            answer = self._ask("topk")
        except (ConnectionResetError, BrokenPipeError):
            answer = ""
        if answer.startswith("{"):
            return parse_samples(server, answer)
        if is_not_serving(answer):
            return None
        if is_refused(answer, "topk"):
            self._note = refusal(self._address, "topk")
        else:
            self._note = NO_SAMPLES.format(server)
            self._again_s = self._now_s() + AGAIN_S
        return None

    def _counters(self, server: str) -> Report:
        answer = self._ask("cons")
        if is_refused(answer, "cons"):
            return Report(server, note=f"{self._note}. {refusal(self._address, 'cons')}")
        if is_not_serving(answer):
            return Report(server, note=f"{server} serves no clients: it has no leader now")
        lines = (parse_connection(line, server) for line in answer.split("\n"))
        connections = [found for found in lines if found is not None]
        return self._differences.add(server, self._note, connections, self._now_s())

    def _ask(self, word: str) -> str:
        return ask(self._address, word, self._timeout_s, self._tls, most_bytes=MOST_BYTES[word])


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, ReportError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
