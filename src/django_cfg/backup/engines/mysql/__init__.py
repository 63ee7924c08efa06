"""MySQL and MariaDB: SQL as mysqldump and mariadb-dump write it, rows counted in the stream and beside it."""

from django_cfg.backup.engines.mysql.engine import MySQLEngine

__all__ = ["MySQLEngine"]
