"""Cuts characters out of real plates, averages equal ones, and stores them as a face.

The typeface of mainland plates is in no package; the mean of some dozens of cut characters comes
close. The pack is made from the training part of shared/train only and is not kept in the
repository.

usage: pack.py --train ../shared/train --out FILE.npz [--sheet FILE.png]
"""

import argparse

import cv2
import numpy as np

import real
from glyphs import tight
from plates import SEVEN

SCALE = 1.0  # pixels per mm of the flattened plate
MARGIN = 5   # mm that are cut around a character's place
HEIGHT = 90  # pixels of a stored mask
GROUP = 7    # characters to a mean
VARIANTS = 10
LEAST = 4    # cuts of a character that agree, or the fonts are better


def cut_characters(plates):
    """Yields character, mask and sharpness for all characters that are cleanly cut."""
    for plate in plates:
        if plate.held or len(plate.number) != 7 or plate.image.shape[1] < 120:
            continue
        flat = real.flatten(plate, round(440 * SCALE), round(140 * SCALE))
        found = real.strokes(flat)
        if found is None:
            continue
        share = found[0]
        sharp = float(np.abs(np.diff(share, axis=1)).mean())
        for i, char in enumerate(plate.number):
            x0, x1 = SEVEN[i] - MARGIN, SEVEN[i] + 45 + MARGIN
            cell = share[round(14 * SCALE):round(126 * SCALE), round(x0 * SCALE):round(x1 * SCALE)]
            mask = clean(cell)
            if mask is not None:
                yield char, mask, sharp


def clean(cell):
    """The character's tight mask, or None where something else is cut in."""
    solid = (cell > .5).astype(np.uint8)
    solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels, stats, centres = cv2.connectedComponentsWithStats(solid)
    h, w = cell.shape
    keep = np.zeros_like(solid)
    for k in range(1, count):
        x, y, bw, bh, area = stats[k]
        rim = y <= 3 and y + bh < 20 or y + bh >= h - 3 and y > h - 20  # rim line or bolt
        if area >= 12 and not rim and 4 < centres[k][0] < w - 4:
            keep[labels == k] = 1
    if keep.sum() < 150:
        return None
    ys, xs = np.where(keep)
    high, wide = ys.max() + 1 - ys.min(), xs.max() + 1 - xs.min()
    if not 72 <= high <= 102 or wide > .68 * high:
        return None
    soft = cell * cv2.dilate(keep, np.ones((5, 5), np.uint8))
    return tight(soft, .4)


def aligned(mask, model):
    """mask, moved and stretched a little so that it lies on model; and how alike they are then."""
    warp = np.eye(2, 3, dtype=np.float32)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 1e-3)
    try:
        alike, warp = cv2.findTransformECC(model, mask, warp, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:  # it does not converge: they are too different
        return mask, 0.
    if np.abs(warp[:, :2] - np.eye(2)).max() > .25 or np.abs(warp[:, 2]).max() > 12:
        return mask, 0.
    size = model.shape[::-1]
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(mask, warp, size, flags=how), alike


def alike(masks, least):
    """The masks that agree with the most central of the first few, laid on it."""
    best, score = [], 0.
    for model in masks[:6]:
        found = [aligned(m, model) for m in masks]
        kept = sorted((f for f in found if f[1] >= least), key=lambda f: -f[1])
        total = sum(f[1] for f in kept)
        if total > score:
            best, score = [f[0] for f in kept], total
    return best


def means(masks, rng):
    """Averages of random groups of masks that are alike; strokes get their contrast back."""
    widths = [m.shape[1] / m.shape[0] for m in masks]
    width = max(8, round(float(np.median(widths)) * HEIGHT))
    same = [cv2.resize(m, (width, HEIGHT), interpolation=cv2.INTER_LINEAR) for m in masks]
    same = alike(same, .8)
    if len(same) < LEAST:
        return None
    out = []
    for _ in range(min(VARIANTS, len(same))):
        group = rng.permutation(len(same))[:GROUP]
        mean = np.mean([same[i] for i in group], axis=0)
        out.append(np.clip((mean - .45) * 1.9 + .5, 0, 1))
    return np.round(np.stack(out) * 255).astype(np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--train', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--sheet')
    parser.add_argument('--best', type=int, default=60, help='sharpest cuts of a character used')
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    cuts = {}
    for char, mask, quality in cut_characters(real.load(args.train)):
        cuts.setdefault(char, []).append((quality, mask))
    pack = {}
    for char, found in sorted(cuts.items()):
        found.sort(key=lambda f: -f[0])
        best = [mask for _, mask in found[:args.best]]
        face = means(best, rng)
        print(char, len(found), 'dropped' if face is None else 'kept')
        if face is not None:
            pack[char] = face
    np.savez_compressed(args.out, **pack)
    if args.sheet:
        cells = [cv2.resize(m, (45, 90)) for ms in pack.values() for m in ms[:3]]
        cells += [np.zeros((90, 45), np.uint8)] * (-len(cells) % 30)
        cv2.imwrite(args.sheet, np.vstack([np.hstack(cells[i:i + 30])
                                           for i in range(0, len(cells), 30)]))


if __name__ == '__main__':
    main()
