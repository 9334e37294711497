"""Whole pictures of ../shared/train for the plate detector; only rows whose `use` is `train`.

A fifth of the scenes is held out, by plate number, and a fifth of the plate-free pictures, by
file: they are never trained on.
"""

import csv
import hashlib
import re
from pathlib import Path

import cv2
import numpy as np

from pool import BOX, Scene

HELD_SHARE = .2
MOST = 960  # the longer side that pictures are kept at, pixels


def held(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], 'big') / 2 ** 32 < HELD_SHARE


def rows_of(folder, use=('train',)):
    with open(folder / 'manifest.tsv', encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE):
            if row['use'] in use:
                yield row


def _load(path):
    image = cv2.imread(str(path))
    if image is None:
        raise FileNotFoundError(path)
    scale = min(1, MOST / max(image.shape[:2]))
    if scale < 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return image, scale


def _numbers(text):
    return np.float32([float(v) for v in text.split(',')])


def _quads(row, scale):
    """Corners as labelled, or upright boxes; and whether they are corners."""
    if row['corners']:
        quads = [_numbers(c).reshape(4, 2) for c in row['corners'].split(';') if c]
        return np.stack(quads) * scale, True
    boxes = [_numbers(b) for b in row['boxes_xywh'].split(';')]
    quads = [[[x, y], [x + w, y], [x + w, y + h], [x, y + h]] for x, y, w, h in boxes]
    return np.float32(quads) * scale, False


def real_scenes(train):
    """All scenes with plates: mainland ones with corners, overseas ones mostly with boxes."""
    train, out = Path(train), []
    for folder in ('plates_cn_scenes', 'plates_overseas'):
        for row in rows_of(train / folder):
            if not (row['corners'] or row['boxes_xywh']) or row['kind'].endswith('_crop'):
                continue
            image, scale = _load(train / folder / row['file'])
            quads, exact = _quads(row, scale)
            if row['kind'] == 'plate_mixed':  # that data set is squeezed to a square
                image = cv2.resize(image, None, fx=1.45, fy=1, interpolation=cv2.INTER_CUBIC)
                quads = quads * np.float32([1.45, 1])
            rows = [(2 if 'double' in row['kind'] else 1) if exact else BOX] * len(quads)
            # The number where it is known; several pictures of one car stay on one side.
            name = re.split('[;/]', row['truth'])[0] or row['file']
            out.append(Scene(image, quads.astype(np.float32), rows, exact, held(name),
                             f"{folder}/{row['file']}", [row['kind']] * len(quads)))
    return out


class Pictures:
    """Plate-free pictures: backgrounds to hang plates into, and what must give no plate."""

    def __init__(self, train, use=('train',)):
        self.images, self.held = [], []
        folder = Path(train) / 'backgrounds'
        for row in rows_of(folder, use):
            image, _ = _load(folder / row['file'])
            (self.held if held(row['file']) else self.images).append(image)

    def draw(self, rng, width, height):
        """A piece of a picture, or of a painted street, width×height×3 float32."""
        if rng.random() < .85:
            image = self.images[rng.integers(len(self.images))]
            h, w = image.shape[:2]
            cut = min(w, h * width / height) * rng.uniform(.45, 1)
            high = min(h, cut * height / width * rng.uniform(.85, 1.15))
            x, y = int(rng.uniform(0, w - cut)), int(rng.uniform(0, h - high))
            piece = image[y:y + max(8, int(high)), x:x + max(8, int(cut))]
            if rng.random() < .5:
                piece = piece[:, ::-1]
            how = cv2.INTER_AREA if cut > width else cv2.INTER_LINEAR
            return cv2.resize(piece, (width, height), interpolation=how).astype(np.float32)
        canvas = np.empty((height, width, 3), np.float32)
        horizon = int(rng.uniform(.2, .7) * height)
        canvas[:horizon] = rng.uniform(60, 240, 3)
        canvas[horizon:] = rng.uniform(40, 150, 3)
        for _ in range(rng.integers(0, 14)):
            at = rng.uniform((0, 0), (width, height))
            points = at + rng.normal(0, rng.uniform(15, 110), (rng.integers(3, 6), 2))
            color = [float(v) for v in rng.uniform(0, 255, 3)]
            cv2.fillPoly(canvas, [np.int32(points)], color, cv2.LINE_AA)
        return canvas + rng.normal(0, rng.uniform(1, 12), canvas.shape).astype(np.float32)
