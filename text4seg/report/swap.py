"""A control: ask for another object of the same picture. A model that reads the question then misses the target.

A high score on swapped questions means that the model segments whatever stands out, whatever it is asked.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from text4seg.data.items import Item

Place = tuple[str, int]
"""Key and turn of an item."""


def partners(items: Iterable[Item]) -> dict[Place, tuple[str, tuple[str, ...]]]:
    """For each item, the question and labels of another item of the same picture.

    Items about one target take part; the next one in the picture's order with another label and another mask is
    taken, the last takes the first. Items without such a partner are left out.

    Returns:
        (key, turn) -> (question, labels) to ask instead.
    """
    pictures: dict[bytes, list[tuple[Place, str, tuple[str, ...], bytes]]] = defaultdict(list)
    for item in items:
        if len(item.labels) == 2:
            picture = hashlib.sha256(item.image).digest()
            mask = hashlib.sha256(item.mask.tobytes()).digest()
            pictures[picture].append(((item.key, item.turn), item.question, tuple(item.labels), mask))
    found = {}
    for group in pictures.values():
        for i, (place, _, labels, mask) in enumerate(group):
            for _, question, other_labels, other_mask in group[i + 1 :] + group[:i]:
                if other_labels != labels and other_mask != mask:
                    found[place] = (question, other_labels)
                    break
    return found


def swapped(item: Item, partner: tuple[str, tuple[str, ...]]) -> Item:
    """The item with its partner's question and label, but its own mask."""
    question, labels = partner
    return replace(item, question=question, labels=labels)
