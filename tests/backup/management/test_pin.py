"""backup_pin: a pinned backup is not deleted."""

from __future__ import annotations

import json

from tests.support.django_project import Site


def test_a_pinned_backup_is_not_deleted_until_it_is_unpinned(site: Site) -> None:
    name = site.create().name
    assert site.call("backup_pin", name, "--why", "year end").code == 0
    refused = site.call("backup_delete", name, "--yes")
    assert refused.code == 2
    assert f"backup_pin {name} --unpin" in refused.stderr
    assert site.call("backup_verify", name).code == 0
    assert site.call("backup_pin", name, "--unpin", "--json").json == {"name": name, "pinned": False}
    site.create()
    assert site.call("backup_delete", name, "--yes").code == 0
    assert not [stored for stored in site.stored() if stored.startswith(f"{name}.")]


def test_a_pin_records_who_when_and_why(site: Site) -> None:
    name = site.create().name
    site.call("backup_pin", name, "--why", "year end")
    pin = json.loads((site.backups / f"{name}.pin.json").read_text())
    assert set(pin) == {"by", "at", "why"}
    assert pin["why"] == "year end"


def test_the_first_pin_is_kept(site: Site) -> None:
    name = site.create().name
    for why in ("first", "second"):
        assert site.call("backup_pin", name, "--why", why).code == 0
    assert json.loads((site.backups / f"{name}.pin.json").read_text())["why"] == "first"


def test_the_list_shows_the_pin(site: Site) -> None:
    name = site.create().name
    site.call("backup_pin", name)
    assert "manual, pinned" in site.call("backup_list").stdout


def test_an_unknown_backup_cannot_be_pinned(site: Site) -> None:
    assert site.call("backup_pin", "nosuch").code == 5
