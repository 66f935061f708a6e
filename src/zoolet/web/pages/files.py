"""Exports that a browser downloads, and imports of files that it has uploaded."""

import asyncio
import dataclasses
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Send

from zoolet.client import AsyncClient
from zoolet.web.access.audit import audited
from zoolet.web.operations.operation import Handle, Kind, Operation, OperationError
from zoolet.web.operations.registry import Operations
from zoolet.web.operations.searching import count_of
from zoolet.web.operations.transferring import IMPORT, Report
from zoolet.web.operations.uploads import MOST_BYTES, Upload, znodes_of
from zoolet.web.pages.answers import RefusedError, answer, done
from zoolet.web.pages.operations import started
from zoolet.web.pages.posting import Form, cluster_of, cluster_url, page, posting, uploading
from zoolet.web.pages.site import site_of, visitor_of
from zoolet.web.pages.transfers import options_in, target_values
from zoolet.web.pages.tree import check_path

EXPORT: Final = Kind("export", "znodes")

SEND_TIMEOUT_S: Final = 60.0
"""The longest wait for a browser that does not read the file."""

_CHUNK: Final = 64 << 10
_CHUNKS_AHEAD: Final = 4
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9._-]+")
_POLL_S: Final = 1.0


class _Pipe:
    """Takes the lines of an export from the operation to the response."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_CHUNKS_AHEAD)
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.is_complete = False
        self.error: Exception | None = None

    async def work(self, handle: Handle, client: AsyncClient, path: str, *, acl: bool) -> None:
        """Export a subtree into the pipe.

        Raises:
            OperationError: the browser does not read the file.
        """
        handle.progress(0, await count_of(client, path))
        waiting: list[str] = []
        size = 0
        znodes = -1
        async for line in client.export_lines(path, with_acl=acl):
            waiting.append(line)
            size += len(line)
            znodes += 1
            if size >= _CHUNK:
                await self._put(waiting)
                handle.progress(znodes)
                waiting, size = [], 0
        await self._put(waiting)
        handle.progress(znodes)
        self.is_complete = True

    async def _put(self, lines: list[str]) -> None:
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._room.acquire()
        except TimeoutError:
            raise OperationError("the browser does not read the file: export it again") from None
        self._chunks.put_nowait("".join(f"{line}\n" for line in lines).encode())

    async def chunk(self, operation: Operation) -> bytes | None:
        """Return the next part of the file; None after its end, also after an error."""
        while True:
            try:
                async with asyncio.timeout(_POLL_S):
                    found = await self._chunks.get()
            except TimeoutError:
                if not operation.is_running and self._chunks.empty():
                    return None
                continue
            self._room.release()
            return found or None

    def end(self) -> None:
        """Note that nothing more comes."""
        self._chunks.put_nowait(b"")


class _Download(StreamingResponse):
    """A file. If it cannot be completed, the connection ends, so the browser reports an error."""

    def __init__(
        self, first: bytes, pipe: _Pipe, operation: Operation, operations: Operations, name: str
    ) -> None:
        super().__init__(
            iter(()),
            media_type="application/x-ndjson",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )
        self._first = first
        self._pipe = pipe
        self._operation = operation
        self._operations = operations

    async def stream_response(self, send: Send) -> None:
        """Send the file."""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            chunk: bytes | None = self._first
            while chunk is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await self._pipe.chunk(self._operation)
            if self._pipe.is_complete:
                await send({"type": "http.response.body", "body": b""})
        finally:
            self._operations.cancel(self._operation, "The browser has ended the download.")


async def _export(request: Request) -> Response:
    """Send the export of a subtree as a file."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    fields = dict(request.query_params)
    path = fields.get("path", "")
    check_path(path)
    pipe = _Pipe()

    async def work(handle: Handle) -> Mapping[str, Any]:
        try:
            async with site.connection(cluster, visitor) as connection:
                acl = not fields.get("no_acls")
                await pipe.work(handle, connection.client, path, acl=acl)
        except Exception as error:
            pipe.error = error
            raise
        finally:
            pipe.end()
        return {}

    operation = site.operations.start(
        visitor,
        EXPORT,
        cluster=cluster.name,
        path=path,
        title=f"Export {path}",
        work=work,
        facts={"path": path},
    )
    try:
        first = await pipe.chunk(operation)
    except BaseException:
        site.operations.cancel(operation)
        raise
    if first is None:
        raise pipe.error or OperationError("the export was cancelled")
    last = path.rpartition("/")[2] or "root"
    name = _NO_NAME.sub("_", f"{cluster.name}-{last}"[:100]) + ".jsonl"
    return _Download(first, pipe, operation, site.operations, name)


async def _import(request: Request) -> Response:
    cluster, path = cluster_of(request), request.query_params.get("path", "")
    check_path(path)
    value = {
        "title": f"Import to {path}",
        "cluster": cluster.name,
        "path": path,
        "most_bytes": MOST_BYTES,
        "_cluster": cluster,
    }
    return answer(request, "import.html", value)


async def _upload(request: Request) -> Response:
    """Take a file from the body of the request."""
    target = request.query_params.get("path", "")
    check_path(target)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length[:19]) > MOST_BYTES:
        raise RefusedError(413, f"the file is larger than {MOST_BYTES >> 20} MiB")
    return await _received(request, target, request.stream())


async def _paste(request: Request, form: Form) -> Response:
    """Take the lines of a file from a form, for browsers without scripts."""
    target = form.get("path", "")
    check_path(target)
    lines = form.get("lines", "").replace("\r\n", "\n").encode()

    async def chunks() -> AsyncIterator[bytes]:
        yield lines

    return await _received(request, target, chunks())


async def _received(request: Request, target: str, chunks: AsyncIterator[bytes]) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    upload = await site.uploads.receive(visitor, cluster.name, target, chunks)
    url = cluster_url(request, f"import/{upload.id}")
    return done(request, url, id=upload.id, page=url, znodes=upload.znodes)


def _upload_of(request: Request) -> Upload:
    key, cluster = request.path_params["upload"], cluster_of(request)
    found = site_of(request).uploads.find(visitor_of(request), cluster.name, key)
    if found is None:
        raise RefusedError(404, "this file is not here any more: upload it again")
    return found


async def _confirm(request: Request) -> Response:
    """Show what an import would do."""
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    upload, fields = _upload_of(request), dict(request.query_params)
    options = options_in(fields)
    async with site.connection(cluster, visitor) as connection:
        at_target = await target_values(connection.client, upload.target, options)
    value = {
        "title": f"Import to {upload.target}",
        "cluster": cluster.name,
        "id": upload.id,
        "target": upload.target,
        "count": upload.znodes,
        "ephemerals": upload.ephemerals,
        "size_bytes": upload.size_bytes,
        "data_bytes": upload.data_bytes,
        "first_paths": upload.first_paths,
        **at_target,
        "_options": options,
        "_cluster": cluster,
    }
    return answer(request, "import_confirm.html", value)


async def _start_import(request: Request, form: Form) -> Response:
    site, visitor, cluster = site_of(request), visitor_of(request), cluster_of(request)
    upload, options = _upload_of(request), options_in(form)

    async def work(handle: Handle) -> Mapping[str, Any]:
        chosen = dataclasses.asdict(options)
        with audited(visitor, cluster.name, "import", upload.target, **chosen) as record:
            place = f"{upload.target} in {cluster.name}"
            report = Report(handle, record, "the file", place)
            with report.told():
                async with site.connection(cluster, visitor) as connection:
                    await connection.client.write_subtree(
                        znodes_of(upload),
                        replaces=options.replaces,
                        with_acl=options.with_acl,
                        keeps_ephemerals=options.keeps_ephemerals,
                        progress=report.note,
                    )
        return {}

    upload.operation = site.operations.start(
        visitor,
        IMPORT,
        cluster=cluster.name,
        path=upload.target,
        title=f"Import to {upload.target} in {cluster.name}",
        work=work,
        total=upload.znodes,
        facts={"path": upload.target},
        end_url=cluster_url(request, "tree", {"path": upload.target}),
    )
    return started(request, upload.operation)


def routes() -> list[Route]:
    """Return the routes of this module."""
    url = "/c/{cluster}/import"
    return [
        page("/c/{cluster}/export", _export, "export"),
        page(url, _import, "import"),
        uploading("/c/{cluster}/upload", _upload, "upload"),
        posting(url, _paste, "do-paste", changes=True),
        page(f"{url}/{{upload}}", _confirm, "import-confirm"),
        posting(f"{url}/{{upload}}", _start_import, "do-import", changes=True),
    ]
