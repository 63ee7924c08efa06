"""What records of this package share: they are frozen, and print as JSON what the commands and the API return."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, WithJsonSchema

from django_cfg.backup.errors import BackupError


def _to_utc(value: datetime) -> datetime:
    """Accept only what has a local time in each zone."""
    try:
        moment = value.astimezone(UTC)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError("out of range")
    return moment


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("holds control characters")
    return value


_FIRST_YEAR, _LAST_YEAR = 1970, 9998
LineOfText = Annotated[str, AfterValidator(_one_line)]
Size = Annotated[int, Field(ge=0, le=2**63 - 1)]  # bytes or rows
Moment = Annotated[AwareDatetime, AfterValidator(_to_utc)]

# An error of ours as a field: an exception in Python, its message in JSON.
ErrorText = Annotated[BackupError, PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})]


class Record(BaseModel):
    """A frozen record; unknown keys are ignored, so that a later version of the same schema may add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, arbitrary_types_allowed=True)

    @property
    def document(self) -> dict[str, Any]:
        """The record as ``--json`` prints it."""
        return self.model_dump(mode="json", by_alias=True)
