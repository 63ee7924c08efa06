"""Taking secrets out of texts that others have written: programs, services, libraries."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

_TELLING = 6  # characters; a shorter "secret" gives nothing away, and may be part of any word
_NAMED = re.compile(r"(?:pass\w*|token|secret|\w*key)=([^&#]+)")  # in a query

_OPTION = re.compile(r"--[^=]*|-.?")


def redact(text: str, secrets: Iterable[str | None]) -> str:
    """*text* with asterisks in the place of each of *secrets*."""
    telling = {secret for secret in secrets if secret and len(secret) >= _TELLING}
    for secret in sorted(telling, key=len, reverse=True):  # one may be a part of another
        text = text.replace(secret, "***")
    return text


def secrets_of_url(url: str) -> Iterator[str]:
    """The secrets that *url* holds: itself, its password, also as HTTP sends it, and what looks like a token anywhere.

    Services take tokens as the host, in the path, in the query. A ``{placeholder}`` is none.
    """
    yield url
    rest = re.sub(r"\{\w+\}", "/", url.partition("://")[2])
    login, _, after = rest.rpartition("@")
    password = login.partition(":")[2]
    basic = b64encode(unquote(login).encode()).decode() if password else ""
    pieces = re.split(r"[/?&=#:@]", rest)
    for secret in (password, basic, *_NAMED.findall(after), *filter(_looks_made_up, pieces)):
        yield from {secret, unquote(secret)}


def without_value(option: str) -> str:
    """The name of a program's *option*, for a message: its value may be a password. Other arguments as they are."""
    found = _OPTION.match(option)
    return found[0] if found else option


def _looks_made_up(text: str) -> bool:
    """Not a word, which may stand in any message, nor the name of a host."""
    is_no_word = any(map(str.isdigit, text)) or (text != text.lower() and text != text.upper())
    return len(text) >= 20 or (len(text) >= 8 and is_no_word and not re.fullmatch(r"[\w-]+(\.[\w-]+)+", text))
