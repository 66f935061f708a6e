"""HTTP/1.1 for the operator's pages, with the library h11.

This module does not depend on the contents of the pages. Invariants:

- the server answers the requests of a client one at a time, and reads nothing from the client
  while it sends an answer;
- an answer is sent by ``answers.Answer``, so only a small part of it waits for a slow client;
- a request's head has at most ``MAX_HEADER_BYTES``, and a body that no page reads has at most
  ``MAX_BODY_BYTES``;
- a client that does not complete a request in time is disconnected.

For a malformed request, an unknown path and an unknown method, the answer is a status and a
sentence.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

import h11

from zoolet.server.operator.answers import UNSENT_BYTES, Answer, Answers
from zoolet.server.operator.roles import Role
from zoolet.server.sockets.admission import AcceptedSocket

MAX_HEADER_BYTES: Final = 16 << 10
MAX_BODY_BYTES: Final = 1 << 20


class Request(NamedTuple):
    """A request.

    Attributes:
        method: the HTTP method.
        path: the path of the URL.
        query: the arguments in the URL; a repeated argument has its last value.
        headers: the headers, by their names in lower case.
        address: the IP address of the client.
        subject: the subject of the client's certificate; "" if the client has none.
        role: what the client may do; None if clients have no roles.
    """

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    address: str
    subject: str = ""
    role: Role | None = None


class Response(NamedTuple):
    """The answer to a request.

    Attributes:
        status: the HTTP status.
        content_type: the value of the header ``Content-Type``.
        chunks: the body; each ``next`` does at most about 1 ms of work.
        headers: additional headers.
        is_large: whether the chunks need much memory, because they copy the keys of one of the
            server's tables. Few such answers are made at the same time (``answers.Answers``).
        failed: the function that returns the answer to send instead if the body fails before any
            of it is sent; None means status 500 with the error's message.
    """

    status: HTTPStatus
    content_type: str
    chunks: Iterator[bytes]
    headers: tuple[tuple[str, str], ...] = ()
    is_large: bool = False
    failed: "Callable[[Exception], Response] | None" = None


class Upload(Protocol):
    """The receiver of a request's body."""

    @property
    def has_room(self) -> bool:
        """Whether the receiver accepts more; if not, it calls ``Exchange.go_on`` later."""
        ...

    def take(self, data: bytes) -> None:
        """Process a piece of the body."""
        ...

    def finish(self) -> None:
        """Record that the body is complete."""
        ...

    def cancel(self) -> None:
        """Record that the client disconnected before the answer."""
        ...


class Exchange(Protocol):
    """A request that waits for its answer."""

    def respond(self, response: Response) -> None:
        """Send the answer to the request."""
        ...

    def go_on(self) -> None:
        """Continue to read the body."""
        ...


Page = Callable[[Request, Exchange], Upload | None]
"""Answers a request: it calls ``Exchange.respond`` exactly one time, immediately or later.

It returns the receiver of the request's body; None if it does not read the body."""


def text(status: HTTPStatus, message: str) -> Response:
    """Return a response with a message in plain text."""
    body = f"{message}\n".encode("utf-8", "replace")
    return Response(status, "text/plain; charset=utf-8", iter([body]))


class HttpConnection(asyncio.Protocol):
    """The connection of one client: its current Exchange, and the sink of its answers."""

    def __init__(
        self,
        page: Page,
        answers: Answers,
        idle_timeout_s: float,
        accepted: AcceptedSocket | None = None,
    ) -> None:
        """Create a connection that ``page`` answers and that closes if idle for the timeout.

        ``accepted`` is notified when the connection opens and closes.
        """
        self._page = page
        self._answers = answers
        self._accepted = accepted
        self._idle_timeout_s = idle_timeout_s
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER_BYTES)
        self._transport: asyncio.Transport | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._address = ""
        self._subject = ""
        self._client_reads = True
        self._is_taking = False
        self._is_reading = True
        self._is_ended = False
        self._body_bytes = 0
        self._is_asked = False
        self._is_head = False
        self._has_body = False
        self._name = ""
        self._upload: Upload | None = None
        self._response: Response | None = None
        self._answer: Answer | None = None
        self._unsent: bytes | None = None
        self._head_is_sent = False

    # --- Asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request."""
        self._transport = cast("asyncio.Transport", transport)
        if self._accepted is not None:
            self._accepted.opened(self._transport)
        peer = self._transport.get_extra_info("peername")
        self._address = peer[0] if peer else ""
        if (secured := self._transport.get_extra_info("ssl_object")) is not None:
            from zoolet.server.sockets import operator_certificates  # noqa: PLC0415 -- with TLS

            self._subject = operator_certificates.subject_of(secured)
        self._transport.set_write_buffer_limits(high=UNSENT_BYTES)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the answer and the upload of the lost connection."""
        del exc
        self._transport = None
        if self._accepted is not None:
            self._accepted.closed()
        self._stop_waiting()
        if self._answer is not None:
            self._answer.stop()
            self._answer = None
        self._cancel_upload()

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if not self._is_ended:
            self._http.receive_data(data)
            self._take()

    def eof_received(self) -> bool:
        """Continue to answer a client that sends no further requests."""
        if not self._is_ended:
            with suppress(RuntimeError):  # h11 refuses a second end of the stream
                self._http.receive_data(b"")
            self._take()
        return True

    def pause_writing(self) -> None:
        """Record that the client does not read."""
        self._client_reads = False

    def resume_writing(self) -> None:
        """Continue the answer: the client reads again."""
        self._client_reads = True
        if self._answer is not None:
            self._answer.go_on()

    # --- Exchange

    def respond(self, response: Response) -> None:
        """Send the answer to the client's last request."""
        self._cancel_upload()
        if self._transport is None or not self._is_asked or self._answer is not None:
            return
        self._stop_waiting()
        self._response = response
        self._head_is_sent = False
        self._unsent = None
        self._answer = self._answers.new(self._name, response.chunks, is_large=response.is_large)
        self._answer.begin(self)

    def go_on(self) -> None:
        """Continue to read the body."""
        self._take()

    # --- Answers.Sink

    @property
    def has_room(self) -> bool:
        """Whether the client has read enough for one more chunk."""
        return self._client_reads

    def send_chunk(self, chunk: bytes) -> None:
        """Send a chunk; keep the first until the next, because it may be the whole body."""
        if self._unsent is None and not self._head_is_sent:
            self._unsent = chunk
            return
        self._send_head(None)
        before, self._unsent = self._unsent or b"", None
        self._send(h11.Data(data=before + chunk))

    def end_answer(self) -> None:
        """Complete the answer and process the next request."""
        body, self._unsent = self._unsent or b"", None
        self._send_head(len(body))
        if body:
            self._send(h11.Data(data=body))
        self._send(h11.EndOfMessage())
        self._answer = None
        self._is_asked = False
        self._wait()
        if self._http.our_state is h11.MUST_CLOSE and self._http.their_state is not h11.SEND_BODY:
            self._close()
        else:
            self._take()

    def fail_answer(self, error: Exception) -> None:
        """Send an error as the answer; disconnect if a part of the answer is already sent."""
        response, self._answer = self._response, None
        if self._head_is_sent or response is None:
            self.abort()
        elif response.failed is None:
            self.respond(text(HTTPStatus.INTERNAL_SERVER_ERROR, str(error)))
        else:
            self.respond(response.failed(error))

    def abort(self) -> None:
        """Disconnect without delay."""
        self._is_ended = True
        if self._transport is not None:
            self._transport.abort()

    # --- Requests

    def _wait(self) -> None:
        """Start the timeout for the client's next request."""
        self._stop_waiting()
        loop = asyncio.get_running_loop()
        self._idle = loop.call_later(self._idle_timeout_s, self.abort)

    def _stop_waiting(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _take(self) -> None:
        """Process the received events until none is left or the next must wait."""
        if self._is_taking:
            return  # the page answered immediately, and the loop below is still running
        self._is_taking = True
        try:
            while self._may_take() and self._take_event():
                pass
        finally:
            self._is_taking = False
        self._read_or_wait()

    def _may_take(self) -> bool:
        if self._is_ended or self._transport is None or self._answer is not None:
            return False
        if self._upload is not None:
            return self._upload.has_room
        # After a request's end, the next request must wait for the answer.
        return not self._is_asked or self._http.their_state is h11.SEND_BODY

    def _read_or_wait(self) -> None:
        """Read from the socket only while received bytes can be processed."""
        if self._transport is None or self._is_ended:
            return
        wanted = self._may_take()
        if wanted != self._is_reading:
            self._is_reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _take_event(self) -> bool:
        """Process the next received event; return whether there was one and more can follow."""
        http = self._http
        if http.our_state is h11.DONE and http.their_state is h11.DONE:
            http.start_next_cycle()
            self._is_head = False
        try:
            event = http.next_event()
            if isinstance(event, h11.Request):
                self._ask(event)
        except h11.RemoteProtocolError as error:
            self._refuse(error)
            return False
        if isinstance(event, h11.Request):
            return True
        if isinstance(event, h11.Data):
            self._take_body(event.data)
        elif isinstance(event, h11.EndOfMessage):
            if self._is_asked and self._answer is None:
                self._body_ended()
            if http.our_state is h11.MUST_CLOSE:
                self._close()
        elif isinstance(event, h11.ConnectionClosed):
            self._close()
        return isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed)

    def _ask(self, event: h11.Request) -> None:
        """Pass a request to the page; raises RemoteProtocolError if it cannot be answered."""
        method = event.method.decode()
        self._is_head = method == "HEAD"
        try:
            target = urlsplit(event.target.decode("ascii", "replace"))
        except ValueError:  # for example, a bracket without the other one
            raise h11.RemoteProtocolError("the target is not a URL") from None
        if method == "CONNECT":
            raise h11.RemoteProtocolError("this is not a proxy", HTTPStatus.NOT_IMPLEMENTED)
        headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
        self._is_asked = True
        self._body_bytes = 0
        self._name = f"{method} {target.path}"
        self._has_body = "transfer-encoding" in headers or int(headers.get("content-length", 0)) > 0
        if not self._has_body:
            self._http.next_event()  # the end of the message
        query = dict(parse_qsl(target.query))
        request = Request(method, target.path, query, headers, self._address, self._subject)
        upload = self._page(request, self)
        if not self._is_asked or self._answer is not None:
            return
        self._upload = upload
        if not self._has_body:
            self._body_ended()
        elif upload is not None:
            self._wait()
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))

    def _body_ended(self) -> None:
        """Wait for the page without a time limit: a snapshot or a restore may take long."""
        self._stop_waiting()
        if self._upload is not None:
            self._upload.finish()

    def _take_body(self, data: bytes) -> None:
        if self._upload is not None:
            self._wait()  # the timeout is for each pause, because the whole body may take long
            self._upload.take(bytes(data))
            return
        self._body_bytes += len(data)
        if self._body_bytes > MAX_BODY_BYTES:
            self.abort()

    def _cancel_upload(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.cancel()

    def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Answer a malformed request with the error, and close the connection."""
        self._is_asked = False  # a later answer of the page is ignored
        self._cancel_upload()
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            status = HTTPStatus(error.error_status_hint)
            body = f"malformed HTTP request: {error}\n".encode("utf-8", "replace")
            self._response = Response(status, "text/plain; charset=utf-8", iter(()))
            self._head_is_sent = False
            self._send_head(len(body))
            self._send(h11.Data(data=body))
            self._send(h11.EndOfMessage())
        self._close()

    # --- Sending

    def _send_head(self, body_bytes: int | None) -> None:
        """Send the head if it is not sent yet; ``body_bytes`` is None if its length is unknown."""
        response = self._response
        if self._head_is_sent or response is None:
            return
        self._head_is_sent = True
        headers = [("Content-Type", response.content_type), *response.headers]
        if body_bytes is not None:
            headers.append(("Content-Length", str(body_bytes)))
        if self._has_body and self._http.their_state is h11.SEND_BODY:
            headers.append(("Connection", "close"))  # the rest of the body is not read
        reason = response.status.phrase.encode()
        self._send(h11.Response(status_code=response.status, headers=headers, reason=reason))

    def _send(self, event: h11.Event) -> None:
        if self._is_head and isinstance(event, h11.Data):
            return
        data = self._http.send(event)
        if self._transport is not None and data:
            self._transport.write(data)

    def _close(self) -> None:
        """Close after all written bytes are sent; the timer disconnects a client that is idle."""
        self._is_ended = True
        if self._transport is not None:
            self._transport.close()
