"""Renders single number plates of all kinds, each with its layout and number grammar.

Layouts of mainland plates follow GA 36-2018 (sizes in mm); where the standard is not public or a
plate is older than it (WJ, army, embassy) they follow what is seen on the road. Provinces, letters
and digits are drawn evenly, not as often as on the road: a reader must not learn to guess.

usage: plates.py --sheet FILE [--kind KIND] [--pack PACK]   a sheet of examples to look at
"""

import argparse

import cv2
import numpy as np

import abroad
from canvas import Canvas, Plate, jitter
from glyphs import Faces

PROVINCES = '京沪津渝冀晋蒙辽吉黑苏浙皖闽赣鲁豫鄂湘粤桂琼川贵云藏陕甘青宁新'
LETTERS = 'ABCDEFGHJKLMNPQRSTUVWXYZ'  # mainland plates know neither I nor O
DIGITS = '0123456789'
ENERGY = 'ABCDEFGHJK'  # what a new-energy number is marked with
OLD_ARMY = '军空海北沈兰济南广成'

WHITE, BLACK, RED = (242, 242, 242), (22, 22, 22), (40, 30, 195)
BLUES = [(180, 70, 20), (200, 60, 10), (150, 60, 20), (210, 110, 30), (230, 150, 40), (140, 40, 10)]
YELLOWS = [(20, 180, 240), (40, 200, 250), (10, 150, 220), (30, 170, 230)]

# Left edges of the seven 45 mm characters of a 440 mm plate, and of the eight of a 480 mm one.
SEVEN = [15.5, 72.5] + [151.5 + 57 * i for i in range(5)]
EIGHT = [15.5, 69.5] + [161.5 + 52 * i for i in range(6)]

_faces = None


def use_pack(path):
    """Lets faces have the character shapes that pack.py has cut out of real plates."""
    global _faces
    _faces = Faces(path)


def faces():
    global _faces
    if _faces is None:
        _faces = Faces()
    return _faces


def pick(rng, chars):
    return chars[rng.integers(len(chars))]


def serial(rng, n, letters=.3, most=2):
    """n letters and digits, at most so many letters (GA 36-2018: two), each with the probability letters."""
    text = ''
    for _ in range(n):
        full = sum(c in LETTERS for c in text) == most
        text += pick(rng, LETTERS if rng.random() < letters and not full else DIGITS)
    return text


def place(rng):
    """A province and the letter of its authority."""
    return pick(rng, PROVINCES) + pick(rng, LETTERS)


def _start(rng, width, height, ground, scale, real=.65):
    return Canvas(rng, faces().draw(rng, real), width, height, ground, scale)


def _single(c, number, color, dot_at=134.):
    """The seven characters of a 440×140 plate; color one for all or a list of seven."""
    for i, char in enumerate(number):
        c.char(char, SEVEN[i], 25, 45, 90, color[i] if isinstance(color, list) else color)
    if c.rng.random() < .92:
        first = color[1] if isinstance(color, list) else color
        c.dot(dot_at, 70, c.rng.uniform(4, 6), first)


def _double(c, upper, lower, color, dot=True):
    """Rows of a 440×220 plate or of one in its proportions: 60 mm above, 110 mm below."""
    w, h = c.width / 440, c.height / 220
    first, second = color if isinstance(color, tuple) and len(color) == 2 else (color, color)
    if len(upper) == 2:
        c.char(upper[0], 110 * w, 15 * h, 80 * w, 60 * h, first)
        c.char(upper[1], 250 * w, 15 * h, 80 * w, 60 * h, first)
        if dot and c.rng.random() < .9:
            c.dot(220 * w, 45 * h, c.rng.uniform(5, 8) * w, first)
    else:
        side = c.rng.uniform(72, 110) * w
        c.row(upper, side, c.width - side, 15 * h, 60 * h, first, gap=.25)
    pitch = 80 * 5 / len(lower)
    for i, char in enumerate(lower):
        shade = second[i] if isinstance(second, list) else second
        c.char(char, (27.5 + pitch * i) * w, 90 * h, (pitch - 15) * w, 110 * h, shade)


def _finish(c, number, kind, rows, rim, edge=.9):
    if c.rng.random() < edge:
        c.edge(rim)
    if c.rng.random() < .6:
        y = 12 if rows == 1 else 14
        holes = [(c.width * .25, y), (c.width * .75, y)]
        if c.rng.random() < .6:
            holes += [(x, c.height - y) for x, _ in holes]
        c.bolts(holes)
    c.wear()
    return Plate(c.image, number, kind, rows, c.width, c.boxes)


def blue(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, pick(rng, BLUES), 25), scale)
    fg = jitter(rng, WHITE, 12)
    number = place(rng) + serial(rng, 5)
    _single(c, number, fg)
    return _finish(c, number, 'cn_blue', 1, fg)


def yellow(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, pick(rng, YELLOWS), 25), scale)
    fg = jitter(rng, BLACK, 15)
    number = place(rng) + serial(rng, 5)
    _single(c, number, fg)
    return _finish(c, number, 'cn_yellow', 1, fg)


def _marked(rng, scale, kind, ground, fg, mark, mark_color=None, front=None):
    """Standard single plates that end in a character for their use."""
    c = _start(rng, 440, 140, ground, scale)
    number = (front or place(rng)) + serial(rng, 4) + mark
    _single(c, number, [fg] * 6 + [fg if mark_color is None else mark_color])
    return _finish(c, number, kind, 1, fg)


def coach(rng, scale):
    ground = jitter(rng, pick(rng, YELLOWS), 25)
    return _marked(rng, scale, 'cn_coach', ground, jitter(rng, BLACK, 15), '学')


def trailer(rng, scale):
    c = _start(rng, 440, 220, jitter(rng, pick(rng, YELLOWS), 25), scale)
    fg = jitter(rng, BLACK, 15)
    number = place(rng) + serial(rng, 4) + '挂'
    _double(c, number[:2], number[2:], fg)
    return _finish(c, number, 'cn_trailer', 2, fg)


def police(rng, scale):
    ground = jitter(rng, (236, 236, 236), 16)
    return _marked(rng, scale, 'cn_police', ground, jitter(rng, BLACK, 15), '警',
                   jitter(rng, RED, 30))


def hong_kong(rng, scale):
    return _black(rng, scale, 'cn_hk', '港', '粤Z')


def macao(rng, scale):
    return _black(rng, scale, 'cn_macao', '澳', '粤Z')


def consulate(rng, scale):
    return _black(rng, scale, 'cn_consulate', '领')


def _black(rng, scale, kind, mark, front=None):
    fg = jitter(rng, WHITE, 12)
    red = jitter(rng, RED, 30) if mark == '领' and rng.random() < .7 else None
    return _marked(rng, scale, kind, jitter(rng, (32, 28, 28), 16), fg, mark, red, front)


def black(rng, scale):
    """Plates of foreigners' cars, given out until 2007."""
    c = _start(rng, 440, 140, jitter(rng, (32, 28, 28), 16), scale)
    fg = jitter(rng, WHITE, 12)
    number = place(rng) + serial(rng, 5)
    _single(c, number, fg)
    return _finish(c, number, 'cn_black', 1, fg)


def embassy(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, (32, 28, 28), 16), scale)
    fg, red = jitter(rng, WHITE, 12), jitter(rng, RED, 30)
    mark = red if rng.random() < .7 else fg
    if rng.random() < .6:
        number = '使' + serial(rng, 6, 0)
        xs = [15.5 + 54 * i for i in range(4)] + [250 + 57 * i for i in range(3)]
        shades, dot = [mark] + [fg] * 6, 236
    else:
        number = serial(rng, 6, 0) + '使'
        xs = [15.5 + 54 * i for i in range(3)] + [200 + 56 * i for i in range(4)]
        shades, dot = [fg] * 6 + [mark], 184
    for char, x, shade in zip(number, xs, shades):
        c.char(char, x, 25, 45, 90, shade)
    if rng.random() < .8:
        c.dot(dot, 70, 5, fg)
    return _finish(c, number, 'cn_embassy', 1, fg)


def _green_ground(c, half_yellow):
    rng = c.rng
    top, bottom = jitter(rng, (220, 238, 220), 14), jitter(rng, (95, 195, 80), 30)
    if half_yellow:
        c.image[:] = jitter(rng, (100, 200, 90), 30)
        c.fill(0, 0, 135, c.height, jitter(rng, (30, 195, 235), 20))
    else:
        c.gradient(top, bottom, rng.uniform(-.4, .1), rng.uniform(.9, 1.3))


def _eight(c, number, colors):
    for i, char in enumerate(number):
        c.char(char, EIGHT[i], 25, 45 if i == 0 else 43, 90, colors[i])


def _green(rng, scale, kind, number, half_yellow):
    c = _start(rng, 480, 140, WHITE, scale)
    _green_ground(c, half_yellow)
    fg = jitter(rng, BLACK, 15)
    _eight(c, number, [fg] * 8)
    if rng.random() < .85:  # the new-energy sign
        shade = jitter(rng, (80, 150, 40), 30)
        c.dot(137, 70, rng.uniform(12, 16), shade)
        c.dot(137, 70, rng.uniform(7, 10), c.image[c.image.shape[0] // 2, 2])
    return _finish(c, number, kind, 1, fg)


def green_small(rng, scale):
    number = place(rng) + pick(rng, ENERGY) + serial(rng, 1) + serial(rng, 4, 0)
    return _green(rng, scale, 'cn_green_small', number, False)


def green_big(rng, scale):
    number = place(rng) + serial(rng, 5, 0) + pick(rng, ENERGY)
    return _green(rng, scale, 'cn_green_big', number, rng.random() < .85)


def emergency(rng, scale):
    c = _start(rng, 480, 140, jitter(rng, (236, 236, 236), 16), scale)
    fg, red = jitter(rng, BLACK, 15), jitter(rng, RED, 30)
    number = place(rng) + serial(rng, 4, 0) + '应急'
    _eight(c, number, [fg] * 6 + [red] * 2)
    return _finish(c, number, 'cn_emergency', 1, fg)


def _wj_number(rng):
    return 'WJ' + pick(rng, PROVINCES) + serial(rng, 4, 0) + pick(rng, DIGITS + LETTERS)


def wj(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, (236, 236, 236), 16), scale)
    fg, red = jitter(rng, BLACK, 15), jitter(rng, RED, 30)
    number = _wj_number(rng)
    if rng.random() < .7:  # the province is small
        y = rng.uniform(25, 55)
        for char, x in zip(number[:2], (15, 65)):
            c.char(char, x, 25, 42, 90, red)
        c.char(number[2], 116, y, 32, rng.uniform(50, 60), red)
        for i, char in enumerate(number[3:]):
            c.char(char, 172 + 52 * i, 25, 43, 90, fg)
        if rng.random() < .8:
            c.dot(160, 70, 4, red)
    else:
        c.row(number, 10, 430, 25, 90, [red] * 3 + [fg] * 5, gap=.14)
    return _finish(c, number, 'cn_wj', 1, fg)


def wj_double(rng, scale):
    c = _start(rng, 440, 220, jitter(rng, (236, 236, 236), 16), scale)
    fg, red = jitter(rng, BLACK, 15), jitter(rng, RED, 30)
    number = _wj_number(rng)
    _double(c, number[:3], number[3:], (red, fg))
    return _finish(c, number, 'cn_wj_double', 2, fg)


def _army_number(rng):
    if rng.random() < .2:
        return pick(rng, OLD_ARMY) + pick(rng, LETTERS) + serial(rng, 5, 0)
    return pick(rng, LETTERS) + pick(rng, LETTERS) + serial(rng, 5, 0)


def army(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, (236, 236, 236), 16), scale)
    fg, red = jitter(rng, BLACK, 15), jitter(rng, RED, 30)
    number = _army_number(rng)
    _single(c, number, [red] * 2 + [fg] * 5)
    return _finish(c, number, 'cn_military', 1, fg)


def army_double(rng, scale):
    c = _start(rng, 440, 220, jitter(rng, (236, 236, 236), 16), scale)
    fg, red = jitter(rng, BLACK, 15), jitter(rng, RED, 30)
    number = _army_number(rng)
    _double(c, number[:2], number[2:], (red, fg))
    return _finish(c, number, 'cn_military_double', 2, fg)


def yellow_double(rng, scale):
    c = _start(rng, 440, 220, jitter(rng, pick(rng, YELLOWS), 25), scale)
    fg = jitter(rng, BLACK, 15)
    number = place(rng) + serial(rng, 5)
    _double(c, number[:2], number[2:], fg)
    return _finish(c, number, 'cn_yellow_double', 2, fg)


def motorcycle(rng, scale):
    """220×140 mm: yellow, or blue for light ones; some of driving schools."""
    is_blue = rng.random() < .4
    ground = pick(rng, BLUES if is_blue else YELLOWS)
    c = _start(rng, 220, 140, jitter(rng, ground, 25), scale * 1.4)
    fg = jitter(rng, WHITE if is_blue else BLACK, 14)
    tail = serial(rng, 4) + '学' if not is_blue and rng.random() < .2 else serial(rng, 5)
    number = place(rng) + tail
    _double(c, number[:2], number[2:], fg)
    return _finish(c, number, 'cn_motorcycle_double', 2, fg)


def agricultural(rng, scale):
    """300×165 mm, green, two digits beside the province."""
    c = _start(rng, 300, 165, jitter(rng, (60, 130, 30), 28), scale * 1.2)
    fg = jitter(rng, WHITE, 12)
    number = pick(rng, PROVINCES) + serial(rng, 7, 0)
    _double(c, number[:3], number[3:], fg)
    return _finish(c, number, 'cn_agri_double', 2, fg)


def aviation(rng, scale):
    c = _start(rng, 440, 140, jitter(rng, (60, 130, 30), 28), scale)
    fg = jitter(rng, WHITE, 12)
    tail = pick(rng, LETTERS) + serial(rng, 4, 0)
    number = '民航' + (tail if rng.random() < .7 else tail[1:] + pick(rng, LETTERS))
    _single(c, number, fg)
    return _finish(c, number, 'cn_aviation', 1, fg)


# How often each kind is drawn when none is asked for.
KINDS = {
    blue: 14, yellow: 7, green_small: 10, green_big: 5, yellow_double: 9, trailer: 3, coach: 4,
    police: 5, wj: 4, wj_double: 3, army: 4, army_double: 2, black: 2, embassy: 3, consulate: 3,
    hong_kong: 3, macao: 2, motorcycle: 2, agricultural: 3, aviation: 2, emergency: 2,
}
MAINLAND = {
    'cn_blue': blue, 'cn_yellow': yellow, 'cn_green_small': green_small, 'cn_green_big': green_big,
    'cn_yellow_double': yellow_double, 'cn_trailer': trailer, 'cn_coach': coach,
    'cn_police': police, 'cn_wj': wj, 'cn_wj_double': wj_double, 'cn_military': army,
    'cn_military_double': army_double, 'cn_black': black, 'cn_embassy': embassy,
    'cn_consulate': consulate, 'cn_hk': hong_kong, 'cn_macao': macao,
    'cn_motorcycle_double': motorcycle, 'cn_agri_double': agricultural, 'cn_aviation': aviation,
    'cn_emergency': emergency,
}
ALL = {**MAINLAND, **abroad.KINDS}
# What each kind is painted with, where that is one thing (corners_net.PAINTS).
PAINT = {
    'blue': ('cn_blue',),
    'yellow': ('cn_yellow', 'cn_yellow_double', 'cn_trailer', 'cn_coach'),
    'white': ('cn_police', 'cn_wj', 'cn_wj_double', 'cn_military', 'cn_military_double',
              'cn_emergency'),
    'black': ('cn_black', 'cn_hk', 'cn_macao', 'cn_consulate', 'cn_embassy', 'my'),
    'green': ('cn_agri_double', 'cn_aviation'),
    'pale green': ('cn_green_small', 'cn_green_big'),
}
PAINT_OF = {kind: paint for paint, kinds in PAINT.items() for kind in kinds}
ABROAD_SHARE = .22


def render(rng, kind=None, scale=.8):
    """Renders a plate of the kind (a key of ALL), or of any.

    rng is a numpy Generator; scale in pixels per mm of a car's plate (small plates are rendered
    somewhat larger).
    """
    if kind is None:
        if rng.random() < ABROAD_SHARE:
            kind = pick(rng, list(abroad.KINDS))
        else:
            weights = np.array(list(KINDS.values()), float)
            draw = list(KINDS)[rng.choice(len(weights), p=weights / weights.sum())]
            return draw(rng, scale)
    if kind in abroad.KINDS:
        return abroad.KINDS[kind](rng, faces(), scale)
    return MAINLAND[kind](rng, scale)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--sheet', required=True)
    parser.add_argument('--kind')
    parser.add_argument('--pack')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    if args.pack:
        use_pack(args.pack)
    rng = np.random.default_rng(args.seed)
    cells = []
    for kind in [args.kind] * 32 if args.kind else ALL:
        for _ in range(1 if args.kind else 2):
            plate = render(rng, kind)
            print(plate.kind, plate.number, plate.rows)
            cells.append(cv2.copyMakeBorder(cv2.resize(plate.image, (220, 100)), 4, 4, 4, 4,
                                            cv2.BORDER_CONSTANT, value=(90, 90, 90)))
    cells += [np.full_like(cells[0], 90)] * (-len(cells) % 8)
    rows = [np.hstack(cells[i:i + 8]) for i in range(0, len(cells), 8)]
    cv2.imwrite(args.sheet, np.clip(np.vstack(rows), 0, 255).astype(np.uint8))


if __name__ == '__main__':
    main()
