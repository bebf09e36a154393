"""Augmentation of training images in batches of tensors, on any device.

It follows Stage I of arXiv 2603.12221. Images are float tensors (B, C, H, W) in 0..1, before
normalisation, so that black is 0. Random numbers are drawn from the given generator, on the CPU,
so that they do not depend on the device.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from abawcli.config import ImageAugmentation

# PadAug. Bars: left, right, top, bottom as (dx, dy); a corner is two bars.
PADAUG_PATTERNS = (
    ((-1, 0),),
    ((1, 0),),
    ((0, -1),),
    ((0, 1),),
    ((-1, 0), (0, -1)),
    ((1, 0), (0, -1)),
    ((-1, 0), (0, 1)),
    ((1, 0), (0, 1)),
)
PADAUG_THICKNESS = (0.03, 0.20)  # share of the side
PADAUG_MAX_AREA = 0.20  # of the two bars of a corner together
PADAUG_FALLBACK = 0.12  # thickness of both bars if no draw is small enough
PADAUG_DRAWS = 20  # attempts


def _uniform(low: float, high: float, size: int, generator: Generator) -> Tensor:
    return torch.empty(size).uniform_(low, high, generator=generator)


def _chosen(p: float, size: int, generator: Generator) -> Tensor:
    return torch.rand(size, generator=generator) < p


def random_resized_crop(
    images: Tensor, size: int, config: ImageAugmentation, generator: Generator
) -> Tensor:
    """Crop, rotate and flip images (B, C, H, W) in one bicubic resampling, (B, C, size, size)."""
    n = len(images)
    area = _uniform(*config.crop_scale, n, generator)  # (B,)
    low, high = config.crop_ratio
    log_ratio = _uniform(math.log(low), math.log(high), n, generator)  # (B,)
    half_w = (area * log_ratio.exp()).sqrt().clamp(max=1.0)  # (B,) share of the width
    half_h = (area / log_ratio.exp()).sqrt().clamp(max=1.0)
    shift_x = (1 - half_w) * _uniform(-1, 1, n, generator)
    shift_y = (1 - half_h) * _uniform(-1, 1, n, generator)
    sign = torch.where(_chosen(config.flip_p, n, generator), -1.0, 1.0)
    angle = _uniform(-1, 1, n, generator) * math.radians(config.rotate_degrees)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [
            torch.stack([sign * half_w * cos, -half_h * sin, shift_x], dim=1),
            torch.stack([sign * half_w * sin, half_h * cos, shift_y], dim=1),
        ],
        dim=1,
    ).to(images.device)  # (B, 2, 3)
    grid = F.affine_grid(theta, [n, images.shape[1], size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


def _luma(images: Tensor) -> Tensor:
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)  # (B, 1, H, W)


def _rotate_hue(images: Tensor, turns: Tensor) -> Tensor:
    """Rotate the colours (B, 3, H, W) around the grey axis by `turns` (B,) of a circle."""
    angle = 2 * math.pi * turns
    cos, sin = angle.cos(), angle.sin() / math.sqrt(3)
    third = (1 - cos) / 3
    rows = [
        [cos + third, third - sin, third + sin],
        [third + sin, cos + third, third - sin],
        [third - sin, third + sin, cos + third],
    ]
    matrix = torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)  # (B, 3, 3)
    return torch.einsum("bij,bjhw->bihw", matrix, images)


def jitter_colour(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of some images (B, C, H, W), and grey some.

    Saturation, hue and greying do not change one-channel images.
    """
    n, channels = images.shape[:2]
    on = _chosen(config.jitter_p, n, generator)
    amounts = torch.stack([_uniform(-a, a, n, generator) for a in config.jitter]) * on  # (4, B)
    brightness, contrast, saturation, hue = amounts.view(4, n, 1, 1, 1).to(images.device)
    images = (images * (1 + brightness)).clamp(0, 1)
    mean = _luma(images).mean(dim=(2, 3), keepdim=True)  # (B, 1, 1, 1)
    images = torch.lerp(mean, images, 1 + contrast).clamp(0, 1)
    if channels == 3:
        images = torch.lerp(_luma(images).expand_as(images), images, 1 + saturation)
        images = _rotate_hue(images, hue.view(n)).clamp(0, 1)
        grey = _chosen(config.grey_p, n, generator).view(n, 1, 1, 1).to(images.device)
        images = torch.where(grey, _luma(images), images)
    return images


def blur(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Blur some of the images (B, C, H, W) with a 3-tap Gaussian of a random sigma."""
    n, channels, height, width = images.shape
    sigma = _uniform(*config.blur_sigma, n, generator)
    side = (-0.5 / sigma**2).exp() * _chosen(config.blur_p, n, generator)  # (B,), 0: no blur
    taps = torch.stack([side, torch.ones(n), side], dim=1)
    taps = (taps / taps.sum(dim=1, keepdim=True)).to(images.device)  # (B, 3)
    kernel = taps.repeat_interleave(channels, dim=0)  # (B*C, 3)
    flat = F.pad(images, (1, 1, 1, 1), mode="replicate").view(1, n * channels, height + 2, -1)
    flat = F.conv2d(flat, kernel.view(-1, 1, 3, 1), groups=n * channels)
    flat = F.conv2d(flat, kernel.view(-1, 1, 1, 3), groups=n * channels)
    return flat.view(n, channels, height, width)


def draw_bars(generator: Generator) -> list[tuple[tuple[int, int], float]]:
    """Return a random PadAug pattern: one or two ((dx, dy), thickness as a share of the side)."""
    pattern = PADAUG_PATTERNS[int(torch.randint(len(PADAUG_PATTERNS), (), generator=generator))]
    if len(pattern) == 1:
        return [(pattern[0], float(_uniform(*PADAUG_THICKNESS, 1, generator)))]
    for _ in range(PADAUG_DRAWS):
        v, h = _uniform(*PADAUG_THICKNESS, 2, generator).tolist()
        if v + h - v * h <= PADAUG_MAX_AREA:
            return [(pattern[0], v), (pattern[1], h)]
    return [(pattern[0], PADAUG_FALLBACK), (pattern[1], PADAUG_FALLBACK)]


def pad_augment(image: Tensor, generator: Generator) -> Tensor:
    """Simulate the black border of a crop at the frame's edge (PadAug).

    For each bar of the pattern, the image (C, H, W) is shifted away from the bar's side by
    1..clip(round(0.02 * side), 1, 10) pixels and filled with black; the bar is then painted black.
    The result has the same shape. Source: arXiv 2603.12221, Stage I.
    """
    image = image.clone()
    for (dx, dy), thickness in draw_bars(generator):
        dim, direction = (2, dx) if dx else (1, dy)
        side = image.shape[dim]
        most = min(max(round(0.02 * side), 1), 10)
        shift = int(torch.randint(1, most + 1, (), generator=generator))
        bar = max(shift, round(thickness * side))  # the bar covers what the shift left empty
        image = image.roll(-direction * shift, dims=dim)
        image.narrow(dim, 0 if direction < 0 else side - bar, bar).zero_()
    return image


def erase(image: Tensor, fill: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Fill a random rectangle of the image (C, H, W) with the colour `fill` (C, 1, 1)."""
    height, width = image.shape[1:]
    area = float(_uniform(*config.erase_scale, 1, generator)) * height * width
    ratio = math.exp(float(_uniform(math.log(0.3), math.log(3.3), 1, generator)))
    h = min(max(round(math.sqrt(area * ratio)), 1), height)
    w = min(max(round(math.sqrt(area / ratio)), 1), width)
    top = int(torch.randint(height - h + 1, (), generator=generator))
    left = int(torch.randint(width - w + 1, (), generator=generator))
    image = image.clone()
    image[:, top : top + h, left : left + w] = fill
    return image


def augment_images(
    images: Tensor, size: int, mean: Tensor, config: ImageAugmentation, generator: Generator
) -> Tensor:
    """Apply the augmentation of Stage I: (B, C, H, W) in 0..1 to (B, C, size, size) in 0..1.

    `mean` (C, 1, 1) is the colour that normalisation maps to 0; erased rectangles have it, as
    published.
    """
    images = random_resized_crop(images, size, config, generator)
    images = blur(jitter_colour(images, config, generator), config, generator)
    padded = _chosen(config.padaug_p, len(images), generator).tolist()
    erased = _chosen(config.erase_p, len(images), generator).tolist()
    out = []
    for image, pad, wipe in zip(images, padded, erased, strict=True):
        changed = pad_augment(image, generator) if pad else image
        out.append(erase(changed, mean, config, generator) if wipe else changed)
    return torch.stack(out)
