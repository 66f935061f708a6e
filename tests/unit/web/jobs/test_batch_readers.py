"""The readers of batches that pages keep: bounded, and apart for each connection."""

from zoolet.web.jobs.batch_readers import BatchReaders


def test_a_reader_belongs_to_a_connection_a_queue_and_a_name() -> None:
    readers = BatchReaders()
    first = readers.of(1, "/jobs/a", "b")
    assert readers.of(1, "/jobs/a", "b") is first
    others = [
        readers.of(2, "/jobs/a", "b"),
        readers.of(1, "/jobs/c", "b"),
        readers.of(1, "/jobs/a", "d"),
    ]
    assert first not in others
    readers.forget(1)
    assert readers.of(1, "/jobs/a", "b") is not first
    assert readers.of(2, "/jobs/a", "b") is others[0]


def test_the_readers_that_were_used_least_recently_are_forgotten() -> None:
    readers = BatchReaders(most_names=10)
    found = [readers.of(1, "/q", str(number)) for number in range(10)]
    readers.limit()
    assert readers.of(1, "/q", "0") is found[0]
    readers.of(1, "/q", "new")
    readers.limit()
    assert readers.of(1, "/q", "1") is not found[1]
    assert readers.of(1, "/q", "0") is found[0]
