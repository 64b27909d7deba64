"""Pictures of stages that have a size of their own, looked at before a training comes to them."""

from __future__ import annotations

from collections.abc import Mapping

from text4seg.models.backbone import Backbone
from text4seg.models.families.compose import refuse_side


def look_at_sides(backbone: Backbone, sides: Mapping[str, int], longest: int) -> None:
    """Refuse pictures before a training comes to the stage that shows them.

    Args:
        backbone: of family compose, where there are any sides.
        sides: in pixels, by the name of the stage or variant.
        longest: tokens that a sample may have.

    Raises:
        ValueError: the model does not take them, or they leave no room for an answer.
    """
    for name, side in sides.items():
        try:
            least = len(backbone.processor.at(side).tokens([("?", None)])[0])
        except ValueError as error:
            raise ValueError(f"{name!r}: {error}") from error
        refuse_side(backbone, side)
        if least >= longest:
            raise ValueError(
                f"`image_size` {side} of {name!r} is too large: a picture and the shortest question make {least} "
                f"tokens, the limit is {longest}. Take smaller pictures, or raise `model.merge` or `data.max_length` "
                "(within the model's context)."
            )
