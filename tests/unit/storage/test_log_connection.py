"""Which hosts are looked up before the log connects."""

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from storage.log_connection import has_named_host, with_addresses


def test_only_names_are_looked_up() -> None:
    assert has_named_host("postgresql://myelin@db.example/myelin")
    for dsn in (
        "dbname=x",
        "host=/run/postgresql",
        "host=127.0.0.1",
        "host=::1",
        "host=a,b",
        "host=a hostaddr=10.0.0.1",
    ):
        assert not has_named_host(dsn)


def test_every_address_of_a_host_is_tried() -> None:
    found = parse_dsn(with_addresses("host=localhost port=5433 dbname=x"))
    addresses = found["hostaddr"].split(",")
    assert "127.0.0.1" in addresses
    assert found["host"].split(",") == ["localhost"] * len(addresses)
    assert (found["port"], found["dbname"]) == ("5433", "x")


def test_a_host_without_an_address_is_an_error_of_the_connection() -> None:
    with pytest.raises(psycopg2.OperationalError, match="nowhere.invalid"):
        with_addresses("host=nowhere.invalid")
