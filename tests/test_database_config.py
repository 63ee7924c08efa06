"""DatabaseConfig: a URL as its name, parameters next to a URL, and what is refused instead of becoming a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from django_cfg import DatabaseConfig, DjangoConfig

SECRET = "hunter2-do-not-print"
FOLDER = Path("/srv/shop")
POSTGRESQL, MYSQL = "django.db.backends.postgresql", "django.db.backends.mysql"
SQLITE = "django.db.backends.sqlite3"
DEFAULTS = {
    "CONN_MAX_AGE": 0,
    "CONN_HEALTH_CHECKS": True,
    "ATOMIC_REQUESTS": True,
    "AUTOCOMMIT": True,
    "DISABLE_SERVER_SIDE_CURSORS": True,
}


@pytest.fixture(autouse=True)
def _variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgresql://shop:p%40ss%2F%24%7Bx%7D@db.example:5433/shop?sslmode=require")


def setting(database: DatabaseConfig) -> dict[str, Any]:
    return {name: value for name, value in database.as_setting(FOLDER).items() if name not in DEFAULTS}


SHOP = {
    "ENGINE": POSTGRESQL,
    "NAME": "shop",
    "USER": "shop",
    "PASSWORD": "p@ss/${x}",
    "HOST": "db.example",
    "PORT": 5433,
    "OPTIONS": {"sslmode": "require"},
}


class TestUrlAsName:
    @pytest.mark.parametrize("name", ["${DATABASE_URL}", "${DATABASE_URL:sqlite:///db.sqlite3}", " ${DATABASE_URL} "])
    @pytest.mark.parametrize("engine", [{}, {"engine": POSTGRESQL}, {"engine": f" ${{NO_ENGINE:{POSTGRESQL}}}"}])
    def test_a_url_is_parsed(self, name: str, engine: dict[str, str]) -> None:
        assert setting(DatabaseConfig(name=name, **engine)) == SHOP

    def test_from_url_parses_the_url(self) -> None:
        assert setting(DatabaseConfig.from_url("${DATABASE_URL}")) == SHOP

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("postgres://h/shop", {"ENGINE": POSTGRESQL, "NAME": "shop", "HOST": "h"}),
            ("POSTGRESQL://h/shop", {"ENGINE": POSTGRESQL, "NAME": "shop", "HOST": "h"}),
            ("postgresql:///shop", {"ENGINE": POSTGRESQL, "NAME": "shop"}),
            ("postgres://u:p@h/my%20shop", {"NAME": "my shop"}),
            ("postgres://u%40eu:p@h/shop", {"USER": "u@eu"}),
            ("postgres://u:p@%2Fvar%2Frun%2Fpg/shop", {"HOST": "/var/run/pg"}),
            ("postgres://u:p@[::1]:5/shop", {"HOST": "::1", "PORT": 5}),
            ("postgres://u:p@h/shop?connect_timeout=7", {"OPTIONS": {"connect_timeout": 7}}),
            (
                "postgres://h/s?sslrootcert=/a%2Fb&sslmode=verify-ca",
                {"OPTIONS": {"sslrootcert": "/a/b", "sslmode": "verify-ca"}},
            ),
            (
                "mysql://u:p@h:3307/shop?charset=utf8mb4",
                {"ENGINE": MYSQL, "PORT": 3307, "OPTIONS": {"charset": "utf8mb4"}},
            ),
            ("sqlite:///db.sqlite3", {"ENGINE": SQLITE, "NAME": "/srv/shop/db.sqlite3"}),
            ("sqlite3:///db.sqlite3", {"ENGINE": SQLITE, "NAME": "/srv/shop/db.sqlite3"}),
            ("sqlite:////data/db.sqlite3", {"ENGINE": SQLITE, "NAME": "/data/db.sqlite3"}),
            ("sqlite:///:memory:", {"ENGINE": SQLITE, "NAME": ":memory:"}),
        ],
    )
    @pytest.mark.parametrize("build", [lambda url: DatabaseConfig(name=url), DatabaseConfig.from_url])
    def test_every_part_is_read(self, build: Any, url: str, expected: dict[str, Any]) -> None:
        made = setting(build(url))
        assert {name: made.get(name) for name in expected} == expected

    def test_settings_of_django_in_the_query(self) -> None:
        made = DatabaseConfig(name="postgres://h/s?conn_max_age=60&atomic_requests=false").as_setting(FOLDER)
        assert (made["CONN_MAX_AGE"], made["ATOMIC_REQUESTS"]) == (60, False)
        assert "OPTIONS" not in made

    def test_parameters_complete_a_url(self) -> None:
        made = setting(DatabaseConfig(name="postgres://shop@h/shop", password=SECRET, sslmode="require", user="shop"))
        assert (made["PASSWORD"], made["HOST"], made["OPTIONS"]) == (SECRET, "h", {"sslmode": "require"})

    def test_options_are_merged(self) -> None:
        made = setting(DatabaseConfig(name="postgres://h/s?application_name=a", options={"pool": True}))
        assert made["OPTIONS"] == {"application_name": "a", "pool": True}

    def test_parameters_of_from_url_win(self) -> None:
        made = setting(
            DatabaseConfig.from_url("${DATABASE_URL}", host="replica", sslmode="verify-full", options={"pool": True})
        )
        assert made == SHOP | {"HOST": "replica", "OPTIONS": {"sslmode": "verify-full", "pool": True}}


class TestParameters:
    def test_a_server_without_a_host_is_localhost(self) -> None:
        made = setting(DatabaseConfig(engine=POSTGRESQL, name="shop", user="shop", password="p"))
        assert made == {"ENGINE": POSTGRESQL, "NAME": "shop", "USER": "shop", "PASSWORD": "p", "HOST": "localhost"}

    def test_an_empty_host_is_a_socket(self) -> None:
        assert "HOST" not in setting(DatabaseConfig(engine=POSTGRESQL, name="shop", host=""))

    def test_sslmode_and_connect_timeout_become_options(self) -> None:
        made = setting(DatabaseConfig(engine=POSTGRESQL, name="s", sslmode="require", connect_timeout=10))
        assert made["OPTIONS"] == {"sslmode": "require", "connect_timeout": 10}
        assert setting(DatabaseConfig(engine=MYSQL, name="s", connect_timeout=10))["OPTIONS"] == {"connect_timeout": 10}

    def test_sqlite_accepts_and_ignores_them(self) -> None:
        """So that one configuration serves a file in development and a server in production."""
        database = DatabaseConfig(name="${NO_URL:sqlite:///db.sqlite3}", sslmode="require", connect_timeout=10)
        assert setting(database) == {"ENGINE": SQLITE, "NAME": "/srv/shop/db.sqlite3"}

    def test_only_default_has_a_transaction_per_request(self) -> None:
        database = DatabaseConfig(name="a.db")
        assert database.as_setting(FOLDER, alias="default")["ATOMIC_REQUESTS"] is True
        assert database.as_setting(FOLDER, alias="logs")["ATOMIC_REQUESTS"] is False
        made = DjangoConfig(databases={"default": "sqlite:///a", "logs": "sqlite:///b"}).get_all_settings()["DATABASES"]
        assert {alias: database["ATOMIC_REQUESTS"] for alias, database in made.items()} == {
            "default": True,
            "logs": False,
        }

    @pytest.mark.parametrize(
        "name", ["db.sqlite3", "data/shop", "./shop", ":memory:", "file:s?mode=memory", "file:///x"]
    )
    def test_a_file_needs_no_engine(self, name: str) -> None:
        assert DatabaseConfig(name=name).engine == SQLITE

    def test_a_path_object_is_a_file(self) -> None:
        assert setting(DatabaseConfig(name=Path("/data/db.sqlite3")))["NAME"] == "/data/db.sqlite3"

    def test_a_given_engine_takes_any_name(self) -> None:
        assert setting(DatabaseConfig(engine=SQLITE, name="shop"))["NAME"] == "/srv/shop/shop"


class TestRefused:
    @pytest.mark.parametrize(
        ("parameters", "says"),
        [
            ({"name": f"oracel://u:{SECRET}@h/db"}, "oracel:// is not"),
            ({"name": f"mongodb+srv://u:{SECRET}@h/db"}, r"mongodb\+srv:// is not"),
            ({"name": f"postgres://u:12/{SECRET}@h/db"}, "percent-encoded"),
            ({"name": f"postgres://u:1?{SECRET}@h/db"}, "percent-encoded"),
            ({"name": f"postgres://u:{SECRET[:7]}/{SECRET}@h/db"}, "percent-encoded"),
            ({"name": f"postgres://u:{SECRET}@h"}, "names no database"),
            ({"name": f"postgres://u:{SECRET}@h/db?sslmode=requires"}, "sslmode"),
            ({"name": "shop"}, "neither a database URL nor"),
            ({"name": "shop.eu", "user": "shop", "password": SECRET}, "with user, password, is neither"),
            ({"name": "shop", "host": "db.example"}, "give engine"),
            ({"name": f"postgres://u:{SECRET}@h/db", "password": "other"}, "password differs"),
            ({"name": f"postgres://u:{SECRET}@h/db", "host": "replica"}, "from_url"),
            ({"name": f"postgres://u:{SECRET}@h/db", "engine": SQLITE}, "one of PostgreSQL"),
            ({"name": "sqlite:///db.sqlite3", "engine": POSTGRESQL}, "one of SQLite"),
            ({"name": f"mysql://u:{SECRET}@h/db", "sslmode": "require"}, "sslmode is an option of PostgreSQL"),
            (
                {"name": f"postgres://u:{SECRET}@h/db", "sslmode": "require", "options": {"sslmode": "allow"}},
                "give it once",
            ),
            ({"name": f"postgres://u:{SECRET}@h/db", "apps": ["blog"]}, "DATABASE_ROUTERS"),
            (
                {"name": f"postgres://u:{SECRET}@h/db", "migrate_to": "x", "operations": ["read"]},
                "operations, migrate_to",
            ),
            ({"name": f"postgres://u:{SECRET}@h/db", "test_mirror": "default"}, "MIRROR"),
            ({"name": f"postgres://u:{SECRET}@h/db", "options": SECRET}, "options"),
            ({"name": f"postgres://u:{SECRET}@h/db", "engine": 7}, "engine"),
            ({"name": f"postgres://u:{SECRET}@h/db", "port": [SECRET]}, "port"),
            ({"name": "${NO_SUCH_URL}"}, r"DatabaseConfig\.name needs the variable NO_SUCH_URL"),
        ],
    )
    def test_errors_do_not_show_the_password(self, parameters: dict[str, Any], says: str) -> None:
        with pytest.raises(ValidationError, match=says) as caught:
            DatabaseConfig(**parameters)
        error = caught.value
        assert SECRET not in str(error) + repr(error) + repr(error.errors()) + error.json()

    def test_errors_of_from_url_do_not_show_the_password(self) -> None:
        with pytest.raises(ValueError, match="oracel:// is not") as caught:
            DatabaseConfig.from_url(f"oracel://u:{SECRET}@h/db")
        assert SECRET not in str(caught.value)

    def test_options_of_from_url_are_a_dict(self) -> None:
        with pytest.raises(ValidationError, match="options") as caught:
            DatabaseConfig.from_url(f"postgres://u:{SECRET}@h/db", options=SECRET)
        assert SECRET not in str(caught.value)
