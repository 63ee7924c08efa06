"""What rclone, or the remote behind it, says no with, in words that name what to change."""

from __future__ import annotations

import re

from django_cfg.backup.errors import NotEnoughSpace, StorageError, ToolFailed

_LOGIN = (
    "the remote does not accept the login: correct it in rclone.conf, or renew it with `rclone config reconnect {name}`"
)
_DENIED = "access was denied: the login has to be allowed to list, read, write, rename and delete there"
_ADDRESS = "check the host and the port in rclone.conf, the network and the firewall"
_FULL = "the remote is full: make room there"
# What rclone prints, in lower case, and what to do; the first that is found counts.
_REASONS = (
    (r"is a file not a directory", "rclone_remote names a file, and a folder is needed there"),
    (r"didn't find section", "rclone.conf has no such remote: `rclone listremotes` lists them; check rclone_remote and "
     "rclone_config"),
    (r"unable to decrypt|decrypt configuration|config.*password", "rclone.conf is encrypted: set RCLONE_CONFIG_PASS "
     "for the process that makes backups"),
    (r"knownhosts|host key", "the server's host key is not the one that is known: compare it, then correct the file "
     "that known_hosts_file in rclone.conf names"),
    (r"x509|certificate", "the server's certificate is not trusted: check the host in rclone.conf; for an authority of "
     "your own set SSL_CERT_FILE"),
    (r"no space left|quota|insufficient.?storage|\b507\b|disk full", _FULL),
    (r"unable to authenticate|\b401\b|unauthorized|invalid_grant|fetch token|login incorrect|\b530\b|invalidaccesskeyid"
     r"|signaturedoesnotmatch|access key id", _LOGIN),
    (r"permission.?denied|\b403\b|forbidden|accessdenied|access denied|read-only|method not allowed", _DENIED),
    (r"no such host|server misbehaving", f"its host name is not known: {_ADDRESS}"),
    (r"connection refused", f"nothing answers at its address (connection refused): {_ADDRESS}"),
    (r"timeout|timed out|deadline exceeded", f"it did not answer in time: {_ADDRESS}"),
    (r"connection reset|connection lost|broken pipe|\beof\b", "the connection broke: check the network, and try again"),
)  # fmt: skip
_HEAD = re.compile(
    r"^\d{4}/\d\d/\d\d [\d:]{8} ((ERROR|CRITICAL|NOTICE|INFO) *: *)?|^Attempt \d+/\d+ failed with |^\d+ errors? and: "
)
_MOST = 300  # characters of rclone's own words


def storage_error(error: ToolFailed, doing: str, location: str) -> StorageError:
    """Put *error* of rclone into words. Its last words hold no secret any more."""
    if error.tool_exit_code < 0:
        return StorageError(
            f"Could not {doing}, in {location}: rclone was killed by signal {-error.tool_exit_code}. Try again; if the "
            "system did it, its log says why (memory is the usual reason)."
        )
    words = _last_line(error.last_words)
    plain = _without_names(error.last_words, doing, location).lower()
    reason = next((text for sign, text in _REASONS if re.search(sign, plain)), "")
    said = f"rclone: {words}" if words else f"rclone ended with exit code {error.tool_exit_code} and said nothing"
    name = f"{location.partition(':')[0]}:"
    what = f"{reason.format(name=name)} ({said})" if reason else said
    return (NotEnoughSpace if reason == _FULL else StorageError)(f"Could not {doing}, in {location}: {what}.")


def _without_names(text: str, doing: str, location: str) -> str:
    """What rclone says without the names that we have given: one may be ``quota``, or ``401``."""
    key = doing.partition(" ")[2]
    for name in (location, location.partition(":")[2], key, key.rpartition("/")[2]):
        text = text.replace(name, "") if name else text
    return text


def timed_out(doing: str, location: str, seconds: int) -> StorageError:
    return StorageError(
        f"Could not {doing}, in {location}: rclone had not ended after {seconds} s, and was ended. See whether the "
        "remote answers (`rclone lsf`), and try again."
    )


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    line = lines[-1].strip() if lines else ""
    while (shorter := _HEAD.sub("", line)) != line:
        line = shorter
    return line[:_MOST].rstrip(" .:")
