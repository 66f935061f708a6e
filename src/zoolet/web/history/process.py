"""Runs ``zoolet data`` as a process, and reads the JSON lines that it prints.

Invariants: no shell reads the arguments; the number of processes, their time, their output and the
length of a line are bounded; a process ends when nobody waits for its output any more.
"""

import asyncio
import json
import logging
import sys
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Final

from zoolet.web.settings import PastSource

log = logging.getLogger(__name__)

MOST_PROCESSES: Final = 2
"""Processes at a time; further requests wait."""

MOST_WAITING: Final = 10
"""Requests that may wait for a process."""

TIMEOUT_S: Final = 120.0
"""A process is killed after this time."""

MOST_BYTES: Final = 512 << 20
"""Most bytes of output that are read."""

_LINE_BYTES: Final = 16 << 20
_ERROR_BYTES: Final = 16 << 10


class PastError(Exception):
    """The past cannot be read; the message says what to do."""


class DataTool:
    """Runs ``zoolet data``."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MOST_PROCESSES)
        self._num_waiting = 0

    async def lines(
        self, source: PastSource, command: str, arguments: list[str], *, may_differ: bool = False
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON objects that a command prints.

        Args:
            source: what to read; it replaces ``{}`` in the arguments.
            command: the command of ``zoolet data``.
            arguments: its options and arguments.
            may_differ: whether the exit status 1 says that there is output.

        Raises:
            PastError: the command fails, takes too long, or prints too much.
        """
        options = [] if source.key_file is None else ["--key-file", str(source.key_file)]
        if source.logs is not None:
            options += ["--logs", str(source.logs)] * arguments.count("{}")
        given = [source.place if argument == "{}" else argument for argument in arguments]
        words = [command, *options, *given]
        async with self._place(), aclosing(_run(source, words, may_differ=may_differ)) as found:
            async for line in found:
                yield line

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._num_waiting >= MOST_WAITING:
            raise PastError("many users read the past now. Try again later")
        self._num_waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._num_waiting -= 1
        try:
            yield
        finally:
            self._free.release()


async def _run(
    source: PastSource, words: list[str], *, may_differ: bool
) -> AsyncGenerator[dict[str, Any], None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-X", "utf8", "-m", "zoolet", "data", *words),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        limit=_LINE_BYTES,
        start_new_session=True,
    )
    if process.stdout is None or process.stderr is None:
        raise PastError("the process has no output")
    errors = asyncio.create_task(_errors(process.stderr))
    has_lines = False
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for line in _output(process.stdout):
                has_lines = True
                yield line
            status = await process.wait()
        if status and not (may_differ and status == 1 and has_lines):
            message = await errors
            if message or not may_differ:
                log.warning("zoolet data %s ended with status %d: %s", words[0], status, message)
                raise PastError(message.replace(source.place, "the source") or "zoolet data failed")
    except TimeoutError:
        raise PastError(
            f"reading took longer than {int(TIMEOUT_S)} s. Choose a shorter time, or run zoolet"
            " data in a terminal"
        ) from None
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        # asyncio closes a pipe at its end only, and stops reading one while much waits in it.
        while await process.stdout.read(_LINE_BYTES):
            pass
        await asyncio.wait([errors])
        await process.wait()


async def _output(output: StreamReader) -> AsyncGenerator[dict[str, Any], None]:
    size = 0
    while True:
        try:
            line = await output.readline()
        except ValueError:
            raise PastError("zoolet data printed a line that is too long") from None
        if not line:
            return
        size += len(line)
        if size > MOST_BYTES:
            raise PastError(
                f"there are more than {MOST_BYTES >> 20} MiB of changes. Choose a shorter time or a"
                " smaller subtree"
            )
        try:
            found = json.loads(line)
        except ValueError:
            raise PastError("zoolet data printed a line that is not JSON") from None
        if isinstance(found, dict):
            yield found


async def _errors(output: StreamReader) -> str:
    """Return the beginning of what the process says, without its notes."""
    said = b""
    while part := await output.read(_ERROR_BYTES):
        said += part[: max(0, _ERROR_BYTES - len(said))]
    lines = said.decode("utf-8", "replace").splitlines()
    return " ".join(line for line in lines if not line.startswith("note:"))[:2000]
