"""Decodes the messages of an executor's process about the outcomes of attempts and its groups.

The code of a task may have written a message, so every field is checked. This module imports
`zoolet.jobs.records` and other modules of its package.
"""

from zoolet.jobs.execution.attempts import Outcome
from zoolet.jobs.execution.messages import Message, MessageError
from zoolet.jobs.records.job_names import Group
from zoolet.jobs.records.job_values import TIMEOUT_LIMIT_MS
from zoolet.jobs.records.json_values import EncodedJson


def groups_in(value: object) -> set[Group]:
    """Return the groups that a message lists.

    Raises:
        MessageError: the value is not a list of groups.
    """
    groups = value if isinstance(value, list) else None
    if groups is None or any(
        not isinstance(group, list) or len(group) != 2 or not all(isinstance(p, str) for p in group)
        for group in groups
    ):
        raise MessageError(f"{value!r:.80} is not a list of groups")
    return {(group[0], group[1]) for group in groups}


def outcome_of(message: Message, last_lines: str) -> Outcome:
    """Return the outcome in the message about the end of an attempt."""
    if message.attached:
        return Outcome(EncodedJson(message.attached), last_lines=last_lines)
    error, details = message.fields.get("error"), message.fields.get("details") or ""
    return Outcome(
        error=str(error),
        details=str(details),
        last_lines=last_lines,
        is_task_missing=message.fields.get("is_task_missing") is True,
        is_final=message.fields.get("is_final") is True,
        retry_in_ms=_retry_in_ms(message.fields.get("retry_in_ms")),
    )


def _retry_in_ms(value: object) -> int | None:
    """Return the delay that a task has chosen; None if the value is not a valid delay."""
    return value if type(value) is int and 0 <= value <= TIMEOUT_LIMIT_MS else None
