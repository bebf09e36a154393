"""MobileNet from weights that were trained to tell faces apart."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from numpy.typing import NDArray
from tiny_models import save_image_set
from torch.nn import functional as F

from abawcli.cli import main
from abawcli.config import MOBILENET_TRAINING, NO_IMAGE_AUGMENTATION
from abawcli.errors import CheckpointError, UsageError
from abawcli.formats.hashing import hash_file
from abawcli.models.encoder import load_backbone
from abawcli.models.mobilenet import (
    BLOCKS,
    MEANS,
    PREPROCESS,
    STEM,
    MobileNet,
    load_published_weights,
)
from abawcli.stages.train_face import train_face_encoder

STEM_KERNEL = "conv1/convolution/merged_input"


@pytest.fixture(scope="module")
def arrays() -> dict[str, NDArray[np.float32]]:
    """Return random arrays of the published names and shapes."""
    rng = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        STEM_KERNEL: (3, 3, 3, STEM),
        "conv1_bn/batchnorm_1/sub": (STEM,),
        "feats/kernel": (BLOCKS[-1][0], 256),
        "feats/bias": (256,),
    }
    inputs = STEM
    for k, (width, _) in enumerate(BLOCKS, 1):
        shapes[f"conv_dw_{k}/depthwise_kernel"] = (3, 3, inputs, 1)
        shapes[f"conv_dw_{k}_bn/batchnorm_1/mul"] = (inputs,)
        shapes[f"conv_dw_{k}_bn/batchnorm_1/sub"] = (inputs,)
        shapes[f"conv_pw_{k}/convolution/merged_input"] = (1, 1, inputs, width)
        shapes[f"conv_pw_{k}_bn/batchnorm_1/sub"] = (width,)
        inputs = width
    return {k: rng.standard_normal(s).astype(np.float16) * 0.05 for k, s in shapes.items()}


@pytest.fixture(scope="module")
def published(
    arrays: dict[str, NDArray[np.float32]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Write the arrays as a graph model of TensorFlow.js, in half precision."""
    folder = tmp_path_factory.mktemp("published")
    half = {name: array.astype(np.float16) for name, array in arrays.items()}
    entries = [
        {"name": k, "shape": a.shape, "dtype": "float32", "quantization": {"dtype": "float16"}}
        for k, a in half.items()
    ]
    manifest = [{"paths": ["faceres.bin"], "weights": entries}]
    (folder / "faceres.bin").write_bytes(b"".join(a.tobytes() for a in half.values()))
    path = folder / "faceres.json"
    path.write_text(json.dumps({"weightsManifest": manifest}))
    return path


def test_the_grey_network_does_what_the_published_one_does(
    published: Path, arrays: dict[str, NDArray[np.float32]]
) -> None:
    """The first block of both, on a grey image, away from the border."""
    network = MobileNet(96)
    load_published_weights(network, published)
    grey = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    colour = 255 * grey.expand(1, 3, 40, 40) - torch.tensor(MEANS).view(1, 3, 1, 1)

    def array(name: str) -> torch.Tensor:
        return torch.from_numpy(arrays[name].astype(np.float32))

    kernel, norm = array(STEM_KERNEL).permute(3, 2, 0, 1), "conv_dw_1_bn/batchnorm_1"
    x = F.relu6(F.conv2d(colour, kernel, array("conv1_bn/batchnorm_1/sub"), 2, 1))
    kernel = array("conv_dw_1/depthwise_kernel").permute(2, 3, 0, 1)
    x = F.conv2d(x, kernel, None, 1, 1, groups=STEM) * array(f"{norm}/mul").view(1, -1, 1, 1)
    x = F.relu6(x + array(f"{norm}/sub").view(1, -1, 1, 1))
    kernel = array("conv_pw_1/convolution/merged_input").permute(3, 2, 0, 1)
    expected = F.relu6(F.conv2d(x, kernel, array("conv_pw_1_bn/batchnorm_1/sub")))
    pixels = (grey - PREPROCESS.mean[0]) / PREPROCESS.std[0]
    found = network.blocks[0](F.relu6(network.stem(pixels)))
    inner = (..., slice(2, -2), slice(2, -2))
    torch.testing.assert_close(found[inner], expected[inner], rtol=1e-3, atol=1e-3)


def test_an_encoder_starts_from_the_published_weights(published: Path, tmp_path: Path) -> None:
    manifest, out = save_image_set(tmp_path / "images", train=8), tmp_path / "run"
    still = replace(
        MOBILENET_TRAINING, epochs=1, batch_size=8, backbone_lr=0.0, head_lr=0.0,
        ema_decay=0.0, augmentation=NO_IMAGE_AUGMENTATION,
    )  # fmt: skip
    init = published.with_name("renamed.json")
    init.write_text(published.read_text())  # still names faceres.bin
    train_face_encoder(
        manifest.parent, manifest, out, "mobilenet-96", config=still, device="cpu", init=init
    )
    backbone, _, metadata = load_backbone(out / "encoder.safetensors")
    assert metadata.backbone == "mobilenet-96" and metadata.network == {"side": 96}
    assert metadata.training is not None
    assert metadata.training.data["init"] == hash_file(published.with_suffix(".bin"))
    network = MobileNet(96).eval()
    load_published_weights(network, published)
    pixels = torch.rand(1, 1, 44, 44, generator=torch.Generator().manual_seed(0))
    found, expected = backbone.eval()(pixels), network(pixels)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)  # saved in half precision


def test_other_files_are_refused(published: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    missing = tmp_path / "faceres.json"
    missing.write_text(published.read_text())  # without faceres.bin
    other.write_text('{"layers": []}')
    none = tmp_path / "none.json"
    for path, message in (
        (other, "other.json does not hold the published weights"),
        (missing, f"no such file: {tmp_path / 'faceres.bin'}"),
        (none, f"no such file: {none}"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(message)):
            load_published_weights(MobileNet(96), path)
    manifest = save_image_set(tmp_path / "images", train=2, valid=1)
    with pytest.raises(UsageError, match=r"of mobilenet-96, .*, not of compact-face"):
        train_face_encoder(manifest.parent, manifest, tmp_path / "run", init=published)
    arguments = ["train", "face", "--images", str(manifest.parent), "--manifest", str(manifest)]
    arguments += ["-o", str(tmp_path / "run"), "--backbone", "mobilenet-96", "--stem", "8"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert "--stem, --widths and --blocks are of compact-face" in result.stderr
