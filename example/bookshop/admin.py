from django.contrib import admin

from bookshop.models import Author, Book, Customer, Order, OrderLine, Tag


class OrderLineInline(admin.TabularInline):
    model = OrderLine
    raw_id_fields = ("book",)
    extra = 0


@admin.register(Author)
class AuthorAdmin(admin.ModelAdmin):
    list_display = ("name", "born")
    search_fields = ("name",)


@admin.register(Tag)
class TagAdmin(admin.ModelAdmin):
    search_fields = ("name",)


@admin.register(Book)
class BookAdmin(admin.ModelAdmin):
    list_display = ("title", "author", "price", "published")
    list_filter = ("tags",)
    list_select_related = ("author",)
    search_fields = ("title", "isbn", "author__name")
    autocomplete_fields = ("author", "tags")


@admin.register(Customer)
class CustomerAdmin(admin.ModelAdmin):
    list_display = ("name", "email")
    search_fields = ("name", "email")


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    list_display = ("__str__", "customer", "placed_at", "shipped")
    list_filter = ("shipped",)
    list_select_related = ("customer",)
    autocomplete_fields = ("customer",)
    inlines = (OrderLineInline,)
