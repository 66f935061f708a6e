"""The admin commands ``snapshot`` and ``restore``, with Apache ZooKeeper's rules.

Both commands need an ``Authorization`` header (``digest USER:PASSWORD`` or ``ip``) whose identity
has all permissions on the root. If operators have roles, they need the role full instead. Each
command can be used once in ``admin.rateLimiterIntervalInMS``.
Source: the "Snapshot and Restore Guide" of ZooKeeper 3.9, ``Commands.SnapshotCommand``,
``Commands.RestoreCommand`` and ``Commands.runCommand``.
"""

import logging
import zlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Final

from zoolet.model.codes import Permission
from zoolet.server.common.stats import ServerStats
from zoolet.server.operator.admin import json_response
from zoolet.server.operator.http import Exchange, Page, Request, Response, Upload
from zoolet.server.operator.rate_limit import RateLimit
from zoolet.server.operator.restore import RestoreError, Restorer
from zoolet.server.zoo_cfg.config import AdminConfig, Config
from zoolet.state_machine import access
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.machine import StateMachine
from zoolet.storage.disk import Disk, ReadableFile
from zoolet.wire.jute import INT, LONG, pack_ustring

if TYPE_CHECKING:
    from zoolet.model.acl import Id

log = logging.getLogger(__name__)

TakeSnapshot = Callable[[Callable[[Path | None, int], None]], None]
"""Takes a snapshot without compression, then calls back with its path and zxid.

The path is None if the snapshot failed."""

_PIECE_BYTES: Final = 32 << 10
_SEAL_BYTES: Final = 13
_DIGEST_VERSION: Final = 2
_TRAILER_BYTES: Final = LONG.size + INT.size + LONG.size + _SEAL_BYTES + LONG.size + _SEAL_BYTES
_ALL_PERMISSIONS: Final = (
    Permission.READ,
    Permission.WRITE,
    Permission.CREATE,
    Permission.DELETE,
    Permission.ADMIN,
)


class Backup:
    """The pages of the commands ``snapshot`` and ``restore``."""

    def __init__(
        self,
        config: Config,
        admin: AdminConfig,
        machine: StateMachine,
        stats: ServerStats,
        disk: Disk,
        take_snapshot: TakeSnapshot,
        restorer: Restorer,
        monotonic_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._admin = admin
        self._machine = machine
        self._stats = stats
        self._disk = disk
        self._take_snapshot = take_snapshot
        self._restorer = restorer
        self._monotonic_ms = monotonic_ms
        self._snapshot_limit = RateLimit(admin.rate_limit_ms)
        self._restore_limit = RateLimit(admin.rate_limit_ms)

    def pages(self) -> dict[str, Page]:
        """Return the pages by the names of the commands."""
        snapshot, restore = self._snapshot, self._restore
        return {"snapshot": snapshot, "snap": snapshot, "restore": restore, "rest": restore}

    # --- Snapshot

    def _snapshot(self, request: Request, exchange: Exchange) -> None:
        refusal = self._refusal("snapshot", "GET", request)
        stats = self._stats
        if refusal is None and not self._admin.offers_snapshot:
            refusal = _error(
                "snapshot", HTTPStatus.SERVICE_UNAVAILABLE, _DISABLED.format("snapshot")
            )
        if refusal is None and not self._snapshot_limit.allows(self._monotonic_ms()):
            stats.snapshots_rate_limited += 1
            refusal = _error("snapshot", HTTPStatus.TOO_MANY_REQUESTS, self._too_soon())
        if refusal is not None:
            exchange.respond(refusal)
            return

        def taken(path: Path | None, zxid: int) -> None:
            if path is None:
                stats.snapshot_errors += 1
                message = "the snapshot could not be written; the server's log has the reason"
                exchange.respond(_error("snapshot", HTTPStatus.INTERNAL_SERVER_ERROR, message))
            else:
                exchange.respond(self._snapshot_response(request, path, zxid))

        self._take_snapshot(taken)

    def _snapshot_response(self, request: Request, path: Path, zxid: int) -> Response:
        try:
            file = self._disk.open(path)
        except OSError as error:
            return self._snapshot_failed(error)
        size_bytes = file.size_bytes + _TRAILER_BYTES
        headers = (("last_zxid", f"0x{zxid:x}"), ("snapshot_size", str(size_bytes)))
        if request.query.get("streaming", "true").lower() != "true":
            file.close()
            answer: dict[str, object] = {"command": "snapshot", "error": None}
            return json_response(HTTPStatus.OK, answer, headers)
        return Response(
            HTTPStatus.OK,
            "application/octet-stream",
            _stream(file, zxid),
            headers,
            failed=self._snapshot_failed,
        )

    def _snapshot_failed(self, error: Exception) -> Response:
        self._stats.snapshot_errors += 1
        return _error("snapshot", HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    # --- Restore

    def _restore(self, request: Request, exchange: Exchange) -> Upload | None:
        refusal = self._refusal("restore", "POST", request)
        if refusal is None and not self._admin.offers_restore:
            refusal = _error("restore", HTTPStatus.SERVICE_UNAVAILABLE, _DISABLED.format("restore"))
        if refusal is None and not self._restore_limit.allows(self._monotonic_ms()):
            self._stats.restores_rate_limited += 1
            refusal = _error("restore", HTTPStatus.TOO_MANY_REQUESTS, self._too_soon())
        if refusal is not None:
            exchange.respond(refusal)
            return None
        began_ms = self._monotonic_ms()

        def done(result: int | RestoreError) -> None:
            if isinstance(result, RestoreError):
                self._stats.restore_errors += 1
                log.warning("%s (requested by %s)", result, request.address)
                message = str(result)
                exchange.respond(_error("restore", HTTPStatus.INTERNAL_SERVER_ERROR, message))
                return
            self._stats.restores.add(self._monotonic_ms() - began_ms)
            answer: dict[str, object] = {"last_zxid": result, "command": "restore", "error": None}
            exchange.respond(json_response(HTTPStatus.OK, answer))

        try:
            return self._restorer.begin(exchange.go_on, done)
        except RestoreError as error:
            exchange.respond(_error("restore", HTTPStatus.CONFLICT, str(error)))
            return None

    # --- Permission

    def _refusal(self, command: str, method: str, request: Request) -> Response | None:
        """Return the error if a client is not allowed to use a command; None if it is allowed."""
        if request.method != method:
            return _error(
                command, HTTPStatus.METHOD_NOT_ALLOWED, f"{command}: use the method {method}"
            )
        if request.role is not None:
            return None  # the guard has checked that the role is full
        header = request.headers.get("authorization")
        if header is None:
            message = "Auth info is missing for the command"
            return _error(command, HTTPStatus.UNAUTHORIZED, message)
        parts = header.split(" ")
        ids: tuple[Id, ...] = ()
        if len(parts) <= 2:
            credentials = parts[1].encode("utf-8", "replace") if len(parts) == 2 else None
            ids = access.authenticate(parts[0], credentials, request.address, self._config.digests)
        if not ids:
            self._stats.auth_failures += 1
            return _error(command, HTTPStatus.UNAUTHORIZED, "Not authenticated")
        acl = self._machine.tree.stored_acl_of("/")
        identities = Identities(ids)
        if not self._config.skips_acl and not all(
            acl.allows(identities, permission) for permission in _ALL_PERMISSIONS
        ):
            return _error(command, HTTPStatus.FORBIDDEN, "Not authorized")
        return None

    def _too_soon(self) -> str:
        return (
            f"the command can be used once in {self._admin.rate_limit_ms} ms"
            " (admin.rateLimiterIntervalInMS): try again later"
        )


def _stream(file: ReadableFile, zxid: int) -> Iterator[bytes]:
    """Yield a snapshot, followed by its digest and its zxid, which a restore reads."""
    checksum = 1
    with file:
        for piece in file.blocks(_PIECE_BYTES):
            checksum = zlib.adler32(piece, checksum)
            yield piece
    for part in (_EMPTY_DIGEST, LONG.pack(zxid)):
        seal = LONG.pack(zlib.adler32(part, checksum)) + pack_ustring("/")
        checksum = zlib.adler32(part + seal, checksum)
        yield part + seal


_DISABLED: Final = "zoo.cfg disables this command (admin.{}.enabled=false)"

_EMPTY_DIGEST: Final = LONG.pack(0) + INT.pack(_DIGEST_VERSION) + LONG.pack(0)
"""The digest that Apache writes if it does not compute digests."""


def _error(command: str, status: HTTPStatus, message: str) -> Response:
    return json_response(status, {"command": command, "error": message})
