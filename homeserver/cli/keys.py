"""Makes the secrets that a new server needs: signing key, TLS pair, admin secret. Never overwrites one."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import os
import secrets
import string
from pathlib import Path

from config.settings import Settings


class KeyProblem(Exception):
    """A key is there but of no use; the text says what to do."""


def make_missing(settings: Settings, admin_secret: Path) -> list[Path]:
    """Make those of the server's secrets that are not there yet; answers with what was made."""
    made = []
    if not settings.signing_key.exists():
        write_secret(settings.signing_key, new_signing_key())
        made.append(settings.signing_key)
    for listener in settings.listeners:
        tls = listener.tls
        if tls is None:
            continue
        there = [file for file in (tls.certificate, tls.private_key) if file.exists()]
        if len(there) == 1:
            missing = tls.private_key if there == [tls.certificate] else tls.certificate
            raise KeyProblem(f"{there[0]} is there but {missing} is not: bring the pair together, or name another")
        if not there:
            made += _make_tls_pair(settings.server_name, tls.certificate, tls.private_key)
    if not admin_secret.exists():
        write_secret(admin_secret, secrets.token_urlsafe(32))
        made.append(admin_secret)
    return made


def new_signing_key() -> str:
    """A key in the common format: `ed25519 <key id> <base64 seed>`."""
    key_id = "a_" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(6))
    return f"ed25519 {key_id} {base64.b64encode(os.urandom(32)).decode().rstrip('=')}"


def write_secret(file: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that must not be there yet, whole or not at all, for its owner alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            out.write(text.rstrip("\n") + "\n")
            out.flush()
            os.fsync(out.fileno())
        os.link(unfinished, file)  # fails where the file has come into being meanwhile
    finally:
        unfinished.unlink()


def _make_tls_pair(server_name: str, certificate_file: Path, key_file: Path) -> list[Path]:
    # Loaded here alone: most starts make no certificate, and this library takes its time.
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    host = host_of(server_name)
    try:
        subject: x509.GeneralName = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    now = datetime.datetime.now(datetime.UTC)
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,  # it signs itself, and a test network may trust it as its authority
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([subject]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_secret(key_file, pem.decode())
    write_secret(certificate_file, certificate.public_bytes(serialization.Encoding.PEM).decode(), 0o644)
    return [certificate_file, key_file]


def host_of(server_name: str) -> str:
    """The host in a server name: without port, without brackets."""
    if server_name.startswith("["):
        return server_name[1:].partition("]")[0]
    return server_name.partition(":")[0]
