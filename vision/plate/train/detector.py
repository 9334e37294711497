"""The two nets as ../find.go runs them, in OpenCV DNN: for mining mistakes and for evaluation."""

import cv2
import numpy as np

from corners_net import STRIDE, blob

LONG, SHORT = 512, 288
MIN_CENTRE, MIN_PLATE, MAX_OVERLAP, MOST = .3, .5, .3, 20
CUT_W, CUT_H = 128, 64
GROW = np.float32([1.4, 1.8])
UNIT = np.float32([[-.5, -.5], [.5, -.5], [.5, .5], [-.5, .5]])
INNER = (UNIT / GROW + .5) * np.float32([CUT_W, CUT_H])  # where a proposal lies in its cut
EIGHTH = np.float32([CUT_W / 8, CUT_H / 8])              # the refiner's unit of a correction


def overlap(a, b):
    """IoU of two quads."""
    a, b = cv2.convexHull(np.float32(a)), cv2.convexHull(np.float32(b))
    both, _ = cv2.intersectConvexConvex(a, b)
    union = cv2.contourArea(a) + cv2.contourArea(b) - both
    return both / union if union > 0 else 0.


def decode(out, scale, least):
    """[(quad in picture pixels, probability, rows)], best first. scale: of the net's input to the
    picture; a pixel's middle is a whole number in both."""
    centre = 1 / (1 + np.exp(-out[0]))
    h, w = centre.shape
    peaks = np.argwhere((centre >= cv2.dilate(centre, np.ones((3, 3)))) & (centre > least))
    found = []
    for i, j in sorted(map(tuple, peaks), key=lambda c: -centre[c])[:MOST]:
        quad, total = np.zeros((4, 2)), 0.
        for y in range(max(0, i - 1), min(h, i + 2)):
            for x in range(max(0, j - 1), min(w, j + 2)):
                weight = centre[y, x] - .5 * centre[i, j]
                if weight > 0:
                    middle = np.array([x, y]) * STRIDE + (STRIDE - 1) / 2
                    quad += weight * (out[1:9, y, x].reshape(4, 2) * STRIDE + middle)
                    total += weight
        quad = np.float32((quad / total + .5) / scale - .5)
        if all(overlap(quad, f[0]) < MAX_OVERLAP for f in found):
            found.append((quad, float(centre[i, j]), 2 if out[10, i, j] > out[9, i, j] else 1))
    return found


def cut(image, quad):
    """The grown proposal as the refiner sees it, and the homography to it from the picture."""
    wide = max(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3])) * GROW[0]
    matrix = cv2.getPerspectiveTransform(np.float32(quad), INNER)
    if wide > CUT_W * 1.7:  # shrink first, or the warp would alias
        k = CUT_W * 1.3 / wide
        grow = np.ptp(quad, 0) * .5
        x0, y0 = np.maximum(0, np.floor(quad.min(0) - grow)).astype(int)
        x1, y1 = np.minimum(image.shape[1::-1], np.ceil(quad.max(0) + grow)).astype(int)
        if x1 - x0 > 4 and y1 - y0 > 4:
            image = cv2.resize(image[y0:y1, x0:x1], None, fx=k, fy=k, interpolation=cv2.INTER_AREA)
            small = matrix @ np.array([[1 / k, 0, x0], [0, 1 / k, y0], [0, 0, 1.]])
            return _warp(image, small), matrix
    return _warp(image, matrix), matrix


def _warp(image, matrix):
    return cv2.warpPerspective(image, matrix, (CUT_W, CUT_H), borderMode=cv2.BORDER_REPLICATE)


class Detector:
    def __init__(self, corners, refiner=None, size=(LONG, SHORT)):
        self.size = size
        self.wide, self.tall = cv2.dnn.readNetFromONNX(corners), cv2.dnn.readNetFromONNX(corners)
        self.refiner = cv2.dnn.readNetFromONNX(refiner) if refiner else None

    def propose(self, image, least=MIN_CENTRE):
        h, w = image.shape[:2]
        net, size = (self.tall, self.size[::-1]) if h > w else (self.wide, self.size)
        scale = min(size[0] / w, size[1] / h)
        canvas = np.zeros((size[1], size[0], 3), np.uint8)
        nw, nh = max(1, round(w * scale)), max(1, round(h * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas[:nh, :nw] = cv2.resize(image, (nw, nh), interpolation=how)
        net.setInput(np.ascontiguousarray(blob(canvas)[None]))
        return decode(net.forward()[0], scale, least)

    def refine(self, image, quad):
        part, matrix = cut(image, quad)
        self.refiner.setInput(np.ascontiguousarray(blob(part)[None]))
        out = self.refiner.forward().ravel()
        moved = INNER + out[:8].reshape(4, 2) * EIGHTH
        back = cv2.perspectiveTransform(np.float64(moved)[None], np.linalg.inv(matrix))[0]
        if np.isfinite(back).all():
            quad = np.float32(back)
        return quad, float(1 / (1 + np.exp(-out[8]))), 2 if out[9] > 0 else 1

    def __call__(self, image):
        """[(quad, probability, rows)] that both nets take for plates."""
        found = []
        for quad, score, rows in self.propose(image):
            if cv2.contourArea(quad) < 20:
                continue
            if self.refiner:
                quad, score, rows = self.refine(image, quad)
                if score <= MIN_PLATE:
                    continue
            if all(overlap(quad, f[0]) < MAX_OVERLAP for f in found):
                found.append((quad, score, rows))
        return found
