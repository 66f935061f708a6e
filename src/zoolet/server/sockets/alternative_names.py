"""The subject alternative names of a certificate, as texts.

The texts are those of Java's ``X509Certificate.getSubjectAlternativeNames``. Names of the types
otherName, x400Address and ediPartyName have no text in Java, and are left out. Source: RFC 5280,
section 4.2.1.6. This module does no I/O.
"""

import ipaddress
from collections.abc import Iterator
from typing import Final

from zoolet.server.sockets.der import (
    OID,
    SEQUENCE,
    DerError,
    certificate_fields,
    dotted,
    sequence_in,
    values_in,
)
from zoolet.server.sockets.distinguished_names import name_as_text

DIRECTORY_NAME: Final = 4
IP_ADDRESS: Final = 7
REGISTERED_ID: Final = 8
TEXTS: Final = {1: "rfc822Name", 2: "dNSName", 6: "uniformResourceIdentifier"}
"""The types whose values are texts."""

TYPES: Final = {
    **TEXTS,
    DIRECTORY_NAME: "directoryName",
    IP_ADDRESS: "iPAddress",
    REGISTERED_ID: "registeredID",
}
"""The types of names that have a text, with their names in RFC 5280."""

_EXTENSIONS: Final = 0xA3
_SUBJECT_ALTERNATIVE_NAME: Final = "2.5.29.17"
_OCTET_STRING: Final = 0x04
_TYPE_BITS: Final = 0x1F


def alternative_names_in(certificate: bytes) -> list[tuple[int, str]]:
    """Return the type and the text of each name of a certificate in DER. Raises DerError."""
    return [
        (general_name.tag & _TYPE_BITS, _text(general_name.tag & _TYPE_BITS, general_name.content))
        for extension in _extensions(certificate)
        for general_name in values_in(sequence_in(extension))
        if general_name.tag & _TYPE_BITS in TYPES
    ]


def _extensions(certificate: bytes) -> Iterator[bytes]:
    """Yield the value of each extension of the type subjectAltName; a valid certificate has one."""
    for field in certificate_fields(certificate):
        if field.tag != _EXTENSIONS:
            continue
        for extension in values_in(sequence_in(field.content), SEQUENCE):
            parts = list(values_in(extension.content))
            if len(parts) < 2 or parts[0].tag != OID or parts[-1].tag != _OCTET_STRING:
                raise DerError("an extension has no type or no value")
            if dotted(parts[0].content) == _SUBJECT_ALTERNATIVE_NAME:
                yield parts[-1].content


def _text(kind: int, content: bytes) -> str:
    if kind == DIRECTORY_NAME:
        return name_as_text(content)
    if kind == REGISTERED_ID:
        return dotted(content)
    if kind == IP_ADDRESS:
        return _address(content)
    return content.decode("ascii", "replace")


def _address(content: bytes) -> str:
    """Return an address as Java does: the eight parts of an IPv6 address, without leading zeros."""
    if len(content) not in {4, 16}:
        raise DerError(f"an IP address has {len(content)} bytes")
    address = ipaddress.ip_address(content)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return ":".join(f"{int(part, 16):x}" for part in address.exploded.split(":"))
