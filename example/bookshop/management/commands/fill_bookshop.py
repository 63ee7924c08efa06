"""Fill the shop with made-up books, customers and orders: the same ones every time."""

from argparse import ArgumentParser
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from django.core.management import BaseCommand, CommandError
from django.db import transaction

from bookshop.models import Author, Book, Customer, Order, OrderLine, Tag

FIRST_NAMES = ("Ada", "Bram", "Chidi", "Dora", "Emeka", "Frida", "Goro", "Hana", "Ivo", "Jun")
LAST_NAMES = (
    "Abara",
    "Brandt",
    "Castro",
    "Dekker",
    "Eriksen",
    "Fontana",
    "Goto",
    "Hughes",
    "Ivanov",
    "Joshi",
)
ADJECTIVES = (
    "Quiet",
    "Crimson",
    "Second",
    "Hollow",
    "Northern",
    "Borrowed",
    "Last",
    "Paper",
    "Salt",
    "Early",
)
NOUNS = (
    "Harbour",
    "Orchard",
    "Machine",
    "Winter",
    "Letter",
    "Garden",
    "River",
    "Archive",
    "Summer",
    "Lantern",
)
TAGS = ("adventure", "biography", "children", "crime", "essays", "history", "poetry", "science")
WORDS = ("a", "letter", "arrives", "and", "someone", "in", "town", "remembers", "who", "wrote", "it", "before")
BATCH = 1_000


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--books", type=int, default=500, help="how many books (default: 500)")

    @transaction.atomic
    def handle(self, *, books: int, **options: Any) -> None:
        if books < 1:
            raise CommandError("--books: a shop has at least one book.")
        if Book.objects.exists():
            raise CommandError("The shop is full already. For an empty one: manage.py flush")
        random = Random(books)
        stock = add_books(random, books)
        add_orders(random, stock, customers=max(1, books // 5), orders=books)
        self.stdout.write(f"{books} books, {Order.objects.count()} orders, {OrderLine.objects.count()} lines.")


def add_books(random: Random, count: int) -> list[Book]:
    """*count* books with their authors (one for about four books) and up to three tags each."""
    authors = Author.objects.bulk_create(
        (Author(name=person(random), born=day(random, 1900, 1990)) for _ in range(max(1, count // 4))), BATCH
    )
    books = Book.objects.bulk_create((book(random, number, authors) for number in range(count)), BATCH)
    tags = Tag.objects.bulk_create(Tag(name=name) for name in TAGS)
    tagged = (
        Book.tags.through(book_id=each.pk, tag_id=tag.pk)
        for each in books
        for tag in random.sample(tags, random.randint(0, 3))
    )
    Book.tags.through.objects.bulk_create(tagged, BATCH)
    return books


def add_orders(random: Random, books: list[Book], *, customers: int, orders: int) -> None:
    """*orders* orders of one to four different books, placed during 2024 by *customers* people."""
    people = Customer.objects.bulk_create(
        (Customer(name=person(random), email=f"reader{n}@mail.example") for n in range(customers)), BATCH
    )
    placed = Order.objects.bulk_create((order(random, people) for _ in range(orders)), BATCH)
    lines = (
        OrderLine(order=each, book=one, quantity=random.randint(1, 3), price=one.price)
        for each in placed
        for one in random.sample(books, min(len(books), random.randint(1, 4)))
    )
    OrderLine.objects.bulk_create(lines, BATCH)


def book(random: Random, number: int, authors: list[Author]) -> Book:
    return Book(
        title=f"The {random.choice(ADJECTIVES)} {random.choice(NOUNS)}",
        isbn=f"978{number:010}",
        author=random.choice(authors),
        price=Decimal(random.randint(500, 4000)) / 100,
        published=day(random, 1950, 2024),
        blurb=" ".join(random.choices(WORDS, k=random.randint(10, 60))).capitalize() + ".",
        cover=random.randbytes(random.randint(0, 200)),
    )


def order(random: Random, customers: list[Customer]) -> Order:
    placed_at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=random.randrange(366 * 24 * 60))
    return Order(customer=random.choice(customers), placed_at=placed_at, shipped=random.random() < 0.9)


def person(random: Random) -> str:
    return f"{random.choice(FIRST_NAMES)} {random.choice(LAST_NAMES)}"


def day(random: Random, first_year: int, last_year: int) -> date:
    return date(random.randint(first_year, last_year), 1, 1) + timedelta(days=random.randrange(365))
