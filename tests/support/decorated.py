"""The module ``decorated_tasks``, with tasks of the decorator, for tests with real workers."""

from pathlib import Path

TASKS = '''
import asyncio
import time
from pathlib import Path

from zoolet.jobs import Retry, SoftTimeoutError, current_job, task

def load(dataset, groupid):
    return [5, 20, int(groupid)]

@task
def add(a: int, b: int = 2) -> int:
    return a + b

@task(dataset="flights", groupid="{month}")
def count_late(delays: list[int], month: int, *, minutes: int) -> int:
    return sum(delay > minutes for delay in delays)

def attempts_of(directory: str, number: int) -> int:
    """Record an attempt in a file of its own, and return the number of attempts until now."""
    made = len(list(Path(directory).glob(f"{number}-*"))) + 1
    (Path(directory) / f"{number}-{made}").touch()
    return made

@task(max_attempts=5, backoff_ms=20, jitter_percent=50, retry_for=OSError)
def unreliable(directory: str, number: int, failures: int, is_final: bool = False) -> int:
    made = attempts_of(directory, number)
    if made <= failures:
        raise ValueError("is final") if is_final else OSError("is retried")
    return made

@task(max_attempts=20)
def patient(directory: str, number: int, tries: int) -> int:
    made = attempts_of(directory, number)
    if made < tries:
        raise Retry("not yet", in_s=0.02)
    return made

@task(soft_timeout_ms=50, timeout_ms=60_000)
def slow() -> str:
    try:
        time.sleep(600)
    except SoftTimeoutError:
        return "saved"

@task(soft_timeout_ms=50, timeout_ms=1000, max_attempts=1)
def stubborn() -> None:
    while True:
        try:
            time.sleep(600)
        except SoftTimeoutError:
            pass

@task
def report(pipe: str, steps: int) -> int:
    """Report a step for each line that a test writes into a named pipe."""
    job = current_job()
    job.progress(0, steps, "begun")
    with open(pipe) as lines:
        for number, line in enumerate(lines, 1):
            job.progress(number, steps, line.strip())
    return steps

@task
def count_up(steps: int) -> int:
    for number in range(steps + 1):
        current_job().progress(number, steps)
        time.sleep(0.02)
    return steps

@task(batch=8, batch_wait_ms=10_000, retry_for=OSError, max_attempts=5)
def together(items: list[int]) -> list[list[int] | Exception]:
    seen.extend(items)
    return [
        ValueError("final") if item < 0
        else OSError("again") if seen.count(item) < 2 and item % 2
        else [item, len(items)]
        for item in items
    ]

seen: list[int] = []

@task
async def meet(count: int) -> int:
    """Return when ``count`` attempts are here at the same time."""
    state["here"] += 1
    state.setdefault("all", asyncio.Event())
    if state["here"] == count:
        state["all"].set()
    await state["all"].wait()
    return count

state = {"here": 0}

@task
async def wait_until_cancelled(file: str) -> None:
    Path(file).touch()
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        Path(file + ".cancelled").touch()
        raise

@task
async def add_later(a: int, b: int = 2) -> int:
    await asyncio.sleep(0.02)
    [name] = add.with_options(idempotency_key=f"{a}").submit(a, b).names
    print(name)
    return a + b

@task
def submit_more(number: int, count: int) -> list[str]:
    """Submit jobs; return their names, and the identity of the dispatcher's session."""
    keyed = [add.with_options(idempotency_key=f"{number}-{n}") for n in range(count)]
    batches = [one.submit(number, n) for n, one in enumerate(keyed)]
    return [*(name for batch in batches for name in batch.names), str(id(current_job().dispatcher))]
'''


def write_decorated_tasks(directory: Path) -> None:
    """Write the module."""
    (directory / "decorated_tasks.py").write_text(TASKS)
