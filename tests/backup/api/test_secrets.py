"""No secret of the settings, and no token, is in an answer, the log, the history or a file."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.core.cache import cache

from django_cfg.backup.models import Run
from tests.support.api_client import Api
from tests.support.canaries import Canaries, listening


def test_of_every_address(api: Api, temporary: Path) -> None:
    canaries = Canaries()
    plant = canaries.plant
    api.site.set(SECRET_KEY=plant("SECRET_KEY"))
    token = plant("token")
    texts: dict[str, str] = {}
    with listening() as log:
        api.configure(
            token,
            plant("another token"),
            api={"allow_restore": True, "allow_download": True},
            decryption_keys=[plant("earlier passphrase")],
            signing_key=plant("signing key"),
            notify_urls=[f"json://127.0.0.1:1/{plant('token of a notification')}"],
            notify_on_failure=False,
        )
        made = [api.site.create(), api.site.create()]
        wrong = plant("wrong token")
        for path in ("", "backups", "backups/latest", "backups/nosuch", "status", "prune", "openapi.json", "jobs/x"):
            texts[path] = api.get(path, token=token).text + api.get(path, token=wrong).text
        (api.site.backups / made[0].archive_key).write_bytes(b"damaged")
        for path, body in {
            "create": {"databases": ["default"]},
            "verify": {"name": made[1].name},
            "drill": {"name": made[1].name},
            "restore": {"name": made[0].name, "to": "default"},
        }.items():
            answer = api.post(path, body, token=token)
            texts[path] = answer.text + api.post(path, {"name": token, "to": token, "x": token}, token=wrong).text
            if answer.status_code == 202:
                api.site.call("backup_tick")
                texts[f"the job of {path}"] = api.get(f"jobs/{answer.json()['id']}", token=token).text
        content = b"".join(api.get("download/latest", token=token).streaming_content)
    assert canaries.in_text("a download", content) == []
    texts |= {"the log": log.text, "the history": repr(list(Run.objects.values()))}
    texts |= {"the cache": repr(getattr(cache, "_cache", "")), "the configuration": repr(settings.BACKUP)}
    assert "succeeded" in texts["the job of create"]
    assert "HTTP API, token 1" in texts["the history"]
    assert canaries.in_texts(texts) == []
    assert canaries.in_files([temporary, api.site.backups]) == []
