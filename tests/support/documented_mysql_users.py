"""The users of docs/mysql.md, made for a test's database."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.mysql_databases import MySQLServer

PAGE = (Path(__file__).parents[2] / "docs" / "mysql.md").read_text()


SQL = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)


def become(server: MySQLServer, block: str) -> str:
    """Carry out one of the page's blocks for this test's database, and let the project be its user; who that is."""
    name = re.search(r"CREATE USER (\w+)@", block)
    assert name
    user = server.user(f"{name[1]}@'%'")
    database = server.databases["default"]
    escaped = database.replace("_", r"\_")
    block = block.replace(f"{name[1]}@", f"{user.partition('@')[0]}@")
    for statement in block.replace(r"shop\_\_", rf"{escaped}\_\_").replace("shop.", f"{database}.").split(";\n"):
        if statement.strip() and "CREATE USER" not in statement:
            server.server.sql(statement)
    server.act_as(user)
    return user
