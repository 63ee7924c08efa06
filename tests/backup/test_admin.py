"""The history in the admin of a real project: to read, not to change."""

from __future__ import annotations

from pathlib import Path

from tests.support.shop_project import make_project, succeed

CONFIG = """
from django_cfg import BackupConfig, DjangoConfig

class ShopConfig(DjangoConfig):
    project_name: str = "shop"
    backup: BackupConfig = BackupConfig(enabled=True)
"""
# Runs in the project: each line printed is a fact for the test.
VISIT = """
import io
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django_cfg.backup.models import Run

call_command("migrate", verbosity=0)
call_command("backup_create", verbosity=0, stdout=io.StringIO())
run = Run.objects.get()
client = Client(headers={"host": "localhost"})
client.force_login(User.objects.create_superuser("root", "root@example.org", "root"))
base = "/admin/django_cfg_backup/run/"
print("list", client.get(base).status_code, run.name in client.get(base).text)
page = client.get(f"{base}{run.pk}/change/")
print("page", page.status_code, run.name in page.text, 'name="_save"' in page.text, "deletelink" in page.text)
print("change", client.post(f"{base}{run.pk}/change/", {"state": "failed"}).status_code)
print("add", client.get(f"{base}add/").status_code, client.post(f"{base}add/", {"state": "failed"}).status_code)
print("delete", client.post(f"{base}{run.pk}/delete/", {"post": "yes"}).status_code)
client.post(base, {"action": "delete_selected", "_selected_action": [run.pk], "post": "yes"})
print("left", list(Run.objects.values_list("name", "state")) == [(run.name, "succeeded")])
anonymous = Client(headers={"host": "localhost"})
print("stranger", anonymous.get(base).status_code)
"""


def test_the_history_can_be_read_and_not_changed(tmp_path: Path) -> None:
    """Not even by a superuser: it is what happened."""
    project = make_project(tmp_path / "shop", CONFIG)
    assert succeed(project, "shell", "--verbosity", "0", "-c", VISIT).splitlines() == [
        "list 200 True",
        "page 200 True False False",
        "change 403",
        "add 403 403",
        "delete 403",
        "left True",
        "stranger 302",
    ]
