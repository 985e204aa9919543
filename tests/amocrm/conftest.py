"""A client without real waiting, a clock that only sleeping moves, and a server of scripted sockets."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from tasks.amocrm.client import AmoClient
from tasks.amocrm.pacing import Pacer
from tasks.settings import Settings

TOKEN = "not-a-real-token"
BASE = "https://clinic.example"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class Clock:
    """Time that passes only by sleeping."""

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def connect(clock: Clock) -> Iterator[Callable[..., AmoClient]]:
    made: list[AmoClient] = []

    def build(base_url: str = BASE, token: str = TOKEN, **settings: Any) -> AmoClient:
        pacer = Pacer(5, clock=clock, sleep=clock.sleep)
        chosen = Settings(**{"read_timeout": 5.0, "connect_timeout": 2.0, **settings})
        client = AmoClient(
            base_url, SecretStr(token), settings=chosen, pacer=pacer, sleep=clock.sleep, clock=clock
        )
        made.append(client)
        return client

    yield build
    for client in made:
        client.close()


Step = Callable[[socket.socket], None]


def reply(status: int = 200, body: bytes = b"{}", headers: str = "", length: int | None = None) -> Step:
    """Answer; ``length`` may promise more bytes than come."""

    def step(connection: socket.socket) -> None:
        size = len(body) if length is None else length
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {size}\r\nConnection: close\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)

    return step


def reset(connection: socket.socket) -> None:
    """Cut the connection with RST, after the request was read."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server:
    """Plays one step for each request, the last one again and again; keeps the requests' first lines."""

    def __init__(self, steps: list[Step], tls: ssl.SSLContext | None = None) -> None:
        self.steps, self.tls = steps, tls
        self.seen: list[str] = []
        self.bodies: list[bytes] = []
        self.hold = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def stall(self, _connection: socket.socket) -> None:
        """Say nothing until the test is over."""
        self.hold.wait(30)

    def _run(self) -> None:
        while True:
            try:
                connection, _peer = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        connection = plain
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(plain, server_side=True)
            with connection.makefile("rb") as stream:
                first = stream.readline().decode("latin-1").strip()
                length = 0
                while (line := stream.readline().strip()) != b"":
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                body = stream.read(length)
            if first:
                step = self.steps[min(len(self.seen), len(self.steps) - 1)]
                self.seen.append(first)
                self.bodies.append(body)
                step(connection)
        except (OSError, ssl.SSLError):
            pass  # the client hung up, as it should in some tests
        finally:
            connection.close()

    def close(self) -> None:
        self.hold.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*steps: Step, tls: ssl.SSLContext | None = None) -> Server:
        servers.append(Server(list(steps), tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def steps() -> dict[str, Any]:
    return {"reply": reply, "reset": reset}


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="session")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    """A self-signed certificate for 127.0.0.1, and a server's context with it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(tz=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)
    return cert_file, context
