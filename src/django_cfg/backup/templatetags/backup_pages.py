"""Filters of the pages of the admin."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any

from django import template

from django_cfg.backup.formatting import elapsed, megabytes
from django_cfg.backup.services.project import clock

if TYPE_CHECKING:
    from django_cfg.backup.services.monitoring.summary import Summary

register = template.Library()


@register.filter
def size(value: int | None) -> str:
    """Bytes in words."""
    return "" if value is None else megabytes(value)


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago *moment* was."""
    return "never" if moment is None else f"{elapsed(clock.now() - moment)} ago"


@register.filter
def at(moment: datetime | None, zone: tzinfo) -> str:
    """The local time of *moment* in *zone*."""
    return "" if moment is None else f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


@register.filter
def seconds(value: float | None) -> str:
    """A length of time in words."""
    return "" if value is None else elapsed(timedelta(seconds=value))


@register.filter
def unlocalized(value: float) -> str:
    """A number as SVG reads it, whatever the language of the page."""
    return f"{value:g}" if value < 100_000 else f"{value:.0f}"


@register.filter
def get(found: Mapping[str, str], key: str) -> str:
    """The entry of *key*; empty if there is none."""
    return found.get(key, "")


@register.simple_tag(takes_context=True)
def backup_summary(context: dict[str, Any]) -> Summary | None:
    """The sentence for the index; None for users who may not see it, or when it cannot be said in a moment."""
    # Django imports the filters of every app, and a project need not have the admin.
    from django_cfg.backup.admin.access import may
    from django_cfg.backup.services.monitoring.snapshot import recent_summary

    request = context.get("request")
    return recent_summary() if request is not None and may(request, "view_backup") else None
