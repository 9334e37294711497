"""Trains the corner net.

usage: corners_train.py --train ../shared/train --pool POOL --warm ONNX --out RUN --minutes N
"""

import argparse
import copy
import math
import os
import time

import numpy as np
import torch
from torch.nn import functional

from corners_data import HEIGHT, WIDTH, Batches
from corners_net import Corners, export, warm
from real_scenes import Pictures, real_scenes


def losses(out, centre, corners, weight, scale, asked, two):
    """Of the centre map (focal), the corners (smooth L1 in plate heights) and the rows."""
    p = out[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    peak = (centre > .999).float()
    found = -((1 - p) ** 2) * p.log() * peak * asked
    free = -((1 - centre) ** 4) * p ** 2 * (1 - p).log() * (1 - peak) * asked
    of_centre = (found + free).sum() / peak.sum().clamp(min=4)
    error = (out[:, 1:9] - corners) / scale[:, None]
    smooth = functional.smooth_l1_loss(error, torch.zeros_like(error), beta=.1, reduction='none')
    total = weight.sum().clamp(min=1)
    of_rows = functional.cross_entropy(out[:, 9:11], two, reduction='none')
    return of_centre, (smooth.mean(1) * weight).sum() / total, (of_rows * weight).sum() / total


class Average:
    """Weights averaged over the last steps, which are what is shipped."""

    def __init__(self, net):
        self.net, self.steps = copy.deepcopy(net), 0

    @torch.no_grad()
    def take(self, net):
        self.steps += 1
        keep = min(.998, self.steps / (self.steps + 20))
        for mine, new in zip(self.net.state_dict().values(), net.state_dict().values()):
            if mine.dtype.is_floating_point:
                mine.mul_(keep).add_(new, alpha=1 - keep)
            else:
                mine.copy_(new)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--pool', required=True)
    parser.add_argument('--warm', help='an earlier export to go on from')
    parser.add_argument('--out', required=True)
    parser.add_argument('--minutes', type=float, default=30)
    parser.add_argument('--rate', type=float, default=1e-3)
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    data = Batches(args.pool, real_scenes(args.train), Pictures(args.train), (.28, .1), args.seed)
    loader = iter(torch.utils.data.DataLoader(data, batch_size=args.batch, num_workers=1,
                                              prefetch_factor=4))
    net = Corners()
    if args.warm:
        warm(net, args.warm, torch.cat([next(loader)[0] for _ in range(4)]))
    net = net.to(memory_format=torch.channels_last)
    average = Average(net)
    steps = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    begin = saved = time.time()
    mean, n = None, 0
    while time.time() - begin < args.minutes * 60:
        part = (time.time() - begin) / (args.minutes * 60)
        for group in steps.param_groups:
            fall = .5 + .5 * math.cos(math.pi * part) + .01
            group['lr'] = args.rate * min(1, (n + 1) / 100) * fall
        image, *targets = next(loader)
        three = losses(net(image.contiguous(memory_format=torch.channels_last)), *targets)
        steps.zero_grad()
        (three[0] + 1.5 * three[1] + .2 * three[2]).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.)
        steps.step()
        average.take(net)
        n += 1
        now = np.array([v.item() for v in three])
        mean = now if mean is None else mean * .98 + now * .02
        if n % 50 == 0:
            took = time.time() - begin
            print('%d steps, %.0f s, centre %.3f, corners %.4f, rows %.3f, %.1f pictures/s' %
                  (n, took, *mean, n * args.batch / took), flush=True)
        if time.time() - saved > 300:
            saved = time.time()
            export(average.net, os.path.join(args.out, 'corners.onnx'), WIDTH, HEIGHT)
    export(average.net, os.path.join(args.out, 'corners.onnx'), WIDTH, HEIGHT)
    torch.save(average.net.state_dict(), os.path.join(args.out, 'corners.pt'))
    print('done,', n, 'steps', flush=True)


if __name__ == '__main__':
    main()
