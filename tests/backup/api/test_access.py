"""Who may ask, how often, and how: tokens, the bound per minute, methods."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.core.cache import caches
from django.test import Client
from django.urls import get_resolver

from django_cfg.backup.api import access
from django_cfg.backup.services.project import clock
from tests.support.api_client import OTHER, TOKEN, Api, address, forget_counts, headers, refused
from tests.support.processes import Stopwatch
from tests.support.stopped_clock import Clock

GETS = ("backups", "backups/latest", "status", "prune", "jobs/0", "download/latest", "openapi.json")
POSTS = ("create", "verify", "drill", "restore")
UNKNOWN = ("", "status/", "nosuch", "backups/", "nosuch/deep", "a%0d%0ab", "backups/a%0ab")


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(clock, "now", lambda: stopped.now)
    return stopped


def test_the_lists_of_these_tests_are_complete() -> None:
    """Another address joins them."""
    patterns = get_resolver("django_cfg.backup.api.urls").url_patterns
    names = {str(pattern.name) for pattern in patterns}
    tested = {path.partition("/")[0].partition(".")[0] for path in GETS + POSTS}
    assert names - {"root", "unknown", "backup", "job"} == tested - {"jobs"}


def test_the_checks_of_django_find_nothing(api: Api) -> None:
    done = api.site.call("check", "--tag=urls", "--tag=security", "--fail-level=WARNING")
    assert done.code == 0, done.stderr


class TestTokens:
    def test_without_tokens_every_address_is_missing(self, api: Api) -> None:
        api.site.configure()
        for path in GETS + UNKNOWN:
            assert refused(api.get(path), 404) == "Not found."
        for path in POSTS:
            assert refused(api.post(path), 404) == "Not found."

    def test_without_one_nothing_is_read(self, api: Api) -> None:
        for path in GETS + UNKNOWN:
            answer = api.get(path, token=None)
            assert "Authorization: Bearer" in refused(answer, 401)
            assert answer["WWW-Authenticate"] == 'Bearer realm="backups"'

    def test_without_one_nothing_is_started(self, api: Api) -> None:
        for path in POSTS:
            refused(api.post(path, {"name": "latest"}, token="x" * 40), 401)

    def test_wrong_ones(self, api: Api) -> None:
        for sent in (
            *("", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "\0"),
            *(f"Bearer {TOKEN} x", f"Bearer {TOKEN.upper()}", f"Bearer {TOKEN}, Bearer {OTHER}"),
            *("Bearer ä\u20ac", "Bearer " + "x" * 10_000),
        ):
            refused(api.client.get(address("status"), HTTP_AUTHORIZATION=sent), 401)

    def test_each_of_them_is_good(self, api: Api) -> None:
        for sent in (f"Bearer {TOKEN}", f"bearer  {OTHER} "):
            assert api.client.get(address("status"), HTTP_AUTHORIZATION=sent).status_code == 200

    def test_neither_the_address_nor_a_cookie_is_a_token(self, api: Api) -> None:
        refused(api.get("status", {"token": TOKEN}, token=None), 401)
        api.client.cookies["token"] = TOKEN
        refused(api.get("status", token=None), 401)

    def test_all_tokens_are_compared_whichever_was_sent(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        compared: list[tuple[int, int]] = []

        def count(one: bytes, other: bytes) -> bool:
            compared.append((len(one), len(other)))
            return one == other

        monkeypatch.setattr(access, "compare_digest", count)
        for token in (TOKEN, OTHER, "x"):
            api.get("status", token=token)
        assert compared == [(32, 32)] * 6

    def test_settings_that_cannot_be_used(self, api: Api, caplog: pytest.LogCaptureFixture) -> None:
        api.site.set(BACKUP={"enabled": True, "api": {"tokens": [TOKEN]}, "nosuch": "canary-in-the-settings"})
        with caplog.at_level(logging.ERROR):
            assert refused(api.get("status"), 500).endswith("`manage.py check` says why.")
        assert "nosuch" in caplog.text
        assert "canary-in-the-settings" not in caplog.text


class TestHosts:
    def test_one_that_is_not_allowed_starts_nothing(self, api: Api) -> None:
        """No middleware has to look at it first: the answer would hold the address of the job."""
        api.site.set(MIDDLEWARE=[])
        api.client = Client()
        for answer in (api.get("openapi.json", HTTP_HOST="evil"), api.post("create", HTTP_HOST="evil")):
            assert "ALLOWED_HOSTS" in refused(answer, 400)
        assert api.post("create").status_code == 202


class TestMethods:
    def test_of_what_reads(self, api: Api) -> None:
        for method in ("post", "put", "patch", "delete", "options", "trace"):
            for path in GETS:
                answer = getattr(api.client, method)(address(path), headers=headers(TOKEN))
                assert refused(answer, 405) == "This address takes GET and HEAD alone."
                assert answer["Allow"] == "GET, HEAD"

    def test_of_what_starts_a_job(self, api: Api) -> None:
        for method in ("get", "head", "put", "delete", "options"):
            for path in POSTS:
                answer = getattr(api.client, method)(address(path), headers=headers(TOKEN))
                assert (answer.status_code, answer["Allow"]) == (405, "POST")

    def test_a_head_is_a_get_without_its_body(self, api: Api) -> None:
        answer = api.client.head(address("status"), headers=headers(TOKEN))
        assert (answer.status_code, answer.content) == (200, b"")

    def test_an_unknown_address(self, api: Api) -> None:
        for path in UNKNOWN:
            assert "There is no address" in refused(api.get(path), 404)


@contextmanager
def other_cache(cache: dict[str, str], patch: pytest.MonkeyPatch) -> Iterator[None]:
    """A block in which the default cache of Django is another one."""
    patch.setattr(caches, "settings", {"default": cache})
    patch.delattr(caches._connections, "default", raising=False)
    try:
        yield
    finally:
        del caches["default"]


class TestBound:
    def ask(self, api: Api, times: int, token: str | None = TOKEN, **options: Any) -> list[int]:
        return [api.get("nosuch", token=token, **options).status_code for _ in range(times)]

    def test_of_each_token_and_of_each_address_without_one(self, api: Api, stopped: Clock) -> None:
        api.configure(api={"requests_per_minute": 3})
        assert self.ask(api, 4, token=None) == [401, 401, 401, 429]
        assert self.ask(api, 4, token="wrong") == [429] * 4
        assert self.ask(api, 4) == [404, 404, 404, 429]
        assert self.ask(api, 1, token=OTHER) == [404]
        assert self.ask(api, 1, token=None, REMOTE_ADDR="192.0.2.7") == [401]
        answer = api.get("nosuch")
        assert "more than 3 requests in this minute" in refused(answer, 429)
        assert answer["Retry-After"] == "30"
        stopped.advance(seconds=30)
        assert self.ask(api, 1) == [404]

    def test_an_address_that_the_client_writes_itself_is_not_believed(self, api: Api, stopped: Clock) -> None:
        api.configure(api={"requests_per_minute": 1})
        sent = [{"HTTP_X_FORWARDED_FOR": f"192.0.2.{number}"} for number in range(3)]
        assert [api.client.get(address("status"), **each).status_code for each in sent] == [401, 429, 429]

    def test_a_network_of_ipv6_is_one_client(self, api: Api, stopped: Clock) -> None:
        api.configure(api={"requests_per_minute": 1})
        for one, other in (("2001:db8::1", "2001:db8::ffff:2"), ("::ffff:192.0.2.1", "192.0.2.1"), ("", "no address")):
            assert self.ask(api, 1, token=None, REMOTE_ADDR=one) == [401]
            assert self.ask(api, 1, token=None, REMOTE_ADDR=other) == [429]
        assert self.ask(api, 1, token=None, REMOTE_ADDR="2001:db8:0:1::1") == [401]

    @pytest.mark.parametrize(
        "cache",
        [
            {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
            {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"},
            {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "no_such_table"},
            {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": "{}/cache"},
        ],
        ids=lambda cache: str(cache["BACKEND"]).rpartition(".")[2],
    )
    def test_with_another_cache(
        self, api: Api, stopped: Clock, cache: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
    ) -> None:
        """One that keeps nothing, does not answer or has no table is replaced by the memory of the process."""
        if "LOCATION" in cache:
            cache = {**cache, "LOCATION": cache["LOCATION"].format(tmp_path)}
        api.configure(api={"requests_per_minute": 2})
        with other_cache(cache, monkeypatch):
            assert self.ask(api, 3) == [404, 404, 429]

    def test_with_a_silent_cache(self, api: Api, stopped: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is waited for once, and not for each request."""
        monkeypatch.setattr(access, "_silent_until", 0.0)
        api.configure(api={"requests_per_minute": 2})
        watch = Stopwatch()
        with socket.create_server(("127.0.0.1", 0)) as server:
            place = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
            redis = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": place}
            with other_cache(redis, monkeypatch):
                assert self.ask(api, 6) == [404, 404, 429, 429, 429, 429]
        assert watch.seconds < 5

    def test_no_token_is_in_the_cache(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        keys: list[str] = []
        monkeypatch.setattr(access, "_increment", lambda cache, key: keys.append(key) or 1)
        forget_counts()
        api.get("status")
        assert len(keys) == 1
        assert TOKEN not in keys[0]
