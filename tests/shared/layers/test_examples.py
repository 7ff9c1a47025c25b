"""Every public layer has an example, and the examples in shared/layers run."""

import doctest
import importlib
import inspect
import pkgutil

import keras
import pytest

import shared.layers

MODULES = [
    importlib.import_module(f"shared.layers.{module.name}")
    for module in pkgutil.iter_modules(shared.layers.__path__)
]


def layers_without_example(module):
    """Returns the names of the public layers of a module whose docstring has no example."""
    layers = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, keras.layers.Layer)
        and value.__module__ == module.__name__
        and not name.startswith("_")
    ]
    has_example = lambda text: "Example:" in text and doctest.DocTestParser().get_examples(text)  # noqa: E731
    return [layer.__name__ for layer in layers if not has_example(layer.__doc__ or "")]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples(module):
    assert layers_without_example(module) == []
    assert doctest.testmod(module).failed == 0


def test_a_layer_without_example_is_reported():
    class Documented(keras.layers.Layer):
        """A layer.

        Example:

        >>> Documented()
        """

    class Undocumented(keras.layers.Layer):
        """A layer."""

    module = inspect.getmodule(test_examples)
    assert Documented.__module__ == module.__name__
    names = {"Documented": Documented, "Undocumented": Undocumented}
    with pytest.MonkeyPatch.context() as patch:
        for name, layer in names.items():
            patch.setattr(module, name, layer, raising=False)
        assert layers_without_example(module) == ["Undocumented"]
