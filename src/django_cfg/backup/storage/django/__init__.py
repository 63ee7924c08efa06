"""Any storage of Django's, by its alias in settings.STORAGES."""
