"""The two nets of the plate detector, their warm start and their export for OpenCV 4.6.

Corners looks at the whole picture (512×288, or turned): per cell of 8×8 pixels a logit for a
plate's centre, the offsets of its four corners from the cell's middle in cells, and logits for one
and for two rows. Refiner looks closely at one proposal (128×64, the proposal grown 1.4×1.8 times):
corrections of the corners in eighths of the cut's sides, a logit for plate, a logit for two rows,
and a logit for each of PAINTS.
"""

import copy

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

STRIDE = 8
OUTPUTS = 11
# What a plate is painted with: pale green is that of new-energy cars, whose characters are dark.
PAINTS = ('blue', 'yellow', 'white', 'black', 'green', 'pale green')


def block(inputs, outputs, size=3, step=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, size, step, size // 2, bias=False),
                         nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = block(width, width)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return functional.relu(x + self.norm(self.second(self.first(x))), inplace=True)


class Corners(nn.Module):
    """Anchor-free: a small backbone down to 1/32, two steps of a feature pyramid back to 1/8."""

    def __init__(self):
        super().__init__()
        self.to4 = nn.Sequential(block(3, 16, 3, 2), block(16, 24, 3, 2), block(24, 24))
        self.to8 = nn.Sequential(block(24, 32, 3, 2), Residual(32))
        self.to16 = nn.Sequential(block(32, 64, 3, 2), Residual(64))
        self.to32 = nn.Sequential(block(64, 64, 3, 2), Residual(64), block(64, 64))
        self.from32 = nn.Conv2d(64, 64, 1)
        self.merge16 = block(64, 48)
        self.from8 = nn.Conv2d(32, 48, 1)
        self.head = block(48, 48)
        self.out = nn.Conv2d(48, OUTPUTS, 1)
        nn.init.normal_(self.out.weight, std=.01)
        nn.init.constant_(self.out.bias[0], -4.)

    def forward(self, x):
        x8 = self.to8(self.to4(x))
        x16 = self.to16(x8)
        x32 = self.to32(x16)
        up = lambda y: functional.interpolate(y, scale_factor=2., mode='nearest')
        y = self.merge16(x16 + up(self.from32(x32)))
        return self.out(self.head(functional.relu(self.from8(x8) + up(y))))


class Refiner(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            block(3, 16, 3, 2), block(16, 24, 3, 2), block(24, 32), block(32, 48, 3, 2),
            block(48, 48), block(48, 64, 3, 2), block(64, 64), block(64, 32, 1))
        self.answer = nn.Sequential(nn.Linear(32 * 4 * 8, 96), nn.ReLU(inplace=True),
                                    nn.Linear(96, 10))
        self.paint = nn.Sequential(nn.Linear(32 * 4 * 8, 48), nn.ReLU(inplace=True),
                                   nn.Linear(48, len(PAINTS)))

    def forward(self, x):
        x = self.features(x).flatten(1)
        return torch.cat((self.answer(x), self.paint(x)), 1)


def warm(net, path, batch):
    """Fills net with the weights of an exported net of the same shape.

    An export has no normalisation left: it is folded into the convolutions. Each BatchNorm gets the
    statistics of its input on `batch` and the scale and shift that undo them, so that the net
    computes what the export does, in training too. Layers at the end that the export does not have
    keep what they begin with.
    """
    weights = iter([numpy_helper.to_array(i).copy() for i in _ordered(onnx.load(path))])
    norms = {}
    pending = None
    for _, module in net.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            weight = next(weights, None)
            if weight is None:
                break
            weight, bias = torch.from_numpy(weight), torch.from_numpy(next(weights))
            if weight.shape != module.weight.shape:
                raise ValueError(f'{path} has {tuple(weight.shape)} where '
                                 f'{tuple(module.weight.shape)} belongs')
            module.weight.data.copy_(weight)
            if module.bias is not None:
                module.bias.data.copy_(bias)
                pending = None
            else:
                pending = bias
        elif isinstance(module, nn.BatchNorm2d):
            norms[module] = pending
    hooks = [n.register_forward_pre_hook(_undo(bias)) for n, bias in norms.items()]
    net.train()
    with torch.no_grad():
        net(batch)
    for hook in hooks:
        hook.remove()


def _undo(bias):
    def set_up(norm, inputs):
        mean = inputs[0].mean((0, 2, 3))
        var = inputs[0].var((0, 2, 3), unbiased=False)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(var)
        norm.weight.data.copy_((var + norm.eps).sqrt())
        norm.bias.data.copy_(bias + mean)
    return set_up


def _ordered(model):
    """Weights and biases in the order in which the layers stand in the module."""
    values = {i.name: i for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ('Conv', 'Gemm'):
            yield values[node.input[1]]
            yield values[node.input[2]]


def export(net, path, width, height):
    """Writes the net as ONNX, opset 11, with a fixed input."""
    net = copy.deepcopy(net).eval()
    torch.onnx.export(net, torch.zeros(1, 3, height, width), path, opset_version=11,
                      input_names=['x'], output_names=['y'], do_constant_folding=True)
    model = onnx.load(path)
    graph, values = model.graph, {i.name: i for i in model.graph.initializer}
    # torch shares equal initializers through Identity nodes, which OpenCV 4.6 cannot read.
    for node in [n for n in graph.node if n.op_type == 'Identity' and n.input[0] in values]:
        twin = copy.deepcopy(values[node.input[0]])
        twin.name = node.output[0]
        graph.initializer.append(twin)
        graph.node.remove(node)
    onnx.save(model, path)


def blob(image):
    """A picture (H×W×3 BGR uint8) as a net's input, without the batch dimension."""
    return ((np.float32(image[:, :, ::-1]) - 127.5) / 127.5).transpose(2, 0, 1)
