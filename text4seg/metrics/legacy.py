"""The published arithmetic, beside the correct one: what the authors' scripts print for the same predictions.

What differs from the scores of :mod:`.board`, and why a published number can lie above or below:

* ``legacy_cIoU``, ``legacy_gIoU``: whatever label is written counts as the target, it is never compared with the
  question; an unreadable answer is an empty mask, so it is *right* where nothing was to be found; each IoU has 1e-5
  more below the line; 32-bit sums.
* ``legacy_REC_mask``: the target's box is that of its mask, not the annotated one; boxes are a pixel too short, a mask
  of one row has none; IoU must be above 0.5.
* ``legacy_mIoU``: ``others`` is a class, and pixels whose target is ``others`` count as rightly predicted; a label
  predicted on void costs its class; a class that is nowhere has IoU 0; an unknown word counts as ``others``.

Source: mc-lan/Text4Seg, `ms-swift/text4seg/eval_refer_seg.py`, `eval_refer_comprehen.py`, `llava/eval/
eval_semantic_seg.py`; sums are taken in 32 bits, picture by picture, as those do. `benchmarks/legacy.py` compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .boxes import Box
from .measure import VOID, Measure, Row
from .tally import ANSWER, Tally

_F = np.float32
Pair = tuple[int, int]
"""Intersection and union, in pixels."""


def legacy_scores(answers: Sequence[tuple[str, Tally]], view: str = ANSWER) -> dict[str, float]:
    """Every published number that these answers have, by name.

    Args:
        answers: (which picture, answer) in the order of the items; the published scripts go picture by picture.
        view: whose masks.
    """
    pictures: dict[str, list[Pair]] = {}
    for picture, made in answers:
        if not made.semantic:
            pictures.setdefault(picture, []).append(any_label(made.views[view]))
    boxes = [(made.views[view].any_box, made.target_box) for _, made in answers if not made.semantic]
    classes = [made for _, made in answers if made.semantic]
    found = legacy_referring(pictures.values())
    if boxes:
        found["legacy_REC_mask"] = sum(legacy_hit(*pair) for pair in boxes) / len(boxes)
    labels = dict.fromkeys(name for made in classes for name in made.labels[: made.asked])
    return found | legacy_semantic((made.rows(view) for made in classes), list(labels))


def any_label(measured: Measure) -> Pair:
    """Intersection and union of "anything marked" with "anything there"."""
    pairs = [(true > 0, guess > 0, n) for true, guess, n in measured.pixels if true != VOID]
    both = sum(n for true, guess, n in pairs if true and guess)
    return both, sum(n for true, guess, n in pairs if true or guess)


def legacy_referring(pictures: Iterable[Sequence[Pair]]) -> dict[str, float]:
    """``legacy_cIoU`` and ``legacy_gIoU``.

    Args:
        pictures: for each picture, in order, :func:`any_label` of its answers in order.
    """
    inter, union, total, items = _F(0), _F(0), _F(0), 0
    for answers in pictures:
        ious = _F(0)
        own_inter = own_union = _F(0)
        for shared, together in answers:
            own_inter, own_union = own_inter + _F(shared), own_union + _F(together)
            ious += _F(shared) / (_F(together) + _F(1e-5)) + _F(together == 0)
        inter, union = inter + own_inter, union + own_union
        total += ious / _F(len(answers)) * _F(len(answers))
        items += len(answers)
    if not items:
        return {}
    return {"legacy_cIoU": float(inter / (union + _F(1e-10))), "legacy_gIoU": float(total / _F(items))}


def legacy_hit(answer: Box | None, target: Box | None) -> bool:
    """Whether the published comprehension script counts an answer as right (boxes as :func:`.boxes.mask_box`)."""
    if answer is None or target is None:
        return False
    a, b = (np.array(box, _F) - np.array([0, 0, 1, 1], _F) for box in (answer, target))
    span = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), _F(0))
    shared = span[0] * span[1]
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return bool(union > 0 and shared / union > _F(0.5))


def legacy_semantic(pictures: Iterable[Mapping[str, Row]], labels: Sequence[str]) -> dict[str, float]:
    """``legacy_mIoU`` over a fixed list of labels, ``others`` first.

    Args:
        pictures: for each picture in order, the counts of each label that occurs.
        labels: the list; a label that occurs nowhere has IoU 0, words off the list count as ``others``.
    """
    place = {name: i for i, name in enumerate(labels)}
    inter, union = np.zeros(len(labels), _F), np.zeros(len(labels), _F)
    seen = False
    for counts in pictures:
        seen = True
        own_inter, own_union = np.zeros(len(labels), _F), np.zeros(len(labels), _F)
        for name, (hits, guessed, on_others, on_void, true) in counts.items():
            i = place.get(name, 0)
            if i:
                own_inter[i] += _F(hits)
                own_union[i] += _F(guessed - on_others + on_void + true - hits)
            else:
                own_inter[0] += _F(true)
                own_union[0] += _F(true + guessed - on_others + on_void)
        inter, union = inter + own_inter, union + own_union
    if not seen:
        return {}
    return {"legacy_mIoU": float(np.mean(inter / (union + _F(1e-10))))}
