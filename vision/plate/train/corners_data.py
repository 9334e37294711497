"""What the corner net is trained on: scenes framed at random, with their target maps."""

import glob
import time

import cv2
import numpy as np
import torch

from corners_net import STRIDE, blob
from pool import BOX, IGNORE, Shard
from scenes import mirrored

WIDTH, HEIGHT = 512, 288
GRID_W, GRID_H = WIDTH // STRIDE, HEIGHT // STRIDE
CELL_Y, CELL_X = np.mgrid[0:GRID_H, 0:GRID_W].astype(np.float32) * STRIDE + (STRIDE - 1) / 2
LEAST = 14      # pixels of width below which a plate is not asked for
LEAST_HIGH = 3.5


def frame(rng, image, quads, real):
    """The picture moved and scaled into the net's input; the corners follow."""
    h, w = image.shape[:2]
    fit = min(WIDTH / w, HEIGHT / h)
    k = fit * np.exp(rng.uniform(np.log(.62), np.log(1.75)))
    if real and len(quads) and rng.random() < .6:  # to a width that the net has to know
        quad = quads[rng.integers(len(quads))]
        wide = max(np.linalg.norm(quad[1] - quad[0]), 1)
        k = np.exp(rng.uniform(np.log(18), np.log(240))) / wide
        k = np.clip(k, fit * .45, max(fit * 4, .3))
    angle, stretch = np.radians(rng.normal(0, 3)), np.exp(rng.normal(0, .07))
    cos, sin = np.cos(angle), np.sin(angle)
    matrix = k * np.array([[stretch * cos, -sin], [stretch * sin, cos]])
    if len(quads) and rng.random() < .85:
        at = rng.uniform((.04 * WIDTH, .05 * HEIGHT), (.96 * WIDTH, .95 * HEIGHT))
        move = at - matrix @ quads[rng.integers(len(quads))].mean(0)
    else:
        move = np.array([WIDTH, HEIGHT]) / 2 - matrix @ [w / 2, h / 2]
    if not (len(quads) and rng.random() < .15):
        move = covering(matrix, move, w, h)
    affine = np.c_[matrix, move]
    if k < .55:  # or the warp would alias
        image = cv2.resize(image, None, fx=1.25 * k, fy=1.25 * k, interpolation=cv2.INTER_AREA)
        affine = np.c_[matrix / (1.25 * k), move]
    how = cv2.BORDER_CONSTANT if rng.random() < .7 else cv2.BORDER_REPLICATE
    out = cv2.warpAffine(image, np.float32(affine), (WIDTH, HEIGHT), borderMode=how,
                         borderValue=[float(rng.choice([0, 0, 0, 114]))] * 3)
    return out, (quads @ matrix.T + move).astype(np.float32)


def covering(matrix, move, w, h):
    """Moves the picture so that it covers the frame, or lies within it."""
    size, middle = np.abs(matrix) @ [w, h], matrix @ [w / 2, h / 2]
    for i, length in enumerate((WIDTH, HEIGHT)):
        low, high = move[i] + middle[i] - size[i] / 2, move[i] + middle[i] + size[i] / 2
        if (low < 0) == (size[i] < length):
            move[i] -= low
        elif (high > length) == (size[i] < length):
            move[i] += length - high
    return move


def tint(rng, image):
    image = np.float32(image) * rng.uniform(.6, 1.35) + rng.uniform(-20, 25)
    if rng.random() < .3:
        image *= rng.uniform(.8, 1.2, 3).astype(np.float32)
    if rng.random() < .12:
        image[:] = image @ rng.dirichlet((2., 2., 2.)).astype(np.float32)[:, None]
    if rng.random() < .1:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.4, 1.4))
    if rng.random() < .2:
        noise = rng.standard_normal(image.shape[:2] + (1,), dtype=np.float32)
        image = image + noise * rng.uniform(1, 9)
    return np.clip(image, 0, 255)


class Targets:
    """centre 0–1; corners in cells; weight per cell of the corner loss; scale of a plate in cells;
    asked 0 where nothing is asked; two: whether the plate has two rows."""

    def __init__(self):
        shape = (GRID_H, GRID_W)
        self.centre, self.weight = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self.corners = np.zeros((8,) + shape, np.float32)
        self.scale, self.asked = np.ones(shape, np.float32), np.ones(shape, np.float32)
        self.two = np.zeros(shape, np.int64)

    def add(self, quad, rows):
        middle = quad.mean(0)
        along = (quad[1] - quad[0] + quad[2] - quad[3]) / 2
        down = (quad[3] - quad[0] + quad[2] - quad[1]) / 2
        wide, high = np.linalg.norm(along), np.linalg.norm(down)
        area = along[0] * down[1] - along[1] * down[0]
        if abs(area) < 12:
            return
        dx, dy = CELL_X - middle[0], CELL_Y - middle[1]
        u = (dx * down[1] - dy * down[0]) / area   # where a cell lies on the plate, −½…½
        v = (-dx * along[1] + dy * along[0]) / area
        small = wide < LEAST or abs(area) / max(wide, high) < LEAST_HIGH
        if rows == IGNORE or small or not self.whole(quad, wide, high):
            self.asked[(np.abs(u) < .6) & (np.abs(v) < .7)] = 0
            i, j = (np.clip(middle[::-1] // STRIDE, 0, (GRID_H - 1, GRID_W - 1))).astype(int)
            self.asked[i, j] = 0
            return
        spread_u, spread_v = max(.10, 4.5 / wide), max(.18, 4.5 / high)
        peak = np.exp(-(u * u / (2 * spread_u ** 2) + v * v / (2 * spread_v ** 2)))
        peak[np.unravel_index(np.argmin(dx * dx + dy * dy), dx.shape)] = 1
        mine = (peak > self.centre) & (peak > .45)
        self.centre = np.maximum(self.centre, peak)
        if rows == BOX or not mine.any():
            return
        for i, (x, y) in enumerate(quad):
            self.corners[2 * i][mine] = (x - CELL_X[mine]) / STRIDE
            self.corners[2 * i + 1][mine] = (y - CELL_Y[mine]) / STRIDE
        self.weight[mine] = peak[mine] / peak[mine].sum()
        self.scale[mine] = max(min(wide, high) / STRIDE, .8)
        self.two[mine] = rows - 1

    @staticmethod
    def whole(quad, wide, high):
        over = np.float32([.06 * wide, .2 * high])
        return (quad.min(0) > -over).all() and (quad.max(0) < over + (WIDTH, HEIGHT)).all()

    def arrays(self):
        return self.centre, self.corners, self.weight, self.scale, self.asked, self.two


class Batches(torch.utils.data.IterableDataset):
    """Samples without end; shards that are written meanwhile are taken in."""

    def __init__(self, pool, scenes, pictures, shares, seed):
        self.pool, self.shares, self.seed = pool, shares, seed
        self.scenes = [s for s in scenes if not s.held]
        self.pictures = pictures.images
        self.shards, self.looked = {}, 0.

    def rescan(self):
        if time.time() - self.looked > 60:
            self.looked = time.time()
            for path in sorted(glob.glob(f'{self.pool}/*[0-9].npz')):
                if path not in self.shards:
                    self.shards[path] = Shard(path)

    def __iter__(self):
        cv2.setNumThreads(1)
        rng = np.random.default_rng([self.seed, time.time_ns() % 2 ** 32])
        while True:
            self.rescan()
            yield self.sample(rng)

    def sample(self, rng):
        share, real = rng.random(), True
        if share < self.shares[0] or not self.shards:
            scene = self.scenes[rng.integers(len(self.scenes))]
            image, quads, rows = scene.image, scene.quads, scene.rows
        elif share < sum(self.shares):
            image = self.pictures[rng.integers(len(self.pictures))]
            quads, rows = np.zeros((0, 4, 2), np.float32), []
        else:
            shards = list(self.shards.values())
            shard = shards[rng.integers(len(shards))]
            scene = shard[rng.integers(len(shard))]
            image, quads, rows, real = scene.image, scene.quads, scene.rows, False
        if real and rng.random() < .4:
            image, quads = mirrored(image, quads)
        image, quads = frame(rng, image, quads, real)
        targets = Targets()
        for quad, n in zip(quads, rows):
            targets.add(quad, n)
        return torch.from_numpy(np.ascontiguousarray(blob(tint(rng, image)))), *targets.arrays()
