"""The numbers of ``backup_status --format prometheus`` for prometheus_client, and so for django-prometheus:

.. code-block:: python

    REGISTRY.register(BackupCollector())
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from django_cfg.backup.errors import BackupError
from django_cfg.backup.services.monitoring.metrics import NAMES, recent_metrics

_log = logging.getLogger("django_cfg.backup")


class BackupCollector(Collector):
    """Reads the state of the backups when it is scraped, at most once in half a minute."""

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the names alone: nothing is read when it is registered."""
        for name, text in NAMES.items():
            yield GaugeMetricFamily(name, text)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield what is known. Settings that cannot be used do not fail the scrape of the other metrics."""
        try:
            metrics = recent_metrics()
        except BackupError as error:
            _log.error("There are no metrics of backups: %s", error)
            return
        for name, samples in metrics.samples.items():
            labels = list(samples[0].labels) if samples else []
            family = GaugeMetricFamily(name, NAMES[name], labels=labels)
            for sample in samples:
                family.add_metric(list(sample.labels.values()), sample.value)
            if samples:
                yield family
