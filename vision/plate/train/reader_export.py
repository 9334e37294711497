"""Writes the trained reader as an ONNX file that OpenCV 4.6 reads, and compares the two.

Of several weights, of which each has begun with the one before, it writes the mean.

usage: reader_export.py --weights FILE.pt [FILE.pt ...] --out ../weights/plate_small.onnx
"""

import argparse
import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from torch import nn

import cuts
from alphabet import KEYS
from reader_net import Reader


class Probabilities(nn.Module):
    """What the program wants: N×40×CLASSES probabilities."""

    def __init__(self, reader):
        super().__init__()
        self.reader = reader

    def forward(self, x):
        return torch.softmax(self.reader.logits(x), dim=2)


def mean(files):
    """The mean of several nets' weights; whole numbers are the last one's."""
    nets = [torch.load(file, map_location='cpu')['net'] for file in files]
    return {name: sum(net[name] for net in nets) / len(nets) if last.dtype.is_floating_point else last
            for name, last in nets[-1].items()}


def export(weights, out):
    reader = Reader()
    reader.load_state_dict(mean(weights))
    net = Probabilities(reader).eval()
    torch.onnx.export(net, torch.zeros(1, 3, cuts.HEIGHT, cuts.WIDTH), out, opset_version=11,
                      input_names=['cut'], output_names=['steps'], do_constant_folding=True)
    model = onnx.load(out)
    own_initializers(model.graph)
    onnx.checker.check_model(model)
    onnx.save(model, out)
    Path(out).with_name('plate_small_keys.txt').write_text('\n'.join(KEYS) + '\n', 'utf-8')
    return net


def own_initializers(graph):
    """Gives every layer weights of its own: torch lets equal ones share theirs through Identity,
    which OpenCV 4.6 does not read."""
    weights = {w.name: w for w in graph.initializer}
    for node in [n for n in graph.node if n.op_type == 'Identity' and n.input[0] in weights]:
        copy = onnx.TensorProto()
        copy.CopyFrom(weights[node.input[0]])
        copy.name = node.output[0]
        graph.initializer.append(copy)
        graph.node.remove(node)


def difference(net, out):
    """The largest difference between torch and OpenCV over some random cuts."""
    opencv = cv2.dnn.readNetFromONNX(out)
    rng, worst = np.random.default_rng(0), 0.
    for _ in range(8):
        cut = rng.integers(0, 256, (cuts.HEIGHT, cuts.WIDTH, 3), dtype=np.uint8)
        blob = cv2.dnn.blobFromImage(cut, 1 / 127.5, None, (127.5,) * 3)
        opencv.setInput(blob)
        with torch.no_grad():
            want = net(torch.from_numpy(blob)).numpy()
        worst = max(worst, float(np.abs(opencv.forward() - want).max()))
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--weights', required=True, nargs='+')
    parser.add_argument('--out', required=True)
    args = parser.parse_args()
    net = export(args.weights, args.out)
    print('largest difference from torch', difference(net, args.out))
    data = Path(args.out).read_bytes()
    print(len(data), 'bytes, SHA-256', hashlib.sha256(data).hexdigest())


if __name__ == '__main__':
    main()
