"""The output of ``zkSnapShotToolkit.sh``: details of a snapshot as text, or as JSON for ncdu.

Source: ``SnapshotFormatter`` of Apache ZooKeeper 3.9; the JSON format is
https://dev.yorhel.nl/ncdu/jsonfmt.
"""

import base64
import json
from collections import Counter
from collections.abc import Iterator

from zoolet.data.json_form import show_time
from zoolet.model.numbers import hex64
from zoolet.model.owner_kinds import OwnerKind
from zoolet.state_machine.lifetimes import owner_of
from zoolet.state_machine.tree import Tree
from zoolet.state_machine.znode import Znode
from zoolet.storage.snapshots import Snapshot

_FIRST_INODE = 1001


def detail_lines(snapshot: Snapshot, zxid: int, *, has_data: bool) -> Iterator[str]:
    """Yield the lines about each znode and session; ``zxid`` is the zxid in the file's name."""
    tree, last_zxid = snapshot.tree, zxid
    yield f"ZNode Details (count={len(tree)}):"
    ephemerals: Counter[int] = Counter()
    for path, node in _depth_first(tree):
        stat = node.stat
        owner = owner_of(tree, path, stat)
        if owner and OwnerKind.of(owner) is OwnerKind.SESSION:
            ephemerals[owner] += 1
        last_zxid = max(last_zxid, stat.mzxid, stat.pzxid)
        data = node.data or b""
        yield from (
            "----",
            json.dumps(path, ensure_ascii=False)[1:-1],
            f"  cZxid = {stat.czxid:#016x}",
            f"  ctime = {show_time(stat.ctime)}",
            f"  mZxid = {stat.mzxid:#016x}",
            f"  mtime = {show_time(stat.mtime)}",
            f"  pZxid = {stat.pzxid:#016x}",
            f"  cversion = {stat.cversion}",
            f"  dataVersion = {stat.version}",
            f"  aclVersion = {stat.aversion}",
            f"  ephemeralOwner = 0x{hex64(owner):0>14}",
            f"  data = {base64.b64encode(data).decode()}"
            if has_data
            else f"  dataLength = {len(data)}",
        )
    yield "----"
    yield "Session Details (sid, timeout, ephemeralCount):"
    for session_id, timeout_ms in snapshot.sessions.items():
        shown_id = f"0x{hex64(session_id):0>14}"
        yield f"{shown_id}, {timeout_ms}, {ephemerals[session_id]}"
    yield "----"
    yield f"Last zxid: 0x{last_zxid:x}"


def ncdu_json(tree: Tree, time_ms: int) -> Iterator[str]:
    """Yield the parts of one JSON value: the znodes as directories and files, with their sizes."""
    header = {"progname": "zkSnapShotToolkit.sh", "progver": "0.01", "timestamp": time_ms}
    yield f"[1,0,{json.dumps(header)}"
    open_depths: list[int] = []
    for inode, (path, node) in enumerate(_depth_first(tree), _FIRST_INODE):
        depth = 0 if path == "/" else path.count("/")
        while open_depths and open_depths[-1] >= depth:
            open_depths.pop()
            yield "]"
        size_bytes = len(node.data or b"")
        name = path.rpartition("/")[2] or path
        shown = {"name": name, "asize": size_bytes, "dsize": size_bytes, "dev": 0, "ino": inode}
        yield f",{'[' if node.names else ''}{json.dumps(shown)}"
        if node.names:
            open_depths.append(depth)
    yield "]" * len(open_depths) + "]"


def _depth_first(tree: Tree) -> Iterator[tuple[str, Znode]]:
    """Yield every znode depth first, each before its descendants."""
    waiting = ["/"]
    while waiting:
        path = waiting.pop()
        node = tree.find(path)
        if node is None:
            continue
        yield path, node
        above = "" if path == "/" else path
        waiting.extend(f"{above}/{name}" for name in reversed(node.names))
