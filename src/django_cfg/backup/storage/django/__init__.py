"""Any storage of Django's, by its alias in settings.STORAGES."""

from django_cfg.backup.storage.django.storage import DjangoStorage

__all__ = ["DjangoStorage"]
