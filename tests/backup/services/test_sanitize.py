"""Which restores are sanitised, which are refused, and what is said of them."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from django_cfg.backup import adopt_backup, create_backup, restore_backup
from django_cfg.backup.checks import check_backup
from django_cfg.backup.errors import ConfigurationError, RestoreFailed, RestoreRefused, UsageError
from django_cfg.backup.models import Run
from tests.support import sanitizers
from tests.support.django_project import Site
from tests.support.processes import Stopwatch, wait_until

PAGE = Path(__file__).parents[3] / "docs" / "restore.md"
SCRUB = f"{sanitizers.__name__}.scrub"


def names(site: Site) -> set[str]:
    return {name for (name,) in site.sql("SELECT name FROM author")}


@pytest.fixture
def production(site: Site, books: Path) -> str:
    """The name of a backup of production; the present data, of the environment ``staging``, is another."""
    site.set(ENV_MODE="production")
    name = create_backup().name
    site.set(ENV_MODE="staging")
    site.sql("UPDATE author SET name = 'old'")
    return name


class TestProductionElsewhere:
    def test_is_refused_with_the_ways_out(self, site: Site, production: str) -> None:
        answer = site.call("backup_restore", production, "--to", "default", "--yes")
        assert answer.code == 1
        assert "is a backup of tests/production/default, and this is tests/staging" in answer.stderr
        assert all(
            way in answer.stderr for way in ("--sanitize", "BackupConfig.sanitizers['default']", "--unsanitized")
        )
        assert names(site) == {"old"}

    def test_is_restored_as_it_is_when_that_is_asked_for(self, site: Site, production: str) -> None:
        assert site.call("backup_restore", production, "--to", "default", "--unsanitized", "--yes").code == 0
        assert "Author 7" in names(site)

    def test_is_sanitised_as_configured(self, site: Site, production: str) -> None:
        site.configure(sanitizers={"default": SCRUB})
        answer = site.call("backup_restore", production, "--to", "default", "--yes")
        assert answer.code == 0, answer.stderr
        assert f"Sanitise with {SCRUB}, in the scratch database, before anything is replaced" in answer.stderr
        assert f"is now as in {production}, sanitised by {SCRUB}." in answer.stdout
        assert names(site) == {"somebody"}

    def test_another_sanitizer_can_be_named(self, site: Site, production: str) -> None:
        (site.root / "scrub.sql").write_text("UPDATE author SET name = 'by SQL'")
        site.configure(sanitizers={"default": SCRUB})
        restore_backup(production, to="default", sanitize=str(site.root / "scrub.sql"))
        assert names(site) == {"by SQL"}

    def test_unsanitized_leaves_out_what_is_configured(self, site: Site, production: str) -> None:
        site.configure(sanitizers={"default": SCRUB})
        restore_backup(production, to="default", unsanitized=True)
        assert "Author 7" in names(site)

    def test_the_history_says_so(self, site: Site, production: str) -> None:
        restore_backup(production, to="default", sanitize=SCRUB)
        run = Run.objects.get(kind="restore", state="succeeded")
        assert run.message == f"Sanitised by {SCRUB}."

    def test_the_history_of_one_that_fails_holds_no_row(self, site: Site, production: str) -> None:
        name = f"{sanitizers.__name__}.fail_with_a_row"
        with pytest.raises(RestoreFailed):
            restore_backup(production, to="default", sanitize=name)
        message = Run.objects.get(kind="restore", state="failed").message
        assert message.startswith(f"The sanitizer {name} failed: ValueError (line ")
        assert "Book 7" not in message

    def test_some_tables_are_refused(self, site: Site, production: str) -> None:
        with pytest.raises(RestoreRefused, match=r"--tables takes some tables.*--unsanitized"):
            restore_backup(production, to="default", tables=["author"], sanitize=SCRUB)
        with pytest.raises(RestoreRefused, match="production data"):
            restore_backup(production, to="default", tables=["author"])
        assert names(site) == {"old"}


class TestElsewhere:
    def test_a_backup_of_the_target_comes_back_as_it_is(self, site: Site, books: Path) -> None:
        """Also one of production: a sanitizer in shared settings must not change it on the worst day."""
        site.set(ENV_MODE="production")
        site.configure(sanitizers={"default": SCRUB})
        create_backup()
        site.sql("UPDATE author SET name = 'old'")
        assert restore_backup().sanitized_by is None
        assert "Author 7" in names(site)

    def test_another_database_of_production_needs_no_choice(self, site: Site, books: Path) -> None:
        site.set(ENV_MODE="production")
        settings = {"ENGINE": "django.db.backends.sqlite3"}
        site.use_databases(
            default={**settings, "NAME": str(site.database)},
            other={**settings, "NAME": str(site.root / "other.sqlite3")},
        )
        create_backup()
        assert restore_backup(to="other").sanitized_by is None
        site.configure(sanitizers={"other": SCRUB})
        assert restore_backup(to="other").sanitized_by == SCRUB

    @pytest.mark.parametrize(("env", "by"), [("staging", SCRUB), ("production", None)])
    def test_an_adopted_backup(self, site: Site, books: Path, env: str, by: str | None) -> None:
        """It counts as one of the environment that adopts it, but nothing says whose data it holds."""
        site.set(ENV_MODE=env)
        site.configure(sanitizers={"default": SCRUB})
        name = adopt_backup(str(books), "default").manifest.name
        assert restore_backup(name).sanitized_by == by

    def test_other_environments_need_no_choice(self, site: Site, books: Path) -> None:
        name = create_backup().name  # of test
        site.set(ENV_MODE="development")
        assert restore_backup(name, to="default").restored == name


def test_a_query_that_hangs_can_be_interrupted(
    site: Site, production: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def interrupt() -> None:
        wait_until((tmp_path / "sanitizing").exists)
        time.sleep(0.2)  # most probably the query has begun; how it ends is the same if not
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    watch = Stopwatch()
    with pytest.raises((RestoreFailed, KeyboardInterrupt)):
        restore_backup(production, to="default", sanitize=f"{sanitizers.__name__}.hang")
    thread.join()
    assert watch.seconds < 10
    assert names(site) == {"old"}


class TestDocumentation:
    """The two examples of docs/restore.md do what they are for."""

    @pytest.mark.parametrize("language", ["python", "sql"])
    def test_an_example(self, site: Site, monkeypatch: pytest.MonkeyPatch, language: str) -> None:
        section = PAGE.read_text().partition("## Sanitised copies")[2]
        text = re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)[-1]
        (site.root / ("documented_scrub.py" if language == "python" else "scrub.sql")).write_text(text)
        monkeypatch.syspath_prepend(str(site.root))
        site.sql(
            "CREATE TABLE orders_order (phone text, street text)",
            "INSERT INTO orders_order VALUES ('1', 'Road 7')",
            "INSERT INTO auth_user (id, username, first_name, last_name, email, password, is_superuser, is_staff, "
            "is_active, date_joined) VALUES (7, 'ann', 'Ann', 'Ash', 'ann@example.org', 'x', 0, 0, 1, '2025-01-01')",
        )
        name = create_backup().name
        restore_backup(name, sanitize="documented_scrub.scrub" if language == "python" else "scrub.sql")
        monkeypatch.delitem(sys.modules, "documented_scrub", raising=False)
        assert site.sql("SELECT email, first_name, password FROM auth_user") == [("user7@example.invalid", "", "!")]
        assert site.sql("SELECT * FROM orders_order") == [("", "")]


class TestWhatCannotBeUsed:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("shop.sanitize.scrub", "cannot be used: ModuleNotFoundError"),
            ("scrub", "cannot be used: ImportError"),
            (f"{sanitizers.__name__}.gone", "cannot be used: ImportError"),
            (f"{sanitizers.__name__}.not_callable", "is not callable"),
            (f"{sanitizers.__name__}.scrub_later", "does nothing when it is called"),
            (f"{sanitizers.__name__}.scrub_in_steps", "does nothing when it is called"),
            (f"{sanitizers.__name__}.Scrubber", "does nothing when it is called"),
            ("gone.sql", "cannot be read: No such file"),
            ("empty.sql", "has no statement"),
            ("comments.sql", "has no statement"),
        ],
    )
    def test_is_found_out_before_anything_is_read(self, site: Site, production: str, name: str, message: str) -> None:
        (site.root / "empty.sql").touch()
        (site.root / "comments.sql").write_text("-- UPDATE author\n/* SET name = ''\n*/ ;\n")
        with pytest.raises(UsageError, match=f"--sanitize names {name}, which {message}"):
            restore_backup(production, to="default", sanitize=name)
        site.configure(sanitizers={"default": name})
        with pytest.raises(ConfigurationError, match=r"BackupConfig.sanitizers\['default'\] names"):
            restore_backup(production, to="default")
        assert names(site) == {"old"}

    def test_both_options(self, production: str) -> None:
        with pytest.raises(UsageError, match="contradict each other"):
            restore_backup(production, to="default", sanitize=SCRUB, unsanitized=True)

    def test_an_unknown_alias_is_reported_by_the_checks(self, site: Site) -> None:
        site.configure(sanitizers={"stagign": SCRUB})
        assert [m.id for m in check_backup() if "sanitizers names 'stagign'" in m.msg] == ["django_cfg_backup.W003"]
