"""Django's settings, made by the class in config.py."""

from bookshop_project.config import BookshopConfig

globals().update(BookshopConfig().get_all_settings())
