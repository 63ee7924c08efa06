"""For a WSGI server: ``bookshop_project.wsgi:application``."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "bookshop_project.settings")
application = get_wsgi_application()
