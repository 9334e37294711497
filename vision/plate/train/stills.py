"""Writes labelled pictures of rendered plates before real backgrounds.

They show the kinds of plates that no real picture at hand shows. `gatehouse-vision eval` measures
on them and `gatehouse-vision calibrate` fits the confidence with them; nothing else is trained on
them, and seeds differ from those of the training samples.

usage: stills.py --train ../shared/train --out DIR [--each N] [--pack PACK]
"""

import argparse
import csv
from pathlib import Path

import cv2
import numpy as np

import camera
import plates

SIZE = (640, 384)
HEADER = ['file', 'kind', 'truth', 'corners', 'boxes_xywh', 'use', 'note']


def backgrounds(train):
    """Pictures without plates that may go into what is shipped."""
    folder = Path(train) / 'backgrounds'
    with open(folder / 'manifest.tsv', encoding='utf-8', newline='') as file:
        rows = [r for r in csv.DictReader(file, delimiter='\t', quoting=csv.QUOTE_NONE)
                if r['use'] == 'train']
    for row in rows:
        image = cv2.imread(str(folder / row['file']))
        if image is not None and min(image.shape[:2]) >= 120:
            yield image


def window(image, rng):
    """A part of a background, scaled to SIZE."""
    h, w = image.shape[:2]
    scale = max(SIZE[0] / w, SIZE[1] / h) * rng.uniform(1, 1.6)
    image = cv2.resize(image, (round(w * scale) + 1, round(h * scale) + 1))
    x = rng.integers(0, image.shape[1] - SIZE[0] + 1)
    y = rng.integers(0, image.shape[0] - SIZE[1] + 1)
    return image[y:y + SIZE[1], x:x + SIZE[0]].astype(np.float32)


def corners(plate, rng):
    """Where the plate comes to lie: 70 to 220 px wide, tilted, seen from aside."""
    h, w = plate.image.shape[:2]
    seen = np.exp(rng.uniform(np.log(70), np.log(220)))
    half = np.float32([seen / 2, seen / 2 * h / w])
    base = np.float32([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half
    turn = np.deg2rad(rng.normal(0, 5))
    shear = rng.normal(0, .12)
    squeeze = rng.uniform(.75, 1)
    affine = np.float32([[squeeze * np.cos(turn), -np.sin(turn) + shear],
                         [np.sin(turn), np.cos(turn)]])
    quad = base @ affine.T + rng.normal(0, .012 * seen, (4, 2))
    low, high = quad.min(0) - 4, quad.max(0) + 4
    room = np.float32(SIZE) - (high - low)
    return (quad - low + rng.uniform(0, 1, 2) * np.maximum(room, 1)).astype(np.float32)


def mount(scene, plate, quad, rng):
    """Paints a car's blurred surroundings and the plate into the scene."""
    centre = quad.mean(0)
    body = (quad - centre) * rng.uniform(1.15, 2.2, 2) + centre
    paint = np.float32(rng.uniform(10, 220, 3) if rng.random() < .4 else [rng.uniform(10, 230)] * 3)
    mask = np.zeros(scene.shape[:2], np.float32)
    cv2.fillConvexPoly(mask, body.astype(np.int32), 1.)
    mask = cv2.GaussianBlur(mask, (0, 0), rng.uniform(1, 6))[..., None]
    scene = scene * (1 - mask) + paint * mask
    h, w = plate.image.shape[:2]
    shrink = np.linalg.norm(quad[1] - quad[0]) / w
    image = plate.image
    if shrink < .7:
        image = cv2.resize(image, None, fx=shrink * 1.3, fy=shrink * 1.3,
                           interpolation=cv2.INTER_AREA)
        h, w = image.shape[:2]
    matrix = cv2.getPerspectiveTransform(np.float32([[0, 0], [w, 0], [w, h], [0, h]]), quad)
    drawn = cv2.warpPerspective(image.astype(np.float32), matrix, SIZE, flags=cv2.INTER_LINEAR)
    mask = cv2.warpPerspective(np.ones((h, w), np.float32), matrix, SIZE)[..., None]
    return scene * (1 - mask) + drawn * mask


def still(image, kind, rng):
    """One picture (uint8), its plate and the plate's corners."""
    plate = plates.render(rng, kind)
    quad = corners(plate, rng)
    return camera.take(mount(window(image, rng), plate, quad, rng), rng), plate, quad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--train', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--each', type=int, default=40)
    parser.add_argument('--pack')
    parser.add_argument('--seed', type=int, default=20261125)
    args = parser.parse_args()
    if args.pack:
        plates.use_pack(args.pack)
    rng = np.random.default_rng(args.seed)
    behind = list(backgrounds(args.train))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / 'manifest.tsv', 'w', encoding='utf-8', newline='') as file:
        table = csv.writer(file, delimiter='\t', quoting=csv.QUOTE_NONE, escapechar='\\')
        table.writerow(HEADER)
        for kind in plates.ALL:
            for n in range(args.each):
                picture, plate, quad = still(behind[rng.integers(len(behind))], kind, rng)
                label = kind if kind.startswith('cn_') else 'plate_' + kind
                name = f'{label}_{n:04d}.png'
                cv2.imwrite(str(out / name), picture)
                low, high = quad.min(0), quad.max(0)
                box = [round(float(v)) for v in (*low, *(high - low))]
                table.writerow([name, label, plate.number,
                                ','.join(f'{v:.1f}' for v in quad.ravel()),
                                ','.join(map(str, box)), 'train', 'rendered'])


if __name__ == '__main__':
    main()
