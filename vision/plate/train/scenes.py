"""Scenes to train the plate detector with: pictures with the corners of every plate in them.

Two sources: rendered plates on car-like things before real or painted backgrounds, and real
scenes whose plate is painted over with a rendered one of any kind, in the same plane. Between
them stand signs, texts, grilles and other things that look like plates and are none.

usage: scenes.py --train ../shared/train --out POOL --count N --seed S [--swap] [--pack FILE]
       scenes.py ... --sheet FILE        a sheet of examples to look at
"""

import argparse
import time
from pathlib import Path

import cv2
import numpy as np

import camera
import plates
from poses import apply, paste, plane, texture_plane, turned
from pool import Scene, write_shard
from real_scenes import Pictures, real_scenes
from street import UNIT, clutter, grain, shade, vehicle

WIDTH, HEIGHT = 640, 360


def framed(rng, plate):
    """The plate's texture with, at times, a frame around it; and its corners in the texture."""
    image, border = plate.image, 0
    if rng.random() < .3:
        border = int(rng.integers(2, 10))
        tone = shade(rng, plates.pick(rng, [(20, 20, 20), (190, 190, 190)]))
        image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT,
                                   value=tone)
    h, w = plate.image.shape[:2]
    corners = np.float32([[0, 0], [w, 0], [w, h], [0, h]]) + border
    return image, corners


def hung(rng, canvas, used):
    """Hangs a plate into the canvas, on a car, a bumper or nothing; None where no place is."""
    for _ in range(8):
        plate = plates.render(rng)
        texture, corners = framed(rng, plate)
        near = rng.random() >= .92
        size = rng.uniform(280, 430) if near else np.exp(rng.uniform(np.log(20), np.log(280)))
        at = plane(turned(rng), np.exp(rng.uniform(np.log(3.2), np.log(20))), size,
                   rng.uniform((.03 * WIDTH, .06 * HEIGHT), (.97 * WIDTH, .94 * HEIGHT)))
        wide = plate.width_mm / 440
        through = at @ texture_plane(texture.shape[1], texture.shape[0],
                                     wide * texture.shape[1] / (corners[1, 0] - corners[0, 0]))
        quad = apply(through, corners)
        sides = np.linalg.norm(quad - np.roll(quad, -1, 0), axis=1)
        low, high = quad.min(0), quad.max(0)
        if sides.min() < 5 or max(sides[0], sides[2]) < 14 or not np.isfinite(quad).all():
            continue
        if (low < (-.2 * size, 0)).any() or (high > (WIDTH + .2 * size, HEIGHT)).any():
            continue
        if any((low < b + 10).all() and (high > a - 10).all() for a, b in used):
            continue
        carry(rng, canvas, at, used)
        soft = rng.uniform(.3, .8) if size > 60 else 0
        paste(canvas, texture * rng.uniform(.6, 1.15), through, soft)
        if rng.random() < .05:  # something before a part of it
            a = quad.mean(0) + rng.normal(0, .4, 2) * sides.max()
            b = a + rng.normal(0, 1, 2) * sides.max()
            cv2.line(canvas, tuple(np.int32(a).tolist()), tuple(np.int32(b).tolist()), shade(rng),
                     max(1, int(sides.min() * rng.uniform(.1, .3))), cv2.LINE_AA)
        used.append((low, high))
        return quad, plate.rows, plate.kind
    return None


def carry(rng, canvas, at, used):
    """What the plate hangs on, where there is room for it."""
    kind = rng.random()
    if kind < .6:
        image, shape, middle = vehicle(rng)
        x, y = middle / UNIT
        through = at @ np.array([[1 / UNIT, 0, -x], [0, 1 / UNIT, -y], [0, 0, 1]])
        h, w = image.shape[:2]
        corners = apply(through, [[0, 0], [w, 0], [w, h], [0, h]])
        low, high = corners.min(0), corners.max(0)
        if not any((low < b).all() and (high > a).all() for a, b in used):
            paste(canvas, image * rng.uniform(.5, 1.1), through, rng.uniform(.5, 2), shape)
    elif kind < .85 and not used:
        w, h = int(UNIT * rng.uniform(1.2, 3)), int(UNIT * rng.uniform(.5, 1.6))
        paste(canvas, grain(rng, w, h, shade(rng), rng.uniform(0, 14)),
              at @ texture_plane(w, h, w / UNIT), rng.uniform(1, 6))


def weather(rng, image):
    """Night with lamps, rain, or nothing."""
    kind = rng.random()
    h, w = image.shape[:2]
    if kind < .15:
        image = image * rng.uniform(.35, .8)
        for _ in range(rng.integers(0, 4)):
            spot = np.zeros((h // 4, w // 4), np.float32)
            at = (int(rng.integers(w // 4)), int(rng.integers(h // 4)))
            cv2.circle(spot, at, int(rng.integers(1, 8)), 1., -1)
            wide = cv2.GaussianBlur(spot, (0, 0), rng.uniform(3, 10))
            glow = cv2.GaussianBlur(spot, (0, 0), 1) + 2.5 * wide
            image = image + cv2.resize(glow, (w, h))[..., None] * rng.uniform((150, 200, 230), 255)
    elif kind < .22:
        rain = np.zeros((h, w), np.float32)
        slope = rng.uniform(-.3, .3)
        for _ in range(rng.integers(80, 400)):
            x, y, long = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(6, 26)
            end = (int(x + slope * long), int(y + long))
            cv2.line(rain, (int(x), int(y)), end, rng.uniform(.1, .5), 1)
        rain = cv2.GaussianBlur(rain, (0, 0), .6)[..., None]
        image = image * (1 - rain) + 210 * rain
    return image


def rendered_scene(rng, backgrounds):
    """A Scene of rendered plates, none to four of them."""
    canvas = backgrounds.draw(rng, WIDTH, HEIGHT)
    for _ in range(rng.poisson(1.6)):
        clutter(rng, canvas)
    used, quads, rows, kinds = [], [], [], []
    for _ in range(rng.choice([0, 1, 2, 3, 4], p=[.15, .5, .2, .1, .05])):
        found = hung(rng, canvas, used)
        if found:
            quads.append(found[0])
            rows.append(found[1])
            kinds.append(found[2])
    image = camera.take(weather(rng, canvas), rng, .12)
    return Scene(image, np.float32(quads).reshape(-1, 4, 2), rows, kinds=kinds)


def framing(rng, scene):
    """A real scene moved, scaled and turned into the canvas, its plate at a random width."""
    image, quads = scene.image, scene.quads
    if rng.random() < .4:
        image, quads = mirrored(image, quads)
    wide = np.linalg.norm(quads[0][1] - quads[0][0])
    k = max(np.exp(rng.uniform(np.log(22), np.log(280))) / wide, .5 * WIDTH / image.shape[1])
    angle = np.radians(rng.normal(0, 4) if rng.random() < .8 else rng.uniform(-35, 35))
    matrix = k * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to = rng.uniform((.12 * WIDTH, .15 * HEIGHT), (.88 * WIDTH, .88 * HEIGHT))
    move = to - matrix @ quads[0].mean(0)
    if k < .6:
        image = cv2.resize(image, None, fx=1.2 * k, fy=1.2 * k, interpolation=cv2.INTER_AREA)
        affine = np.c_[matrix / (1.2 * k), move]
    else:
        affine = np.c_[matrix, move]
    canvas = cv2.warpAffine(image.astype(np.float32), affine, (WIDTH, HEIGHT),
                            borderMode=cv2.BORDER_CONSTANT,
                            borderValue=[float(rng.choice([0, 0, 114]))] * 3)
    return canvas, quads @ matrix.T + move


def mirrored(image, quads):
    flipped = quads.copy()
    flipped[..., 0] = image.shape[1] - 1 - flipped[..., 0]
    return np.ascontiguousarray(image[:, ::-1]), flipped[:, [1, 0, 3, 2]]


def over(rng, canvas, quad):
    """Paints a real plate over with a rendered one in its plane; gives its corners, rows, kind."""
    middle = quad.mean(0)
    inside, ring = np.zeros((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillPoly(inside, [np.int32((quad - middle) * (1.1, 1.25) + middle)], 1.)
    cv2.fillPoly(ring, [np.int32((quad - middle) * 1.6 + middle)], 1)
    ring[inside > 0] = 0
    if not ring.any() or not inside.any():
        return None
    light = float(canvas[inside > 0].max(1).mean())
    cover = cv2.GaussianBlur(inside, (0, 0), 1.)[..., None]
    around = np.median(canvas[ring > 0], 0) + rng.standard_normal((HEIGHT, WIDTH, 1)) * 4
    canvas[:] = canvas * (1 - cover) + around * cover
    plate = plates.render(rng)
    texture, corners = framed(rng, plate)
    unit = np.float32([[-.5, -.16], [.5, -.16], [.5, .16], [-.5, .16]])
    wide = plate.width_mm / 440 * rng.uniform(.9, 1.15) * (1.25 if plate.width_mm < 350 else 1)
    across = wide * texture.shape[1] / (corners[1, 0] - corners[0, 0])
    through = cv2.getPerspectiveTransform(unit, np.float32(quad)) @ texture_plane(
        texture.shape[1], texture.shape[0], across)
    lit = texture * np.clip(light / 190, .3, 1.15) * rng.uniform(.75, 1.15)
    paste(canvas, lit, through, rng.uniform(.3, .8))
    return apply(through, corners), plate.rows, plate.kind


def swapped_scene(rng, scenes):
    """A real Scene, its plate painted over with one of another kind in four of five cases."""
    canvas, quads = framing(rng, scenes[rng.integers(len(scenes))])
    out, rows, kinds = [], [], []
    for quad in quads:
        found = over(rng, canvas, quad) if rng.random() < .82 else None
        for kept, value in zip((out, rows, kinds), found or (quad, 1, 'real')):
            kept.append(value)
    if rng.random() < .6:
        image = camera.take(weather(rng, canvas), rng, .15)
    else:
        image = np.clip(canvas, 0, 255).astype(np.uint8)
    return Scene(image, np.float32(out).reshape(-1, 4, 2), rows, kinds=kinds)


def sheet(make, file):
    cells = []
    for _ in range(24):
        scene = make()
        picture = scene.image.copy()
        for quad, rows in zip(scene.quads, scene.rows):
            color = (0, 0, 255) if rows == 1 else (0, 255, 0)
            cv2.polylines(picture, [np.int32(quad)], True, color, 1)
        cells.append(cv2.resize(picture, (480, 270)))
    cv2.imwrite(file, np.vstack([np.hstack(cells[i:i + 4]) for i in range(0, 24, 4)]))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--out')
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--swap', action='store_true', help='real scenes with other plates')
    parser.add_argument('--held', action='store_true',
                        help='from pictures that are never trained on')
    parser.add_argument('--pack', help='character shapes made by pack.py')
    parser.add_argument('--shard', type=int, default=250)
    parser.add_argument('--sheet')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.pack:
        plates.use_pack(args.pack)
    rng = np.random.default_rng(args.seed)
    if args.swap:
        scenes = [s for s in real_scenes(args.train) if s.held == args.held and s.exact]
        make = lambda: swapped_scene(rng, scenes)
    else:
        backgrounds = Pictures(args.train)
        if args.held:
            backgrounds.images = backgrounds.held
        make = lambda: rendered_scene(rng, backgrounds)
    if args.sheet:
        sheet(make, args.sheet)
        return
    begin = time.time()
    for number, first in enumerate(range(0, args.count, args.shard)):
        shard = [make() for _ in range(min(args.shard, args.count - first))]
        way = 'swap' if args.swap else 'drawn'
        write_shard(Path(args.out) / f'{way}-{args.seed}-{number:04d}.npz', shard)
        done = first + len(shard)
        print(f'{done} scenes, {(time.time() - begin) / done * 1e3:.0f} ms each', flush=True)


if __name__ == '__main__':
    main()
