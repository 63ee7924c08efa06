"""A proxy in front of the S3 server that breaks what passes, as networks and services do."""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.s3_server import S3Server

_OF_THE_CONNECTION = {"connection", "transfer-encoding", "keep-alive", "content-length"}
_PLAIN = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_OF_AN_UPLOAD = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}


@dataclass
class Answer:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


class Cut(Exception):
    """The connection ends without an answer, or after *sent* bytes of *answer*'s body."""

    def __init__(self, answer: Answer | None = None, sent: int = 0) -> None:
        super().__init__()
        self.answer, self.sent = answer, sent


class Exchange:
    """One request on its way; nothing of its body has been read yet."""

    def __init__(self, handler: BaseHTTPRequestHandler, server: S3Server) -> None:
        self.method, self.target = handler.command, handler.path
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.path = unquote(urlsplit(self.target).path)
        self.read = handler.rfile.read
        self.length = int(self.headers.get("content-length", 0))
        self._upstream = server.port
        self.stored = server.data / self.path.lstrip("/")  # the file behind it, on the server's disk

    @property
    def kind(self) -> str:
        """What it is, in S3's words."""
        query = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        if "uploads" in query:
            return "CreateMultipartUpload"
        if "list-type" in query:
            return "ListObjects"
        return (_OF_AN_UPLOAD if "uploadId" in query else _PLAIN).get(self.method, self.method)

    @cached_property
    def body(self) -> bytes:
        return self.read(self.length)

    def forward(self) -> Answer:
        """As it came, the host's name included: it is signed."""
        body = self.body
        connection = HTTPConnection("127.0.0.1", self._upstream, timeout=60)
        try:
            connection.putrequest(self.method, self.target, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name not in _OF_THE_CONNECTION:
                    connection.putheader(name, value)
            connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            headers = {n: v for n, v in answer.getheaders() if n.lower() not in _OF_THE_CONNECTION}
            content = answer.read()
            headers["Content-Length"] = answer.getheader("Content-Length") or str(len(content))
            return Answer(answer.status, content, headers)
        finally:
            connection.close()


Fault = Callable[[Exchange], Answer]


class _Server(ThreadingHTTPServer):
    request_queue_size = 100  # with the five of the standard library, more that come at once wait for a second


class FaultyProxy:
    """Each request of a kind meets the next fault of that kind, then the one that is for all; else it passes."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.seen: list[str] = []  # the kinds of all requests, in order
        self.released = threading.Event()  # what is held goes on
        self._next: dict[str, list[Fault]] = defaultdict(list)
        self._every: dict[str, Fault] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next(self, kind: str, *faults: Fault) -> None:
        self._next[kind] += faults

    def every(self, kind: str, fault: Fault) -> None:
        self._every[kind] = fault

    def repair(self) -> None:
        """Let everything pass again."""
        self._next.clear()
        self._every.clear()

    def hold(self, exchange: Exchange) -> Answer:
        """No answer, as on a line gone dead, until the end of the test."""
        self.released.wait()
        raise Cut

    def answer(self, exchange: Exchange) -> Answer:
        with self._lock:
            self.seen.append(exchange.kind)
            coming = self._next[exchange.kind]
            fault = coming.pop(0) if coming else self._every.get(exchange.kind)
        return fault(exchange) if fault else exchange.forward()


def _handler(proxy: FaultyProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.close_connection = True
            with suppress(ConnectionError):
                try:
                    answer = proxy.answer(Exchange(self, proxy.server))
                    self._send(answer, len(answer.body))
                except Cut as cut:
                    if cut.answer:
                        self._send(cut.answer, cut.sent)
                    self.connection.shutdown(socket.SHUT_RDWR)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815  http.server's names

        def _send(self, answer: Answer, sent: int) -> None:
            self.send_response(answer.status)
            for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(answer.body[:sent])

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  http.server's name
            """Requests are recorded in ``seen``."""

    return Handler


def status(number: int, code: str = "InternalError", message: str = "We failed.") -> Fault:
    """An answer that says no, with S3's explanation."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    return lambda exchange: Answer(number, body if exchange.body is not None else b"")


class Slow:
    """Each answer takes its time, as on a long or crowded line; how many were waited for at once.

    :param expected: none is answered before so many requests wait, or ten seconds are over.
    """

    def __init__(self, seconds: float, *, expected: int = 1) -> None:
        self._seconds, self._expected = seconds, expected
        self._lock = threading.Lock()
        self._are_here = threading.Event()
        self._waiting = 0
        self.most_at_once = 0

    def __call__(self, exchange: Exchange) -> Answer:
        with self._lock:
            self._waiting += 1
            self.most_at_once = max(self.most_at_once, self._waiting)
            if self._waiting == self._expected:
                self._are_here.set()
        self._are_here.wait(10)
        time.sleep(self._seconds)
        with self._lock:  # before the answer goes: after it the next request comes
            self._waiting -= 1
        return exchange.forward()


def drop(exchange: Exchange) -> Answer:
    """The connection ends before anything is read."""
    raise Cut


def cut_in_the_middle(exchange: Exchange) -> Answer:
    """The connection ends when half of the request has come."""
    exchange.read(exchange.length // 2)
    raise Cut


def cut_answer(exchange: Exchange) -> Answer:
    """The connection ends when half of the answer has gone."""
    answer = exchange.forward()
    raise Cut(answer, len(answer.body) // 2)


def lose_answer(exchange: Exchange) -> Answer:
    """The request is carried out, and its answer is lost."""
    exchange.forward()
    raise Cut


def on_condition() -> Fault:
    """What AWS does and rclone does not: ``If-None-Match: *`` refuses an object that exists."""
    lock = threading.Lock()

    def create(exchange: Exchange) -> Answer:
        if exchange.headers.get("if-none-match") != "*":
            return exchange.forward()
        body = exchange.body
        with lock:
            if exchange.stored.exists():
                return Answer(412, b"<Error><Code>PreconditionFailed</Code></Error>" if body is not None else b"")
            return exchange.forward()

    return create


def as_partial(exchange: Exchange) -> Answer:
    """A range is answered with 206, as everywhere but by rclone."""
    answer = exchange.forward()
    return Answer(206, answer.body, answer.headers) if "Content-Range" in answer.headers else answer
