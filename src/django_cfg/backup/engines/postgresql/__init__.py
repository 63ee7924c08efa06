"""PostgreSQL and PostGIS: pg_dump's custom format, rows counted in the dump's own snapshot."""

from django_cfg.backup.engines.postgresql.engine import PostgreSQLEngine

__all__ = ["PostgreSQLEngine"]
