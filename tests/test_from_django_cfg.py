"""Configurations as users of the package django-cfg write them: each works as there, or is refused by name."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import django_cfg
from django_cfg import DjangoConfig, models
from django_cfg.not_provided import FIELDS, NAMES
from tests.support.environment_mode import clear_mode_variables
from tests.support.shop_project import make_project, succeed

KEY = "k" * 50
HEAD = "from django_cfg.models import *\nfrom typing import Any, Dict, List, Optional\n"
REQUIRED = 'project_name: str = "Shop"\nsecret_key: str = "${SECRET_KEY}"\n'


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    clear_mode_variables(monkeypatch)
    monkeypatch.setenv("SECRET_KEY", KEY)
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop:pw@db.example:5432/shop?sslmode=require")


def build(body: str, **given: Any) -> DjangoConfig:
    """The configuration that a class with *body* makes."""
    lines = "".join(f"    {line}\n" for line in (REQUIRED + body).splitlines())
    names: dict[str, Any] = {"__name__": __name__}
    code = compile(f"{HEAD}class MyConfig(DjangoConfig):\n{lines}", "config.py", "exec", dont_inherit=True)
    exec(code, names)  # noqa: S102
    made = names["MyConfig"](**given)
    assert isinstance(made, DjangoConfig)
    return made


def settings(body: str, **given: Any) -> dict[str, Any]:
    return build(body, **given).get_all_settings()


HERE = Path(__file__).parent
WORKS: list[tuple[str, dict[str, Any]]] = [
    # the project
    ("", {"PROJECT_NAME": "Shop", "SECRET_KEY": KEY, "DEBUG": False, "ENV_MODE": "production"}),
    ('project_version: str = "2.1.0"', {"PROJECT_VERSION": "2.1.0"}),
    ('project_description: str = "A shop"', {"PROJECT_DESCRIPTION": "A shop"}),
    ('project_logo: str = "https://shop.example/logo.svg"', {"PROJECT_LOGO": "https://shop.example/logo.svg"}),
    ('project_name: str = "  Shop  "', {"PROJECT_NAME": "Shop"}),
    ('site_url: str = "https://shop.example"', {"SITE_URL": "https://shop.example", "ALLOWED_HOSTS": []}),
    ('api_url: str = "https://api.shop.example"', {"API_URL": "https://api.shop.example"}),
    # the environment
    ('env_mode: str = "production"', {"ENV_MODE": "production", "DEBUG": False}),
    ('env_mode: str = "development"', {"ENV_MODE": "development", "DEBUG": True}),
    ('env_mode: str = "test"\ndebug: bool = False', {"ENV_MODE": "test", "DEBUG": False}),
    ('env_mode: str = "development"\ndebug: bool = True', {"DEBUG": True}),
    # apps and middleware
    ('project_apps: list[str] = ["shop"]', {"INSTALLED_APPS[0]": "shop"}),
    ('project_apps: List[str] = ["b"]\ninstalled_apps: list[str] = ["a"]', {"INSTALLED_APPS[0]": "a"}),
    ('custom_middleware: list[str] = ["shop.Seen"]', {"MIDDLEWARE[-1]": "shop.Seen"}),
    # hosts
    (
        'security_domains: list[str] = ["shop.example", "https://www.shop.example", "http://10.0.0.5:8080/x"]',
        {
            "ALLOWED_HOSTS": ["shop.example", "www.shop.example", "10.0.0.5"],
            "CSRF_TRUSTED_ORIGINS": ["https://shop.example", "https://www.shop.example", "http://10.0.0.5:8080"],
        },
    ),
    (
        'security_domains: list[str] = ["shop.example"]\nsite_url: str = "https://shop.example"\n'
        'api_url: str = "https://api.shop.example"',
        {"ALLOWED_HOSTS": ["shop.example", "api.shop.example"]},
    ),
    (
        'security_domains: list[str] = [".shop.example", "*", "[::1]:8000"]',
        {
            "ALLOWED_HOSTS": [".shop.example", "*", "[::1]"],
            "CSRF_TRUSTED_ORIGINS": ["https://shop.example", "https://*.shop.example", "https://[::1]:8000"],
        },
    ),
    (
        'security_domains: list[str] = ["shop.example"]\nenv_mode: str = "development"',
        {
            "ALLOWED_HOSTS": ["shop.example", ".localhost", "127.0.0.1", "[::1]"],
            "CSRF_TRUSTED_ORIGINS": ["http://shop.example"],
        },
    ),
    (
        'security_domains: list[str] = ["a.example"]\nallowed_hosts: list[str] = ["b.example"]',
        {"ALLOWED_HOSTS": ["b.example", "a.example"], "CSRF_TRUSTED_ORIGINS": ["https://a.example"]},
    ),
    # urls and folders
    ('root_urlconf: str = "api.urls"', {"ROOT_URLCONF": "api.urls"}),
    ('wsgi_application: str = "api.wsgi.application"', {"WSGI_APPLICATION": "api.wsgi.application"}),
    ("", {"MEDIA_URL": "/media/", "MEDIA_ROOT": HERE / "media", "STATIC_ROOT": HERE / "staticfiles"}),
    ('media_url: str = "/files"', {"MEDIA_URL": "/files/"}),
    ('media_url: str = "__auto__"\napi_url: str = "https://api.example/"', {"MEDIA_URL": "https://api.example/media/"}),
    ('media_root: str = "data/media"', {"MEDIA_ROOT": HERE / "data" / "media"}),
    ('media_root: str = "/srv/media"\nstatic_root: str = "/srv/static"', {"MEDIA_ROOT": Path("/srv/media")}),
    ('static_root: str = "/srv/static"', {"STATIC_ROOT": Path("/srv/static")}),
    # people and times
    ('auth_user_model: str = "accounts.User"', {"AUTH_USER_MODEL": "accounts.User"}),
    ('admin_emails: list[str] = ["a@shop.example"]', {}),
    (
        'admin_timezone: str = "Asia/Seoul"\ncustom_middleware: list[str] = ["shop.Seen"]',
        {"ADMIN_TIMEZONE": "Asia/Seoul", "TIME_ZONE": "UTC", "MIDDLEWARE[-1]": "shop.Seen"},
    ),
    # databases
    (
        'databases: Dict[str, DatabaseConfig] = {"default": DatabaseConfig(name="${DATABASE_URL}")}',
        {"DATABASES.default.HOST": "db.example", "DATABASES.default.OPTIONS": {"sslmode": "require"}},
    ),
    (
        'databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig.from_url("${DATABASE_URL}")}',
        {"DATABASES.default.NAME": "shop", "DATABASES.default.PASSWORD": "pw"},
    ),
    (
        'databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig('
        'engine="django.db.backends.postgresql", name="${DB_NAME:-shop}", user="${DB_USER:-shop}", sslmode="prefer")}',
        {"DATABASES.default.NAME": "shop", "DATABASES.default.HOST": "localhost"},
    ),
    (
        'databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig(name="${NO_URL:sqlite:///db.sqlite3}")}',
        {"DATABASES.default.NAME": str(HERE / "db.sqlite3")},
    ),
    (
        'databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig(name=":memory:")}',
        {"DATABASES.default.NAME": ":memory:"},
    ),
    # what is the project's own
    ('my_limit: int = 7\nmy_names: List[str] = ["a"]', {}),
    ('extra_settings: dict[str, Any] = {"LANGUAGE_CODE": "it"}', {"LANGUAGE_CODE": "it"}),
    ('redis_url: Optional[str] = "${REDIS_URL:redis://localhost:6379/0}"', {}),
    ("debug_warnings: bool = False", {}),
]


def value_of(made: dict[str, Any], path: str) -> Any:
    name, _, index = path.partition("[")
    for part in name.split("."):
        made = made[part]
    return made[int(index.removesuffix("]"))] if index else made


@pytest.mark.parametrize(("body", "expected"), WORKS)
def test_supported_configurations_have_the_same_settings(body: str, expected: dict[str, Any]) -> None:
    made = settings(body)
    assert {path: value_of(made, path) for path in expected} == expected


REFUSED = [
    ("debug: bool = True", "debug is True and the environment is production"),
    ('secret_key: str = ""\nsecurity_domains: list[str] = ["h"]', "secret_key is required"),
    ('env_mode: str = "live"', "env_mode is none of"),
    ('security_domains: list[str] = ["https://"]', "security_domains holds something else"),
    ('security_domains: list[str] = ["shop.example:port"]', "security_domains holds something else"),
    ('site_url: str = "https://"', "site_url holds something else"),
    ('admin_timezone: str = "Mars"', "admin_timezone is no time zone"),
    ('databases: dict[str, DatabaseConfig] = {"default": DatabaseConfig(name="shop")}', "neither a database URL nor"),
    ('databases: dict[str, DatabaseConfig] = {"b": DatabaseConfig(name="b.db", apps=["blog"])}', "DATABASE_ROUTERS"),
    ('redis_url: str = "${NO_REDIS}"', "needs the variable NO_REDIS"),
]


@pytest.mark.parametrize(("body", "says"), REFUSED)
def test_unsupported_configurations_are_refused(body: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        build(body)


class TestWhatIsNotProvided:
    @pytest.mark.parametrize("field", sorted(FIELDS))
    def test_a_field_is_refused_by_name(self, field: str) -> None:
        with pytest.raises(TypeError, match=rf"MyConfig: {field} is a field of the package django-cfg") as caught:
            build(f"{field}: Any = None")
        assert str(caught.value).partition("does not provide: ")[2]

    @pytest.mark.parametrize("field", ["telegram", "unfold", "ssl_redirect"])
    def test_an_argument_is_refused_by_name(self, field: str) -> None:
        with pytest.raises(ValidationError, match=f"{field} is a field of the package django-cfg"):
            build("", **{field: None})

    def test_all_unsupported_fields_are_listed(self) -> None:
        with pytest.raises(TypeError, match=r"(?s)email is a field.*telegram is a field"):
            build("telegram: Any = None\nemail: Any = None")

    def test_an_inherited_field_is_refused(self) -> None:
        with pytest.raises(TypeError, match="drf is a field"):
            type("Config", (DjangoConfig,), {"__module__": __name__, "__annotations__": {"drf": Any}, "drf": None})

    @pytest.mark.parametrize("name", sorted(NAMES))
    def test_an_import_is_refused_by_name(self, name: str) -> None:
        with pytest.raises(ImportError, match=f"{name} is part of the package django-cfg"):
            exec(f"from django_cfg import {name}")  # noqa: S102

    def test_other_names_raise_the_usual_import_error(self) -> None:
        assert not hasattr(django_cfg, "NoSuchConfig")
        with pytest.raises(ImportError, match="cannot import name"):
            exec("from django_cfg import NoSuchConfig")  # noqa: S102


class TestModels:
    @pytest.mark.parametrize("name", models.__all__)
    def test_constants_are_the_same_under_both_names(self, name: str) -> None:
        assert getattr(models, name) is getattr(django_cfg, name)

    @pytest.mark.parametrize(
        ("mode", "flags"),
        [
            ("production", (True, False, False)),
            ("development", (False, True, False)),
            ("test", (False, False, True)),
            ("staging", (False, False, False)),
        ],
    )
    def test_environment_flags(self, mode: str, flags: tuple[bool, bool, bool]) -> None:
        config = build(f'env_mode: str = "{mode}"')
        assert (config.is_production, config.is_development, config.is_test) == flags

    def test_own_attributes_are_kept(self) -> None:
        config = build('my_limit: int = 7\nsite_url: str = " https://shop.example "')
        assert (config.my_limit, config.site_url) == (7, "https://shop.example")  # type: ignore[attr-defined]


def test_debug_warnings_show_where_a_warning_comes_from(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        settings("debug_warnings: bool = True")
        for _ in range(2):
            warnings.warn("connection was never closed", RuntimeWarning, stacklevel=1)
    shown = capsys.readouterr().err
    assert shown.count("RuntimeWarning: connection was never closed") == 2
    assert "in test_debug_warnings_show_where_a_warning_comes_from" in shown


CONFIG = """\
from django_cfg.models import DjangoConfig

class ShopConfig(DjangoConfig):
    project_name: str = "Shop"
    admin_timezone: str = "Asia/Seoul"
    time_zone: str = "Europe/Rome"
"""
URLS = """\
from django.contrib import admin
from django.http import HttpResponse
from django.template import engines
from django.urls import path
from django.template.response import TemplateResponse
from django.utils import timezone

admin.site.get_urls, theirs = lambda: [path("zone/", zone), *theirs()], admin.site.get_urls
engine = engines["django"]

def zone(request):
    template = engine.from_string("{% load tz %}{% get_current_timezone as zone %}{{ zone }}")
    return TemplateResponse(request, template)

urlpatterns = [path("admin/", admin.site.urls), path("zone/", zone)]
"""
PAGES = """\
from django.test import Client
from django.utils import timezone

for page in ("/admin/zone/", "/zone/", "/admin/zone/"):
    print(Client(headers={"host": "localhost"}).get(page).content.decode(), timezone.get_current_timezone_name())
"""


def test_the_admin_shows_times_in_its_zone(tmp_path: Path) -> None:
    """And no other page does, nor what runs after a page of the admin."""
    project = make_project(tmp_path / "shop", CONFIG, urls=URLS)
    printed = succeed(project, "shell", "--command", PAGES)
    lines = [line for line in printed.splitlines() if "/" in line and "import" not in line]
    assert lines == ["Asia/Seoul Europe/Rome", "Europe/Rome Europe/Rome", "Asia/Seoul Europe/Rome"]
