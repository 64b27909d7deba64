import doctest
import importlib
import pkgutil

import pytest

import text4seg.descriptors as package

MODULES = sorted(module.name for module in pkgutil.iter_modules(package.__path__))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name):
    found = doctest.testmod(importlib.import_module(f"{package.__name__}.{name}"))
    assert found.failed == 0


def test_there_are_examples():
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in MODULES]
    assert sum(len(test.examples) for m in modules for test in doctest.DocTestFinder().find(m)) >= 8


def test_everything_promised_is_there():
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
