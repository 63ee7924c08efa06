"""Making backups: one, or all that are due."""
