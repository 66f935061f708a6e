"""What an ephemeral owner stands for."""

import pytest

from zoolet.model.owner_kinds import CONTAINER_OWNER, MAX_TTL_MS, OwnerKind, owner_of_ttl, ttl_of


@pytest.mark.parametrize(
    ("owner", "kind"),
    [
        (0, OwnerKind.NOBODY),
        (0x0100_0000_0000_0001, OwnerKind.SESSION),
        (-1, OwnerKind.SESSION),
        (CONTAINER_OWNER, OwnerKind.CONTAINER),
        (owner_of_ttl(1), OwnerKind.TTL),
        (owner_of_ttl(MAX_TTL_MS), OwnerKind.TTL),
        (owner_of_ttl(MAX_TTL_MS) + 1, OwnerKind.SESSION),
    ],
)
def test_kinds(owner: int, kind: OwnerKind) -> None:
    assert OwnerKind.of(owner) is kind


def test_the_numbers_are_the_original_s() -> None:
    """EphemeralType: Long.MIN_VALUE, and 0xff00000000000000 with the TTL in its last bytes."""
    assert CONTAINER_OWNER & 0xFFFF_FFFF_FFFF_FFFF == 0x8000_0000_0000_0000
    assert owner_of_ttl(5000) & 0xFFFF_FFFF_FFFF_FFFF == 0xFF00_0000_0000_0000 | 5000
    assert ttl_of(owner_of_ttl(5000)) == 5000
