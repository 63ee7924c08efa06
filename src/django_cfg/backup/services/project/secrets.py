"""The secrets of the settings, kept out of what is sent and of what is logged on the way."""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import traceback
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from django_cfg.backup.config.storage import CHAIN_VARIABLES, ROLE_VARIABLES
from django_cfg.backup.process.redaction import redact, secrets_of_url
from django_cfg.backup.storage.django.secret_options import secrets_of_options

if TYPE_CHECKING:
    from django_cfg.backup.services.project.project import Project

_SECRET_HEADER = re.compile(r"token|secret|key|auth|password|credential")
_PASSWORDS = ("password", "passwd", "sslpassword", "ssl_key_password")  # in the OPTIONS of databases


_hiding = threading.Lock()
_hidden: list[Collection[str]] = []  # of the blocks that are open


def secrets_of(project: Project) -> set[str]:
    """Return all that a message must not show."""
    config = project.config
    found: list[Any] = [config.encryption_key, *config.decryption_keys]
    found += [config.metrics_token, config.signing_key, *config.earlier_signing_keys, *_of_the_site()]
    found += config.api.tokens
    for storage in (config.storage, *(copy.storage for copy in config.copies)):
        found += [storage.s3_access_key, storage.s3_secret_key, storage.s3_session_token]
        found += [text for name, text in storage.s3_extra_headers.items() if _SECRET_HEADER.search(name)]
        found += [os.environ.get(name) for name in ROLE_VARIABLES if storage.s3_use_role]
        found += [storage.azure_account_key, storage.azure_sas_token]
        found += [os.environ.get(name) for name in CHAIN_VARIABLES if storage.backend in ("gcs", "azure")]
        found += _of_a_service_account(storage.gcs_credentials or "")
    found += _of_the_storages()
    found += [*_of_the_mail(), *_of_the_queues()]
    found += [webhook.secret for webhook in config.webhooks]
    for url in (*config.notify_urls, config.heartbeat_url or "", *(webhook.url for webhook in config.webhooks)):
        found += secrets_of_url(url)
    for alias, database in project.databases.items():
        for values in (database.settings, config.for_database(alias).connection):
            found += _of_a_database(values)
    return {str(secret) for secret in found if secret}


def _of_the_site() -> Iterator[Any]:
    with suppress(ImproperlyConfigured):  # there is none, which is Django's to say
        yield settings.SECRET_KEY


def _of_a_service_account(credentials: str) -> Iterator[Any]:
    """Yield the key of Google's JSON; a path, which is no secret, has none."""
    with suppress(ValueError):
        key = json.loads(credentials)
        if isinstance(key, dict):
            yield from (credentials, key.get("private_key"), key.get("private_key_id"))


def _of_the_storages() -> Iterator[Any]:
    for entry in getattr(settings, "STORAGES", {}).values():
        yield from secrets_of_options(entry.get("OPTIONS", {}))


def _of_a_database(values: Mapping[str, Any]) -> Iterator[Any]:
    options = values.get("OPTIONS") or {}
    tls = options.get("ssl")
    yield values.get("PASSWORD")
    for found in (options, tls if isinstance(tls, Mapping) else {}):
        yield from (found.get(name) for name in _PASSWORDS)


def _of_the_mail() -> Iterator[Any]:
    """From Django 6.1 on there is MAILERS, and reading what it replaced is deprecated, but that still serves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class whose name changes with the version
        yield getattr(settings, "EMAIL_HOST_PASSWORD", "")
    for mailer in getattr(settings, "MAILERS", {}).values():
        yield mailer.get("OPTIONS", {}).get("password")


def _of_the_queues() -> Iterator[Any]:
    for queue in getattr(settings, "RQ_QUEUES", {}).values():
        yield queue.get("PASSWORD")
        yield unquote(urlsplit(str(queue.get("URL", ""))).password or "")
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        if url := getattr(settings, name, None):
            yield from secrets_of_url(str(url))


@contextmanager
def keep_secrets_out_of_logs(secrets: Collection[str]) -> Iterator[None]:
    """A block in which no library logs one of *secrets*, at no level, in no thread.

    Libraries that send a notification log the URLs they call. Filters of loggers do not help: some of the libraries are
    imported, and make their loggers, only when they are used.
    """
    with _hiding:
        if not isinstance(logging.getLogRecordFactory(), _HidingFactory):
            logging.setLogRecordFactory(_HidingFactory(logging.getLogRecordFactory()))
        _hidden.append(secrets)
    try:
        yield
    finally:
        with _hiding:
            _hidden.remove(secrets)


class _HidingFactory:
    """What makes log records, around what made them before."""

    def __init__(self, make: Callable[..., logging.LogRecord]) -> None:
        self._make = make

    def __call__(self, *arguments: Any, **options: Any) -> logging.LogRecord:
        record = self._make(*arguments, **options)
        if secrets := [secret for block in list(_hidden) for secret in block]:
            _hide(record, secrets)
        return record


def _hide(record: logging.LogRecord, secrets: Collection[str]) -> None:
    try:
        text = record.getMessage()
    except (TypeError, ValueError):  # it cannot be put into words, and logging would show its parts instead
        record.msg, record.args = "a message that cannot be formatted", ()
        return
    if (clean := redact(text, secrets)) != text:
        record.msg, record.args = clean, ()
    if record.exc_info:  # its text may hold them too
        record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip(), secrets)
        record.exc_info = None
