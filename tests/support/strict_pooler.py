"""A proxy in front of a PostgreSQL server that refuses settings at the beginning of a session, as PgBouncer does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
_REFUSAL = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0"


@contextmanager
def refusing_settings(port: int) -> Iterator[int]:
    """A block in which the server on *port* can be reached on another port, which is the block's value."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, port), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, port: int) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_pass, args=(client, port), daemon=True).start()


def _pass(client: socket.socket, port: int) -> None:
    with closing(client), suppress(OSError), socket.create_connection(("127.0.0.1", port)) as server:
        beginning = _read_beginning(client)
        while int.from_bytes(beginning[4:8]) in (_SSL_REQUEST, _GSS_REQUEST):
            client.sendall(b"N")
            beginning = _read_beginning(client)
        if b"\0options\0" in beginning:
            client.sendall(b"E" + (len(_REFUSAL) + 4).to_bytes(4) + _REFUSAL)
            return
        server.sendall(beginning)
        back = threading.Thread(target=_copy, args=(server, client), daemon=True)
        back.start()
        _copy(client, server)
        back.join()


def _read_beginning(client: socket.socket) -> bytes:
    data = client.recv(4, socket.MSG_WAITALL)
    return data + client.recv(int.from_bytes(data) - 4, socket.MSG_WAITALL)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
