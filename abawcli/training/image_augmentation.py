"""Augmentation of training images in batches of tensors, on any device.

It has that of Stage I of arXiv 2603.12221, with PadAug (`pad_augment`), and adds degradations of
video: low resolution, defocus, noise, JPEG artefacts, sharpening, other gammas. Images are float
tensors (B, C, H, W) in 0..1, before normalisation, so black is 0. Random numbers are drawn from the
given generator, on the CPU, so they do not depend on the device.
"""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from abawcli.config import ImageAugmentation
from abawcli.models.preprocessing import find_luma

# PadAug: the sides that have a bar, as (left, right, top, bottom). A corner is two bars.
PADAUG_PATTERNS = (
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (1, 0, 1, 0),
    (0, 1, 1, 0),
    (1, 0, 0, 1),
    (0, 1, 0, 1),
)
PADAUG_THICKNESS = (0.03, 0.20)  # share of the side
PADAUG_MAX_AREA = 0.20  # of the two bars of a corner together
PADAUG_FALLBACK = 0.12  # thickness of both bars if no draw is small enough
PADAUG_DRAWS = 20  # attempts
CROP_DRAWS = 10  # attempts, as torchvision's
SHARPEST = -0.15  # outer taps of the strongest sharpening, beside a middle tap of 1
JPEG_BLOCK = 8
# Quantisation of the luma at quality 50 (ITU-T T.81, annex K.1), used for all channels.
JPEG_TABLE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def _uniform(low: float, high: float, size: int, generator: Generator) -> Tensor:
    return torch.empty(size).uniform_(low, high, generator=generator)


def _chosen(p: float, size: int, generator: Generator) -> Tensor:
    return torch.rand(size, generator=generator) < p


def draw_crops(
    n: int, height: int, width: int, config: ImageAugmentation, *, generator: Generator
) -> Tensor:
    """Return n random crops (n, 4) as top, left, height and width in pixels.

    As torchvision's RandomResizedCrop draws them: area and the logarithm of width / height are
    uniform, and drawn again until the crop lies within the image. If none of CROP_DRAWS does, the
    crop is the largest one at the centre of an allowed width / height.
    """
    shape = (n, CROP_DRAWS)
    area = _uniform(*config.crop_scale, n * CROP_DRAWS, generator).view(shape) * height * width
    low, high = config.crop_ratio
    log_ratio = _uniform(math.log(low), math.log(high), n * CROP_DRAWS, generator)
    ratio = log_ratio.exp().view(shape)
    drawn = torch.stack([(area / ratio).sqrt(), (area * ratio).sqrt()], dim=2).round()
    image = torch.tensor([height, width])
    fits = ((drawn > 0) & (drawn <= image)).all(dim=2)  # (n, draws)
    size = drawn[torch.arange(n), fits.int().argmax(dim=1)]  # (n, 2)
    some = fits.any(dim=1, keepdim=True)  # (n, 1)
    fallback = torch.tensor([min(height, round(width / low)), min(width, round(height * high))])
    size = torch.where(some, size, fallback)
    space = image - size
    start = (torch.rand(n, 2, generator=generator) * (space + 1)).floor().minimum(space)
    return torch.cat([torch.where(some, start, (space / 2).floor()), size], dim=1).int()


def random_resized_crop(
    images: Tensor, size: int, config: ImageAugmentation, generator: Generator
) -> Tensor:
    """Crop images (B, C, H, W), resize them with antialiasing, (B, C, size, size), flip some."""
    n, _, height, width = images.shape
    crops = draw_crops(n, height, width, config, generator=generator).tolist()
    cropped = [images[k : k + 1, :, y : y + h, x : x + w] for k, (y, x, h, w) in enumerate(crops)]
    resized = [F.interpolate(one, (size, size), mode="bicubic", antialias=True) for one in cropped]
    flip = _chosen(config.flip_p, n, generator).view(n, 1, 1, 1).to(images.device)
    moved = torch.cat(resized)
    return torch.where(flip, moved.flip(-1), moved).clamp(0, 1)


def warp(images: Tensor, size: int, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Crop, rotate and flip images (B, C, H, W) in one bicubic resampling, (B, C, size, size).

    The area outside an image is filled by reflection: crops of a video show more of the scene.
    """
    n = len(images)
    area = _uniform(*config.crop_scale, n, generator)  # (B,)
    low, high = config.crop_ratio
    log_ratio = _uniform(math.log(low), math.log(high), n, generator)  # (B,)
    most = math.sqrt(max(config.crop_scale[1], 1.0))
    half_w = (area * log_ratio.exp()).sqrt().clamp(max=most)  # (B,) share of the width
    half_h = (area / log_ratio.exp()).sqrt().clamp(max=most)
    more = 2 * config.crop_shift  # the grid is 2 wide
    shift_x = ((1 - half_w).abs() + more) * _uniform(-1, 1, n, generator)
    shift_y = ((1 - half_h).abs() + more) * _uniform(-1, 1, n, generator)
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
    return resample(images, theta, size)


def resample(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Return images (B, C, H, W) through affine matrices (B, 2, 3), bicubic: (B, C, size, size).

    Outside an image is its reflection. On MPS this is computed on the CPU, because `grid_sample`
    has neither of both there in older versions of torch.
    """
    device = images.device
    if device.type == "mps":
        images, matrices = images.cpu(), matrices.cpu()
    shape = [*images.shape[:2], size, size]
    grid = F.affine_grid(matrices, shape, align_corners=False)
    moved = F.grid_sample(
        images, grid, mode="bicubic", padding_mode="reflection", align_corners=False
    )
    return moved.clamp(0, 1).to(device)


def _change_brightness(images: Tensor, factor: Tensor) -> Tensor:
    return (images * factor).clamp(0, 1)


def _change_contrast(images: Tensor, factor: Tensor) -> Tensor:
    mean = find_luma(images).mean(dim=(2, 3), keepdim=True)  # (B, 1, 1, 1)
    return torch.lerp(mean, images, factor).clamp(0, 1)


def _change_saturation(images: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(find_luma(images).expand_as(images), images, factor).clamp(0, 1)


def _turn_hue(images: Tensor, factor: Tensor) -> Tensor:
    """Shift the hue in HSV of images (B, 3, H, W) by `factor` (B, 1, 1, 1) of a circle."""
    value, chroma = images.amax(dim=1), images.amax(dim=1) - images.amin(dim=1)  # (B, H, W)
    red, green, blue = images.unbind(dim=1)
    some = torch.where(chroma > 0, chroma, 1)
    hue = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )  # in sixths of a circle
    hue = hue + 6 * factor.squeeze(1)
    sector = torch.stack([(hue + offset) % 6 for offset in (5, 3, 1)], dim=1)  # of R, G, B
    return value[:, None] - chroma[:, None] * sector.minimum(4 - sector).clamp(0, 1)


def jitter_colour(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of some images (B, C, H, W).

    The four changes and their order are those of torchvision's ColorJitter: factors are uniform in
    1 - a to 1 + a, the shift of the hue in -a to a, and each image has its own random order.
    Saturation and hue of one-channel images are not changed. Gamma is changed before.
    """
    n = len(images)
    on = _chosen(config.jitter_p, n, generator)
    amounts = torch.stack([_uniform(-a, a, n, generator) for a in config.jitter])  # (4, B)
    brightness, contrast, saturation, hue = amounts.view(4, n, 1, 1, 1).to(images)
    order = torch.rand(n, len(config.jitter), generator=generator).argsort(dim=1)  # (B, 4)
    if config.gamma > 1:
        exponent = math.log(config.gamma) * _uniform(-1, 1, n, generator) * on  # (B,)
        images = images ** exponent.exp().view(n, 1, 1, 1).to(images.device)
    changes = [(_change_brightness, 1 + brightness), (_change_contrast, 1 + contrast)]
    if images.shape[1] == 3:
        changes += [(_change_saturation, 1 + saturation), (_turn_hue, hue)]
    for position in order.T:  # (B,)
        for k, (change, amount) in enumerate(changes):
            rows = ((position == k) & on).nonzero()[:, 0].to(images.device)
            images = images.index_copy(0, rows, change(images[rows], amount[rows]))
    return images


def make_grey(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Make some images (B, C, H, W) grey."""
    grey = _chosen(config.grey_p, len(images), generator).view(-1, 1, 1, 1).to(images.device)
    return torch.where(grey, find_luma(images), images)


def blur(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Blur some images (B, C, H, W) with a 3-tap Gaussian of a random sigma; sharpen others."""
    n = len(images)
    sigma = _uniform(*config.blur_sigma, n, generator)
    side = (-0.5 / sigma**2).exp() * _chosen(config.blur_p, n, generator)  # (B,), 0: no blur
    sharpened = _chosen(config.sharpen_p, n, generator)
    side = torch.where(sharpened, _uniform(SHARPEST, 0, n, generator), side)
    side = side.view(n, 1, 1, 1).to(images.device)
    x = F.pad(images, (1, 1, 1, 1), mode="reflect")
    x = (x[..., 1:-1] + side * (x[..., :-2] + x[..., 2:])) / (1 + 2 * side)
    x = (x[:, :, 1:-1] + side * (x[:, :, :-2] + x[:, :, 2:])) / (1 + 2 * side)
    return x.clamp(0, 1)


def defocus(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Blur some images (B, C, H, W) with a Gaussian of a random deviation, as if out of focus."""
    if not config.defocus_p:
        return images
    some = _chosen(config.defocus_p, len(images), generator).nonzero()[:, 0]
    if not len(some):
        return images
    side = min(images.shape[2:])
    reach = min(math.ceil(2.5 * side * config.defocus[1]), side - 1)  # taps on each side
    sigma = side * _uniform(*config.defocus, len(some), generator)  # (b,) pixels
    taps = (-0.5 * (torch.arange(-reach, reach + 1) / sigma[:, None]) ** 2).exp()  # (b, taps)
    taps = (taps / taps.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    some, taps = some.to(images.device), taps.to(images)
    x = F.pad(images[some], [reach] * 4, mode="reflect").flatten(0, 1)[None]  # (1, b * C, H', W')
    for shape in ((-1, 1, 1, 2 * reach + 1), (-1, 1, 2 * reach + 1, 1)):
        x = F.conv2d(x, taps.view(shape), groups=len(taps))
    return images.index_copy(0, some, x.view(len(some), *images.shape[1:]).clamp(0, 1))


def lower_resolution(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Shrink some images (B, C, H, W), all to one size, and enlarge them again."""
    low, high = config.low_resolution
    share = float(_uniform(low, high, 1, generator))
    some = _chosen(config.low_resolution_p, len(images), generator).nonzero()[:, 0]
    if not len(some):
        return images
    some = some.to(images.device)
    height, width = images.shape[2:]
    small = [max(1, round(share * side)) for side in (height, width)]
    shrunk = F.interpolate(images[some], small, mode="area")
    grown = F.interpolate(shrunk, (height, width), mode="bicubic", align_corners=False)
    return images.index_copy(0, some, grown.clamp(0, 1))


def add_noise(images: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Add Gaussian noise of a random deviation to some images (B, C, H, W)."""
    some = _chosen(config.noise_p, len(images), generator).nonzero()[:, 0]
    if not len(some):
        return images
    deviation = _uniform(0, config.noise, len(some), generator).view(-1, 1, 1, 1)
    noise = deviation * torch.randn(len(some), *images.shape[1:], generator=generator)
    some = some.to(images.device)
    noisy = images[some] + noise.to(images.device)
    return images.index_copy(0, some, noisy.clamp(0, 1))


def compress_jpeg(images: Tensor, quality: Tensor) -> Tensor:
    """Quantise images (B, C, H, W) in 0..1 as JPEG with a quality (B,) from 1 to 100.

    Each channel is quantised as luma is, at full resolution.
    """
    n, channels, height, width = images.shape
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality).to(images)  # (B,)
    table = (images.new_tensor(JPEG_TABLE) * scale.view(n, 1, 1) / 100).round().clamp(1, 255)
    table = table.view(n, 1, 1, 1, JPEG_BLOCK, JPEG_BLOCK)
    down, right = -height % JPEG_BLOCK, -width % JPEG_BLOCK
    padded = F.pad(images, (0, right, 0, down), mode="replicate") * 255 - 128
    blocks = padded.unfold(2, JPEG_BLOCK, JPEG_BLOCK).unfold(3, JPEG_BLOCK, JPEG_BLOCK)
    cosines = _cosine_matrix().to(images)  # (8, 8)
    kept = (cosines @ blocks @ cosines.T / table).round() * table  # (B, C, H/8, W/8, 8, 8)
    pixels = (cosines.T @ kept @ cosines).transpose(3, 4).reshape(padded.shape)
    return ((pixels[:, :, :height, :width] + 128) / 255).clamp(0, 1)


def _cosine_matrix() -> Tensor:
    """Return the matrix (8, 8) of the orthonormal discrete cosine transform."""
    k = torch.arange(JPEG_BLOCK)
    matrix = torch.cos(math.pi / JPEG_BLOCK * k[:, None] * (k + 0.5)) * math.sqrt(2 / JPEG_BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def draw_bars(n: int, generator: Generator) -> Tensor:
    """Return the bars of n random PadAug patterns: thickness (n, 4) as a share of the side.

    Columns are left, right, top, bottom; 0 is no bar.
    """
    chosen = torch.randint(len(PADAUG_PATTERNS), (n,), generator=generator)
    pattern = torch.tensor(PADAUG_PATTERNS)[chosen]  # (n, 4)
    drawn = _uniform(*PADAUG_THICKNESS, n * PADAUG_DRAWS * 2, generator)
    v, h = drawn.view(2, n, PADAUG_DRAWS)  # draws of the vertical and of the horizontal bar
    fits = v + h - v * h <= PADAUG_MAX_AREA  # (n, draws)
    fits |= (pattern.sum(dim=1) == 1)[:, None]  # a bar alone may have any thickness
    first = fits.int().argmax(dim=1, keepdim=True)  # (n, 1)
    pair = torch.cat([v.gather(1, first), h.gather(1, first)], dim=1)  # (n, 2)
    pair = torch.where(fits.any(dim=1, keepdim=True), pair, PADAUG_FALLBACK)
    return pattern * pair.repeat_interleave(2, dim=1)


def pad_augment(images: Tensor, generator: Generator) -> Tensor:
    """Simulate the black border of crops at the frame's edge (PadAug).

    For each bar of an image's pattern, the image is shifted away from the bar's side by
    1..clip(round(0.02 * side), 1, 10) pixels and filled with black; the bar is then painted black.
    Images are (B, C, H, W) and keep their shape. Source: arXiv 2603.12221, Stage I.
    """
    n = len(images)
    bars = draw_bars(n, generator)
    for dim, first in ((3, 0), (2, 2)):
        side = images.shape[dim]
        most = min(max(round(0.02 * side), 1), 10)
        shift = torch.randint(1, most + 1, (n, 1), generator=generator)
        pair = bars[:, first : first + 2]  # (n, 2) at the low and at the high end
        # The bar covers what the shift leaves empty.
        widths = torch.where(pair > 0, (pair * side).round().int().maximum(shift), 0)
        moved = shift * (widths > 0) * torch.tensor([1, -1])  # (n, 2)
        pixel = torch.arange(side)
        source = (pixel - moved.sum(dim=1, keepdim=True)) % side  # (n, side)
        black = (pixel < widths[:, :1]) | (pixel >= side - widths[:, 1:])  # (n, side)
        shape = [n, 1, 1, 1]
        shape[dim] = side
        source, black = (x.view(shape).to(images.device) for x in (source, black))
        images = images.gather(dim, source.expand_as(images)).masked_fill(black, 0)
    return images


def erase(images: Tensor, fill: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Fill a random rectangle of each image (B, C, H, W) with its colour `fill` (B, C, 1, 1)."""
    n, _, height, width = images.shape
    area = _uniform(*config.erase_scale, n, generator) * height * width  # (B,)
    ratio = _uniform(math.log(0.3), math.log(3.3), n, generator).exp()
    inside = torch.ones(n, 1, 1, 1, dtype=torch.bool, device=images.device)
    for dim, length in ((2, (area * ratio).sqrt()), (3, (area / ratio).sqrt())):
        side = images.shape[dim]
        length = length.round().clamp(1, side)  # (B,)
        start = (torch.rand(n, generator=generator) * (side - length + 1)).floor()
        pixel = torch.arange(side)
        covered = (pixel >= start[:, None]) & (pixel < (start + length)[:, None])  # (B, side)
        shape = [n, 1, 1, 1]
        shape[dim] = side
        inside = inside & covered.view(shape).to(images.device)
    return torch.where(inside, fill, images)


def _choose_fill(n: int, mean: Tensor, config: ImageAugmentation, generator: Generator) -> Tensor:
    """Return the colour of the erased rectangles (B, C, 1, 1): the mean, or any grey."""
    if not config.erase_any_level:
        return mean.expand(n, *mean.shape)
    return torch.rand(n, 1, 1, 1, generator=generator).to(mean.device).expand(n, *mean.shape)


def augment_images(
    images: Tensor, size: int, mean: Tensor, *, config: ImageAugmentation, generator: Generator
) -> Tensor:
    """Augment images (B, C, H, W) in 0..1; return (B, C, size, size) in 0..1.

    `mean` (C, 1, 1) is the colour that normalisation maps to 0, the published fill of erased
    rectangles.
    """
    n = len(images)

    def choose(p: float) -> Tensor:
        return _chosen(p, n, generator).view(n, 1, 1, 1).to(images.device)

    crop = warp if config.warps else random_resized_crop
    images = crop(images, size, config, generator)
    images = make_grey(jitter_colour(images, config, generator), config, generator)
    images = defocus(blur(images, config, generator), config, generator)
    images = add_noise(lower_resolution(images, config, generator), config, generator)
    if config.jpeg_p:
        quality = _uniform(*config.jpeg_quality, n, generator)
        images = torch.where(choose(config.jpeg_p), compress_jpeg(images, quality), images)
    images = torch.where(choose(config.padaug_p), pad_augment(images, generator), images)
    fill = _choose_fill(n, mean, config, generator)
    return torch.where(choose(config.erase_p), erase(images, fill, config, generator), images)
