"""The subject of a certificate as text, which is the client's id in the scheme x509.

The text is the same as the result of Java's ``X500Principal.getName()``, so that an ACL has the
same meaning on zoolet and on Apache ZooKeeper. This is RFC 2253 with Java's choices. Nine
attributes have a keyword. Every other attribute is written as its OID and the value's DER in
hexadecimal digits. Java escapes ``=`` and ``#`` everywhere, and each blank at the beginning and at
the end of a value. This module does no I/O.
"""

import re
from typing import Final

from zoolet.server.sockets.der import (
    OID,
    SEQUENCE,
    DerError,
    Value,
    certificate_fields,
    dotted,
    exactly,
    sequence_in,
    values_in,
)

_SET: Final = 0x31
_SUBJECT: Final = 4
"""The index of the subject in the fields of a certificate."""

_TEXTS: Final = frozenset({12, 19, 20, 22, 27, 30})
"""UTF8String, PrintableString, T61String, IA5String, GeneralString and BMPString: Java decodes the
bytes of these types as UTF-8. It writes every other type, also UniversalString, as DER."""

_KEYWORDS: Final = {
    "2.5.4.3": "CN",
    "2.5.4.6": "C",
    "2.5.4.7": "L",
    "2.5.4.8": "ST",
    "2.5.4.9": "STREET",
    "2.5.4.10": "O",
    "2.5.4.11": "OU",
    "0.9.2342.19200300.100.1.1": "UID",
    "0.9.2342.19200300.100.1.25": "DC",
}
"""The keywords of RFC 2253, section 2.3, by OID."""

_ESCAPED: Final = re.compile(r'[,=+<>#;"\\]')
_BLANKS: Final = " \r"
_SURROGATE: Final = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")


def subject_in(certificate: bytes) -> str:
    """Return the subject of a certificate in DER; it may be empty. Raises DerError."""
    fields = certificate_fields(certificate)
    if len(fields) <= _SUBJECT:
        raise DerError("the certificate has no subject")
    return name_as_text(fields[_SUBJECT].whole)


def name_as_text(name: bytes) -> str:
    """Return an X.501 name in DER as text; raises DerError."""
    return ",".join(
        "+".join(_attribute_as_text(attribute) for attribute in values_in(part.content, SEQUENCE))
        for part in reversed(list(values_in(sequence_in(name), _SET)))
    )


def _attribute_as_text(attribute: Value) -> str:
    oid, value = exactly(2, list(values_in(attribute.content)))
    if oid.tag != OID:
        raise DerError("an attribute has no type")
    attribute_type = dotted(oid.content)
    keyword = _KEYWORDS.get(attribute_type)
    if keyword is None or value.tag not in _TEXTS:
        return f"{keyword or attribute_type}=#{value.whole.hex()}"
    return f"{keyword}={_escaped(_text(value.content))}"


def _text(content: bytes) -> str:
    # Java replaces each encoded surrogate with one character; Python replaces each of its bytes.
    return _SURROGATE.sub(b"\xff", content).decode("utf-8", "replace")


def _escaped(text: str) -> str:
    escaped = _ESCAPED.sub(r"\\\g<0>", text).replace("\0", "\\00")
    begin = len(escaped) - len(escaped.lstrip(_BLANKS))
    end = max(begin, len(escaped.rstrip(_BLANKS)))
    blanks_before, blanks_after = escaped[:begin], escaped[end:]
    return (
        "".join(f"\\{blank}" for blank in blanks_before)
        + escaped[begin:end]
        + "".join(f"\\{blank}" for blank in blanks_after)
    )
