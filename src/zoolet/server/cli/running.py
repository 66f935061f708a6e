"""The process of a server: its signals, its limits and its log messages.

``service`` decides how a server starts and stops; this module must not.
"""

import asyncio
import faulthandler
import logging
import signal
import sys
from collections.abc import Callable

from zoolet.process import descriptors, memory
from zoolet.process.service_manager import ServiceManager
from zoolet.server.service import Server
from zoolet.server.zoo_cfg.config import Config
from zoolet.storage.disk import Disk

log = logging.getLogger(__name__)

_SWITCH_INTERVAL_S = 50e-6
_STDERR = 2


async def _serve_until_signalled(
    config: Config,
    disk: Disk | None,
    service_manager: ServiceManager,
    on_ready: Callable[[], None],
    on_hangup: Callable[[], None],
    *,
    discards_local_data: bool,
) -> signal.Signals:
    signals = asyncio.Queue[signal.Signals]()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    loop.add_signal_handler(signal.SIGHUP, on_hangup)
    async with Server(config, disk, discards_local_data=discards_local_data) as server:
        log.info("%s", server.description)
        on_ready()
        memory.trim_after_start()
        reporting = loop.create_task(service_manager.report_running(server.description))
        stopping = loop.create_task(signals.get())
        failing = loop.create_task(server.failed())
        await asyncio.wait({stopping, failing}, return_when=asyncio.FIRST_COMPLETED)
        service_manager.report_stopping()
        if failing.done():
            failing.result()
        failing.cancel()
        log.info("stopping")
    reporting.cancel()
    log.info("stopped; every acknowledged change is on disk")
    return stopping.result()


def run(
    config: Config,
    disk: Disk | None = None,
    *,
    service_manager: ServiceManager | None = None,
    on_ready: Callable[[], None] = lambda: None,
    on_hangup: Callable[[], None] = lambda: None,
    discards_local_data: bool = False,
) -> signal.Signals:
    """Run a server until SIGTERM or SIGINT, then stop it cleanly; return the signal.

    ``disk`` replaces the disk of this machine, if it is given. ``service_manager`` gets reports, if
    it is given. ``on_ready`` is called when the server listens, ``on_hangup`` at each SIGHUP. For
    ``discards_local_data``, see ``Server``.
    Raises ServerError, StorageError or OSError if the server cannot start or cannot continue.
    """
    # Until the event loop has its handler, SIGHUP must not end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for warning in config.warnings:
        log.warning("%s", warning)
    descriptors.raise_limit()  # each connection needs a descriptor
    # The disk thread requests the GIL after each system call. With Python's default switch interval
    # it wakes up many times before it gets the GIL (docs/performance.md).
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    manager = service_manager if service_manager is not None else ServiceManager()
    if manager.watchdog_interval_s is not None:
        # The watchdog ends the process with SIGABRT; then the log has the stack of each thread.
        faulthandler.enable(_STDERR)
    serving = _serve_until_signalled(
        config, disk, manager, on_ready, on_hangup, discards_local_data=discards_local_data
    )
    try:
        import uvloop  # noqa: PLC0415 -- not available on every Python; the fallback is asyncio
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)
