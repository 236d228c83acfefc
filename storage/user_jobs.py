"""What is still to be done for users after a change that is made. Owns the table user_jobs."""

from __future__ import annotations

from psycopg2.extensions import cursor as Cursor


def want(tx: Cursor, user_id: str, job: str) -> None:
    """Note that something is to be done; belongs into the transaction that makes it necessary."""
    tx.execute(
        "INSERT INTO user_jobs (user_id, job) VALUES (%s, %s)"
        " ON CONFLICT (user_id, job) DO UPDATE SET revision = user_jobs.revision + 1",
        (user_id, job),
    )


def revision(tx: Cursor, user_id: str, job: str) -> int | None:
    """The revision of what is to be done; None if nothing is."""
    tx.execute("SELECT revision FROM user_jobs WHERE user_id = %s AND job = %s", (user_id, job))
    row = tx.fetchone()
    return None if row is None else int(row[0])


def done(tx: Cursor, user_id: str, job: str, revision: int) -> bool:
    """It is done; False if it was wanted again meanwhile."""
    tx.execute("DELETE FROM user_jobs WHERE user_id = %s AND job = %s AND revision = %s", (user_id, job, revision))
    return tx.rowcount == 1


def every(tx: Cursor) -> list[tuple[str, str]]:
    """User and job of all that is to be done."""
    tx.execute("SELECT user_id, job FROM user_jobs")
    return tx.fetchall()
