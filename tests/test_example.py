"""The bookshop in example/: it migrates, fills itself and shows its admin, with warnings as errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.shop_project import manage, succeed

EXAMPLE = Path(__file__).resolve().parent.parent / "example"
LEAVE = shutil.ignore_patterns("*.sqlite3*", "backups", "__pycache__")

FILL = """\
from django.core.management import call_command

call_command("migrate", verbosity=0)
call_command("fill_bookshop", "--books", "40")
"""
CHECK = """\
from django.conf import settings as s
from django.core.management import call_command

call_command("check")
call_command("makemigrations", "--check", "--dry-run")
print(s.BASE_DIR, s.PROJECT_NAME, s.BACKUP.storage.local_path)
"""
PAGES = """\
from django.contrib.auth import get_user_model
from django.test import Client
from bookshop.models import Book, Order

get_user_model().objects.create_superuser("owner", password="owner")
client = Client(headers={"host": "localhost"})
assert client.login(username="owner", password="owner")
names = ("author", "tag", "book", "customer", "order")
paths = ["", *(f"bookshop/{name}/" for name in names), *(f"bookshop/{name}/add/" for name in names)]
paths += [f"bookshop/{m._meta.model_name}/{m.objects.first().pk}/change/" for m in (Book, Order)]
paths += ["auth/user/"]
for path in paths:
    print(client.get(f"/admin/{path}").status_code, path)
print(client.get("/").status_code, "front")
assert b"1 result" in client.get("/admin/bookshop/book/?q=9780000000003").content
"""
DIGEST = """\
from hashlib import sha256
from django.core.serializers import serialize
from bookshop import models

kinds = (models.Author, models.Tag, models.Book, models.Customer, models.Order, models.OrderLine)
print(*(kind.objects.count() for kind in kinds))
print(sha256("".join(serialize("json", kind.objects.order_by("pk")) for kind in kinds).encode()).hexdigest())
"""


@pytest.fixture(scope="module")
def example_shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop of 40 books, in a folder of its own."""
    folder = tmp_path_factory.mktemp("example") / "shop"
    assert "40 books, 40 orders" in python(copied(folder), FILL)
    return folder


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(EXAMPLE, folder, ignore=LEAVE))


def python(folder: Path, text: str) -> str:
    """What *text* prints when the shop's shell runs it."""
    return succeed(folder, "shell", "--verbosity=0", "--command", text)


def test_the_example_passes_the_checks_and_writes_only_in_its_folder(example_shop: Path) -> None:
    """No missing migrations either."""
    said = python(example_shop, CHECK)
    assert "no issues" in said
    assert "No changes detected" in said
    assert said.splitlines()[-1] == f"{example_shop} bookshop backups/"
    assert (example_shop / "bookshop.sqlite3").is_file()


def test_filling_is_reproducible_and_the_admin_pages_work(example_shop: Path, tmp_path: Path) -> None:
    counts, digest, *answers = python(example_shop, DIGEST + PAGES).splitlines()
    assert counts.split()[:5] == ["10", "8", "40", "8", "40"]
    assert int(counts.split()[5]) > 40
    assert len(answers) == 15
    assert [line for line in answers if not line.startswith("200 ")] == ["302 front"]
    assert python(copied(tmp_path / "again"), FILL + DIGEST).splitlines()[-2:] == [counts, digest]


@pytest.mark.parametrize(("books", "says"), [("0", "at least one book"), ("5", "full already")])
def test_an_invalid_number_of_books_is_refused(example_shop: Path, books: str, says: str) -> None:
    refused = manage(example_shop, "fill_bookshop", "--books", books)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
