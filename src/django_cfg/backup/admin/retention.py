"""The retention simulator: what is kept and why, by the numbers of the settings or by others."""

from __future__ import annotations

from dataclasses import replace

from django import forms
from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse

from django_cfg.backup.admin.access import requires
from django_cfg.backup.admin.base import render
from django_cfg.backup.config.backup import BackupRetentionConfig
from django_cfg.backup.errors import ClockSkew
from django_cfg.backup.policy.retention import Decision, Plan
from django_cfg.backup.services.monitoring.snapshot import Stored, read_backups
from django_cfg.backup.services.retention.prune import decide_retention, of_place


class NumbersForm(forms.Form):
    """The numbers of the retention, in the ranges of BackupRetentionConfig."""

    keep_daily = forms.IntegerField(label="Days", min_value=1, max_value=365)
    keep_weekly = forms.IntegerField(label="Weeks", min_value=0, max_value=52)
    keep_monthly = forms.IntegerField(label="Months", min_value=0, max_value=24)
    max_total_size_mb = forms.IntegerField(label="Limit in MB (empty: none)", min_value=1, required=False)


@requires("view_backup")
def page(site: AdminSite, request: HttpRequest) -> HttpResponse:
    """Decide on every backup; nothing is deleted."""
    stored = read_backups()
    configured = stored.project.config.retention
    initial = configured.model_dump(include=set(NumbersForm.base_fields))
    form = NumbersForm(request.GET or None, initial=initial)
    is_simulated = form.is_bound and form.is_valid()
    policy = configured.model_copy(update=form.cleaned_data) if is_simulated else configured
    is_other = policy != configured
    plan, skew = decide(stored, policy)
    decisions = [made for made in plan.decisions if stored.project.owns(made.source)] if plan else []
    due = [made for made in decisions if not made.keep]
    context = {
        "stored": stored,
        "form": form,
        "policy": policy,
        "is_other": is_other,
        "skew": skew,
        "warnings": plan.warnings if plan else (),
        "decisions": decisions,
        "due": due,
        "freed": sum(made.size for made in due),
        "changes": _changes(stored, decisions) if is_other else {},
    }
    return render(site, request, "retention", "Retention", context)


def decide(stored: Stored, policy: BackupRetentionConfig) -> tuple[Plan | None, str]:
    """Return the decisions by *policy*; or why none is made."""
    if stored.catalog is None:
        return None, stored.error
    main = replace(stored.project.places[0], retention=policy)
    in_main = of_place(stored.catalog, main)
    if in_main is None:
        return None, str(stored.catalog.away[main.name])
    try:
        return decide_retention(stored.project, in_main, main), ""
    except ClockSkew as error:
        return None, str(error)


def _changes(stored: Stored, decisions: list[Decision]) -> dict[str, str]:
    """By name what other numbers change."""
    now = stored.decisions()
    return {
        made.name: "would go" if now[made.name].keep else "would stay"
        for made in decisions
        if made.name in now and now[made.name].keep != made.keep
    }
