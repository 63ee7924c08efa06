"""MySQL and MariaDB: dumps of mysqldump and mariadb-dump, whose rows are counted as they pass."""

from django_cfg.backup.engines.mysql.engine import MySQLEngine

__all__ = ["MySQLEngine"]
