"""What failures with the same cause have in common."""

import pytest

from zoolet.jobs import AttemptError, Job, JobFilter, JobRequest
from zoolet.web.pages.jobs.failures import kind_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("ValueError: no", "ValueError"),
        ("mail.errors.Bounced: x: y", "mail.errors.Bounced"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("it was cancelled at 12:00", "it was cancelled at 12:00"),
        ("<b>\u202e" * 50, ("<b>\u202e" * 50)[:80]),
        (" :", ":"),
        ("", ""),
    ],
)
def test_the_kind_of_an_error_selects_its_jobs(error: str, kind: str) -> None:
    assert kind_of(error) == kind
    job = Job.draft(JobRequest("m:f"), "s", 1)._replace(errors=(AttemptError(1, "w", error),))
    assert JobFilter(error=kind).selects(job)
