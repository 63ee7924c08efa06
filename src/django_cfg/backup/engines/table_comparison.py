"""Tables by name and by row count: which ones a pattern matches, and whether they agree with a manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

from django_cfg.backup.errors import RestoreRefused, TablesDiffer, UsageError
from django_cfg.backup.formatting import listed
from django_cfg.backup.manifest import Table


def matching(names: Iterable[str], patterns: Iterable[str], parameter: str, alias: str) -> tuple[str, ...]:
    """Return the *names* that match one of the shell *patterns*, in their order.

    :raises UsageError: a pattern matches no name, which is most often a misspelt table.
    """
    names, patterns = list(names), list(patterns)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            where = "" if parameter.startswith("-") else " in settings.BACKUP"
            raise UsageError(
                f"{parameter} of the database {alias!r} names {pattern!r}, which matches no table. "
                f"Correct it{where}. Tables: {listed(names, 20)}"
            )
    return tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))


def compare_tables(expected: Iterable[Table], found: Mapping[str, int], where: str) -> None:
    """Compare the tables *found* (name: rows) with those of a manifest.

    :raises TablesDiffer: a table is missing, is not in the manifest, or has another row count; names up to 20.
    """
    wanted = {table.name: table for table in expected}
    differences = [f"{name} is missing" for name in wanted if name not in found]
    differences += [f"{name} is not in the manifest" for name in found if name not in wanted]
    differences += [
        f"{name} has {found[name]:,} rows instead of {table.rows:,}"
        for name, table in wanted.items()
        if name in found and table.exact and found[name] != table.rows
    ]
    if differences:
        raise TablesDiffer(f"{where} differs from its manifest: {listed(differences, 20)}.", found)


def require_restorable(chosen: Sequence[str], existing: Collection[str], emptied: Collection[str], alias: str) -> None:
    """Check that the rows of the *chosen* tables can be restored separately.

    :param existing: the ordinary tables of the database.
    :param emptied: the tables whose rows the backup left out.
    :raises RestoreRefused: one of them is missing, or its rows are.
    """
    missing = [name for name in chosen if name not in existing]
    left_out = [name for name in chosen if name in emptied]
    if missing or left_out:
        why = (
            f"the database {alias!r} has no ordinary table of that name"
            if missing
            else "the backup left out their rows"
        )
        raise RestoreRefused(
            f"{', '.join(missing or left_out)} cannot be restored separately, since {why}: restore the complete "
            "backup, into another database (--to) if necessary."
        )


def describe_foreign_keys(keys: Sequence[str]) -> str:
    """Return the warning that a restore of some tables depends on *keys* between them and others."""
    return (
        "foreign keys between these tables and others are checked at the end, and a row that refers to a missing row "
        f"undoes everything: {'; '.join(keys)}"
    )
