"""Whose certificates `measure` believes."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mitmthrottle.measure.way import Way, _trust

NOW = datetime.datetime.now(datetime.UTC)
HOST = "a.example"


def certificate(
    subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey,
    *, authority: bool,
) -> x509.Certificate:  # fmt: skip
    """As plain `openssl req -x509` makes one: no key usage."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(authority, None), critical=authority)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=False)
    )
    return builder.sign(by, hashes.SHA256())


def pem(*parts: x509.Certificate | ec.EllipticCurvePrivateKey) -> bytes:
    return b"".join(
        part.public_bytes(serialization.Encoding.PEM)
        if isinstance(part, x509.Certificate)
        else part.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        for part in parts
    )


def handshake(trust: ssl.SSLContext, server_pem: Path) -> None:
    """In memory. Raises what the client raises."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(server_pem)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trust.wrap_bio(down, up, server_hostname=HOST)
    server = serving.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        done = True
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                done = False
        if done:
            return
    raise AssertionError("no end of the handshake")


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """What to trust, and what the server has: an authority and its leaf; a leaf by itself."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = certificate("authority", ca_key, "authority", ca_key, authority=True)
    leaf = certificate(HOST, key, "authority", ca_key, authority=False)
    alone = certificate(HOST, key, HOST, key, authority=False)
    made = {
        "authority": pem(authority), "leaf": pem(leaf, key),
        "alone": pem(alone), "alone with key": pem(alone, key),
    }  # fmt: skip
    found = {}
    for name, content in made.items():
        found[name] = tmp_path / name
        found[name].write_bytes(content)
    return found


def test_a_plain_authority_of_openssl_is_trusted(files: dict[str, Path]) -> None:
    handshake(_trust(Way(cacert=files["authority"])), files["leaf"])


def test_a_servers_own_certificate_is_trusted(files: dict[str, Path]) -> None:
    handshake(_trust(Way(cacert=files["alone"])), files["alone with key"])


def test_nobody_else_is_trusted(files: dict[str, Path]) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(_trust(Way(cacert=files["authority"])), files["alone with key"])
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(_trust(Way()), files["leaf"])
