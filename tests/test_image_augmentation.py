"""Augmentation: PadAug against its definition, and the batch changes' promises."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from abawcli.config import NO_IMAGE_AUGMENTATION, ImageAugmentation
from abawcli.training import image_augmentation as augment
from abawcli.training.image_augmentation import (
    PADAUG_PATTERNS,
    augment_images,
    draw_bars,
    pad_augment,
)

MEAN = torch.full((3, 1, 1), 0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_padaug_draws_each_pattern_equally_often() -> None:
    source = generator()
    drawn = Counter(tuple(side for side, _ in draw_bars(source)) for _ in range(8000))
    assert set(drawn) == set(PADAUG_PATTERNS)
    assert all(850 < count < 1150 for count in drawn.values())  # 1000 +- 5 sigma


def test_padaug_bars_have_the_published_thickness_and_area() -> None:
    source = generator(1)
    for _ in range(3000):
        bars = [thickness for _, thickness in draw_bars(source)]
        assert all(0.03 <= t <= 0.20 for t in bars)
        if len(bars) == 2:
            v, h = bars
            area = v + h - v * h
            assert area <= 0.20 or (v == h == 0.12)


def test_padaug_corner_falls_back_when_no_draw_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "PADAUG_MAX_AREA", 0.0)
    source = generator(2)
    corners = [bars for bars in (draw_bars(source) for _ in range(50)) if len(bars) == 2]
    assert corners
    assert all(t == 0.12 for bars in corners for _, t in bars)


@given(st.integers(0, 2**31), st.sampled_from([12, 24, 48, 100, 224, 700]))
def test_padaug_paints_bars_and_shifts_away_from_them(seed: int, side: int) -> None:
    image = torch.arange(1, side * side + 1, dtype=torch.float64).view(1, side, side)
    changed = pad_augment(image, generator(seed))
    assert changed.shape == image.shape
    bars = draw_bars(generator(seed))
    black = changed[0] == 0
    kept = ~black
    rows, columns = kept.any(dim=1).nonzero().flatten(), kept.any(dim=0).nonzero().flatten()
    top, left = int(rows[0]), int(columns[0])
    # what is kept is one rectangle, and its black surroundings lie on the drawn sides only
    assert kept[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    margin = {
        (-1, 0): left,
        (1, 0): side - 1 - int(columns[-1]),
        (0, -1): top,
        (0, 1): side - 1 - int(rows[-1]),
    }
    # the value tells where a pixel came from: it moved away from the bar by 1..most pixels
    source = int(changed[0, top, left]) - 1
    down, right = top - source // side, left - source % side
    moves = {(-1, 0): right, (1, 0): -right, (0, -1): down, (0, 1): -down}
    drawn = dict(bars)
    most = min(max(round(0.02 * side), 1), 10)
    for where, width in margin.items():
        if where in drawn:
            assert 1 <= moves[where] <= most
            assert width == max(moves[where], round(drawn[where] * side))
        else:
            assert width == 0
    for sides, moved in ((((-1, 0), (1, 0)), right), (((0, -1), (0, 1)), down)):
        assert moved == 0 or set(sides) & set(drawn)


def test_nothing_changes_when_everything_is_off() -> None:
    images = torch.rand(4, 3, 20, 20)
    out = augment_images(images, 20, MEAN, NO_IMAGE_AUGMENTATION, generator())
    assert torch.allclose(out, images, atol=1e-5)


def test_same_seed_same_images_and_other_seed_others() -> None:
    images = torch.rand(8, 3, 32, 32)
    first = augment_images(images, 24, MEAN, ImageAugmentation(), generator(3))
    again = augment_images(images, 24, MEAN, ImageAugmentation(), generator(3))
    other = augment_images(images, 24, MEAN, ImageAugmentation(), generator(4))
    assert first.shape == (8, 3, 24, 24)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_share_of_padded_images_is_the_probability() -> None:
    images = torch.ones(4000, 1, 24, 24)
    config = replace(NO_IMAGE_AUGMENTATION, padaug_p=0.6)
    out = augment_images(images, 24, MEAN[:1], config, generator(5))
    share = (out.flatten(1).min(dim=1).values < 0.5).float().mean().item()
    assert share == pytest.approx(0.6, abs=0.04)


def test_flip_mirrors() -> None:
    images = torch.rand(3, 3, 16, 16)
    out = augment_images(images, 16, MEAN, replace(NO_IMAGE_AUGMENTATION, flip_p=1.0), generator())
    assert torch.allclose(out, images.flip(-1), atol=1e-5)


def test_rotation_keeps_the_centre() -> None:
    images = torch.zeros(5, 1, 31, 31)
    images[:, :, 14:17, 14:17] = 1
    config = replace(NO_IMAGE_AUGMENTATION, rotate_degrees=90.0)
    out = augment_images(images, 31, MEAN[:1], config, generator(6))
    assert (out[:, 0, 15, 15] > 0.9).all()


def test_erased_area_is_filled_with_the_mean() -> None:
    images = torch.zeros(200, 3, 40, 40)
    out = augment_images(
        images, 40, MEAN, replace(NO_IMAGE_AUGMENTATION, erase_p=1.0), generator(7)
    )
    share = (out == 0.5).float().mean(dim=(1, 2, 3))
    assert (share > 0.01).all() and (share < 0.14).all()  # 0.02..0.12, whole pixels


def test_grey_image_has_equal_channels() -> None:
    images = torch.rand(6, 3, 12, 12)
    config = replace(NO_IMAGE_AUGMENTATION, grey_p=1.0)
    out = augment_images(images, 12, MEAN, config, generator())
    assert torch.allclose(out[:, 0], out[:, 1]) and torch.allclose(out[:, 1], out[:, 2])


def test_hue_turn_keeps_grey_pixels() -> None:
    images = torch.rand(4, 1, 10, 10).expand(4, 3, 10, 10) * 0.8
    config = replace(NO_IMAGE_AUGMENTATION, jitter=(0.0, 0.0, 0.0, 0.3), jitter_p=1.0)
    out = augment_images(images, 10, MEAN, config, generator())
    assert torch.allclose(out, images, atol=1e-4)


def test_blur_keeps_constant_images_and_smooths_others() -> None:
    config = replace(NO_IMAGE_AUGMENTATION, blur_p=1.0, blur_sigma=(1.0, 1.0))
    flat = torch.full((2, 3, 12, 12), 0.3)
    assert torch.allclose(augment_images(flat, 12, MEAN, config, generator()), flat, atol=1e-5)
    noise = torch.rand(2, 3, 12, 12)
    assert augment_images(noise, 12, MEAN, config, generator()).std() < noise.std()
