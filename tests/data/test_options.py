"""Options from YAML and from words: names and types."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from text4seg.data.sources.options import from_options
from text4seg.data.sources.registry import SOURCES
from text4seg.data.tasks.settings import TaskSettings


@dataclass
class Sample:
    """One field of every kind."""

    whole: int = 1
    share: float = 0.5
    words: str = ""
    maybe: str | None = None
    flag: bool = False
    sizes: list[int] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ({"whole": 3}, 3),
        ({"share": 1}, 1),
        ({"words": 2017}, "2017"),
        ({"maybe": 1.5}, "1.5"),
        ({"maybe": None}, None),
        ({"flag": True}, True),
        ({"sizes": (1, 2)}, [1, 2]),
        ({"weights": {"a": 1, 2: 0.5}}, {"a": 1, "2": 0.5}),
    ],
)
def test_values_take_the_type_of_their_field(given, made):
    (name,) = given
    assert getattr(from_options(Sample, given, "options"), name) == made


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"whole": "3"}, "`options.whole` must be a whole number, got '3'"),
        ({"whole": 1.5}, "`options.whole` must be a whole number"),
        ({"whole": True}, "`options.whole` must be a whole number"),
        ({"whole": None}, "`options.whole` must be a whole number"),
        ({"share": "nan"}, "`options.share` must be a number"),
        ({"share": float("nan")}, "`options.share` must be a number"),
        ({"share": float("inf")}, "`options.share` must be a number"),
        ({"words": ["a"]}, "`options.words` must be text"),
        ({"words": True}, "`options.words` must be text"),
        ({"flag": 1}, "`options.flag` must be true or false"),
        ({"sizes": 3}, "`options.sizes` must be a list"),
        ({"sizes": [1, "x"]}, "`options.sizes`, item 2, must be a whole number"),
        ({"weights": ["a"]}, "`options.weights` must map"),
        ({"weights": {"a": "much"}}, "`options.weights`, a, must be a number"),
        ({"weighs": {}}, "`options.weighs` is not known; did you mean `weights`"),
        ({3: 1}, "`options.3` is not known"),
    ],
)
def test_values_of_another_type_are_told(given, message):
    with pytest.raises(ValueError, match=message):
        from_options(Sample, given, "options")


@pytest.mark.parametrize("schema", [TaskSettings, *(schema for schema, _ in SOURCES.values())])
def test_every_settings_class_takes_its_own_defaults(schema):
    assert from_options(schema, vars(schema()), "options") == schema()
