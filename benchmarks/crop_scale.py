"""Position and size of the detector's box in face images of other data sets.

An encoder that is trained on such images should get crops of the same scale. Enlarges each image,
detects the face, and prints the distribution of image side / longer side of the box, and of the
distance between the centres of box and image.

    python benchmarks/crop_scale.py IMAGES [--count 400]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from abawcli.faces.crop import read_image, resize_square
from abawcli.faces.detect import load_detector

SIDE = 192  # pixels an image is enlarged to
MARGIN = 48  # of grey around it: the box may reach beyond the image


def measure_image(path: Path, detector: object) -> tuple[float, float, float] | None:
    """Return side / box, and the offset of the box's centre in sides, or None without a face."""
    image = read_image(path)
    if image is None:
        raise SystemExit(f"{path} is no readable image")
    image = resize_square(image, SIDE)
    border = [MARGIN] * 4
    canvas = cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=(128, 128, 128))
    faces = detector.detect([canvas])[0]  # type: ignore[attr-defined]
    if not faces:
        return None
    x, y, w, h = faces[0].box
    centre = canvas.shape[0] / 2
    return SIDE / max(w, h), (x + w / 2 - centre) / SIDE, (y + h / 2 - centre) / SIDE


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", type=Path)
    parser.add_argument("--count", type=int, default=400)
    arguments = parser.parse_args()
    files = sorted(p for p in arguments.images.iterdir() if p.suffix in (".png", ".jpg"))
    files = [files[k] for k in np.linspace(0, len(files) - 1, arguments.count).astype(int)]
    detector = load_detector("retinaface")
    found = [row for row in (measure_image(path, detector) for path in files) if row]
    print(f"{len(found)} faces found in {len(files)} images")
    print(f"{'':24s}{'10 %':>8s}{'median':>8s}{'90 %':>8s}")
    for name, column in zip(("side / box", "centre x", "centre y"), np.array(found).T, strict=True):
        low, middle, high = np.percentile(column, [10, 50, 90])
        print(f"{name:24s}{low:8.2f}{middle:8.2f}{high:8.2f}")


if __name__ == "__main__":
    main()
