"""The configuration models, under the name by which configurations of django-cfg import them. No database models."""

from django_cfg import *  # noqa: F403
from django_cfg import __all__ as __all__
