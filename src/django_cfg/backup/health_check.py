"""A check for django-health-check: the backups are healthy.

.. code-block:: python

    path("health/backups/", HealthCheckView.as_view(checks=["django_cfg.backup.health_check.BackupHealthCheck"]))

Give it an address of its own: a load balancer that asks it would take the site away when a backup is late.
"""

from __future__ import annotations

from dataclasses import dataclass

from health_check.base import HealthCheck  # type: ignore[import-untyped, import-not-found, unused-ignore]
from health_check.exceptions import ServiceUnavailable  # type: ignore[import-untyped, import-not-found, unused-ignore]

from django_cfg.backup.errors import ConfigurationError
from django_cfg.backup.process.threads import InThread
from django_cfg.backup.services.monitoring.metrics import PREFIX, Metrics, recent_metrics
from django_cfg.backup.services.project.connections import closing_connections

_PATIENCE = 5.0  # seconds; a check is given six


@dataclass
class BackupHealthCheck(HealthCheck):  # type: ignore[misc, unused-ignore]
    """Fails for the same reasons as `backup_status`, whose output has them; its text only names databases and places.

    :param database: the alias to look at; None: all of them.
    """

    database: str | None = None

    def run(self) -> None:
        """
        :raises ServiceUnavailable: something is unhealthy, or the state cannot be read.
        """
        try:
            metrics = InThread(closing_connections(recent_metrics), "backup-health").result(_PATIENCE, otherwise=None)
        except ConfigurationError:
            raise ServiceUnavailable("settings.BACKUP cannot be used: see `manage.py check`.") from None
        if metrics is None or metrics.error:
            raise ServiceUnavailable("The state of the backups cannot be read: see `manage.py backup_check`.")
        healthy = _by_database(metrics, "healthy")
        if self.database not in (None, *healthy):
            raise ServiceUnavailable(f"No database {self.database!r} is backed up.")
        overdue = _by_database(metrics, "overdue")
        unhealthy = [
            f"{database}: {'overdue' if overdue[database] else 'unhealthy'}"
            for database, is_healthy in healthy.items()
            if self.database in (None, database) and not is_healthy
        ]
        places = metrics.samples[f"{PREFIX}place_healthy"]
        unhealthy += [f"the place {sample.labels['place']}" for sample in places if not sample.value]
        if unhealthy:
            raise ServiceUnavailable(f"{', '.join(unhealthy)}. `manage.py backup_status` has the reasons.")


def _by_database(metrics: Metrics, name: str) -> dict[str, float]:
    return {sample.labels["database"]: sample.value for sample in metrics.samples[f"{PREFIX}{name}"]}
