"""What gives a machine of Google's or Microsoft's cloud a token: its metadata server."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class TokenServer:
    """On a free loopback port. ``paths`` are those that were asked for."""

    def __init__(self, token: str) -> None:
        self.token, self.paths = token, list[str]()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.address = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.paths.append(self.path.partition("?")[0])
                answer = {"access_token": server.token, "token_type": "Bearer", "expires_in": "3600"}
                if "computeMetadata" in self.path:
                    answer["expires_in"] = 3600  # type: ignore[assignment]
                body = json.dumps({**answer, "expires_on": "4102444800"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        return Handler
