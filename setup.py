"""Packaging of text4seg: dependencies come from requirements.txt, tool settings live in pyproject.toml."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def read_requirements(path: Path) -> list[str]:
    """The requirement lines of a pip file, without comments."""
    lines = (line.split("#", 1)[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def read_version(path: Path) -> str:
    """The version that the package states about itself, read without importing it."""
    match = re.search(r'^__version__ = "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    assert match, f"{path} states no __version__"
    return match.group(1)


setup(
    name="text4seg",
    version=read_version(ROOT / "text4seg" / "__init__.py"),
    description="Image segmentation as text: a multimodal language model writes run-length coded label grids.",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_packages(include=["text4seg", "text4seg.*"]),
    package_data={"text4seg": ["assets/**"]},
    install_requires=read_requirements(ROOT / "requirements.txt"),
    extras_require={
        # Lightning's own extra caps deepspeed; it is built against the installed torch (see the Makefile).
        "deepspeed": ["deepspeed>=0.17"],
        # Frozen weights in 4 or 8 bits (`model.quantize`); needs a GPU.
        "quantize": ["bitsandbytes>=0.46"],
        "hub": ["datasets>=3.0"],
        "plots": ["matplotlib>=3.9"],
        "ray": ["ray>=2.40"],
        # Shards on s3:// (gs:// needs gcsfs, hf:// nothing more).
        "s3": ["s3fs>=2024.6"],
        # Opens the report in a real browser (tests only); the browser itself comes from the system.
        "browser": ["playwright>=1.45"],
        # What SmolVLM's own processor asks for.
        "smolvlm": ["num2words>=0.5.10"],
        "dev": [
            "hypothesis>=6.100",
            "ipykernel>=6.29",
            "jupytext>=1.16",
            "matplotlib>=3.9",
            "nbmake>=1.5.5",
            "num2words>=0.5.10",
            "pyrefly>=1.0",
            "pytest>=8.4",
            "pytest-timeout>=2.3",
            "pytest-xdist>=3.6",
            "ruff>=0.12",
            "scikit-learn>=1.5",
            "scipy>=1.13",
            # An independent reader of the exported grammars.
            "xgrammar>=0.1.25",
        ],
    },
)
