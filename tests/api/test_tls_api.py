"""TLS by configuration: spoken, renewed without a restart, told of before it ends, refused where it is wrong."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from farmd.api import Auth, Certificate, HttpServer, create_app, keep_fresh
from farmd.api import tls as tls_module
from farmd.cli.farmctl import farmctl
from farmd.model.errors import ConfigError

PEM = serialization.Encoding.PEM


def write_pair(
    folder: Path, name: str = "farm", *, days: float = 365.0, password: bytes = b""
) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    cert = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    lock = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    for path, content in (
        (cert_file, cert.public_bytes(PEM)),
        (key_file, key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, lock)),
    ):
        # As a tool that renews does it: a new file in the place of the old one.
        fresh = path.with_suffix(".new")
        fresh.write_bytes(content)
        fresh.replace(path)
    return cert_file, key_file


async def test_https_and_a_new_certificate_without_a_restart(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tls_module, "LOOK_S", 0.05)
    cert, key = write_pair(tmp_path)
    certificate = Certificate(cert, key)
    app = create_app(
        shop.service, auth=Auth(shop.service.ledger), max_upload_bytes=1_000_000, certificate=certificate
    )
    server = HttpServer(app, "127.0.0.1", 0, tls=certificate.context)
    await server.start()
    renewing = asyncio.create_task(keep_fresh(certificate))
    assert server.url.startswith("https://")
    headers = {"Authorization": shop.client.headers["Authorization"]}

    async def ask() -> httpx.Response:
        trust = ssl.create_default_context(cafile=cert)
        async with httpx.AsyncClient(base_url=server.url, headers=headers, verify=trust) as client:
            return await client.get("/metrics")

    assert f"farmd_tls_certificate_end_seconds {certificate.ends_at!r}" in (await ask()).text
    with pytest.raises(httpx.RemoteProtocolError):
        async with httpx.AsyncClient() as plain:
            await plain.get(server.url.replace("https:", "http:") + "/healthz")

    secret = headers["Authorization"].removeprefix("Bearer ")
    call = ["whoami", "--url", server.url, "--token", secret]
    assert await asyncio.to_thread(farmctl, [*call, "--ca", str(cert)]) == 0
    monkeypatch.setenv("FARMCTL_CA", str(cert))
    assert await asyncio.to_thread(farmctl, call) == 0
    monkeypatch.delenv("FARMCTL_CA")
    assert await asyncio.to_thread(farmctl, call) == 2
    assert await asyncio.to_thread(farmctl, [*call, "--ca", str(key)]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in told] == ["error untrusted-certificate"] * 2

    before = certificate.ends_at
    write_pair(tmp_path, days=20)
    for _ in range(200):
        if certificate.ends_at != before:
            break
        await asyncio.sleep(0.05)
    assert (await ask()).status_code == 200, "the new one is trusted, so it is the one that is shown"
    key.write_text("broken")
    await asyncio.sleep(0.3)
    assert (await ask()).status_code == 200, "a pair that is wrong does not take the place of a good one"
    renewing.cancel()
    await server.stop()


async def test_a_certificate_that_ends_soon_is_told_of(tmp_path: Path) -> None:
    certificate = Certificate(*write_pair(tmp_path, days=29.5))
    with structlog.testing.capture_logs() as logs:
        watching = asyncio.create_task(keep_fresh(certificate))
        await asyncio.sleep(0.2)
        watching.cancel()
    assert logs == [{"event": "certificate ends soon", "ends_in_days": 29, "log_level": "warning"}]


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("no cert", "No such file"),
        ("no key", "No such file"),
        ("other key", "do not belong together"),
        ("no pem", "no PEM"),
        ("password", "wants a password"),
        ("swapped", "no PEM"),
    ],
)
def test_what_cannot_be_used_is_refused_clearly(tmp_path: Path, case: str, said: str) -> None:
    cert, key = write_pair(tmp_path, password=b"secret" if case == "password" else b"")
    match case:
        case "no cert":
            cert.unlink()
        case "no key":
            key.unlink()
        case "other key":
            other = tmp_path / "other"
            other.mkdir()
            key = write_pair(other)[1]
        case "no pem":
            cert.write_text("certainly not")
        case "swapped":
            cert, key = key, cert
    with pytest.raises(ConfigError) as told:
        Certificate(cert, key)
    assert told.value.code.name == "tls-unusable"
    assert said in told.value.what
    assert str(tmp_path) in told.value.where
