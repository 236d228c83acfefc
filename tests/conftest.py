"""Fixtures for all tests."""

from tests.postgres import fresh_database, postgres, restartable_postgres

__all__ = ["fresh_database", "postgres", "restartable_postgres"]
