"""How a flat thing looks from a camera, and how it is drawn into a picture.

A homography is a 3×3 matrix from a plane, in widths of a car's plate or in pixels of a texture, to
pixels of a picture; a picture is H×W×3 BGR, float32, 0…255.
"""

import cv2
import numpy as np


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
    """Half of the plates hang straight; some are seen from far aside or lean by up to 60°."""
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
