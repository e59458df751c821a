from __future__ import annotations

import pytest
import torch

from nadir.training.optim.weight_average import WeightAverage


def set_weight(module: torch.nn.Module, value: float) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)


def make_module(value: float = 0.0) -> torch.nn.Linear:
    module = torch.nn.Linear(2, 2)
    set_weight(module, value)
    return module


def test_a_young_average_follows_quickly_and_an_old_one_at_its_decay() -> None:
    module = make_module()
    average = WeightAverage(dict(module.named_parameters()), decay=0.5)
    set_weight(module, 1.0)
    average.update()
    # decay min(0.5, 2 / 11)
    assert average.shadow["weight"][0, 0] == pytest.approx(1 - 2 / 11)
    for _ in range(20):
        average.update()
    before = float(average.shadow["weight"][0, 0])
    set_weight(module, 0.0)
    average.update()
    assert average.shadow["weight"][0, 0] == pytest.approx(0.5 * before)


def test_the_average_of_constant_weights_is_those_weights() -> None:
    module = make_module(3.0)
    average = WeightAverage(dict(module.named_parameters()), decay=0.999)
    for _ in range(100):
        average.update()
    assert average.shadow["bias"].tolist() == pytest.approx([3.0, 3.0])


def test_inside_the_block_the_module_is_the_average_and_afterwards_itself_again() -> None:
    module = make_module()
    average = WeightAverage(dict(module.named_parameters()), decay=0.9)
    set_weight(module, 2.0)
    with average.applied():
        assert module.weight.abs().max() == 0
    assert module.weight.min() == 2.0


def test_an_error_inside_the_block_leaves_the_modules_own_weights() -> None:
    module = make_module()
    average = WeightAverage(dict(module.named_parameters()), decay=0.9)
    set_weight(module, 2.0)
    with pytest.raises(RuntimeError, match="no"), average.applied():
        raise RuntimeError("no")
    assert module.weight.min() == 2.0


def test_the_average_of_half_precision_weights_is_kept_in_float32() -> None:
    module = make_module(1.0).half()
    average = WeightAverage(dict(module.named_parameters()), decay=0.9)
    average.update()
    assert average.shadow["weight"].dtype == torch.float32


def test_a_loaded_average_goes_on_where_it_was() -> None:
    module = make_module()
    first, second = (
        WeightAverage(dict(module.named_parameters()), decay=0.99),
        WeightAverage(dict(module.named_parameters()), decay=0.99),
    )
    set_weight(module, 1.0)
    first.update()
    second.load({name: tensor.clone() for name, tensor in first.shadow.items()}, first.updates)
    for average in (first, second):
        average.update()
    assert torch.equal(first.shadow["weight"], second.shadow["weight"])
