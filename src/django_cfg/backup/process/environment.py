"""The environment of child processes: that of this process, without the secrets of the settings.

Settings take passwords and keys from variables; each program that is started would inherit them, and so would what a
script in ``tools_dir`` starts. A variable is left out when it is a secret, or an address that holds one.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from urllib.parse import quote

_LONG = 16  # characters; nothing that long is part of a variable by chance
_hidden: frozenset[str] = frozenset()


def hide_from_children(secrets: Collection[str]) -> None:
    """Leave *secrets*, those of the project that was read last, out of what :func:`child_environment` returns."""
    global _hidden
    _hidden = frozenset(secrets)


def child_environment() -> dict[str, str]:
    """Return the variables of a child process: those of this one but for secrets."""
    forms = {form for secret in _hidden for form in (secret, quote(secret, safe=""))}
    parts = [f":{form}@" for form in forms] + [form for form in forms if len(form) >= _LONG]
    return {
        name: value
        for name, value in os.environ.items()
        if value not in forms and not any(part in value for part in parts)
    }
