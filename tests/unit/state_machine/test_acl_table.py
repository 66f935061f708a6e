"""What is kept of ACL lists: one object for each, freed with its last znode, checked by look-up."""

import random

import pytest

from zoolet.model.acl import ACL, ANYONE, OPEN_ACL, READ_ONLY_ACL, AclList, Id
from zoolet.model.codes import Permission
from zoolet.state_machine.acl_table import OPEN, AclTable, StoredAcl
from zoolet.state_machine.identities import Identities
from zoolet.state_machine.tree import Tree

ADA_ONLY: AclList = (ACL(31, Id("digest", "ada:x")),)
READ = Permission.READ.value
NOBODY = Identities()


class CountedName(str):
    """A name that counts how often it is compared or hashed."""

    __slots__ = ()
    looks = 0

    def __eq__(self, other: object) -> bool:
        CountedName.looks += 1
        return str.__eq__(self, str(other))

    def __hash__(self) -> int:
        CountedName.looks += 1
        return str.__hash__(self)


@pytest.mark.parametrize("scheme", ["digest", "x509"])
@pytest.mark.parametrize(("last", "is_allowed"), [("last", True), ("none of them", False)])
def test_a_check_does_not_compare_each_entry_with_each_identity(
    scheme: str, last: str, is_allowed: bool
) -> None:
    entries = tuple(ACL(READ, Id(scheme, CountedName(f"e{n}"))) for n in range(5000))
    acl = StoredAcl((*entries, ACL(READ, Id(scheme, CountedName("last")))))
    names = [f"i{n}" for n in range(500)] + [last]
    identities = Identities(Id(scheme, CountedName(name)) for name in names)
    acl.allows(identities, READ)
    CountedName.looks = 0
    for _ in range(20):
        assert acl.allows(identities, READ) is is_allowed
    assert CountedName.looks < 20 * len(names)


def test_networks_are_looked_up_by_the_lengths_of_their_prefixes() -> None:
    entries = [ACL(READ, Id("ip", f"10.{n >> 8}.{n & 255}.0/24")) for n in range(5000)]
    acl = StoredAcl((*entries, ACL(READ, Id("ip", "192.168.0.0/16"))))
    for address, is_allowed in [
        ("10.19.135.200", True),
        ("10.19.136.0", False),
        ("192.168.7.1", True),
        ("192.169.7.1", False),
    ]:
        assert acl.allows(Identities([Id("ip", address)]), READ) is is_allowed
    (allowed,) = acl._allowed.values()
    assert {key: len(found) for key, found in allowed.networks.items()} == {
        (32, 24): 5000,
        (32, 16): 1,
    }


@pytest.mark.parametrize("entries", [OPEN_ACL, (ACL(31, ANYONE),)])
def test_the_open_list_is_one_object_and_in_no_table(entries: AclList) -> None:
    table = AclTable()
    assert table.find_or_add(entries) is OPEN
    assert table.lists == {}


def test_an_empty_list_which_only_a_file_has_allows_everything() -> None:
    assert StoredAcl(()).allows(Identities(), Permission.ADMIN.value)


def grown(*paths: str) -> Tree:
    tree = Tree.fresh()
    for path in paths:
        tree.create(path, "/", b"", ADA_ONLY, 0, -1, 1, 1)
    return tree


def test_equal_lists_are_one() -> None:
    tree = grown("/a", "/b")
    assert tree.acls["/a"] is tree.acls["/b"]
    assert tree.acls["/a"].users == 2
    assert set(tree.acl_table.lists) == {READ_ONLY_ACL, ADA_ONLY}


@pytest.mark.parametrize("last", ["delete", "set another", "set the open one"])
def test_a_list_is_dropped_with_its_last_znode(last: str) -> None:
    tree = grown("/a", "/b")
    tree.delete("/a", "/", 2)
    assert tree.acl_table.lists[ADA_ONLY].users == 1
    if last == "delete":
        tree.delete("/b", "/", 3)
    elif last == "set another":
        tree.set_acl("/b", READ_ONLY_ACL, 1)
    else:
        tree.set_acl("/b", OPEN_ACL, 1)
    assert set(tree.acl_table.lists) == {READ_ONLY_ACL}
    assert tree.acl_table.lists[READ_ONLY_ACL].users == 1 + (last == "set another")


def test_the_same_list_set_again_stays_the_same_object() -> None:
    tree = grown("/a")
    before = tree.acls["/a"]
    tree.set_acl("/a", tuple(ADA_ONLY), 1)
    assert tree.acls["/a"] is before
    assert before.users == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_znodes_that_not_everyone_may_read_are_counted(seed: int) -> None:
    chance = random.Random(seed)
    lists: list[AclList] = [
        OPEN_ACL,
        READ_ONLY_ACL,
        ADA_ONLY,
        (),
        (ACL(Permission.CREATE.value, ANYONE),),
        (*ADA_ONLY, ACL(READ, ANYONE)),
        (ACL(READ, Id("ip", "127.0.0.1")),),
    ]
    tree = Tree.fresh()
    lists_of: dict[str, AclList] = {}
    for zxid in range(1, 400):
        path = f"/n{chance.randrange(12)}"
        entries = chance.choice(lists)
        if path not in lists_of:
            tree.create(path, "/", b"", entries, 0, -1, zxid, 1)
            lists_of[path] = entries
        elif chance.random() < 0.6:
            tree.set_acl(path, entries, zxid)
            lists_of[path] = entries
        else:
            tree.delete(path, "/", zxid)
            del lists_of[path]
        private = [
            found for found in lists_of.values() if not StoredAcl(found).allows(NOBODY, READ)
        ]
        assert tree.acl_table.num_private == len(private)
