"""The Python API: names in, records out; everything that it returns or raises can be imported from one place."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction
from pydantic import BaseModel

import django_cfg.backup as api
from django_cfg import BackupCopyConfig, BackupStorageConfig
from django_cfg.backup import errors
from django_cfg.backup.services.project import clock
from tests.support.django_project import Site

FUNCTIONS = sorted(name for name in api.__all__ if inspect.isfunction(getattr(api, name)))
CODE = Path(__file__).parents[1] / "support" / "python_api_user.py"


def types_of(annotation: Any) -> Iterator[type]:
    """Yield the classes of this package that *annotation* names."""
    for argument in typing.get_args(annotation):
        yield from types_of(argument)
    if isinstance(annotation, type) and annotation.__module__.startswith("django_cfg"):
        yield annotation


def fields_of(kind: type) -> Iterator[Any]:
    if issubclass(kind, BaseModel):
        yield from (field.annotation for field in kind.model_fields.values() if not field.exclude)
    elif dataclasses.is_dataclass(kind):
        yield from typing.get_type_hints(kind).values()


class TestNames:
    def test_all_are_listed_and_can_be_resolved(self) -> None:
        assert dir(api) == sorted(api.__all__)
        assert all(getattr(api, name).__name__ == name for name in api.__all__ if name not in ("SILENT", "NO_KEY"))

    def test_every_error_is_exported(self) -> None:
        tree = {name for name, value in vars(errors).items() if inspect.isclass(value) and not name.startswith("_")}
        assert {name for name in tree if issubclass(getattr(errors, name), errors.BackupError)} <= set(api.__all__)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_signatures_and_results_name_exported_types_alone(self, name: str) -> None:
        """Also what the fields of the results hold."""
        hints = typing.get_type_hints(getattr(api, name))
        left, seen = [kind for hint in hints.values() for kind in types_of(hint)], set[type]()
        while left:
            kind = left.pop()
            if kind not in seen:
                seen.add(kind)
                left += [found for annotation in fields_of(kind) for found in types_of(annotation)]
        assert {kind.__name__ for kind in seen} <= set(api.__all__)

    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_every_parameter_is_described(self, name: str) -> None:
        function = getattr(api, name)
        parameters = inspect.signature(function).parameters
        assert [p for p in parameters if f":param {p}:" not in function.__doc__] == []
        assert "alias" not in parameters


def test_the_code_of_a_user_calls_every_function() -> None:
    """``make lint`` checks its types, and the test below."""
    used = CODE.read_text()
    assert [name for name in FUNCTIONS if f"{name}(" not in used] == []


@pytest.mark.long
def test_the_code_of_a_user_passes_strict_type_checks(tmp_path: Path) -> None:
    """As users check theirs: without the plugins of this project."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--cache-dir", str(tmp_path), str(CODE)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout


def failed(call: Callable[[], object], kind: type[errors.BackupError]) -> tuple[str | None, str | None]:
    """Return the database and the backup that the error of *call* carries."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value.database, caught.value.backup


@pytest.mark.usefixtures("books")
class TestCalls:
    def test_a_backup_is_found_pinned_and_deleted_by_its_name(self, site: Site) -> None:
        made = api.create_backup(database="default", note="before the sale")
        api.create_backup()
        assert api.get_backup(made.name) == made
        assert api.pin_backup(made.name, why="the sale") == made
        assert failed(lambda: api.delete_backup(made.name), errors.UsageError) == ("default", made.name)
        assert api.unpin_backup(made.name) == made
        assert api.delete_backup(made.name) == made.name
        assert made.name not in [manifest.name for manifest in api.list_backups()]

    def test_what_is_protected_is_deleted_by_force(self, site: Site) -> None:
        made = api.create_backup()
        assert failed(lambda: api.delete_backup("latest"), errors.UsageError) == ("default", made.name)
        assert api.delete_backup("latest", force=True) == made.name

    def test_a_backup_is_downloaded(self, site: Site, tmp_path: Path) -> None:
        made = api.create_backup()
        path = api.download_backup("latest", tmp_path / "here")
        assert path.stat().st_size == made.size
        again = failed(lambda: api.download_backup("latest", str(tmp_path / "here")), errors.StorageError)
        assert again == ("default", made.name)
        plain = api.download_backup(made.name, tmp_path / "plain", plain=True)
        assert plain.read_bytes().startswith(b"SQLite format 3")

    def test_status_check_and_prune(self, site: Site) -> None:
        assert api.backup_status().sources[0].last_backup is None
        made = api.create_backup()
        assert api.backup_status().sources[0].last_backup == made.name
        assert {finding.level for finding in api.check_backups()} <= {api.Level.OK, api.Level.WARNING}
        assert [decision.name for decision in api.prune_backups(dry_run=True).decisions] == [made.name]

    def test_a_backup_is_copied(self, site: Site) -> None:
        made = api.create_backup()
        with pytest.raises(errors.UsageError, match="one place"):
            api.copy_backup(made.name)
        attic = BackupCopyConfig(name="attic", storage=BackupStorageConfig(local_path=str(site.root / "attic")))
        site.configure(copies=[attic])
        assert [(outcome.place, outcome.source) for outcome in api.copy_backup(made.name)] == [("attic", "main")]
        assert api.copy_backup(made.name, "attic") == []
        assert failed(lambda: api.copy_backup(made.name, "cellar"), errors.UsageError) == (None, made.name)

    def test_an_archive_is_adopted(self, site: Site) -> None:
        missing = str(site.root / "older.sqlite3")
        assert failed(lambda: api.adopt_backup(missing, "default"), errors.UsageError) == ("default", None)
        Path(missing).write_bytes(site.database.read_bytes())
        result = api.adopt_backup(missing, "default", taken_at="2026-11-20")
        assert (result.already, api.get_backup(result.manifest.name)) == (False, result.manifest)

    def test_a_copy_that_fails_is_an_error(self, site: Site) -> None:
        made = api.create_backup()
        attic = BackupCopyConfig(name="attic", storage=BackupStorageConfig(local_path=str(site.root / "attic")))
        site.configure(copies=[attic])
        (site.root / "attic").write_text("a file where a folder has to be")
        assert failed(lambda: api.copy_backup(made.name, "attic"), errors.StorageError) == ("default", made.name)

    def test_all_databases_are_backed_up_or_it_is_an_error(self, site: Site) -> None:
        """Also for a caller that does not look at the result."""
        second = site.root / "second.sqlite3"
        site.sql("CREATE TABLE book (id integer)", database=second)
        sqlite = "django.db.backends.sqlite3"
        site.use_databases(
            default={"ENGINE": sqlite, "NAME": str(site.database)}, shop={"ENGINE": sqlite, "NAME": str(second)}
        )
        made = api.create_backups(note="both")
        assert [(manifest.source.database, manifest.note) for manifest in made] == [
            ("default", "both"),
            ("shop", "both"),
        ]
        assert [manifest.source.database for manifest in api.list_backups(database="shop")] == ["shop"]
        second.unlink()
        with pytest.raises(errors.SomeFailed) as caught:
            api.create_backups()
        assert [(alias, error.database) for alias, error in caught.value.errors.items()] == [("shop", "shop")]
        assert caught.value.made == (api.get_backup(database="default").name,)


class TestErrors:
    def test_they_carry_what_was_asked_for(self, site: Site) -> None:
        assert failed(lambda: api.create_backup("nosuch"), errors.UsageError) == ("nosuch", None)
        assert failed(lambda: api.get_backup("nosuch"), errors.BackupNotFound) == (None, "nosuch")
        assert failed(api.get_backup, errors.BackupNotFound) == (None, None)
        assert failed(lambda: api.verify_backup(database="nosuch"), errors.UsageError) == ("nosuch", None)
        assert errors.BackupError("not of the API").database is None

    def test_they_carry_the_full_name_once_the_backup_is_found(self, site: Site, books: Path) -> None:
        made = api.create_backup()
        archive = site.backups / made.archive_key
        content = archive.read_bytes()
        archive.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        for call in (api.verify_backup, api.drill_backup, api.restore_backup):
            assert failed(lambda call=call: call("latest"), errors.VerificationFailed) == ("default", made.name)  # type: ignore[misc]

    def test_of_a_restore_they_carry_the_target(self, site: Site, books: Path) -> None:
        made = api.create_backup()
        assert failed(lambda: api.restore_backup(to="nosuch"), errors.UsageError) == ("nosuch", made.name)


class TestMoments:
    @pytest.fixture
    def three(self, site: Site, books: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The names of backups of three nights, the newest first; made at 03:00 in Berlin."""
        names = []
        for day in (18, 19, 20):
            with monkeypatch.context() as patch:
                patch.setattr(clock, "now", lambda day=day: datetime(2025, 11, day, 2, 0, tzinfo=UTC))
                names.append(site.create().name)
        return names[::-1]

    def test_the_newest_that_is_old_enough_is_restored(self, site: Site, three: list[str]) -> None:
        """At 03:00 itself, the one of 03:00; a moment without a time zone is in TIME_ZONE."""
        at = datetime(2025, 11, 19, 3, 0)
        assert api.restore_backup(at=at, discard_old=True).restored == three[1]
        earlier = at.astimezone(UTC) - timedelta(microseconds=1)
        with pytest.raises(errors.BackupNotFound, match=rf"the oldest one is {three[2]}, of 2025-11-18 03:00:00 CET"):
            api.restore_backup(at=earlier.replace(day=18), database="default")

    def test_a_moment_and_a_name_are_refused(self, site: Site, three: list[str]) -> None:
        with pytest.raises(errors.UsageError, match="one of the two"):
            api.restore_backup(three[0], at=datetime(2025, 11, 19, 3, 0))

    def test_backups_of_a_period_are_listed(self, site: Site, three: list[str]) -> None:
        since = datetime(2025, 11, 19, 2, 0, tzinfo=UTC)
        assert [manifest.name for manifest in api.list_backups(since=since)] == three[:2]
        assert [manifest.name for manifest in api.list_backups(since=since, until=since)] == three[1:2]
        with pytest.raises(errors.UsageError, match="ends before it begins"):
            api.list_backups(since=since, until=since - timedelta(seconds=1))


class TestTransactions:
    def test_a_restore_in_one_is_refused(self, site: Site, books: Path) -> None:
        """It would close the connection: what the caller has written before and writes afterwards would be lost."""
        name = site.create().name
        with transaction.atomic():
            connection.cursor().execute("DELETE FROM book")
            with pytest.raises(errors.RestoreRefused, match="in a transaction of the database 'default'") as refusal:
                api.restore_backup(name)
            assert (refusal.value.database, refusal.value.backup) == ("default", name)
        assert site.sql("SELECT count(*) FROM book") == [(0,)]
        assert api.restore_backup(name).restored == name

    def test_a_transaction_of_another_database_is_in_no_way(self, site: Site, books: Path) -> None:
        sqlite, second = "django.db.backends.sqlite3", site.root / "second.sqlite3"
        databases = {"default": site.database, "second": second}
        site.use_databases(**{alias: {"ENGINE": sqlite, "NAME": str(path)} for alias, path in databases.items()})
        name = site.create().name
        with transaction.atomic(using="second"):
            assert api.restore_backup(name).restored == name

    def test_what_is_not_committed_is_not_backed_up(self, site: Site, books: Path) -> None:
        with transaction.atomic():
            connection.cursor().execute("DELETE FROM book")
            manifest = api.create_backup()
        assert {table.name: table.rows for table in manifest.tables}["book"] == 200


def test_a_call_with_wrong_arguments_is_refused_as_python_does(site: Site) -> None:
    with pytest.raises(TypeError, match=r"create_backup\(\) got an unexpected keyword argument 'alias'"):
        api.create_backup(alias="default")  # type: ignore[call-arg]
