"""The text form of 64-bit numbers (zxids, session ids, owners)."""

_MASK_64 = (1 << 64) - 1


def hex64(number: int) -> str:
    """Return a 64-bit number in hexadecimal, without a sign, as Java's ``Long.toHexString``."""
    return f"{number & _MASK_64:x}"
