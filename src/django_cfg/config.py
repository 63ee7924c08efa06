"""A project's settings as one typed class: subclass :class:`DjangoConfig`, hand the result to Django.

In settings.py: ``globals().update(MyConfig().get_all_settings())``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import django
from pydantic import ConfigDict, Field, TypeAdapter, ValidationInfo, field_validator, model_validator

from django_cfg.backup.config.backup import BackupConfig
from django_cfg.base_config import ConfigModel
from django_cfg.connection_urls import parse_email_url
from django_cfg.database_config import DatabaseConfig
from django_cfg.debug_warnings import show_origin_of_warnings
from django_cfg.domains import LOCAL_HOSTS, hosts, origins, require_host
from django_cfg.environment import substitute
from django_cfg.environment_mode import mode_from_variables, parse_mode
from django_cfg.not_provided import FIELDS, refusal_of_field

APPS = (
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_cfg.backup",
)
MIDDLEWARE = (
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
)
CONTEXT_PROCESSORS = (
    "django.template.context_processors.request",
    "django.contrib.auth.context_processors.auth",
    "django.contrib.messages.context_processors.messages",
)
PASSWORD_VALIDATORS = (
    "UserAttributeSimilarityValidator",
    "MinimumLengthValidator",
    "CommonPasswordValidator",
    "NumericPasswordValidator",
)
_ADMIN_TIME_ZONE = "django_cfg.admin_time_zone.AdminTimeZone"
_MAILER_OPTIONS = {
    "EMAIL_HOST": "host",
    "EMAIL_PORT": "port",
    "EMAIL_HOST_USER": "username",
    "EMAIL_HOST_PASSWORD": "password",
    "EMAIL_USE_TLS": "use_tls",
    "EMAIL_USE_SSL": "use_ssl",
    "EMAIL_FILE_PATH": "file_path",
}

EnvMode = Literal["development", "staging", "production", "test"]


class DjangoConfig(ConfigModel):
    """The settings of a Django project: subclass it and give what differs as class attributes.

    Every string may hold ``${VAR}`` or ``${VAR:default}``. Its repr shows no value that could be a
    secret, however a subclass declares its fields.

    :raises ValidationError: when built from values that cannot be used; each parameter is named.
    """

    model_config = ConfigDict(validate_default=True)

    # The order counts: validators look at the fields above theirs.
    env_mode: EnvMode = Field(
        "",  # type: ignore[arg-type]  # _defaults_that_depend replaces it
        description="`development`, `staging`, `production` or `test`; default: from ENV_MODE and others, see below",
    )
    base_dir: Path = Field(
        default_factory=Path,
        description="The project's folder, absolute or relative to the file that defines the class; default: the "
        "nearest folder upward with manage.py, else that of the file",
    )
    project_name: str = Field("", description="Name of the project; default: the package of the class")
    project_description: str = Field("", description="PROJECT_DESCRIPTION, for your own use")
    project_version: str = Field("", description="PROJECT_VERSION, for your own use")
    project_logo: str = Field("", description="PROJECT_LOGO, for your own use")
    site_url: str = Field("", description="SITE_URL, for your own use; its host joins `security_domains`")
    api_url: str = Field("", description="API_URL, for your own use; its host joins `security_domains`")
    debug: bool | None = Field(None, description="Django's DEBUG, in development only; default: True there")
    secret_key: str = Field(
        default_factory=str, repr=False, description="Django's SECRET_KEY; required outside development, made up in it"
    )
    allowed_hosts: list[str] = Field(default_factory=list, description="Host names the site answers to")
    security_domains: list[str] = Field(
        default_factory=list,
        description="More hosts, also as URLs; they are trusted as origins of forms (CSRF_TRUSTED_ORIGINS), too",
    )
    databases: Mapping[str, DatabaseConfig | str] = Field(
        {"default": DatabaseConfig(name="db.sqlite3")},
        repr=False,
        description="Alias: `DatabaseConfig` or database URL; default: SQLite in base_dir",
    )
    installed_apps: list[str] = Field(
        [], description="Your apps; the admin, what it needs and django_cfg.backup come after them"
    )
    project_apps: list[str] = Field([], description="More of your apps, after installed_apps")
    custom_middleware: list[str] = Field([], description="Your middleware, after Django's")
    auth_user_model: str | None = Field(None, description="Django's AUTH_USER_MODEL")
    wsgi_application: str | None = Field(None, description="Django's WSGI_APPLICATION")
    media_url: str = Field("/media/", description="Django's MEDIA_URL; `__auto__`: `media/` below api_url")
    media_root: Path = Field(Path("media"), description="Django's MEDIA_ROOT, absolute or relative to base_dir")
    static_root: Path = Field(Path("staticfiles"), description="Django's STATIC_ROOT, absolute or relative to base_dir")
    root_urlconf: str = Field("", description="Module of the URLs; default: `urls` next to the class")
    admin_emails: list[str] = Field([], description="Addresses that get mail about errors (ADMINS)")
    time_zone: str = Field("UTC", min_length=1, description="Django's TIME_ZONE; USE_TZ is True")
    admin_timezone: str | None = Field(
        None, description="Time zone of the admin's pages (ADMIN_TIMEZONE); default: time_zone"
    )
    debug_warnings: bool = Field(False, description="Print the stack above each RuntimeWarning")
    redis_url: str | None = Field(
        None, repr=False, description="Redis of the RQ queues; makes RQ_QUEUES for every queue a schedule names"
    )
    email_url: str | None = Field(
        None,
        repr=False,
        description="How mail leaves, as in `smtp+tls://user:password@host:587`; "
        "default: the console in development, else localhost",
    )
    extra_settings: dict[str, Any] = Field({}, repr=False, description="Any further settings; they win over all")
    backup: BackupConfig = Field(default_factory=BackupConfig, description="Backups: settings.BACKUP")

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, data: Any) -> Any:
        """Fill in what depends on the class and the environment, and not only on the fields above."""
        if not isinstance(data, dict):
            return data
        mode = data.get("env_mode") or cls.model_fields["env_mode"].get_default(call_default_factory=True)
        mode = substitute(mode, wanted_by=f"{cls.__name__}.env_mode").strip() if isinstance(mode, str) else mode
        base_dir = {} if cls._gives("base_dir", data) else {"base_dir": _project_folder(_folder_of(cls))}
        return {**data, "env_mode": mode or mode_from_variables() or cls._safe_mode(data), **base_dir}

    @classmethod
    def _safe_mode(cls, data: dict[str, Any]) -> str:
        """Return the mode where no variable says: what has a key or hosts is meant for others to see."""
        is_published = any(cls._gives(name, data) for name in ("secret_key", "allowed_hosts", "security_domains"))
        return "production" if is_published else "development"

    @classmethod
    def _gives(cls, name: str, data: dict[str, Any]) -> bool:
        """Return True if the class or its caller gives *name*, even as an empty value."""
        default = DjangoConfig.model_fields[name].default_factory
        return name in data or cls.model_fields[name].default_factory is not default

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        """
        :raises TypeError: the class gives a field of django-cfg that would have no effect here.
        """
        super().__pydantic_init_subclass__(**kwargs)
        if refused := sorted(FIELDS & cls.model_fields.keys()):
            raise TypeError(f"{cls.__name__}: {'; '.join(map(refusal_of_field, refused))}")

    @classmethod
    def _unknown_parameter(cls, name: str) -> str:
        return refusal_of_field(name) if name in FIELDS else super()._unknown_parameter(name)

    @field_validator("env_mode", mode="before")
    @classmethod
    def _mode_in_its_long_form(cls, value: Any) -> Any:
        return parse_mode(value, wanted_by="env_mode") if isinstance(value, str) else value

    @field_validator("base_dir")
    @classmethod
    def _base_dir_is_absolute(cls, value: Path) -> Path:
        return (_folder_of(cls) / value).resolve()

    @field_validator("project_name")
    @classmethod
    def _project_has_a_name(cls, value: str) -> str:
        package, dot, _ = cls.__module__.partition(".")
        return value or (package if dot else _folder_of(cls).name)

    @field_validator("debug")
    @classmethod
    def _debug_is_for_development(cls, value: bool | None, info: ValidationInfo) -> bool:
        mode = info.data.get("env_mode", "production")
        if value and mode != "development":
            raise ValueError(
                f"debug is True and the environment is {mode}, where error pages would show settings and data: "
                "leave debug out, or set the variable ENV_MODE to development where it is one"
            )
        return mode == "development" if value is None else value

    @field_validator("secret_key")
    @classmethod
    def _secret_key_is_given(cls, value: str, info: ValidationInfo) -> str:
        if value:
            return value
        if info.data.get("env_mode", "development") != "development":
            raise ValueError(
                "secret_key is required outside development: write secret_key: str = "
                '"${SECRET_KEY}" and set that variable to a long random text. On a machine where the project is '
                "developed set ENV_MODE to development instead"
            )
        digest = sha256(str(info.data.get("base_dir")).encode()).hexdigest()
        return f"django-insecure-{digest}"

    @field_validator("databases", mode="plain")
    @classmethod
    def _databases_are_parsed(cls, value: Any) -> dict[str, DatabaseConfig]:
        # plain: a subclass may narrow the annotation, to dict[str, str] say, and still give URLs.
        return TypeAdapter(dict[str, DatabaseConfig]).validate_python(value)

    @field_validator("root_urlconf")
    @classmethod
    def _default_urlconf(cls, value: str) -> str:
        package = cls.__module__.rpartition(".")[0]
        return value or (f"{package}.urls" if package else "urls")

    @field_validator("security_domains", "site_url", "api_url")
    @classmethod
    def _domains_have_a_host(cls, value: list[str] | str, info: ValidationInfo) -> list[str] | str:
        for domain in [value] if isinstance(value, str) else value:
            if domain or not isinstance(value, str):
                require_host(domain, str(info.field_name))
        return value

    @field_validator("media_url")
    @classmethod
    def _media_url_is_complete(cls, value: str, info: ValidationInfo) -> str:
        if value == "__auto__":
            value = f"{info.data.get('api_url', '').rstrip('/')}/media"
        return value if value.endswith("/") or not value else f"{value}/"

    @field_validator("media_root", "static_root")
    @classmethod
    def _folder_is_absolute(cls, value: Path, info: ValidationInfo) -> Path:
        return Path(info.data.get("base_dir", "")) / value

    @field_validator("admin_timezone")
    @classmethod
    def _admin_timezone_exists(cls, value: str | None) -> str | None:
        try:
            return value and ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("admin_timezone is no time zone: write it as in Europe/Rome") from None

    @field_validator("email_url")
    @classmethod
    def _email_url_is_readable(cls, value: str | None) -> str | None:
        if value:
            parse_email_url(value)
        return value

    @property
    def is_production(self) -> bool:
        return self.env_mode == "production"

    @property
    def is_development(self) -> bool:
        return self.env_mode == "development"

    @property
    def is_test(self) -> bool:
        return self.env_mode == "test"

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        # A field declared again in a subclass loses its repr=False; so only these are shown.
        yield from ((name, getattr(self, name)) for name in ("project_name", "env_mode", "base_dir", "debug"))

    def get_all_settings(self) -> dict[str, Any]:
        """Everything ``settings.py`` needs, by Django's names; ``extra_settings`` win."""
        if self.debug_warnings:
            show_origin_of_warnings()
        return {
            **self._site_settings(),
            **self._project_settings(),
            **self._mail_settings(),
            **self._queue_settings(),
            "DATABASES": {
                alias: DatabaseConfig.model_validate(database).as_setting(self.base_dir, alias=alias)
                for alias, database in self.databases.items()
            },
            "BACKUP": self.backup,
            **self.extra_settings,
        }

    def _site_settings(self) -> dict[str, Any]:
        return {
            "PROJECT_NAME": self.project_name,
            "ENV_MODE": self.env_mode,
            "BASE_DIR": self.base_dir,
            "DEBUG": self.debug,
            "SECRET_KEY": self.secret_key,
            "ALLOWED_HOSTS": self._hosts(),
            "CSRF_TRUSTED_ORIGINS": origins(self._domains(), "http" if self.is_development else "https"),
            "INSTALLED_APPS": list(
                dict.fromkeys((*self.installed_apps, *self.project_apps, *APPS, *self._queue_apps()))
            ),
            "MIDDLEWARE": [*MIDDLEWARE, *([_ADMIN_TIME_ZONE] if self.admin_timezone else []), *self.custom_middleware],
            "ROOT_URLCONF": self.root_urlconf,
            "TEMPLATES": [
                {
                    "BACKEND": "django.template.backends.django.DjangoTemplates",
                    "DIRS": [self.base_dir / "templates"],
                    "APP_DIRS": True,
                    "OPTIONS": {"context_processors": list(CONTEXT_PROCESSORS)},
                }
            ],
            "AUTH_PASSWORD_VALIDATORS": [
                {"NAME": f"django.contrib.auth.password_validation.{name}"} for name in PASSWORD_VALIDATORS
            ],
            "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
            "STATIC_URL": "static/",
            "STATIC_ROOT": self.static_root,
            "MEDIA_URL": self.media_url,
            "MEDIA_ROOT": self.media_root,
            "TIME_ZONE": self.time_zone,
            "USE_TZ": True,
        }

    def _project_settings(self) -> dict[str, Any]:
        """What has no default of Django's, and what is kept for the project's own use."""
        names = ("project_description", "project_version", "project_logo", "site_url", "api_url")
        optional = ("auth_user_model", "wsgi_application", "admin_timezone")
        given = (name for name in optional if getattr(self, name))
        return {name.upper(): getattr(self, name) for name in (*names, *given)}

    def _domains(self) -> list[str]:
        """The domains of the site, as given; its own URLs count where the domains are given this way."""
        return [*self.security_domains, *filter(None, (self.api_url, self.site_url))] if self.security_domains else []

    def _hosts(self) -> list[str]:
        on_this_machine = LOCAL_HOSTS if self.is_development and self.security_domains else ()
        return list(dict.fromkeys((*self.allowed_hosts, *hosts(self._domains()), *on_this_machine)))

    def _queue_settings(self) -> dict[str, Any]:
        if not self.redis_url:
            return {}
        overrides = (database.schedule_override for database in self.backup.databases)
        schedules = [self.backup.schedule, self.backup.verification.schedule, *(one for one in overrides if one)]
        queues = sorted({"default", self.backup.tick_queue, *(schedule.queue for schedule in schedules)})
        return {"RQ_QUEUES": {queue: {"URL": self.redis_url} for queue in queues}}

    def _queue_apps(self) -> tuple[str, ...]:
        """django-rq brings `manage.py rqworker` and `rqcron`."""
        return ("django_rq",) if self.redis_url and find_spec("django_rq") else ()

    def _mail_settings(self) -> dict[str, Any]:
        default = "consolemail://" if self.env_mode == "development" else "smtp://localhost:25"
        given = parse_email_url(self.email_url or default)
        # Django 6.0 deprecates pairs, 5.2 takes nothing else; 6.1 deprecates EMAIL_* for MAILERS.
        admins = self.admin_emails if django.VERSION >= (6, 0) else [(a, a) for a in self.admin_emails]
        if django.VERSION < (6, 1):
            return {"ADMINS": admins, **given}
        mailer = {
            "BACKEND": given.pop("EMAIL_BACKEND"),
            "OPTIONS": {_MAILER_OPTIONS[name]: value for name, value in given.items()},
        }
        return {"ADMINS": admins, "MAILERS": {"default": mailer}}


def _project_folder(start: Path) -> Path:
    """The nearest folder upward from *start* with ``manage.py``, else *start*."""
    return next((folder for folder in (start, *start.parents) if (folder / "manage.py").is_file()), start)


def _folder_of(config: type[DjangoConfig]) -> Path:
    """The folder of the file that defines the class; the working directory when it has no file."""
    file = getattr(sys.modules.get(config.__module__), "__file__", None)
    return Path(file).resolve().parent if file else Path.cwd()
