"""Where the published semantic sets keep their files, and what the values of their masks mean.

| layout | photographs | masks | classes |
|---|---|---|---|
| cocostuff | `train2017/` | `annotations/train2017/*_labelTrainIds.png`: 0-170, 255 void | 171, ours |
| cocostuff_raw | `train2017/` | `stuffthingmaps/train2017/*.png`: id - 1 of 182, 255 void | 171, ours |
| ade20k | `images/training/` | `annotations/training/*.png`: 1-150, 0 void | `objectInfo150.txt` |
| ade847 | `images_detectron2/training/` | `annotations_detectron2/training/*.tif`: 0-846, 65535 void | option |
| context59 | `JPEGImages/` | `SegmentationClassContext/*.png`: 1-59, 0 others | 59, ours |
| context459 | `JPEGImages/` | `annotations_detectron2/pc459_train/*.tif`: as ade847, 0-458 | `labels.txt` |
| voc20 | `JPEGImages/` | `SegmentationClass/*.png`: 1-20, 0 others, 255 void | 20, ours |
| mapillary | `training/images/` | `training/v2.0/labels/*.png` | `config_v2.0.json` |

A layout is a fact about files; `semantic.py` reads them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """The files of one set.

    Attributes:
        images: folder of the photographs of each split, by `train` and `val`.
        masks: folder of their masks.
        where: it can be had from.
        names: the file of the class names below `root`, `ours` for the package's own list, or `given` by the user.
        ending: what follows a photograph's name in its mask's.
        first: mask value of the first class.
        raw: values are those of the class list, minus one, instead of counted from `first`.
        others: values that are background.
        void: values that are ignored.
        lists: folder of the lists of each split's names; None: all of the masks' folder.
    """

    images: dict[str, str]
    masks: dict[str, str]
    where: str
    names: str = "ours"
    ending: str = ".png"
    first: int = 1
    raw: bool = False
    others: tuple[int, ...] = ()
    void: tuple[int, ...] = (255,)
    lists: str | None = None


def _both(folder: str, train: str, val: str) -> dict[str, str]:
    return {"train": folder.format(train), "val": folder.format(val)}


DETECTRON = "made from the set by the preparation script of github.com/facebookresearch/MaskFormer"
VOC_URL = "host.robots.ox.ac.uk/pascal/VOC"
LAYOUTS: dict[str, Layout] = {
    "cocostuff": Layout(
        _both("{}", "train2017", "val2017"),
        _both("annotations/{}", "train2017", "val2017"),
        "github.com/nightrome/cocostuff (stuffthingmaps_trainval2017.zip), then mmsegmentation's converter",
        ending="_labelTrainIds.png",
        first=0,
    ),
    "cocostuff_raw": Layout(
        _both("{}", "train2017", "val2017"),
        _both("stuffthingmaps/{}", "train2017", "val2017"),
        "github.com/nightrome/cocostuff (stuffthingmaps_trainval2017.zip)",
        raw=True,
    ),
    "ade20k": Layout(
        _both("images/{}", "training", "validation"),
        _both("annotations/{}", "training", "validation"),
        "data.csail.mit.edu/places/ADEchallenge (ADEChallengeData2016.zip)",
        names="objectInfo150.txt",
        void=(0,),
    ),
    "ade847": Layout(
        _both("images_detectron2/{}", "training", "validation"),
        _both("annotations_detectron2/{}", "training", "validation"),
        f"groups.csail.mit.edu/vision/datasets/ADE20K, {DETECTRON}",
        names="given",
        ending=".tif",
        first=0,
        void=(65535,),
    ),
    "context59": Layout(
        _both("JPEGImages", "", ""),
        _both("SegmentationClassContext", "", ""),
        "cs.stanford.edu/~roozbeh/pascal-context, then mmsegmentation's converter",
        others=(0,),
        lists="ImageSets/SegmentationContext",
    ),
    "context459": Layout(
        _both("JPEGImages", "", ""),
        _both("annotations_detectron2/pc459_{}", "train", "val"),
        f"cs.stanford.edu/~roozbeh/pascal-context, {DETECTRON}",
        names="labels.txt",
        ending=".tif",
        first=0,
        void=(65535,),
    ),
    "voc20": Layout(
        _both("JPEGImages", "", ""),
        _both("SegmentationClass", "", ""),
        VOC_URL,
        others=(0,),
        lists="ImageSets/Segmentation",
    ),
    "mapillary": Layout(
        _both("{}/images", "training", "validation"),
        _both("{}/v2.0/labels", "training", "validation"),
        "mapillary.com/dataset/vistas",
        names="config_v2.0.json",
        first=0,
        void=(),
    ),
}
