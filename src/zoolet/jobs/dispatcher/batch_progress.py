"""The progress of a batch. This module imports `zoolet.jobs.records`."""

from collections.abc import Mapping

from zoolet.jobs.records.progress import Progress
from zoolet.jobs.records.transitions import JobState


class BatchProgress(dict[JobState, int]):
    """The number of jobs in each state.

    Attributes:
        reported: the progress that running jobs have reported (`CurrentJob.progress`), by name.
    """

    def __init__(self, states: Mapping[JobState, int], reported: Mapping[str, Progress]) -> None:
        super().__init__(states)
        self.reported = dict(reported)

    @property
    def share(self) -> float:
        """The share of the batch that is done, from 0 to 1.

        A job that has ended counts as 1, and a running job counts as the share that it has
        reported.
        """
        jobs = sum(self.values())
        ended = self[JobState.SUCCESSFUL] + self[JobState.FAILED]
        shares = sum(progress.share or 0.0 for progress in self.reported.values())
        return (ended + shares) / jobs if jobs else 1.0
