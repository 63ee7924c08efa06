"""A connection that is lost at the COMMIT: what has become of the database is looked at, and never guessed."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql import psql_session
from django_cfg.backup.errors import RestoreFailed
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer

COMMIT = b"COMMIT;\0"  # as psql sends it


class Wire:
    """Passes bytes on between clients and a server; cuts a client off at its COMMIT, before or after it arrives."""

    def __init__(self, port: int, *, arrives: bool, for_good: bool) -> None:
        self._server, self._arrives, self._for_good = ("127.0.0.1", port), arrives, for_good
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        with suppress(OSError):  # closed for good already
            self._door.shutdown(socket.SHUT_RDWR)
        self._door.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        try:
            while True:
                client, _ = self._door.accept()
                self._threads.append(threading.Thread(target=self._pass_on, args=(client,)))
                self._threads[-1].start()
        except OSError:
            return

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            while True:
                for end in select.select([client, server], [], [])[0]:
                    block = end.recv(1 << 16)
                    is_commit = end is client and COMMIT in block
                    if block and (self._arrives or not is_commit):
                        (server if end is client else client).sendall(block)
                    if is_commit and self._arrives:
                        server.recv(1 << 16)
                    if is_commit and self._for_good:
                        self._door.shutdown(socket.SHUT_RDWR)
                    if is_commit or not block:
                        return


@pytest.fixture
def cut(postgresql_server: PostgreSQLServer) -> Iterator[Callable[..., PostgreSQLServer]]:
    wires: list[Wire] = []

    def through(*, arrives: bool, for_good: bool = False) -> PostgreSQLServer:
        create_backup()
        postgresql_server.run("DELETE FROM book WHERE id > 10")
        wires.append(Wire(postgresql_server.server.port, arrives=arrives, for_good=for_good))
        postgresql_server.use(PORT=wires[0].port, OPTIONS={"sslmode": "disable", "gssencmode": "disable"})
        return postgresql_server

    yield through
    postgresql_server.site.close()
    for wire in wires:
        wire.close()


def test_a_commit_that_arrived(cut: Callable[..., PostgreSQLServer]) -> None:
    server = cut(arrives=True)
    restore_backup(in_place=True, discard_old=True)
    assert server.count("book") == BOOKS


def test_a_commit_that_did_not_arrive(cut: Callable[..., PostgreSQLServer]) -> None:
    server = cut(arrives=False)
    before = server.text()
    with pytest.raises(RestoreFailed, match="it is as it was"):
        restore_backup(in_place=True, discard_old=True)
    fail_unless_equal(before, server.text())


def test_the_server_does_not_answer_afterwards(
    cut: Callable[..., PostgreSQLServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psql_session, "_STATUS_TIMEOUT", 1)
    cut(arrives=True, for_good=True)
    with pytest.raises(RestoreFailed, match="it is not known whether") as failure:
        restore_backup(in_place=True, discard_old=True)
    assert "it is as it was" not in str(failure.value)
