"""Character shapes for rendered plates.

A face maps a character to masks: tight pictures of its strokes, H×W float32, 0 = ground and
1 = stroke. Faces come from fonts of Debian packages and, where a pack has been made (pack.py),
from characters cut out of real plates: the typeface of mainland plates is in no package.
"""

import functools
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = Path('/usr/share/fonts')

# Path below FONTS and the face's index within the file.
CJK_FONTS = [
    ('opentype/noto/NotoSansCJK-Regular.ttc', 2),
    ('opentype/noto/NotoSansCJK-Bold.ttc', 2),
    ('truetype/wqy/wqy-zenhei.ttc', 0),
    ('truetype/wqy/wqy-microhei.ttc', 0),
    ('truetype/droid/DroidSansFallbackFull.ttf', 0),
]
LATIN_FONTS = [
    ('truetype/liberation/LiberationSansNarrow-Regular.ttf', 0),
    ('truetype/liberation/LiberationSansNarrow-Bold.ttf', 0),
    ('truetype/roboto/unhinted/RobotoTTF/RobotoCondensed-Regular.ttf', 0),
    ('truetype/roboto/unhinted/RobotoCondensed-Medium.ttf', 0),
    ('truetype/roboto/unhinted/RobotoCondensed-Bold.ttf', 0),
    ('opentype/urw-base35/NimbusSansNarrow-Regular.otf', 0),
    ('opentype/urw-base35/NimbusSansNarrow-Bold.otf', 0),
    ('opentype/urw-base35/NimbusSans-Bold.otf', 0),
    ('opentype/urw-base35/URWGothic-Demi.otf', 0),
    ('truetype/dejavu/DejaVuSansCondensed.ttf', 0),
    ('truetype/dejavu/DejaVuSansCondensed-Bold.ttf', 0),
    ('truetype/lato/Lato-Medium.ttf', 0),
    ('truetype/lato/Lato-Bold.ttf', 0),
    ('truetype/freefont/FreeSansBold.ttf', 0),
    ('truetype/opendin/OSP-DIN.ttf', 0),
    ('truetype/routed-gothic/routed-gothic-narrow.ttf', 0),
    ('truetype/routed-gothic/routed-gothic.ttf', 0),
    ('opentype/league-mono/LeagueMono-CondensedSemiBold.otf', 0),
    ('truetype/play/Play-Bold.ttf', 0),
    ('truetype/open-sans/OpenSans-CondBold.ttf', 0),
    ('truetype/clear-sans/ClearSans-Bold.ttf', 0),
    ('opentype/cabin/Cabin-SemiBold.otf', 0),
    ('opentype/b612/B612-Bold.otf', 0),
    ('truetype/karla/Karla-Bold.otf', 0),
    ('opentype/mplus/Mplus1-Bold.otf', 0),
    ('opentype/mplus/Mplus1Code-Bold.otf', 0),
    ('opentype/dosis/Dosis-SemiBold.otf', 0),
    ('opentype/dosis/Dosis-ExtraBold.otf', 0),
    ('truetype/quicksand/Quicksand-Bold.ttf', 0),
    ('opentype/millimetre/millimetreA Bold 01.otf', 0),
    ('truetype/manrope/Manrope-Bold.ttf', 0),
]
# For names of states, slogans and the like, which nobody has to read.
TEXT_FONTS = LATIN_FONTS + [
    ('truetype/dejavu/DejaVuSerif.ttf', 0),
    ('truetype/liberation/LiberationSerif-Regular.ttf', 0),
    ('opentype/urw-base35/Z003-MediumItalic.otf', 0),
]


def _present(fonts):
    return [f for f in fonts if (FONTS / f[0]).exists()]


@functools.lru_cache(maxsize=64)
def _font(path, index, size):
    return ImageFont.truetype(str(FONTS / path), size, index=index)


@functools.lru_cache(maxsize=8192)
def font_mask(char, path, index):
    """The character's tight mask, about 90 pixels high."""
    image = Image.new('L', (220, 220))
    ImageDraw.Draw(image).text((50, 40), char, 255, font=_font(path, index, 100))
    return tight(np.asarray(image, np.float32) / 255)


def tight(mask, level=.25):
    """mask without the empty rows and columns around the strokes."""
    ys, xs = np.where(mask > level)
    if len(ys) == 0:
        return np.zeros((2, 2), np.float32)
    return mask[ys.min():ys.max() + 1, xs.min():xs.max() + 1]


def is_cjk(char):
    return ord(char) > 0x2e80


@functools.lru_cache(maxsize=8192)
def weighted(char, path, index, weight):
    """font_mask with strokes that are thicker (or thinner, below 0) by so many pixels a side."""
    mask = font_mask(char, path, index)
    if weight == 0:
        return mask
    brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(weight) + 1,) * 2)
    mask = cv2.copyMakeBorder(mask, 8, 8, 8, 8, cv2.BORDER_CONSTANT)
    changed = tight((cv2.dilate if weight > 0 else cv2.erode)(mask, brush))
    return changed if changed.size > 200 else font_mask(char, path, index)


class Face:
    """One typeface for one plate: a Latin and a Chinese font, or characters of real plates."""

    def __init__(self, latin, cjk, pack=None, weight=0):
        self.latin, self.cjk, self.pack, self.weight = latin, cjk, pack or {}, weight

    def mask(self, char, rng):
        """A tight mask; packs have several of most characters, one of which is drawn."""
        own = self.pack.get(char)
        if own is not None and len(own):
            return own[rng.integers(len(own))]
        if is_cjk(char):
            return font_mask(char, *self.cjk)
        return weighted(char, *self.latin, self.weight)


class Faces:
    """All faces there are; pack is a file that pack.py has made, or None."""

    def __init__(self, pack=None):
        self.latin, self.cjk = _present(LATIN_FONTS), _present(CJK_FONTS)
        self.text = _present(TEXT_FONTS)
        if not self.latin or not self.cjk:
            raise FileNotFoundError(f'no fonts below {FONTS}: install the packages of README.md')
        self.pack = {}
        if pack:
            with np.load(pack) as file:
                self.pack = {name[0]: file[name].astype(np.float32) / 255 for name in file.files}

    def draw(self, rng, real=0.):
        """A face; with the probability real it has the shapes of real plates."""
        pack = self.pack if rng.random() < real else None
        return Face(self.latin[rng.integers(len(self.latin))],
                    self.cjk[rng.integers(len(self.cjk))], pack, int(rng.integers(-2, 4)))

    def text_mask(self, text, size, rng):
        """A line of text in any font, H×W float32."""
        cjk = any(is_cjk(c) for c in text)
        fonts = self.cjk if cjk else self.text
        path, index = fonts[rng.integers(len(fonts))]
        font = _font(path, index, size)
        box = font.getbbox(text)
        image = Image.new('L', (max(2, box[2] + 4), max(2, box[3] + 4)))
        ImageDraw.Draw(image).text((2, 2), text, 255, font=font)
        return tight(np.asarray(image, np.float32) / 255)
