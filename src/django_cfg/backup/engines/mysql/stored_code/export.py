"""The definitions of a database's views, triggers, routines and events, read before a restore replaces them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django_cfg.backup.engines.mysql.error_text import STDERR_LINES, remove_row_data
from django_cfg.backup.engines.mysql.option_file import OptionFile
from django_cfg.backup.engines.mysql.session import Session, quote_name
from django_cfg.backup.engines.mysql.sql_splitter import Splitter, Statement
from django_cfg.backup.engines.mysql.stored_code.contents import list_contents
from django_cfg.backup.engines.mysql.stored_code.parser import StoredCodeParser, StoredObject
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.pipeline.stream import blocks
from django_cfg.backup.process.child import Child

_OPTIONS = ("--no-data", "--single-transaction", "--routines", "--events", "--triggers", "--no-tablespaces",
            "--default-character-set=utf8mb4")  # fmt: skip


def export_objects(session: Session, tool: Tool, file: OptionFile) -> list[StoredObject]:
    """Return the views, triggers, routines and events of the database, including broken views.

    :raises ToolFailed: the text of one of them cannot be read.
    """
    broken = list_broken_views(session)
    return [*_dump_objects(session, tool, file, broken), *(_read_view(session, name) for name in broken)]


def list_broken_views(session: Session) -> list[str]:
    """Return the views that cannot be used, most often because something that they refer to is missing."""
    views = list_contents(session, session.database).list_names("view")
    return [name for name in views if not _is_usable(session, name)]


def _is_usable(session: Session, view: str) -> bool:
    try:
        session.fetch_rows(f"SHOW FIELDS FROM {quote_name(session.database, view)}")
    except Exception:  # noqa: BLE001  any other error is raised again when the view's text is read
        return False
    return True


def _read_view(session: Session, name: str) -> StoredObject:
    """Read a view from the server: the programs stop at a broken one."""
    session.execute(f"USE {quote_name(session.database)}")  # else the text names the database
    _, text, charset, collation = session.fetch_rows(f"SHOW CREATE VIEW {quote_name(session.database, name)}")[0]
    variables = {b"character_set_client": charset.encode(), b"collation_connection": collation.encode()}
    return StoredObject("view", name, text.encode(), variables)


def _dump_objects(session: Session, tool: Tool, file: OptionFile, excluded: Sequence[str]) -> Iterator[StoredObject]:
    ignored = [f"--ignore-table={session.database}.{name}" for name in excluded]
    argv = [tool.path, file.argument, *_OPTIONS, *ignored, "--", session.database]
    splitter, parser = Splitter(), StoredCodeParser()
    with Child(argv, secrets=file.secrets, said=remove_row_data, lines=STDERR_LINES) as child:
        for block in blocks(child.stdout):
            for part in splitter.feed(block):
                found = parser.read(part)[1] if isinstance(part, Statement) else None
                if found:
                    yield found
        child.wait()
