"""Listeners: what they serve, their limits, how they stop, and TLS. Each test runs a site of its own."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from tests.integration.http_client import request, running_site

C = "/_matrix/client/v3"
SEND = f"{C}/rooms/!a%3Ab/send/m.room.message/t1"


def test_rate_limits_say_when_to_come_back_and_spare_bridges_and_admins(tmp_path: Path) -> None:
    with running_site(tmp_path, rate_limits=True) as limited, limited.connect() as connection:
        for token, expected in (("alice", {200, 429}), ("bridge", {200}), ("admin", {200})):
            statuses = set()
            for _ in range(80):
                connection.send(request("PUT", SEND, b"{}", token))
                answer = connection.answer()
                statuses.add(answer.status)
                if answer.status == 429:
                    assert answer.errcode == "M_LIMIT_EXCEEDED"
                    assert answer.json["retry_after_ms"] > 0
                    assert int(answer.headers["retry-after"]) > 0
            assert statuses == expected


def test_a_listener_serves_what_it_is_for_and_nothing_else(tmp_path: Path) -> None:
    with running_site(tmp_path, serves=["federation"]) as federation:
        assert federation.ask("GET", f"{C}/whoami").status == 404
        assert federation.ask("GET", "/metrics").status == 404
        assert federation.ask("GET", "/_matrix/federation/v1/hello").status == 401
        assert federation.ask("GET", "/health").status == 200


def test_stopping_lets_writes_finish_and_closes_what_waits(tmp_path: Path) -> None:
    with running_site(tmp_path) as stopping:
        idle, reader, writer = stopping.connect(), stopping.connect(), stopping.connect()
        idle.send(request("GET", f"{C}/whoami"))
        idle.answer()
        reader.send(request("GET", f"{C}/sync"))
        writer.send(request("POST", f"{C}/last_write"))
        stopping.wait_for(lambda counts: counts["waiting"] == 2)
        stopping.process.terminate()
        answer = writer.answer()
        assert (answer.status, answer.json, answer.headers["connection"]) == (200, {"written": True}, "close")
        assert reader.is_closed()
        assert idle.is_closed()
        assert stopping.process.wait(20) == 0
        with pytest.raises(ConnectionRefusedError):
            stopping.connect()


def test_tls_and_a_renewed_certificate_need_no_restart(tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    _make_certificate(certificate, key)
    with running_site(tmp_path, _trusting(certificate), certificate=str(certificate), private_key=str(key)) as secure:
        assert secure.ask("GET", f"{C}/whoami").json["user_id"] == "@alice:test"
        assert len(secure.ask("GET", "/_matrix/media/v3/download/20").body) == 20 * 65536
        with secure.connect() as connection:
            connection.send(b"nonsense\r\n\r\n")
            assert connection.answer().status == 400
            assert connection.is_closed()
        _make_certificate(certificate, key)
        with pytest.raises(ssl.SSLCertVerificationError):
            secure.ask("GET", f"{C}/whoami")
        secure._tls = _trusting(certificate)
        assert secure.ask("GET", f"{C}/whoami").status == 200
        assert [line for line in secure.log() if line["level"] == "warning"] == []


def _make_certificate(certificate: Path, key: Path) -> None:
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)


def _trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate))
