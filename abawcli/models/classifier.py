"""Classifiers of faces and voices as heads: those of recipes without a trained head."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from abawcli.formats.metadata import MODALITIES
from abawcli.labels import N_CLASSES
from abawcli.models.voice import VoiceClassifier


class EncoderClassifier(nn.Module):
    """A linear classifier of one frame's face; audio is not used."""

    uses = ("visual",)
    window = stride = 1

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return self.linear.in_features

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Dv) and their mask (...) to logits (..., 8), NaN without a face.

        A row's logits do not depend on the other rows, to the last bit.
        """
        logits = visual.new_full((*has_visual.shape, N_CLASSES), torch.nan)
        # Matrix products sum in an order that depends on the number of rows.
        products = visual[has_visual].unsqueeze(-2) * self.linear.weight  # (n, 8, Dv)
        logits[has_visual] = products.sum(dim=-1) + self.linear.bias
        return logits


class SpeechClassifier(nn.Module):
    """The classifier of an audio encoder for one frame's speech; faces are not used."""

    uses = ("audio",)
    window = stride = 1

    def __init__(self, classifier: VoiceClassifier) -> None:
        super().__init__()
        self.classifier = classifier

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return self.classifier.expression.in_features

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., Da) and their mask (...) to log-probabilities (..., 8), else NaN."""
        logits = audio.new_full((*has_audio.shape, N_CLASSES), torch.nan)
        p = self.classifier(audio[has_audio])  # (n, 8)
        logits[has_audio] = p.clamp_min(torch.finfo(p.dtype).tiny).log()
        return logits


class MappedClassifier(nn.Module):
    """A linear classifier with other labels, each of which maps to one of our classes or none."""

    def __init__(self, linear: nn.Linear, classes: Sequence[int], temperature: float = 1.0) -> None:
        """Prepare it; `classes` are the class numbers of its labels, IGNORE for no class."""
        super().__init__()
        self.linear = linear
        self.temperature = temperature
        self.kept = [k for k, number in enumerate(classes) if number >= 0]
        onto = torch.zeros(len(self.kept), N_CLASSES)
        onto[range(len(self.kept)), [classes[k] for k in self.kept]] = 1
        self.onto: Tensor
        self.register_buffer("onto", onto)

    @property
    def known(self) -> Tensor:
        """Return which classes it has labels for, (8,)."""
        return self.onto.any(dim=0)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (..., D) to probabilities (..., 8), 0 of classes without a label."""
        logits: Tensor = self.linear(features)[..., self.kept] / self.temperature
        return logits.softmax(dim=-1) @ self.onto


class AveragedClassifiers(nn.Module):
    """Classifiers of a frame's face, of its audio, or of both, whose probabilities are averaged.

    If a classifier has no label for a class, the other one alone gives that class's probability.
    The first one then only divides the remaining probability among its own classes.
    """

    window = stride = 1

    def __init__(self, classifiers: Mapping[str, MappedClassifier]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleDict(classifiers)
        self.uses = tuple(name for name in MODALITIES if name in classifiers)

    def width(self, modality: str) -> int:
        """Return the width of the features of a modality that is used."""
        return self._get(modality).linear.in_features

    def _get(self, modality: str) -> MappedClassifier:
        classifier = self.classifiers[modality]
        assert isinstance(classifier, MappedClassifier)
        return classifier

    def forward(
        self, visual: Tensor, audio: Tensor, has_visual: Tensor, has_audio: Tensor
    ) -> Tensor:
        """Map features (..., D) and their masks (...) to log-probabilities (..., 8).

        They are NaN in rows without features, and minus infinity for classes without a label.
        """
        values = {"visual": (visual, has_visual), "audio": (audio, has_audio)}
        p = {}
        for name in self.uses:
            features, has = values[name]
            p[name] = features.new_full((*has.shape, N_CLASSES), torch.nan)
            p[name][has] = self._get(name)(features[has])
        filled = [self._fill(name, p) for name in self.uses]
        return torch.stack(filled).nanmean(dim=0).log()

    def _fill(self, name: str, p: Mapping[str, Tensor]) -> Tensor:
        """Return a classifier's probabilities, with the other's for classes that it lacks."""
        own = p[name]
        for other in self.uses:
            if other != name:
                lacking = p[other] * ~self._get(name).known  # (..., 8)
                lacking = lacking.nan_to_num()  # the other one knows nothing
                own = own * (1 - lacking.sum(dim=-1, keepdim=True)) + lacking
        return own
