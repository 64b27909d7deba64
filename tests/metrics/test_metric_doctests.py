"""The examples in the docstrings of the metrics are true."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import text4seg.metrics as package

MODULES = sorted(module.name for module in pkgutil.iter_modules(package.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    assert doctest.testmod(importlib.import_module(f"{package.__name__}.{name}")).failed == 0


def test_there_are_examples():
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in MODULES]
    assert sum(len(test.examples) for m in modules for test in doctest.DocTestFinder().find(m)) >= 10
