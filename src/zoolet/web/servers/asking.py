"""Asks a server with a four-letter word, and reads the answer in parts.

Invariants: an answer is bounded in bytes and in time, and no part of it keeps the event loop busy
for longer than a few milliseconds. Names are resolved by threads of their own, so that a name
server that does not answer holds up nothing else.
"""

import asyncio
import codecs
import ipaddress
import socket
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Final

from zoolet.client.connecting.four_letter_words import is_not_serving, is_refused, refusal
from zoolet.client.connecting.tls import context_of
from zoolet.client.connecting.tls_files import TlsFiles
from zoolet.model.addresses import Address

MOST_ANSWER_BYTES: Final = 256 << 20
"""Most bytes of an answer that the page reads."""

MOST_SHORT_BYTES: Final = 512 << 10
"""Most bytes of the answers to mntr, srvr and wchs."""

PAUSE_S: Final = 10.0
"""The longest pause in an answer: a server that stands still holds up no other for longer."""

_READ_BYTES: Final = 32 << 10
_MOST_LINE: Final = 2 << 20
_RESOLVERS: Final = 4


class AskError(Exception):
    """A server gives no complete answer; the message says why, and what to do."""


class NotAllowedError(AskError):
    """The server does not allow the word.

    Attributes:
        word: the word that is missing in ``4lw.commands.whitelist``.
    """

    def __init__(self, address: Address, word: str) -> None:
        super().__init__(
            f"{refusal(address, word)}, as in 4lw.commands.whitelist=srvr,{word}"
            if word != "srvr"
            else f"{address} does not allow srvr: set 4lw.commands.whitelist=srvr in its zoo.cfg"
        )
        self.word = word


class Asker:
    """Asks servers, with TLS if the page uses TLS to ZooKeeper."""

    def __init__(self, tls: TlsFiles | None) -> None:
        self._tls = tls
        self._resolvers = ThreadPoolExecutor(_RESOLVERS, "zoolet-web-resolver")

    def close(self) -> None:
        """End the threads that resolve names; a thread that waits for an answer ends later."""
        self._resolvers.shutdown(wait=False, cancel_futures=True)

    async def text(self, address: Address, word: str, timeout_s: float) -> str:
        """Return a short answer.

        Raises:
            AskError: the server gives no complete answer in time.
        """
        lines: list[str] = []
        async with aclosing(self.lines(address, word, timeout_s, MOST_SHORT_BYTES)) as parts:
            async for part in parts:
                lines += part
        return "\n".join(lines)

    async def lines(
        self, address: Address, word: str, timeout_s: float, most_bytes: int = MOST_ANSWER_BYTES
    ) -> AsyncGenerator[list[str], None]:
        """Yield the lines of an answer in parts; close the iterator if you do not read all of it.

        Raises:
            AskError: the rest of the answer is missing.
        """
        end_s = asyncio.get_running_loop().time() + timeout_s
        try:
            reader, writer = await asyncio.wait_for(self._open(address), timeout_s)
        except (OSError, ValueError) as error:
            raise AskError(f"{address} cannot be reached: {_reason(error)}") from error
        is_first = True
        try:
            writer.write(word.encode())
            async for found in _lines(reader, end_s, most_bytes):
                if is_first:
                    is_first = False
                    _check_first(address, word, found[0])
                yield found
                await asyncio.sleep(0)
        except TimeoutError:
            raise AskError(f"{address} does not answer {word} completely in time") from None
        except OSError as error:
            raise AskError(f"{address} does not answer {word}: {_reason(error)}") from error
        except _TooLongError:
            raise AskError(f"{address}: the answer to {word} is too long for the page") from None
        finally:
            writer.transport.abort()
        if is_first:
            raise AskError(f"{address} closes the connection without an answer to {word}")

    async def _open(self, address: Address) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        loop = asyncio.get_running_loop()
        host = address.host
        if not _is_ip(host):
            found = await loop.run_in_executor(
                self._resolvers, socket.getaddrinfo, host, address.port, 0, socket.SOCK_STREAM
            )
            host = str(found[0][4][0])
        if self._tls is None:
            return await asyncio.open_connection(host, address.port, limit=4 * _READ_BYTES)
        context = await loop.run_in_executor(self._resolvers, context_of, self._tls)
        return await asyncio.open_connection(
            host,
            address.port,
            limit=4 * _READ_BYTES,
            ssl=context,
            server_hostname=address.host,
        )


class _TooLongError(Exception):
    """An answer is longer than the page reads."""


async def _lines(
    reader: asyncio.StreamReader, end_s: float, most_bytes: int
) -> AsyncGenerator[list[str], None]:
    """Yield the lines of a stream until its end; raises TimeoutError, OSError, _TooLongError."""
    loop = asyncio.get_running_loop()
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest, size = "", 0
    while True:
        left_s = min(PAUSE_S, end_s - loop.time())
        data = await asyncio.wait_for(reader.read(_READ_BYTES), left_s)
        size += len(data)
        *found, rest = (rest + decoder.decode(data, final=not data)).split("\n")
        if not data and rest:
            found.append(rest)
        if found:
            yield found
        if not data:
            return
        if size > most_bytes or len(rest) > _MOST_LINE:
            raise _TooLongError


def _check_first(address: Address, word: str, line: str) -> None:
    if is_refused(line, word):
        raise NotAllowedError(address, word)
    if is_not_serving(line):
        raise AskError(f"{address} serves no clients: it has no leader at the moment")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not accept connections in time"
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
