"""Django's settings, made by the class beside this file."""

from bookshop_project.config import BookshopConfig

globals().update(BookshopConfig().get_all_settings())
