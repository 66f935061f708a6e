"""The text of a job is the JSON object of its attributes, whatever they are."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from zoolet.jobs.records.job import Job
from zoolet.jobs.records.job_values import AttemptError, AttemptOutput
from zoolet.jobs.records.json_values import EncodedJson
from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import JobState

LEFT_OUT_IF_UNSET = (
    "backoff_ms", "timeout_ms", "not_before_ms", "expires_ms", "batch", "chained", "receives",
    "waits_for",
    "import_since_ms", "import_tries", "import_worker", "soft_timeout_ms", "jitter_percent",
    "source", "tags", "limit_key", "limit", "slots",
    "trace", "signature", "retried_ms", "losses", "progress", "stored", "output",
)  # fmt: skip

texts = st.text(st.characters(), max_size=30)
numbers = st.integers(0, 10**15)
small_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
entries = st.lists(st.tuples(st.integers(0, 20), texts, texts), max_size=2)

jobs = st.builds(
    Job,
    name=texts,
    task=texts,
    dataset=st.none() | texts,
    groupid=st.none() | texts,
    parameters=st.dictionaries(texts, small_json, max_size=3),
    priority=st.integers(0, 999),
    max_attempts=st.integers(1, 20),
    key=texts,
    submission=texts,
    submitted_ms=numbers,
    backoff_ms=numbers,
    timeout_ms=st.none() | numbers,
    not_before_ms=st.none() | numbers,
    expires_ms=st.none() | numbers,
    batch=st.none() | texts,
    chained=st.booleans(),
    receives=st.none() | texts,
    waits_for=st.none() | st.sampled_from(["time", "batch"]),
    import_since_ms=st.none() | numbers,
    import_tries=st.integers(0, 20),
    import_worker=st.none() | texts,
    soft_timeout_ms=st.none() | numbers,
    jitter_percent=st.integers(0, 100),
    source=st.none() | st.dictionaries(texts, small_json, max_size=3),
    tags=st.lists(texts, max_size=3).map(tuple),
    limit_key=st.none() | texts,
    limit=st.none() | texts,
    slots=st.lists(texts, max_size=3).map(tuple),
    trace=st.none() | texts,
    signature=st.none() | texts,
    retried_ms=st.none() | numbers,
    state=st.sampled_from(JobState),
    worker=st.none() | texts,
    attempts=st.integers(0, 20),
    losses=numbers,
    progress=st.none() | st.builds(Progress, numbers, st.none() | numbers, texts),
    errors=entries.map(lambda found: tuple(AttemptError(*one) for one in found)),
    output=entries.map(lambda found: tuple(AttemptOutput(*one) for one in found)),
    result=small_json | small_json.map(lambda value: EncodedJson(json.dumps(value).encode())),
    stored=st.none() | texts,
    cache_hit=st.none() | st.booleans(),
    taken_ms=st.none() | numbers,
    started_ms=st.none() | numbers,
    finished_ms=st.none() | numbers,
    ready_ms=st.none() | numbers,
    version=st.integers(0, 20),
)


def expected(job: Job) -> dict[str, Any]:
    value = job._asdict()
    del value["name"], value["ready_ms"], value["version"]
    for key in LEFT_OUT_IF_UNSET:
        if not value[key]:
            del value[key]
    if job.progress is not None:
        value["progress"] = job.progress._asdict()
    for key in {"tags", "slots"} & value.keys():
        value[key] = list(value[key])
    value["errors"] = [error._asdict() for error in job.errors]
    if job.output:
        value["output"] = [output._asdict() for output in job.output]
    if isinstance(job.result, EncodedJson):
        value["result"] = value.pop("result").decode()  # the last field
    return value


@given(jobs)
def test_the_text_has_the_attributes_in_their_order(job: Job) -> None:
    text = job.encode()
    assert text.isascii()
    assert b"\n" not in text
    assert list(json.loads(text).items()) == list(expected(job).items())


def test_the_text_is_that_of_an_encoder_without_spaces() -> None:
    job = Job("n", "m:f", None, None, {"ä": [1, 2.5, None]}, 5, 3, "k", "s-0", 7, batch="b")
    assert job.encode() == json.dumps(expected(job), separators=(",", ":")).encode()
