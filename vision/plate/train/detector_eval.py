"""Compares plate detectors on the same pictures: real scenes and plate-free pictures that none of
them was trained on here, the real scenes seen from far, and rendered scenes by kind.

Per group: plates; share found with an IoU of .5 and of .7; mean and median distance of the corners
in plate heights; share whose rows are told right. Then the false plates, and the time a picture.

usage: detector_eval.py --train ../shared/train [--fresh POOL]
                        NAME=CORNERS[,REFINER[,WIDTHxHEIGHT]] ...
"""

import argparse
import collections
import glob
import time

import cv2
import numpy as np

from detector import Detector, overlap
from pool import BOX, IGNORE, Scene, Shard
from real_scenes import Pictures, real_scenes

FAR_WIDTH = (50, 75)     # pixels of a far plate in a picture of FAR_SIZE
FAR_SIZE = (1280, 720)
LEAST = 14               # pixels; narrower plates are not asked for
SMALL, LARGE = 40, 200   # pixels in a rendered scene of 640×360
TURNED = 45              # degrees between a plate's baseline or sides and the picture's

Outcome = collections.namedtuple('Outcome', 'iou error rows')


def corner_error(a, b):
    """Mean distance of the corners, in plate heights."""
    high = (np.linalg.norm(b[3] - b[0]) + np.linalg.norm(b[2] - b[1])) / 2
    return np.linalg.norm(a - b, axis=1).mean() / max(high, 1)


def upright(quad):
    (x0, y0), (x1, y1) = quad.min(0), quad.max(0)
    return np.float32([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def judge(found, scene):
    """An Outcome per plate that is asked for (None for others), and how many are false."""
    used, outcomes = set(), []
    for quad, rows in zip(scene.quads, scene.rows):
        shapes = [upright(f[0]) if rows == BOX else f[0] for f in found]
        ious = [overlap(s, quad) for s in shapes]
        used |= {i for i, iou in enumerate(ious) if iou > .1}
        best = int(np.argmax(ious)) if ious else -1
        if rows == IGNORE or np.ptp(quad[:, 0]) < LEAST:
            outcomes.append(None)
        elif best < 0 or ious[best] < .5 or rows == BOX:
            outcomes.append(Outcome(ious[best] if ious else 0, None, None))
        else:
            error = corner_error(found[best][0], quad)
            outcomes.append(Outcome(ious[best], error, found[best][2] == rows))
    return outcomes, len(found) - len(used)


def angle(quad):
    """How far a plate leans or is sheared, in degrees."""
    along, down = quad[1] - quad[0] + quad[2] - quad[3], quad[3] - quad[0] + quad[2] - quad[1]
    lean = abs(np.degrees(np.arctan2(along[1], along[0])))
    shear = abs(90 - abs(np.degrees(np.arctan2(down[1], down[0]) - np.arctan2(along[1], along[0]))))
    return max(lean, shear)


def groups(scene, i):
    """The names of the groups that a plate of a rendered scene belongs to."""
    quad, names = scene.quads[i], ['rendered']
    names.append('two rows' if scene.rows[i] == 2 else 'one row')
    wide = np.linalg.norm(quad[1] - quad[0])
    if wide < SMALL:
        names.append(f'narrower than {SMALL} of 640')
    elif wide > LARGE:
        names.append(f'wider than {LARGE} of 640')
    if angle(quad) > TURNED:
        names.append(f'turned or sheared by {TURNED}°')
    if len(scene.rows) > 2:
        names.append('three and more plates')
    if np.ptp(scene.image.astype(np.int16), axis=2).max() < 24:
        names.append('grey')
    elif scene.image.mean() < 45:
        names.append('dark')
    if scene.kinds and scene.kinds[i]:
        names.append(scene.kinds[i])
    return names


def far(scene, background, rng):
    """A real scene seen from further away, in a large picture of something else."""
    wide = np.linalg.norm(scene.quads[0][1] - scene.quads[0][0])
    k = rng.uniform(*FAR_WIDTH) / wide
    small = cv2.resize(scene.image, None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
    canvas = cv2.resize(background, FAR_SIZE, interpolation=cv2.INTER_LINEAR)
    small = small[:FAR_SIZE[1], :FAR_SIZE[0]]
    h, w = small.shape[:2]
    x, y = int(rng.integers(FAR_SIZE[0] - w + 1)), int(rng.integers(FAR_SIZE[1] - h + 1))
    canvas[y:y + h, x:x + w] = small
    quads = (scene.quads + .5) * k - .5 + np.float32([x, y])
    return Scene(canvas, quads.astype(np.float32), scene.rows, source=scene.source)


class Tally:
    def __init__(self):
        self.outcomes = collections.defaultdict(list)
        self.false = collections.defaultdict(list)
        self.took = collections.defaultdict(list)

    def run(self, detector, name, scenes, names=None):
        """names: gives the groups of a plate; all are in one group if it is None."""
        for scene in scenes:
            begin = time.perf_counter()
            found = detector(scene.image)
            self.took[name].append((time.perf_counter() - begin) * 1e3)
            outcomes, false = judge(found, scene)
            self.false[name].append(false)
            for i, outcome in enumerate(outcomes):
                if outcome:
                    for group in names(scene, i) if names else [name]:
                        self.outcomes[group].append(outcome)

    def lines(self):
        """A line of figures per group."""
        for group, outcomes in sorted(self.outcomes.items(), key=lambda o: o[0].startswith('cn_')):
            ious = np.array([o.iou for o in outcomes])
            errors = [o.error for o in outcomes if o.error is not None]
            line = f'{group:32} {len(ious):5d} {np.mean(ious >= .5):.3f} {np.mean(ious >= .7):.3f}'
            if errors:
                right = np.mean([o.rows for o in outcomes if o.rows is not None])
                line += f' {np.mean(errors):.3f} {np.median(errors):.3f} {right:.3f}'
            yield line
        for name, false in self.false.items():
            some = sum(f > 0 for f in false)
            yield (f'{name + ":":32} {sum(false)} false plates on {some} of {len(false)} pictures, '
                   f'{np.median(self.took[name]):.1f} ms a picture')


def detector_of(text):
    """NAME=CORNERS[,REFINER[,WIDTHxHEIGHT]] → name and Detector."""
    name, paths = text.split('=')
    parts = paths.split(',')
    if len(parts) > 2:
        parts[2] = tuple(int(v) for v in parts[2].split('x'))
    return name, Detector(*parts)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--fresh', help='a pool of scenes.py --held')
    parser.add_argument('--most', type=int, default=1000, help='rendered scenes')
    parser.add_argument('nets', nargs='+')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    held = [s for s in real_scenes(args.train) if s.held]
    mainland = [s for s in held if s.source.startswith('plates_cn')]
    abroad = [s for s in held if not s.source.startswith('plates_cn')]
    plain = Pictures(args.train, ('train', 'study')).held
    rng = np.random.default_rng(7)
    distant = [far(s, plain[rng.integers(len(plain))], rng) for s in mainland if s.exact]
    shards = [Shard(p) for p in sorted(glob.glob(f'{args.fresh}/*[0-9].npz'))] if args.fresh else []
    fresh = [shard[i] for shard in shards for i in range(len(shard))][:args.most]
    print(f'{"":32} plates IoU.5 IoU.7 mean median rows')
    for name, detector in map(detector_of, args.nets):
        tally = Tally()
        tally.run(detector, 'mainland, real', mainland)
        tally.run(detector, 'abroad, real', abroad)
        tally.run(detector, 'mainland, real, far', distant)
        tally.run(detector, 'rendered', fresh, groups)
        tally.run(detector, 'no plates', [Scene(p, np.zeros((0, 4, 2), np.float32)) for p in plain])
        print('\n'.join(f'{name:8} {line}' for line in tally.lines()), flush=True)


if __name__ == '__main__':
    main()
