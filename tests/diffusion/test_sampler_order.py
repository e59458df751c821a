"""Orders of convergence; bench/sampler_order.py has more steps and draws the plot."""

from __future__ import annotations

import pytest
import torch
from bench.sampler_order import FIRST, LAST, ORDERS, denoise, errors, exact, rank, slope


@pytest.mark.parametrize(("name", "order"), ORDERS.items())
def test_samplers_converge_with_their_order(name: str, order: int) -> None:
    counts = [64, 128, 256]
    found = errors(name, counts)
    assert slope(counts, found) == pytest.approx(order, abs=0.03)


def test_the_reference_keeps_ranks() -> None:
    y = torch.linspace(-40, 40, 9, dtype=torch.float64)
    end = exact(y, FIRST, LAST)
    torch.testing.assert_close(rank(end, LAST), rank(y, FIRST), rtol=1e-10, atol=1e-13)


def test_the_denoiser_is_the_score_of_the_mixture() -> None:
    """Tweedie: E[x0 | y] = y + sigma^2 d log p / dy, with p the derivative of the rank."""
    y = torch.linspace(-3, 3, 13, dtype=torch.float64, requires_grad=True)
    sigma = 0.7
    (density,) = torch.autograd.grad(rank(y, sigma).sum(), y, create_graph=True)
    (score,) = torch.autograd.grad(density.log().sum(), y)
    torch.testing.assert_close(denoise(y.detach(), sigma), (y + sigma**2 * score).detach())
