"""The pages of the admin, ready to click: the bookshop with half a year of backups, and a user to log in with.

Works in a temporary copy of the example project, which is removed at the end. PORT chooses the port.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).resolve().parent
PORT = os.environ.get("PORT", "8000")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bookshop-") as folder, suppress(KeyboardInterrupt):
        project = Path(folder, "example")
        shutil.copytree(HERE, project, ignore=shutil.ignore_patterns("*.sqlite3*", "backups", "__pycache__"))
        password = os.environ.get("PASSWORD") or secrets.token_urlsafe(9)
        print("Filling the bookshop and half a year of its backups ...", flush=True)
        manage(project, "migrate", "--verbosity=0")
        manage(project, "fill_history")
        manage(project, "createsuperuser", "--noinput", "--verbosity=0", DJANGO_SUPERUSER_PASSWORD=password)
        print(f"\nOpen http://127.0.0.1:{PORT}/admin/ and log in as\n\n    user      ada\n    password  {password}\n")
        print("Backups are the first entry. Ctrl-C ends it.", flush=True)
        manage(project, "runserver", "--noreload", f"127.0.0.1:{PORT}")


def manage(project: Path, *arguments: str, **variables: str) -> None:
    known = {
        "ENV_MODE": "development",
        "DJANGO_SETTINGS_MODULE": "bookshop_project.admin_settings",
        "DJANGO_SUPERUSER_USERNAME": "ada",
        "DJANGO_SUPERUSER_EMAIL": "ada@bookshop.example",
    }
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=project, env={**os.environ, **known, **variables}, check=False)
    if done.returncode != 0:
        sys.exit(f"{arguments[0]} failed with exit code {done.returncode}")


if __name__ == "__main__":
    main()
