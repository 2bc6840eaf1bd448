# Copyright (c) The mlops.mlflow_aws contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stands between users and MLflow in companies: a proxy that can end TLS and can be wrong in many ways."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import http.server
import ipaddress
import ssl
import threading
import typing as t
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ADDRESS = "127.0.0.1"
# Of one connection only (RFC 9110, 7.6.1), or set anew here.
NOT_PASSED_ON = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


class Request(t.NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Response(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


Forward = t.Callable[[Request], Response]
# Sees each request, and answers it itself or by calling what it is given.
Way = t.Callable[[Request, Forward], Response]


def html(status: int, title: str) -> Response:
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Response(status, {"Content-Type": "text/html; charset=utf-8"}, page.encode())


def straight(request: Request, forward: Forward) -> Response:
    return forward(request)


def _forward(upstream: str, own: str) -> Forward:
    host = urlsplit(upstream).netloc

    def forward(request: Request) -> Response:
        connection = http.client.HTTPConnection(host, timeout=60)
        # A Host that is not this proxy's own is passed on as it is.
        headers = {key: host if key == "Host" and value == own else value for key, value in request.headers.items()}
        try:
            connection.request(request.method, request.path, body=request.body, headers=headers)
            answer = connection.getresponse()
            kept = {key: value for key, value in answer.getheaders() if key.lower() not in NOT_PASSED_ON}
            return Response(answer.status, kept, answer.read())
        finally:
            connection.close()

    return forward


@contextlib.contextmanager
def proxy(upstream: str, way: Way = straight, context: ssl.SSLContext | None = None) -> t.Iterator[str]:
    """The URL of a proxy in front of `upstream`; with `context` it speaks TLS."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_arguments: t.Any) -> None:
            """Quiet."""

        def handle_one_request(self) -> None:
            with contextlib.suppress(OSError):
                super().handle_one_request()
                return
            self.close_connection = True

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            response = way(Request(self.command, self.path, dict(self.headers.items()), body), forward)
            self.send_response(response.status)
            for key, value in response.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    server = http.server.ThreadingHTTPServer((ADDRESS, 0), Handler)
    server.daemon_threads = True
    own = f"{ADDRESS}:{server.server_address[1]}"
    forward = _forward(upstream, own)
    if context is not None:
        # The handshake is left to the thread of the connection: a client that refuses the certificate must not end all.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if context else 'http'}://{own}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)


class Certificate(t.NamedTuple):
    """Signed by itself, so `path` is both what the server needs and what clients may trust."""

    path: Path

    @property
    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context


def certificate(path: Path, days: float, address: str = ADDRESS) -> Certificate:
    """Made at `path`, ending `days` from now (in the past if negative)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mlflow")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.touch(mode=0o600)
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return Certificate(path)
