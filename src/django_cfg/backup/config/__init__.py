"""The models of settings.BACKUP, and what their fields mean. No Django, no network."""
