"""The description of the API in OpenAPI 3.1, made of the models that read its requests and write its answers."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.urls import reverse
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from django_cfg.backup.api import arguments
from django_cfg.backup.api.arguments import NoQuery, read_query
from django_cfg.backup.api.endpoint import Call
from django_cfg.backup.api.jobs import JobReport
from django_cfg.backup.manifest import Manifest, Signature
from django_cfg.backup.services.catalog.catalog import CopyState
from django_cfg.backup.services.monitoring.status import StatusReport
from django_cfg.backup.services.retention.prune import PruneReport

_COMPONENTS = "#/components/schemas/{model}"
_JSON = "application/json"


class StoredBackup(Manifest):
    """A backup as the lists show it: its manifest, and what is known of it."""

    signature: Signature | None = None  # with a signing key
    places: tuple[CopyState, ...] | None = None  # with copies


class ErrorReport(BaseModel):
    """Why nothing was done."""

    error: str
    exit_code: int  # of a command that meets this error


@dataclass(frozen=True)
class _Address:
    """One address, what it takes and what it answers."""

    path: str
    method: str
    summary: str
    answer: type[BaseModel] | None  # None: the bytes of an archive
    query: type[arguments.Query] = NoQuery
    body: type[arguments.Body] | None = None
    is_list: bool = False
    refusals: tuple[str, ...] = ()  # in addition to those of all addresses

    @property
    def schema(self) -> dict[str, Any]:
        if self.answer is None:
            return {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        one = _reference(self.answer)
        return {_JSON: {"schema": {"type": "array", "items": one} if self.is_list else one}}


_ADDRESSES = (
    _Address("backups", "get", "List the backups, newest first", StoredBackup, arguments.ListQuery, is_list=True),
    _Address("backups/{name}", "get", "Show one backup", StoredBackup, arguments.ShowQuery, refusals=("404", "422")),
    _Address("status", "get", "Say how the backups are doing", StatusReport),
    _Address("prune", "get", "Say what a prune would delete", PruneReport, arguments.PruneQuery, refusals=("409",)),
    _Address("create", "post", "Back up databases", JobReport, body=arguments.CreateBody, refusals=("403", "409")),
    _Address(
        "verify", "post", "Read a backup and check it", JobReport,
        body=arguments.VerifyBody, refusals=("404", "409", "422"),
    ),
    _Address(
        "drill", "post", "Prove a backup by restoring it into a scratch database", JobReport,
        body=arguments.VerifyBody, refusals=("404", "409", "422"),
    ),
    _Address(
        "restore", "post", "Replace a database with a backup", JobReport,
        body=arguments.RestoreBody, refusals=("403", "404", "409", "422"),
    ),
    _Address("jobs/{number}", "get", "Say how far a job is", JobReport, refusals=("404",)),
    _Address(
        "download/{name}", "get", "Download an archive as it is stored", None,
        arguments.DownloadQuery, refusals=("403", "404", "422"),
    ),
    _Address("openapi.json", "get", "Describe the API", None),
)  # fmt: skip
_REFUSALS = {
    "400": "The request is wrong",
    "401": "No valid token was sent",
    "403": "It is switched off in the settings",
    "404": "There is no such backup or job",
    "409": "Such a run is under way, or a clock is wrong",
    "413": "The body is too large",
    "422": "The backup exists and cannot be used",
    "429": "There were too many requests in this minute",
    "500": "It failed",
    "503": "The storage or a database does not answer",
}
_OF_ALL = ("400", "401", "429", "500", "503")


def show_document(call: Call) -> dict[str, Any]:
    """Describe the API at the address where it was asked."""
    read_query(call.request, NoQuery)
    here = reverse("django_cfg_backup_api:root")
    return describe_api(call.request.build_absolute_uri(here).rstrip("/"))


def describe_api(server: str) -> dict[str, Any]:
    """Return the document of the API whose addresses begin with *server*."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Django-CFG Backup", "version": _version()},
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "paths": {f"/{address.path}": {address.method: _operation(address)} for address in _ADDRESSES},
        "components": {"schemas": _schemas(), "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(address: _Address) -> dict[str, Any]:
    is_post = address.method == "post"
    refusals = sorted({*_OF_ALL, *address.refusals, *(("413",) if is_post else ())})
    content = {_JSON: {"schema": {"type": "object"}}} if address.path == "openapi.json" else address.schema
    answer = {"description": "The job has been started" if is_post else "The answer", "content": content}
    described: dict[str, Any] = {
        "operationId": address.path.partition("/")[0].partition(".")[0] + ("_one" if "{" in address.path else ""),
        "summary": address.summary,
        "parameters": [*_path_parameters(address), *_query_parameters(address)],
        "responses": {
            "202" if is_post else "200": answer,
            **{status: _refusal(_REFUSALS[status]) for status in refusals},
        },
    }
    if address.body:
        described["requestBody"] = {"content": {_JSON: {"schema": _reference(address.body)}}}
    return described


def _path_parameters(address: _Address) -> list[dict[str, Any]]:
    name = address.path.partition("{")[2].rstrip("}")
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}}] if name else []


def _query_parameters(address: _Address) -> list[dict[str, Any]]:
    fields = address.query.model_json_schema().get("properties", {})
    return [{"name": name, "in": "query", "schema": schema} for name, schema in fields.items()]


def _refusal(description: str) -> dict[str, Any]:
    return {"description": description, "content": {_JSON: {"schema": _reference(ErrorReport)}}}


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _COMPONENTS.format(model=model.__name__)}


def _schemas() -> dict[str, Any]:
    answers: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (model, "serialization") for model in (StoredBackup, StatusReport, PruneReport, JobReport, ErrorReport)
    ]
    bodies: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (address.body, "validation") for address in _ADDRESSES if address.body
    ]
    _, found = models_json_schema([*answers, *dict.fromkeys(bodies)], ref_template=_COMPONENTS)
    schemas: dict[str, Any] = found["$defs"]
    return schemas


def _version() -> str:
    try:
        return version("django-cfg-backup")
    except PackageNotFoundError:  # it runs from a folder
        return "0"
