"""The process of a server: its signals, its limits, and what it tells of itself.

Must not decide how a server starts or stops: that is in ``service``.
"""

import asyncio
import logging
import resource
import signal
import sys
from collections.abc import Callable

from zoolet.server.service import Server
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.disk import Disk

log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 50e-6


async def _serve_until_signalled(
    config: Config, disk: Disk | None, on_ready: Callable[[], None], on_hangup: Callable[[], None]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    async with Server(config, disk) as server:
        log.info("%s", server.description)
        on_ready()
        stopping = loop.create_task(stop.wait())
        failing = loop.create_task(server.failed())
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        if failing.done():
            failing.result()
        failing.cancel()
        log.info("stopping")
    log.info("stopped; every acknowledged change is on disk")


def run(
    config: Config,
    disk: Disk | None = None,
    *,
    on_ready: Callable[[], None] = lambda: None,
    on_hangup: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT, then stop cleanly; ``disk`` stands in for the machine's own.

    ``on_ready`` is called when the server listens, ``on_hangup`` at each SIGHUP. Raises
    ServerError, StorageError or OSError where the server cannot start or go on.
    """
    # The loop's handler comes later. Until then the signal must not end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for warning in config.warnings:
        log.warning("%s", warning)
    # A connection takes a descriptor: have as many as this user may.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # The thread that writes the log asks for the interpreter after each call of the system. Until
    # it insists, every call of the loop's thread wakes it in vain (docs/performance.md).
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    serving = _serve_until_signalled(config, disk, on_ready, on_hangup)
    try:
        import uvloop  # noqa: PLC0415 -- not on every Python; the standard loop serves there
    except ImportError:
        asyncio.run(serving)
    else:
        uvloop.run(serving)
