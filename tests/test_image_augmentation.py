"""Augmentation: PadAug against its definition, and the batch changes' promises."""

import colorsys
from collections import Counter
from dataclasses import replace
from itertools import permutations
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from abawcli.config import NO_IMAGE_AUGMENTATION, ImageAugmentation
from abawcli.training import image_augmentation as augment
from abawcli.training.image_augmentation import (
    PADAUG_PATTERNS,
    augment_images,
    compress_jpeg,
    defocus,
    draw_bars,
    draw_crops,
    jitter_colour,
    pad_augment,
)

MEAN = torch.full((3, 1, 1), 0.5)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


SIDES = ((-1, 0), (1, 0), (0, -1), (0, 1))  # left, right, top, bottom


def test_padaug_draws_each_pattern_equally_often() -> None:
    bars = draw_bars(8000, generator())
    drawn = Counter(tuple(row) for row in (bars > 0).int().tolist())
    assert set(drawn) == set(PADAUG_PATTERNS)
    assert all(850 < count < 1150 for count in drawn.values())  # 1000 +- 5 sigma


def test_padaug_bars_have_the_published_thickness_and_area() -> None:
    for row in draw_bars(3000, generator(1)).tolist():
        bars = [thickness for thickness in row if thickness]
        assert all(0.0299 <= t <= 0.2001 for t in bars)
        if len(bars) == 2:
            v, h = bars
            area = v + h - v * h
            assert area <= 0.2001 or v == h == pytest.approx(0.12)


def test_padaug_corner_falls_back_when_no_draw_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "PADAUG_MAX_AREA", 0.0)
    bars = draw_bars(50, generator(2))
    corners = bars[(bars > 0).sum(dim=1) == 2]
    assert len(corners)
    assert torch.allclose(corners[corners > 0], torch.tensor(0.12))


@given(st.integers(0, 2**31), st.sampled_from([12, 24, 48, 100, 224, 700]))
def test_padaug_paints_bars_and_shifts_away_from_them(seed: int, side: int) -> None:
    image = torch.arange(1, side * side + 1, dtype=torch.float64).view(1, 1, side, side)
    changed = pad_augment(image, generator(seed))[0]
    assert changed.shape == image.shape[1:]
    bars = draw_bars(1, generator(seed))[0]
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
    widths = (bars * side).round().int()
    drawn = {where: int(widths[k]) for k, where in enumerate(SIDES) if bars[k] > 0}
    most = min(max(round(0.02 * side), 1), 10)
    for where, width in margin.items():
        if where in drawn:
            assert 1 <= moves[where] <= most
            assert width == max(moves[where], drawn[where])
        else:
            assert width == 0
    for sides, moved in ((((-1, 0), (1, 0)), right), (((0, -1), (0, 1)), down)):
        assert moved == 0 or set(sides) & set(drawn)


def test_nothing_changes_when_everything_is_off() -> None:
    images = torch.rand(4, 3, 20, 20)
    out = augment_images(images, 20, MEAN, config=NO_IMAGE_AUGMENTATION, generator=generator())
    assert torch.allclose(out, images, atol=1e-5)


def test_same_seed_same_images_and_other_seed_others() -> None:
    images = torch.rand(8, 3, 32, 32)
    first = augment_images(images, 24, MEAN, config=ImageAugmentation(), generator=generator(3))
    again = augment_images(images, 24, MEAN, config=ImageAugmentation(), generator=generator(3))
    other = augment_images(images, 24, MEAN, config=ImageAugmentation(), generator=generator(4))
    assert first.shape == (8, 3, 24, 24)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_share_of_padded_images_is_the_probability() -> None:
    images = torch.ones(4000, 1, 24, 24)
    config = replace(NO_IMAGE_AUGMENTATION, padaug_p=0.6)
    out = augment_images(images, 24, MEAN[:1], config=config, generator=generator(5))
    share = (out.flatten(1).min(dim=1).values < 0.5).float().mean().item()
    assert share == pytest.approx(0.6, abs=0.04)


def test_flip_mirrors() -> None:
    images = torch.rand(3, 3, 16, 16)
    out = augment_images(
        images, 16, MEAN, config=replace(NO_IMAGE_AUGMENTATION, flip_p=1.0), generator=generator()
    )
    assert torch.allclose(out, images.flip(-1), atol=1e-5)


def test_rotation_keeps_the_centre() -> None:
    images = torch.zeros(5, 1, 31, 31)
    images[:, :, 14:17, 14:17] = 1
    config = replace(NO_IMAGE_AUGMENTATION, rotate_degrees=90.0)
    out = augment_images(images, 31, MEAN[:1], config=config, generator=generator(6))
    assert (out[:, 0, 15, 15] > 0.9).all()


def test_erased_area_is_filled_with_the_mean() -> None:
    images = torch.zeros(200, 3, 40, 40)
    out = augment_images(
        images, 40, MEAN, config=replace(NO_IMAGE_AUGMENTATION, erase_p=1.0), generator=generator(7)
    )
    share = (out == 0.5).float().mean(dim=(1, 2, 3))
    assert (share > 0.01).all() and (share < 0.14).all()  # 0.02..0.12, whole pixels


def test_grey_image_has_equal_channels() -> None:
    images = torch.rand(6, 3, 12, 12)
    config = replace(NO_IMAGE_AUGMENTATION, grey_p=1.0)
    out = augment_images(images, 12, MEAN, config=config, generator=generator())
    assert torch.allclose(out[:, 0], out[:, 1]) and torch.allclose(out[:, 1], out[:, 2])


class Crop(NamedTuple):
    top: int
    left: int
    height: int
    width: int


@given(st.integers(0, 2**31), st.integers(5, 60), st.integers(5, 60))
def test_crops_have_the_published_area_and_lie_within_the_image(
    seed: int, height: int, width: int
) -> None:
    config = ImageAugmentation()
    for crop in map(
        Crop._make, draw_crops(20, height, width, config, generator=generator(seed)).tolist()
    ):
        assert 0 <= crop.top <= height - crop.height and 0 <= crop.left <= width - crop.width
        rounding = 0.5 * (crop.height + crop.width) + 0.25
        area = crop.height * crop.width
        largest = min(height, round(width * 4 / 3)), min(width, round(height * 4 / 3))
        if (crop.height, crop.width) != largest:
            assert 0.8 * height * width - rounding <= area <= height * width + rounding
            assert (crop.width + 0.5) / (crop.height - 0.5) >= 3 / 4
            assert (crop.width - 0.5) / (crop.height + 0.5) <= 4 / 3


def test_crops_are_drawn_anew_where_they_do_not_fit_and_uniformly_placed() -> None:
    crops = draw_crops(4000, 40, 40, ImageAugmentation(), generator=generator(1))
    assert len(crops.unique(dim=0)) > 300
    top, left, height, width = crops.double().T
    for start, size in ((top, height), (left, width)):
        share = start / (40 - size).clamp(min=1)
        assert share[size < 36].mean().item() == pytest.approx(0.5, abs=0.05)
    # An area of 0.9 or more leaves fewer ratios that fit, so that smaller areas are more frequent.
    assert 0.8 < (height * width / 1600).mean() < 0.9


def test_a_crop_that_never_fits_is_the_largest_at_the_centre() -> None:
    config = replace(NO_IMAGE_AUGMENTATION, crop_ratio=(3 / 4, 4 / 3))
    for height, width, expected in ((10, 40, [0, 13, 10, 13]), (40, 10, [13, 0, 13, 10])):
        assert (
            draw_crops(3, height, width, config, generator=generator()).tolist() == [expected] * 3
        )


def test_crops_are_resized_with_antialiasing() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 37, 29), np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, crop_ratio=(29 / 37, 29 / 37))  # the whole image
    out = augment_images(
        torch.from_numpy(pixels)[None] / 255, 13, MEAN, config=config, generator=generator()
    )
    image = Image.fromarray(pixels.transpose(1, 2, 0)).resize((13, 13), Image.Resampling.BICUBIC)
    expected = np.asarray(image).transpose(2, 0, 1) / 255
    assert np.abs(out[0].numpy() - expected).max() < 1.01 / 255


def luma(image: np.ndarray) -> np.ndarray:
    return np.tensordot([0.299, 0.587, 0.114], image, 1)


def change_plainly(image: np.ndarray, kind: int, amount: float) -> np.ndarray:
    """Return ColorJitter's change of an image (3, H, W), by its documented formula."""
    if kind == 3:
        pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(3, -1).T]
        turned = [colorsys.hsv_to_rgb((h + amount) % 1, s, v) for h, s, v in pixels]
        return np.array(turned).T.reshape(image.shape)
    other = (np.zeros(1), luma(image).mean(), luma(image))[kind]
    return np.clip((1 + amount) * image + (1 - (1 + amount)) * other, 0, 1)


def test_colour_is_changed_in_any_order_by_the_published_formulas() -> None:
    images = torch.rand(48, 3, 5, 4, dtype=torch.float64, generator=generator(3))
    config = replace(ImageAugmentation(), jitter=(0.4, 0.4, 0.5, 0.3), jitter_p=1.0)
    out = jitter_colour(images, config, generator(8)).numpy()
    source = generator(8)
    torch.rand(48, generator=source)  # whether an image is changed
    amounts = [torch.empty(48).uniform_(-a, a, generator=source).tolist() for a in config.jitter]
    found = Counter()
    for k, image in enumerate(images.numpy()):
        orders = []
        for order in permutations(range(4)):
            changed = image
            for kind in order:
                changed = change_plainly(changed, kind, amounts[kind][k])
            if np.abs(changed - out[k]).max() < 1e-6:
                orders.append(order)
        assert orders
        found.update(order[0] for order in orders[:1])
    assert set(found) == {0, 1, 2, 3} and min(found.values()) >= 4


def test_colour_of_some_images_is_kept() -> None:
    images = torch.rand(600, 3, 4, 4)
    out = jitter_colour(images, ImageAugmentation(), generator(2))
    kept = (out == images).flatten(1).all(dim=1).float().mean().item()
    assert kept == pytest.approx(0.2, abs=0.05)


def test_hue_turn_keeps_grey_pixels() -> None:
    images = torch.rand(4, 1, 10, 10).expand(4, 3, 10, 10) * 0.8
    config = replace(NO_IMAGE_AUGMENTATION, jitter=(0.0, 0.0, 0.0, 0.3), jitter_p=1.0)
    out = augment_images(images, 10, MEAN, config=config, generator=generator())
    assert torch.allclose(out, images, atol=1e-4)


@pytest.mark.parametrize(
    "on", [{"blur_p": 1.0, "blur_sigma": (1.0, 1.0)}, {"defocus_p": 1.0, "defocus": (0.05, 0.1)}]
)
def test_blurs_keep_constant_images_and_smooth_others(on: dict[str, Any]) -> None:
    config = replace(NO_IMAGE_AUGMENTATION, **on)
    flat = torch.full((2, 3, 12, 12), 0.3)
    assert torch.allclose(
        augment_images(flat, 12, MEAN, config=config, generator=generator()), flat, atol=1e-5
    )
    noise = torch.rand(2, 3, 12, 12)
    assert augment_images(noise, 12, MEAN, config=config, generator=generator()).std() < noise.std()


def test_defocus_is_a_gaussian_blur_of_some_images() -> None:
    rng = np.random.default_rng(0)
    images = torch.from_numpy(rng.random((200, 3, 40, 44), np.float32))
    config = replace(NO_IMAGE_AUGMENTATION, defocus_p=0.3, defocus=(0.05, 0.05))
    out = defocus(images, config, generator())
    changed = (out != images).flatten(1).any(dim=1)
    assert changed.float().mean() == pytest.approx(0.3, abs=0.1)
    for k in changed.nonzero()[:5, 0].tolist():
        pixels = images[k].permute(1, 2, 0).numpy()
        expected = cv2.GaussianBlur(pixels, (11, 11), 2, borderType=cv2.BORDER_REFLECT_101)
        np.testing.assert_allclose(out[k].permute(1, 2, 0), expected, atol=1e-5)


def test_jpeg_is_that_of_the_library() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (6, 11), np.uint8)  # 8 pixels each: edges within JPEG's blocks
    image = cv2.GaussianBlur(cv2.resize(blocks, (44, 36)), None, 2)
    image = np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)
    for quality in (20, 50, 80):
        coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        expected = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)) / 255
        ours = compress_jpeg(torch.from_numpy(image)[None, None] / 255, torch.tensor([quality]))
        assert (ours[0, 0] - expected).abs().mean() < 0.003  # rounding


def test_low_resolution_shrinks_some_images() -> None:
    images = torch.rand(400, 1, 24, 24)
    config = replace(NO_IMAGE_AUGMENTATION, low_resolution_p=0.4, low_resolution=(0.25, 0.25))
    out = augment_images(images, 24, MEAN[:1], config=config, generator=generator())
    changed = ~(out - images).abs().flatten(1).amax(dim=1).lt(1e-4)
    assert changed.float().mean() == pytest.approx(0.4, abs=0.1)
    assert out[changed].std() < 0.5 * images.std()
    assert torch.allclose(out[changed].mean(), images[changed].mean(), atol=0.01)


def test_noise_has_at_most_the_given_deviation() -> None:
    images = torch.full((300, 1, 20, 20), 0.5)
    config = replace(NO_IMAGE_AUGMENTATION, noise_p=1.0, noise=0.1)
    deviation = (
        augment_images(images, 20, MEAN[:1], config=config, generator=generator())
        .flatten(1)
        .std(dim=1)
    )
    assert deviation.max() < 0.11 and deviation.mean() == pytest.approx(0.05, abs=0.005)


def test_sharpening_raises_contrast_of_edges_only() -> None:
    config = replace(NO_IMAGE_AUGMENTATION, sharpen_p=1.0)
    flat = torch.full((2, 3, 12, 12), 0.3)
    assert torch.allclose(
        augment_images(flat, 12, MEAN, config=config, generator=generator()), flat, atol=1e-5
    )
    edge = torch.full((8, 1, 12, 12), 0.3)
    edge[..., 6:] = 0.6
    out = augment_images(edge, 12, MEAN[:1], config=config, generator=generator())
    assert (out[..., 6] >= 0.6 - 1e-6).all() and (out[..., 5] <= 0.3 + 1e-6).all()
    assert (out[..., 6].amax() > 0.62) and torch.allclose(out[..., 0], edge[..., 0], atol=1e-5)


def test_gamma_keeps_black_and_white() -> None:
    images = torch.tensor([0.0, 0.25, 1.0]).repeat_interleave(16).view(3, 1, 4, 4)
    config = replace(NO_IMAGE_AUGMENTATION, jitter=(0, 0, 0, 0), jitter_p=1.0, gamma=2.0)
    levels = set()
    for seed in range(20):
        out = augment_images(images, 4, MEAN[:1], config=config, generator=generator(seed))
        assert torch.allclose(out[[0, 2]], images[[0, 2]], atol=1e-5)
        levels.add(round(float(out[1].mean()), 4))
    assert 0.0624 <= min(levels) < 0.15 and 0.35 < max(levels) <= 0.5001  # 0.25 ** 2 to 0.25 ** 0.5


def test_crops_larger_than_the_image_show_its_reflection() -> None:
    images = torch.full((5, 1, 16, 16), 0.5)
    images[..., :4] = 0.7
    config = replace(NO_IMAGE_AUGMENTATION, crop_scale=(2.0, 2.0), crop_shift=0.2)
    out = augment_images(images, 16, MEAN[:1], config=config, generator=generator())
    assert out.min() > 0.4  # no black


def test_erased_area_may_have_any_level() -> None:
    images = torch.full((64, 1, 20, 20), 0.5)
    config = replace(
        NO_IMAGE_AUGMENTATION, erase_p=1.0, erase_scale=(0.2, 0.3), erase_any_level=True
    )
    out = augment_images(images, 20, MEAN[:1], config=config, generator=generator())
    levels = [set(image[(image - 0.5).abs() > 1e-4].tolist()) for image in out]
    assert all(len(level) == 1 for level in levels)
    assert len(set.union(*levels)) == 64
