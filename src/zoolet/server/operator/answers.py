"""Answers to operators, which are made in small steps and sent as fast as the client reads.

This module decides when the next chunk of an answer is made. Invariants:

- one chunk is made at a time, in a step of the scheduler, so other clients get their turns;
- a chunk is sent when all txns that it can show are on disk (``GroupCommit.when_durable``);
- no chunk is made while the client has more than ``UNSENT_BYTES`` bytes to read;
- a client that leaves more than that unread for ``STALL_TIMEOUT_S`` seconds is disconnected;
- at most ``MAX_LARGE_ANSWERS`` answers that copy the keys of a table are in progress; further such
  answers wait for their turn.

This module does not depend on the content of answers or on HTTP. It must not import connections.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, Protocol

from zoolet.server.common.clock import SYSTEM_CLOCK
from zoolet.server.logs.log_limiter import LogLimiter

log = logging.getLogger(__name__)

CHUNK_CHARS: Final = 32 << 10
PIECES_PER_CHUNK: Final = 1000
UNSENT_BYTES: Final = 64 << 10
STALL_TIMEOUT_S: Final = 30.0
MAX_LARGE_ANSWERS: Final = 4

_US_PER_S = 1_000_000

Run = Callable[[str, Iterator[int], Callable[[Exception], None]], None]
"""``Scheduler.run``: runs steps, each of which yields its cost in µs."""

WhenDurable = Callable[[Callable[[], None]], None]
"""``GroupCommit.when_durable``."""


class Sink(Protocol):
    """The client's side of an answer.

    The sink calls ``Answer.go_on`` when it has room again, and ``Answer.stop`` when the client has
    disconnected.
    """

    @property
    def has_room(self) -> bool:
        """Whether the client has read enough for one more chunk."""
        ...

    def send_chunk(self, chunk: bytes) -> None:
        """Send a chunk."""
        ...

    def end_answer(self) -> None:
        """End the answer: the last chunk was sent."""
        ...

    def fail_answer(self, error: Exception) -> None:
        """Send an error in place of the rest of the answer, and end the answer."""
        ...

    def abort(self) -> None:
        """Disconnect the client without delay."""
        ...


def in_chunks(pieces: Iterator[str]) -> Iterator[str]:
    """Join pieces of text into chunks.

    A chunk ends after ``PIECES_PER_CHUNK`` pieces or ``CHUNK_CHARS`` characters. An empty piece
    counts too: a generator yields an empty piece for each item that it visits but does not show.
    """
    gathered: list[str] = []
    size_chars = 0
    for piece in pieces:
        gathered.append(piece)
        size_chars += len(piece)
        if size_chars >= CHUNK_CHARS or len(gathered) >= PIECES_PER_CHUNK:
            yield "".join(gathered)
            gathered.clear()
            size_chars = 0
    if gathered:
        yield "".join(gathered)


class Answer:
    """One answer to a client, from its request to its last chunk."""

    def __init__(
        self,
        answers: "Answers",
        name: str,
        chunks: Iterator[bytes],
        *,
        is_large: bool,
        closes: bool,
    ) -> None:
        """Prepare to send ``chunks``; for the arguments, see ``Answers.new``."""
        self.name = name
        self.is_large = is_large
        self._answers = answers
        self._chunks = chunks
        self._closes = closes
        self._sink: Sink
        self._has_turn = False
        self._is_running = False
        self._is_held = False
        self._is_over = False
        self._stalled: asyncio.TimerHandle | None = None

    def begin(self, sink: Sink) -> None:
        """Begin to send the answer to ``sink``, now or when the answer gets its turn."""
        self._sink = sink
        self._answers.ask_turn(self)

    def take_turn(self) -> None:
        """Begin to make chunks."""
        self._has_turn = True
        self.go_on()

    def go_on(self) -> None:
        """Make the next chunk, unless the answer has ended or has to wait."""
        if self._is_over or self._is_held or self._is_running or not self._has_turn:
            return
        if not self._sink.has_room:
            self._watch_for_stall()
            return
        self._stop_timer()
        self._is_running = True
        self._answers.run(self.name, self._steps(), self._failed)

    def stop(self) -> None:
        """End the answer without another chunk: the client has disconnected."""
        self._stop_timer()
        self._finish()

    def _steps(self) -> Iterator[int]:
        """Make chunks until the answer ends or has to wait; yields the cost of each in µs."""
        while not (self._is_over or self._is_held) and self._sink.has_room:
            began_s = time.perf_counter()
            self._make_chunk()
            yield max(1, int((time.perf_counter() - began_s) * _US_PER_S))
        self._is_running = False
        self.go_on()

    def _make_chunk(self) -> None:
        try:
            chunk = next(self._chunks, None)
        except Exception as error:  # noqa: BLE001 -- such an error ends only this answer
            self._answers.warn(self.name, error)
            self._hold(partial(self._fail, error))
            return
        if chunk is None:
            self._end()
        elif chunk:
            self._hold(partial(self._send, chunk))

    def _failed(self, error: Exception) -> None:
        """Disconnect the client, because it is unknown which part of the answer was sent."""
        self._answers.warn(self.name, error)
        self._disconnect()

    def _hold(self, step: Callable[[], None]) -> None:
        """Call ``step`` when all txns that the step can show are on disk."""
        self._is_held = True
        self._answers.when_durable(partial(self._release, step))

    def _release(self, step: Callable[[], None]) -> None:
        """Call ``step``; a failure ends this answer and does not affect other waiting output."""
        self._is_held = False
        if self._is_over:
            return
        try:
            step()
        except Exception as error:  # noqa: BLE001 -- every such error affects one client only
            self._failed(error)

    def _send(self, chunk: bytes) -> None:
        self._sink.send_chunk(chunk)
        self.go_on()

    def _end(self) -> None:
        self._finish()
        if self._closes:
            self._watch_for_stall()
        self._sink.end_answer()

    def _fail(self, error: Exception) -> None:
        self._finish()
        if self._closes:
            self._watch_for_stall()
        self._sink.fail_answer(error)

    def _finish(self) -> None:
        """End the answer, free the data of its chunks, and give the next answer its turn."""
        if not self._is_over:
            self._is_over = True
            self._chunks = iter(())
            self._answers.end_turn(self)

    def _watch_for_stall(self) -> None:
        if self._stalled is None:
            self._stalled = asyncio.get_running_loop().call_later(STALL_TIMEOUT_S, self._disconnect)

    def _disconnect(self) -> None:
        self._stalled = None
        self._finish()
        self._sink.abort()

    def _stop_timer(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


class Answers:
    """All answers in progress, and the functions of the server that they use."""

    def __init__(self, run: Run, when_durable: WhenDurable) -> None:
        self.run = run
        self.when_durable = when_durable
        self._large: set[Answer] = set()
        self._waiting: deque[Answer] = deque()
        self._log = LogLimiter(log, SYSTEM_CLOCK.monotonic_ms)

    def new(
        self,
        name: str,
        chunks: Iterator[bytes],
        *,
        is_large: bool = False,
        closes: bool = False,
    ) -> Answer:
        """Return an answer; the caller then calls its method ``begin``.

        Args:
            name: the name of the answer, for the scheduler and for messages.
            chunks: the chunks; each ``next`` takes at most about 1 ms. An empty chunk is not sent,
                but other work can run after it.
            is_large: whether the answer copies the keys of a table.
            closes: whether the sink closes its connection after the answer. A client that then does
                not read the end of the answer is disconnected.
        """
        return Answer(self, name, chunks, is_large=is_large, closes=closes)

    def ask_turn(self, answer: Answer) -> None:
        """Let an answer begin, or wait for a turn if it is large."""
        if not answer.is_large:
            answer.take_turn()
        elif len(self._large) < MAX_LARGE_ANSWERS:
            self._large.add(answer)
            answer.take_turn()
        else:
            self._waiting.append(answer)

    def end_turn(self, answer: Answer) -> None:
        """End the turn of an answer, and begin the next large answer that waits."""
        if answer in self._large:
            self._large.discard(answer)
            if self._waiting:
                successor = self._waiting.popleft()
                self._large.add(successor)
                successor.take_turn()
        elif answer in self._waiting:
            self._waiting.remove(answer)

    def warn(self, name: str, error: Exception) -> None:
        """Log that an answer could not be made."""
        self._log.warning("the answer to %s could not be made: %s", name, error)
