"""The reader's net: a cut of a plate to the probability of each character in each of 40 columns.

Plain convolutions only, which OpenCV's DNN module runs fast on one core. The height is worn down
to one row, the width to a step for every four pixels.
"""

import torch
from torch import nn

from alphabet import CLASSES


def conv(inputs, outputs, size=3, stride=1):
    size = (size, size) if isinstance(size, int) else size
    padding = tuple((s - 1) // 2 for s in size)
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, stride, padding, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    """Adds to its input what a convolution finds in it."""

    def __init__(self, channels, size=3):
        super().__init__()
        self.body = conv(channels, channels, size)

    def forward(self, x):
        return x + self.body(x)


class Reader(nn.Module):
    """N×3×48×160, (BGR − 127.5)/127.5, to N×40×CLASSES log-probabilities."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            conv(3, 16, 3, 2),          # 24×80
            conv(16, 32, 3, (2, 1)),    # 12×80
            conv(32, 48, 3, (1, 2)),    # 12×40
            Residual(48),
            conv(48, 72, 3, (2, 1)),    # 6×40
            Residual(72),
            Residual(72),
            conv(72, 96, 3, (2, 1)),    # 3×40
            Residual(96),
        )
        self.column = nn.Sequential(nn.Conv2d(96, 128, (3, 1), bias=False), nn.BatchNorm2d(128),
                                    nn.ReLU(inplace=True))
        self.context = nn.Sequential(Residual(128, (1, 5)), nn.Dropout(.1))
        self.classes = nn.Conv2d(128, CLASSES, 1)

    def logits(self, x):
        x = self.context(self.column(self.features(x)))
        return self.classes(x)[:, :, 0].transpose(1, 2)

    def forward(self, x):
        return torch.log_softmax(self.logits(x), dim=2)
