"""What all configuration models share: closed, unchangeable, silent about their input."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError, core_schema

from django_cfg.environment import substitute, substitute_all


class ConfigModel(BaseModel):
    """A model whose strings may hold ``${VAR}``, and whose errors never show what they were given."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    # Parameters whose blanks count: a key that begins or ends with one is refused, not changed.
    exact: ClassVar[frozenset[str]] = frozenset()

    @field_validator("*", mode="before")
    @classmethod
    def _from_environment(cls, value: Any, info: ValidationInfo) -> Any:
        """Replace references in strings, in lists and within dicts; strip the blanks around those in no dict."""
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if isinstance(value, list | tuple):
            return [cls._text(one, str(info.field_name)) for one in value]
        if isinstance(value, dict) and not cls._takes_model(str(info.field_name)):  # a model replaces its own
            return substitute_all(value, wanted_by=f"{cls.__name__}.{info.field_name}")
        return cls._text(value, str(info.field_name))

    @classmethod
    def _takes_model(cls, field: str) -> bool:
        annotation = cls.model_fields[field].annotation
        return any(
            isinstance(part, type) and issubclass(part, BaseModel) for part in (annotation, *get_args(annotation))
        )

    @classmethod
    def _text(cls, value: Any, field: str) -> Any:
        if not isinstance(value, str):
            return value
        text = substitute(value, wanted_by=f"{cls.__name__}.{field}")
        return text if field in cls.exact else text.strip()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        # A wrap validator would run inside the after validators of a subclass and miss their errors.
        return core_schema.no_info_wrap_validator_function(cls._without_input, handler(source))

    @classmethod
    def _without_input(cls, value: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> Any:
        """Validate, and raise the errors again without input: `errors()` would show it, hidden or not."""
        try:
            return handler(value)
        except ValidationError as error:
            title, details = error.title, error.errors(include_url=False, include_input=False)
        errors = [
            InitErrorDetails(
                type=PydanticCustomError(detail["type"], cls._message(detail)), loc=detail["loc"], input=None
            )
            for detail in details
        ]
        raise ValidationError.from_exception_data(title, errors, hide_input=True)

    @classmethod
    def _message(cls, detail: ErrorDetails) -> str:
        if detail["type"] != "extra_forbidden" or len(detail["loc"]) > 1:
            return detail["msg"]
        return cls._unknown_parameter(str(detail["loc"][0]))

    @classmethod
    def _unknown_parameter(cls, name: str) -> str:
        close = get_close_matches(name, cls.model_fields, n=1)
        return f"{cls.__name__} has no such parameter" + "".join(f": did you mean {found}?" for found in close)
