"""What a database has besides tables, gathered as text: by this it can be given back, or looked up later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django_cfg.backup.engines.base import Database, Finding, Level
from django_cfg.backup.engines.mysql.error_text import refusing
from django_cfg.backup.engines.mysql.option_file import OptionFile, option_file
from django_cfg.backup.engines.mysql.program import options_for
from django_cfg.backup.engines.mysql.session import Session, quoted
from django_cfg.backup.engines.mysql.sql_splitter import Splitter, Statement
from django_cfg.backup.engines.mysql.stored_code.contents import contents
from django_cfg.backup.engines.mysql.stored_code.parser import Item, Reader
from django_cfg.backup.engines.mysql.tools import Tool
from django_cfg.backup.errors import RestoreFailed, RestoreRefused
from django_cfg.backup.pipeline.stream import blocks
from django_cfg.backup.process.child import Child

_CODE_ALONE = ("--no-data", "--single-transaction", "--routines", "--events", "--triggers", "--no-tablespaces",
               "--default-character-set=utf8mb4")  # fmt: skip


def code_of(session: Session, tool: Tool, file: OptionFile) -> list[Item]:
    """The views, triggers, routines and events of the database, in the words of a dump; the broken views too."""
    broken = broken_views(session)
    return [*_dumped(session, tool, file, broken), *(_view(session, name) for name in broken)]


def broken_views(session: Session) -> list[str]:
    """The views that cannot be asked, most often since something that they refer to is gone."""
    views = contents(session, session.database).of("view")
    return [name for name in views if not _answers(session, name)]


def foresee_code(database: Database, session: Session, tool: Tool, *, is_kept: bool) -> Iterator[Finding]:
    """Look, before anything is loaded, whether that text can be had when the switch needs it.

    :param is_kept: the old data is. Else it is only told, since a drill never comes to the switch.
    :raises RestoreRefused: it is to be kept, and cannot be had.
    """
    try:
        with (
            refusing(database.alias, "The database was not touched."),
            option_file(options_for(database, session, tool)) as file,
        ):
            code_of(session, tool, file)
    except RestoreFailed as error:
        if is_kept:
            raise RestoreRefused(str(error)) from error
        yield Finding(Level.WARNING, database.alias, f"the switch will fail: {error}")
        return
    if broken := broken_views(session):
        yield Finding(
            Level.WARNING,
            database.alias,
            f"the views {', '.join(broken)} refer to something that is not there: their text is kept, as it is",
        )


def _answers(session: Session, view: str) -> bool:
    try:
        session.rows(f"SHOW FIELDS FROM {quoted(session.database, view)}")
    except Exception:  # noqa: BLE001  what else it may be is met by whoever reads the view's text
        return False
    return True


def _view(session: Session, name: str) -> Item:
    """In the words of the server itself: the programs would stop at it."""
    session.execute(f"USE {quoted(session.database)}")  # else the database is named in it
    _, text, charset, collation = session.rows(f"SHOW CREATE VIEW {quoted(session.database, name)}")[0]
    settings = {b"character_set_client": charset.encode(), b"collation_connection": collation.encode()}
    return Item("view", name, text.encode(), settings)


def _dumped(session: Session, tool: Tool, file: OptionFile, leaving_out: Sequence[str]) -> Iterator[Item]:
    left_out = [f"--ignore-table={session.database}.{name}" for name in leaving_out]
    argv = [tool.path, file.argument, *_CODE_ALONE, *left_out, "--", session.database]
    splitter, reader = Splitter(), Reader()
    with Child(argv, secrets=file.secrets) as child:
        for block in blocks(child.stdout):
            for piece in splitter.feed(block):
                item = reader.read(piece)[1] if isinstance(piece, Statement) else None
                if item:
                    yield item
        child.wait()
