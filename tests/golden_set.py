"""What the commands make of two sample videos: the set that a change of structure must not change.

    python tests/golden_set.py make           write the tables of tests/golden anew
    python tests/golden_set.py run FOLDER     write all outputs of this version into a folder

Two runs of `run` on one machine can be compared byte by byte (`diff -r`); the tables that are kept
are compared within tolerances, as another CPU rounds otherwise.
"""

import contextlib
import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sample_clips import abaw, copy_labels, thin_clip

from abawcli.formats.features import read_features
from abawcli.formats.tables import read_table
from abawcli.labels import CLASSES

GOLDEN = Path(__file__).parent / "golden"
CLIP = "leaves_and_returns_vfr"


def run_commands(out: Path) -> None:
    """Write the outputs of the commands into a folder, whose name is in none of them."""
    out.mkdir(parents=True, exist_ok=True)
    copy_labels(out / "labels")
    clip = Path(shutil.copy(thin_clip(CLIP), out)).name
    turned = Path(shutil.copy(thin_clip("rotated_phone"), out)).name
    with contextlib.chdir(out):
        abaw("predict", clip, turned, "-o", "compact", "-q")
        abaw("predict", clip, "-o", "dual.csv", "--recipe", "compact-dual-branch", "-q")
        abaw("predict", clip, "-o", "all.csv", "--subject", "all", "-q")
        abaw("predict", clip, "-o", "raw.csv", "--no-smooth", "-q")
        abaw("crop", clip, "-o", "crops", "-q")
        abaw("extract", clip, "-o", "features.safetensors", "-q")
        abaw("predict", "features.safetensors", "-o", "from_features.csv", "-q")
        abaw("smooth", "raw.csv", "-o", "smooth.csv", "-q")
        Path("score.json").write_text(
            abaw("score", f"compact/{CLIP}.csv", f"labels/{CLIP}.txt", "--json")
        )
        frames = len(read_table(Path(f"compact/{CLIP}.csv")))
        rows = [f"{CLIP}/{k:05d}.jpg{',' * len(CLASSES)}" for k in range(1, frames + 1)]
        Path("sample.txt").write_text(
            "\n".join([f"image_location,{','.join(CLASSES)}", *rows]) + "\n"
        )
        abaw(
            "submit",
            f"compact/{CLIP}.csv",
            "--template",
            "sample.txt",
            "-o",
            "submission.txt",
            "-q",
        )


def read_outputs(out: Path) -> dict[str, pd.DataFrame]:
    """Return the outputs as tables, by name."""
    names = [f"compact/{CLIP}", "compact/rotated_phone", "dual", "all", "raw"]
    names += ["from_features", "smooth"]
    tables = {name.replace("/", "_"): read_table(out / f"{name}.csv") for name in names}
    tables["faces"] = pd.read_parquet(out / "crops" / CLIP / "faces.parquet")
    features = read_features(out / "features.safetensors")
    # A projection onto three fixed directions stands for the features: enough to see a change.
    directions = np.random.default_rng(0).standard_normal((3, features.visual.shape[1]))
    projected = features.visual.astype(np.float64) @ directions.T
    tables["features"] = pd.DataFrame(projected, columns=["a", "b", "c"]).assign(
        frame=features.frame, time_s=features.time_s, has_visual=features.has_visual
    )
    score = json.loads((out / "score.json").read_text())
    figures = {key: score[key] for key in ("macro_f1", "accuracy")}
    tables["score"] = pd.DataFrame([figures])
    lines = (out / "submission.txt").read_text().splitlines()
    tables["submission"] = pd.DataFrame({"line": lines})
    return tables


if __name__ == "__main__":
    if sys.argv[1] == "run":
        run_commands(Path(sys.argv[2]).absolute())
        for path in sorted(Path(sys.argv[2]).rglob("*")):
            if path.is_file() and not path.name.endswith(".provenance.json"):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
                print(digest, path.relative_to(sys.argv[2]))
    else:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            run_commands(Path(folder))
            GOLDEN.mkdir(exist_ok=True)
            for name, table in read_outputs(Path(folder)).items():
                table.to_parquet(GOLDEN / f"{name}.parquet", compression="zstd", index=False)
