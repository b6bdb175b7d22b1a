"""Why a version of the worker has no part in a row of docs/compatibility.md: by its published package.

`REASONS[row, version]` is (reason, file in the package, line, the text at that line).
"""

from support.foreign import packages
from support.workers import VERSIONS

V0_5, V1_6, V1_9, _ = VERSIONS

_JOB = "runpod/serverless/modules/job.py"
_LOOP = "runpod/serverless/pod_worker.py"
_WORKER = "runpod/serverless/worker.py"
_SCALE = "runpod/serverless/modules/rp_scale.py"

_CALLED = (_JOB, 65, "job_output = run_handler(job)")
_ENCODED = (_JOB, 100, "job_data = json.dumps(job_data, ensure_ascii=False)")
_ONE = (_LOOP, 22, "next_job = job.get(worker_life.worker_id)")
_CONFIG = (_LOOP, 33, "job_results = job.run(next_job, config['handler'])")
_NO_GENERATOR = ("what the handler returned is encoded as it is: a generator is no JSON", *_ENCODED)

REASONS = {
    ("aggregated stream", V0_5): _NO_GENERATOR,
    ("generator handler", V0_5): _NO_GENERATOR,
    ("generator raises", V0_5): _NO_GENERATOR,
    ("generator yields an error", V0_5): _NO_GENERATOR,
    ("async handler", V0_5): ("the handler is called and never awaited", *_CALLED),
    ("bytes in the output", V0_5): ("the worker dies of what is no JSON", *_ENCODED),
    ("cancel of an async handler", V0_5): ("it asks for jobs and for nothing else", *_ONE),
    ("concurrency modifier", V0_5): ("it takes a job, runs it, and takes the next", *_ONE),
    ("several jobs in one take", V0_5): ("it takes one job", *_ONE),
    ("fitness check", V0_5): (
        "it begins with its heartbeat: there are no checks",
        _LOOP,
        18,
        "worker_life.heartbeat_ping()",
    ),
    ("handler returns an error and more", V0_5): (
        "of an output with an error, the error alone is kept",
        _JOB,
        74,
        '"error": output["error"]',
    ),
    ("progress updates", V0_5): (
        "the package offers `start` and nothing else",
        "runpod/serverless/__init__.py",
        6,
        "def start(config):",
    ),
    ("refresh_worker", V0_5): ("of the start's configuration it reads the handler alone", *_CONFIG),
    ("refresh_worker in the output", V0_5): ("the output is passed on unread", *_CONFIG),
    ("cancel of an async handler", V1_6): (
        "its loop takes jobs: the stop channel came with 1.10",
        _WORKER,
        108,
        "while job_scaler.is_alive():",
    ),
    ("several jobs in one take", V1_6): (
        "it takes several by asking for one several times",
        _SCALE,
        76,
        "asyncio.create_task(get_job(session, retry=False))",
    ),
    ("fitness check", V1_6): (
        "it begins with its heartbeat: there are no checks",
        _WORKER,
        95,
        "heartbeat.start_ping()",
    ),
    ("generator yields an error", V1_6): (
        "it looks for an error beside the chunk, not in it, and streams it as a chunk",
        _WORKER,
        54,
        "if 'error' in stream_output:",
    ),
    ("refresh_worker", V1_6): (
        "it stops its loop before the result is sent, which is lost",
        _WORKER,
        69,
        "job_scaler.kill_worker()",
    ),
    ("cancel of an async handler", V1_9): (
        "it takes and runs jobs: the stop channel came with 1.10",
        _SCALE,
        132,
        "tasks = [jobtake_task, jobrun_task]",
    ),
}


def text_at(version, file, line):
    """What stands at a line of the package that is installed for the suite."""
    path = packages(f"worker-{version}") / file
    return path.read_text().splitlines()[line - 1].strip()
