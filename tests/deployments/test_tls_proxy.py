"""The example of a TLS proxy: nginx takes it, and it leads to where ``up`` listens."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deployments.doctor import UI_PORT
from tasks.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "deployments/tls/nginx.conf").read_text(encoding="utf-8")
PAGE = (ROOT / "docs/how-to/tls.md").read_text(encoding="utf-8")
NAME = "ident-amocrm.clinic.example"
FILES = ("/etc/ssl/certs/ident-amocrm.pem", "/etc/ssl/private/ident-amocrm.key")


def test_it_leads_to_the_ports_of_up_on_this_machine_only() -> None:
    targets = re.findall(r"proxy_pass http://([^;]+);", EXAMPLE)
    pages = Settings.model_fields["data_docs_port"].default
    assert targets == [f"127.0.0.1:{UI_PORT}", f"127.0.0.1:{pages}/"]
    assert EXAMPLE.index("deny all;") < EXAMPLE.index("location /")


def test_the_page_speaks_of_the_same_names_and_files() -> None:
    for text in (NAME, *FILES, "/etc/nginx/conf.d/ident-amocrm.conf"):
        assert text in EXAMPLE
        assert text in PAGE


def test_nginx_takes_it(tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if nginx is None:
        pytest.skip("no nginx here: apt-get install nginx-light")
    written = [tmp_path / "cert.pem", tmp_path / "key.pem"]
    site = EXAMPLE
    for named, path, content in zip(FILES, written, _certificate(), strict=True):
        path.write_bytes(content)
        site = site.replace(named, str(path))
    (tmp_path / "site.conf").write_text(site.replace("listen [::]", "# listen [::]"), encoding="utf-8")
    main = f"pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\nhttp {{ access_log off; include {tmp_path}/site.conf; }}"
    (tmp_path / "nginx.conf").write_text(main, encoding="utf-8")
    done = subprocess.run(
        [nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def _certificate() -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(tz=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    return made.public_bytes(serialization.Encoding.PEM), key.private_bytes(
        serialization.Encoding.PEM, form, plain
    )
