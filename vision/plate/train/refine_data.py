"""What the refiner is trained on: proposals of the corner net, right and wrong ones, as cuts.

usage: refine_data.py --train ../shared/train --pool POOL --corners ONNX --out FILE
                      [--scenes N] [--seed S]
"""

import argparse
import glob
import time

import cv2
import numpy as np

import plates
from corners_net import PAINTS
from detector import EIGHTH, INNER, UNIT, Detector, cut, overlap
from pool import BOX, IGNORE, Shard
from real_scenes import Pictures, real_scenes

PLATE, NONE, UNKNOWN_CORNERS = 1, 0, 2
NO_PAINT = -1  # not known, or not one thing
LEAST = .06  # of the centre map: also what the corner net hardly believes is looked at


def slipped(rng, quad):
    """The plate's corners as the first net may get them wrong."""
    along = (quad[1] - quad[0] + quad[2] - quad[3]) / 2
    down = (quad[3] - quad[0] + quad[2] - quad[1]) / 2
    high = np.linalg.norm(down)
    along, down = along * np.exp(rng.normal(0, .1)), down * np.exp(rng.normal(0, .16))
    straight = quad.mean(0) + UNIT[:, :1] * along + UNIT[:, 1:] * down
    share = rng.random()  # between a parallelogram and the true shape
    moved = straight * share + quad * (1 - share) + rng.normal(0, (.22, .18)) * high
    return np.float32(moved + rng.standard_normal((4, 2)) * high * rng.choice([.03, .08, .15]))


class Cuts:
    def __init__(self, detector, rng):
        self.detector, self.rng = detector, rng
        self.cuts, self.corrections, self.kinds, self.two, self.paints = [], [], [], [], []

    def keep(self, image, quad, kind, target=None, rows=1, paint=NO_PAINT):
        try:
            part, matrix = cut(image, np.float32(quad))
        except cv2.error:
            return  # no area
        correction = np.zeros(8, np.float32)
        if kind == PLATE:
            there = cv2.perspectiveTransform(np.float64(target)[None], matrix)[0]
            correction = np.float32((there - INNER) / EIGHTH).ravel()
            if not np.isfinite(correction).all() or abs(correction).max() > 3:
                return
        self.cuts.append(cv2.imencode('.jpg', part, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].ravel())
        self.corrections.append(correction)
        self.kinds.append(kind)
        self.two.append(rows == 2)
        self.paints.append(paint)

    def take(self, image, quads, rows, kinds, slips=2):
        proposals = self.detector.propose(image, LEAST)[:8]
        for quad, n, kind in zip(quads, rows, kinds):
            paint = PAINTS.index(plates.PAINT_OF[kind]) if kind in plates.PAINT_OF else NO_PAINT
            if n == IGNORE or np.linalg.norm(quad[1] - quad[0]) < 20:
                continue
            shapes = [upright(p[0]) if n == BOX else p[0] for p in proposals]
            near = [p for p, shape in zip(proposals, shapes) if overlap(shape, quad) > .35]
            if n == BOX:
                for p in near:
                    self.keep(image, p[0], UNKNOWN_CORNERS)
                continue
            for p in near[:1]:
                self.keep(image, p[0], PLATE, quad, n, paint)
            for _ in range(slips):
                self.keep(image, slipped(self.rng, quad), PLATE, quad, n, paint)
        for p in proposals:
            if all(apart(p[0], q) for q in quads):
                for _ in range(2):
                    self.keep(image, p[0] + self.rng.standard_normal((4, 2)) * 2, NONE)

    def save(self, path):
        np.savez(path, jpeg=np.concatenate(self.cuts), ends=np.cumsum([len(c) for c in self.cuts]),
                 corrections=np.stack(self.corrections), kinds=np.int64(self.kinds),
                 two=np.float32(self.two), paints=np.int64(self.paints))


def apart(proposal, quad):
    """Whether a proposal has nothing to do with a plate."""
    middle = tuple(float(v) for v in proposal.mean(0))
    return (overlap(proposal, quad) < .05
            and cv2.pointPolygonTest(np.float32(quad), middle, False) < 0)


def upright(quad):
    (x0, y0), (x1, y1) = quad.min(0), quad.max(0)
    return np.float32([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def pieces(rng, image, n):
    """The picture, and pieces of it seen closer."""
    yield image
    h, w = image.shape[:2]
    for _ in range(n):
        part = rng.uniform(.25, .7)
        x, y = int(rng.uniform(0, w * (1 - part))), int(rng.uniform(0, h * (1 - part)))
        yield np.ascontiguousarray(image[y:y + int(h * part), x:x + int(w * part)])


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--pool', required=True)
    parser.add_argument('--corners', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--scenes', type=int, default=5000, help='rendered scenes to look at')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    cuts, begin = Cuts(Detector(args.corners), rng), time.time()
    shards = sorted(glob.glob(f'{args.pool}/*[0-9].npz'))
    rng.shuffle(shards)
    seen = 0
    for path in shards:
        shard = Shard(path)
        for i in range(len(shard)):
            if seen < args.scenes:
                scene = shard[i]
                cuts.take(scene.image, scene.quads, scene.rows, scene.kinds, 1)
                seen += 1
    for scene in real_scenes(args.train):
        if not scene.held:
            cuts.take(scene.image, scene.quads, scene.rows, scene.kinds, 5)
    for image in Pictures(args.train).images:
        for piece in pieces(rng, image, 4):
            cuts.take(piece, [], [], [])
    cuts.save(args.out)
    counts = np.bincount(cuts.kinds, minlength=3)
    print(f'{counts[PLATE]} plates, {counts[UNKNOWN_CORNERS]} without corners, '
          f'{counts[NONE]} that are none, {time.time() - begin:.0f} s')


if __name__ == '__main__':
    main()
