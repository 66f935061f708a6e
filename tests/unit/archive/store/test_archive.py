"""An archive in a store: its identity, its key, and the contents of its objects."""

from pathlib import Path

import pytest

from tests.unit.archive.format.test_log_records import CONTENT, TXNS
from zoolet.archive.errors import ArchiveError, DamagedObjectError
from zoolet.archive.format.encryption import Key
from zoolet.archive.format.names import SegmentName, TimelineName
from zoolet.archive.format.records import Reason, Timeline
from zoolet.archive.store.archive import Archive
from zoolet.archive.store.store import Store

KEY = Key("0123456789abcdef", bytes(range(32)))
FIRST = Timeline(0, Reason.START, None, 1000, 0)
SEGMENT = SegmentName(1, 0, TXNS[-1].header.zxid, 1001, 1000 + TXNS[-1].header.zxid)


def test_an_archive_is_created_once(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new"))
    with pytest.raises(ArchiveError, match="is not an archive"):
        Archive.open(store)
    created = Archive.open_or_create(store)
    assert Archive.open_or_create(store).identity == created.identity
    assert Archive.open(store).identity == created.identity


def test_a_folder_with_other_files_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("not an archive")
    with pytest.raises(ArchiveError, match=r"letter\.txt"):
        Archive.open_or_create(Store(str(tmp_path)))


def test_the_key_must_be_the_one_of_the_archive(tmp_path: Path) -> None:
    url = str(tmp_path)
    Archive.open_or_create(Store(url, KEY))
    Archive.open(Store(url, KEY))
    for wrong in (None, Key("another", bytes(32))):
        with pytest.raises(ArchiveError, match="--key-file"):
            Archive.open(Store(url, wrong))


def test_an_archive_without_encryption_takes_no_key(tmp_path: Path) -> None:
    Archive.open_or_create(Store(str(tmp_path)))
    with pytest.raises(ArchiveError, match="is not encrypted"):
        Archive.open(Store(str(tmp_path), KEY))


def test_the_catalog_and_the_txns_come_back(tmp_path: Path) -> None:
    archive = Archive.open_or_create(Store(str(tmp_path), KEY))
    archive.store.write(str(TimelineName(1)), [FIRST.encode()])
    archive.store.write(str(SEGMENT), [CONTENT])
    catalog = archive.catalog()
    assert catalog.lines[0].timeline == FIRST
    assert catalog.lines[0].segments == [SEGMENT]
    assert b"".join(txn.encoded for txn in archive.txns(SEGMENT)) == CONTENT


@pytest.mark.parametrize(
    "wrong",
    [
        SEGMENT._replace(last_zxid=SEGMENT.last_zxid + 1),
        SEGMENT._replace(after_zxid=1),
        SEGMENT._replace(first_ms=5),
        SEGMENT._replace(last_ms=5),
    ],
)
def test_a_segment_with_other_txns_than_its_name_says_is_damaged(
    tmp_path: Path, wrong: SegmentName
) -> None:
    archive = Archive.open_or_create(Store(str(tmp_path)))
    archive.store.write(str(wrong), [CONTENT])
    with pytest.raises(DamagedObjectError):
        list(archive.txns(wrong))
