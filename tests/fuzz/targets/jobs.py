"""Values of the znodes of a queue, which any program may have written."""

import json
from collections.abc import Callable
from typing import Any

from tests.fuzz.targets.target import Target, text_in
from zoolet.jobs import JobRequest, Limit, QueueSettings
from zoolet.jobs.errors import UnreadableJobError
from zoolet.jobs.records import batches, job_names
from zoolet.jobs.records.batches import BatchRecord
from zoolet.jobs.records.control import Control
from zoolet.jobs.records.datasets import DatasetRecord, decode_groups, encode_groups
from zoolet.jobs.records.dependencies import Dependencies
from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_changes import ChangeRecord
from zoolet.jobs.records.json_values import decode_json
from zoolet.jobs.records.progress import decode_progress
from zoolet.jobs.records.schedules import Schedule
from zoolet.jobs.records.worker_reports import decode_report

_NAME = "entry-005-flights:2008-0000000001"
_NOW_MS = 1_700_000_000_000


def _again(
    decode: Callable[[bytes], Any], encode: Callable[[Any], bytes]
) -> Callable[[bytes], None]:
    """Return a function that decodes the bytes, encodes the result and decodes it again."""

    def run(data: bytes) -> None:
        found = decode(data)
        if found is not None:
            assert decode(encode(found)) == found

    return run


def _job(data: bytes) -> None:
    """The first line is the name of the job's znode, the rest is its value."""
    name, _, value = data.partition(b"\n")
    try:
        job = Job.decode(text_in(name), value, 3)
    except UnreadableJobError as error:
        if job_names.parse(text_in(name)) is not None:
            stand_in = Job.stand_in(text_in(name), value, 3, _NOW_MS, str(error))
            assert Job.decode(stand_in.name, stand_in.encode(), 3) == stand_in
        raise
    assert Job.decode(job.name, job.encode(), 3) == job
    for moved in (job.taken("worker", _NOW_MS), job.waiting(), job.ended_by(_NOW_MS, "reason")):
        assert Job.decode(moved.name, moved.encode(), moved.version) == moved


def _batch_znodes(data: bytes) -> None:
    batches.decode_entry(data)
    batches.decode_chunk("batch", data)


def _groups(data: bytes) -> None:
    groups = decode_groups("flights", data)
    assert [
        group for chunk in encode_groups(groups) for group in decode_groups("flights", chunk)
    ] == (groups)


def _small_values(data: bytes) -> None:
    decode_report(data)
    decode_progress(decode_json(data))


def _seeds_of_jobs() -> tuple[bytes, ...]:
    request = JobRequest(
        "mail:send", "flights", "2008", {"a": 1}, priority=5, tags=["gpu"], limit_key="ada"
    )
    job = Job.draft(request, "submission", _NOW_MS)._replace(name=_NAME)
    jobs = (job, job.taken("worker", _NOW_MS), job.ended_by(_NOW_MS, "reason"))
    return tuple(f"{one.name}\n".encode() + one.encode() for one in jobs)


_DATASET = {
    "loader": "parquet",
    "location": "data/*.parquet",
    "options": {"columns": ["a"]},
    "revision": "0123456789abcdef",
    "chunks": 1,
    "groups": 2,
    "rows": 10,
    "size_bytes": None,
    "created_ms": _NOW_MS,
    "refreshed_ms": _NOW_MS,
}
_SCHEDULE = {
    "cron": "*/5 * * * *",
    "time_zone": "Europe/Berlin",
    "request": {"task": "mail:send"},
    "start_ms": _NOW_MS,
}

TARGETS = {
    "job": Target(_job, (UnreadableJobError,), _seeds_of_jobs()),
    "job-json": Target(decode_json, (ValueError,), (b'{"a": [1, 2.5, "x", null]}',)),
    "job-name": Target(lambda data: job_names.parse(text_in(data)), (), (_NAME.encode(),)),
    "queue-settings": Target(
        _again(QueueSettings.decode, QueueSettings.encode),
        (UnreadableJobError,),
        (QueueSettings(keep_done_ms=1000, acl="world:anyone:r").encode(),),
    ),
    "queue-control": Target(
        Control.decode, (UnreadableJobError,), (b'{"paused": true, "paused_datasets": ["a"]}',)
    ),
    "limit": Target(
        _again(lambda data: Limit.decode("mail", data), Limit.encode),
        (UnreadableJobError,),
        (Limit("mail", per_second=2.5, burst=2, task="mail:send").encode(),),
    ),
    "schedule": Target(
        _again(lambda data: Schedule.decode("nightly", data), Schedule.encode),
        (UnreadableJobError,),
        (json.dumps(_SCHEDULE).encode(),),
    ),
    "dataset": Target(
        _again(lambda data: DatasetRecord.decode("flights", data), DatasetRecord.encode),
        (UnreadableJobError,),
        (json.dumps(_DATASET).encode(),),
    ),
    "groups": Target(
        _groups, (UnreadableJobError,), (b'[["a.csv", "1-2", 10, null, {"from": 0}]]',)
    ),
    "batch": Target(
        _again(lambda data: BatchRecord.decode("batch", data), BatchRecord.encode),
        (UnreadableJobError,),
        (BatchRecord("batch", 3, _NOW_MS, Dependencies(("a", "b"))).encode(),),
    ),
    "batch-znodes": Target(
        _batch_znodes,
        (UnreadableJobError,),
        (f'[["{_NAME}", "NEW"]]'.encode(), f'{{"FAILED": ["{_NAME}"]}}'.encode()),
    ),
    "dependencies": Target(
        _again(lambda data: Dependencies.decode("batch", data), Dependencies.encode),
        (UnreadableJobError,),
        (b"other", Dependencies(("a", "b")).encode()),
    ),
    "change-record": Target(
        ChangeRecord.decode,
        (),
        (b'{"began_ms": 1, "change": "pause", "filter": {"task": "m:f", "until_ms": 5}}',),
    ),
    "reports": Target(
        _small_values,
        (ValueError,),
        (b'{"host": "h", "pid": 1, "done": 1, "total": 2, "note": "n"}',),
    ),
}
