"""The bookshop in example/: it migrates, fills itself and shows its admin, with warnings as errors."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.shop_project import manage, succeed

EXAMPLE = Path(__file__).resolve().parent.parent / "example"
LEAVE = shutil.ignore_patterns("*.sqlite3*", "backups", "__pycache__")

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
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled shop of 40 books, in a folder of its own."""
    return filled(tmp_path_factory.mktemp("example") / "shop")


def filled(folder: Path) -> Path:
    shutil.copytree(EXAMPLE, folder, ignore=LEAVE)
    succeed(folder, "migrate", "--verbosity=0")
    assert "40 books, 40 orders" in succeed(folder, "fill_bookshop", "--books", "40")
    return folder


def python(folder: Path, text: str) -> list[str]:
    """What *text* prints when the shop's shell runs it, line by line."""
    return succeed(folder, "shell", "--verbosity=0", "--command", text).splitlines()


def test_it_has_no_issues_and_no_missing_migrations(shop: Path) -> None:
    assert "no issues" in succeed(shop, "check")
    assert "No changes detected" in succeed(shop, "makemigrations", "--check", "--dry-run")


def test_everything_stays_in_its_folder(shop: Path) -> None:
    assert (shop / "bookshop.sqlite3").is_file()
    place = "s.BASE_DIR, s.PROJECT_NAME, s.BACKUP.storage.local_path"
    assert python(shop, f"from django.conf import settings as s\nprint({place})") == [f"{shop} bookshop backups/"]


def test_its_admin_pages_answer(shop: Path) -> None:
    answers = python(shop, PAGES)
    assert len(answers) == 15
    assert [line for line in answers if not line.startswith("200 ")] == ["302 front"]


def test_it_is_filled_alike_every_time(shop: Path, tmp_path: Path) -> None:
    counts, digest = python(shop, DIGEST)
    assert counts.split()[:5] == ["10", "8", "40", "8", "40"]
    assert int(counts.split()[5]) > 40
    assert python(filled(tmp_path / "again"), DIGEST) == [counts, digest]


@pytest.mark.parametrize(("books", "says"), [("0", "at least one book"), ("5", "full already")])
def test_a_fill_that_cannot_be_is_refused(shop: Path, books: str, says: str) -> None:
    refused = manage(shop, "fill_bookshop", "--books", books)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
