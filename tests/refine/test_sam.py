"""SAM as a refiner: prompts lie where the thing lies, pictures are encoded once, every class of transformers works."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.ndimage import distance_transform_edt
from transformers import AutoImageProcessor, SamProcessor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from sam_checkpoints import FIRST, KINDS, SIDE, write_sam

from text4seg.descriptors import LabelGrid, paint
from text4seg.refine.prompts import CERTAIN, Frame, Prompt, geometric, inner_points, published
from text4seg.refine.refiner import refiner
from text4seg.refine.sam import SamRefiner
from text4seg.refine.settings import PROMPTS, RefineSettings, SamSettings

SHAPES = {"square": (96, 96), "wide": (60, 120), "tall": (150, 70)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Folder of the tiny checkpoint of a kind, written once."""
    root = tmp_path_factory.mktemp("sam")
    return lambda kind: root / kind if (root / kind).exists() else write_sam(root / kind, kind)


def grid_of(name: str = "thing") -> LabelGrid:
    """A grid whose thing lies below the middle, towards the right: nothing about it is symmetric."""
    ids = np.zeros((12, 12), int)
    ids[6:11, 7:10] = 1
    return LabelGrid(ids, ("others", name))


def picture(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def mask_of(shape: tuple[int, int]) -> np.ndarray:
    return paint(grid_of(), shape) > 0


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


def back(prompt: Prompt, images, shape: tuple[int, int]) -> np.ndarray:
    """Where the prompt's logits lie in the picture, by transformers' own way from SAM's masks to the picture."""
    sizes = images(images=Image.fromarray(picture(shape)), return_tensors="pt")
    sizes = {name: sizes[name] for name in ("original_sizes", "reshaped_input_sizes") if name in sizes}
    low = torch.tensor(prompt.logits)[None, None]
    return images.post_process_masks([low], binarize=False, **sizes)[0].reshape(shape).numpy() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_geometric_prompts_lie_on_the_thing(checkpoint, kind, shape):
    sam = SamRefiner(SamSettings(path=str(checkpoint(kind))))
    frame, mask = sam.see(picture(shape)).frame, mask_of(shape)
    assert max(frame.filled) == SIDE
    assert frame.filled == ((SIDE, SIDE) if kind not in FIRST else tuple(round(SIDE * n / max(shape)) for n in shape))
    prompt = geometric(grid_of().ids == 1, frame, points=3, box=True)
    scale = np.array([shape[1] / frame.filled[1], shape[0] / frame.filled[0]])
    places = np.floor(prompt.points * scale).astype(int)
    assert prompt.inside.tolist() == [True] * 3 + [False] * 3
    assert (mask[places[:, 1], places[:, 0]] == prompt.inside).all()
    rows, cols = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    assert prompt.box is not None
    corners = (np.array(prompt.box).reshape(2, 2) * scale).ravel()
    assert corners == pytest.approx([cols[0], rows[0], cols[-1] + 1, rows[-1] + 1], abs=0.51)
    assert overlap(back(prompt, sam.images, shape), mask) > 0.85
    if kind in FIRST:
        assert not prompt.logits[-(-frame.filled[0] * frame.low // SIDE) :].any(), "nothing is known of the padding"


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_published_prompts_by_name(checkpoint, shape):
    images = AutoImageProcessor.from_pretrained(checkpoint("sam"))
    frame, mask = SamRefiner(SamSettings(path=str(checkpoint("sam")))).see(picture(shape)).frame, mask_of(shape)
    cells, fits = grid_of().ids == 1, {}
    for name, (points, padded) in PROMPTS.items():
        if name == "geometric":
            continue
        prompt = published(cells, mask, frame, points, padded, np.random.default_rng(0))
        assert prompt.inside.tolist() == [True] * points + [False] * points
        assert prompt.box is None
        # transformers' processor says where in SAM's square a pixel with these numbers lies
        drawn = np.random.default_rng(0).permutation(np.argwhere(mask)[:, ::-1])[:points]
        placed = SamProcessor(images)(
            images=Image.fromarray(picture(shape)), input_points=[[drawn.tolist()]], return_tensors="pt"
        )
        assert prompt.points[:points] - 0.5 == pytest.approx(placed["input_points"][0, 0].numpy(), abs=1e-4)
        assert np.abs(prompt.logits).max() == pytest.approx(CERTAIN, rel=1e-5)
        fits[name] = overlap(back(prompt, images, shape), mask)
    assert fits["padded-10pt"] > 0.85
    stretched = fits["stretched-10pt"]
    assert stretched == fits["stretched-20pt"]
    assert stretched > 0.85 if shape == SHAPES["square"] else stretched < 0.6, "off where SAM pads"


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_encoded_once_and_every_class_answers(checkpoint, kind):
    sam = refiner(RefineSettings(name="sam", sam=SamSettings(path=str(checkpoint(kind)), agree=0.0)))
    assert isinstance(sam, SamRefiner)
    calls: list[int] = []
    sam.model.vision_encoder.register_forward_hook(lambda *_: calls.append(1))
    two = grid_of().ids.copy()
    two[:3, :4] = 2
    grids = (grid_of(), LabelGrid(two, ("others", "thing", "other thing")), LabelGrid(two * 0, ("others", "thing")))
    for seed in (0, 1):
        masks = [sam(grid, picture((60, 120), seed)) for grid in grids]
        assert len(calls) == seed + 1
        for grid, mask in zip(grids, masks, strict=True):
            assert mask.shape == (60, 120)
            assert mask.dtype == np.int32
            assert set(np.unique(mask)) <= set(np.unique(grid.ids)) | {0}
    assert any(mask.any() and (mask != paint(grid, (60, 120))).any() for grid, mask in zip(grids, masks, strict=True))


def test_the_coarse_mask_stays_where_sam_disagrees(checkpoint):
    kept = SamRefiner(SamSettings(path=str(checkpoint("sam")), agree=1.01))
    assert (kept(grid_of(), picture((60, 120))) == mask_of((60, 120))).all()
    free = SamRefiner(SamSettings(path=str(checkpoint("sam")), agree=0.0))
    found = free(grid_of(), picture((60, 120))) > 0
    assert (found != mask_of((60, 120))).any()
    # of the three masks it is the one that agrees best
    seen = free.see(picture((60, 120)))
    prompt = geometric(grid_of().ids == 1, seen.frame, 3, True)
    offered = free._whole(free._ask(seen, prompt, several=True), seen) > 0
    assert len(offered) == 3
    assert overlap(found, mask_of((60, 120))) == max(overlap(one, mask_of((60, 120))) for one in offered)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("prompts", PROMPTS)
def test_a_picture_too_thin_for_sam_keeps_its_coarse_mask(checkpoint, kind, prompts):
    sam = SamRefiner(SamSettings(path=str(checkpoint(kind)), prompts=prompts, agree=0.0))
    for shape in ((2, 300), (300, 2)):
        found = sam(grid_of(), picture(shape)) > 0
        assert found.shape == shape
        assert kind not in FIRST or (found == mask_of(shape)).all()
    assert sam(grid_of(), picture((2, 140))).shape == (2, 140)


def test_published_ways_ask_three_times_and_draw_by_name(checkpoint):
    sam = SamRefiner(SamSettings(path=str(checkpoint("sam")), prompts="stretched-20pt"))
    asked: list[dict] = []
    sam.model.prompt_encoder.register_forward_hook(lambda *given: asked.append(given[2]), with_kwargs=True)
    for name in ("a/0", "a/0", "b/0"):
        sam(grid_of(), picture((60, 120)), name)
    assert len(asked) == 9
    points = [given["input_points"] for given in asked[::3]]
    assert points[0].shape == (1, 1, 40, 2)
    assert (points[0] == points[1]).all()
    assert (points[0] != points[2]).any()
    fed = [given["input_masks"] for given in asked[:3]]
    assert (fed[0] != fed[1]).any()
    assert (fed[1] != fed[2]).any()


@given(st.integers(1, 14), st.integers(1, 14), st.data())
def test_points_are_as_far_inside_as_any_cell(rows, cols, data):
    cells = np.array(data.draw(st.lists(st.booleans(), min_size=rows * cols, max_size=rows * cols))).reshape(rows, cols)
    across, down = 6, 10
    points = inner_points(cells, (rows * down, cols * across), 4)
    assert len(points) == min(4, cells.sum())
    assert len({tuple(point) for point in points}) == len(points)
    if not cells.any():
        return
    # twice as fine, so that centres of cells are corners of pixels; the edge of the picture ends a region too
    fine = np.pad(cells.repeat(2 * down, 0).repeat(2 * across, 1), 1)
    depth = distance_transform_edt(fine)
    at = [(int(2 * y), int(2 * x)) for x, y in (np.argwhere(cells)[:, ::-1] + 0.5) * (across, down)]
    deepest = max(depth[place] for place in at)
    x, y = points[0]
    assert depth[int(2 * y), int(2 * x)] >= deepest - 1.5


def test_a_frame_stretches_or_pads():
    padded, stretched = Frame((50, 100), (32, 64), 64, 16), Frame((50, 100), (64, 64), 64, 16)
    corner = np.array([[100.0, 50.0]])
    assert padded.place(corner).tolist() == [[64, 32]]
    assert stretched.place(corner).tolist() == [[64, 64]]


def test_mistakes_are_told(checkpoint, tmp_path):
    with pytest.raises(ValueError, match="cannot be loaded"):
        SamRefiner(SamSettings(path=str(tmp_path / "nowhere")))
    with pytest.raises(ValueError, match="geometric, padded-10pt"):
        SamRefiner(SamSettings(prompts="random"))
    broken = write_sam(tmp_path / "broken", "sam") / "model.safetensors"
    weights = load_file(broken)
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, broken, {"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks weights, such as mask_decoder.iou_token"):
        SamRefiner(SamSettings(path=str(broken.parent)))
