"""What anyone can write to the storage is shown as text, and never becomes a part of the page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest

from django_cfg.backup.manifest import Manifest, proof_key
from django_cfg.backup.models import Run
from django_cfg.backup.services.project import clock
from tests.support.admin_pages import address, client_of, make_user, messages_of
from tests.support.django_project import Site

TAG = "<script>alert('1')</script>\"onmouseover=\"x"
NAMES = (
    "50%",
    "it's",
    "a&b=c",
    "ünï-\U0001f4da",
    "<script>alert(1)<",
    "a b",
    "a?b#c",
    '"quoted"',
    "%2e%2e",
)


@pytest.fixture
def ada(admin: Site) -> Any:
    return client_of(make_user("ada", is_superuser=True))


def tampered(manifest: Manifest, name: str) -> dict[str, Any]:
    """Return another manifest, hostile in every text that it may have."""
    document = json.loads(manifest.to_json())
    document |= {"name": name, "host": TAG, "note": TAG, "restore_hint": TAG, "excluded": [TAG]}
    document["archive"]["key"] = f"{name}.sqlite3.gz"
    document["engine"] |= {"vendor": TAG, "server_version": TAG, "tool": TAG, "tool_version": TAG}
    document["encryption"] = {"method": "public-key", "recipients": [TAG]}
    document["tables"] = [{"name": TAG, "rows": 1, "exact": True}]
    document["migrations"] = {TAG: [TAG]}
    document.pop("signature", None)
    return document


def store(site: Site, manifest: Manifest, document: dict[str, Any]) -> str:
    """Store it with a failed proof and a pin of the same kind; return its name."""
    name = str(document["name"])
    (site.backups / f"{name}.sqlite3.gz").write_bytes((site.backups / manifest.archive_key).read_bytes())
    (site.backups / f"{name}.json").write_text(json.dumps(document))
    now = clock.now()
    proof = {
        "schema": 1, "name": name, "archive_sha256": "0" * 64, "at": now.isoformat(), "duration": 1.0,
        "succeeded": False, "differences": [TAG], "server_version": TAG, "tool": TAG, "tool_version": TAG, "host": TAG,
        "migrations": TAG, "evidence": [{"name": TAG, "expected": 1, "found": None, "exact": True}],
    }  # fmt: skip
    (site.backups / proof_key(name, now)).write_text(json.dumps(proof))
    (site.backups / f"{name}.pin.json").write_text(json.dumps({"by": TAG, "at": now.isoformat(), "why": TAG}))
    return name


def is_harmless(text: str) -> bool:
    return "<script>alert" not in text and '"onmouseover=' not in text


def test_no_text_of_a_backup_becomes_html(ada: Any, admin: Site, made: list[Manifest]) -> None:
    name = store(admin, made[0], tampered(made[0], "evil"))
    Run.objects.create(
        project=TAG, env=TAG, database=TAG, name=TAG, host=TAG, message=TAG, old_data=TAG, stage=TAG, started_by=TAG
    )
    for page, query in {
        "overview": {}, "backups": {}, "backup": {"name": name}, "runs": {}, "retention": {},
        "restore": {"backup": name, "tables": TAG}, "undo": {"database": "default", "old_data": TAG},
    }.items():  # fmt: skip
        answer = ada.get(address(page), query)
        assert (answer.status_code, is_harmless(answer.text)) == (200, True), page
    detail = ada.get(address("backup"), {"name": name}).text
    assert detail.count("&lt;script&gt;alert(&#x27;1&#x27;)&lt;/script&gt;&quot;onmouseover=&quot;x") >= 14
    for run in Run.objects.all():
        assert is_harmless(ada.get(address("run_change", run.pk)).text)


@pytest.mark.parametrize("name", NAMES)
def test_a_backup_of_any_name_can_be_opened_and_deleted(ada: Any, admin: Site, made: list[Manifest], name: str) -> None:
    store(admin, made[0], tampered(made[0], name))
    listed = ada.get(address("backups"))
    assert is_harmless(listed.text)
    links = {link for link in hrefs(listed.text) if link.startswith(address("backup"))}
    assert len(links) == 3
    opened = [ada.get(link) for link in links]
    assert [page.status_code for page in opened] == [200, 200, 200]
    assert all(is_harmless(page.text) for page in opened)
    ada.post(address("unpin"), {"name": name}, follow=True)
    page = ada.post(address("delete"), {"name": name, "typed": name}, follow=True)
    assert messages_of(page) == [f"Deleted: {name}"]
    assert f"{name}.json" not in admin.stored()


def hrefs(text: str) -> list[str]:
    """Return the addresses of all links of a page, as a browser reads them."""
    found: list[str] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(value for key, value in attrs if key == "href" and value)

    Links().feed(text)
    return found


@pytest.mark.parametrize("name", [*NAMES, "name\u202egnp"])
def test_a_damaged_backup_of_any_name_is_shown_and_can_be_deleted(
    ada: Any, admin: Site, made: list[Manifest], name: str
) -> None:
    (admin.backups / f"{name}.json").write_text(json.dumps({"note": TAG}))
    listed = ada.get(address("backups")).text
    assert is_harmless(listed)
    (link,) = (found for found in hrefs(listed) if found.startswith(address("delete")))
    assert "It is damaged:" in ada.get(link).text
    page = ada.post(address("delete"), {"name": name, "typed": name}, follow=True)
    assert messages_of(page) == [f"Deleted: {name}"]
    assert f"{name}.json" not in admin.stored()
    assert ada.get(address("backup"), {"name": name}).status_code == 404


def test_a_backup_of_another_project_is_shown_as_one(ada: Any, admin: Site, made: list[Manifest]) -> None:
    document = tampered(made[0], "other") | {"source": {"project": "shop", "env": "live", "database": "default"}}
    store(admin, made[0], document)
    assert "1 more of other projects" in ada.get(address("backups")).text
    detail = ada.get(address("backup"), {"name": "other"}).text
    assert "a backup of another project or environment: shop/live/default" in detail
    assert "other" not in {link.rpartition("=")[2] for link in hrefs(ada.get(address("restore")).text)}
