"""Training of voice encoders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AudioAugmentation:
    """Augmentation of training audio. Defaults: own."""

    # Largest relative change of pitch and formants: it simulates more speakers than corpora have.
    pitch: float = 0.18
    tempo: float = 0.18  # largest relative change of tempo
    gain_db: tuple[float, float] = (-25.0, 10.0)
    noise_p: float = 0.5
    snr_db: tuple[float, float] = (0.0, 40.0)
    filter_db: float = 4.0  # standard deviation of the gain at the points of a random filter
    band_limit_p: float = 0.3  # of cutting the lowest bands, and separately the highest
    masks: int = 2  # SpecAugment masks over bands, and as many over time
    mask_bands: int = 12  # largest mask, of 64 bands
    mask_frames: int = 25  # largest mask, in frames of 10 ms
    babble_p: float = 0.0  # share of the noise that is other people's speech
    room_p: float = 0.0  # of reverberation
    room_s: tuple[float, float] = (0.15, 0.9)  # in which it decays by 60 dB
    room_db: tuple[float, float] = (-12.0, 3.0)  # its energy over that of the direct signal
    clip_p: float = 0.0  # of clipped samples
    codec_p: float = 0.0  # of bands removed as by a codec of a low bit rate


NO_AUDIO_AUGMENTATION = AudioAugmentation(
    pitch=0.0,
    tempo=0.0,
    gain_db=(0.0, 0.0),
    noise_p=0.0,
    filter_db=0.0,
    band_limit_p=0.0,
    masks=0,
)


@dataclass(frozen=True)
class VoiceTraining:
    """Training of the voice encoder, from scratch on minutes to hours of speech. Defaults: own."""

    epochs: int = 16
    epoch_batches: int = 200  # batches per epoch; corpora and their classes are drawn equally often
    batch_size: int = 32
    crop_s: float = 2.56  # of a recording; a whole number of audio frames of 80 ms
    # Share of samples whose label is learned from `AudioFeatures.window_s` around one moment, as
    # the encoder is used, and not from the whole crop.
    local_p: float = 0.5
    non_speech: float = 0.125  # non-speech samples per recording of a batch
    speech_weight: float = 0.3  # of the loss of speech detection
    backbone_lr: float = 2e-3  # of the backbone
    head_lr: float = 2e-3  # of the classifiers, and the projection of a pretrained backbone
    weight_decay: float = 0.05  # 0 on biases and norms
    warmup_steps: int = 100
    clip_norm: float = 5.0
    ema_decay: float = 0.99  # decay of the EMA of the weights, which is validated and saved
    dropout: float = 0.3
    label_smoothing: float = 0.1
    mixup_alpha: float = 0.0
    contrast: float = 0.0  # weight of the contrastive loss between corpora
    # Inverse strength of the penalty of a logistic regression on the trained encoder's features,
    # which replaces the linear classifier; 0: the classifier stays as it was trained.
    refit: float = 0.0
    precision: str = "auto"  # one of PRECISIONS
    augmentation: AudioAugmentation = AudioAugmentation()
    seed: int = 0


# From a pretrained speech encoder: rates that keep most of what it knows, batches large enough for
# their noise, and augmentation against channels, since pretrained layers overfit to those of few
# corpora before they overfit to voices. Pitch, tempo, rate and contrast are the best of four
# settings by macro-F1 with each of three corpora left out. Of six values of `refit`, 10 and 30 are
# equally good by this measure; the smaller one penalises more.
PRETRAINED_VOICE_TRAINING = VoiceTraining(
    epochs=5,
    epoch_batches=300,
    batch_size=48,
    backbone_lr=1e-4,
    head_lr=1e-3,
    clip_norm=1.0,
    ema_decay=0.998,
    dropout=0.3,
    contrast=0.3,
    refit=10.0,
    augmentation=AudioAugmentation(
        pitch=0.22,
        tempo=0.2,
        noise_p=0.6,
        snr_db=(0.0, 30.0),
        babble_p=0.25,
        room_p=0.3,
        clip_p=0.1,
        codec_p=0.3,
    ),
)


# Layers of a speech encoder: the deeper they are, the more they know of words and the less of how
# they are said.
VOICE_LAYERS = 2


def default_voice_training(pretrained: bool) -> VoiceTraining:
    """Return the training defaults of a voice encoder, from pretrained or from random weights."""
    return PRETRAINED_VOICE_TRAINING if pretrained else VoiceTraining()
