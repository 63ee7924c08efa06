"""What hands out the keys of a machine's role: an instance's metadata, a container's agent, a token service."""

from __future__ import annotations

import json
import ssl
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ROLE = "/latest/meta-data/iam/security-credentials/"
_ANSWER_OF_STS = """\
<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>\
<AccessKeyId>{0}</AccessKeyId><SecretAccessKey>{1}</SecretAccessKey><SessionToken>{2}</SessionToken>\
<Expiration>{3}</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


class RoleServer:
    """On a free loopback port. ``requests`` are those that came, with the token they brought.

    :param certificates: a folder with server.pem and server.key, for https.
    """

    def __init__(self, access_key: str, secret_key: str, certificates: Path | None = None) -> None:
        self.keys = (access_key, secret_key, "token-of-the-role")
        self.expiry = datetime.now(UTC) + timedelta(hours=1)
        self.requests: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        scheme = "http"
        if certificates:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{scheme}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str) -> str:
        access_key, secret_key, token = self.keys
        expiration = self.expiry.strftime("%Y-%m-%dT%H:%M:%SZ")
        if path == "/":
            return _ANSWER_OF_STS.format(*self.keys, expiration)
        if path == "/latest/api/token":
            return "token-of-the-session"
        if path == _ROLE:
            return "backup-role"
        keys = {"AccessKeyId": access_key, "SecretAccessKey": secret_key, "Token": token, "Expiration": expiration}
        return json.dumps({"Code": "Success", "Type": "AWS-HMAC", "LastUpdated": expiration, **keys})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                token = self.headers.get("Authorization") or self.headers.get("X-aws-ec2-metadata-token") or ""
                server.requests.append((path, token))
                body = server.answer(path).encode()
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_PUT = do_POST = do_GET  # noqa: N815  (the names of http.server)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler
