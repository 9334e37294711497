"""Real plates of ../shared/train with known number: crops, and scenes cut down to the plate.

Only rows whose `use` is `train` are read. The split is by plate number, so that a car that is
both in a scene and in a crop is on one side only.
"""

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

HELD_SHARE = .12
HELD_RARE = .34  # of the provinces with few plates, or there would be none to check with
RARE = 12


@dataclass
class Real:
    """image H×W×3 BGR uint8; quad its plate's corners, clockwise from the top left, in pixels;
    exact is False where the whole crop is taken for the plate; held: never trained on."""
    image: np.ndarray
    quad: np.ndarray
    number: str
    exact: bool
    held: bool
    source: str


def _fraction(number):
    """A number in 0…1 that depends on the plate only."""
    return int.from_bytes(hashlib.sha256(number.encode()).digest()[:4], 'big') / 2 ** 32


def _rows(folder):
    with open(folder / 'manifest.tsv', encoding='utf-8', newline='') as file:
        for row in csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE):
            if row['use'] == 'train' and row['truth']:
                yield row


def _corners(text):
    return np.float32([float(v) for v in text.split(',')]).reshape(4, 2)


def _around(image, quad):
    """The part of a scene around the plate, a plate's width to each side at the most."""
    low, high = quad.min(0), quad.max(0)
    grow = np.float32([(high - low)[0] * .35, (high - low)[1] * .8])
    x0, y0 = np.maximum(0, np.floor(low - grow)).astype(int)
    x1, y1 = np.ceil(high + grow).astype(int)
    return image[y0:y1, x0:x1].copy(), quad - np.float32([x0, y0])


def load(train):
    """All labelled plates below the folder train."""
    train, out = Path(train), []
    for folder in ('plates_cn_crops', 'plates_cn_scenes'):
        for row in _rows(train / folder):
            if folder == 'plates_cn_scenes' and not row['corners']:
                continue
            image = cv2.imread(str(train / folder / row['file']))
            if image is None:
                raise FileNotFoundError(train / folder / row['file'])
            if row['corners']:
                quad, exact = _corners(row['corners']), True
                if folder == 'plates_cn_scenes':
                    image, quad = _around(image, quad)
            else:
                h, w = image.shape[:2]
                quad, exact = np.float32([[0, 0], [w, 0], [w, h], [0, h]]), False
            out.append(Real(image, quad, row['truth'], exact, False, f"{folder}/{row['file']}"))
    plates = {}
    for real in out:
        plates.setdefault(real.number[0], set()).add(real.number)
    for real in out:
        share = HELD_RARE if len(plates[real.number[0]]) < RARE else HELD_SHARE
        real.held = _fraction(real.number) < share
    return out


def flatten(real, width, height, grow=(0., 0.)):
    """The plate without perspective, width×height; grow adds a margin, in plate sizes a side."""
    gx, gy = grow[0] * width, grow[1] * height
    onto = np.float32([[gx, gy], [width - gx, gy], [width - gx, height - gy], [gx, height - gy]])
    matrix = cv2.getPerspectiveTransform(real.quad, onto)
    return cv2.warpPerspective(real.image, matrix, (width, height), flags=cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REPLICATE)


def strokes(flat):
    """How much of each pixel is stroke, 0…1, of a flattened plate with light characters; and the
    colours of ground and stroke. None where the two can hardly be told apart."""
    pixels = flat.reshape(-1, 3).astype(np.float32)
    grey = pixels @ np.float32([.1, .45, .45])  # the ground is blue: green and red tell more
    dark, light = np.percentile(grey, [35, 93])
    ground = np.median(pixels[grey <= dark], axis=0)
    stroke = np.median(pixels[grey >= light], axis=0)
    axis = stroke - ground
    length = float(axis @ axis)
    if length < 35 ** 2:
        return None
    share = np.clip((flat.astype(np.float32) - ground) @ axis / length, 0, 1)
    return share, ground, stroke
