"""Which environment the project runs in, by the variables that projects use for it."""

from __future__ import annotations

from django_cfg.environment import lookup

MODES = ("development", "staging", "production", "test")
VARIABLES = ("ENV_MODE", "DJANGO_ENV", "ENVIRONMENT", "ENV")
FLAGS = {"IS_PROD": "production", "IS_DEV": "development", "IS_TEST": "test"}
_SHORT = {
    "dev": "development",
    "devel": "development",
    "develop": "development",
    "local": "development",
    "stage": "staging",
    "prod": "production",
    "testing": "test",
}
_YES, _NO = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


def long_form(text: str) -> str:
    """Return the long form of the mode that *text* names; any other name as it is."""
    word = text.strip().lower()
    mode = _SHORT.get(word, word)
    return mode if mode in MODES else text.strip()


def parse_mode(text: str, *, wanted_by: str) -> str:
    """Return the mode that *text* names, in its long form.

    :raises ValueError: it names none; the message holds *wanted_by*, not *text*.
    """
    mode = long_form(text)
    if mode not in MODES:
        known = ", ".join(repr(name) for name in MODES)
        raise ValueError(f"{wanted_by} is none of {known}, nor a short form of one ({', '.join(_SHORT)})")
    return mode


def mode_from_variables() -> str | None:
    """Return the mode that the environment or a ``.env`` file names; None: no variable is set.

    :raises ValueError: a variable has an unknown value, or two contradict each other.
    """
    for name in VARIABLES:
        if value := (lookup(name) or "").strip():
            other = "" if name == "ENV_MODE" else " (set ENV_MODE, which is read first, if it has another purpose)"
            return parse_mode(value, wanted_by=f"the variable {name}{other}")
    modes = {name: mode for name, mode in FLAGS.items() if _is_set(name)}
    if len(modes) > 1:
        raise ValueError(f"the variables {' and '.join(modes)} are both true: set only one of them, or ENV_MODE")
    return next(iter(modes.values()), None)


def _is_set(name: str) -> bool:
    value = (lookup(name) or "").strip().lower()
    if value not in _YES | _NO:
        raise ValueError(f"the variable {name} is neither true nor false: set it to one of them, or set ENV_MODE")
    return value in _YES
