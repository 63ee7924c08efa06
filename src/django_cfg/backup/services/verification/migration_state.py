"""How a backup's migrations compare with the code, in words, before and after a restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from django_cfg.backup.engines.base import group_migrations
from django_cfg.backup.manifest import Manifest

Applied = Mapping[str, Sequence[str]]  # app: names
_Key = tuple[str, str]  # app and name

_TABLE = "django_migrations"


def compare_migrations(applied: Applied) -> str:
    """Compare with the code a backup whose migrations per app are *applied*, in their order; empty if they match."""
    if not applied:
        return ""
    code = _Code(applied)
    behind = {app: count for app in sorted(code.apps) if (count := code.count_missing(app))}
    ahead = sorted(f"{app}.{name}" for app in code.apps & applied.keys() for name in code.list_ahead(app))
    return " ".join(filter(None, (_behind_in_words(behind), _ahead_in_words(ahead))))


def migration_differences(ask: Callable[[str], object], manifest: Manifest) -> list[str]:
    """Where the migrations of *manifest* are not the ones that are applied in what was restored of it.

    :param ask: the first value that a query gives there.
    :raises VerificationFailed: they cannot be read.
    """
    expected = {app: names[-1] for app, names in manifest.migrations.items() if names}
    table = _find_table(ask, manifest)
    if not table:
        return []
    found = {
        app: str(ask(f"SELECT name FROM {table} WHERE app = '{app}' ORDER BY id DESC LIMIT 1"))
        for app in sorted(expected)
        if app.isidentifier()
    }
    apps = int(str(ask(f"SELECT count(DISTINCT app) FROM {table}")))
    differences = [
        f"{_TABLE}: the last of {app} is {found.get(app)} instead of {name}"
        for app, name in sorted(expected.items())
        if found.get(app) != name
    ]
    if apps != len(expected):
        differences.append(f"{_TABLE}: of {apps} apps instead of {len(expected)}")
    return differences


def _find_table(ask: Callable[[str], object], manifest: Manifest) -> str:
    """Return what the table of the migrations is called in a query; empty: there is none to look into.

    Rows may be left out, a partial backup may be of other tables, and where tables have schemas, one that the search
    path does not find is another project's.
    """
    named = [table.name for table in manifest.tables if table.name.rpartition(".")[2] == _TABLE]
    if _TABLE in {name.rpartition(".")[2] for name in manifest.excluded}:
        return ""
    if not named:
        return _TABLE if manifest.migrations and not manifest.partial else ""
    if _TABLE in named:
        return _TABLE
    if manifest.migrations and len(named) == 1:  # also where the search path is not that of the backup
        schema = named[0].rpartition(".")[0].replace('"', '""')
        return f'"{schema}".{_TABLE}'
    return str(ask(f"SELECT CAST(to_regclass('{_TABLE}') AS text)") or "")


def compare_database(alias: str) -> str:
    """As :func:`compare`, of what the database *alias* holds now.

    :raises Error: it cannot be asked; of Django.
    """
    applied = MigrationRecorder(connections[alias]).migration_qs.order_by("id").values_list("app", "name")
    return compare_migrations(group_migrations(applied))


class _Code:
    """The migrations of the code next to those that are *applied*, as ``migrate`` compares them: by the graph."""

    def __init__(self, applied: Applied) -> None:
        self._loader = MigrationLoader(None, ignore_no_migrations=True)
        self._order = applied
        self._applied = {(app, name) for app, names in applied.items() for name in names}
        migrations = filter(None, self._loader.disk_migrations.values())
        self._replaced = {key for migration in migrations for key in migration.replaces}
        self.apps = set(self._loader.migrated_apps)

    def count_missing(self, app: str) -> int:
        """Count the migrations of *app* that ``migrate`` would run."""
        return sum(self._count_missing_of(key) for key in self._loader.graph.nodes if key[0] == app)

    def list_ahead(self, app: str) -> list[str]:
        """Return what was applied after the last migration that the code knows.

        Unknown ones before it were squashed, and their files removed.
        """
        names = list(self._order[app])
        known = [name for name in names if self._is_known((app, name))]
        return names[names.index(known[-1]) + 1 :] if known else names

    def _is_known(self, key: _Key) -> bool:
        return key in self._loader.disk_migrations or key in self._replaced

    def _count_missing_of(self, key: _Key) -> int:
        """A squashed migration counts as those that it replaces, where some of them are applied."""
        if self._is_applied(key):
            return 0
        migration = self._loader.disk_migrations.get(key)
        replaced = [self._is_applied(each) for each in migration.replaces] if migration else []
        return replaced.count(False) if any(replaced) else 1

    def _is_applied(self, key: _Key) -> bool:
        if key in self._applied:
            return True
        migration = self._loader.disk_migrations.get(key)
        replaced = migration.replaces if migration else []
        return bool(replaced) and all(map(self._is_applied, replaced))


def _behind_in_words(behind: Mapping[str, int]) -> str:
    if not behind:
        return ""
    total = sum(behind.values())
    apps = ", ".join(f"{app} {count}" for app, count in behind.items())
    return f"The backup is {total} {_migrations(total)} behind your code ({apps}): run migrate."


def _ahead_in_words(ahead: list[str]) -> str:
    if not ahead:
        return ""
    return (
        f"The backup holds {_migrations(len(ahead))} your code does not have ({', '.join(ahead)}): "
        "deploy the code that made it before the site runs."
    )


def _migrations(count: int) -> str:
    return "migration" if count == 1 else "migrations"
