"""Scenes with labelled plates, and the shards on disk that they are kept in."""

import os
from dataclasses import dataclass, field

import cv2
import numpy as np


@dataclass
class Scene:
    """image H×W×3 BGR uint8; quads n×4×2 corners in pixels, clockwise from each plate's own top
    left; rows of characters per plate: 1, 2, BOX where only an upright box is known, or IGNORE
    where a plate may be that nobody should be asked about. kinds: of each plate, as plates.py names
    them, where known. exact: the corners are labelled; held: never trained on."""
    image: np.ndarray
    quads: np.ndarray
    rows: list = field(default_factory=list)
    exact: bool = True
    held: bool = False
    source: str = ''
    kinds: list = field(default_factory=list)


BOX, IGNORE = 3, 0


def write_shard(path, scenes, quality=92):
    """Writes scenes into one .npz file, whole or not at all."""
    os.makedirs(path.parent, exist_ok=True)
    how = [cv2.IMWRITE_JPEG_QUALITY, quality]
    jpegs = [cv2.imencode('.jpg', s.image, how)[1].ravel() for s in scenes]
    part = path.with_suffix('.part.npz')
    np.savez(part, jpeg=np.concatenate(jpegs), ends=np.cumsum([len(j) for j in jpegs]),
             quads=np.concatenate([s.quads.reshape(-1, 4, 2) for s in scenes]).astype(np.float32),
             rows=np.int64([n for s in scenes for n in s.rows]),
             plates=np.int64([len(s.rows) for s in scenes]),
             kinds=np.array([k for s in scenes for k in s.kinds], dtype='U24'))
    os.replace(part, path)


class Shard:
    """A shard in memory: its pictures stay JPEG until they are asked for."""

    def __init__(self, path):
        with np.load(path) as file:
            self.jpeg, self.ends = file['jpeg'], file['ends']
            self.quads, self.rows = file['quads'], file['rows']
            self.last = np.cumsum(file['plates'])
            self.kinds = file['kinds'] if 'kinds' in file else np.full(len(self.rows), '')

    def __len__(self):
        return len(self.ends)

    def __getitem__(self, i):
        begin = self.ends[i - 1] if i else 0
        first = self.last[i - 1] if i else 0
        image = cv2.imdecode(self.jpeg[begin:self.ends[i]], 1)
        mine = slice(first, self.last[i])
        return Scene(image, self.quads[mine].copy(), list(self.rows[mine]),
                     kinds=list(self.kinds[mine]))
