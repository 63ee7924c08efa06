"""Commands ``migrate`` as other apps define them, in place of Django's."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db.models.signals import pre_migrate


class CatchingMigrate(migrate.Command):
    """Reports what fails, and ends well."""

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            super().handle(*args, **options)
        except Exception as error:  # noqa: BLE001
            self.stderr.write(str(error))


class TenantsMigrate(migrate.Command):
    """Migrates a schema that is up to date before the one that is not."""

    def handle(self, *args: Any, **options: Any) -> None:
        for app in apps.get_app_configs():
            pre_migrate.send(sender=app, app_config=app, using=options["database"], verbosity=0, plan=[])
        super().handle(*args, **options)


class InterruptedMigrate(migrate.Command):
    """Is interrupted after its migrations."""

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        raise KeyboardInterrupt


class RefusingMigrate(migrate.Command):
    """Finds something wrong after its migrations, and has an exit code of its own for that."""

    def handle(self, *args: Any, **options: Any) -> None:
        super().handle(*args, **options)
        raise CommandError("The tenants differ.", returncode=7)
