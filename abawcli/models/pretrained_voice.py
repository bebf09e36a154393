"""A voice backbone made from the first layers of a general speech encoder.

Each state of the speech encoder, one every 20 ms, is projected and rectified; an audio frame of 80
ms has the mean of its states. Because of the rectification, averages over time also depend on the
spread of the states, which tells more about the expression of a voice than their mean.
"""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from abawcli.config import AUDIO_RATE_HZ
from abawcli.errors import CheckpointError
from abawcli.formats.json_values import JsonObject
from abawcli.models.checkpoint import load_into
from abawcli.models.image_backbones import read_settings
from abawcli.models.log_mel import HOP, LEVEL_FRAMES, STEP_FRAMES, STEP_SAMPLES
from abawcli.models.whisper import WINDOW_TOKENS, WhisperLayers

POSITIONS = "embed_positions.weight"
# The settings of a Whisper from which its first layers are built, by their names here.
_SHAPE = {
    "bands": "num_mel_bins",
    "width": "d_model",
    "heads": "encoder_attention_heads",
    "feed_forward": "encoder_ffn_dim",
}


class PretrainedVoice(nn.Module):
    """16 kHz samples to a feature every 80 ms: layers of Whisper and a projection."""

    step_samples = STEP_SAMPLES
    step_s = STEP_SAMPLES / AUDIO_RATE_HZ

    def __init__(self, whisper: dict[str, int], dim: int = 192) -> None:
        super().__init__()
        self.shape: JsonObject = {"whisper": whisper, "dim": dim}
        self.dim = dim
        self.trunk = WhisperLayers(**whisper)
        self.front = self.trunk.front
        self.norm = nn.LayerNorm(self.trunk.width)
        self.project = nn.Linear(self.trunk.width, dim)
        self.grid_samples = self.trunk.grid_samples
        # Of audio to both sides that the features between two points of the grid depend on.
        frames = 2 * self.trunk.field_tokens + LEVEL_FRAMES + STEP_FRAMES
        self.context_s = frames * HOP / AUDIO_RATE_HZ

    @property
    def first_convolution(self) -> nn.Module:
        """Return the first convolution, whose input is the bands."""
        return self.trunk.conv1

    def encode(self, bands: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map normalised bands (B, M, 8 S) to the `kept` of features (B, S, dim)."""
        tokens = STEP_FRAMES // 2
        start, stop, _ = kept.indices(bands.shape[2] // STEP_FRAMES)
        states = self.trunk.encode(bands, slice(start * tokens, stop * tokens))
        x = F.gelu(self.project(self.norm(states)))  # (B, 4 S', D)
        return x.view(len(x), -1, tokens, self.dim).mean(dim=2)

    def forward(self, samples: Tensor, kept: slice = slice(None)) -> Tensor:
        """Map samples (B, N), full scale 1.0, to the `kept` of features (B, S, dim).

        There are S = ceil(N / 1280) features.
        """
        missing = -samples.shape[1] % STEP_SAMPLES
        return self.encode(self.front(F.pad(samples, (0, missing))), kept)


def build_pretrained_voice(folder: str | Path, layers: int) -> PretrainedVoice:
    """Return a voice backbone with the first layers of a Whisper encoder, as pretrained.

    Raises:
        CheckpointError: the folder has no Whisper, a damaged one, or fewer layers.
    """
    folder = Path(folder)
    config = _read_config(folder)
    there, positions = config["encoder_layers"], config["max_source_positions"]
    if not 1 <= layers <= there:
        raise CheckpointError(f"{folder} has {there} layers, not {layers}; choose 1 to {there}")
    if positions < WINDOW_TOKENS:
        raise CheckpointError(f"{folder} has {positions} positions; {WINDOW_TOKENS} are needed")
    shape = {own: config[name] for own, name in _SHAPE.items()}
    voice = PretrainedVoice(shape | {"layers": layers})
    wanted = voice.trunk.state_dict()
    found = _read_weights(folder, set(wanted))
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise CheckpointError(f"the weights in {folder} lack {missing[0]}")
    load_into(voice.trunk, {name: value.float() for name, value in found.items()}, folder)
    return voice


def _read_config(folder: Path) -> dict[str, int]:
    """Return the settings of a Whisper that are needed, by their names in its folder."""
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"no such file: {path}; give the folder of a Whisper")
    config = read_settings(path)
    if config.get("model_type") != "whisper":
        kind = config.get("model_type")
        raise CheckpointError(f"{folder} holds a {kind!r}; a Whisper is needed")
    needed = ("encoder_layers", "max_source_positions", *_SHAPE.values())
    for name in needed:
        if type(config.get(name)) is not int:
            raise CheckpointError(f"{path} is damaged: its {name} is no whole number")
    return {name: config[name] for name in needed}


def _read_weights(folder: Path, wanted: set[str]) -> dict[str, Tensor]:
    """Return the wanted tensors of an encoder, alone in its files or part of a whole Whisper.

    Of the positions, those of a window are taken.
    """
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118
                    name = key.removeprefix("model.").removeprefix("encoder.")
                    if name in wanted and ".decoder." not in f".{key}":
                        found[name] = file.get_tensor(key)
        except SafetensorError as error:
            raise CheckpointError(f"{path} is damaged: {error}") from error
    if POSITIONS in found:
        found[POSITIONS] = found[POSITIONS][:WINDOW_TOKENS]
    return found
