"""Compares the small reader with PP-OCR on the same cuts, both in OpenCV on one core.

The cuts: real plates that the reader has not learned from, per province, each as its corners say
and with the corners off as a detector's are; and rendered plates per kind. Numbers are found by
the same beam search, which knows whether a plate is of the mainland.

usage: reader_eval.py --train ../shared/train --small FILE.onnx --models ../../../models
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

import abroad
import cuts
import numbers_search
import plates
import real
import samples
from alphabet import KEYS


class Net:
    """One reader: its net, and the character of each output."""

    def __init__(self, name, file, keys, ignored):
        self.name, self.net = name, cv2.dnn.readNetFromONNX(str(file))
        self.keys, self.ignored, self.times = keys, ignored, []

    def read(self, cut, foreign):
        begin = time.perf_counter()
        self.net.setInput(cv2.dnn.blobFromImage(cut, 1 / 127.5, None, (127.5,) * 3))
        steps = self.net.forward()[0]
        self.times.append(time.perf_counter() - begin)
        templates = numbers_search.ABROAD if foreign else numbers_search.MAINLAND
        return numbers_search.search(steps, self.keys, templates, self.ignored)[:2]


def small(file):
    return Net('small', file, [None, *KEYS, None], (0, len(KEYS) + 1))


def paddle(models):
    lines = (Path(models) / 'plate_keys.txt').read_text('utf-8').split('\n')
    lines = [line.rstrip('\r') for line in lines if line]
    known = set(KEYS)
    keys = [None] + [c if c in known else None for c in lines] + [None]
    dots = [i + 1 for i, c in enumerate(lines) if c in "·.•・-:。,'`"]
    return Net('PP-OCR', Path(models) / 'plate_read.onnx', keys, (0, len(lines) + 1, *dots))


def cases(train, each, rng):
    """(group, cut, number, foreign)."""
    held = [r for r in real.load(train) if r.held]
    for plate in held:
        group = 'real ' + ('皖' if plate.number[0] == '皖' else 'other provinces')
        for suffix, plain in (('', True), (', corners off', False)):
            quad = plate.quad if plain else samples.loose(plate.quad, rng, not plate.exact)
            yield group + suffix, cuts.cut(plate.image, quad, 1)[0], plate.number, False
    street = samples.Surroundings(train, 40)
    for kind in plates.ALL:
        for _ in range(each):
            s = samples.rendered(rng, street, kind)
            yield kind, s.cut, s.number, kind in abroad.KINDS


def show(rows, readers):
    """Per group: whole numbers right, at least .95 sure and wrong; and what agreement is worth."""
    print(f"{'group':32} {'n':>5}", *(f'{r.name:>8} wrong≥.95' for r in readers),
          '  agree  of these right')
    groups = dict.fromkeys(row[0] for row in rows)
    for group in [*groups, 'all real', 'all rendered']:
        chosen = [r for r in rows if r[0] == group
                  or group == 'all real' and r[0].startswith('real')
                  or group == 'all rendered' and not r[0].startswith('real')]
        if not chosen:
            continue
        line = f'{group:32} {len(chosen):5}'
        for k in range(len(readers)):
            right = np.mean([r[2][k][0] == r[1] for r in chosen])
            sure = sum(r[2][k][1] >= .95 and r[2][k][0] != r[1] for r in chosen)
            line += f' {right * 100:7.1f}% {sure:9}'
        agree = [r for r in chosen if len({read[0] for read in r[2]}) == 1 and r[2][0][0]]
        good = sum(r[2][0][0] == r[1] for r in agree)
        print(line, f'  {len(agree):5}  {good}')
    for r in readers:
        print(f'{r.name}: {np.median(r.times) * 1e3:.1f} ms a cut (median), '
              f'{min(r.times) * 1e3:.1f} ms at best')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--train', required=True)
    parser.add_argument('--small', required=True)
    parser.add_argument('--models', required=True)
    parser.add_argument('--each', type=int, default=20, help='rendered plates of each kind')
    parser.add_argument('--most', type=int, default=10000, help='cuts of a group at most')
    parser.add_argument('--seed', type=int, default=4321)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    readers = [small(args.small), paddle(args.models)]
    rows = []
    counts = {}
    for group, cut, number, foreign in cases(args.train, args.each, rng):
        counts[group] = counts.get(group, 0) + 1
        if counts[group] <= args.most:
            rows.append((group, number, [r.read(cut, foreign) for r in readers]))
    show(rows, readers)


if __name__ == '__main__':
    main()
