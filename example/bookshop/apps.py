from django.apps import AppConfig


class BookshopAppConfig(AppConfig):
    name = "bookshop"
