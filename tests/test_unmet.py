"""Embeddings that were only ever pushed away are drawn anew, and nothing else of the checkpoint changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from text4seg.models.registry import load_backbone
from text4seg.models.settings import ModelSettings
from text4seg.training import unmet


def table(num_pushed: int, num: int = 300) -> torch.Tensor:
    """Rows around (0.3, 0.3, ...), the last ones pushed along one direction, as a tied head does it."""
    chance = torch.Generator().manual_seed(0)
    rows = 0.3 + 0.5 * torch.randn(num, 64, generator=chance)
    away = torch.nn.functional.normalize(torch.randn(64, generator=chance), dim=0)
    rows[num - num_pushed :] = 15 * away + 0.1 * torch.randn(num_pushed, 64, generator=chance)
    return rows


def test_only_pushed_rows_of_a_checkpoint_change(tmp_path: Path, capsys) -> None:
    old = load_backbone(ModelSettings(path="random", options={"width": 64, "language_layers": 1}))
    weight = old.core.get_input_embeddings().weight
    with torch.no_grad():
        weight.copy_(table(len(weight) - 200, len(weight)))
    old.save(tmp_path / "old", torch.bfloat16)
    assert unmet.main(["--model", str(tmp_path / "old"), "--out", str(tmp_path / "new")]) == 0
    assert f"{len(weight) - 200} of {len(weight)} tokens" in capsys.readouterr().out
    before, after = (load_backbone(ModelSettings(path=str(tmp_path / n))).model.state_dict() for n in ("old", "new"))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "embed_tokens" in name or "lm_head" in name}  # they are one table
    rows = [(before[name] != after[name]).any(1) for name in changed]
    assert all(torch.equal(row, torch.arange(len(weight)) >= 200) for row in rows)


def test_new_rows_look_like_the_others() -> None:
    old = table(200)
    pushed = unmet.pushed(old)
    assert torch.equal(pushed, torch.arange(300) >= 100)
    new = unmet.redrawn(old, pushed, seed=1)
    assert torch.equal(new[~pushed], old[~pushed])
    assert abs(float(new[pushed].mean()) - 0.3) < 0.02
    assert abs(float(new[pushed].std()) - 0.5) < 0.02
    assert torch.equal(new, unmet.redrawn(old, pushed, seed=1))
    assert not torch.equal(new, unmet.redrawn(old, pushed, seed=2))


@pytest.mark.parametrize("num_pushed", [0, 300])
def test_a_table_with_nothing_to_go_by_is_refused(num_pushed: int) -> None:
    with pytest.raises(ValueError, match=r"of 300 embeddings lie in one direction"):
        unmet.pushed(table(num_pushed) - (0 if num_pushed else 0.3))


def test_the_embedded_model_tells_its_unmet_words_apart() -> None:
    backbone = load_backbone(ModelSettings())
    ids = backbone.processor.tokenizer.convert_tokens_to_ids(["Ġleft", "Ġright", "Ġabove", "Ġbelow"])
    rows = torch.nn.functional.normalize(backbone.core.get_input_embeddings().weight.detach()[ids].float(), dim=1)
    assert (rows @ rows.T - torch.eye(4)).abs().max() < 0.5


def test_a_mistake_is_told(tmp_path: Path, capsys) -> None:
    assert unmet.main(["--model", str(tmp_path / "none"), "--out", str(tmp_path / "new")]) == 2
    assert str(tmp_path / "none") in capsys.readouterr().err
