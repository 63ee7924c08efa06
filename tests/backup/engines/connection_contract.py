"""The connection that settings.DATABASES describes is used by the driver and by the vendor's programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.errors import ConfigurationError, DatabaseUnavailable, ToolNotFound
from tests.support.databases import BOOKS, DatabaseServer
from tests.support.django_project import Site

Changes = Mapping[str, Any]  # of an entry of settings.DATABASES
PASSWORDS = ("a b", 'it\'s "quoted" \\', "%40 $HOME ;#", "#\\n\\s\\", "'x'#y", '"', "[client]")


def works(server: DatabaseServer) -> None:
    """Backup and restore succeed, both the driver's part and the programs'."""
    create_backup()
    server.run("DELETE FROM book")
    server.site.close()
    restore_backup()
    assert server.count("book") == BOOKS


class ConnectionContract:
    """Inherit, and define the fixtures ``server`` and ``tls`` and what has no value here."""

    passwords: Sequence[str] = PASSWORDS
    database_names: Sequence[str]  # that would be an option, a pattern or SQL
    site_options: Changes  # OPTIONS with which the server cannot be used
    own_options: Changes  # that replace them
    key_password: str  # the option that holds it
    program: str
    missing_program: str  # what its absence says

    @pytest.fixture
    def server(self, site: Site) -> DatabaseServer:
        raise NotImplementedError

    @pytest.fixture
    def tls(self, site: Site) -> DatabaseServer:
        """A server with a certificate of its own making."""
        raise NotImplementedError

    def sockets(self, server: DatabaseServer) -> Iterable[Changes]:
        """The ways to name the server's socket."""
        raise NotImplementedError

    def named(self, server: DatabaseServer, name: str) -> AbstractContextManager[None]:
        """A block during which ``default`` is a database of this name, filled."""
        raise NotImplementedError

    def trusted(self, tls: DatabaseServer) -> Iterable[Changes]:
        """Ways to a server whose certificate is not asked for, or is known."""
        raise NotImplementedError

    def untrusted(self, tls: DatabaseServer) -> Iterable[tuple[Changes, str]]:
        """Ways to one that is not to be trusted, and what is said."""
        raise NotImplementedError

    def read_settings(self, settings: Changes) -> object:
        """Read an entry of settings.DATABASES."""
        raise NotImplementedError

    def find_program(self, folder: Path) -> object:
        """Look for the program in *folder*, "To test"."""
        raise NotImplementedError

    def test_a_unix_socket(self, server: DatabaseServer) -> None:
        for changes in self.sockets(server):
            server.use(**changes)
            works(server)

    def test_any_password(self, server: DatabaseServer) -> None:
        for number, password in enumerate(self.passwords):
            server.use(USER=server.superuser(f"clerk_{number}", password), PASSWORD=password)
            works(server)

    def test_odd_database_and_user_names(self, server: DatabaseServer) -> None:
        """Names that look like an option, a pattern or SQL are names; long ones leave room for those of restores."""
        user = server.superuser(f"{server.quote}u ser's{server.quote}", "pw")
        for name in self.database_names:
            with self.named(server, name):
                server.use(USER=user, PASSWORD="pw")
                works(server)

    def test_connection_overrides_the_settings(self, server: DatabaseServer) -> None:
        """A user, password and port of our own, where the site's would not do."""
        server.use(USER="absent", PASSWORD="", PORT=1, OPTIONS=self.site_options)
        process = server.server
        own = {"USER": process.USER, "PASSWORD": process.PASSWORD, "PORT": process.port, "OPTIONS": self.own_options}
        server.site.configure(databases=[{"alias": "default", "connection": own}])
        works(server)

    def test_the_password_of_a_key_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"TLS key|sslpassword") as refusal:
            self.read_settings({"NAME": "x", "OPTIONS": {self.key_password: "hush"}})
        assert "hush" not in str(refusal.value)

    def test_tls(self, tls: DatabaseServer) -> None:
        """Both connections are encrypted, and a certificate that is not trusted is refused when it has to be."""
        for changes in self.trusted(tls):
            tls.use(**changes)
            works(tls)
        for changes, message in self.untrusted(tls):
            tls.use(**changes)
            with pytest.raises(DatabaseUnavailable, match=f"(?s){message}"):
                create_backup()

    @pytest.mark.parametrize("script", [None, "#!/bin/sh\nexit 1\n", "#!/bin/sh\necho something else\n", "no script"])
    def test_what_does_not_run_is_no_program(self, tmp_path: Path, script: str | None) -> None:
        if script is not None:
            (tmp_path / self.program).write_text(script)
            (tmp_path / self.program).chmod(0o755)
        with pytest.raises(ToolNotFound, match=f"^To test, {self.missing_program}"):
            self.find_program(tmp_path)
