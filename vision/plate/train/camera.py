"""What light, lens, sensor and compression do to a picture of a plate (H×W×3 BGR float32)."""

import cv2
import numpy as np


def light(image, rng):
    """Exposure, uneven light, shadows, glare and a cast of colour."""
    h, w = image.shape[:2]
    gain = np.exp(rng.uniform(np.log(.3), np.log(1.2)))
    x, y = np.linspace(-1, 1, w, dtype=np.float32), np.linspace(-1, 1, h, dtype=np.float32)
    slope = rng.normal(0, .18, 2)
    field = gain * (1 + slope[0] * x[None, :] + slope[1] * y[:, None])
    if rng.random() < .15:  # the edge of a shadow
        angle, offset = rng.uniform(0, np.pi * 2), rng.uniform(-.6, .6)
        side = x[None, :] * np.cos(angle) + y[:, None] * np.sin(angle) - offset
        field = field * (1 - rng.uniform(.3, .7) / (1 + np.exp(-side * rng.uniform(6, 40))))
    image = image * np.clip(field, .05, 2)[..., None].astype(np.float32)
    if rng.random() < .07:
        cx, cy, size = rng.uniform(-1, 1), rng.uniform(-1, 1), rng.uniform(.1, .6)
        far = (x[None, :] - cx) ** 2 + (y[:, None] - cy) ** 2 * .3
        image = image + (rng.uniform(40, 200) * np.exp(-far / size ** 2))[..., None]
    if rng.random() < .4:
        image = image * rng.uniform(.82, 1.18, 3)
    if rng.random() < .3:  # haze, dirty glass
        veil = rng.uniform(20, 200)
        image = veil + (image - veil) * rng.uniform(.4, .95)
    return image.astype(np.float32)


def infrared(image, rng):
    """Grey, as at night; which colours turn dark depends on the lamp and the filter."""
    weights = rng.dirichlet((2., 2., 2.)).astype(np.float32)
    grey = image @ weights
    low, high = np.percentile(grey, [5, 95])
    if high - low < 30:  # no camera can be used like that
        grey = image @ np.float32([.11, .59, .3])
    return np.repeat(grey[..., None], 3, axis=2)


def night(image, rng):
    """In the dark: under a lamp, so that bright strokes spread, or with the sensor's gain turned up."""
    if rng.random() < .6:
        image = image * rng.uniform(1.1, 2.2)
        over = np.maximum(image - rng.uniform(140, 230), 0)
        return image + cv2.GaussianBlur(over, (0, 0), rng.uniform(.7, 2.2)) * rng.uniform(.5, 2)
    gain = rng.uniform(2, 6)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(1, 5)
    return (image * rng.uniform(.3, .9) / gain + noise) * gain


def lens(image, rng):
    """Defocus and motion, in pixels of the picture as taken."""
    if rng.random() < .75:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(.15, 1.1))
    if rng.random() < .22:
        n = int(rng.integers(2, np.clip(image.shape[1] // 20, 4, 9))) | 1
        kernel = np.zeros((n, n), np.float32)
        angle = rng.normal(0, .4) + (np.pi / 2 if rng.random() < .35 else 0)
        middle = n // 2
        dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
        cv2.line(kernel, (round(middle - dx), round(middle - dy)),
                 (round(middle + dx), round(middle + dy)), 1., 1)
        image = cv2.filter2D(image, -1, kernel / kernel.sum())
    return image


def sensor(image, rng):
    """Noise, sharpening, clipping and JPEG; returns uint8."""
    if rng.random() < .6:
        noise = rng.standard_normal(image.shape[:2] + ((3,) if rng.random() < .5 else (1,)),
                                    dtype=np.float32)
        image = image + noise * (1 + 13 * rng.random() ** 2)
    if rng.random() < .2:
        image = image + (image - cv2.GaussianBlur(image, (0, 0), 1.2)) * rng.uniform(.3, 1.6)
    out = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < .65:
        quality = int(rng.integers(25, 95))
        out = cv2.imdecode(cv2.imencode('.jpg', out, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    return out


def take(image, rng, infrared_share=.18):
    """The whole way from what is there to the picture; returns uint8."""
    if rng.random() < infrared_share:
        image = infrared(image, rng)
    image = light(image, rng)
    if rng.random() < .1:
        image = night(image, rng)
    return sensor(lens(image.astype(np.float32), rng), rng)
