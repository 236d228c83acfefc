"""Work that a change to an account brings with it, done soon after, and after a crash done at the next start.

The transaction of the change notes the job (`want`); whoever made the change says `begin` once it is committed. A job
bears being done twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from twisted.internet.defer import CancelledError

from homeserver.runtime.clock import Clock
from homeserver.runtime.tasks import Tasks
from homeserver.web.errors import MatrixError
from storage import user_jobs as job_table
from storage.database import Cursor, Database

SHOW_PROFILE: Final = "show_profile"
LEAVE_ROOMS: Final = "leave_rooms"

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0

log: Final = structlog.get_logger("homeserver.users")

Work = Callable[[str], Awaitable[object]]
"""Does the job for a user; raises where it has to be tried again."""


class UserJobs:
    """Does the jobs, one at a time for each user and kind."""

    def __init__(self, database: Database, tasks: Tasks, clock: Clock) -> None:
        self._database = database
        self._tasks = tasks
        self._clock = clock
        self._work: Mapping[str, Work] = {}
        self._again: dict[tuple[str, str], bool] = {}
        """What is being done now, and whether it was wanted once more meanwhile."""

    async def start(self, work: Mapping[str, Work]) -> None:
        """Begin, with what an earlier run of the server has left over. `work` says how each kind of job is done."""
        self._work = work
        for user_id, job in await self._database.read(job_table.every):
            self.begin(user_id, job)

    @staticmethod
    def want(tx: Cursor, user_id: str, job: str) -> None:
        """Note a job in the transaction that makes it necessary."""
        job_table.want(tx, user_id, job)

    def begin(self, user_id: str, job: str) -> None:
        """Do a job that was noted, beside the requests."""
        if job not in self._work:
            return  # before the start, which finds it in the table
        key = (user_id, job)
        if key in self._again:
            self._again[key] = True
            return
        self._again[key] = False
        self._tasks.start(f"{job} of {user_id}", self._until_done(user_id, job))

    async def _until_done(self, user_id: str, job: str) -> None:
        pause_s = FIRST_PAUSE_S
        key = (user_id, job)
        try:
            while True:
                self._again[key] = False
                try:
                    is_done = await self._once(user_id, job)
                except CancelledError:
                    raise
                except Exception as failure:  # it is tried again
                    told = {"user": user_id, "job": job, "pause_s": pause_s}
                    if isinstance(failure, MatrixError):
                        log.warning("a user's job is put off", reason=failure.message, **told)
                    else:
                        log.exception("a user's job failed and will be tried again", **told)
                    await self._clock.sleep(pause_s)
                    pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                    continue
                if is_done and not self._again[key]:
                    return
        finally:
            del self._again[key]

    async def _once(self, user_id: str, job: str) -> bool:
        """Do it; False if it was wanted again meanwhile."""
        revision = await self._database.read(job_table.revision, user_id, job)
        if revision is None:
            return True
        await self._work[job](user_id)
        return await self._database.write(job_table.done, user_id, job, revision)
