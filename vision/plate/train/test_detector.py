"""Checks of the detector's training, without pictures from outside.

usage: python3 -m unittest test_detector
"""

import os
import tempfile
import unittest
from pathlib import Path

import cv2
import numpy as np
import torch

import corners_data
import corners_net
import detector
import detector_eval
import refine_data
import scenes
from pool import BOX, IGNORE, Scene, Shard, write_shard

PLATE = np.float32([[200, 100], [280, 104], [279, 130], [199, 126]])


def heat(targets):
    """A corner net's output that says what the targets say, and nothing anywhere else."""
    out = np.full((corners_net.OUTPUTS,) + targets.centre.shape, -9, np.float32)
    p = np.clip(targets.centre, 1e-4, .999)
    out[0] = np.log(p / (1 - p))
    out[1:9] = targets.corners
    out[9], out[10] = targets.two == 0, targets.two == 1
    return out


class Targets(unittest.TestCase):
    def test_what_is_asked_for_is_what_is_decoded(self):
        for rows in (1, 2):
            targets = corners_data.Targets()
            targets.add(PLATE, rows)
            (quad, score, lines), = detector.decode(heat(targets), 1., .3)
            np.testing.assert_allclose(quad, PLATE, atol=.01)
            self.assertGreater(score, .99)
            self.assertEqual(lines, rows)

    def test_decoded_corners_follow_the_scale(self):
        targets = corners_data.Targets()
        targets.add(PLATE, 1)
        (quad, _, _), = detector.decode(heat(targets), .5, .3)
        np.testing.assert_allclose(quad, (PLATE + .5) * 2 - .5, atol=.01)

    def test_a_plate_nobody_can_judge_is_not_asked_for(self):
        for quad, rows in ((PLATE, IGNORE), (PLATE * .1 + 150, 1), (PLATE - (210, 0), 1)):
            targets = corners_data.Targets()
            targets.add(np.float32(quad), rows)
            self.assertEqual(targets.centre.max(), 0)
            self.assertEqual(targets.asked.min(), 0)

    def test_a_box_gives_no_corners(self):
        targets = corners_data.Targets()
        targets.add(PLATE, BOX)
        self.assertEqual(targets.centre.max(), 1)
        self.assertEqual(targets.weight.max(), 0)

    def test_labels_move_with_the_picture(self):
        rng = np.random.default_rng(4)
        for _ in range(20):
            image = np.zeros((360, 640, 3), np.uint8)
            cv2.fillPoly(image, [np.int32(PLATE)], (255, 255, 255))
            out, quads = corners_data.frame(rng, image, PLATE[None], True)
            middle, size = quads[0].mean(0), (corners_data.WIDTH, corners_data.HEIGHT)
            if (middle > 4).all() and (middle < np.subtract(size, 4)).all():
                x, y = middle.round().astype(int)
                self.assertGreater(out[y, x].min(), 120)


class Nets(unittest.TestCase):
    def test_a_warm_start_computes_what_the_export_does(self):
        shapes = ((corners_net.Corners, 64, 32), (corners_net.Refiner, 128, 64))
        for make, width, height in shapes:
            torch.manual_seed(1)
            net, picture = make(), torch.rand(4, 3, height, width) * 2 - 1
            net(picture)  # gives the normalisation statistics that are not 0 and 1
            path = os.path.join(self.folder, 'net.onnx')
            corners_net.export(net, path, width, height)
            again = make()
            corners_net.warm(again, path, picture)
            onnx = cv2.dnn.readNetFromONNX(path)
            onnx.setInput(picture[:1].numpy())
            want = onnx.forward()
            got = again.eval()(picture[:1]).detach().numpy()
            np.testing.assert_allclose(got, want, atol=1e-3)

    def test_a_net_of_another_shape_is_refused(self):
        path = os.path.join(self.folder, 'net.onnx')
        corners_net.export(corners_net.Refiner(), path, 128, 64)
        with self.assertRaises(ValueError):
            corners_net.warm(corners_net.Corners(), path, torch.zeros(1, 3, 64, 128))

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name


class Scenes(unittest.TestCase):
    def test_shards_give_back_what_was_written(self):
        rng = np.random.default_rng(5)
        image = np.full((90, 160, 3), 77, np.uint8)
        written = [Scene(image, np.float32(rng.uniform(0, 90, (n, 4, 2))), [1, 2, 1][:n],
                         kinds=['cn_blue', 'uk', 'real'][:n]) for n in (2, 0, 3)]
        with tempfile.TemporaryDirectory() as folder:
            write_shard(Path(folder) / 'a-0.npz', written)
            shard = Shard(Path(folder) / 'a-0.npz')
        self.assertEqual(len(shard), 3)
        for i, scene in enumerate(written):
            np.testing.assert_allclose(shard[i].quads, scene.quads)
            self.assertEqual((shard[i].rows, shard[i].kinds), (scene.rows, scene.kinds))
            self.assertEqual(shard[i].image.shape, image.shape)

    def test_a_plate_is_where_its_label_says(self):
        """A plate pasted over a grey picture changes it within its corners only."""
        rng = np.random.default_rng(6)
        real = Scene(np.full((400, 640, 3), 128, np.uint8), PLATE[None], [1])
        for _ in range(10):
            canvas = np.full((scenes.HEIGHT, scenes.WIDTH, 3), 128, np.float32)
            quad, rows, _ = scenes.over(rng, canvas, real.quads[0])
            inside = np.zeros(canvas.shape[:2], np.uint8)
            for corners in (quad, PLATE):
                middle = corners.mean(0)
                cv2.fillPoly(inside, [np.int32((corners - middle) * 1.5 + middle)], 1)
            changed = np.abs(canvas - 128).max(2) > 40
            self.assertTrue(changed.any())
            self.assertFalse((changed & (inside == 0)).any())
            self.assertIn(rows, (1, 2))


class Judging(unittest.TestCase):
    def test_found_missed_and_false(self):
        empty = np.zeros((10, 10, 3), np.uint8)
        scene = Scene(empty, np.stack([PLATE, PLATE + 200, PLATE + 90]), [1, 1, IGNORE])
        found = [(PLATE + 1, .9, 2), (PLATE - 100, .9, 1), (PLATE + 90, .9, 1)]
        (first, second, third), false = detector_eval.judge(found, scene)
        self.assertGreater(first.iou, .8)
        self.assertFalse(first.rows)
        self.assertAlmostEqual(first.error, 2 ** .5 / 26, places=2)
        self.assertEqual(second.iou, 0)
        self.assertIsNone(third)
        self.assertEqual(false, 1)  # what nobody is asked about is not false

    def test_a_slip_stays_near_its_plate(self):
        rng = np.random.default_rng(8)
        overlaps = [detector.overlap(refine_data.slipped(rng, PLATE), PLATE) for _ in range(200)]
        self.assertGreater(np.median(overlaps), .4)
        self.assertLess(np.median(overlaps), .95)


if __name__ == '__main__':
    unittest.main()
