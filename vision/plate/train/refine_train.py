"""Trains the refiner on what refine_data.py has collected.

usage: refine_train.py --data FILE ... --warm ONNX --out RUN --minutes N
"""

import argparse
import math
import os
import time

import cv2
import numpy as np
import torch
from torch.nn import functional

from corners_net import Refiner, blob, export, warm
from corners_train import Average
from detector import CUT_H, CUT_W
from refine_data import NO_PAINT, NONE, PLATE

BATCH, WRONG = 64, 24  # of a batch so many are no plates
CHECK = 1500
CHECKED = 'corners %.3f → %.4f heights, kept %.3f, refused %.3f, rows %.3f, paint %.3f'
GREY = 12  # mean saturation of 255 below which nobody can tell a colour (../ground.go)


class Collected:
    """All cuts; the last CHECK of them, after shuffling, are for checking only."""

    def __init__(self, paths, rng):
        files = [np.load(p) for p in paths]
        self.jpegs = []
        for file in files:
            jpeg, ends = file['jpeg'], file['ends']
            self.jpegs += [jpeg[a:b] for a, b in zip(np.r_[0, ends[:-1]], ends)]
        self.corrections = np.concatenate([f['corrections'] for f in files])
        self.kinds = np.concatenate([f['kinds'] for f in files])
        self.two = np.concatenate([f['two'] for f in files])
        self.paints = np.concatenate([f['paints'] for f in files])
        order = rng.permutation(len(self.kinds))
        self.check, order = order[:CHECK], order[CHECK:]
        self.right, self.wrong = order[self.kinds[order] != NONE], order[self.kinds[order] == NONE]

    def batch(self, rng):
        right, wrong = rng.choice(self.right, BATCH - WRONG), rng.choice(self.wrong, WRONG)
        return self.samples(np.r_[right, wrong], rng)

    def samples(self, which, rng=None):
        images = [self.image(i, rng) for i in which]
        saturation = [cv2.cvtColor(i, cv2.COLOR_BGR2HSV)[:, :, 1].mean() for i in images]
        paints = np.where(np.float32(saturation) < GREY, NO_PAINT, self.paints[which])
        return (torch.from_numpy(np.stack([blob(i) for i in images])),
                torch.from_numpy(self.corrections[which]), torch.from_numpy(self.kinds[which]),
                torch.from_numpy(self.two[which]), torch.from_numpy(paints))

    def image(self, i, rng):
        image = cv2.imdecode(self.jpegs[i], 1)
        if rng is None:
            return image
        image = np.float32(image)
        if rng.random() < .3:
            if rng.random() < .4:  # infrared
                image = np.repeat(image @ rng.dirichlet((2., 2., 2.))[:, None], 3, 2)
            else:
                image = image * rng.uniform(.7, 1.3, 3)
        image = image * rng.uniform(.6, 1.4) + rng.uniform(-30, 30)
        if rng.random() < .2:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.5, 1.8))
        if rng.random() < .2:
            k = rng.uniform(.3, .7)
            image = cv2.resize(image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
            image = cv2.resize(image, (CUT_W, CUT_H))
        if rng.random() < .3:
            image = image + rng.standard_normal((CUT_H, CUT_W, 1)) * rng.uniform(1, 10)
        return np.clip(image, 0, 255).astype(np.uint8)


def losses(out, correction, kind, two, paint):
    known = (kind == PLATE).float()
    plate = (kind != NONE).float()
    n = known.sum().clamp(min=1)
    corners = functional.smooth_l1_loss(out[:, :8], correction, beta=.05, reduction='none').mean(1)
    rows = functional.binary_cross_entropy_with_logits(out[:, 9], two, reduction='none')
    of_plate = functional.binary_cross_entropy_with_logits(out[:, 8], plate)
    of_paint = functional.cross_entropy(out[:, 10:], paint, ignore_index=NO_PAINT)
    return (corners * known).sum() / n, of_plate, (rows * known).sum() / n, of_paint


def check(net, samples):
    """Corner error before and after in plate heights; shares of plates that are kept, of others
    that are refused, and of plates whose rows and whose paint are told right."""
    image, correction, kind, two, paint = samples
    net.eval()
    with torch.no_grad():
        out = torch.cat([net(part) for part in image.split(256)])
    net.train()
    unit = torch.tensor([CUT_W / 8, CUT_H / 8]) / (CUT_H / 1.8)
    known, plate = kind == PLATE, kind != NONE
    distance = lambda c: (c[known].view(-1, 4, 2) * unit).norm(dim=2).mean().item()
    said = out[:, 8] > 0
    rows = (out[:, 9] > 0) == (two > 0)
    painted = paint != NO_PAINT
    paints = out[painted, 10:].argmax(1) == paint[painted]
    shares = [s.float().mean().item() for s in (said[plate], ~said[~plate], rows[known], paints)]
    return distance(correction), distance(correction - out[:, :8]), *shares


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', nargs='+', required=True)
    parser.add_argument('--warm')
    parser.add_argument('--out', required=True)
    parser.add_argument('--minutes', type=float, default=8)
    parser.add_argument('--rate', type=float, default=1.5e-3)
    parser.add_argument('--only-paint', action='store_true',
                        help='leave all else as --warm has it')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    data = Collected(args.data, rng)
    held = data.samples(data.check)
    net = Refiner()
    if args.warm:
        warm(net, args.warm, torch.cat([data.batch(rng)[0] for _ in range(8)]))
        print('before:', CHECKED % check(net, held), flush=True)
    if args.only_paint:
        for parameter in net.parameters():
            parameter.requires_grad = False
        for parameter in net.paint.parameters():
            parameter.requires_grad = True
    average = Average(net)
    steps = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=1e-3)
    begin, n, mean = time.time(), 0, None
    while time.time() - begin < args.minutes * 60:
        part = (time.time() - begin) / (args.minutes * 60)
        for group in steps.param_groups:
            fall = .5 + .5 * math.cos(math.pi * part) + .005
            group['lr'] = args.rate * min(1, (n + 1) / 100) * fall
        image, *targets = data.batch(rng)
        net.train(not args.only_paint)  # or the normalisation would drift
        four = losses(net(image), *targets)
        steps.zero_grad()
        (4 * four[0] + four[1] + .3 * four[2] + .3 * four[3]).backward()
        steps.step()
        average.take(net)
        n += 1
        now = np.array([v.item() for v in four])
        mean = now if mean is None else mean * .98 + now * .02
        if n % 250 == 0:
            print(f'{n} steps, {time.time() - begin:.0f} s, loss {mean.round(4)},',
                  CHECKED % check(average.net, held), flush=True)
    export(average.net, os.path.join(args.out, 'refine.onnx'), CUT_W, CUT_H)
    torch.save(average.net.state_dict(), os.path.join(args.out, 'refine.pt'))
    print('done,', n, 'steps', flush=True)


if __name__ == '__main__':
    main()
