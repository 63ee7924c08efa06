"""How a backup's migrations compare with the code, in words, before and after a restore."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from django_cfg.backup.manifest import Manifest

_TABLE = "django_migrations"


def compare_migrations(applied: Mapping[str, str]) -> str:
    """Compare with the code a backup whose last migrations per app are *applied*; empty if they match."""
    if not applied:
        return ""
    loader = MigrationLoader(None, ignore_no_migrations=True)
    behind = {app: count for app in sorted(loader.migrated_apps) if (count := _behind(loader, app, applied.get(app)))}
    ahead = sorted(
        f"{app}.{name}"
        for app, name in applied.items()
        if app in loader.migrated_apps and not _known(loader, app, name)
    )
    return " ".join(filter(None, (_behind_in_words(behind), _ahead_in_words(ahead))))


def migration_differences(ask: Callable[[str], object], manifest: Manifest) -> list[str]:
    """Where the migrations of *manifest* are not the ones that are applied in what was restored of it.

    :param ask: the first value that a query gives there.
    :raises VerificationFailed: they cannot be read.
    """
    expected = manifest.migrations
    if not _holds_migrations(manifest):
        return []
    found = {
        app: str(ask(f"SELECT name FROM {_TABLE} WHERE app = '{app}' ORDER BY id DESC LIMIT 1"))
        for app in sorted(expected)
        if app.isidentifier()
    }
    apps = int(str(ask(f"SELECT count(DISTINCT app) FROM {_TABLE}")))
    differences = [
        f"{_TABLE}: the last of {app} is {found.get(app)} instead of {name}"
        for app, name in sorted(expected.items())
        if found.get(app) != name
    ]
    if apps != len(expected):
        differences.append(f"{_TABLE}: of {apps} apps instead of {len(expected)}")
    return differences


def _holds_migrations(manifest: Manifest) -> bool:
    """Whether they are to be found in the backup: rows may be left out, and a partial one may be of other tables."""
    tables, excluded = (
        {name.rpartition(".")[2] for name in names}
        for names in ([table.name for table in manifest.tables], manifest.excluded)
    )
    if _TABLE in excluded:
        return False
    return _TABLE in tables or (bool(manifest.migrations) and not manifest.partial)


def compare_database(alias: str) -> str:
    """As :func:`compare`, of what the database *alias* holds now.

    :raises Error: it cannot be asked; of Django.
    """
    applied = MigrationRecorder(connections[alias]).migration_qs.order_by("id").values_list("app", "name")
    return compare_migrations(dict(applied))


def _behind(loader: MigrationLoader, app: str, last: str | None) -> int:
    """How many migrations of *app* the code has beyond *last*."""
    nodes = {key for key in loader.graph.nodes if key[0] == app}
    if last is None:
        return len(nodes)
    key = _node(loader, app, last)
    if key not in nodes:
        return 0
    return len(nodes - set(loader.graph.forwards_plan(key)))


def _known(loader: MigrationLoader, app: str, name: str) -> bool:
    return _node(loader, app, name) in loader.graph.nodes


def _node(loader: MigrationLoader, app: str, name: str) -> tuple[str, str]:
    """The graph's node of a migration: a squashed one counts for those it replaces."""
    squashed = (key for key, migration in loader.graph.nodes.items() if migration and (app, name) in migration.replaces)
    return next(squashed, (app, name))


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
