"""Deleting by rule, by hand and after a crash; pins."""
