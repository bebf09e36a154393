"""compact-face, the embedded image backbone, and faster convolutions for it on a CPU."""

import logging
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LOG = logging.getLogger(__name__)


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a channel gate (squeeze and excitation) and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.first = _conv(inputs, outputs, 3, stride)
        self.second = _conv(outputs, outputs, 3)
        self.squeeze = nn.Linear(outputs, outputs // 8)
        self.excite = nn.Linear(outputs // 8, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else _conv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H / stride, W / stride)."""
        y = self.second(F.relu(self.first(x), inplace=True))  # (B, C', H', W')
        # In bfloat16 on a CPU, pooling takes a third of the time of `mean`.
        mean = F.avg_pool2d(y, y.shape[2:]).flatten(1).to(self.squeeze.weight.dtype)  # (B, C')
        gate = self.excite(F.relu(self.squeeze(mean))).sigmoid().to(y.dtype)  # (B, C')
        short = F.avg_pool2d(x, self.stride, ceil_mode=True) if self.stride > 1 else x
        out = torch.addcmul(self.shortcut(short), y, gate[:, :, None, None])
        return F.relu(out, inplace=True)


class CompactFace(nn.Module):
    """Residual network on 44x44 grey face crops; 256 features.

    The stem keeps the full resolution and has few channels; every stage halves the resolution.
    A stem that halves it has a lower accuracy at the same cost.
    """

    dim = 256

    def __init__(
        self,
        stem: int = 16,
        widths: Iterable[int] = (64, 128, 256),
        blocks: Iterable[int] = (2, 2, 2),
    ) -> None:
        super().__init__()
        widths, blocks = tuple(widths), tuple(blocks)
        self.shape = {"stem": stem, "widths": widths, "blocks": blocks}  # what the weights fit
        layers: list[nn.Module] = []
        inputs = stem
        for width, count in zip(widths, blocks, strict=True):
            for k in range(count):
                layers.append(ResidualBlock(inputs, width, 1 if k else 2))
                inputs = width
        self.stem = _conv(1, stem, 3)
        self.blocks = nn.ModuleList(layers)
        self.project = _conv(inputs, self.dim, 1)

    def keep_gates(self) -> None:
        """Keep the channel gates in float32 when the network is cast, in place.

        For matrices this small, oneDNN's bfloat16 takes several times as long as float32.
        """
        for module in self.blocks.modules():
            if isinstance(module, nn.Linear):
                module.float()

    def forward(self, pixels: Tensor) -> Tensor:
        """Map normalised grey crops (B, 1, 44, 44) to features (B, 256)."""
        x = F.relu(self.stem(pixels))  # (B, 16, 44, 44)
        for block in self.blocks:
            x = block(x)
        features: Tensor = F.relu(self.project(x)).mean(dim=(2, 3))  # (B, 256)
        return features


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold each convolution's batch norm into it, in place, for inference; return the network."""
    for module in network.modules():
        if isinstance(module, nn.Sequential) and len(module) == 2:
            conv, norm = module
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                assert norm.running_mean is not None and norm.running_var is not None
                # In place: `fuse_conv_bn_eval` would copy the convolution first.
                conv.weight, folded = torch.nn.utils.fuse_conv_bn_weights(
                    conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps,
                    norm.weight, norm.bias,
                )  # fmt: skip
                conv.bias, module[1] = folded, nn.Identity()
    return network


class PackedConv(nn.Module):
    """A convolution on the CPU whose weights are packed once, and not at every call.

    torch packs weights only in compiled graphs, by operators without a public name. The best layout
    depends on the size of the input: with AVX2, oneDNN needs several times as long to convert the
    weights from another one as for the convolution. So they are packed for the first input.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.bias = conv.bias
        self.how = ([*conv.padding], [*conv.stride], [*conv.dilation], conv.groups)
        self.weight = conv.weight.detach().contiguous()
        self.packed = False

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C', H', W')."""
        if not self.packed:
            self.weight = torch.ops.mkldnn._reorder_convolution_weight(
                self.weight, *self.how, [*x.shape]
            )
            self.packed = True
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self.weight, self.bias, *self.how, "none", [], ""
        )
        return out


def pack_convolution(conv: nn.Conv2d) -> nn.Module:
    """Return a convolution packed, or unchanged if this version of torch packs it incorrectly.

    The operators may change in any version of torch, so each is tried once.
    """
    side = max(conv.kernel_size)
    count = conv.in_channels * side * side
    probe = torch.linspace(-1, 1, count).view(1, conv.in_channels, side, side)
    with torch.inference_mode():
        expected: Tensor = conv(probe)
        try:
            found = PackedConv(conv)(probe)
        except (RuntimeError, AttributeError, TypeError) as error:
            LOG.info("convolutions stay unpacked: %s", error)
            return conv
    same = found.shape == expected.shape and torch.allclose(found, expected, 1e-3, 1e-3)
    return PackedConv(conv) if same else conv


def pack_convolutions(network: nn.Module) -> nn.Module:
    """Replace each 2D convolution by `pack_convolution`, in place; return the network."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                setattr(module, name, pack_convolution(child))
    return network
