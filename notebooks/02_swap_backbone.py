# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Train, ask, swap the backbone
#
# The embedded tiny model is tuned for a few steps on the scenes that come with the repository, asked about a picture,
# and then exchanged for another backbone by two words of configuration. A real tuning is `make demo`.

# %%
import os
import tempfile
from io import BytesIO
from pathlib import Path

from IPython.display import display
from PIL import Image

root = Path.cwd() if (Path.cwd() / "conf").is_dir() else Path.cwd().parent
os.chdir(root)
work = Path(tempfile.mkdtemp())

# %% [markdown]
# ## Fit
# Every door is a `main(argv)`: what runs here is what `python -m text4seg.fit --config conf/tiny.yaml ...` runs.

# %%
from text4seg import fit

run = work / "run"
data = [f"data.{split}.shards=shards/scenes" for split in ("train", "val")] + [
    f"data.{split}.build=null" for split in ("train", "val")
]
short = ["trainer.steps=4", "trainer.validate_every=4", "data.batch_size=4", "data.val.limit=8", "trainer.pictures=4"]
assert fit.main(["--config", "conf/tiny.yaml", f"run_dir={run}", *data, *short]) == 0

# %% [markdown]
# ## Look at what it wrote
# Four steps teach little; the sheet shows image, truth and prediction of the validation set.

# %%
display(Image.open(sorted((run / "pictures").glob("*.png"))[-1]))

# %% [markdown]
# ## Ask about a picture

# %%
from text4seg import predict
from text4seg.data.shards.read import records

sample = next(records(root / "shards" / "scenes" / "shard-00000.tar")).sample()
picture = work / "scene.jpg"
Image.open(BytesIO(sample.image)).save(picture)
query = sample.turns[0].labels[1]
assert predict.main([str(picture), "--run", str(run), "--query", query, "--out", str(work / "out")]) == 0
display(Image.open(next((work / "out").glob("*.overlay.png"))).resize((256, 256)))

# %% [markdown]
# ## Another backbone
# The same recipe, the same data; only `model` changes. Here it is a tiny model with RANDOM weights of another size,
# since a notebook that runs offline cannot fetch LLaVA: `model.family=llava model.path=llava-hf/llava-1.5-7b-hf` is
# the real thing, and `conf/compose.yaml` joins any vision encoder and any language model.

# %%
other = ["model.path=random", "model.options={width: 64, vision_layers: 1, language_layers: 2}", "model.lora.rank=4"]
quick = [*short, "decoding.max_new_tokens=8"]
assert fit.main(["--config", "conf/tiny.yaml", f"run_dir={work / 'other'}", *data, *quick, *other]) == 0
