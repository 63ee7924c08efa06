"""Bringing backups back, and what restores leave behind."""
