"""For ``manage.py rqcron django_cfg.backup.rq_cron``: a tick every minute, on BackupConfig.tick_queue.

rq's cron has no lock and does not catch up; it need not, since a tick does both. It cannot run without a job:
the tick is registered with backups switched off too, and then does nothing.
"""

from __future__ import annotations

from rq.cron import register

from django_cfg.backup.services.project.project import backup_config
from django_cfg.backup.tasks import run_tick

MINUTE = 60

register(
    run_tick,
    queue_name=backup_config().tick_queue,
    interval=MINUTE,
    job_timeout=10 * MINUTE,
    ttl=5 * MINUTE,  # ticks that no worker takes do not pile up
    result_ttl=10 * MINUTE,
    failure_ttl=60 * MINUTE,
)
