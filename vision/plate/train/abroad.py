"""Plates from abroad, by country; numbers follow the templates of ../text/overseas.tsv."""

import functools
from pathlib import Path

from canvas import Canvas, Plate, jitter

LATIN = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ'
DIGITS = '0123456789'
WHITE, BLACK = (240, 240, 240), (25, 25, 25)
TEMPLATES = Path(__file__).parents[1] / 'text' / 'overseas.tsv'

STATES = ['CALIFORNIA', 'TEXAS', 'New York', 'OHIO', 'Florida', 'ARIZONA', 'Illinois', 'ALASKA',
          'MAINE', 'Colorado', 'Alabama', 'NEVADA', 'GEORGIA', 'Ontario', 'UTAH', 'Oregon']
MOTTOES = ['The Golden State', 'EMPIRE STATE', 'dmv.gov', 'Land of Lincoln', 'SUNSHINE STATE',
           'Great Lakes', 'First in Flight', 'www.state.us', 'Grand Canyon State']
CITIES = ['SP-SAO PAULO', 'RJ-RIO DE JANEIRO', 'PR-CURITIBA', 'MG-BELO HORIZONTE', 'BA-SALVADOR']
NO_EU = {'US', 'BR', 'AR', 'MY', 'TH', 'RU', 'GB'}


def pick(rng, items):
    return items[rng.integers(len(items))]


@functools.lru_cache(maxsize=1)
def templates():
    """Country → number patterns of L (letter), D (digit), A (either)."""
    out = {}
    for line in TEMPLATES.read_text('utf-8').splitlines():
        columns = line.split()
        if len(columns) >= 2 and not line.startswith('#') and set(columns[1]) <= set('LDA'):
            out.setdefault(columns[0], []).append(columns[1])
    return out


def fill(rng, pattern):
    """A number that follows the pattern."""
    classes = {'L': LATIN, 'D': DIGITS, 'A': LATIN + DIGITS}
    return ''.join(pick(rng, classes[c]) for c in pattern)


def free(rng, least, most):
    """Letters and digits of no country's pattern."""
    return ''.join(pick(rng, LATIN if rng.random() < .45 else DIGITS)
                   for _ in range(rng.integers(least, most + 1)))


def spaced(rng, number):
    """The number with a gap where letters turn to digits, as most countries print it."""
    out = number[0]
    for a, b in zip(number, number[1:]):
        out += (' ' if a.isdigit() != b.isdigit() and rng.random() < .7 else '') + b
    return out


def _plate(c, number, kind, rows, rim=None):
    if rim is not None and c.rng.random() < .7:
        c.edge(rim, margin=c.rng.uniform(2, 4))
    if c.rng.random() < .4:
        c.bolts([(c.width * .2, c.height * .5 if rows == 1 and c.width > 450 else 12),
                 (c.width * .8, 12)])
    c.wear()
    return Plate(c.image, number, kind, rows, c.width, c.boxes)


def _canvas(rng, faces, width, height, ground, scale, by=18):
    return Canvas(rng, faces.draw(rng), width, height, jitter(rng, ground, by), scale)


def _row(c, number, left, right, y, height, color, widest):
    """A row of characters with gaps; none wider than widest mm, centred in the space."""
    text = spaced(c.rng, number)
    slots = len(text) - .5 * text.count(' ')
    pitch = min((right - left) / slots, widest)
    x = left + ((right - left) - pitch * slots) * c.rng.uniform(.3, .7)
    gap = c.rng.uniform(.1, .25)
    for char in text:
        if char == ' ':
            x += pitch / 2
            continue
        c.char(char, x + pitch * gap / 2, y, pitch * (1 - gap), height, color)
        x += pitch


def european(rng, faces, scale):
    ground = pick(rng, [WHITE] * 6 + [(30, 190, 235)] * 2 + [(40, 40, 40)])
    c = _canvas(rng, faces, 520, pick(rng, [110, 110, 110, 120]), ground, scale * .9)
    fg = jitter(rng, BLACK if sum(ground) > 300 else WHITE, 20)
    known = [p for country, ps in templates().items() if country not in NO_EU for p in ps]
    number = fill(rng, pick(rng, known)) if rng.random() < .8 else free(rng, 5, 8)
    left, right = 15, 508
    if rng.random() < .8:
        band = jitter(rng, (150, 60, 10), 30)
        c.fill(0, 0, 44, c.height, band)
        c.row(pick(rng, ['D', 'F', 'I', 'E', 'PL', 'RO', 'H', 'A', 'B', 'NL', 'P', 'SK', 'LT']),
              8, 36, c.height * .68, 22, jitter(rng, WHITE, 10), counts=False)
        c.dot(22, c.height * .32, 12, jitter(rng, (40, 190, 220), 30))
        c.dot(22, c.height * .32, 9, band)
        left = 52
    if rng.random() < .2:
        c.fill(476, 0, 520, c.height, jitter(rng, (150, 60, 10), 30))
        right = 472
    y = c.height * rng.uniform(.13, .18)
    _row(c, number, left, right, y, c.height - 2 * y, fg, 66)
    return _plate(c, number, 'eu', 1, fg)


def british(rng, faces, scale):
    ground = pick(rng, [WHITE, (20, 190, 240)])
    c = _canvas(rng, faces, 520, 111, ground, scale * .9)
    fg = jitter(rng, (12, 12, 12), 10)
    number = fill(rng, pick(rng, templates().get('GB', ['LLDDLLL'])))
    left = 15
    if rng.random() < .4:
        c.fill(0, 0, 42, 111, jitter(rng, (150, 60, 10), 30))
        left = 50
    _row(c, number, left, 508, 16, 79, fg, 62)
    return _plate(c, number, 'uk', 1)


def american(rng, faces, scale):
    ground = pick(rng, [WHITE, WHITE, (230, 210, 190), (190, 220, 235), (40, 190, 230),
                        (160, 80, 30), (90, 60, 30), (220, 235, 220), (210, 190, 240)])
    light = sum(ground) > 420
    c = _canvas(rng, faces, 305, 152, ground, scale * 1.2)
    if rng.random() < .4:
        c.gradient(c.image[0, 0], jitter(rng, c.image[0, 0] * .6 + 90, 30))
    fg = jitter(rng, pick(rng, [BLACK, (120, 50, 20), (40, 30, 150), (40, 90, 20)]), 22)
    if not light:
        fg = jitter(rng, WHITE, 15)
    ink = jitter(rng, pick(rng, [(30, 30, 170), (140, 60, 20), (30, 30, 30)]), 22)
    if not light:
        ink = fg
    if rng.random() < .9:
        c.text(faces.text_mask(pick(rng, STATES), 40, rng), 45, 6, 215, rng.uniform(20, 28), ink)
    if rng.random() < .6:
        c.text(faces.text_mask(pick(rng, MOTTOES), 30, rng), 55, 128, 195, 17, ink)
    if rng.random() < .3:  # a picture between the characters
        c.dot(152 + rng.normal(0, 20), 76, rng.uniform(14, 34),
              jitter(rng, c.image[0, 0] * .8 + 30, 30))
    number = fill(rng, pick(rng, templates().get('US', ['LLLDDDD'])))
    if rng.random() < .3:
        number = free(rng, 5, 7)
    _row(c, number, 14, 291, rng.uniform(38, 44), rng.uniform(68, 78), fg, 46)
    return _plate(c, number, 'us', 1, fg)


def brazilian_old(rng, faces, scale):
    ground = pick(rng, [(180, 180, 180), (200, 200, 200), (225, 225, 225), (60, 40, 170)])
    c = _canvas(rng, faces, 400, 130, ground, scale)
    fg = jitter(rng, BLACK if sum(ground) > 400 else WHITE, 18)
    c.text(faces.text_mask(pick(rng, CITIES), 30, rng), 90, 6, 220, 20, fg)
    number = fill(rng, 'LLLDDDD')
    c.row(number[:3], 18, 168, 36, 82, fg)
    c.dot(182, 78, 5, fg)
    c.row(number[3:], 196, 384, 36, 82, fg)
    return _plate(c, number, 'br_old', 1, fg)


def mercosur(rng, faces, scale):
    """Brazil and Argentina since 2016: blue band on top."""
    brazil = rng.random() < .6
    c = _canvas(rng, faces, 400, 130, WHITE, scale, 10)
    c.fill(0, 0, 400, 30, jitter(rng, (150, 60, 10), 25))
    name = 'BRASIL' if brazil else 'REPUBLICA ARGENTINA'
    c.text(faces.text_mask(name, 36, rng), 110, 5, 180, 20, jitter(rng, WHITE, 8))
    number = fill(rng, 'LLLDLDD' if brazil else 'LLDDDLL')
    left = 40 if brazil and rng.random() < .7 else 18
    _row(c, number, left, 388, 42, 74, jitter(rng, BLACK, 15), 54)
    return _plate(c, number, 'br_mercosur' if brazil else 'ar_mercosur', 1)


def argentine_old(rng, faces, scale):
    """Black field on a white sheet, 1994 to 2016."""
    c = _canvas(rng, faces, 294, 129, WHITE, scale * 1.2, 10)
    c.fill(6, 18, 288, 116, jitter(rng, (28, 28, 28), 14))
    c.text(faces.text_mask('ARGENTINA', 30, rng), 90, 3, 114, 12, jitter(rng, (120, 80, 30), 20))
    number = fill(rng, 'LLLDDD')
    fg = jitter(rng, WHITE, 10)
    c.row(number[:3], 14, 142, 32, 72, fg)
    c.row(number[3:], 154, 282, 32, 72, fg)
    return _plate(c, number, 'ar_old', 1)


def malaysian(rng, faces, scale):
    c = _canvas(rng, faces, 520, 110, (25, 25, 25), scale * .9)
    number = fill(rng, 'L' * rng.integers(1, 4) + 'D' * rng.integers(2, 5))
    fg = jitter(rng, WHITE, 12)
    _row(c, number, 20, 500, 18, 74, fg, 62)
    return _plate(c, number, 'my', 1)


def thai(rng, faces, scale):
    """Only those with Latin letters and digits: of the numbers in Thai script no one here asks."""
    c = _canvas(rng, faces, 340, 150, WHITE, scale * 1.1, 12)
    fg = jitter(rng, BLACK, 15)
    number = fill(rng, pick(rng, ['DLLDDDD', 'LLDDDD', 'DDDDDD']))
    _row(c, number, 16, 324, 16, 80, fg, 50)
    c.text(faces.text_mask(pick(rng, ['BANGKOK', 'CHIANG MAI', 'PHUKET']), 36, rng),
           80, 106, 180, 30, fg)
    return _plate(c, number, 'th', 1, fg)


def russian(rng, faces, scale):
    """520×112, the region's code in a box at the right."""
    c = _canvas(rng, faces, 520, 112, WHITE, scale * .9, 12)
    fg = jitter(rng, BLACK, 15)
    letters = 'ABEKMHOPCTYX'  # those that look alike in both scripts
    number = (pick(rng, letters) + fill(rng, 'DDD') + pick(rng, letters) + pick(rng, letters)
              + fill(rng, 'DD' if rng.random() < .5 else 'DDD'))
    small = rng.uniform(58, 64)
    for i, char in enumerate(number[:6]):
        high = 76 if 1 <= i <= 3 else small
        c.char(char, 22 + 58 * i, 94 - high, 48, high, fg)
    c.fill(383, 4, 386, 108, fg)
    region = number[6:]
    c.row(region, 398, 508, 14, 56, fg)
    c.text(faces.text_mask('RUS', 30, rng), 400, 80, 60, 20, fg)
    return _plate(c, number, 'ru', 1, fg)


def double(rng, faces, scale):
    """Two rows, square or nearly, as on the back of vans and motorcycles."""
    ground = pick(rng, [WHITE, WHITE, (30, 190, 235), (30, 30, 30)])
    w, h = pick(rng, [(280, 200), (340, 220), (240, 130), (200, 200)])
    c = _canvas(rng, faces, w, h, ground, scale * 1.2)
    fg = jitter(rng, BLACK if sum(ground) > 300 else WHITE, 18)
    number = free(rng, 5, 8) if rng.random() < .5 else fill(rng, pick(
        rng, [p for ps in templates().values() for p in ps]))
    cut = len(number) // 2 if rng.random() < .6 else max(2, len(number) // 2 - 1)
    left = w * .05
    if rng.random() < .4 and sum(ground) > 300:
        c.fill(0, 0, w * .12, h * .5, jitter(rng, (150, 60, 10), 30))
        left = w * .15
    _row(c, number[:cut], left, w * .95, h * .08, h * .38, fg, w * .22)
    _row(c, number[cut:], w * .05, w * .95, h * .54, h * .38, fg, w * .22)
    return _plate(c, number, 'abroad_double', 2, fg)


KINDS = {
    'eu': european, 'uk': british, 'us': american, 'br_old': brazilian_old, 'mercosur': mercosur,
    'ar_old': argentine_old, 'my': malaysian, 'th': thai, 'ru': russian, 'abroad_double': double,
}
