"""The HTTP endpoint for health probes: ``/live``, ``/ready``, and ``/status`` for both.

The status of the reply is 200 or 503, and its body is the worker's health as a JSON object. The
endpoint is for probes in the same host or network. It has limits instead of features:

- A client has `REQUEST_LIMIT_S` for its request, and the connection is closed after the reply.
- More than `CONNECTIONS_MOST` connections at the same time are closed without a reply.

Invariant: a probe gets a whole reply or none, also if the worker is killed.

This module imports other modules of its package.
"""

import json
import logging
import socket
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from zoolet.jobs.worker.health import ADDRESS, WorkerHealth

log = logging.getLogger(__name__)

REQUEST_LIMIT_S = 5.0
CONNECTIONS_MOST = 16


class HealthServer(ThreadingHTTPServer):
    """Serves the health of a worker until `close`.

    Args:
        health: returns the current health; called in the threads of the server.
        port: the port; 0 for any free port.
        address: the address to listen on, for IPv4 or IPv6.

    Raises:
        OSError: the port cannot be used.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, health: Callable[[], WorkerHealth], port: int, address: str = ADDRESS
    ) -> None:
        self.health = health
        self._free = threading.BoundedSemaphore(CONNECTIONS_MOST)
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), _Handler)
        threading.Thread(target=self.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop to listen."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread, if not too many threads answer."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer one request."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects or sends nothing."""
        del request
        log.debug("a health request of %s failed: %r", client_address, sys.exception())


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_LIMIT_S
    wbufsize = 1 << 16
    """The size of the output buffer, in bytes: a reply is sent in one piece, not two."""
    server: HealthServer
    server_version = "zoolet-worker"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a request for the health."""
        self._answer(has_body=True)

    def do_HEAD(self) -> None:
        """Answer a request for the status only."""
        self._answer(has_body=False)

    def _answer(self, *, has_body: bool) -> None:
        health = self.server.health()
        path = self.path.partition("?")[0]
        is_good = {
            "/live": health.is_live,
            "/ready": health.is_ready,
            "/status": health.is_live and health.is_ready,
        }.get(path)
        if is_good is None:
            self.send_error(HTTPStatus.NOT_FOUND, explain="use /live, /ready or /status")
            return
        body = json.dumps(health.as_dict()).encode() + b"\n"
        self.send_response(HTTPStatus.OK if is_good else HTTPStatus.SERVICE_UNAVAILABLE)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if has_body:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- as in the base class
        """Write requests to the debug log only: probes come every few seconds."""
        log.debug(format, *args)
