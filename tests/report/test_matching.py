"""Words that nobody asked for: exact, normalised, synonym, similarity, in this order; every match is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from text4seg.descriptors import parse
from text4seg.report.matching import Match, Matcher
from text4seg.report.settings import MatchSettings
from text4seg.report.similarity import TextSimilarity

LABELS = ("sofa", "cat", "table")


def answer(*words: str) -> str:
    return "".join(f" {word} *2\n" for word in words).lstrip()


def decoded(*words: str):
    return parse(answer(*words), (len(words), 2), labels=LABELS)


def synonyms(folder: Path) -> str:
    (folder / "words.txt").write_text(
        "sofa, couch, settee\ncat, kitten, pet\ndog, pet\ntable, stand\nsofa table, stand\n"
    )
    return str(folder / "words.txt")


def test_the_order_and_the_list(tmp_path):
    asked: list[str] = []

    def nearest(word, labels):
        asked.append(word)
        return ("cat", 0.9) if word == "tomcat" else ("table", 0.5)

    matcher = Matcher(MatchSettings(synonyms=synonyms(tmp_path)), nearest)
    given = decoded("sofa", "SOFA", "Couch!", "tomcat", "spaceship", "others")
    found, matches = matcher(given, 1 + len(LABELS))
    assert matches == [
        Match("SOFA", "sofa", "normalised"),
        Match("Couch!", "sofa", "synonym"),
        Match("tomcat", "cat", "similarity", 0.9),
    ]
    assert found.grid.words() == [[word] * 2 for word in ("sofa", "sofa", "sofa", "cat", "spaceship", "others")]
    assert found.grid.labels == ("others", *LABELS, "spaceship")
    assert asked == ["tomcat", "spaceship"], "what is found before is not asked about"
    assert found.status == "repaired"
    assert any("'Couch!' read as 'sofa' (synonym)" in repair.what for repair in found.repairs)


def test_a_well_formed_answer_stays_as_it_is(tmp_path):
    given = decoded("sofa", "others", "cat")
    found, matches = Matcher(MatchSettings(synonyms=synonyms(tmp_path)))(given, 1 + len(LABELS))
    assert found is given
    assert matches == []
    assert given.status == "ok"


def test_off_without_a_list_and_without_a_model():
    given = decoded("couch", "tomcat")
    found, matches = Matcher(MatchSettings())(given, 1 + len(LABELS))
    assert found is given
    assert matches == []


def test_a_word_of_two_asked_classes_is_taken_for_none(tmp_path):
    labels = ("cat", "dog")
    given = parse(answer("pet", "kitten"), (2, 2), labels=labels)
    found, matches = Matcher(MatchSettings(synonyms=synonyms(tmp_path)))(given, 3)
    assert matches == [Match("kitten", "cat", "synonym")]
    assert found.grid.words() == [["pet"] * 2, ["cat"] * 2]


@pytest.mark.parametrize(
    ("lines", "word", "label"),
    [
        ("car, auto\ntruck, auto", "auto", None),
        ("car, auto\ntruck, Auto!", "auto", None),
        ("car, auto\ntruck, lorry", "auto", "car"),
        ("car, auto\nCar, auto, motor", "auto", "car"),
        ("truck, auto\nbus, auto", "auto", None),
        (", car, auto\n, dog, auto", "auto", None),
    ],
)
def test_the_whole_list_says_whether_a_word_is_of_several_classes(tmp_path, lines, word, label):
    (tmp_path / "words.txt").write_text(lines)
    given = parse(answer(word), (1, 2), labels=("car",))
    matcher = Matcher(MatchSettings(synonyms=str(tmp_path / "words.txt")), lambda *_: ("car", 1.0))
    assert matcher(given, 2)[1] == ([Match(word, label, "synonym")] if label else [])


@pytest.fixture
def encoder(tmp_path) -> str:
    """A tiny random BERT with a word tokenizer, written as a sentence encoder is."""
    vocabulary = {"[UNK]": 0, "[PAD]": 1, "red": 2, "car": 3, "cat": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(tmp_path)
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=5, **sizes)).save_pretrained(tmp_path)
    return str(tmp_path)


@pytest.fixture
def clip(tmp_path) -> str:
    """A tiny random CLIP that open_clip knows, and a file of its weights."""
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 16, "head_width": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1}
    path = tmp_path / "tiny-clip-words.json"
    path.write_text(json.dumps({"embed_dim": 8, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    weights = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("tiny-clip-words").state_dict(), weights)
    return f"open_clip:tiny-clip-words/{weights}"


@pytest.mark.parametrize("kind", ["encoder", "clip"])
def test_the_nearest_label_by_a_text_model(kind, request):
    spec = request.getfixturevalue(kind)
    model = TextSimilarity(spec)
    label, near = model.nearest("red car", ["cat", "red car", "car"])
    assert (label, near) == ("red car", pytest.approx(1.0))
    cosines = [model.nearest("red", [label])[1] for label in ("cat", "car")]
    assert model.nearest("red", ["cat", "car"]) == (("cat", "car")[cosines.index(max(cosines))], max(cosines))
    assert all(-1 <= cosine <= 1 for cosine in cosines)
    given = parse(answer("red car", "car"), (2, 2), labels=("cat",))
    found, matches = Matcher(MatchSettings(similarity=spec, threshold=-1.0))(given, 2)
    assert [match.how for match in matches] == ["similarity"] * 2
    assert found.grid.labels == ("others", "cat")


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ValueError, match="names no weights"):
        TextSimilarity("open_clip:ViT-B-32")
    with pytest.raises(ValueError, match="cannot be loaded"):
        TextSimilarity("open_clip:no-such-model/none")
    with pytest.raises(ValueError, match="cannot be loaded"):
        TextSimilarity(str(tmp_path))
    with pytest.raises(ValueError, match="not a readable text file"):
        Matcher(MatchSettings(synonyms=str(tmp_path / "nowhere.txt")))
