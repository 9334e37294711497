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
from pool import Scene, write_shard
from real_scenes import Pictures, real_scenes

WIDTH, HEIGHT = 640, 360
WORDS = ['停车场', '出入口', '欢迎光临', '中国石化', '禁止停车', '小心地滑', '超市', '招租', '安全出口',
         '减速慢行', '一路平安', '收费处', 'PARKING', 'EXIT', 'ENTRANCE', 'SALE', 'NO PARKING', 'TAXI',
         'POLICE', 'BUS STOP', 'STOP', 'COFFEE', 'HOTEL', 'www.auto.com', 'FIRE LANE', 'OPEN', 'P',
         'Camera 01', '24h', 'TURBO', 'Hybrid', '2.0T', '4WD', '东风', '长安汽车', '上海大众', '比亚迪']


def apply(matrix, points):
    """Points (n×2) through a homography."""
    return cv2.perspectiveTransform(np.float64(points)[None], np.float64(matrix))[0]


def rotation(yaw, pitch, roll):
    """Of a plate before the camera; degrees."""
    a, b, c = np.radians([yaw, pitch, roll])
    around_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    around_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return around_z @ around_x @ around_y


def turned(rng):
    """Half of the plates hang straight, some are seen from far aside or lean by up to 60 degrees."""
    kind = rng.random()
    if kind < .5:
        return rotation(*rng.normal(0, (15, 9, 4)))
    if kind < .85:
        return rotation(*rng.uniform((-60, -40, -28), (60, 40, 28)))
    return rotation(*rng.uniform((-45, -30, -60), (45, 30, 60)))


def plane(turn, distance, size, centre):
    """Homography from a plane in plate widths to pixels."""
    lens = np.array([[size, 0, centre[0]], [0, size, centre[1]], [0, 0, 1.]])
    return lens @ np.array([[turn[0, 0], turn[0, 1], 0], [turn[1, 0], turn[1, 1], 0],
                            [turn[2, 0] / distance, turn[2, 1] / distance, 1.]])


def texture_plane(width, height, across):
    """From texture pixels to plate widths: the texture is `across` plate widths wide."""
    k = across / width
    return np.array([[k, 0, -across / 2], [0, k, -height * k / 2], [0, 0, 1.]])


def paste(canvas, texture, matrix, soft=.5, alpha=None):
    """Draws a texture through a homography, smoothly; false where it does not fit the canvas."""
    h, w = texture.shape[:2]
    corners = apply(matrix, [[0, 0], [w, 0], [w, h], [0, h]])
    if not np.isfinite(corners).all() or abs(corners).max() > 5000:
        return False
    size = max(np.linalg.norm(corners[1] - corners[0]), np.linalg.norm(corners[2] - corners[3]))
    high = max(np.linalg.norm(corners[3] - corners[0]), np.linalg.norm(corners[2] - corners[1]))
    alpha = np.ones((h, w), np.float32) if alpha is None else alpha
    shrunk = (max(2, int(w * min(1, 1.2 * size / w))), max(2, int(h * min(1, 1.2 * high / h))))
    if shrunk != (w, h):  # or the warp would alias
        texture = cv2.resize(texture, shrunk, interpolation=cv2.INTER_AREA)
        alpha = cv2.resize(alpha, shrunk, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.diag([w / shrunk[0], h / shrunk[1], 1.])
    x0, y0 = np.maximum(0, np.floor(corners.min(0)).astype(int) - 2)
    x1, y1 = np.minimum(canvas.shape[1::-1], np.ceil(corners.max(0)).astype(int) + 2)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return False
    matrix = np.array([[1, 0, -x0], [0, 1, -y0], [0, 0, 1.]]) @ matrix
    area = (int(x1 - x0), int(y1 - y0))
    drawn = cv2.warpPerspective(texture.astype(np.float32), matrix, area,
                                borderMode=cv2.BORDER_REPLICATE)
    cover = cv2.warpPerspective(alpha, matrix, area)
    if soft:
        cover = cv2.GaussianBlur(cover, (0, 0), soft)
    part = canvas[y0:y1, x0:x1]
    part[:] = part * (1 - cover[..., None]) + drawn * cover[..., None]
    return True


def shade(rng, color=None, by=30):
    color = rng.uniform(20, 235, 3) if color is None else color
    return [float(v) for v in plates.jitter(rng, color, by)]


def grain(rng, width, height, color, amount):
    """A surface of one colour with spots of several sizes."""
    spots = np.zeros((height, width), np.float32)
    for cells in (4, 9, 22):
        coarse = rng.standard_normal((max(2, height * cells // width), cells)).astype(np.float32)
        spots += cv2.resize(coarse, (width, height)) * amount / (1 + .1 * cells)
    return np.asarray(color, np.float32) + spots[..., None]


def stripes(rng, width, height):
    """A grille, louvre or kerb."""
    count, cut = rng.integers(4, 30), rng.uniform(.3, .7)
    along = (np.linspace(0, count, height) % 1 < cut).astype(np.float32)[:, None]
    if rng.random() < .4:
        along = (np.linspace(0, count, width) % 1 < cut).astype(np.float32)[None]
    along = np.broadcast_to(along, (height, width))[..., None]
    return np.float32(shade(rng)) * (1 - along) + np.float32(shade(rng)) * along


def text(rng, height):
    """A line of text's mask: a word, a date, a telephone number or letters by chance."""
    kind = rng.random()
    if kind < .55:
        line = plates.pick(rng, WORDS)
    elif kind < .7:
        line = '%d-%02d-%02d %02d:%02d:%02d' % (rng.integers(2008, 2030), *rng.integers(1, 13, 2),
                                                *rng.integers(0, 24, 3))
    elif kind < .8:
        line = '1' + plates.serial(rng, 10, 0)
    else:
        line = plates.serial(rng, int(rng.integers(2, 12)), .6)
    if rng.random() < .3:
        line = ' '.join(line)
    return plates.faces().text_mask(line, height, rng)


def write(rng, canvas, mask, x, y, color):
    part = canvas[y:y + mask.shape[0], x:x + mask.shape[1]]
    cover = mask[:part.shape[0], :part.shape[1], None]
    part[:] = part * (1 - cover) + np.float32(color) * cover


def sign(rng):
    """A board with text, in the colours that plates have."""
    lines = [text(rng, 34) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
    width = max(m.shape[1] for m in lines) + int(rng.integers(10, 80))
    height = sum(m.shape[0] + 8 for m in lines) + int(rng.integers(8, 50))
    ground = plates.pick(rng, [(200, 90, 20), (60, 140, 40), (30, 190, 235), (235, 235, 235),
                               (40, 30, 200), (30, 30, 30)])
    board = np.empty((height, width, 3), np.float32)
    board[:] = plates.jitter(rng, ground, 25)
    ink = plates.jitter(rng, (25, 25, 25) if sum(ground) > 400 else (240, 240, 240), 20)
    y = int(rng.integers(3, 14))
    for mask in lines:
        write(rng, board, mask, int((width - mask.shape[1]) * rng.choice([.1, .5, .5])), y, ink)
        y += mask.shape[0] + 8
    if rng.random() < .4:
        cv2.rectangle(board, (3, 3), (width - 4, height - 4), [float(v) for v in ink], 2)
    return board


def blank(rng):
    """A plate-like board without characters, or a window."""
    width, height = int(rng.integers(60, 200)), int(rng.integers(25, 100))
    ground = plates.pick(rng, plates.BLUES + plates.YELLOWS + [(235, 235, 235), (30, 30, 30), (90, 190, 70)])
    board = grain(rng, width, height, shade(rng, ground), rng.uniform(0, 20))
    if rng.random() < .6:
        cv2.rectangle(board, (2, 2), (width - 3, height - 3), shade(rng, (240, 240, 240)), 2)
    return board


def lamp(rng):
    width, height = int(rng.integers(30, 120)), int(rng.integers(20, 90))
    board = grain(rng, width, height, shade(rng), 10)
    for _ in range(rng.integers(1, 6)):
        cv2.ellipse(board, (int(rng.integers(width)), int(rng.integers(height))),
                    (int(rng.integers(3, 40)), int(rng.integers(3, 20))), rng.uniform(0, 180), 0, 360,
                    shade(rng), -1, cv2.LINE_AA)
    return board


def bars(rng):
    """Bricks, checks, a bar code."""
    rows = 1 if rng.random() < .5 else int(rng.integers(3, 12))
    cells = (rng.random((rows, rng.integers(6, 30))) > .5).astype(np.float32)
    cells = cv2.resize(cells, (int(rng.integers(60, 200)), int(rng.integers(30, 120))),
                       interpolation=cv2.INTER_NEAREST)[..., None]
    return cells * np.float32(shade(rng, (190, 190, 190))) + np.float32(shade(rng, (30, 30, 30)))


def clutter(rng, canvas):
    """Something that is no plate, somewhere in the picture."""
    kind = rng.random()
    if kind < .22:  # written into the picture by the camera
        mask = text(rng, int(rng.choice([14, 18, 24, 30])))
        x = int(rng.integers(max(1, canvas.shape[1] - mask.shape[1])))
        y = int(rng.choice([4, canvas.shape[0] - mask.shape[0] - 4, rng.integers(canvas.shape[0])]))
        write(rng, canvas, mask * rng.uniform(.5, 1), x, max(0, y), shade(rng, (245, 245, 245)))
        return
    make = plates.pick(rng, [sign, sign, sign, stripes_board, blank, lamp, bars])
    board = make(rng)
    size = np.exp(rng.uniform(np.log(25), np.log(230)))
    centre = rng.uniform((0, 0), canvas.shape[1::-1])
    at = plane(turned(rng), rng.uniform(3, 20), size, centre)
    paste(canvas, board * rng.uniform(.4, 1.1), at @ texture_plane(board.shape[1], board.shape[0], 1.))


def stripes_board(rng):
    return stripes(rng, int(rng.integers(60, 240)), int(rng.integers(30, 120)))


UNIT = 60  # of a vehicle's texture, pixels per plate width


def vehicle(rng):
    """Front or rear of a vehicle: texture, its shape, and where the plate's middle belongs."""
    width, height = int(UNIT * rng.uniform(3.4, 5)), int(UNIT * rng.uniform(2.6, 4.2))
    plate = np.array([width / 2, height * rng.uniform(.6, .86)])
    body = np.float32(shade(rng))
    fall = np.linspace(rng.uniform(.7, 1.2), rng.uniform(.5, 1.), height)[:, None, None]
    image = (np.ones((height, width, 3)) * body * fall).astype(np.float32)
    shape = np.zeros((height, width), np.float32)
    roof = rng.uniform(.05, .25) * width
    cv2.fillPoly(shape, [np.int32([[roof, 0], [width - roof, 0], [width - 1, height * .35],
                                   [width - 1, height], [0, height], [0, height * .35]])], 1.)
    bonnet = height * rng.uniform(.3, .5)
    if rng.random() < .85:
        cv2.fillPoly(image, [np.int32([[roof * 1.2, height * .03], [width - roof * 1.2, height * .03],
                                       [width * .9, bonnet], [width * .1, bonnet]])],
                     shade(rng, (60, 50, 45)))
    for y in (bonnet, height * rng.uniform(.5, .9)):
        cv2.line(image, (0, int(y)), (width, int(y)), shade(rng, body * .6), 2, cv2.LINE_AA)
    lamp_size = (int(UNIT * rng.uniform(.2, .45)), int(UNIT * rng.uniform(.1, .25)))
    y = int(height * rng.uniform(.42, .6))
    color = shade(rng, plates.pick(rng, [(230, 230, 230), (40, 40, 190), (150, 150, 150)]))
    for side in (lamp_size[0] * 1.2, width - lamp_size[0] * 1.2):
        cv2.ellipse(image, (int(side), y), lamp_size, 0, 0, 360, color, -1, cv2.LINE_AA)
    if rng.random() < .55:
        w, h = int(UNIT * rng.uniform(1, 2.4)), int(UNIT * rng.uniform(.3, .8))
        left, top = (width - w) // 2, int(np.clip(plate[1] - h, 0, height - h - 1))
        image[top:top + h, left:left + w] = stripes(rng, w, h)
    if rng.random() < .5:  # recess or dark bumper
        a, b = UNIT * rng.uniform(.6, 1.9), UNIT * rng.uniform(.22, .5)
        cv2.rectangle(image, tuple(np.int32(plate - (a, b)).tolist()), tuple(np.int32(plate + (a, b)).tolist()),
                      shade(rng, (40, 40, 40)), -1)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        mask = text(rng, int(UNIT * rng.uniform(.1, .3)))
        write(rng, image, mask, int(rng.uniform(.02, .8) * width),
              int(np.clip(plate[1] - UNIT * rng.uniform(.35, 1.3), 0, height - 20)), shade(rng))
    return image, shape, plate


def framed(rng, plate):
    """The plate's texture with, at times, a frame around it; and its corners in the texture."""
    image, border = plate.image, 0
    if rng.random() < .3:
        border = int(rng.integers(2, 10))
        image = cv2.copyMakeBorder(image, border, border, border, border, cv2.BORDER_CONSTANT,
                                   value=shade(rng, plates.pick(rng, [(20, 20, 20), (190, 190, 190)])))
    h, w = plate.image.shape[:2]
    corners = np.float32([[0, 0], [w, 0], [w, h], [0, h]]) + border
    return image, corners


def hung(rng, canvas, used):
    """Hangs a plate into the canvas, on a car, on a bumper or on nothing; None where no place is."""
    for _ in range(8):
        plate = plates.render(rng)
        texture, corners = framed(rng, plate)
        size = np.exp(rng.uniform(np.log(20), np.log(280))) if rng.random() < .92 else rng.uniform(280, 430)
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
        paste(canvas, texture * rng.uniform(.6, 1.15), through, rng.uniform(.3, .8) if size > 60 else 0)
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
        through = at @ np.array([[1 / UNIT, 0, -middle[0] / UNIT], [0, 1 / UNIT, -middle[1] / UNIT], [0, 0, 1]])
        corners = apply(through, [[0, 0], [image.shape[1], 0], image.shape[1::-1], [0, image.shape[0]]])
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
            cv2.circle(spot, (int(rng.integers(w // 4)), int(rng.integers(h // 4))), int(rng.integers(1, 8)), 1., -1)
            glow = cv2.GaussianBlur(spot, (0, 0), 1) + 2.5 * cv2.GaussianBlur(spot, (0, 0), rng.uniform(3, 10))
            image = image + cv2.resize(glow, (w, h))[..., None] * rng.uniform((150, 200, 230), 255)
    elif kind < .22:
        rain = np.zeros((h, w), np.float32)
        slope = rng.uniform(-.3, .3)
        for _ in range(rng.integers(80, 400)):
            x, y, long = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(6, 26)
            cv2.line(rain, (int(x), int(y)), (int(x + slope * long), int(y + long)), rng.uniform(.1, .5), 1)
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
    canvas = cv2.warpAffine(image.astype(np.float32), affine, (WIDTH, HEIGHT), borderMode=cv2.BORDER_CONSTANT,
                            borderValue=[float(rng.choice([0, 0, 114]))] * 3)
    return canvas, quads @ matrix.T + move


def mirrored(image, quads):
    flipped = quads.copy()
    flipped[..., 0] = image.shape[1] - 1 - flipped[..., 0]
    return np.ascontiguousarray(image[:, ::-1]), flipped[:, [1, 0, 3, 2]]


def over(rng, canvas, quad):
    """Paints a real plate over with a rendered one in its plane; gives its corners, rows and kind."""
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
    through = cv2.getPerspectiveTransform(unit, np.float32(quad)) @ texture_plane(
        texture.shape[1], texture.shape[0], wide * texture.shape[1] / (corners[1, 0] - corners[0, 0]))
    paste(canvas, texture * np.clip(light / 190, .3, 1.15) * rng.uniform(.75, 1.15), through, rng.uniform(.3, .8))
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
            cv2.polylines(picture, [np.int32(quad)], True, (0, 0, 255) if rows == 1 else (0, 255, 0), 1)
        cells.append(cv2.resize(picture, (480, 270)))
    cv2.imwrite(file, np.vstack([np.hstack(cells[i:i + 4]) for i in range(0, 24, 4)]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--train', required=True)
    parser.add_argument('--out')
    parser.add_argument('--count', type=int, default=1000)
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--swap', action='store_true', help='real scenes with other plates')
    parser.add_argument('--held', action='store_true', help='from pictures that are never trained on')
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
        write_shard(Path(args.out) / f"{'swap' if args.swap else 'drawn'}-{args.seed}-{number:04d}.npz", shard)
        print(f'{first + len(shard)} scenes, {(time.time() - begin) / (first + len(shard)) * 1e3:.0f} ms each',
              flush=True)


if __name__ == '__main__':
    main()
