"""Training samples of the reader: cuts with their number and where its characters stand.

Three sources: rendered plates of all kinds in a street's surroundings, real plates, and real
plates in whose light other characters, colours and kinds are painted.

usage: samples.py --train ../shared/train --pack FILE --out FOLDER --count N --seed S
       samples.py ... --sheet FILE      a sheet of examples to look at
"""

import argparse
import glob
import os
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import abroad
import camera
import cuts
import plates
import real
from alphabet import encode

SHARD = 500
HARD = ['cn_wj', 'cn_wj', 'cn_wj_double', 'cn_military', 'cn_military_double', 'cn_agri_double',
        'cn_emergency', 'cn_yellow_double', 'cn_yellow_double', 'cn_trailer']
MOST = 9  # characters of a number


@dataclass
class Sample:
    """cut 48×160×3 BGR uint8; number '' where there is nothing to read; spans n×2 in pixels of the
    cut, or empty where not known."""
    cut: np.ndarray
    number: str
    spans: np.ndarray
    kind: str


class Surroundings:
    """Pieces of street to lay around rendered plates."""

    def __init__(self, train, most=240):
        files = sorted(glob.glob(str(Path(train) / 'backgrounds' / '*.jpg')))
        allowed = self._allowed(train)
        self.images = []
        for file in [f for f in files if os.path.basename(f) in allowed][:most]:
            image = cv2.imread(file)
            scale = 500 / max(image.shape[:2])
            self.images.append(cv2.resize(image, None, fx=scale, fy=scale))

    @staticmethod
    def _allowed(train):
        with open(Path(train) / 'backgrounds' / 'manifest.tsv', encoding='utf-8') as file:
            head, *rows = [line.rstrip('\n').split('\t') for line in file]
        use = head.index('use')
        return {row[0] for row in rows if row[use] == 'train'}

    def draw(self, rng, width, height):
        if rng.random() < .45 or not self.images:
            ground = np.full((height, width, 3), rng.uniform(0, 255), np.float32)
            ground += rng.normal(0, 12, 3).astype(np.float32)
            return ground * np.linspace(*rng.uniform(.6, 1.2, 2), height)[:, None, None]
        image = self.images[rng.integers(len(self.images))]
        h, w = image.shape[:2]
        ch, cw = min(h, max(8, int(height * rng.uniform(.6, 2)))), 0
        cw = min(w, max(8, int(ch * width / height)))
        y, x = rng.integers(h - ch + 1), rng.integers(w - cw + 1)
        return cv2.resize(image[y:y + ch, x:x + cw], (width, height)).astype(np.float32)


def pose(rng, width, height):
    """Where a plate's corners stand in a picture of it: turned, sheared, seen from the side."""
    quad = np.float32([[-.5, -.5], [.5, -.5], [.5, .5], [-.5, .5]]) * [width, height]
    turn = np.radians(rng.normal(0, 6))
    shear = rng.normal(0, .09)
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]])
    quad = quad @ matrix.T
    depth = 1 + quad @ (rng.normal(0, .1, 2) / width)
    return (quad / depth[:, None]).astype(np.float32)


def loose(quad, rng, tight=False):
    """Corners as a detector gives them: a margin, and each a little off."""
    w = np.linalg.norm(quad[1] - quad[0])
    h = np.linalg.norm(quad[3] - quad[0])
    if tight:
        x, y = rng.uniform(-.02, .05), rng.uniform(-.05, .1)
    else:
        x, y = rng.uniform(-.01, .1), rng.uniform(-.04, .16)
        if rng.random() < .12:  # only the box of a plate that stands askew, or a generous one
            x, y = rng.uniform(0, .2), rng.uniform(0, .4)
    quad = cuts.grown(quad, x, y)
    off = rng.normal(0, 1, (4, 2)) * [w * .012, h * .04]
    shift = rng.normal(0, 1, 2) * [w * .012, h * .03]
    return (quad + off + shift).astype(np.float32)


def split(rng, plate):
    """Where the rows are taken apart: near the gap between them, or at the usual place."""
    if rng.random() < .4:
        return cuts.SPLIT
    high = plate.image.shape[0]
    upper, lower = rows_of(plate.boxes, high)
    end = max(b.bottom for b in upper) / high
    begin = min(b.top for b in lower) / high
    left = min(b.left for b in upper) / plate.image.shape[1]
    right = max(b.right for b in upper) / plate.image.shape[1]
    bottom = np.clip(end + rng.uniform(.01, .1), .3, .62)
    top = np.clip(begin - rng.uniform(.02, .09), .25, .6)
    if rng.random() < .6 and left > .13 and right < .87:
        return .15, .85, bottom, top
    return max(0, left - rng.uniform(.02, .15)), min(1, right + rng.uniform(.02, .15)), bottom, top


def rows_of(boxes, high):
    """The boxes of the upper and of the lower row."""
    upper = [b for b in boxes if (b.top + b.bottom) / 2 < high * .42]
    return upper, [b for b in boxes if b not in upper]


def photo_of(rng, street, plate):
    """A picture of a rendered plate among street: picture, corners and boxes of characters."""
    h, w = plate.image.shape[:2]
    seen = np.exp(rng.uniform(np.log(46 if plate.rows == 1 else 58), np.log(200)))
    quad = pose(rng, seen, seen * h / w * rng.uniform(.85, 1.1))
    low, high = quad.min(0), quad.max(0)
    margin = (high - low) * .18 + 3
    quad += margin - low
    size = tuple(int(v) for v in np.ceil(high - low + 2 * margin))
    matrix = cv2.getPerspectiveTransform(np.float32([[0, 0], [w, 0], [w, h], [0, h]]), quad)
    photo = street.draw(rng, *size)
    shrink = w / seen
    image = plate.image
    if shrink > 1.5:
        image = cv2.GaussianBlur(image, (0, 0), shrink * .35)
    mask = cv2.warpPerspective(np.ones((h, w), np.float32), matrix, size)[..., None]
    photo = photo * (1 - mask) + cv2.warpPerspective(image, matrix, size) * mask
    photo = camera.take(photo, rng)
    boxes = [_moved((b.left, b.top, b.right, b.bottom), matrix) for b in plate.boxes]
    return photo, quad, boxes


def rendered(rng, street, kind=None):
    """A rendered plate, photographed, cut."""
    plate = plates.render(rng, kind, scale=rng.uniform(.5, .75))
    photo, quad, boxes = photo_of(rng, street, plate)
    corners = loose(quad, rng)
    at = split(rng, plate) if plate.rows == 2 else None
    cut, spans = cuts.cut(photo, corners, plate.rows, at, boxes)
    if spans.min() < -2 or spans.max() > cuts.WIDTH + 2 or _overlap(spans):
        return rendered(rng, street, kind)  # a character was cut off
    return Sample(cut, plate.number, spans, plate.kind)


def nothing(rng, street):
    """A cut that holds no number: a piece of street, or a plate taken apart in the wrong way, as
    happens before it is known how many rows it has."""
    if rng.random() < .3:
        width, height = (int(v) for v in rng.uniform((60, 20), (320, 100)))
        photo = camera.take(street.draw(rng, width, height), rng)
        return Sample(cv2.resize(photo, (cuts.WIDTH, cuts.HEIGHT)), '', NOTHING, 'nothing')
    while True:
        plate = plates.render(rng, None, scale=rng.uniform(.5, .75))
        if plate.rows == 2 or plate.image.shape[1] < 2.6 * plate.image.shape[0]:
            break
    photo, quad, _ = photo_of(rng, street, plate)
    cut, _ = cuts.cut(photo, loose(quad, rng), 3 - plate.rows)
    return Sample(cut, '', NOTHING, 'nothing')


def _overlap(spans):
    """Whether characters stand one on the other: a row was taken for the other one."""
    middles = spans.mean(1)
    return bool((np.diff(middles) < 2).any())


def _moved(box, matrix):
    left, top, right, bottom = box
    y = (top + bottom) / 2
    points = cv2.perspectiveTransform(np.float32([[[left, y], [right, y]]]), matrix)[0]
    mean = points[:, 1].mean()
    return points[0, 0], mean, points[1, 0], mean


NOTHING = np.float32([[0, 999]])  # known: no character anywhere
SLOTS = [(x, 25, x + 45, 115) for x in plates.SEVEN]


def photographed(plate, rng, plain=False):
    """A real plate as it is, a little worse, or (plain) exactly as it is."""
    image, quad = plate.image, plate.quad
    if not plain and rng.random() < .7:
        width = np.linalg.norm(quad[1] - quad[0])
        seen = np.exp(rng.uniform(np.log(60), np.log(max(61, width))))
        if seen < width * .9 and rng.random() < .5:
            image = cv2.resize(image, None, fx=seen / width, fy=seen / width,
                               interpolation=cv2.INTER_AREA)
            quad = quad * (seen / width)
        image = worse(image.astype(np.float32), rng)
    corners = quad if plain else loose(quad, rng, tight=not plate.exact)
    boxes = slots_of(plate.number, quad) if plate.exact else []
    cut, spans = cuts.cut(image, corners, 1, None, boxes)
    return Sample(cut, plate.number, spans, 'real')


def slots_of(number, quad):
    """Places of the characters of a standard plate, in pixels of the picture."""
    if len(number) == 7:
        places, width = SLOTS, 440
    else:
        places, width = [(x, 25, x + 43, 115) for x in plates.EIGHT], 480
    flat = np.float32([[0, 0], [width, 0], [width, 140], [0, 140]])
    matrix = cv2.getPerspectiveTransform(flat, np.float32(quad))
    return [_moved(b, matrix) for b in places]


def worse(image, rng):
    """Milder than camera.take: the picture has been taken once already."""
    image = image * rng.uniform(.5, 1.3)
    if rng.random() < .2:
        image = camera.infrared(image, rng)
    if rng.random() < .3:
        image = image * rng.uniform(.85, 1.15, 3)
    if rng.random() < .2:
        veil = rng.uniform(20, 200)
        image = veil + (image - veil) * rng.uniform(.4, .9)
    if rng.random() < .15:
        image = camera.night(image, rng)
    if rng.random() < .4:
        image = camera.lens(image.astype(np.float32), rng)
    return camera.sensor(image.astype(np.float32), rng)


# Kinds of 440×140 mm that can be painted into a real plate: number, ground, strokes, last stroke.
def _new_plate(rng):
    white, black, red = plates.WHITE, plates.BLACK, plates.RED
    yellow = plates.pick(rng, plates.YELLOWS)
    place, tail = plates.place(rng), plates.serial(rng, 4)
    kinds = [
        (place + plates.serial(rng, 5), None, None, None, 9),
        (place + plates.serial(rng, 5), yellow, black, black, 3),
        (place + tail + '学', yellow, black, black, 1.5),
        (place + tail + '警', (236, 236, 236), black, red, 1.5),
        (place + plates.serial(rng, 5), (32, 28, 28), white, white, 1),
        ('粤Z' + tail + plates.pick(rng, '港港澳'), (32, 28, 28), white, white, 1.5),
        (place + tail + '领', (32, 28, 28), white, red, 1),
        (plates._army_number(rng), (236, 236, 236), black, black, 1.5),
        ('民航' + plates.pick(rng, plates.LETTERS) + plates.serial(rng, 4, 0), (60, 130, 30),
         white, white, .8),
        ('使' + plates.serial(rng, 6, 0), (32, 28, 28), white, white, .8),
    ]
    weights = np.array([k[4] for k in kinds])
    return kinds[rng.choice(len(kinds), p=weights / weights.sum())]


def painted(plate, rng):
    """A real plate's light, dirt and blur with another number, and often of another kind."""
    width, height = 308, 98
    grow = (.1, .2)
    scale = width * (1 - 2 * grow[0]) / 440, height * (1 - 2 * grow[1]) / 140
    flat = real.flatten(plate, width, height, grow)
    inner = flat[int(height * grow[1]):-int(height * grow[1]),
                 int(width * grow[0]):-int(width * grow[0])]
    found = real.strokes(inner)
    if found is None:
        return photographed(plate, rng)
    _, ground, stroke = found
    flat = flat.astype(np.float32)
    axis = stroke - ground
    share = np.clip((flat - ground) @ axis / float(axis @ axis), 0, 1)
    number, new_ground, new_stroke, last, _ = _new_plate(rng)
    base = _local(flat, (share < .3).astype(np.float32), ground)
    ink = _local(flat, (share > .75).astype(np.float32), stroke)
    kept = rng.random() < .5 and number[0] in plates.PROVINCES
    face = plates.faces().draw(rng, .75)
    sigma = rng.uniform(.4, 1.3)
    boxes = []
    colors = np.broadcast_to(stroke if new_stroke is None else np.float32(new_stroke),
                             flat.shape).astype(np.float32).copy()
    letters = list(number)
    for i, char in enumerate(number):
        x = grow[0] * width + plates.SEVEN[i] * scale[0]
        y = grow[1] * height + 25 * scale[1]
        w, h = 45 * scale[0], 90 * scale[1]
        boxes.append((x, y, x + w, y + h))
        at = slice(int(y - 4), int(y + h + 4)), slice(int(x - 3), int(x + w + 3))
        if i == 6 and last is not None:
            colors[at] = last
        if kept and i > 0 and char not in '学警港澳领' and rng.random() < .8:
            letters[i] = plate.number[i]  # this character stays as it was photographed
            continue
        mask = np.zeros((at[0].stop - at[0].start, at[1].stop - at[1].start), np.float32)
        glyph = face.mask(char, rng)
        gw, gh = int(w), int(h)
        if char in '1I' or glyph.shape[1] < .28 * glyph.shape[0]:
            gw = max(4, int(min(w * .5, gh * glyph.shape[1] / glyph.shape[0])))
        glyph = cv2.resize(glyph, (gw, gh), interpolation=cv2.INTER_AREA)
        x0 = 3 + (int(w) - gw) // 2
        mask[4:4 + gh, x0:x0 + gw] = glyph[:mask.shape[0] - 4, :mask.shape[1] - x0]
        share[at] = cv2.GaussianBlur(mask, (0, 0), sigma)
    if new_ground is not None:
        lum = base.mean(2, keepdims=True) / max(20., float(ground.mean()))
        base = np.float32(new_ground) * np.clip(lum, .2, 1.6)
        lum = float(stroke.mean()) / 235 * rng.uniform(.7, 1.1)
        base, ink = base * lum, colors * lum
    else:
        lum = ink.mean(2, keepdims=True) / max(20., float(stroke.mean()))
        ink = colors * np.clip(lum, .4, 1.5)
    image = base * (1 - share[..., None]) + ink * share[..., None]
    if new_ground is None and rng.random() < .5:  # keep the picture's own grain
        image += (flat - cv2.GaussianBlur(flat, (0, 0), 1)) * .3
    seen = np.exp(rng.uniform(np.log(60), np.log(200))) / (width * (1 - 2 * grow[0]))
    if seen < .9:
        image = cv2.resize(image, None, fx=seen, fy=seen, interpolation=cv2.INTER_AREA)
    else:
        seen = 1.
    image = worse(image.astype(np.float32), rng)
    x0, y0 = grow[0] * width, grow[1] * height
    quad = np.float32([[x0, y0], [width - x0, y0], [width - x0, height - y0], [x0, height - y0]])
    boxes = [tuple(v * seen for v in b) for b in boxes]
    cut, spans = cuts.cut(image, loose(quad * seen, rng), 1, None, boxes)
    return Sample(cut, ''.join(letters), spans, 'painted')


def _local(flat, weight, fallback):
    """The local mean colour of the pixels with weight, the fallback where there are none."""
    size = (31, 31)
    total = cv2.blur(weight, size)[..., None]
    mean = cv2.blur(flat * weight[..., None], size)
    return (mean + np.float32(fallback) * .02) / (total + .02)


class Source:
    """Draws samples from all sources; held plates never."""

    def __init__(self, train, pack):
        plates.use_pack(pack)
        self.street = Surroundings(train)
        self.real = [r for r in real.load(train) if not r.held]
        counts = {}
        for r in self.real:
            counts[r.number[0]] = counts.get(r.number[0], 0) + 1
        weights = np.array([counts[r.number[0]] ** -.55 for r in self.real])
        self.weights = np.cumsum(weights / weights.sum())
        self.exact = [r for r in self.real if r.exact and len(r.number) == 7]

    def draw(self, rng):
        what = rng.random()
        if what < .32:
            index = min(len(self.real) - 1, np.searchsorted(self.weights, rng.random()))
            return photographed(self.real[index], rng)
        if what < .56:
            return painted(self.exact[rng.integers(len(self.exact))], rng)
        if what < .6:
            return nothing(rng, self.street)
        return rendered(rng, self.street, self._kind(rng))

    @staticmethod
    def _kind(rng):
        """Kinds that only rendering brings are drawn more often than plates.py does."""
        what = rng.random()
        if what < .28:
            return plates.pick(rng, list(abroad.KINDS))
        return plates.pick(rng, HARD) if what < .45 else None


def store(samples, file):
    """One shard: cuts, numbers as indices (0 = none), spans (-1 = not known)."""
    n = len(samples)
    labels = np.zeros((n, MOST), np.uint8)
    spans = np.full((n, MOST, 2), -1, np.float32)
    for i, s in enumerate(samples):
        labels[i, :len(s.number)] = encode(s.number)
        spans[i, :len(s.spans)] = s.spans
    part = f'{file}.part.npz'
    np.savez(part, cuts=np.stack([s.cut for s in samples]), labels=labels, spans=spans)
    os.rename(part, file)


def sheet(source, rng, file):
    cells = []
    for _ in range(120):
        s = source.draw(rng)
        image = cv2.resize(s.cut, None, fx=1, fy=1)
        for a, b in s.spans:
            cv2.line(image, (int(a), 46), (int(b), 46), (0, 0, 255), 1)
        cells.append(cv2.copyMakeBorder(image, 2, 2, 2, 2, cv2.BORDER_CONSTANT))
    cv2.imwrite(file, np.vstack([np.hstack(cells[i:i + 10]) for i in range(0, 120, 10)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--train', required=True)
    parser.add_argument('--pack')
    parser.add_argument('--out')
    parser.add_argument('--count', type=int, default=100000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--sheet')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    rng = np.random.default_rng(args.seed)
    source = Source(args.train, args.pack)
    if args.sheet:
        sheet(source, rng, args.sheet)
        return
    os.makedirs(args.out, exist_ok=True)
    begin = time.time()
    for k in range(args.count // SHARD):
        shard = [source.draw(rng) for _ in range(SHARD)]
        store(shard, f'{args.out}/{args.seed}_{k:05d}.npz')
    print(f'{args.count} samples, {(time.time() - begin) / args.count * 1e3:.1f} ms each')


if __name__ == '__main__':
    main()
