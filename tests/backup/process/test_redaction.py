"""Redaction: secrets are removed from texts of other programs."""

from __future__ import annotations

import pytest

from django_cfg.backup.process.redaction import redact, secrets_of_url, without_value


def test_secrets_are_removed_longest_first() -> None:
    assert redact("hunter2-long and hunter2", ["hunter2", "hunter2-long", None, ""]) == "*** and ***"


def test_text_that_is_part_of_common_words_is_no_secret() -> None:
    assert redact("pg_dump of shop", ["shop", "dump"]) == "pg_dump of shop"


@pytest.mark.parametrize(
    ("url", "hidden", "kept"),
    [
        ("json://site:correcthorse@example.org/backups", ["correcthorse"], ["example.org", "backups"]),
        ("json://site:correct%20horse@10.20.30.40:8080", ["correct%20horse", "correct horse"], ["10.20.30.40"]),
        ("json://site:correct%20horse@example.org", ["c2l0ZTpjb3JyZWN0IGhvcnNl"], []),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", ["T1JJ3T3L2", "TIiajkdnlazkcOXrIdevi7FQ"], ["slack"]),
        ("tgram://123456789:ABCdefGhIJKlmNoPQ/98765432", ["123456789", "ABCdefGhIJKlmNoPQ", "98765432"], []),
        ("mailto://example.org?user=ops&pass=correcthorse", ["correcthorse"], ["example.org"]),
        ("json://example.org/?token=abc/def", ["abc/def"], []),
        ("https://hc.example.org/ping/11112222-aaaa/production-{database}", ["11112222-aaaa"], ["production", "ping"]),
        ("https://hooks3.example.org/staging/production", [], ["hooks3.example.org", "staging", "production"]),
    ],
)
def test_the_secrets_of_a_url(url: str, hidden: list[str], kept: list[str]) -> None:
    """Common words of a URL stay in messages."""
    secrets = set(secrets_of_url(url))
    assert {url, *hidden} <= secrets
    text = redact(" ".join([*hidden, *kept]), secrets)
    assert text.split() == [*(["***"] * len(hidden)), *kept]


@pytest.mark.parametrize("url", ["", "nonsense", "://", "json://[::1", "json://@", "{database}"])
def test_malformed_urls_are_searched_for_secrets(url: str) -> None:
    assert url in set(secrets_of_url(url))


@pytest.mark.parametrize(
    ("option", "name"),
    [("--password=hunter2", "--password"), ("-phunter2", "-p"), ("--clean", "--clean"), ("a_table", "a_table"),
     ("--", "--"), ("-", "-"), ("", "")],
)  # fmt: skip
def test_an_option_without_its_value(option: str, name: str) -> None:
    assert without_value(option) == name
