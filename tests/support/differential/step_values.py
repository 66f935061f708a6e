"""The paths, identities and credentials that steps choose from. Few, so that steps often meet."""

from zoolet.state_machine.access import digest_of

_names = ["a", "b", "c-", "ü€", "q", "long" * 20]
PATHS = [f"/{name}" for name in _names]
PATHS += [f"/{above}/{name}" for above in "abq" for name in ("a", "b", "s-", "zz")]
PATHS += [f"/a/b/{name}" for name in ("a", "b", "s-")] + ["/a/a/a", "/q/zz/a/b"]

BAD_PATHS = [
    "",
    "/",
    "a",
    "//",
    "/a/",
    "/a//b",
    "/a/./b",
    "/a/../b",
    "/.",
    "/..",
    "/a/b/..",
    "/\0",
    "/a\0b",
    "/\x01",
    "/\x7f",
    "/\x85",
    "/\ud800".encode("utf-8", "replace").decode(),
    "/\ue000",
    "/\uf8ff",
    "/\uffef",
    "/\ufff0",
    "/ ",
    "/a/" + "x" * 300,
]

SYSTEM_PATHS = [
    "/zookeeper/config",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/x",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
]

IDENTITIES = (
    ("world", "anyone"),
    ("world", "anyone"),
    ("world", "nobody"),
    ("auth", ""),
    ("auth", "ignored"),
    ("digest", digest_of(b"ann:secret")),
    ("digest", digest_of(b"bob:word")),
    ("digest", "nocolon"),
    ("digest", "a:b:c"),
    ("digest", ""),
    ("ip", "127.0.0.1"),
    ("ip", "127.0.0.0/8"),
    ("ip", "10.0.0.0/8"),
    ("ip", "127.0.0.1/33"),
    ("ip", "127.0.0"),
    ("ip", "nonsense"),
    ("super", "super"),
    ("nosuch", "x"),
    ("", ""),
)


NEW_IDENTITIES = (
    ("ip", "::1"),
    ("ip", "::1/128"),
    ("ip", "::/0"),
    ("ip", "2001:db8::/32"),
    ("ip", "2001:db8::1"),
    ("ip", "::1/129"),
    ("ip", "::ffff:127.0.0.1"),
    ("ip", "fe80::1%lo"),
    ("ip", ":::"),
    ("x509", "CN=ann"),
    ("x509", "ann"),
    ("x509", ""),
)

CREDENTIALS = (
    ("digest", b"ann:secret"),
    ("digest", b"ann:secret"),
    ("digest", b"bob:word"),
    ("digest", b"super:admin"),
    ("digest", b"nocolon"),
    ("digest", b":"),
    ("digest", b""),
    ("ip", b""),
    ("world", b"anyone"),
    ("nosuch", b"x"),
    ("super", b"x"),
    ("auth", b""),
)
