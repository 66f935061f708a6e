"""Opens the session of an `AsyncClient` for a dispatcher, or raises the cause.

The search for the cause, which waits for host names and sockets, runs in a thread; the client runs
in the event loop. Invariant: after an error or a cancellation, the client is closed, and the thread
ends as soon as its current look at a server has ended. Imports `zoolet.client`.
"""

import asyncio
import contextlib

from zoolet.client.asyncio_client.client import AsyncClient
from zoolet.client.connecting.opening import (
    NoSessionError,
    SessionWait,
    chroot_missing,
    login_refused,
    options_of,
)
from zoolet.client.connecting.settings import ConnectionSettings
from zoolet.client.errors import AuthFailedError, NoNodeError, ZooKeeperError
from zoolet.jobs.errors import ConnectError, JobTimeoutError


async def opened(settings: ConnectionSettings) -> AsyncClient:
    """Return a client that has a session and is logged in.

    Raises:
        JobTimeoutError: no server replied in time; the message names the cause.
        ConnectError: the client cannot connect with these settings; the message says what to
            change.
    """
    session = SessionWait(settings, "--server")
    client = AsyncClient(str(settings.servers), options_of(settings))
    try:
        await asyncio.to_thread(session.check)
        await _started(client, session, settings)
    except NoSessionError as error:
        if error.is_late:
            raise JobTimeoutError(str(error)) from None
        raise ConnectError(str(error)) from None
    return client


async def _started(client: AsyncClient, session: SessionWait, settings: ConnectionSettings) -> None:
    loop = asyncio.get_running_loop()
    start = asyncio.create_task(client.start())
    is_given_up = asyncio.Event()

    async def has_session(limit_s: float) -> bool:
        given_up = asyncio.create_task(is_given_up.wait())
        try:
            await asyncio.wait({start, given_up}, timeout=limit_s, return_when="FIRST_COMPLETED")
        finally:
            given_up.cancel()
        if is_given_up.is_set():
            raise NoSessionError("the call was cancelled")
        return start.done() and _is_good(start, settings)

    def wait(limit_s: float) -> bool:
        return asyncio.run_coroutine_threadsafe(has_session(limit_s), loop).result()

    try:
        await asyncio.to_thread(session.wait, wait)
    except BaseException:
        is_given_up.set()
        start.cancel()
        with contextlib.suppress(asyncio.CancelledError, ZooKeeperError):
            await start
        await client.close(0.0)
        raise


def _is_good(start: "asyncio.Task[None]", settings: ConnectionSettings) -> bool:
    error = start.exception()
    if isinstance(error, AuthFailedError):
        raise login_refused(scheme for scheme, _ in settings.auth) from error
    if isinstance(error, NoNodeError):
        raise chroot_missing(settings.servers) from error
    if isinstance(error, ZooKeeperError):
        return False
    if error is not None:
        raise error
    return True
