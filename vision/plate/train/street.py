"""What stands round plates in rendered scenes: vehicles, and much that looks like a plate and is
none. Textures are H×W×3 BGR, float32, 0…255."""

import cv2
import numpy as np

import plates
from poses import paste, plane, texture_plane, turned

UNIT = 60  # of a vehicle's texture, pixels per plate width
WORDS = ['停车场', '出入口', '欢迎光临', '中国石化', '禁止停车', '小心地滑', '超市', '招租', '安全出口',
         '减速慢行', '一路平安', '收费处', 'PARKING', 'EXIT', 'ENTRANCE', 'SALE', 'NO PARKING', 'TAXI',
         'POLICE', 'BUS STOP', 'STOP', 'COFFEE', 'HOTEL', 'www.auto.com', 'FIRE LANE', 'OPEN', 'P',
         'Camera 01', '24h', 'TURBO', 'Hybrid', '2.0T', '4WD', '东风', '长安汽车', '上海大众', '比亚迪']


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
        line = plates.serial(rng, int(rng.integers(2, 12)), .6, most=12)
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
    others = [(235, 235, 235), (30, 30, 30), (90, 190, 70)]
    ground = plates.pick(rng, plates.BLUES + plates.YELLOWS + others)
    board = grain(rng, width, height, shade(rng, ground), rng.uniform(0, 20))
    if rng.random() < .6:
        cv2.rectangle(board, (2, 2), (width - 3, height - 3), shade(rng, (240, 240, 240)), 2)
    return board


def lamp(rng):
    width, height = int(rng.integers(30, 120)), int(rng.integers(20, 90))
    board = grain(rng, width, height, shade(rng), 10)
    for _ in range(rng.integers(1, 6)):
        cv2.ellipse(board, (int(rng.integers(width)), int(rng.integers(height))),
                    (int(rng.integers(3, 40)), int(rng.integers(3, 20))), rng.uniform(0, 180),
                    0, 360, shade(rng), -1, cv2.LINE_AA)
    return board


def bars(rng):
    """Bricks, checks, a bar code."""
    rows = 1 if rng.random() < .5 else int(rng.integers(3, 12))
    cells = (rng.random((rows, rng.integers(6, 30))) > .5).astype(np.float32)
    cells = cv2.resize(cells, (int(rng.integers(60, 200)), int(rng.integers(30, 120))),
                       interpolation=cv2.INTER_NEAREST)[..., None]
    return cells * np.float32(shade(rng, (190, 190, 190))) + np.float32(shade(rng, (30, 30, 30)))


def stripes_board(rng):
    return stripes(rng, int(rng.integers(60, 240)), int(rng.integers(30, 120)))


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
    board = board * rng.uniform(.4, 1.1)
    paste(canvas, board, at @ texture_plane(board.shape[1], board.shape[0], 1.))


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
        window = [[roof * 1.2, height * .03], [width - roof * 1.2, height * .03],
                  [width * .9, bonnet], [width * .1, bonnet]]
        cv2.fillPoly(image, [np.int32(window)], shade(rng, (60, 50, 45)))
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
        low, high = np.int32(plate - (a, b)).tolist(), np.int32(plate + (a, b)).tolist()
        cv2.rectangle(image, tuple(low), tuple(high), shade(rng, (40, 40, 40)), -1)
    for _ in range(rng.choice([0, 0, 1, 1, 2])):
        mask = text(rng, int(UNIT * rng.uniform(.1, .3)))
        write(rng, image, mask, int(rng.uniform(.02, .8) * width),
              int(np.clip(plate[1] - UNIT * rng.uniform(.35, 1.3), 0, height - 20)), shade(rng))
    return image, shape, plate
