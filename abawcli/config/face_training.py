"""Training of face encoders, and the images that they are trained on."""

from dataclasses import dataclass, replace

from abawcli.config.models import COMPACT_FACE, MOBILENET

# Public data sets of labelled face images: `stages.manifest.SET_READERS`.
IMAGE_SETS = ("affectnet", "raf-db", "ferplus", "expw", "folders", "aff-wild2")
VALID_SHARE = 0.1  # of images, or of videos, of a data set without splits
# Side of the crop around a face's box of a manifest, over the longer side of the box: the middle
# of the scales that are published for videos.
IMAGE_BOX_SCALE = 1.2


# Number of the definition of `ImageAugmentation`; it grows when the same settings come to change
# images differently. 2: crops and colours as torchvision's.
IMAGE_AUGMENTATION = 2


@dataclass(frozen=True)
class ImageAugmentation:
    """Augmentation of training images. Defaults: published."""

    crop_scale: tuple[float, float] = (0.8, 1.0)  # share of the image's area; above 1: reflected
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)  # width / height
    crop_shift: float = 0.0  # of the crop beyond the image's edge, as a share of the side
    rotate_degrees: float = 0.0
    flip_p: float = 0.5
    # Largest changes of brightness, contrast, saturation and hue.
    jitter: tuple[float, float, float, float] = (0.25, 0.25, 0.15, 0.02)
    jitter_p: float = 0.8
    gamma: float = 1.0  # largest gamma, and the inverse of the smallest; of jittered images
    grey_p: float = 0.1
    blur_sigma: tuple[float, float] = (0.1, 1.5)  # pixels, kernel 3
    blur_p: float = 0.1
    # Deviation of the Gaussian that stands for a lens out of focus, as a share of the side: of 44
    # pixels, 0.4 to 2.2. The published blur has a kernel of 3 pixels.
    defocus: tuple[float, float] = (0.01, 0.05)
    defocus_p: float = 0.0
    sharpen_p: float = 0.0
    # Side of shrunk images, as a share: of 48 pixels, 16 to 38, as of small faces in a video.
    low_resolution: tuple[float, float] = (0.33, 0.8)
    low_resolution_p: float = 0.0
    noise: float = 0.06  # largest deviation, of 0..1: of a dark recording
    noise_p: float = 0.0
    jpeg_quality: tuple[float, float] = (15.0, 70.0)
    jpeg_p: float = 0.0
    padaug_p: float = 0.6
    erase_p: float = 0.25
    erase_scale: tuple[float, float] = (0.02, 0.12)  # share of the image's area
    erase_any_level: bool = False  # whether rectangles are filled with any grey, not with the mean

    @property
    def warps(self) -> bool:
        """Tell whether crops are rotated or show more than the image."""
        return bool(self.rotate_degrees or self.crop_shift or self.crop_scale[1] > 1)


NO_IMAGE_AUGMENTATION = ImageAugmentation(
    crop_scale=(1.0, 1.0),
    crop_ratio=(1.0, 1.0),
    flip_p=0.0,
    jitter_p=0.0,
    grey_p=0.0,
    blur_p=0.0,
    padaug_p=0.0,
    erase_p=0.0,
)


# What chooses the epoch that is saved: macro-F1 of a head of Stage I; or it is the last one.
SELECTIONS = ("linear", "moe", "last")
TEACHER_IMAGES = ("augmented", "clean")  # what teachers are given


@dataclass(frozen=True)
class MoEHead:
    """The mixture-of-experts training head. Defaults: published."""

    experts: int = 4
    router_hidden: int = 256
    blocks: int = 3
    hidden_ratio: int = 2
    dropout: float = 0.6
    drop_path: float = 0.10  # of the last block; rises linearly from 0


@dataclass(frozen=True)
class CompactFaceShape:
    """The size of compact-face. Defaults: 2.5 ms per crop on one core, 6 MB in half precision."""

    stem: int = 16  # channels of the first convolution
    widths: tuple[int, ...] = (64, 128, 256)  # channels of each stage
    blocks: tuple[int, ...] = (2, 2, 2)  # residual blocks of each stage


@dataclass(frozen=True)
class Distillation:
    """Training on the outputs of teachers beside the annotations. Defaults: own.

    Votes are soft labels already, so a low temperature suffices.
    """

    temperature: float = 2.0
    weight: float = 0.7  # of the divergence from the teachers; the labels' loss has the rest
    # Weight of the difference of features from those of the first teacher: features of the student
    # then stand for those of that teacher.
    feature_weight: float = 0.0
    # One of TEACHER_IMAGES: the network's augmented images, or the same ones without augmentation,
    # so that the network learns to label a degraded face as the teachers label the clean one. These
    # are labelled once, before training, as the mean of eight views of the image: such a mean is
    # more often right than one view.
    images: str = "augmented"


@dataclass(frozen=True)
class EncoderTraining:
    """Stage I. Defaults: published, for a pretrained ViT-L/14."""

    epochs: int = 12
    batch_size: int = 64
    backbone_lr: float = 1e-5
    head_lr: float = 3e-4
    layer_decay: float = 0.85  # learning rate of a block over that of the next deeper block
    frozen_blocks: int = 8  # the first blocks, together with the patch embedding
    # Rank of the adapters that are trained in place of the weights of the other blocks; None: none.
    lora_rank: int | None = None
    weight_decay: float = 0.05  # 0 on biases and norms
    clip_norm: float = 1.0
    mixup_alpha: float = 0.2
    label_smoothing: float = 0.1
    class_weight_power: float = 1.0  # w_c = (N / (8 n_c)) ** power, over its mean; 0: no weights
    # Power of the inverse class frequency by which images are drawn; 0: each once per epoch.
    sampling_power: float = 0.0
    # Factor of the log class frequencies that are added to the logits in training, so that the
    # network itself assumes equal frequencies (arXiv 2007.07314); 0: none.
    logit_adjustment: float = 0.0
    soft_labels: bool = True  # the distribution of the votes where the manifest has votes
    distillation: Distillation = Distillation()  # where teachers are given
    shape: CompactFaceShape | None = None  # of compact-face; None: the default
    moe: MoEHead | None = MoEHead()
    # Whether the loss of the linear classifier trains the backbone, too. It always does without the
    # MoE head.
    joint_classifier: bool = False
    # One of SELECTIONS. The linear classifier is what is saved, whatever chooses the epoch. "last"
    # chooses nothing on the valid images: for training whose gain these do not show, such as
    # robustness to what they do not have.
    select: str = "linear"
    patience: int | None = None  # epochs without a better one after which training ends
    warmup_steps: int = 0  # batches in which the learning rates rise from 0
    ema_decay: float = 0.0  # decay of the EMA of the weights, which is saved; 0: no EMA
    # Share of the initial weights, of an encoder that is fine-tuned, in those that are validated
    # and saved: the mean of both can keep what either is good at (arXiv 2109.01903); 0: none.
    init_share: float = 0.0
    precision: str = "auto"  # one of PRECISIONS
    augmentation: ImageAugmentation = ImageAugmentation()
    seed: int = 0


# Training from scratch on small grey crops: no frozen blocks, one learning rate that suits random
# weights, and milder regularisation than a pretrained network of 300 M weights needs. With the
# published augmentation a small network underfits. Label smoothing is off: votes are soft labels
# already. Rotation and shifts are on: crops are not aligned. Images are changed as video changes
# faces: by resolution, focus, coding, noise, light and objects in front of them. The classifier is
# joint: features that only the MoE head can use are worthless once that head is dropped.
COMPACT_ENCODER_TRAINING = EncoderTraining(
    epochs=24,
    backbone_lr=2e-3,
    head_lr=2e-3,
    layer_decay=1.0,
    frozen_blocks=0,
    mixup_alpha=0.0,
    label_smoothing=0.0,
    class_weight_power=0.3,
    moe=MoEHead(dropout=0.2, drop_path=0.05),
    joint_classifier=True,
    warmup_steps=300,
    ema_decay=0.998,
    augmentation=ImageAugmentation(
        crop_scale=(0.7, 1.25),
        crop_shift=0.03,
        rotate_degrees=20.0,
        jitter=(0.4, 0.4, 0.15, 0.02),
        jitter_p=0.5,
        gamma=1.6,
        blur_p=0.1,
        defocus_p=0.1,
        sharpen_p=0.1,
        low_resolution_p=0.2,
        noise_p=0.1,
        jpeg_p=0.2,
        padaug_p=0.2,
        erase_p=0.25,
        erase_scale=(0.02, 0.33),  # hands and microphones hide up to a third of a face
        erase_any_level=True,
    ),
)

# The same from weights that know faces: fewer epochs, a lower learning rate, no mixture of experts.
MOBILENET_TRAINING = replace(
    COMPACT_ENCODER_TRAINING,
    epochs=15,
    batch_size=256,
    backbone_lr=3e-4,
    head_lr=1e-3,
    moe=None,
    warmup_steps=200,
    ema_decay=0.995,
)


# Factor of the product of two adapters (alpha over rank): usual. Adapters need ten times the
# learning rate of the weights, whatever their rank.
LORA_SCALE = 2
LORA_LR = 1e-4


def default_training(backbone: str, lora_rank: int | None = None) -> EncoderTraining:
    """Return the training defaults of a face backbone: published, or own for small networks.

    With a rank, those of LoRA, which is not published for Stage I.
    """
    if lora_rank:
        return replace(default_training(backbone), lora_rank=lora_rank, backbone_lr=LORA_LR)
    if backbone.startswith(MOBILENET):
        return MOBILENET_TRAINING
    return COMPACT_ENCODER_TRAINING if backbone == COMPACT_FACE else EncoderTraining()
