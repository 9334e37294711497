"""Compares plate detectors on the same pictures: real scenes and plate-free pictures that none of
them was trained on, and rendered scenes by kind.

usage: detector_eval.py --train ../shared/train [--fresh POOL] NAME=CORNERS,REFINER ...
"""

import argparse
import glob
import time

import numpy as np

from detector import Detector, overlap
from pool import BOX, IGNORE, Shard
from real_scenes import Pictures, real_scenes


def corner_error(a, b):
    """Mean distance of the corners, in plate heights."""
    high = (np.linalg.norm(b[3] - b[0]) + np.linalg.norm(b[2] - b[1])) / 2
    return np.linalg.norm(a - b, axis=1).mean() / max(high, 1)


class Tally:
    def __init__(self):
        self.plates = self.half = self.tight = self.rows = self.false = self.pictures = 0
        self.errors, self.took = [], []

    def scene(self, detector, scene):
        begin = time.perf_counter()
        found = detector(scene.image)
        self.took.append((time.perf_counter() - begin) * 1e3)
        self.pictures += 1
        used = set()
        for quad, rows in zip(scene.quads, scene.rows):
            if rows == IGNORE or np.ptp(quad[:, 0]) < 14:
                continue
            self.plates += 1
            best = max(range(len(found)), key=lambda i: overlap(self.shape(found[i][0], rows), quad), default=None)
            iou = overlap(self.shape(found[best][0], rows), quad) if best is not None else 0
            if iou >= .5:
                self.half += 1
                used.add(best)
                self.tight += iou >= .7
                if rows != BOX:
                    self.rows += found[best][2] == rows
                    self.errors.append(corner_error(found[best][0], quad))
            elif best is not None and iou > .1:
                used.add(best)
        self.false += len(found) - len(used)

    @staticmethod
    def shape(quad, rows):
        if rows != BOX:
            return quad
        (x0, y0), (x1, y1) = quad.min(0), quad.max(0)
        return np.float32([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])

    def row(self):
        n = max(1, self.plates)
        error = f'{np.median(self.errors):.3f}' if self.errors else '–'
        return (f'{self.plates:5d} {self.half / n:.3f} {self.tight / n:.3f} {error:>6} '
                f'{self.rows / max(1, len(self.errors)):.3f} {self.false:4d} on {self.pictures:4d} {np.median(self.took):6.1f}')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--fresh', help='a pool of rendered scenes with a seed that was not trained on')
    parser.add_argument('--most', type=int, default=600, help='rendered scenes')
    parser.add_argument('nets', nargs='+')
    args = parser.parse_args()
    scenes = [s for s in real_scenes(args.train) if s.held]
    pictures = Pictures(args.train, ('train', 'study'))
    groups = {'mainland, real': [s for s in scenes if s.source.startswith('plates_cn')],
              'overseas, real': [s for s in scenes if not s.source.startswith('plates_cn')]}
    if args.fresh:
        shards = [Shard(p) for p in sorted(glob.glob(f'{args.fresh}/*[0-9].npz'))]
        fresh = [shard[i] for shard in shards for i in range(len(shard))][:args.most]
        groups['rendered, one row'] = [s for s in fresh if s.rows and set(s.rows) == {1}]
        groups['rendered, two rows'] = [s for s in fresh if 2 in s.rows]
    print(f'{"":34}plates IoU.5 IoU.7 corner  rows  false plates      ms')
    for name, paths in (n.split('=') for n in args.nets):
        detector = Detector(*paths.split(','))
        for group, members in groups.items():
            tally = Tally()
            for scene in members:
                tally.scene(detector, scene)
            print(f'{name:12} {group:20} {tally.row()}', flush=True)
        false = [len(detector(p)) for p in pictures.held]
        print(f'{name:12} {"without plates":20} {sum(false)} plates on {sum(f > 0 for f in false)} of {len(false)} pictures',
              flush=True)


if __name__ == '__main__':
    main()
