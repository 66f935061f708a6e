"""Which job a worker takes: its own data first, one bounded round, then the first of all."""

import random
from typing import ClassVar

import pytest

from zoolet.jobs.records import job_names
from zoolet.jobs.records.job_names import JobName
from zoolet.jobs.worker.selection import (
    MISSES_IN_A_ROW,
    Affinity,
    Candidate,
    Choice,
    Page,
    WaitingJobs,
)

ROUND_S = 1.0
FLAT = (0, "")


def name_of(text: str) -> str:
    """Return a job's name; ``9 a 1`` is priority, groupid and sequence."""
    priority, groupid, sequence = text.split()
    return f"{job_names.build(int(priority), 'd', groupid)}{int(sequence):010d}"


def waiting_for(*texts: str, now: float = 0.0) -> WaitingJobs:
    waiting = WaitingJobs()
    waiting.list_page(FLAT, map(name_of, texts), now)
    return waiting


def holding(*groupids: str, room: bool = False) -> Affinity:
    return Affinity([("d", groupid) for groupid in groupids], has_room=room, round_s=ROUND_S)


def brief(choice: Choice) -> list[str]:
    return [f"{c.job.priority} {c.job.groupid} {c.job.sequence}" for c in choice.jobs]


def test_the_greater_priority_goes_first_and_then_the_lower_sequence() -> None:
    waiting = waiting_for("5 b 4", "9 a 1", "5 b 3", "7 c 9")
    assert brief(waiting.choose(9, 0.0, Affinity())) == ["9 a 1", "7 c 9", "5 b 3", "5 b 4"]


def test_what_was_chosen_is_not_offered_again() -> None:
    waiting = waiting_for("1 a 1", "1 a 2")
    assert brief(waiting.choose(1, 0.0, Affinity())) == ["1 a 1"]
    assert brief(waiting.choose(1, 0.0, Affinity())) == ["1 a 2"]
    assert waiting.choose(1, 0.0, Affinity()) == Choice([], None)


def test_a_job_that_was_set_aside_is_not_offered_as_long_as_it_is_listed() -> None:
    waiting = waiting_for("9 a 1", "1 a 2")
    [first] = waiting.choose(1, 0.0, Affinity()).jobs
    waiting.set_aside(first)
    waiting.list_page(FLAT, map(name_of, ("9 a 1", "1 a 2")), 1.0)
    assert brief(waiting.choose(2, 1.0, Affinity())) == ["1 a 2"]
    assert not waiting.has_candidates(FLAT)
    waiting.list_page(FLAT, (), 2.0)
    waiting.list_page(FLAT, map(name_of, ("9 a 1",)), 3.0)
    assert brief(waiting.choose(2, 3.0, Affinity())) == ["9 a 1"]


def test_a_worker_that_holds_nothing_takes_the_first_at_once_and_then_what_it_will_hold() -> None:
    waiting = waiting_for("1 a 1", "9 b 2", "1 b 3")
    assert brief(waiting.choose(2, 0.0, holding())) == ["9 b 2", "1 b 3"]


def test_held_data_goes_before_priority() -> None:
    waiting = waiting_for("9 b 1", "1 a 2", "2 a 3")
    assert brief(waiting.choose(1, 0.0, holding("a"))) == ["2 a 3"]


def test_the_first_of_all_is_passed_over_for_no_longer_than_a_round() -> None:
    waiting = waiting_for("9 b 0", "9 c 1", *(f"1 a {number}" for number in range(2, 9)))
    assert brief(waiting.choose(1, 0.5, holding("a"))) == ["1 a 2"]
    assert brief(waiting.choose(2, 1.0, holding("a"))) == ["9 b 0", "1 a 3"]
    # The next one has waited for as long, but its turn of being passed over begins now.
    assert brief(waiting.choose(1, 1.9, holding("a"))) == ["1 a 4"]
    assert brief(waiting.choose(1, 2.0, holding("a"))) == ["9 c 1"]


@pytest.mark.parametrize(("room", "due"), [(False, 1.0), (True, 0.5)])
def test_without_a_job_of_held_data_the_first_is_taken_after_a_round(
    *, room: bool, due: float
) -> None:
    waiting = waiting_for("1 b 1", "9 c 2")
    assert waiting.choose(1, due - 0.1, holding("a", room=room)) == Choice([], due)
    assert brief(waiting.choose(2, due, holding("a", room=room))) == ["9 c 2", "1 b 1"]


def test_a_job_that_comes_meanwhile_is_taken_at_once_where_its_data_is_held() -> None:
    waiting = waiting_for("9 b 1")
    assert waiting.choose(1, 0.5, holding("a")) == Choice([], 1.0)
    waiting.list_page(FLAT, map(name_of, ("9 b 1", "1 a 2")), 0.6)
    assert brief(waiting.choose(1, 0.6, holding("a"))) == ["1 a 2"]


def test_a_worker_whose_jobs_never_find_their_data_waits_for_none() -> None:
    waiting = waiting_for("1 b 1")
    for _ in range(MISSES_IN_A_ROW - 1):
        waiting.note(cache_hit=False)
    assert waiting.choose(1, 0.0, holding("a")).jobs == []
    waiting.note(cache_hit=False)
    assert brief(waiting.choose(1, 0.0, holding("a"))) == ["1 b 1"]
    waiting.note(cache_hit=True)
    waiting.list_page(FLAT, [name_of("1 c 2")], 0.0)
    assert waiting.choose(1, 0.0, holding("a")).jobs == []


def test_without_affinity_the_first_of_all_is_taken() -> None:
    waiting = waiting_for("9 b 1", "1 a 2")
    assert brief(waiting.choose(1, 0.0, Affinity([("d", "a")], round_s=0.0))) == ["9 b 1"]


def test_a_job_that_is_gone_is_not_offered_and_one_that_stays_keeps_its_time() -> None:
    waiting = waiting_for("9 b 1", "8 b 2")
    waiting.list_page(FLAT, [name_of("8 b 2")], 0.9)
    assert brief(waiting.choose(2, 1.0, holding("a"))) == ["8 b 2"]


def test_pages_are_seen_together_and_shards_rank() -> None:
    waiting = WaitingJobs(lambda shard: -shard)
    waiting.list_page((0, "005-000001"), [name_of("5 a 1")], 0.0)
    waiting.list_page((1, "005-000001"), [name_of("5 b 2"), name_of("5 b 3")], 0.0)
    waiting.list_page((0, "009-000002"), [name_of("9 c 4")], 0.0)
    assert brief(waiting.choose(3, 0.0, Affinity())) == ["9 c 4", "5 b 2", "5 b 3"]
    waiting.drop_page((0, "005-000001"))
    assert waiting.choose(1, 0.0, Affinity()).jobs == []


def test_a_paused_dataset_is_passed_over_until_it_is_allowed() -> None:
    waiting = waiting_for("9 a 1", "1 a 2")
    assert waiting.choose(2, 0.0, Affinity(), lambda _: False) == Choice([], None)
    waiting.unpause()
    assert len(waiting.choose(2, 0.0, Affinity()).jobs) == 2


def test_a_job_that_was_put_back_keeps_its_place_and_time() -> None:
    waiting = waiting_for("9 b 1", "8 b 2")
    [first] = waiting.choose(1, 0.0, holding()).jobs
    waiting.put_back(first)
    assert brief(waiting.choose(1, 1.0, holding("a"))) == ["9 b 1"]


def test_many_jobs_that_come_and_go_leave_nothing_behind() -> None:
    waiting = WaitingJobs()
    for number in range(200):
        waiting.list_page(FLAT, [name_of(f"1 g{number} {n}") for n in range(100)], 0.0)
    assert len(waiting) == 100
    assert len(waiting._order) < 3000
    assert len(waiting._by_group) < 50
    assert len(waiting.choose(1000, 0.0, Affinity()).jobs) == 100


def test_the_oldest_job_of_a_shard_is_taken_whatever_its_priority_and_data() -> None:
    waiting = WaitingJobs()
    waiting.keep_ages(wanted=True)
    waiting.list_page((0, "009-000002"), [name_of("9 a 7"), name_of("9 a 5")], 0.0)
    waiting.list_page((0, "001-000001"), [name_of("1 b 6"), name_of("1 b 4")], 0.0)
    waiting.list_page((1, "001-000001"), [name_of("1 c 1")], 0.0)
    oldest = [waiting.take_oldest(0) for _ in range(5)]
    assert [one.job.sequence for one in oldest if one is not None] == [4, 5, 6, 7]
    assert brief(waiting.choose(9, 0.0, Affinity())) == ["1 c 1"]


def test_a_job_that_was_chosen_by_its_priority_is_not_the_oldest_any_more() -> None:
    waiting = waiting_for("9 a 1", "1 a 2", "1 a 3")
    assert waiting.take_oldest(0) is None, "the ages are not kept"
    waiting.keep_ages(wanted=True)
    [first] = waiting.choose(1, 0.0, Affinity()).jobs
    oldest = waiting.take_oldest(0)
    assert oldest is not None
    assert oldest.job.sequence == 2
    waiting.put_back(first)
    oldest = waiting.take_oldest(0)
    assert oldest is not None
    assert oldest.job.sequence == 1


def test_the_ages_of_jobs_that_come_and_go_leave_nothing_behind() -> None:
    waiting = WaitingJobs()
    waiting.keep_ages(wanted=True)
    for number in range(200):
        waiting.list_page(FLAT, [name_of(f"1 g{number} {n}") for n in range(100)], 0.0)
    assert sum(map(len, (waiting._by_age or {}).values())) == waiting._ages < 3000
    waiting.keep_ages(wanted=False)
    assert waiting._ages == 0


class Model:
    """The jobs on offer in a view, without an index; does random steps in the view and in itself.

    A name is always on the same page, as the number of its page is part of its sequence.
    """

    pages: ClassVar[list[Page]] = [(0, "009-000001"), (0, "005-000002"), (1, "")]

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.waiting = WaitingJobs()
        self.offered: dict[JobName, Page] = {}
        self.refused: dict[JobName, Page] = {}
        self.chosen: list[Candidate] = []
        self.paused: set[str] = set()
        self.keeps_ages = False

    def list_page(self) -> None:
        number = self.chance.randrange(len(self.pages))
        page = self.pages[number]
        sequences = {1000 * number + self.chance.randrange(30) for _ in range(20)}
        names = [f"{job_names.build(n % 3, f'd{n % 2}', str(n % 4))}{n:010d}" for n in sequences]
        self.waiting.list_page(page, [*names, "not a job"], 0.0)
        listed = {job: page for job in map(job_names.parse, names) if job is not None}
        self.refused = {j: at for j, at in self.refused.items() if at != page or j in listed}
        self.offered = {j: at for j, at in self.offered.items() if at != page}
        self.offered |= {job: page for job in listed if job not in self.refused}
        self.chosen = [one for one in self.chosen if one.page != page]

    def choose(self) -> None:
        count = self.chance.randrange(1, 12)
        found = self.waiting.choose(count, 0.0, Affinity(), self.allows)
        ordered = sorted(self.offered, key=lambda job: job.order)
        expected = [job for job in ordered if self.allows(job.dataset)][:count]
        assert [one.job for one in found.jobs] == expected
        # The view finds out that a job is paused when this job is the first one.
        passed = ordered if len(expected) < count else ordered[: ordered.index(expected[-1])]
        for job in [job for job in passed if not self.allows(job.dataset)]:
            self.refused[job] = self.offered.pop(job)
        for job in expected:
            del self.offered[job]
        self.chosen += found.jobs

    def keep_ages(self) -> None:
        self.keeps_ages = not self.keeps_ages
        self.waiting.keep_ages(wanted=self.keeps_ages)

    def take_oldest(self) -> None:
        shard = self.chance.randrange(2)
        found = self.waiting.take_oldest(shard, self.allows)
        aged = [job for job, page in self.offered.items() if page[0] == shard]
        ordered = sorted(aged, key=lambda job: job.sequence) if self.keeps_ages else []
        expected = next((job for job in ordered if self.allows(job.dataset)), None)
        assert (found.job if found is not None else None) == expected
        passed = ordered if expected is None else ordered[: ordered.index(expected)]
        for job in passed:
            self.refused[job] = self.offered.pop(job)
        if found is not None:
            del self.offered[found.job]
            self.chosen.append(found)

    def allows(self, dataset: str) -> bool:
        return dataset not in self.paused

    def put_back(self) -> None:
        if self.chosen:
            one = self.chosen.pop(self.chance.randrange(len(self.chosen)))
            self.waiting.put_back(one)
            self.offered[one.job] = one.page

    def drop_page(self) -> None:
        page = self.chance.choice(self.pages)
        if self.waiting.size_of(page):
            self.waiting.drop_page(page)
            self.offered = {job: at for job, at in self.offered.items() if at != page}
            self.refused = {job: at for job, at in self.refused.items() if at != page}
            self.chosen = [one for one in self.chosen if one.page != page]

    def pause(self) -> None:
        self.paused ^= {self.chance.choice(["d0", "d1"])}

    def unpause(self) -> None:
        self.waiting.unpause()
        self.offered |= self.refused
        self.refused.clear()

    def check(self) -> None:
        for page in self.pages:
            assert self.waiting.has_candidates(page) == (page in self.offered.values())
        assert len(self.waiting) == len(self.offered) + len(self.refused)


@pytest.mark.parametrize("seed", range(30))
def test_the_view_is_that_of_a_simple_model(seed: int) -> None:
    chance = random.Random(seed)
    model = Model(chance)
    steps = [model.list_page, model.choose, model.put_back, model.drop_page, model.pause]
    steps += [model.keep_ages, model.take_oldest, model.take_oldest]
    for _ in range(300):
        chance.choice([*steps, model.list_page, model.choose, model.unpause])()
        model.check()
