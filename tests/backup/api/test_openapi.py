"""The document of the API: it is valid, and answers are as it says."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from django_cfg.backup.api.urls import urlpatterns
from django_cfg.backup.manifest import Manifest
from tests.support.api_client import Api


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = api.get("openapi.json").json()
    return found


def test_it_is_valid(document: dict[str, Any]) -> None:
    assert list(OpenAPIV31SpecValidator(document).iter_errors()) == []
    assert document["servers"] == [{"url": "http://testserver/backups/api"}]


def test_it_has_every_address(document: dict[str, Any]) -> None:
    routes = {str(found.pattern) for found in urlpatterns if found.name not in ("root", "unknown")}
    described = {path.removeprefix("/").replace("{name}", "<path:name>").replace("{number}", "<str:number>")
                 for path in document["paths"]}  # fmt: skip
    assert routes == described


def test_answers_are_as_it_says(api: Api, made: list[Manifest], document: dict[str, Any]) -> None:
    api.configure(
        api={"allow_restore": True, "allow_download": True},
        signing_key="k" * 32,
        copies=[{"name": "offsite", "storage": {"local_path": str(api.site.root / "offsite")}}],
    )
    name = api.site.create().name
    job = fitting(document, api.post("verify", {"name": name}), "/verify", "post")
    number = job["id"]
    api.site.call("backup_tick")
    api.site.call("backup_verify", name, "--drill")
    for path, described in {
        "backups": "/backups", f"backups/{name}": "/backups/{name}", "backups/nosuch": "/backups/{name}",
        "status": "/status", "prune": "/prune", f"jobs/{number}": "/jobs/{number}", "jobs/x": "/jobs/{number}",
        "status?x=1": "/status", "openapi.json": "/openapi.json",
    }.items():  # fmt: skip
        fitting(document, api.get(path), described)
    for path, body in {"create": {}, "drill": {"name": name}, "restore": {"name": name, "to": "default"}}.items():
        fitting(document, api.post(path, body), f"/{path}", "post")
        fitting(document, api.post(path, {"x": 1}), f"/{path}", "post")
        fitting(document, api.post(path, b" " * 70_000), f"/{path}", "post")


def fitting(document: dict[str, Any], answer: Any, path: str, method: str = "get") -> Any:
    """Return the JSON of *answer* after it was compared with what the document says of its status."""
    described = document["paths"][path][method]["responses"][str(answer.status_code)]
    schema = described["content"]["application/json"]["schema"]
    content = answer.json()
    validator = Draft202012Validator({**schema, "components": document["components"]})
    assert [error.message for error in validator.iter_errors(content)] == []
    return content
