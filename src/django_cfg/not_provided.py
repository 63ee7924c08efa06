"""What the package django-cfg has and this one does not: refused by name, never ignored."""

from __future__ import annotations

_DO_INSTEAD = "configure that app itself, with its settings in extra_settings, its app in installed_apps"
_DO = {
    "axes": "install django-axes, and give its AXES_... settings in extra_settings",
    "cache_default": 'give extra_settings={"CACHES": {...}}',
    "cache_sessions": 'give extra_settings={"CACHES": {...}, "SESSION_ENGINE": ...}',
    "cors_allow_headers": 'install django-cors-headers, and give extra_settings={"CORS_ALLOW_HEADERS": [...]}',
    "django_rq": "give redis_url, which makes RQ_QUEUES; or RQ_QUEUES in extra_settings",
    "drf": 'give extra_settings={"REST_FRAMEWORK": {...}}',
    "email": "give email_url, as in smtp+tls://user:password@host:587",
    "encryption": "backups have their own encryption_key in BackupConfig; for the rest configure that app itself",
    "extra_authentication_classes": (
        'give extra_settings={"REST_FRAMEWORK": {"DEFAULT_AUTHENTICATION_CLASSES": [...]}}'
    ),
    "limits": "give extra_settings={'DATA_UPLOAD_MAX_MEMORY_SIZE': ...} and its like",
    "spectacular": 'give extra_settings={"SPECTACULAR_SETTINGS": {...}}',
    "ssl_redirect": 'give extra_settings={"SECURE_SSL_REDIRECT": True}',
    "storage": 'give extra_settings={"STORAGES": {...}}; where backups are kept is BackupConfig.storage',
    "two_factor": "install an app for it, as django-two-factor-auth, and give its settings in extra_settings",
    "unfold": 'install django-unfold, and give extra_settings={"UNFOLD": {...}}',
}
_NEEDLESS = {
    "enable_drf_tailwind", "enable_pool_cleanup", "search_indexing", "show_ai_hints", "startup_info_mode",
    "tailwind_app_name", "tailwind_version",
}  # fmt: skip
_APPS = {
    "admin_access", "analytics", "api_keys", "centrifugo", "cloudflare", "crypto_fields", "currency", "dashboard",
    "frontend_monitor", "geo", "github_oauth", "grpc", "indexnow", "mcp", "ngrok", "payments", "simple_history",
    "streamlit_admin", "telegram",
}  # fmt: skip
FIELDS = _DO.keys() | _NEEDLESS | _APPS

# What configurations import from it, in addition to the classes of those fields.
NAMES = {
    "AdminAccessConfig", "AnalyticsConfig", "ApiKeys", "AxesConfig", "CacheConfig", "ConstanceConfig",
    "CurrencyConfig", "DRFConfig", "DashboardConfig", "DjangoRQConfig", "EmailConfig", "GeoConfig",
    "GitHubOAuthConfig", "IndexNowConfig", "JWTConfig", "LimitsConfig", "OpenAPIClientConfig", "PaymentsConfig",
    "RQQueueConfig", "RQScheduleConfig", "S3StorageConfig", "SimpleHistoryConfig", "SpectacularConfig",
    "StartupInfoMode", "StorageConfig", "TelegramConfig", "TwoFactorConfig", "UnfoldConfig", "add_django_cfg_urls",
    "set_current_config",
}  # fmt: skip


def refusal_of_field(name: str) -> str:
    """Return what to do instead of giving the field *name* to DjangoConfig."""
    instead = "leave it out" if name in _NEEDLESS else _DO.get(name, _DO_INSTEAD)
    return f"{name} is a field of the package django-cfg that this one does not provide: {instead}"


def refusal_of_import(name: str) -> str:
    """Return what to do instead of importing *name*."""
    return (
        f"{name} is part of the package django-cfg, and this one does not provide it: leave it out, and configure "
        "the app behind it itself (docs/from-django-cfg.md)"
    )
