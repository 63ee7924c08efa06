"""DjangoConfig: what a subclass gives, and the settings that come of it."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import pytest
from pydantic import ValidationError

from django_cfg import (
    BackupConfig,
    BackupDatabaseConfig,
    BackupScheduleConfig,
    BackupVerificationConfig,
    DatabaseConfig,
    DjangoConfig,
)
from tests.support.environment_mode import clear_mode_variables
from tests.support.shop_project import Variant, check, make_project, succeed

SECRET = "hunter2-do-not-print"
HERE = Path(__file__).resolve().parent


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    clear_mode_variables(monkeypatch)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)


def settings(config: type[DjangoConfig] = DjangoConfig, **given: Any) -> dict[str, Any]:
    return config(**given).get_all_settings()


class ShopConfig(DjangoConfig):
    backup: BackupConfig = BackupConfig(enabled=True)


def class_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> type[DjangoConfig]:
    """A subclass that is defined in a file of *folder*."""
    module = ModuleType("config_of_a_project")
    module.__file__ = str(folder / "config.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return type("Config", (DjangoConfig,), {"__module__": module.__name__})


class TestWhereAndWho:
    def test_base_dir_is_the_folder_of_the_file_that_defines_the_class(self) -> None:
        assert settings(ShopConfig)["BASE_DIR"] == HERE

    @pytest.mark.parametrize("depth", ["", "shop/", "shop/settings/"])
    def test_base_dir_is_the_nearest_folder_upward_with_manage_py(
        self, depth: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that the database of an existing project is found from `shop/config.py`."""
        project = tmp_path / "outer" / "project"
        (project / depth).mkdir(parents=True)
        for folder in (project, project.parent):
            (folder / "manage.py").touch()
        made = settings(class_in(project / depth, monkeypatch))
        assert made["BASE_DIR"] == project
        assert made["DATABASES"]["default"]["NAME"] == str(project / "db.sqlite3")

    def test_a_folder_that_is_called_manage_py_does_not_count(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "project" / "shop").mkdir(parents=True)
        (tmp_path / "project" / "manage.py").mkdir()
        assert settings(class_in(tmp_path / "project" / "shop", monkeypatch))["BASE_DIR"] == tmp_path / "project/shop"

    def test_a_given_base_dir_is_used(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "shop").mkdir()
        (tmp_path / "manage.py").touch()
        config = class_in(tmp_path / "shop", monkeypatch)
        assert settings(config, base_dir=Path())["BASE_DIR"] == tmp_path / "shop"

    def test_a_relative_base_dir_starts_from_that_file(self) -> None:
        assert settings(ShopConfig, base_dir=Path(".."))["BASE_DIR"] == HERE.parent

    def test_an_absolute_base_dir_is_kept(self, tmp_path: Path) -> None:
        assert settings(ShopConfig, base_dir=tmp_path)["BASE_DIR"] == tmp_path

    def test_the_project_is_named_after_its_package(self) -> None:
        assert settings(ShopConfig)["PROJECT_NAME"] == __name__.partition(".")[0] == "tests"

    def test_a_given_name_wins(self) -> None:
        assert settings(ShopConfig, project_name="Corner Shop")["PROJECT_NAME"] == "Corner Shop"

    def test_urls_are_searched_next_to_the_class(self) -> None:
        assert settings(ShopConfig)["ROOT_URLCONF"] == "tests.urls"
        assert settings(ShopConfig, root_urlconf="shop.urls")["ROOT_URLCONF"] == "shop.urls"

    def test_backup_is_the_model_itself(self) -> None:
        config = ShopConfig()
        assert config.get_all_settings()["BACKUP"] is config.backup
        assert config.backup.enabled

    def test_backup_may_be_left_out(self) -> None:
        assert settings()["BACKUP"] == BackupConfig()


class TestEnvMode:
    def test_development_is_the_default(self) -> None:
        assert settings()["ENV_MODE"] == "development"
        assert settings()["DEBUG"] is True

    def test_the_variable_sets_the_mode(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENV_MODE", "staging")
        assert settings(secret_key="x")["ENV_MODE"] == "staging"

    def test_a_dotenv_file_sets_the_mode(self) -> None:
        Path(".env").write_text("ENV_MODE=test\n")
        assert settings(secret_key="x")["ENV_MODE"] == "test"

    def test_the_class_wins_over_the_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ENV_MODE", "production")

        class Config(DjangoConfig):
            env_mode: str = "development"

        assert settings(Config)["ENV_MODE"] == "development"

    def test_an_unknown_mode_is_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"env_mode\n.*'development', 'staging', 'production'"):
            DjangoConfig(env_mode="produktion")

    @pytest.mark.parametrize("env_mode", ["staging", "production", "test"])
    def test_debug_is_off_outside_development(self, env_mode: str) -> None:
        assert settings(env_mode=env_mode, secret_key="x")["DEBUG"] is False

    def test_debug_can_be_given(self) -> None:
        assert settings(debug=False)["DEBUG"] is False
        assert settings(debug=True)["DEBUG"] is True

    @pytest.mark.parametrize("env_mode", ["staging", "production", "test"])
    def test_debug_is_refused_outside_development(self, env_mode: str) -> None:
        with pytest.raises(ValidationError, match=rf"debug\n.*the environment is {env_mode}"):
            DjangoConfig(env_mode=env_mode, secret_key="x", debug=True)


class TestSecretKey:
    @pytest.mark.parametrize("env_mode", ["staging", "production", "test"])
    def test_a_secret_key_is_required_outside_development(self, env_mode: str) -> None:
        with pytest.raises(ValidationError, match=r"secret_key is required outside development.*SECRET_KEY"):
            DjangoConfig(env_mode=env_mode)

    def test_the_secret_key_in_development_is_stable_and_insecure(self, tmp_path: Path) -> None:
        first, again = settings(ShopConfig)["SECRET_KEY"], settings(ShopConfig)["SECRET_KEY"]
        assert first == again
        assert first.startswith("django-insecure-")
        assert first != settings(ShopConfig, base_dir=tmp_path)["SECRET_KEY"]
        assert hashlib.sha256(str(HERE).encode()).hexdigest() in first

    def test_an_empty_variable_is_no_key(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET_KEY", "")

        class Config(DjangoConfig):
            env_mode: str = "production"
            secret_key: str = "${SECRET_KEY}"

        with pytest.raises(ValidationError, match="secret_key is required"):
            Config()


class TestVariables:
    def test_values_of_the_class_body_are_substituted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHOP_KEY", SECRET)
        monkeypatch.setenv("SHOP_HOST", "shop.example")
        monkeypatch.setenv("SHOP_DEBUG", "true")

        class Config(DjangoConfig):
            env_mode: str = "${SHOP_MODE:development}"
            secret_key: str = "${SHOP_KEY}"
            allowed_hosts: list[str] = ["${SHOP_HOST}", "www.${SHOP_HOST}"]
            debug: bool = "${SHOP_DEBUG}"  # type: ignore[assignment]
            time_zone: str = "${SHOP_ZONE:Europe/Rome}"
            extra_settings: dict[str, Any] = {"DEEP": {"list": ["${SHOP_HOST}"]}}

        made = settings(Config)
        assert made["SECRET_KEY"] == SECRET
        assert made["ALLOWED_HOSTS"] == ["shop.example", "www.shop.example"]
        assert made["DEBUG"] is True
        assert made["TIME_ZONE"] == "Europe/Rome"
        assert made["DEEP"] == {"list": ["shop.example"]}

    def test_dicts_that_a_class_adds_may_hold_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHOP_HOST", "shop.example")

        class Config(DjangoConfig):
            shops: dict[str, str] = {"it": "${SHOP_HOST}"}

        assert Config().shops == {"it": "shop.example"}

    def test_the_error_for_a_missing_variable_names_it_and_the_parameter(self) -> None:
        class Config(DjangoConfig):
            secret_key: str = "${SHOP_KEY}"

        with pytest.raises(ValidationError, match=r"Config\.secret_key needs the variable SHOP_KEY"):
            Config()

    def test_a_secret_that_looks_like_a_reference_stays_as_it_is(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SHOP_KEY", "a${b}$${c")
        assert settings(secret_key="${SHOP_KEY}")["SECRET_KEY"] == "a${b}$${c"


class TestDatabases:
    def test_the_default_is_sqlite_next_to_the_class(self) -> None:
        default = settings(ShopConfig)["DATABASES"]["default"]
        assert default["ENGINE"] == "django.db.backends.sqlite3"
        assert default["NAME"] == str(HERE / "db.sqlite3")

    @pytest.mark.parametrize(
        ("url", "name"),
        [
            ("sqlite:///shop.sqlite3", str(HERE / "shop.sqlite3")),
            ("sqlite:///data/shop.sqlite3", str(HERE / "data" / "shop.sqlite3")),
            ("sqlite:////var/shop.sqlite3", "/var/shop.sqlite3"),
            ("sqlite://:memory:", ":memory:"),
        ],
    )
    def test_sqlite_urls(self, url: str, name: str) -> None:
        made = settings(ShopConfig, databases={"default": url})
        assert made["DATABASES"]["default"]["NAME"] == name

    @pytest.mark.parametrize("name", [":memory:", "file:shop?mode=memory&cache=shared"])
    def test_names_that_are_no_files_are_left_alone(self, name: str) -> None:
        made = settings(databases={"default": DatabaseConfig(name=name)})
        assert made["DATABASES"]["default"]["NAME"] == name

    def test_a_server_url_is_parsed(self) -> None:
        url = "postgres://shop:p%40ss%2F%24%7Bword%7D@db.example:5433/shop?conn_max_age=60&sslmode=require"
        default = settings(databases={"default": url})["DATABASES"]["default"]
        assert default == {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "shop",
            "USER": "shop",
            "PASSWORD": "p@ss/${word}",
            "HOST": "db.example",
            "PORT": 5433,
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
            "ATOMIC_REQUESTS": True,
            "AUTOCOMMIT": True,
            "DISABLE_SERVER_SIDE_CURSORS": True,
            "OPTIONS": {"sslmode": "require"},
        }

    def test_a_model_a_dict_and_a_url_can_be_mixed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DB_PASSWORD", SECRET)
        monkeypatch.setenv("LOGS_URL", "mysql://u:p@h/logs")

        class Config(DjangoConfig):
            databases: dict[str, Any] = {
                "default": DatabaseConfig(
                    engine="django.db.backends.postgresql", name="shop", password="${DB_PASSWORD}"
                ),
                "analytics": {"name": "a.sqlite3", "options": {"init_command": "${PRAGMA:PRAGMA x}"}},
                "logs": "${LOGS_URL}",
            }

        made = settings(Config)["DATABASES"]
        assert made["default"]["PASSWORD"] == SECRET
        assert made["analytics"]["OPTIONS"] == {"init_command": "PRAGMA x"}
        assert made["logs"]["ENGINE"] == "django.db.backends.mysql"
        assert made["logs"]["HOST"] == "h"

    def test_the_annotation_may_be_narrowed(self) -> None:
        class Config(DjangoConfig):
            databases: dict[str, str] = {"default": "sqlite:////x.db"}

        assert settings(Config)["DATABASES"]["default"]["NAME"] == "/x.db"

    @pytest.mark.parametrize(
        ("url", "says"),
        [
            (f"postgre://u:{SECRET}@h/db", "begins with a scheme"),
            (f"no url but {SECRET}", "begins with a scheme"),
            (f"postgres://u:{SECRET[:5]}/{SECRET}@h/db", "percent-encoded"),
            (f"postgres://u:{SECRET}@h:{SECRET}/db", "percent-encoded"),
            (f"sqlite://{SECRET}.sqlite3", "sqlite:///name is a file in base_dir"),
            ("${NO_DATABASE_URL}", "needs the variable NO_DATABASE_URL"),
        ],
    )
    def test_the_error_for_an_invalid_url_hides_its_password(self, url: str, says: str) -> None:
        with pytest.raises(ValidationError) as caught:
            DjangoConfig(databases={"default": url})
        assert "databases.default" in str(caught.value)
        assert says in str(caught.value)
        assert_silent(caught.value)

    def test_the_error_for_an_unknown_parameter_suggests_one(self) -> None:
        with pytest.raises(ValidationError, match="did you mean password") as caught:
            DjangoConfig(databases={"default": {"name": "x", "pasword": SECRET}})
        assert_silent(caught.value)


class TestApps:
    def test_the_admin_and_backups_are_installed_after_the_projects_own(self) -> None:
        apps = settings(installed_apps=["shop", "django.contrib.humanize"])["INSTALLED_APPS"]
        assert apps[:2] == ["shop", "django.contrib.humanize"]
        assert {"django.contrib.admin", "django.contrib.staticfiles", "django_cfg.backup"} < set(apps)

    def test_an_app_given_again_is_installed_once(self) -> None:
        apps = settings(installed_apps=["django.contrib.auth", "django_cfg.backup"])["INSTALLED_APPS"]
        assert sorted(apps) == sorted(set(apps))


class TestMail:
    def test_admins_have_the_form_the_running_django_accepts(self) -> None:
        """Django 5.2 refuses plain addresses, 6.0 warns of pairs."""
        admins = settings(admin_emails=["a@shop.example"])["ADMINS"]
        old = django.VERSION < (6, 0)
        assert admins == ([("a@shop.example", "a@shop.example")] if old else ["a@shop.example"])

    def test_a_url_configures_the_mail_server(self) -> None:
        made = settings(email_url=f"smtp+tls://shop:{SECRET}%40@mail.example:587")
        backend = "django.core.mail.backends.smtp.EmailBackend"
        options = ("mail.example", 587, "shop", f"{SECRET}@", True)
        if django.VERSION < (6, 1):
            names = (
                "EMAIL_HOST",
                "EMAIL_PORT",
                "EMAIL_HOST_USER",
                "EMAIL_HOST_PASSWORD",
                "EMAIL_USE_TLS",
            )
            assert made["EMAIL_BACKEND"] == backend
            assert tuple(made[name] for name in names) == options
        else:
            names = ("host", "port", "username", "password", "use_tls")
            expected = {"BACKEND": backend, "OPTIONS": dict(zip(names, options, strict=True))}
            assert made["MAILERS"] == {"default": expected}

    @pytest.mark.parametrize("url", [f"smtp://u:{SECRET[:3]}/{SECRET}@h", f"pigeon://{SECRET}", f"smtp://h?{SECRET}=1"])
    def test_the_error_for_an_invalid_url_hides_its_password(self, url: str) -> None:
        with pytest.raises(ValidationError, match="email_url") as caught:
            DjangoConfig(email_url=url)
        assert_silent(caught.value)


class TestQueues:
    def test_every_queue_a_schedule_names_and_default(self) -> None:
        backup = BackupConfig(
            schedule=BackupScheduleConfig(queue="backups"),
            databases=[
                BackupDatabaseConfig(alias="default"),
                BackupDatabaseConfig(alias="analytics", schedule_override=BackupScheduleConfig(queue="slow")),
            ],
        )
        made = settings(backup=backup, redis_url="redis://localhost:6379/0")
        assert made["RQ_QUEUES"] == {
            name: {"URL": "redis://localhost:6379/0"} for name in ("backups", "default", "slow")
        }

    def test_the_verifications_have_their_queue(self) -> None:
        schedule = BackupScheduleConfig(cron="0 4 * * 0", queue="drills")
        backup = BackupConfig(verification=BackupVerificationConfig(enabled=True, schedule=schedule))
        assert set(settings(backup=backup, redis_url="redis://h/0")["RQ_QUEUES"]) == {"default", "drills"}

    def test_the_ticks_have_their_queue_and_the_commands_their_app(self) -> None:
        """`manage.py rqworker` and `rqcron` come from django_rq."""
        backup = BackupConfig(tick_queue="ticks")
        made = settings(backup=backup, redis_url="redis://localhost:6379/0")
        assert set(made["RQ_QUEUES"]) == {"default", "ticks"}
        assert "django_rq" in made["INSTALLED_APPS"]
        assert "django_rq" not in settings()["INSTALLED_APPS"]

    def test_no_redis_no_queues(self) -> None:
        assert "RQ_QUEUES" not in settings()


class TestExtraSettings:
    def test_extra_settings_override_all_others(self) -> None:
        made = settings(extra_settings={"LANGUAGE_CODE": "it", "DEBUG": "mine", "BACKUP": None})
        assert (made["LANGUAGE_CODE"], made["DEBUG"], made["BACKUP"]) == ("it", "mine", None)


class TestSecrets:
    def test_repr_shows_no_secret_even_of_redeclared_fields(self) -> None:
        class Config(DjangoConfig):
            secret_key: str = SECRET
            redis_url: str = f"redis://:{SECRET}@h/0"
            email_url: str = f"smtp://u:{SECRET}@h"
            databases: dict[str, str] = {"default": f"postgres://u:{SECRET}@h/db"}
            extra_settings: dict[str, Any] = {"API_KEY": SECRET}
            backup: BackupConfig = BackupConfig(encryption_key=SECRET)

        config = Config()
        assert config.get_all_settings()["SECRET_KEY"] == SECRET
        assert SECRET not in repr(config) + str(config) + f"{config}"
        assert "project_name='tests'" in repr(config)

    def test_a_database_shows_neither_password_nor_options(self) -> None:
        database = DatabaseConfig(
            engine="django.db.backends.postgresql", name="x", password=SECRET, options={"sslpassword": SECRET}
        )
        assert SECRET not in repr(database) + str(database)

    @pytest.mark.parametrize("parameter", ["secret_key", "redis_url", "email_url", "databases", "no_such"])
    def test_errors_show_no_input(self, parameter: str) -> None:
        with pytest.raises(ValidationError, match=parameter) as caught:
            DjangoConfig(**{parameter: [SECRET]})
        assert_silent(caught.value)


def assert_silent(error: ValidationError) -> None:
    """None of the ways to print or log a validation error shows the secret."""
    assert SECRET not in str(error) + repr(error) + repr(error.errors()) + error.json()


CONFIG = """\
from django_cfg import BackupConfig, BackupStorageConfig, DjangoConfig

class ShopConfig(DjangoConfig):
    admin_emails: list[str] = ["admin@shop.example"]
    backup: BackupConfig = BackupConfig(
        enabled=True,
        storage=BackupStorageConfig(backend="local", local_path="backups/"),
    )
"""
LOGIN = """\
from django.core.mail import mail_admins
from django.test import Client

page = Client(headers={"host": "localhost"}).get("/admin/login/")
print(page.status_code, b"Django administration" in page.content)
mail_admins("hello", "from the test")
"""


class TestRealProject:
    """A project that has nothing but a DjangoConfig, run with warnings as errors."""

    def test_checks_migrates_and_serves_the_admin(self, tmp_path: Path) -> None:
        project = make_project(tmp_path / "shop", CONFIG)
        migrated = 'from django.core.management import call_command\ncall_command("migrate", verbosity=0)\n'
        printed = succeed(project, "shell", "--command", migrated + LOGIN)
        assert (project / "db.sqlite3").stat().st_size > 0
        assert "200 True" in printed
        assert "To: admin@shop.example" in printed

    def test_checks(self, tmp_path: Path) -> None:
        """What a check of the project says when its settings are changed a little."""
        production = '    secret_key: str = "${SECRET_KEY:}"\n    allowed_hosts: list[str] = ["shop"]\n'
        without_app = 'INSTALLED_APPS.remove("django_cfg.backup")\nBACKUP = {}\n'
        key = hashlib.sha256(b"any").hexdigest()
        variants = {
            "as it is": Variant(CONFIG),
            "production without its secret key": Variant(CONFIG + production, env={"ENV_MODE": "production"}),
            "production": Variant(CONFIG + production, env={"ENV_MODE": "production", "SECRET_KEY": key}),
            "a .env file next to the settings": Variant(CONFIG, dotenv="ENV_MODE=production\n"),
            "enabled without the app": Variant(CONFIG, settings=without_app.format("BACKUP")),
            "enabled by a dictionary without the app": Variant(CONFIG, settings=without_app.format({"enabled": True})),
            "no backup": Variant(CONFIG, settings=without_app.format(None)),
            "not enabled": Variant(CONFIG, settings=without_app.format({"enabled": False})),
            "not a configuration": Variant(CONFIG, settings=without_app.format({"no_such": 1})),
        }
        said = check(tmp_path, variants)
        passed = {"as it is", "production", "no backup", "not enabled", "not a configuration"}
        assert {name for name, text in said.items() if "no issues" in text} == passed
        for name in ("production without its secret key", "a .env file next to the settings"):
            assert "secret_key is required outside development" in said[name]
        for name in ("enabled without the app", "enabled by a dictionary without the app"):
            assert "django_cfg_backup.W001" in said[name]
            assert 'Add "django_cfg.backup" to INSTALLED_APPS' in said[name]
