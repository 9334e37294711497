"""The reader's input: a plate cut out by its corners, as ../read.go does it.

A cut is 160×48. One row fills it; two rows stand side by side, the upper one (42 % of the height,
70 % of the width) in the first 64/174 of the width.
"""

import cv2
import numpy as np

WIDTH, HEIGHT = 160, 48
STEPS = WIDTH // 4
UPPER, LOWER = 64, 110              # widths of the two rows before they are joined
SPLIT = (.15, .85, .42, .38)        # upper row: left, right, bottom; lower row: top


def grown(quad, x, y):
    """The quad with a margin of x of its width and y of its height, on each side."""
    unit = np.float32([[-x, -y], [1 + x, -y], [1 + x, 1 + y], [-x, 1 + y]])
    square = np.float32([[0, 0], [1, 0], [1, 1], [0, 1]])
    matrix = cv2.getPerspectiveTransform(square, np.float32(quad))
    return cv2.perspectiveTransform(unit[None], matrix)[0]


def _warp(image, quad, width, height):
    onto = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    matrix = cv2.getPerspectiveTransform(np.float32(quad), onto)
    return cv2.warpPerspective(image, matrix, (width, height), flags=cv2.INTER_CUBIC,
                               borderMode=cv2.BORDER_REPLICATE), matrix


def cut(image, quad, rows, split=SPLIT, intervals=None):
    """The cut of the plate with the given corners.

    intervals: per character a box (left, top, right, bottom) in pixels of the image; they come
    back as (left, right) in pixels of the cut.
    """
    if rows == 1:
        out, matrix = _warp(image, quad, WIDTH, HEIGHT)
        spans = [_span(b, matrix)[:2] for b in intervals or []]
        return out, np.float32(spans).reshape(-1, 2)
    wide, high = 2 * HEIGHT * 2, 2 * HEIGHT
    flat, matrix = _warp(image, quad, wide, high)
    left, right, bottom, top = split
    x0, x1 = int(wide * left), int(wide * right)
    y1, y0 = max(2, int(high * bottom)), min(high - 2, int(high * top))
    upper = cv2.resize(flat[:y1, x0:x1], (UPPER, HEIGHT), interpolation=cv2.INTER_LINEAR)
    lower = cv2.resize(flat[y0:], (LOWER, HEIGHT), interpolation=cv2.INTER_LINEAR)
    out = cv2.resize(np.hstack([upper, lower]), (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    k = WIDTH / (UPPER + LOWER)
    spans = []
    for box in intervals or []:
        a, b, y = _span(box, matrix)
        if y < (y0 + y1) / 2:
            spans.append([(a - x0) * UPPER / (x1 - x0) * k, (b - x0) * UPPER / (x1 - x0) * k])
        else:
            spans.append([(UPPER + a * LOWER / wide) * k, (UPPER + b * LOWER / wide) * k])
    return out, np.float32(spans).reshape(-1, 2)


def _span(box, matrix):
    """Left and right end and middle height of a box after the warp."""
    left, top, right, bottom = box
    y = (top + bottom) / 2
    points = np.float32([[[left, y], [right, y]]])
    (a, c), (b, d) = cv2.perspectiveTransform(points, matrix)[0]
    return a, b, (c + d) / 2
