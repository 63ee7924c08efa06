"""One entry of DATABASES, as parameters or as a database URL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from django_cfg.base_config import ConfigModel
from django_cfg.connection_urls import escape_references, is_database_url, parse_database_url
from django_cfg.environment import substitute

_VENDORS = {"postg": "PostgreSQL", "mysql": "MySQL", "sqlite": "SQLite", "spatialite": "SQLite", "oracle": "Oracle"}
_ROUTING = ("apps", "operations", "migrate_to", "routing_description")
_OF_A_SERVER = ("user", "password", "host", "port")
_OPTION_FIELDS = ("sslmode", "connect_timeout")

SslMode = Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]


class DatabaseConfig(ConfigModel):
    """One entry of DATABASES. A database URL is accepted in its place, and as its `name`."""

    engine: str = Field(
        "",
        description="Django's database backend, as a dotted path; default: the URL's, for the name of a file SQLite's",
    )
    name: str = Field(
        min_length=1,
        description="Database name, or a database URL; for SQLite the file, absolute or relative to base_dir",
    )
    user: str = Field("", description="User name")
    password: str = Field("", repr=False, description="Password")
    host: str | None = Field(
        None,
        description='Host name, or the folder of the server\'s socket; `""`: its default socket; default: localhost',
    )
    port: int | str = Field("", description="Port")
    sslmode: SslMode | None = Field(None, description="PostgreSQL's `sslmode`, as in OPTIONS")
    connect_timeout: int | None = Field(
        None, ge=0, description="Seconds until an attempt to connect is given up, as in OPTIONS; not for SQLite"
    )
    conn_max_age: int | None = Field(
        0, ge=0, description="Seconds a connection is kept; None: for as long as the process lives"
    )
    conn_health_checks: bool = Field(True, description="Test a kept connection before it is used again")
    atomic_requests: bool | None = Field(
        None, description="One transaction per request; default: True for the alias `default` only"
    )
    autocommit: bool = Field(True, description="Django's AUTOCOMMIT")
    disable_server_side_cursors: bool = Field(
        True, description="True behind a pooler that pools by transaction; False: large querysets are streamed"
    )
    options: dict[str, Any] = Field({}, repr=False, description="Further options of the backend")
    test: dict[str, Any] = Field({}, description="Django's TEST settings of this database")

    @classmethod
    def from_url(cls, url: str, **over: Any) -> Self:
        """Build it from a database URL; the parameters in *over* replace those that the URL gives.

        :raises ValueError: the URL cannot be read; the message holds no part of it but an unknown scheme.
        """
        parts = parse_database_url(url)
        if isinstance(over.get("options"), dict):
            over["options"] = {**parts.get("options", {}), **over["options"]}
        return cls.model_validate({**parts, **over})

    @model_validator(mode="before")
    @classmethod
    def _read_url(cls, data: Any) -> Any:
        if isinstance(data, str):
            return parse_database_url(data)
        if not isinstance(data, dict):
            return data
        if routing := [name for name in _ROUTING if name in data]:
            raise ValueError(
                f"{', '.join(routing)}: this package does not route between databases. Write a database router, "
                'and name it in extra_settings={"DATABASE_ROUTERS": [...]}'
            )
        if "test_mirror" in data:
            raise ValueError('test_mirror is not provided: write test={"MIRROR": "..."}')
        name = data.get("name")
        name = os.fspath(name) if isinstance(name, os.PathLike) else name
        if not isinstance(name, str) or data.keys() - cls.model_fields.keys():
            return data  # an error of its own
        if not isinstance(data.get("engine", ""), str) or not isinstance(data.get("options", {}), dict):
            return data
        engine = substitute(data.get("engine", ""), wanted_by=f"{cls.__name__}.engine").strip()
        return _with_url({**data, "engine": engine}, substitute(name, wanted_by=f"{cls.__name__}.name"))

    @model_validator(mode="after")
    def _tls_is_of_the_engine(self) -> Self:
        if self._vendor not in ("PostgreSQL", "SQLite") and self.sslmode not in (None, "disable", "allow", "prefer"):
            raise ValueError(
                "sslmode is an option of PostgreSQL, and would not be used: give the backend's own in options, "
                'for MySQL as in options={"ssl": {"ca": "/path"}}'
            )
        for name in _OPTION_FIELDS:
            if getattr(self, name) is not None and self.options.get(name, getattr(self, name)) != getattr(self, name):
                raise ValueError(f"{name} and options differ in {name}: give it once")
        return self

    def as_setting(self, base_dir: Path, *, alias: str = "default") -> dict[str, Any]:
        """The entry in Django's words; a relative SQLite file becomes one in *base_dir*."""
        fields = {name: value for name, value in self if name not in _OPTION_FIELDS}
        fields["atomic_requests"] = alias == "default" if self.atomic_requests is None else self.atomic_requests
        fields["options"] = {**self.options, **self._option_fields()}
        if self.host is None:
            fields["host"] = "" if self._vendor == "SQLite" else "localhost"
        setting = {name.upper(): value for name, value in fields.items() if value not in ("", {})}
        if self._is_sqlite_file():
            setting["NAME"] = str(base_dir / self.name)
        return setting

    def _option_fields(self) -> dict[str, Any]:
        wanted = {"PostgreSQL": _OPTION_FIELDS, "MySQL": ("connect_timeout",)}.get(self._vendor, ())
        return {name: getattr(self, name) for name in wanted if getattr(self, name) is not None}

    @property
    def _vendor(self) -> str:
        return _vendor_of(self.engine)

    def _is_sqlite_file(self) -> bool:
        return self._vendor == "SQLite" and self.name != ":memory:" and not self.name.startswith("file:")


def _vendor_of(engine: str) -> str:
    return next((vendor for part, vendor in _VENDORS.items() if part in engine.lower()), "")


def _with_url(data: dict[str, Any], name: str) -> dict[str, Any]:
    """Return *data* with the parts of the database URL that *name* is, or with an engine for a plain *name*.

    :raises ValueError: it is neither a URL nor a file and has no engine; the URL contradicts a parameter.
    """
    engine = data.get("engine")
    if not is_database_url(name):
        return {**data, "name": escape_references(name), "engine": engine or _engine_of_file(data, name.strip())}
    parts = parse_database_url(escape_references(name))
    if engine and _vendor_of(engine) != _vendor_of(parts["engine"]):
        raise ValueError(f"engine is {engine}, and the URL in name is one of {_vendor_of(parts['engine'])}: change one")
    given = {key: value for key, value in data.items() if key not in ("name", "engine") and value not in (None, "")}
    said = {key for key, value in parts.items() if value != "" and key != "options"}
    if twice := sorted(key for key in given.keys() & said if not _same(given[key], parts[key])):
        raise ValueError(
            f"{', '.join(twice)} differs from what the URL in name says: give it once, "
            "or use DatabaseConfig.from_url(url, ...), where the parameter wins"
        )
    options = {**parts.get("options", {}), **given.get("options", {})}
    return {**parts, **given, **({"engine": engine} if engine else {}), **({"options": options} if options else {})}


def _same(given: Any, part: Any) -> bool:
    value = substitute(given, wanted_by="DatabaseConfig").strip() if isinstance(given, str) else given
    return str(value) == (str(part).replace("$${", "${"))


def _engine_of_file(data: dict[str, Any], name: str) -> str:
    """SQLite's engine, if *name* can only be a file.

    :raises ValueError: it may as well be the name of a database on a server.
    """
    of_a_server = [key for key in _OF_A_SERVER if data.get(key)]
    if of_a_server or not (name.startswith((":memory:", "file:")) or "/" in name or "." in name):
        with_what = f", with {', '.join(of_a_server)}," if of_a_server else ""
        raise ValueError(
            f"name{with_what} is neither a database URL nor the path of a SQLite file: give engine, as in "
            'engine="django.db.backends.postgresql"; or a URL, as in name="${DATABASE_URL}"; '
            "or a path with an ending, as in db.sqlite3"
        )
    return "django.db.backends.sqlite3"
