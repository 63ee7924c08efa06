"""The five models of the configuration guide: parameters, defaults, ranges, rules and secrets."""

from __future__ import annotations

import pickle
import re
from datetime import UTC, time
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from django_cfg import (
    BackupApiConfig,
    BackupConfig,
    BackupCopyConfig,
    BackupDatabaseConfig,
    BackupRetentionConfig,
    BackupScheduleConfig,
    BackupStorageConfig,
    BackupVerificationConfig,
    BackupWebhookConfig,
)

SECRET = "hunter2-do-not-print"
REQUIRED = "required"

# The guide's tables. What a parameter is when nothing else is given:
GUIDE_DEFAULTS: dict[type[BaseModel], dict[str, Any]] = {
    BackupConfig: {
        "enabled": False,
        "storage": BackupStorageConfig(),
        "schedule": BackupScheduleConfig(),
        "retention": BackupRetentionConfig(),
        "databases": [],
        "compression": "gzip",
        "encryption_key": None,
        "notify_on_success": False,
        "notify_on_failure": True,
        "filename_template": "{database}_{timestamp}_{env}",
    },
    BackupStorageConfig: {
        "backend": "local",
        "local_path": "backups/",
        "s3_bucket": None,
        "s3_endpoint_url": None,
        "s3_access_key": None,
        "s3_secret_key": None,
        "s3_region": "auto",
        "s3_prefix": "db-backups/",
    },
    BackupScheduleConfig: {
        "enabled": True,
        "cron": "0 2 * * *",
        "interval_hours": None,
        "daily_time": None,
        "queue": "default",
    },
    BackupRetentionConfig: {
        "enabled": True,
        "keep_daily": 7,
        "keep_weekly": 4,
        "keep_monthly": 3,
        "max_total_size_mb": None,
    },
    BackupDatabaseConfig: {
        "alias": REQUIRED,
        "enabled": True,
        "exclude_tables": [],
        "include_tables": [],
        "extra_options": [],
        "schedule_override": None,
    },
    BackupVerificationConfig: {},
    BackupCopyConfig: {},
    BackupApiConfig: {},
}
# Parameters of this package that are not in the guide.
ADDED = {
    BackupConfig: {
        "project": None,
        "copies": [],
        "tools_dir": None,
        "lock_timeout": 60,
        "dump_timeout": None,
        "dump_jobs": 1,
        "restore_jobs": None,
        "before_migrate": "off",
        "sanitizers": {},
        "decryption_keys": [],
        "signing_key": None,
        "earlier_signing_keys": [],
        "notify_urls": [],
        "heartbeat_url": None,
        "queue_backend": None,
        "tick_queue": "default",
        "metrics_token": None,
        "webhooks": [],
        "web_restore": None,
        "web_download": None,
        "verification": BackupVerificationConfig(),
        "api": BackupApiConfig(),
    },
    BackupVerificationConfig: {
        "enabled": False,
        "schedule": BackupScheduleConfig(cron="0 4 * * 0"),
        "drill": True,
        "drill_alias": None,
        "max_proof_age_days": 30,
    },
    BackupApiConfig: {"tokens": [], "allow_restore": False, "allow_download": False, "requests_per_minute": 60},
    BackupCopyConfig: {
        "name": REQUIRED,
        "storage": REQUIRED,
        "retention": BackupRetentionConfig(),
        "required": True,
    },
    BackupStorageConfig: {
        "s3_session_token": None,
        "s3_use_role": False,
        "s3_addressing": "auto",
        "gcs_bucket": None,
        "gcs_prefix": "db-backups/",
        "gcs_credentials": None,
        "gcs_endpoint_url": None,
        "azure_container": None,
        "azure_account": None,
        "azure_account_key": None,
        "azure_sas_token": None,
        "azure_prefix": "db-backups/",
        "azure_endpoint_url": None,
        "rclone_remote": None,
        "rclone_config": None,
        "django_alias": None,
        "s3_storage_class": None,
        "s3_sse": None,
        "s3_sse_kms_key_id": None,
        "s3_extra_headers": {},
        "s3_object_lock_days": None,
        "s3_object_lock_mode": "GOVERNANCE",
    },
    BackupScheduleConfig: {"job_timeout": 21_600, "grace_minutes": 60},
    BackupDatabaseConfig: {"connection": {}, "drill_skip": [], "drill_skip_failing": False, "verification_queries": []},
}
# What else the parameters hold, so that no type is narrower than the guide's.
ACCEPTED: dict[type[BaseModel], dict[str, list[Any]]] = {
    BackupConfig: {
        "enabled": [True],
        "project": ["shop"],
        "databases": [[BackupDatabaseConfig(alias="default")]],
        "compression": ["zstd", "bz2", "xz", "none"],
        "encryption_key": ["a passphrase"],
        "notify_on_success": [True],
        "notify_on_failure": [False],
        "filename_template": ["{env}/{database}/{timestamp}", "{database}-{timestamp}"],
        "storage": [BackupStorageConfig(local_path="elsewhere")],
        "schedule": [BackupScheduleConfig(enabled=False)],
        "retention": [BackupRetentionConfig(enabled=False)],
    },
    BackupStorageConfig: {
        "local_path": ["/var/backups"],
        "s3_bucket": ["b"],
        "s3_endpoint_url": ["https://xxx.r2.cloudflarestorage.com"],
        "s3_access_key": ["k"],
        "s3_secret_key": ["s"],
        "s3_session_token": ["t"],
        "s3_region": ["eu-west-1"],
        "s3_prefix": ["production/", ""],
    },
    BackupScheduleConfig: {
        "enabled": [False],
        "cron": ["0 */6 * * *", "0 2 * * 0", "0 2 1 * *", "*/30 * * * *", "@daily", "@hourly", "@weekly"],
        "interval_hours": [1, 6, 168],
        "daily_time": [time(2, 0), time(23, 59)],
        "queue": ["backups"],
    },
    BackupRetentionConfig: {
        "enabled": [False],
        "keep_daily": [1, 365],
        "keep_weekly": [0, 52],
        "keep_monthly": [0, 24],
        "max_total_size_mb": [1, 50_000],
    },
    BackupDatabaseConfig: {
        "alias": ["analytics"],
        "enabled": [False],
        "exclude_tables": [["django_session", "audit_*"]],
        "include_tables": [["shop_*"]],
        "extra_options": [["--no-comments"]],
        "schedule_override": [BackupScheduleConfig(cron="0 4 * * *")],
    },
    BackupApiConfig: {"tokens": [["t" * 32, "u" * 512], ["aB3-._~+/" * 4 + "=="]], "requests_per_minute": [1, 100_000]},
}
# What lies outside, next to the border where there is one.
REFUSED: dict[type[BaseModel], dict[str, list[Any]]] = {
    BackupConfig: {
        "enabled": ["perhaps", None],
        "project": [""],
        "storage": ["local", None],
        "compression": ["zip", "", None],
        "databases": ["default", None],
        "encryption_key": ["", "  ", 5],
        "notify_urls": ["json://localhost", None],
        "heartbeat_url": [
            *("ftp://example.org/x", "example.org", ""),
            *("https://example.org/api/push/KEY?status=up&msg=OK&ping=", "https://example.org/?msg=OK&status=UP"),
        ],
        "queue_backend": ["Celery", "cron", ""],
        "tick_queue": [""],
        "metrics_token": ["", "short"],
        "webhooks": ["https://example.org", None, [{"url": "https://example.org/"}]],
    },
    BackupStorageConfig: {
        "backend": ["ftp", "S3", None],
        "s3_addressing": ["host", "", None],
        "local_path": ["", None],
    },
    BackupScheduleConfig: {
        "interval_hours": [0, 169, 1.5],
        "daily_time": ["25:00", time(2, 0, tzinfo=UTC)],
        "queue": [""],
        "job_timeout": [0, 604_801],
        "grace_minutes": [-1, 10_081],
        "cron": [
            "",
            "0 2 * *",
            "0 2 * * * *",
            "*/10 * * * * *",
            "0 0 2 * * * 2026",
            "61 * * * *",
            "nightly",
            "0 0 30 2 *",
        ],
    },
    BackupRetentionConfig: {
        "keep_daily": [0, 366, None],
        "keep_weekly": [-1, 53, None],
        "keep_monthly": [-1, 25, None],
        "max_total_size_mb": [0, -1],
    },
    BackupDatabaseConfig: {"alias": ["", None], "exclude_tables": ["django_session"]},
    BackupApiConfig: {
        "tokens": [
            None,
            "t" * 32,
            [""],
            ["t" * 31],
            ["t" * 513],
            ["t" * 32 + " "],
            ["t" * 32 + "\n"],
            ["ä" * 32],
            ["t" * 20 + "=" + "t" * 20],
            ["t" * 32] * 2,
            ["file:relative"],
            ["file:/no/such/file"],
        ],
        "requests_per_minute": [0, 100_001],
    },
}


def build(model: type[BaseModel], **given: Any) -> BaseModel:
    if model is BackupDatabaseConfig:
        given = {"alias": "default"} | given
    if model is BackupCopyConfig:
        given = {"name": "offsite", "storage": BackupStorageConfig()} | given
    return model(**given)


def cases(table: dict[type[BaseModel], dict[str, list[Any]]]) -> list[Any]:
    return [
        pytest.param(model, name, value, id=f"{model.__name__}.{name}={value!r}"[:80])
        for model, parameters in table.items()
        for name, values in parameters.items()
        for value in values
    ]


class TestParameters:
    @pytest.mark.parametrize("model", GUIDE_DEFAULTS)
    def test_only_parameters_of_the_guide_and_documented_additions_exist(self, model: type[BaseModel]) -> None:
        expected = GUIDE_DEFAULTS[model] | ADDED.get(model, {})
        assert set(model.model_fields) == set(expected)

    def test_the_docs_list_what_goes_beyond_the_guide(self) -> None:
        section = Path("docs/configuration.md").read_text(encoding="utf-8").split("## What goes beyond the guide")[1]
        listed = {
            model: set(re.findall(r"`(\w+)`", names)) for model, names in re.findall(r"\| `(\w+)` \| (.*) \|", section)
        }
        expected = {model.__name__: set(names) for model, names in ADDED.items()}
        for model in (BackupVerificationConfig, BackupCopyConfig, BackupWebhookConfig, BackupApiConfig):
            expected[model.__name__] = set()  # it is said in one word: all
        assert listed == expected

    @pytest.mark.parametrize("model", GUIDE_DEFAULTS)
    def test_defaults(self, model: type[BaseModel]) -> None:
        made = build(model)
        for name, default in (GUIDE_DEFAULTS[model] | ADDED.get(model, {})).items():
            if default is REQUIRED:
                assert model.model_fields[name].is_required()
            else:
                assert getattr(made, name) == default, name

    @pytest.mark.parametrize(("model", "name", "value"), cases(ACCEPTED))
    def test_accepted(self, model: type[BaseModel], name: str, value: Any) -> None:
        assert getattr(build(model, **{name: value}), name) == value

    @pytest.mark.parametrize(("model", "name", "value"), cases(REFUSED))
    def test_refused_by_name(self, model: type[BaseModel], name: str, value: Any) -> None:
        with pytest.raises(ValidationError, match=rf"(?m)^{name}\b"):
            build(model, **{name: value})

    @pytest.mark.parametrize("model", GUIDE_DEFAULTS)
    def test_an_unknown_parameter_is_refused(self, model: type[BaseModel]) -> None:
        with pytest.raises(ValidationError, match=f"{model.__name__} has no such parameter"):
            build(model, colour="red")

    def test_the_error_for_a_misspelt_parameter_suggests_one(self) -> None:
        with pytest.raises(ValidationError, match=r"retention\.keep_dayly\n.*did you mean keep_daily\?"):
            BackupConfig(retention={"keep_dayly": 3})

    @pytest.mark.parametrize("model", GUIDE_DEFAULTS)
    def test_models_are_immutable(self, model: type[BaseModel]) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            build(model).enabled = True  # type: ignore[attr-defined]

    def test_the_alias_is_required(self) -> None:
        with pytest.raises(ValidationError, match=r"alias\n.*required"):
            BackupDatabaseConfig()  # type: ignore[call-arg]

    def test_a_dict_is_accepted(self) -> None:
        """For `BACKUP = {...}` in settings.py."""
        made = BackupConfig.model_validate(
            {"enabled": True, "schedule": {"daily_time": "02:30"}, "databases": [{"alias": "default"}]}
        )
        assert made.schedule.daily_time == time(2, 30)
        assert made.databases == [BackupDatabaseConfig(alias="default")]

    def test_a_path_is_accepted(self, tmp_path: Path) -> None:
        assert BackupStorageConfig(local_path=tmp_path).local_path == str(tmp_path)  # type: ignore[arg-type]

    def test_models_can_be_pickled_and_copied(self) -> None:
        made = BackupConfig(enabled=True, encryption_key=SECRET)
        assert pickle.loads(pickle.dumps(made)) == made == made.model_copy(deep=True)  # noqa: S301


class TestS3IsComplete:
    GIVEN = {"s3_bucket": "b", "s3_access_key": "k", "s3_secret_key": "s"}

    def test_bucket_and_both_keys_are_sufficient(self) -> None:
        assert BackupStorageConfig(backend="s3", **self.GIVEN).backend == "s3"

    @pytest.mark.parametrize("missing", GIVEN)
    @pytest.mark.parametrize("absent", [None, ""])
    def test_each_s3_parameter_is_required(self, missing: str, absent: str | None) -> None:
        with pytest.raises(ValidationError) as caught:
            BackupStorageConfig(backend="s3", **(self.GIVEN | {missing: absent}))
        message = str(caught.value)
        assert f'backend="s3" needs {missing}:' in message
        assert 'or use backend="local"' in message

    def test_all_missing_parameters_are_listed(self) -> None:
        with pytest.raises(ValidationError, match="needs s3_bucket, s3_access_key, s3_secret_key:"):
            BackupStorageConfig(backend="s3")

    @pytest.mark.parametrize(
        "absent", [{}, {"s3_access_key": None, "s3_secret_key": ""}, {"s3_access_key": "${NONE:}"}]
    )
    def test_a_role_replaces_both_keys(self, absent: dict[str, Any]) -> None:
        assert BackupStorageConfig(backend="s3", s3_bucket="b", s3_use_role=True, **absent).s3_use_role

    @pytest.mark.parametrize("key", ["s3_access_key", "s3_secret_key", "s3_session_token"])
    def test_a_role_with_a_key_is_refused(self, key: str) -> None:
        with pytest.raises(ValidationError, match=f"role, and {key} would not be used") as caught:
            BackupStorageConfig(backend="s3", s3_bucket="b", s3_use_role=True, **{key: SECRET})
        assert SECRET not in str(caught.value)

    def test_a_role_needs_a_bucket(self) -> None:
        with pytest.raises(ValidationError, match='backend="s3" needs s3_bucket:'):
            BackupStorageConfig(backend="s3", s3_use_role=True)


class TestOtherKindsAreComplete:
    @pytest.mark.parametrize(
        ("backend", "given", "missing"),
        [
            ("gcs", {}, "gcs_bucket"),
            ("gcs", {"gcs_bucket": ""}, "gcs_bucket"),
            ("azure", {}, "azure_container, azure_account"),
            ("azure", {"azure_container": "c"}, "azure_account"),
            ("rclone", {}, "rclone_remote"),
            ("django", {"s3_bucket": "b"}, "django_alias"),
        ],
    )
    def test_missing_parameters_are_named(self, backend: str, given: dict[str, Any], missing: str) -> None:
        with pytest.raises(ValidationError) as caught:
            BackupStorageConfig(backend=backend, **given)
        assert f'backend="{backend}" needs {missing}: set' in str(caught.value)

    @pytest.mark.parametrize(
        "given",
        [
            {"backend": "gcs", "gcs_bucket": "b"},
            {"backend": "azure", "azure_container": "c", "azure_account": "shop"},
            {"backend": "azure", "azure_container": "c", "azure_account": "shop", "azure_sas_token": "sv=1&sig=2"},
            {"backend": "rclone", "rclone_remote": "offsite:"},
            {"backend": "rclone", "rclone_remote": "off site.2:a/b c", "rclone_config": "/etc/rclone.conf"},
            {"backend": "django", "django_alias": "backups"},
        ],
    )
    def test_credentials_of_the_machine_are_enough(self, given: dict[str, Any]) -> None:
        assert BackupStorageConfig(**given).backend == given["backend"]

    def test_two_credentials_for_azure_are_refused(self) -> None:
        given = {
            "azure_container": "c",
            "azure_account": "shop",
            "azure_account_key": SECRET,
            "azure_sas_token": SECRET,
        }
        with pytest.raises(ValidationError, match="cannot both be used: leave one of them out") as caught:
            BackupStorageConfig(backend="azure", **given)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize(
        "remote", [f":sftp,host=h,pass={SECRET}:backups", f"offsite,pass={SECRET}:x", "/var/backups", "offsite", "-v:x"]
    )
    def test_a_remote_is_a_name_and_a_path(self, remote: str) -> None:
        """What else rclone takes would put passwords on its command line."""
        with pytest.raises(ValidationError, match=r"rclone_remote is the name of a remote in rclone\.conf") as caught:
            BackupStorageConfig(backend="rclone", rclone_remote=remote)
        assert SECRET not in str(caught.value)

    @pytest.mark.parametrize("parameter", ["gcs_credentials", "azure_account_key", "azure_sas_token", "rclone_remote"])
    def test_secrets_are_not_shown(self, parameter: str) -> None:
        assert SECRET not in repr(BackupStorageConfig(**{parameter: SECRET}))


class TestOneSchedule:
    GIVEN = {"cron": "0 2 * * *", "interval_hours": 6, "daily_time": time(2, 0)}

    @pytest.mark.parametrize("names", [("cron", "interval_hours"), ("interval_hours", "daily_time"), tuple(GIVEN)])
    def test_schedule_parameters_exclude_each_other(self, names: tuple[str, ...]) -> None:
        with pytest.raises(ValidationError, match="exclude each other: give only one") as caught:
            BackupScheduleConfig(**{name: self.GIVEN[name] for name in names})
        assert " and ".join(names) in str(caught.value)

    @pytest.mark.parametrize("name", ["interval_hours", "daily_time"])
    def test_another_schedule_leaves_cron_empty(self, name: str) -> None:
        assert BackupScheduleConfig(**{name: self.GIVEN[name]}).cron is None

    def test_no_schedule_means_daily_at_two(self) -> None:
        assert BackupScheduleConfig(cron=None, interval_hours=None, daily_time=None).cron == "0 2 * * *"

    def test_the_error_for_an_invalid_cron_shows_a_valid_one(self) -> None:
        with pytest.raises(ValidationError, match=r"'0 2 \* \*' is not a cron expression.*as in '0 2 \* \* \*'"):
            BackupScheduleConfig(cron="0 2 * *")

    def test_a_day_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"not a cron expression \(Bad day-of-month"):
            BackupScheduleConfig(cron="0 0 31 4,6,9,11 *")

    def test_a_day_that_never_comes_is_refused(self) -> None:
        """The first of a month is no second Monday."""
        with pytest.raises(ValidationError, match=r"cron '0 0 \*/31 \* 1#2' names a day that never comes"):
            BackupScheduleConfig(cron="0 0 */31 * 1#2")

    def test_no_cron_is_the_default(self) -> None:
        assert BackupScheduleConfig(cron=None).cron == BackupScheduleConfig().cron
        assert BackupScheduleConfig(cron=None, interval_hours=3).cron is None

    def test_what_is_no_schedule_is_refused(self) -> None:
        with pytest.raises(ValidationError, match="schedule"):
            BackupConfig(schedule="daily")

    def test_a_time_with_a_zone_is_refused(self) -> None:
        with pytest.raises(ValidationError, match=r"settings\.TIME_ZONE: give a time without a time zone"):
            BackupScheduleConfig(daily_time=time(2, 0, tzinfo=UTC))


class TestFilenameTemplate:
    @pytest.mark.parametrize(
        ("template", "says"),
        [
            ("{database}", "must include {timestamp}"),
            ("{timestamp}_{env}", "must include {database}"),
            ("backup", "must include {database} and {timestamp}"),
            ("{database}_{timestamp}_{host}", "may hold {database}, {timestamp} and {env}, not {host}"),
            ("{database}_{timestamp}_{}", "not {}"),
            ("{database}_{timestamp", "a brace too many or too few"),
            ("{database}_{timestamp}}", "a brace too many or too few"),
            ("{database!r}_{timestamp}", "without format"),
            ("{database}_{timestamp:>20}", "without format"),
            ("{database.__class__}_{timestamp}", "not {database.__class__}"),
            ("/{database}_{timestamp}", "relative path"),
            ("../{database}_{timestamp}", "relative path"),
            ("a//{database}_{timestamp}", "relative path"),
            ("{database}_{timestamp}/", "relative path"),
            (".{database}_{timestamp}", "relative path"),
            ("a\\{database}_{timestamp}", "backslashes"),
            ("{database}\n{timestamp}", "control characters"),
            ("{database}_{timestamp}.json", ".json"),
            ("{database}_{timestamp}.proof", ".proof"),
        ],
    )
    def test_refused(self, template: str, says: str) -> None:
        with pytest.raises(ValidationError, match="filename_template") as caught:
            BackupConfig(filename_template=template)
        assert says in str(caught.value)


class TestDatabases:
    def test_a_duplicate_alias_is_refused(self) -> None:
        entries = [BackupDatabaseConfig(alias=alias) for alias in ("default", "logs", "default")]
        with pytest.raises(ValidationError, match="databases holds default more than once: merge"):
            BackupConfig(databases=entries)

    def test_places_have_names_of_their_own(self, tmp_path: Path) -> None:
        storage = {"local_path": str(tmp_path)}
        with pytest.raises(ValidationError, match=r"'main', which is that of BackupConfig\.storage: rename it"):
            BackupConfig(copies=[{"name": "main", "storage": storage}])
        with pytest.raises(ValidationError, match="copies holds the name offsite more than once"):
            BackupConfig(copies=[{"name": "offsite", "storage": storage}] * 2)

    def test_a_table_on_both_lists_is_refused(self) -> None:
        with pytest.raises(ValidationError) as caught:
            BackupDatabaseConfig(alias="a", exclude_tables=["t", "x"], include_tables=["t", "y"])
        assert "t cannot be in exclude_tables and in include_tables: take it out of one" in str(caught.value)

    def test_for_database_returns_the_override_or_the_defaults(self) -> None:
        logs = BackupDatabaseConfig(alias="logs", enabled=False)
        config = BackupConfig(databases=[logs])
        assert config.for_database("logs") is logs
        assert config.for_database("default") == BackupDatabaseConfig(alias="default")


class TestVariables:
    @pytest.fixture(autouse=True)
    def _no_env_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)

    def test_any_string_may_hold_a_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TABLE", "audit_log")
        monkeypatch.setenv("HOURS", "12")
        assert BackupDatabaseConfig(alias="a", exclude_tables=["${TABLE}"]).exclude_tables == ["audit_log"]
        assert BackupScheduleConfig(interval_hours="${HOURS}").interval_hours == 12  # type: ignore[arg-type]
        assert BackupConfig(compression="${KIND:xz}").compression == "xz"  # type: ignore[arg-type]
        nested = BackupConfig.model_validate({"databases": [{"alias": "${ALIAS:logs}"}]})
        assert nested.databases[0].alias == "logs"

    def test_any_dict_may_hold_variables(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PLACE", "a${b}$${c")
        assert BackupConfig(sanitizers={"default": "${PLACE}"}).sanitizers == {"default": "a${b}$${c"}
        assert BackupVerificationConfig(drill_alias={"default": "${PLACE}"}).drill_alias == {"default": "a${b}$${c"}
        with pytest.raises(ValidationError, match=r"BackupConfig\.sanitizers\['default'\] needs the variable NONE"):
            BackupConfig(sanitizers={"default": "${NONE}"})

    def test_a_nested_secret_is_substituted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KEY", "a${b}$${c")
        storage = {"backend": "s3", "s3_bucket": "b", "s3_access_key": "k", "s3_secret_key": "${KEY}"}
        assert BackupConfig.model_validate({"storage": storage}).storage.s3_secret_key == "a${b}$${c"

    def test_the_error_for_a_missing_variable_names_it_and_the_parameter(self) -> None:
        with pytest.raises(
            ValidationError, match=r"BackupStorageConfig\.s3_secret_key needs the variable R2_SECRET_KEY"
        ):
            BackupStorageConfig(backend="s3", s3_bucket="b", s3_access_key="k", s3_secret_key="${R2_SECRET_KEY}")

    def test_a_missing_variable_is_an_error_with_enabled_false_too(self) -> None:
        given = {"enabled": False, "storage": {"backend": "s3", "s3_bucket": "b", "s3_secret_key": "${R2_SECRET_KEY}"}}
        with pytest.raises(ValidationError, match=r"with enabled=False too.*leave the BackupConfig out") as caught:
            BackupConfig.model_validate(given)
        assert "default" not in str(caught.value)

    def test_spaces_around_strings_are_removed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BUCKET", " shop-backups\n")
        made = BackupStorageConfig(backend=" s3 ", s3_bucket="${BUCKET}", s3_access_key=" k", s3_secret_key="s ")
        assert (made.backend, made.s3_bucket, made.s3_access_key, made.s3_secret_key) == (
            "s3",
            "shop-backups",
            "k",
            "s",
        )
        assert BackupDatabaseConfig(alias=" default ", exclude_tables=[" a "]).exclude_tables == ["a"]

    def test_spaces_around_keys_are_not_removed(self) -> None:
        """In a new key they are an error; an earlier passphrase stays unchanged."""
        for key in ("encryption_key", "signing_key"):
            with pytest.raises(ValidationError, match=key) as caught:
                BackupConfig(**{key: f" {SECRET}"})
            assert SECRET not in str(caught.value)
        assert BackupConfig(decryption_keys=[f" {SECRET}"]).decryption_keys == [f" {SECRET}"]


def with_secrets() -> BackupConfig:
    storage = BackupStorageConfig(
        backend="s3", s3_bucket="b", s3_access_key=SECRET, s3_secret_key=SECRET, s3_session_token=SECRET
    )
    return BackupConfig(enabled=True, storage=storage, encryption_key=SECRET)


class TestSecrets:
    def test_repr_and_str_show_no_secrets(self) -> None:
        made = with_secrets()
        assert made.storage.s3_secret_key == made.encryption_key == SECRET
        for text in (repr(made), str(made), f"{made}", repr(made.storage), repr([made])):
            assert SECRET not in text

    @pytest.mark.parametrize(
        "given",
        [
            {"storage": {"backend": "s3", "s3_secret_key": SECRET}},
            {"storage": {"backend": "s3", "s3_secret_key": [SECRET]}},
            {"storage": {"backend": "nowhere", "s3_access_key": SECRET}},
            {"storage": {"s3_secret": SECRET}},
            {"storage": SECRET},
            {"encryption_key": [SECRET]},
            {"encryption_key": SECRET, "databases": [{"alias": "a"}, {"alias": "a"}]},
            {"encryption_key": SECRET, "filename_template": "x"},
            {"encryption_kye": SECRET},
            {"databases": [{"alias": "a", "extra_options": SECRET}]},
            {"schedule": {"cron": "@daily", "interval_hours": 1, "queue": SECRET}},
        ],
    )
    def test_validation_errors_show_no_secrets(self, given: dict[str, Any]) -> None:
        """Structured logs use `errors()`, and Pydantic's own holds the input, even if it is hidden."""
        for attempt in (lambda: BackupConfig(**given), lambda: BackupConfig.model_validate(given)):
            with pytest.raises(ValidationError) as caught:
                attempt()
            error = caught.value
            assert SECRET not in str(error) + repr(error) + repr(error.errors()) + error.json()
            assert all(re.search(r"\w", detail["msg"]) for detail in error.errors())

    def test_an_error_keeps_its_location_and_type(self) -> None:
        with pytest.raises(ValidationError) as caught:
            BackupConfig(databases=[{"alias": "a"}, {"alias": ""}], retention={"keep_daily": 0})
        assert caught.value.title == "BackupConfig"
        assert [(detail["loc"], detail["type"]) for detail in caught.value.errors()] == [
            (("retention", "keep_daily"), "greater_than_equal"),
            (("databases", 1, "alias"), "string_too_short"),
        ]


class TestTokensOfTheAPI:
    def test_from_a_file_and_from_a_variable(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        one, two = "f" * 40, "v" * 40
        (tmp_path / "token").write_text(f"{one}\n")
        monkeypatch.setenv("API_TOKEN", two)
        assert BackupApiConfig(tokens=[f"file:{tmp_path / 'token'}", "${API_TOKEN}"]).tokens == [one, two]

    @pytest.mark.parametrize("wrong", [f"short-{SECRET}"[:31], f"{SECRET}{SECRET} with blanks"])
    def test_neither_errors_nor_the_models_show_them(self, wrong: str) -> None:
        with pytest.raises(ValidationError, match="token 2 cannot be used") as caught:
            BackupConfig(api={"tokens": ["t" * 32, wrong]})
        assert wrong not in str(caught.value) + repr(caught.value.errors()) + caught.value.json()
        made = BackupConfig(api=BackupApiConfig(tokens=[SECRET * 2]))
        assert SECRET not in repr(made) + str(made)
