"""Adopting archives that another program made, or whose manifest is lost."""
