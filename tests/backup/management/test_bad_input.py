"""Bad input causes a one-paragraph error and the right exit code, publishes nothing and leaves the target unchanged."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from django_cfg.backup.manifest import Manifest
from tests.support.django_project import Answer, Site
from tests.support.unprivileged import Unprivileged

SQLITE = "django.db.backends.sqlite3"
ROWS = ("SELECT * FROM author", "SELECT * FROM book", "SELECT name, sql FROM sqlite_master")


@dataclass
class Scene:
    """A site with a database of books and one good backup of it."""

    site: Site
    backup: Manifest

    @property
    def archive(self) -> Path:
        return self.site.backups / self.backup.archive_key

    @property
    def manifest(self) -> Path:
        return self.site.backups / self.backup.key

    def rewrite(self, **values: Any) -> None:
        """Change what the manifest says."""
        self.manifest.write_text(json.dumps({**json.loads(self.manifest.read_text()), **values}))


@pytest.fixture
def scene(site: Site, books: Path) -> Scene:
    return Scene(site, site.create())


def snapshot(site: Site) -> dict[str, object]:
    """Return what bad input may not change: the storage's files, the database's rows, the files next to it."""
    stored = {str(path): path.read_bytes() for path in site.backups.rglob("*") if path.is_file()}
    neighbours = sorted(path.name for path in site.root.iterdir() if path.name.startswith((".", "db.sqlite3")))
    return {"stored": stored, "neighbours": neighbours, "rows": [site.sql(query) for query in ROWS]}


def expect(scene: Scene, command: str, code: int, *words: str) -> Answer:
    """Assert that *command* fails with *code* and an error that holds *words*, and changes nothing."""
    before = snapshot(scene.site)
    answer = scene.site.call(*command.split())
    assert answer.code == code, answer.stderr
    for word in words:
        assert word in answer.stderr
    assert "Traceback" not in answer.stderr
    assert "\n\n" not in answer.stderr
    assert answer.stdout == ""
    assert snapshot(scene.site) == before
    return answer


class TestNames:
    @pytest.mark.parametrize(
        "command",
        [
            "backup_create nosuch",
            "backup_create default nosuch",
            "backup_restore latest --to nosuch --yes",
        ],
    )
    def test_an_unknown_alias_is_wrong_usage(self, scene: Scene, command: str) -> None:
        """The error lists the known aliases."""
        expect(scene, command, 2, "no database 'nosuch' in settings.DATABASES", "aliases are: default.")

    @pytest.mark.parametrize("command", ["show", "restore --yes", "verify", "delete --yes", "download"])
    def test_an_unknown_name_is_exit_code_5(self, scene: Scene, command: str) -> None:
        """The error says where the backup was searched, and which command lists the names."""
        words = ("There is no backup 'nosuch'", str(scene.site.backups), "`backup_list --all`")
        expect(scene, f"backup_{command} nosuch", 5, *words)

    @pytest.mark.parametrize("command", ["show latest", "restore latest --yes", "delete latest --yes", "restore --yes"])
    def test_no_backup_at_all_is_exit_code_5(self, site: Site, books: Path, command: str) -> None:
        answer = site.call(*f"backup_{command}".split())
        assert answer.code == 5
        assert "There is no backup of tests/test" in answer.stderr

    @pytest.mark.parametrize("command", ["show", "restore --yes", "verify", "delete --yes", "download"])
    def test_an_ambiguous_name_is_wrong_usage(self, scene: Scene, command: str) -> None:
        """The error lists the names that match."""
        second = scene.site.create()
        words = ("'default_' fits 2 backups", scene.backup.name, second.name, "Write more of the name.")
        expect(scene, f"backup_{command} default_", 2, *words)


class TestPlaces:
    @pytest.mark.parametrize(
        "command", ["create", "list", "show latest", "restore --yes", "verify", "delete latest --yes"]
    )
    def test_an_unreadable_folder_is_an_error(
        self, site: Site, books: Path, open_folder: Path, unprivileged: Unprivileged, command: str
    ) -> None:
        """It is not mistaken for an empty one."""
        backups = open_folder / "backups"
        site.database = Path(shutil.copy(books, open_folder / "db.sqlite3"))
        site.database.chmod(0o666)
        site.use_databases(default={"ENGINE": SQLITE, "NAME": str(site.database)})
        site.configure(storage={"local_path": str(backups)})
        site.create()
        rows = site.sql(*ROWS[:2])
        backups.chmod(0o000)
        with unprivileged():
            answer = site.call(*f"backup_{command}".split())
        backups.chmod(0o700)
        assert answer.code == 1
        assert f"{backups}" in answer.stderr
        assert "Permission denied." in answer.stderr
        assert "\n\n" not in answer.stderr
        assert len(list(backups.iterdir())) == 2
        assert site.sql(*ROWS[:2]) == rows

    @pytest.mark.parametrize(
        "command", ["create", "list", "show latest", "restore --yes", "verify", "delete latest --yes"]
    )
    def test_a_path_that_is_a_file_is_an_error(self, site: Site, books: Path, command: str) -> None:
        """The error names the parameter to change; the file stays unchanged."""
        path = site.root / "file"
        path.write_text("somebody's own")
        site.configure(storage={"local_path": "file"})
        answer = site.call(*f"backup_{command}".split())
        assert answer.code == 1
        assert f"{path} is a file; local_path has to name a folder." in answer.stderr
        assert path.read_text() == "somebody's own"

    @pytest.mark.parametrize("name", ["MEDIA_ROOT", "STATIC_ROOT"])
    def test_a_folder_that_a_web_server_serves_is_refused(self, site: Site, books: Path, name: str) -> None:
        site.set(**{name: str(site.root)})
        answer = site.call("backup_create")
        assert answer.code == 2
        assert f"lies inside {name}" in answer.stderr
        assert not site.backups.exists()


class TestPatterns:
    @pytest.mark.parametrize("parameter", ["exclude_tables", "include_tables"])
    @pytest.mark.parametrize("patterns", [["nosuch"], ["book", "nosuch_*"], ["BOOK"]], ids=str)
    def test_a_pattern_that_matches_nothing_is_wrong_usage(
        self, scene: Scene, parameter: str, patterns: list[str]
    ) -> None:
        """A misspelt table is neither included nor left out unnoticed."""
        scene.site.configure(databases=[{"alias": "default", parameter: patterns}])
        expect(scene, "backup_create", 2, f"{parameter} of the database 'default' names '{patterns[-1]}'", "author")

    def test_excluding_rows_that_others_refer_to_is_refused(self, scene: Scene) -> None:
        scene.site.configure(databases=[{"alias": "default", "exclude_tables": ["author"]}])
        expect(scene, "backup_create", 2, "leaves out the rows of author", "book.author_id")


COMMANDS = ["show {0}", "restore {0} --yes", "verify {0}", "download {0}"]


class TestDamagedBackups:
    @pytest.fixture(params=COMMANDS)
    def command(self, request: pytest.FixtureRequest, scene: Scene) -> str:
        return "backup_" + str(request.param).format(scene.backup.name)

    @pytest.mark.parametrize("kept", [0, 1, 100, -3])
    def test_a_truncated_manifest_is_damage(self, scene: Scene, command: str, kept: int) -> None:
        scene.manifest.write_bytes(scene.manifest.read_bytes()[:kept])
        expect(scene, command, 1, f"The manifest {scene.backup.key} is not complete JSON", "cut short")

    def test_a_manifest_of_a_newer_schema_is_refused(self, scene: Scene, command: str) -> None:
        scene.rewrite(schema=2)
        expect(scene, command, 1, "has schema 2, and this version reads up to 1: upgrade django-cfg-backup.")

    def test_a_missing_archive_is_damage(self, scene: Scene, command: str) -> None:
        scene.archive.unlink()
        expect(scene, command, 1, f"The archive {scene.backup.archive_key} is missing")

    def test_a_truncated_archive_is_damage(self, scene: Scene, command: str) -> None:
        scene.archive.write_bytes(scene.archive.read_bytes()[:-1])
        expect(scene, command, 1, "it was cut short or replaced")


@pytest.mark.parametrize("position", [0, 5, 0.5, -1], ids=lambda where: f"at {where}")
@pytest.mark.parametrize("compression", ["gzip", "none"])
@pytest.mark.parametrize("command", COMMANDS[1:])
def test_a_flipped_byte_in_the_archive_is_damage(
    site: Site, books: Path, command: str, compression: str, position: float
) -> None:
    """It is found by restore, before the target changes, and by verify and download."""
    site.configure(compression=compression)
    scene = Scene(site, site.create())
    content = bytearray(scene.archive.read_bytes())
    content[int(position * len(content)) if isinstance(position, float) else position] ^= 1
    scene.archive.write_bytes(content)
    expect(scene, "backup_" + command.format(scene.backup.name), 1, "damaged")
    assert not list(site.root.glob("*before-restore*"))


class TestRestoreTargets:
    @pytest.mark.parametrize("command", ["restore {0} --yes", "restore {0} --to default --yes"])
    def test_a_backup_of_another_engine_is_refused(self, scene: Scene, command: str) -> None:
        """A PostgreSQL dump does not become a SQLite file."""
        facts = {"vendor": "postgresql", "server_version": "17.2", "tool": "pg_dump", "tool_version": "17.2"}
        scene.rewrite(engine={**facts, "format": "pgdump"})
        answer = expect(scene, "backup_" + command.format(scene.backup.name), 1, scene.backup.name)
        assert "postgresql" in answer.stderr.lower()

    @pytest.mark.parametrize("command", ["restore {0} --yes", "verify {0}"])
    def test_a_backup_of_an_unknown_engine_is_refused(self, scene: Scene, command: str) -> None:
        """A later version may have made it: the error names the engine and lists the known ones."""
        facts = {"vendor": "oracle", "server_version": "23", "tool": "expdp", "tool_version": "23"}
        scene.rewrite(engine={**facts, "format": "sql"})
        words = (f"The backup {scene.backup.name} is of the vendor 'oracle'", "sqlite")
        expect(scene, "backup_" + command.format(scene.backup.name), 1, *words)

    def test_a_backup_whose_passphrase_is_not_configured_is_refused(self, scene: Scene) -> None:
        scene.rewrite(encryption={"method": "passphrase"})
        expect(scene, f"backup_restore {scene.backup.name} --yes", 1, "is encrypted with a passphrase, and none is")

    def test_a_partial_backup_onto_a_database_with_more_tables_is_refused(self, scene: Scene) -> None:
        """The other tables would be lost."""
        scene.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
        partial = scene.site.create()
        expect(
            scene, f"backup_restore {partial.name} --yes", 1, "only some tables", "tables that would be lost", "--to"
        )

    def test_a_partial_backup_into_an_empty_database_is_restored(self, scene: Scene) -> None:
        scene.site.configure(databases=[{"alias": "default", "include_tables": ["author"]}])
        partial = scene.site.create()
        empty = scene.site.root / "empty.sqlite3"
        scene.site.use_databases(
            default={"ENGINE": SQLITE, "NAME": str(scene.site.database)}, empty={"ENGINE": SQLITE, "NAME": str(empty)}
        )
        assert scene.site.call("backup_restore", partial.name, "--to", "empty", "--yes").code == 0
        assert scene.site.sql("SELECT count(*) FROM author", database=empty) == [(50,)]

    def test_a_backup_of_another_environment_needs_the_option_to(self, scene: Scene) -> None:
        scene.site.set(ENV_MODE="production")
        words = ("is a backup of tests/test/default", "this is tests/production", "--to default")
        expect(scene, f"backup_restore {scene.backup.name} --yes", 1, *words)

    @pytest.mark.parametrize("command", ["restore {0}", "delete {0} --force"])
    def test_without_a_confirmation_nothing_is_done(self, scene: Scene, command: str) -> None:
        expect(scene, f"backup_{command.format(scene.backup.name)}", 1, "no terminal to answer at: give --yes")


class TestDiskFull:
    @pytest.fixture(autouse=True)
    def _temporary_files_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    @pytest.mark.parametrize("compression", ["gzip", "zstd", "bz2", "xz", "none"])
    def test_full_storage(self, scene: Scene, small_disk: Path, compression: str) -> None:
        """The error says how many bytes are needed and free, whichever thread or program meets the full disk first."""
        scene.site.sql("CREATE TABLE noise (x)", "INSERT INTO noise VALUES (randomblob(2000000))")
        scene.site.configure(storage={"local_path": str(small_disk / "backups")}, compression=compression)
        before = snapshot(scene.site)
        answer = scene.site.call("backup_create")
        assert answer.code == 1
        assert f"Not enough space in {small_disk / 'backups'}" in answer.stderr
        assert " MB needed, " in answer.stderr
        assert " bytes free" in answer.stderr
        assert not [path for path in small_disk.rglob("*") if path.is_file()]
        assert snapshot(scene.site) == before

    def test_full_temporary_folder(self, scene: Scene, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The space is checked before the copy is made; the message names TMPDIR."""
        (small_disk / "filler").write_bytes(bytes(980_000))
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
        expect(scene, "backup_create", 1, f"Not enough space in {small_disk}", "TMPDIR")
        assert [path.name for path in small_disk.iterdir()] == ["filler"]

    def test_full_disk_of_the_database(self, scene: Scene, small_disk: Path) -> None:
        """The space is checked before the restore begins."""
        target = small_disk / "db.sqlite3"
        scene.site.sql(f"VACUUM INTO '{target}'")
        (small_disk / "filler").write_bytes(bytes(700_000))
        before = target.read_bytes()
        scene.site.use_databases(default={"ENGINE": SQLITE, "NAME": str(target)})
        expect(scene, "backup_restore --yes", 1, f"Not enough space in {small_disk}", "Nothing was touched.")
        assert target.read_bytes() == before
        assert sorted(path.name for path in small_disk.iterdir()) == ["db.sqlite3", "filler"]

    def test_full_disk_during_a_verification(
        self, scene: Scene, small_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The backup is not called damaged because the disk is full."""
        (small_disk / "filler").write_bytes(bytes(980_000))
        monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
        answer = expect(scene, "backup_verify latest", 1, "TMPDIR")
        assert "damaged" not in answer.stderr
        assert [path.name for path in small_disk.iterdir()] == ["filler"]


WRONG: dict[str, tuple[Callable[[Scene], object], str, int]] = {
    "unknown alias": (lambda scene: None, "backup_create nosuch", 2),
    "unknown name": (lambda scene: None, "backup_show nosuch", 5),
    "declined": (lambda scene: None, "backup_restore", 1),
    "cut manifest": (lambda scene: scene.manifest.write_text("{"), "backup_verify", 1),
    "missing archive": (lambda scene: scene.archive.unlink(), "backup_verify", 1),
    "flipped byte": (
        lambda scene: scene.archive.write_bytes(bytes(scene.backup.archive.size)),
        "backup_restore --yes",
        1,
    ),
    "unknown pattern": (
        lambda scene: scene.site.configure(databases=[{"alias": "default", "exclude_tables": ["nosuch"]}]),
        "backup_create",
        2,
    ),
    "switched off": (lambda scene: scene.site.configure(enabled=False), "backup_create", 2),
    "no configuration": (lambda scene: scene.site.set(BACKUP=None), "backup_list", 2),
    "file": (lambda scene: scene.site.configure(storage={"local_path": "db.sqlite3"}), "backup_list", 1),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_failure_with_json_is_one_document(scene: Scene, case: str) -> None:
    """It holds the error, as stderr does; the exit code is the same."""
    prepare, command, code = WRONG[case]
    prepare(scene)
    answer = scene.site.call(*command.split(), "--json")
    assert answer.code == code
    document = answer.json
    (error,) = [document["error"]] if isinstance(document, dict) else [result["error"] for result in document]
    assert error in answer.stderr


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run in a folder that has to stay empty: files of a download would be created there."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    yield
    assert list(here.iterdir()) == []
