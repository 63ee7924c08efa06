"""What requests may hold: closed, so that a misspelt name is an error and not ignored. No error repeats a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest
from django.http.request import RawPostDataException, UnreadablePostError
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from django_cfg.backup.api.refusals import too_large
from django_cfg.backup.errors import UsageError
from django_cfg.backup.formatting import counted, one_paragraph
from django_cfg.backup.manifest import MAX_NOTE

LARGEST = 64 << 10  # bytes of a body
_DIGITS = 10  # of a length that is worth reading
_SHOWN = 60  # characters of a name that does not exist
Text = Annotated[str, Field(min_length=1, max_length=500)]
Name = Annotated[Text, Field(description="A backup's name, an unambiguous beginning of it, or `latest`")]
Database = Annotated[Text | None, Field(description="Look among the backups of this database")]


class Query(BaseModel):
    """What the address holds behind its question mark."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Body(BaseModel):
    """A JSON object; its values are of the types that are asked for, and are not converted."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)


class NoQuery(Query):
    """Nothing."""


class ListQuery(Query):
    database: Database = None
    all: bool = Field(False, description="Those of other projects and environments too")


class ShowQuery(Query):
    database: Database = None


class PruneQuery(Query):
    orphans: bool = Field(False, description="Also those of databases that left DATABASES")


class DownloadQuery(Query):
    database: Database = None
    part: int | None = Field(None, ge=1, description="Which of several archives, from 1 on")


class CreateBody(Body):
    databases: tuple[Text, ...] = Field((), max_length=1000, description="Aliases; none: all that are enabled")
    note: str = Field("", max_length=MAX_NOTE, description="A remark kept in the manifest")


class VerifyBody(Body):
    name: Name
    database: Database = None


class RestoreBody(Body):
    name: Name
    to: Text = Field(description="The alias of the database to replace")
    database: Database = None
    tables: tuple[Text, ...] = Field((), max_length=1000, description="Only these tables (shell patterns)")
    disconnect: bool = Field(False, description="End the connections that prevent the switch")
    skip_failing: bool = Field(False, description="Leave out what `backup_restore --skip-failing` does (PostgreSQL)")


Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=Body)


def read_query(request: HttpRequest, model: type[Q]) -> Q:
    """
    :raises UsageError: the address holds something else than *model*.
    """
    sent: Mapping[str, list[str]] = dict(request.GET.lists())
    if twice := [name for name, values in sent.items() if len(values) > 1]:
        raise UsageError(f"The parameter {_shown(twice[0])} was given {counted(len(sent[twice[0]]), 'time')}: once.")
    try:
        return model.model_validate({name: values[0] for name, values in sent.items()})
    except ValidationError as error:
        raise UsageError(f"The parameters of the address are wrong: {_describe(error)}.") from None


def read_body(request: HttpRequest, model: type[B]) -> B:
    """Read the JSON of the body; an empty one is an empty object.

    :raises UsageError: it holds something else than *model*.
    """
    read_query(request, NoQuery)
    text = _read(request)
    try:
        return model.model_validate_json(text or b"{}")
    except ValidationError as error:
        raise UsageError(f"The body is not the JSON that is wanted: {_describe(error)}.") from None


def _read(request: HttpRequest) -> bytes:
    length = request.META.get("CONTENT_LENGTH") or "0"
    if not length.isdecimal() or len(length) > _DIGITS or int(length) > LARGEST:
        raise too_large(LARGEST)
    try:
        text = request.body
    except RequestDataTooBig:
        raise too_large(LARGEST) from None
    except (RawPostDataException, UnreadablePostError):
        raise UsageError("The body could not be read: send JSON, and all of it.") from None
    if len(text) > LARGEST:
        raise too_large(LARGEST)
    return text


def _describe(error: ValidationError) -> str:
    """Say of each fault where it is and what is wanted, and nothing of what was given."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [f"{_shown('.'.join(map(str, each['loc'])))}: {each['msg']}" for each in found[:5]]
    more = [f"and {len(found) - 5} more"] if len(found) > 5 else []
    return one_paragraph("; ".join([*faults, *more]).removeprefix("'': "))


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN else f"{name[:_SHOWN]}...")
