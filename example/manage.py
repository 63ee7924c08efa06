#!/usr/bin/env python
"""Run a command of the bookshop, as in ``python manage.py backup_create``."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop_project.settings")
    execute_from_command_line(sys.argv)
