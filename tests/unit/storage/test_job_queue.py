"""Work for threads goes to the one that was busy last."""

from __future__ import annotations

import threading
from queue import SimpleQueue

from storage.job_queue import JobQueue


def test_jobs_that_wait_are_taken_in_their_order() -> None:
    jobs: JobQueue[int] = JobQueue()
    for job in range(3):
        jobs.put(job)
    mailbox: SimpleQueue[int] = SimpleQueue()
    assert [jobs.get(mailbox) for _ in range(3)] == [0, 1, 2]


def test_one_after_the_other_all_jobs_go_to_the_same_thread() -> None:
    jobs: JobQueue[str] = JobQueue()
    done: SimpleQueue[str] = SimpleQueue()

    def work() -> None:
        mailbox: SimpleQueue[str] = SimpleQueue()
        while jobs.get(mailbox) != "stop":
            done.put(threading.current_thread().name)

    threads = [threading.Thread(target=work, name=f"worker-{number}") for number in range(3)]
    for thread in threads:
        thread.start()
    busy = set()
    for _ in range(5):
        while jobs.idle < len(threads):
            assert all(thread.is_alive() for thread in threads)
        jobs.put("job")
        busy.add(done.get(timeout=5))
    for _ in threads:
        jobs.put("stop")
    for thread in threads:
        thread.join(timeout=5)
    assert len(busy) == 1
