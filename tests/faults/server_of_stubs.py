"""A server process without doors: store, queue, stub runner, real output folder. Told what to do by its arguments.

`server_of_stubs.py FOLDER JOBS`: brings the number of jobs up to JOBS, printing each id once it is answered, and ends
when all have ended.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

from tests.jobs_parts import make_plan, make_request
from webui.jobs.instance import lock_data_folder
from webui.jobs.output import OutputFolder
from webui.jobs.queue import JobQueue
from webui.jobs.store import JobStore
from webui.jobs.stub_runner import StubRunner

IMAGES = 4


def main(folder: Path, jobs: int) -> None:
    state = folder / "outputs" / ".easel"
    state.mkdir(parents=True, exist_ok=True)
    with lock_data_folder(state, "http://stub"):
        store = JobStore(f"sqlite:///{state / 'easel.db'}")
        output = OutputFolder(folder / "outputs", state / "temporary")
        queue = JobQueue(store, StubRunner(delay_per_step=0.004), output)
        queue.start()
        print("started", flush=True)
        queue.resume()  # it starts paused after so many crashes
        feeder = threading.Thread(target=feed, args=(queue, jobs), daemon=True)
        feeder.start()
        feeder.join()
        while queue.active() is not None or queue.progress().queued:
            time.sleep(0.02)
        queue.stop()


def feed(queue: JobQueue, jobs: int) -> None:
    for number in range(len(queue.jobs(limit=jobs)), jobs):
        job = queue.submit(make_request(number), make_plan(images=IMAGES, seed=number * 1000))
        print(job.id, flush=True)
        time.sleep(0.02)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
