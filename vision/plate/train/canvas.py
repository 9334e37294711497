"""A plate's sheet, measured in millimetres, on which characters and marks are painted."""

from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass
class Box:
    """Where a character of the number stands, in pixels of the plate's image."""
    char: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass
class Plate:
    """A rendered plate.

    image is H×W×3 BGR, float32, 0…255; number as the agent writes it, without dot or space;
    rows 1 or 2; width_mm the real width; boxes those of the number's characters, in its order.
    """
    image: np.ndarray
    number: str
    kind: str
    rows: int
    width_mm: float
    boxes: list = field(default_factory=list)


def jitter(rng, color, by):
    """color (B, G, R), each part moved by up to `by`."""
    moved = np.asarray(color, np.float32) + rng.uniform(-by, by, 3)
    return np.clip(moved, 0, 255).astype(np.float32)


class Canvas:
    """width and height in mm, scale in pixels per mm."""

    def __init__(self, rng, face, width, height, ground, scale):
        self.rng, self.face, self.scale = rng, face, scale
        self.width, self.height = width, height
        self.image = np.empty((round(height * scale), round(width * scale), 3), np.float32)
        self.image[:] = ground
        self.boxes = []
        self.weight = rng.choice([-2, -1, -1, 0, 0, 0, 0, 1, 1, 2])  # strokes thinner or thicker

    def _pixels(self, *mm):
        return [int(round(v * self.scale)) for v in mm]

    def stamp(self, mask, x, y, width, height, color):
        """Paints a mask, stretched to a box in mm; returns the box in pixels or None."""
        left, top, w, h = self._pixels(x, y, width, height)
        w, h = max(2, w), max(2, h)
        how = cv2.INTER_AREA if mask.shape[0] > h else cv2.INTER_LINEAR
        mask = cv2.resize(mask, (w, h), interpolation=how)
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.image.shape[1], left + w), min(self.image.shape[0], top + h)
        if x1 <= x0 or y1 <= y0:
            return None
        mask = mask[y0 - top:y1 - top, x0 - left:x1 - left, None]
        part = self.image[y0:y1, x0:x1]
        part[:] = part * (1 - mask) + np.asarray(color, np.float32) * mask
        return x0, y0, x1, y1

    def char(self, char, x, y, width, height, color, counts=True):
        """Paints one character; counts tells whether it belongs to the number."""
        mask = self.face.mask(char, self.rng)
        if self.weight:
            pad = abs(self.weight)
            grown = cv2.copyMakeBorder(mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
            kernel = np.ones((pad + 1, pad + 1), np.uint8)
            mask = (cv2.dilate if self.weight > 0 else cv2.erode)(grown, kernel)
        ratio = mask.shape[1] / mask.shape[0]
        if char in '1I' or ratio < width / height * .55:  # narrow ones stay narrow
            narrow = np.clip(ratio * height, width * .2, width * .55)
            x, width = x + (width - narrow) / 2, narrow
        x, y = x + self.rng.normal(0, .6), y + self.rng.normal(0, .6)
        box = self.stamp(mask, x, y, width, height, color)
        if counts and box:
            self.boxes.append(Box(char, *map(float, box)))

    def row(self, text, left, right, y, height, color, gap=.18, counts=True):
        """Paints text in equal slots between left and right; spaces stay empty."""
        pitch = (right - left) / len(text)
        for i, char in enumerate(text):
            if char != ' ':
                shade = color[i] if isinstance(color, list) else color
                self.char(char, left + i * pitch + pitch * gap / 2, y, pitch * (1 - gap), height,
                          shade, counts)

    def text(self, mask, x, y, width, height, color):
        """Paints a line of text that is no part of the number, kept in shape within the box."""
        fit = min(width / mask.shape[1], height / mask.shape[0])
        w, h = mask.shape[1] * fit, mask.shape[0] * fit
        self.stamp(mask, x + (width - w) / 2, y + (height - h) / 2, w, h, color)

    def dot(self, x, y, radius, color):
        (cx, cy, r) = self._pixels(x, y, radius)
        cv2.circle(self.image, (cx, cy), max(1, r), [float(v) for v in color], -1, cv2.LINE_AA)

    def fill(self, x0, y0, x1, y1, color):
        a, b, c, d = self._pixels(x0, y0, x1, y1)
        cv2.rectangle(self.image, (a, b), (c, d), [float(v) for v in color], -1)

    def edge(self, color, margin=4., thickness=None):
        """The embossed line along the rim."""
        x0, y0, x1, y1 = self._pixels(margin, margin, self.width - margin, self.height - margin)
        thick = thickness or max(1, int(round(self.rng.uniform(1.5, 4) * self.scale)))
        cv2.rectangle(self.image, (x0, y0), (x1, y1), [float(v) for v in color], thick, cv2.LINE_AA)

    def gradient(self, top, bottom, begin=0., end=1.):
        """Ground from one colour to another; begin and end as fractions of the height."""
        rows = np.linspace(0, 1, self.image.shape[0])
        t = np.clip((rows - begin) / max(end - begin, 1e-3), 0, 1)[:, None, None]
        self.image[:] = np.asarray(top) * (1 - t) + np.asarray(bottom) * t

    def bolts(self, places):
        """Screw heads at places (x, y) in mm, of metal or with a cap in any colour."""
        for x, y in places:
            shade = jitter(self.rng, self.rng.uniform(40, 230, 3), 30)
            if self.rng.random() < .5:
                shade = np.full(3, self.rng.uniform(60, 230), np.float32)
            self.dot(x, y, self.rng.uniform(4, 9), shade)

    def wear(self):
        """Dirt, fading and scratches, on few plates much and on many a little."""
        rng, (h, w) = self.rng, self.image.shape[:2]
        if rng.random() < .35:
            coarse = rng.normal(0, 1, (rng.integers(2, 6), rng.integers(3, 10))).astype(np.float32)
            spots = cv2.resize(coarse, (w, h), interpolation=cv2.INTER_CUBIC)[..., None]
            amount = np.clip(spots * rng.uniform(.05, .35), 0, .6)
            self.image[:] = self.image * (1 - amount) + jitter(rng, (90, 105, 120), 40) * amount
        if rng.random() < .1:
            for _ in range(rng.integers(1, 5)):
                a, b = rng.uniform(0, 1, 2) * (w, h), rng.uniform(0, 1, 2) * (w, h)
                b = a + (b - a) * rng.uniform(.05, .5)
                shade = [float(v) for v in jitter(rng, (150, 150, 150), 100)]
                cv2.line(self.image, tuple(int(v) for v in a), tuple(int(v) for v in b), shade, 1,
                         cv2.LINE_AA)
        if rng.random() < .15:  # faded print
            mean = self.image.mean((0, 1), keepdims=True)
            self.image[:] = mean + (self.image - mean) * rng.uniform(.45, .9)
