"""What restores leave on a PostgreSQL server: old data under names that are printed, and no lasting scratch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from django_cfg.backup import create_backup, restore_backup
from django_cfg.backup.engines.postgresql import staging_databases
from django_cfg.backup.services.project.project import current_project
from django_cfg.backup.services.restore.kept_data import KeptData, Unreachable, list_kept_data
from tests.support.abandoned_staging import swept
from tests.support.databases import BOOKS, fail_unless_equal
from tests.support.postgresql_databases import PostgreSQLServer


@pytest.fixture
def server(postgresql_server: PostgreSQLServer) -> Iterator[PostgreSQLServer]:
    yield postgresql_server
    assert postgresql_server.made("restoring") == []


def test_the_old_data_is_kept_complete_under_a_printed_name(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("UPDATE author SET name = 'since'", "CREATE TABLE later (i int)")
    old = server.text()
    kept = restore_backup().old_data or ""
    (name,) = server.made("before")
    assert kept == f"the database {name}"
    assert re.fullmatch(rf"{server.databases['default']}__before_\d{{8}}t\d{{6}}z", name)
    server.databases["kept"] = name
    try:
        fail_unless_equal(old, server.text("kept"))
    finally:
        del server.databases["kept"]


def test_discard_old_leaves_nothing(server: PostgreSQLServer) -> None:
    create_backup()
    server.run("DELETE FROM book")
    assert restore_backup(discard_old=True).old_data is None
    assert server.made("before") == []
    assert server.count("book") == BOOKS


def test_a_second_restore_keeps_its_old_data_under_a_name_of_its_own(server: PostgreSQLServer) -> None:
    create_backup()
    restore_backup()
    restore_backup()
    assert len(server.made("before")) == 2


def test_kept_data_is_listed_with_its_size_and_age(server: PostgreSQLServer) -> None:
    """Newest first, of each database once, and of no other project."""
    name = server.databases["default"]
    create_backup()
    restore_backup()
    foreign = (f"{name}__before_20250115", f"{name}__before_99999999t999999z", f"x{name}__before_20250115t020000z")
    server.server.sql(*(f"CREATE DATABASE {name}" for name in foreign))
    try:
        (kept,) = list_kept_data(current_project())
        assert isinstance(kept, KeptData)
        assert (kept.database, kept.name) == ("default", next(n for n in server.made("before") if n not in foreign))
        assert kept.size > 5_000_000
        assert timedelta(0) <= kept.age < timedelta(minutes=5)
    finally:
        server.server.sql(*(f"DROP DATABASE {name}" for name in foreign))


def test_a_name_too_long_is_cut_and_stays_unique(server: PostgreSQLServer) -> None:
    """63 bytes are all a name may have; two long names that begin alike do not share their old data."""
    long = [f"{'ü' * 28}_{number}" for number in (1, 2)]
    for target in long:
        for purpose in ("restoring", "before"):
            name = staging_databases.make_name(target, purpose, ())  # type: ignore[arg-type]
            assert len(name.encode()) <= 63
            made_at = staging_databases.parse_name(name, target, purpose)  # type: ignore[arg-type]
            assert made_at
            assert abs(made_at - datetime.now(UTC)) < timedelta(minutes=1)
            assert staging_databases.parse_name(staging_databases.make_name(target, purpose, [name]), target, purpose)  # type: ignore[arg-type]
    assert staging_databases.shorten_name(long[0]) != staging_databases.shorten_name(long[1])
    old = server.databases["default"]
    server.site.close()
    server.server.sql(f'ALTER DATABASE {old} RENAME TO "{long[0]}"')
    server.databases["default"] = long[0]
    server.use()
    try:
        create_backup()
        restore_backup(discard_old=True)
        assert server.count("book") == BOOKS
    finally:
        server.site.close()
        server.databases["default"] = old
        server.server.sql(f'ALTER DATABASE "{long[0]}" RENAME TO {old}')


# Scratches


def test_a_dead_restores_scratch_is_removed_by_the_next(server: PostgreSQLServer) -> None:
    """And no other: not one of another name, nor one that another role owns."""
    name = server.databases["default"]
    other = server.role("another")
    ours, foreign = f"{name}__restoring_20250115t020000z", f"{name}__restoring_by_hand"
    server.server.sql(f"CREATE DATABASE {ours}", f"CREATE DATABASE {foreign} OWNER {other}")
    create_backup()
    restore_backup()
    assert server.made("restoring") == [foreign]
    server.server.sql(f"CREATE DATABASE {ours}_2")
    assert swept() == [f"{ours}_2"]
    assert server.made("restoring") == [foreign]
    server.server.sql(f"DROP DATABASE {foreign}")


def test_what_another_role_owns_is_left_alone(server: PostgreSQLServer) -> None:
    name = server.databases["default"]
    theirs = f"{name}__restoring_20250115t020000z"
    server.server.sql(f"CREATE DATABASE {theirs}")
    role = server.role("keeper", "LOGIN PASSWORD 'pw' CREATEDB")
    server.server.sql(f"ALTER DATABASE {name} OWNER TO {role}")
    server.use(USER=role, PASSWORD="pw")
    assert swept() == []
    assert list(list_kept_data(current_project())) == []
    server.server.sql(f"DROP DATABASE {theirs}")


def test_kept_data_of_a_lost_database_is_listed(server: PostgreSQLServer) -> None:
    create_backup()
    restore_backup()
    server.site.close()
    server.server.sql(f"DROP DATABASE {server.databases['default']}")
    (kept,) = list_kept_data(current_project())
    assert isinstance(kept, KeptData)
    server.server.sql(f"CREATE DATABASE {server.databases['default']}")


def test_a_server_that_does_not_answer_is_listed_with_the_others(server: PostgreSQLServer) -> None:
    create_backup()
    restore_backup()
    databases = {"default": server.server.settings(server.databases["default"]),
                 "down": server.server.settings("shop", PORT=1)}  # fmt: skip
    server.site.use_databases(**databases)
    kept, unknown = list_kept_data(current_project())
    assert isinstance(kept, KeptData)
    assert isinstance(unknown, Unreachable)
    assert "refused" in str(unknown.error)
