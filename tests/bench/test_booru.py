"""The synthetic posts that measurements run on are what they claim to be."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from bench.booru import POSTS_OF_THE_MODEL, TagModel, draw_tags, geometry, sizes

from nadir.data.buckets.aspects import CENTROIDS


def test_the_model_has_the_size_and_the_sums_of_the_list_it_was_fitted_to() -> None:
    model = TagModel.load()
    counts = model.chances * POSTS_OF_THE_MODEL
    assert len(counts) == 140_782
    assert counts.sum() == pytest.approx(297_161_992, rel=0.002)
    assert counts[0] == pytest.approx(6_008_644, rel=1e-6)
    assert counts[:20_000].sum() == pytest.approx(285_584_098, rel=0.005)
    assert (np.diff(counts) <= 0).all()


def test_drawn_tags_are_as_frequent_as_the_model_says_and_never_twice_on_a_post() -> None:
    model, posts = TagModel.load(), 4000
    tags = draw_tags(model, posts, np.random.default_rng(0)).to_pylist()
    assert all(len({tag["name"] for tag in post}) == len(post) for post in tags)
    assert sum(map(len, tags)) / posts == pytest.approx(model.chances.sum(), rel=0.02)
    counted = Counter(tag["name"] for post in tags for tag in post)
    for row in (0, 10, 100, 1500):
        expected = posts * model.chances[row]
        assert abs(counted[model.names[row].as_py()] - expected) < 5 * np.sqrt(expected)


def test_sizes_follow_the_mix_and_hashes_are_distinct() -> None:
    widths, heights = sizes(50_000, np.random.default_rng(0))
    middles = np.quantile(widths / heights, (np.arange(20) + 0.5) / 20)
    np.testing.assert_allclose(middles[2:-1], CENTROIDS[2:-1], rtol=0.03)
    hashes = geometry(300)["sha256"].to_pylist()
    assert len(set(hashes)) == 300
    assert {len(text) for text in hashes} == {64}
