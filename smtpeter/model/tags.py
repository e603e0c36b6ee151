"""Tags: words that are kept with a message and all its events."""

from __future__ import annotations

import re

TAGS_LIMIT = 100
"""Tags that a message may have."""

_TAG = re.compile(r"[^\s;,]{1,200}")


def read_tags(text: str) -> tuple[str, ...]:
    """Words with commas between them, each once; white space around the commas does not count.

    :raises ValueError: where one of them is no tag, or there are too many; its text tells what is expected.
    """
    tags = [tag for tag in (part.strip() for part in text.split(",")) if tag]
    if len(tags) > TAGS_LIMIT:
        raise ValueError(f"at most {TAGS_LIMIT} tags")
    for tag in tags:
        if _TAG.fullmatch(tag) is None or not tag.isprintable():
            raise ValueError("separate tags by commas; a tag has no white space and no semicolon")
    return tuple(dict.fromkeys(tags))
