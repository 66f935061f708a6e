"""Relative paths, and what a mirror leaves out."""

import pytest

from zoolet.archive.mirror.records.subtree import Subtree, marker_of, parent_of, subtrees_of


@pytest.mark.parametrize("root", ["/", "/app", "/app/x"])
@pytest.mark.parametrize("relative", ["", "/a", "/a/b"])
def test_relative_paths_and_back(root: str, relative: str) -> None:
    subtree = Subtree(root)
    assert subtree.relative(subtree.absolute(relative)) == relative


def test_the_znodes_of_zookeeper_are_left_out_of_whole_servers() -> None:
    source, target = subtrees_of("/", "/copy")
    assert source.relative("/zookeeper/quota") is None
    assert target.relative("/copy/zookeeper") is None
    assert source.relative("/zookeepers") == "/zookeepers"
    source, _ = subtrees_of("/app", "/copy")
    assert source.relative("/app/zookeeper") == "/zookeeper"


def test_the_marker_is_never_copied() -> None:
    assert marker_of("/app/x") == "/app/zoolet-mirror-x"
    assert marker_of("/app") == "/zoolet-mirror-app"
    _, target = subtrees_of("/app", "/")
    assert target.relative(marker_of("/")) is None
    assert target.relative(f"{marker_of('/')}/owner") is None


def test_parents() -> None:
    assert parent_of("") is None
    assert parent_of("/a") == ""
    assert parent_of("/a/b") == "/a"
