# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hands the proxies the certificates of their listeners, at each handshake.

The proxy asks instead of having them in its configuration, for the reason told in target_directory.py: a certificate is
replaced without a configuration that would cut connections.
"""

from __future__ import annotations

import http.server
import secrets
import threading
from collections.abc import Mapping


class CertificateDirectory:
    """Answers on loopback from the moment it is made until it is closed. The URLs are secret: keys are behind them."""

    def __init__(self) -> None:
        self._bundles: Mapping[str, bytes] = {}
        self._secret = secrets.token_urlsafe(32)
        directory = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                found = directory._bundles.get(self.path.partition("?")[0])
                body = found or b""
                self.send_response(404 if found is None else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """The URL must not be written down."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True, name="CertificateDirectory").start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}{self._path(name)}"

    def publish(self, bundles: Mapping[str, bytes]) -> None:
        """Replace all: name to certificate, chain and private key in PEM."""
        self._bundles = {self._path(name): bundle for name, bundle in bundles.items()}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _path(self, name: str) -> str:
        return f"/{self._secret}/{name}"
