"""The jobs of RQ's queues as ticks and workers see them."""

from __future__ import annotations

import django_rq
from rq.job import Job

from django_cfg.backup.services.schedule.tick import TickReport
from tests.support.redis_server import RedisServer


def jobs(queue: str = "backups") -> list[Job]:
    made = django_rq.get_queue(queue)
    try:
        return made.jobs
    finally:
        made.connection.close()


def clear(server: RedisServer) -> None:
    with server.connect() as client:
        client.flushall()


def fail_job(server: RedisServer) -> None:
    """End the only waiting job as a worker does: remove it from its queue and set its state."""
    (job,) = jobs()
    job.set_status("failed")
    with server.connect() as client:
        client.delete("rq:queue:backups")


def clean(ticked: TickReport) -> TickReport:
    assert not ticked.problems, ticked.problems
    return ticked
