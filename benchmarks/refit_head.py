"""Let a head read another audio encoder: refit the projection of its audio branch.

    python benchmarks/refit_head.py --head FILE --voice FILE --new-voice FILE|NAME --voices DIR
        --out FILE [--clips 200]

Both encoders read the same speech (the train split of --voices, --clips of each corpus). Ridge
regression maps the new features to what the head's projection makes of the former ones; it and
their moments replace the projection, and nothing else in the head changes. Prints the share of
variance that it explains in clips that were left out of the fit. Only for heads whose audio branch
has a projection (dual-branch).
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from held_out import VoiceFeatures
from torch import Tensor, nn

from abawcli.media.audio import Audio, read_audio
from abawcli.models.checkpoint import load_checkpoint, save_checkpoint
from abawcli.models.dualbranch import DualBranch
from abawcli.models.heads import load_head
from abawcli.models.metadata import HeadMetadata
from abawcli.models.normalise import ModalityNorm

STEP_S = 0.08  # between two samples of the features
PENALTY = 100.0  # of the ridge regression
LEFT_OUT = 5  # every fifth clip
CPU = torch.device("cpu")


def read_pairs(
    folder: Path, old: VoiceFeatures, new: VoiceFeatures, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return features (N, Do) and (N, Dn) of the same moments, and the clip of each, (N,)."""
    table = pd.read_csv(folder / "manifest.csv")
    train = table[table["split"] == "train"]
    chosen = train.groupby("corpus").sample(count, random_state=0)["file"]
    rows = []
    for clip, name in enumerate(chosen):
        audio = Audio(read_audio(folder / name).samples, 0.0)
        before, after = old.align([audio]), new.align([audio])
        for k in range(int(len(audio.samples) / 16000 / STEP_S)):
            (a, has_a), (b, has_b) = before.at(k * STEP_S), after.at(k * STEP_S)
            if has_a and has_b:
                rows.append((a, b, clip))
    a, b, clips = zip(*rows, strict=True)
    return (
        torch.from_numpy(np.stack(a).astype(np.float32)),
        torch.from_numpy(np.stack(b).astype(np.float32)),
        torch.tensor(clips),
    )


def fit_ridge(x: Tensor, y: Tensor) -> Tensor:
    """Return weights (D + 1, H), the bias last, that map x (N, D) to y (N, H)."""
    x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], dim=1)
    penalty = torch.eye(x.shape[1], dtype=x.dtype) * PENALTY
    penalty[-1, -1] = 0
    return torch.linalg.solve(x.T @ x + penalty, x.T @ y)


@torch.inference_mode()
def refit(head: DualBranch, old: Tensor, new: Tensor, clips: Tensor) -> float:
    """Change a head in place; return the explained share of variance in clips left out."""
    branch = head.audio
    everywhere = torch.ones(len(old), dtype=torch.bool)
    target = branch.project(branch.norm(old, everywhere)).double()  # (N, H)
    norm = ModalityNorm(new.shape[1])
    unit = nn.functional.normalize(new, dim=-1)  # as ModalityNorm does first
    norm.mean, norm.scale = unit.mean(dim=0), 1 / unit.std(dim=0)
    x = norm(new, everywhere).double()  # (N, D)
    held = clips % LEFT_OUT == 0
    w = fit_ridge(x[~held], target[~held])
    rest = target[held] - (x[held] @ w[:-1] + w[-1])
    explained = 1 - rest.square().sum() / (target[held] - target[held].mean(0)).square().sum()
    w = fit_ridge(x, target).float()
    project = nn.Linear(new.shape[1], target.shape[1])
    project.weight, project.bias = nn.Parameter(w[:-1].T.contiguous()), nn.Parameter(w[-1])
    branch.norm, branch.project = norm, project
    return float(explained)


def main() -> None:
    """Refit a head and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--head", type=Path, required=True)
    parser.add_argument("--voice", required=True, help="Encoder that the head reads.")
    parser.add_argument("--new-voice", required=True, help="Encoder that it is to read.")
    parser.add_argument("--voices", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    old, new = VoiceFeatures(options.voice), VoiceFeatures(options.new_voice)
    trained, metadata = load_head(options.head, CPU)
    whole = trained.head
    head = whole.get_submodule("head") if metadata.face_only == "encoder" else whole
    if not isinstance(head, DualBranch):
        parser.error(f"{options.head}: no dual-branch head")
    explained = refit(head, *read_pairs(options.voices, old, new, options.clips))
    print(f"explained in clips that were left out: {explained:.3f}")
    tensors, _ = load_checkpoint(options.head, HeadMetadata)
    for name, value in whole.state_dict().items():
        tensors[name] = value.to(tensors[name].dtype).contiguous()
    backbones = replace(metadata.backbones, audio=new.describe())
    save_checkpoint(options.out, tensors, replace(metadata, backbones=backbones))


if __name__ == "__main__":
    main()
