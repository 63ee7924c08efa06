"""backup_create"""

from __future__ import annotations

from tests.site import Site


def test_a_backup_is_listed_and_its_pair_is_stored(site: Site) -> None:
    answer = site.call("backup_create", "--json")
    assert answer.code == 0
    (manifest,) = answer.json
    assert site.stored() == [f"{manifest['name']}.json", f"{manifest['name']}.sqlite3.gz"]
    assert [m["name"] for m in site.call("backup_list", "--json").json] == [manifest["name"]]


def test_an_unknown_alias_is_wrong_usage_and_nothing_is_published(site: Site) -> None:
    answer = site.call("backup_create", "nosuch")
    assert answer.code == 2
    assert "'nosuch'" in answer.stderr
    assert "default" in answer.stderr
    assert not site.backups.exists()
