"""Draw docs/expressions.png: the sample clip's faces and the probabilities over time.

python docs/make_figure.py
"""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from abawcli.faces.crop import crop_square
from abawcli.formats.abaw import read_annotation
from abawcli.formats.tables import PROBABILITIES
from abawcli.labels import CLASSES
from abawcli.media.video import read_frames
from abawcli.stages.predict import predict_video

matplotlib.use("Agg")
ROOT = Path(__file__).parents[1]
CLIP = ROOT / "sample_videos" / "expressions.mp4"
COLOURS = ("#9a9a9a", "#c0392b", "#6b8e23", "#7d3c98", "#e6a817", "#2e6da4", "#16a085", "#444444")
SHOWN = 10  # faces in the strip


def main() -> None:
    """Predict, draw, save."""
    table = predict_video(CLIP)
    truth = np.asarray(read_annotation(CLIP.with_suffix(".txt")))[: len(table)]
    time_s = table["time_s"].to_numpy()
    figure, (strip, plot, bar) = plt.subplots(
        3, 1, figsize=(10, 4.6), height_ratios=(2.2, 3, 0.35), layout="constrained"
    )
    chosen = {int(k) for k in (np.arange(SHOWN) + 0.5) * len(table) / SHOWN}
    boxes = table[["x", "y", "w", "h"]].to_numpy()
    frames = (f for f in read_frames(CLIP) if f.frame - 1 in chosen)
    faces = [crop_square(f.rgb(), boxes[f.frame - 1], 1.3, 160) for f in frames]
    strip.imshow(np.concatenate(faces, axis=1))
    strip.axis("off")
    plot.stackplot(time_s, table[PROBABILITIES].to_numpy().T, colors=COLOURS, labels=CLASSES)
    plot.set(xlim=(time_s[0], time_s[-1]), ylim=(0, 1), ylabel="probability")
    plot.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=8)
    picture = np.array([matplotlib.colors.to_rgb(c) for c in COLOURS])[truth][None]  # (1, T, 3)
    bar.imshow(picture, aspect="auto", extent=(time_s[0], time_s[-1], 0, 1))
    bar.set(yticks=[], ylabel="drawn", xlabel="seconds")
    figure.savefig(ROOT / "docs" / "expressions.png", dpi=110)


if __name__ == "__main__":
    main()
