"""Every public function and record is annotated; `make lint` checks the annotations."""

import dataclasses
import inspect

import pytest

import keras_efficientdet

PUBLIC = {name: getattr(keras_efficientdet, name) for name in keras_efficientdet.__all__}


def functions_of(name, value):
    """{dotted name: function} of a public function, or of a class's own public methods."""
    if inspect.isfunction(value):
        return {name: value}
    if not inspect.isclass(value):
        return {}
    found = {}
    # What overrides a method of Keras has the signature that Keras gives it.
    inherited = {attribute for base in value.__mro__[1:] for attribute in dir(base)}
    for attribute, member in vars(value).items():
        if attribute in inherited - {'__init__', '__call__'}:
            continue
        if isinstance(member, property):
            member = member.fget
        member = getattr(member, '__func__', member)  # of a class method
        is_public = not attribute.startswith('_') or attribute in ('__init__', '__call__')
        if inspect.isfunction(member) and is_public and member.__module__ == value.__module__:
            found[f'{name}.{attribute}'] = member
    if dataclasses.is_dataclass(value):
        found.pop(f'{name}.__init__', None)  # made from the annotated fields
    return found


FUNCTIONS = {
    dotted: function
    for name, value in PUBLIC.items()
    for dotted, function in functions_of(name, value).items()
}


@pytest.mark.parametrize('name', FUNCTIONS)
def test_every_parameter_and_result_is_annotated(name):
    signature = inspect.signature(FUNCTIONS[name])
    missing = [
        parameter.name
        for parameter in signature.parameters.values()
        if parameter.name != 'self' and parameter.annotation is parameter.empty
    ]
    if not name.endswith('__init__') and signature.return_annotation is signature.empty:
        missing.append('return')
    assert not missing


def test_every_public_name_has_a_docstring():
    assert not [name for name, value in PUBLIC.items() if not inspect.getdoc(value)]
