"""What names say, and names that only look similar."""

import pytest

from zoolet.web.recipes.kinds import Library
from zoolet.web.recipes.names import Role, name_of

HEX = "0123456789abcdef" * 2
UUID = "53345f98-9423-4e0c-a7b5-9f819e3ec2e1"


@pytest.mark.parametrize(
    ("name", "role", "library", "sequence"),
    [
        (f"{HEX}__lock__0000000001", Role.LOCK, Library.KAZOO, 1),
        (f"{HEX}__rlock__0000000002", Role.READ, Library.KAZOO, 2),
        (f"{HEX}__lock__-2147483648", Role.LOCK, Library.KAZOO, -(2**31)),
        (f"{HEX}__lock__-000000001", Role.LOCK, Library.KAZOO, -1),
        (f"_c_{UUID}-__lock__0000000003", Role.LOCK, Library.ZOOLET, 3),
        (f"_c_{UUID}-__rlock__0000000003", Role.READ, Library.ZOOLET, 3),
        (f"_c_{UUID}-lock-0000000004", Role.LOCK, Library.CURATOR, 4),
        (f"_c_{UUID}-lock--2147483648", Role.LOCK, Library.CURATOR, -(2**31)),
        (f"_c_{UUID}-__READ__0000000005", Role.READ, Library.CURATOR, 5),
        (f"_c_{UUID}-__WRIT__2147483647", Role.WRITE, Library.CURATOR, 2**31 - 1),
        (f"_c_{UUID}-latch-0000000006", Role.LATCH, Library.CURATOR, 6),
        (f"_c_{UUID}-lease-0000000007", Role.LEASE, Library.CURATOR, 7),
        (f"_c_{HEX}-lock-0000000008", Role.LOCK, Library.GO, 8),
        (f"{HEX}__party__", Role.PARTY, Library.KAZOO_OR_ZOOLET, 0),
        (f"{HEX}-host-17", Role.SHALLOW_PARTY, Library.KAZOO_OR_ZOOLET, 0),
        (HEX, Role.HEX, Library.KAZOO_OR_ZOOLET, 0),
        (UUID, Role.UUID, Library.CURATOR, 0),
        ("entry-100-0000000009", Role.ITEM, Library.KAZOO_OR_ZOOLET, 9),
        ("queue-0000000010", Role.ITEM, Library.CURATOR, 10),
        ("qn-0000000011", Role.ITEM, Library.CURATOR, 11),
    ],
)
def test_a_name_says_its_role(name: str, role: Role, library: Library, sequence: int) -> None:
    found = name_of(name)
    assert found is not None
    assert (found.role, found.library, found.sequence) == (role, library, sequence)


def test_items_of_curator_have_priorities_times_and_ids() -> None:
    first = name_of("queue-1000000050000000001")
    assert first is not None
    assert (first.priority, first.sequence) == (5, 1)
    second = name_of("queue-0FFFFFFFB0000000001")
    assert second is not None
    assert second.priority == -5
    third = name_of("queue-|0199F2C1A00|0000000001")
    assert third is not None
    assert (third.due_ms, third.label) == (0x0199F2C1A00, "")
    fourth = name_of("queue-|an id|0000000001")
    assert fourth is not None
    assert (fourth.label, fourth.sequence) == ("an id", 1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "lock",
        "lock-0000000001",
        "latch-0000000001",
        "n_0000000001",
        f"{HEX}__lock__000000001",
        f"{HEX}__lock__00000000001",
        f"{HEX}__lock__2147483648",
        f"{HEX}__lock__-2147483649",
        f"{HEX}__lock__0000000001\n",
        f"{HEX}__lock__000000000\u0661",
        f"{HEX}__LOCK__0000000001",
        f"{HEX.upper()}__lock__0000000001",
        f"{HEX}_lock_0000000001",
        f"{HEX[1:]}__lock__0000000001",
        f"x{HEX}__lock__0000000001",
        f"{UUID}__lock__0000000001",
        f"_c_{HEX}-__lock__0000000001",
        f"_c_{HEX}-latch-0000000001",
        f"_c_{UUID}lock-0000000001",
        f"_c_{UUID}-lock0000000001",
        f"_c_{UUID}-__WRITE__0000000001",
        f"{HEX}latch-0000000001",
        f"{HEX}-",
        f"{HEX}__party__0000000001",
        f"{UUID}x",
        "entry-1-0000000001",
        "entry-100-flights:1-0000000001",
        "queue-1",
        "queue-||0000000001",
        "queue-|a|b|0000000001",
        "queue-2000000050000000001",
        "qn-1",
    ],
)
def test_a_name_that_only_looks_similar_says_nothing(name: str) -> None:
    assert name_of(name) is None
