"""What all backup commands share: no system checks in the way, JSON, exit codes, one-paragraph errors."""

from __future__ import annotations

import json
import signal
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, ClassVar, NoReturn, TextIO, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from pydantic_core import to_jsonable_python

from django_cfg.backup.errors import BackupError, Declined
from django_cfg.backup.formatting import one_paragraph, printable
from django_cfg.backup.management.exit_codes import INTERRUPTED, ExitCodesFormatter, Meanings, describe_exit_codes
from django_cfg.backup.management.output.progress import TerminalProgress
from django_cfg.backup.management.output.stream import LastingOutput
from django_cfg.backup.services.catalog.catalog import LATEST, Catalog, Damaged
from django_cfg.backup.services.project.project import operation

_UNDONE = "Unfinished work has been rolled back."


class BackupCommand(BaseCommand):
    """A thin face: parse, call one service, show. Subclasses write ``run``.

    With ``--json`` stdout gets exactly one document; everything else goes to stderr. A failure without
    results of its own is ``{"error": "..."}``.
    """

    requires_system_checks: list[str] = []  # noqa: RUF012  on the worst day nothing unrelated may stand in the way
    stealth_options = ("interactive",)  # as the commands of Django take it from call_command; False is --yes
    exit_codes: ClassVar[Meanings] = {}  # in addition to those of every command

    def __init__(self, stdout: TextIO | None = None, stderr: TextIO | None = None, **options: Any) -> None:
        self._output = LastingOutput(sys.stdout)
        super().__init__(
            stdout or cast(TextIO, self._output), stderr or cast(TextIO, LastingOutput(sys.stderr)), **options
        )

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        of_help = {"epilog": describe_exit_codes(self.exit_codes), "formatter_class": ExitCodesFormatter}
        parser = super().create_parser(prog_name, subcommand, **of_help, **options)
        parser.error = partial(self._refuse_arguments, parser.error)  # type: ignore[method-assign]
        return parser

    def _refuse_arguments(self, refuse: Callable[[str], NoReturn], message: str) -> NoReturn:
        """Print the JSON document of a failure too, for a caller that has asked for one."""
        if "--json" in sys.argv[1:]:
            self.stdout.write(json.dumps({"error": message}, indent=2))
        refuse(message)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="Print one JSON document on stdout.")
        self.arguments(parser)

    def arguments(self, parser: ArgumentParser) -> None:
        """The arguments of this command."""

    def run(self, *args: Any, **options: Any) -> Any:
        """Do it, print it, and return what ``--json`` prints: records, or lists and dicts of them."""
        raise NotImplementedError

    def execute(self, *args: Any, **options: Any) -> str | None:
        if not options.pop("interactive", True):
            options["yes"] = True
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        self.as_json = bool(options["json"])
        self._is_printed = False
        self.progress = TerminalProgress(self.stderr, quiet=options["verbosity"] == 0)
        with exit_on_signals():
            document = self._run(options)
        self.print_document(document)
        if lost := self._output.error:
            raise CommandError(f"The command has ended well; what it printed is lost: {lost.strerror}.", returncode=1)

    def _run(self, options: dict[str, Any]) -> Any:
        try:
            with operation():
                return self.run(**options)
        except BackupError as error:
            self.print_document({"error": str(error)})
            if options["traceback"]:
                raise
            self._end_with(error)
        except KeyboardInterrupt as interrupted:
            raise CommandError(f"Interrupted. {_describe_remains(interrupted)}", returncode=INTERRUPTED) from None
        except _EndedBySignal as ended:
            self.stderr.write(f"{ended} {_describe_remains(ended)}")
            raise

    def _end_with(self, error: BackupError) -> NoReturn:
        """End as Django does after an error; an answer of no is none, and is not printed as one."""
        if isinstance(error, Declined) and getattr(self, "_called_from_command_line", False):
            self.stderr.write(str(error), self.plain)
            sys.exit(error.exit_code)
        raise CommandError(str(error), returncode=error.exit_code) from error

    def print_document(self, document: Any) -> None:
        """Print the one document of ``--json``, without it nothing; what fails afterwards prints no second one."""
        if self.as_json and not self._is_printed:
            self._is_printed = True
            self.stdout.write(json.dumps(to_jsonable_python(document, by_alias=True), indent=2))

    def show(self, text: str) -> None:
        """A result for a person; with ``--json`` nothing."""
        if not self.as_json:
            self.stdout.write(printable(text, keep_lines=True))

    @staticmethod
    def plain(text: str) -> str:
        """The style of what goes to stderr without being an error."""
        return text

    def warn(self, text: str) -> None:
        """Print one paragraph on stderr."""
        self.stderr.write(one_paragraph(text), self.style.WARNING)

    def warn_of_damage(self, damaged_pairs: Iterable[Damaged]) -> None:
        for damaged in damaged_pairs:
            self.warn(f"Not a usable backup: {damaged.error}")

    def warn_of_places(self, catalog: Catalog) -> None:
        """Warn of places that are away, and of copies that are damaged while the backup is intact elsewhere."""
        for place, error in catalog.away.items():
            self.warn(f"The place {place} cannot be read: {error}")
        for place, copies in catalog.damaged_copies.items():
            for damaged in copies:
                self.warn(f"Not a usable copy in {place}: {damaged.error}")

    def ask(self, question: str, *, yes: bool) -> None:
        """Go on only after a yes: from ``--yes``, or typed at a terminal; the default is no.

        :raises Declined: anything else.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise Declined(f"{question} There is no terminal to answer at: give --yes to go on. Nothing was done.")
        self.stderr.write(printable(f"{question} [y/N] "), self.plain, ending="")
        self.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Declined("Nothing was done.")


def _describe_remains(error: BaseException) -> str:
    """Return what an interruption has left behind, as noted on the exception."""
    return " ".join(getattr(error, "__notes__", ())) or _UNDONE


def add_name_argument(parser: ArgumentParser, *, optional: bool = False) -> None:
    """The argument that names one backup."""
    nargs = "?" if optional else None
    name_help = "A backup's name, an unambiguous beginning of it, or `latest`."
    parser.add_argument("name", metavar="NAME", nargs=nargs, default=LATEST, help=name_help)
    parser.add_argument("--database", metavar="ALIAS", help="Look among the backups of this database.")


def add_yes_option(parser: ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="Do not ask.")
    parser.add_argument("--no-input", "--noinput", dest="yes", action="store_true", help="The same as --yes.")


def add_skip_options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--skip",
        metavar="OBJECT",
        action="append",
        default=[],
        help="Leave out this object, which holds no rows (PostgreSQL); a failed restore names it. May be repeated.",
    )
    parser.add_argument(
        "--skip-failing",
        action="store_true",
        help="Leave out policies, triggers, refreshes of materialized views, grants and comments that the server "
        "refuses (PostgreSQL). Each is listed.",
    )


def add_jobs_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--jobs",
        metavar="N",
        type=_parse_jobs,
        help="At most so many sessions build indexes and check constraints at the same time (PostgreSQL); "
        "default: restore_jobs of the configuration.",
    )


def _parse_jobs(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"a number of at least 1, not {text!r}")
    return int(text)


def add_trust_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--trust-storage",
        action="store_true",
        help="Load the archive without reading and comparing all of it first: saves one reading of a huge archive. "
        "Only for storage that no one else can write to.",
    )


def add_from_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="from_place",
        metavar="PLACE",
        help="Read it from this place: `main`, or the name of a copy; default: the first one that has it intact.",
    )


def add_unsigned_option(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--allow-unsigned",
        action="store_true",
        help="Also a backup without a signature, although signing_key is set: one that was made before.",
    )


class _EndedBySignal(SystemExit):
    """An exit whose reason is fit for the history."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        super().__init__(128 + number)

    def __str__(self) -> str:
        return f"It was ended by {self.name}."


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM, and SIGHUP of a lost terminal, end the block as an exception does: children killed, parts and
    copies removed, the run recorded."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _EndedBySignal(number)

    if threading.current_thread() is not threading.main_thread():
        yield  # the main thread handles signals
        return
    handlers = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
