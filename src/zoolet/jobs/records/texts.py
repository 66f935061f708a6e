"""Cuts texts to the limits of a job's value. This module imports nothing of zoolet."""

import json


def cut_middle(text: str, limit_characters: int) -> str:
    """Return ``text``; a note replaces its middle if the text is longer than the limit."""
    if len(text) <= limit_characters:
        return text
    mark = f" [{len(text) - limit_characters} characters and more left out] "
    room = max(0, limit_characters - len(mark))
    head = room // 3
    tail = room - head
    return f"{text[:head]}{mark}{text[len(text) - tail :]}"[:limit_characters]


def cut_for_json(text: str, limit_characters: int, limit_bytes: int) -> str:
    """Return ``text`` like `cut_middle`, but also with at most ``limit_bytes`` as ASCII JSON."""
    text = cut_middle(text, limit_characters)
    while (size_bytes := json_size_bytes(text)) > limit_bytes:
        limit_characters = len(text) * limit_bytes // size_bytes - 1
        text = cut_middle(text, limit_characters)
    return text


def cut_end(text: str, limit_characters: int) -> str:
    """Return ``text``; a note replaces its end if the text is longer than the limit."""
    if len(text) <= limit_characters:
        return text
    return f"{text[:limit_characters]} [{len(text) - limit_characters} characters left out]"


def json_size_bytes(text: str) -> int:
    """Return the number of bytes of a text as JSON in ASCII, without the quotes."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return len(text)
    return len(json.dumps(text)) - 2
