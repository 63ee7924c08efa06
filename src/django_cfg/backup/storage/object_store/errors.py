"""What a service or the network says no with, in words that name the parameter to change.

Only the code and the message of an answer are used: the rest of it may repeat what was signed, secrets included.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from obstore.exceptions import BaseError

from django_cfg.backup.errors import NotEnoughSpace, ObjectLocked, StorageError
from django_cfg.backup.storage.object_store.place import Place

REFUSED = (BaseError, OSError, ValueError)  # what obstore raises

SLOW_DOWN = "the service asks to slow down, also after several attempts: try again later"
NOT_AVAILABLE = "the service is not available, also after several attempts: try again later"
FAILED = "the service failed, also after several attempts: try again later"
CLOCK = "this machine's clock differs too much from the service's: set it (NTP), and try again"

_LOCKED = re.compile(r"object.?lock|worm|retention|legal.?hold|immutable|\blocked\b", re.IGNORECASE)
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(?:Other\(\s*OtherError\(\s*)?(\w+)")
_REQUEST = re.compile(r"Error performing [A-Z]+ (\S+)")
_IN_A_BATCH = re.compile(r"Bulk delete request failed for key .*?: (.*) \(code: (\d+)\)")
# Of the network, as obstore describes them, and what to do.
_NETWORK = (
    ("InvalidContentType", "it does not speak TLS there: write {endpoint} with http://, or the port for https"),
    ("HTTP request to an HTTPS server", "it speaks TLS there: write {endpoint} with https://"),
    ("dns error", "its host name is not known: check {host}, and the network"),
    ("Connection refused", "nothing answers at that address (connection refused): check {endpoint}"),
    ("kind: Connect", "no connection could be made: check {endpoint}, the network and the firewall"),
    ("kind: Timeout", "it did not answer in time: check {endpoint}, the network and the firewall"),
    ("operation timed out", "it did not answer in time: check {endpoint}, the network and the firewall"),
    ("error sending request", "the connection broke, also after several attempts: check the network, and try again"),
    ("error decoding response body", "the connection broke while it answered: check the network, and try again"),
)
_BEYOND = re.compile(r"\s*\n\nDebug source:", re.DOTALL)


@dataclass(frozen=True)
class Advice:
    """What to do about a service's answers, in words that name the parameters of its kind of storage."""

    codes: Mapping[str, str]  # by the service's own word
    full: str  # the one of these texts that means that there is no room
    denied: str  # for a refusal without a code
    endpoint: str  # the parameter with the address
    host: str  # the parameters that make up the host's name

    def of_answer(self, code: str, text: str) -> str:
        """Return the reason for what was answered, or for what happened before an answer came."""
        if code in self.codes:
            return f"{self.codes[code]} ({code})"
        if code:
            return f"the service answered {code}: {message_of(text) or 'without a reason'}".rstrip(".")
        return self._of_the_network(text)

    def _of_the_network(self, text: str) -> str:
        if certificate := _CERTIFICATE.search(text):
            return (
                f"its certificate is not trusted ({certificate[1]}): check the host in {self.endpoint}; for an "
                "authority of your own let the environment variable SSL_CERT_FILE name its certificate"
            )
        for sign, meaning in _NETWORK:
            if sign in text:
                return meaning.format(endpoint=self.endpoint, host=self.host)
        if "status code: 403" in text or "status code: 401" in text:
            return self.denied
        return _shortened(_BEYOND.split(text)[0])


def storage_error(error: BaseException, doing: str, place: Place, advice: Advice, reason: str = "") -> StorageError:
    """*error* of obstore as one of ours. Raise it ``from None``: the original is not fit to be shown.

    :param reason: what *advice* does not know.
    """
    code, text = code_of(error), str(error)
    kind, reason = StorageError, reason or advice.of_answer(code, text)
    if doing.startswith("delete") and _LOCKED.search(f"{code} {message_of(text)}"):
        why = f" ({code})" if code else ""
        kind, reason = ObjectLocked, f"it is locked{why}; it can be deleted when its retention has passed"
    elif advice.codes.get(code) == advice.full:
        kind = NotEnoughSpace
    return kind(place.redact(f"Could not {doing}, in {place.location}: {reason}."))


def code_of(error: BaseException) -> str:
    """The service's own word for it, or ""."""
    return _tag("Code", str(error))


def is_of_another_server(error: BaseException, endpoint: str) -> bool:
    """Return True if a request elsewhere failed, as for a token of the machine's identity."""
    request = _REQUEST.search(str(error))
    return request is not None and not request[1].startswith(endpoint)


def message_of(text: str) -> str:
    """The service's own reason, or ""."""
    found = _IN_A_BATCH.search(text)
    return found[1] if found else _tag("Message", text).partition("\nRequestId:")[0]  # Azure adds lines of its own


def says_why(error: BaseException) -> bool:
    """Not so an answer to HEAD, which has no body."""
    return bool(code_of(error)) or "status code:" not in str(error)


def _shortened(text: str) -> str:
    """The first words, without the answer's body."""
    return " ".join(text.split("<?xml")[0].split())[:300].rstrip(" .:-")


def _tag(name: str, text: str) -> str:
    found = re.search(rf"<{name}>([^<]*)</{name}>", text)
    return html.unescape(found[1]).strip() if found else ""
