"""No channel shows a secret, its own among them, when it works, when it fails, and when others repeat it."""

from __future__ import annotations

import gc

import pytest
from django.core.mail.backends.smtp import EmailBackend

from tests.support.canaries import Canaries
from tests.support.notification_servers import use_mail
from tests.support.secrets_places import STORAGES_ALONE, on
from tests.support.secrets_scene import Scene
from tests.support.server_process import free_port

BROKEN = {"exclude_tables": ["nosuch"]}
WHENEVER = pytest.mark.parametrize("of_default", [{}, BROKEN], ids=["success", "failure"])


def back_up(scene: Scene, of_default: dict[str, list[str]], **parameters: object) -> None:
    """One that succeeds or fails, and is notified; then the channels alone."""
    scene.configure(of_default, **parameters)
    scene.call("backup_create", "--json", code=bool(of_default))
    scene.call("backup_check", "--notify", "--json", code=1)


@on(STORAGES_ALONE)
@WHENEVER
def test_no_server_listens(scene: Scene, of_default: dict[str, list[str]]) -> None:
    use_mail(scene.site, free_port(), scene.canaries.plant("mail password"))
    back_up(scene, of_default, notify_urls=[scene.notify_url(1)], heartbeat_url=scene.heartbeat_url(1))
    assert "notify_urls[1] (json)" in scene.log.text
    assert "heartbeat_url" in scene.log.text


@on(["sqlite local"])
@WHENEVER
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Django leaves it open when a login fails
def test_the_mail_server_refuses_the_password(
    scene: Scene, canaries: Canaries, of_default: dict[str, list[str]]
) -> None:
    use_mail(scene.site, scene.mailbox.port, canaries.plant("wrong mail password"))
    back_up(scene, of_default)
    assert "SMTPAuthenticationError" in scene.log.text
    assert scene.mailbox.mails == []
    gc.collect()


@on(["sqlite local"])
@WHENEVER
@pytest.mark.parametrize("status", [404, 500])
def test_a_service_that_repeats_what_it_was_asked(scene: Scene, of_default: dict[str, list[str]], status: int) -> None:
    """In the reason of its answer, and in the body."""
    scene.web.status, scene.web.is_echo = status, True
    back_up(scene, of_default)
    assert f"the server answered {status}" in scene.log.text


@on(["sqlite local"])
@WHENEVER
def test_a_service_that_cuts_the_line(scene: Scene, of_default: dict[str, list[str]]) -> None:
    """With an answer that is none, and that repeats what it was asked."""
    scene.web.status, scene.web.is_echo = 0, True
    back_up(scene, of_default)


class Talkative(EmailBackend):
    """A mail backend that says in its error how it tried to log in."""

    password = ""

    def send_messages(self, email_messages: object) -> int:
        raise RuntimeError(f"could not log in with {self.password}")


@on(["sqlite local"])
def test_a_mail_backend_that_prints_its_password(
    scene: Scene, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Talkative, "password", canaries.plant("mail password"))
    use_mail(scene.site, scene.mailbox.port, Talkative.password, backend=f"{__name__}.Talkative")
    back_up(scene, {})
    assert "could not log in with ***" in scene.log.text


@on(["sqlite local"])
def test_urls_that_apprise_cannot_use(scene: Scene, canaries: Canaries) -> None:
    secret = canaries.plant("notification")
    forms = (
        "{}", "{}://", "nosuch://{}", "json://", "slack://{}", "slack://{}/{}", "tgram://{}", "mailto://{}",
        "json://[{}", "discord://{}/ with spaces", "mailto://user:{}@example.org:1?smtp=127.0.0.1&from=a@example.org",
        "xml://a:{}@127.0.0.1:1/{}",
    )  # fmt: skip
    back_up(scene, {}, notify_urls=[form.replace("{}", secret) for form in forms])
    for number in range(1, len(forms) + 1):
        assert f"not sent by notify_urls[{number}]" in scene.log.text


@on(["sqlite local"])
def test_heartbeats_that_cannot_be_fetched(scene: Scene, canaries: Canaries) -> None:
    secret = canaries.plant("heartbeat")
    for form in (
        "http://{}", "http://{}:80", "http://a:{}@127.0.0.1:1/", "http://127.0.0.1:{}/", "http://[{}", "http:///{}",
        "http://127.0.0.1:1/{} {}", "https://127.0.0.1:1/{}?{}", "http://127.0.0.1:1/\u2603{}",
    ):  # fmt: skip
        scene.configure(heartbeat_url=form.replace("{}", secret))
        scene.call("backup_check", "--notify", "--json", code=1)
    scene.call("backup_create", "--json")
    assert scene.log.text.count("not sent by heartbeat_url") > 9
