"""Checks of the renderer and of the reader's samples, without pictures from outside.

usage: python3 -m unittest test_plates
"""

import os
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch

import abroad
import cuts
import numbers_search
import plates
import reader_train
import real
import samples
from alphabet import CLASSES, KEYS, decode, encode
from reader_net import Reader


def fits(number, templates):
    return any(len(t) == len(number) and all(c in slot for c, slot in zip(number, t))
               for t in templates)


class Plates(unittest.TestCase):
    def test_every_kind_has_a_number_of_its_grammar(self):
        rng = np.random.default_rng(3)
        for kind in plates.ALL:
            for _ in range(8):
                plate = plates.render(rng, kind)
                with self.subTest(kind=kind, number=plate.number):
                    self.assertEqual([b.char for b in plate.boxes], list(plate.number))
                    templates = [[numbers_search.LATIN] * n for n in range(3, 10)]
                    if kind not in abroad.KINDS:
                        templates = numbers_search.MAINLAND
                    self.assertTrue(fits(plate.number, templates))
                    self.assertEqual(plate.rows, 2 if kind.endswith('double') or
                                     kind == 'cn_trailer' else 1)
                    for b in plate.boxes:
                        self.assertLess(b.left, b.right)
                        self.assertGreaterEqual(b.left, 0)
                        self.assertLessEqual(b.bottom, plate.image.shape[0])

    def test_two_rows_stand_one_above_the_other(self):
        rng = np.random.default_rng(4)
        for kind in ('cn_yellow_double', 'cn_wj_double', 'abroad_double'):
            plate = plates.render(rng, kind)
            tops = [b.top for b in plate.boxes]
            self.assertGreater(max(tops) - min(tops), plate.image.shape[0] * .2)

    def test_provinces_are_drawn_evenly(self):
        rng = np.random.default_rng(5)
        first = [plates.place(rng)[0] for _ in range(31 * 60)]
        counts = [first.count(p) for p in plates.PROVINCES]
        self.assertGreater(min(counts), 30)
        self.assertLess(max(counts), 100)


class Samples(unittest.TestCase):
    def test_columns_spell_the_number(self):
        """What single columns must answer is, read as CTC reads, the number itself."""
        try:
            from reader_train import columns
        except ModuleNotFoundError as missing:
            self.skipTest(str(missing))
        rng = np.random.default_rng(6)
        street = samples.Surroundings.__new__(samples.Surroundings)
        street.images = []
        right = 0
        for _ in range(200):
            s = samples.rendered(rng, street)
            labels = np.zeros((1, samples.MOST), np.uint8)
            spans = np.full((1, samples.MOST, 2), -1, np.float32)
            labels[0, :len(s.number)] = encode(s.number)
            spans[0, :len(s.spans)] = s.spans
            row = [c for c in columns(labels, spans)[0] if c >= 0]
            said = decode([c for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1])])
            once = s.number[0] + ''.join(b for a, b in zip(s.number, s.number[1:]) if a != b)
            right += said in (s.number, once)  # a gap may be too narrow for a blank column
        self.assertGreater(right, 185)

    def test_nothing_has_no_number(self):
        rng = np.random.default_rng(7)
        street = samples.Surroundings.__new__(samples.Surroundings)
        street.images = []
        for _ in range(10):
            s = samples.nothing(rng, street)
            self.assertEqual((s.number, s.cut.shape), ('', (cuts.HEIGHT, cuts.WIDTH, 3)))

    def test_alphabet(self):
        self.assertEqual(len(set(KEYS)), len(KEYS))
        self.assertEqual(CLASSES, len(KEYS) + 2)
        self.assertEqual(decode(encode('川A12345')), '川A12345')


class Split(unittest.TestCase):
    def test_it_depends_on_the_plate_alone(self):
        share = np.mean([real._fraction(f'皖A{i:05d}') < real.HELD_SHARE for i in range(4000)])
        self.assertAlmostEqual(share, real.HELD_SHARE, delta=.03)
        self.assertEqual(real._fraction('皖A12345'), real._fraction('皖A12345'))

    def test_a_flat_plate_comes_back(self):
        image = np.zeros((140, 440, 3), np.uint8)
        image[25:115, 15:60] = 255
        plate = SimpleNamespace(image=image, quad=np.float32([[0, 0], [440, 0], [440, 140], [0, 140]]))
        flat = real.flatten(plate, 220, 70)
        self.assertGreater(flat[35, 20].min(), 200)
        self.assertLess(flat[35, 120].max(), 50)


class Further(unittest.TestCase):
    def test_a_round_begins_with_what_is_shipped(self):
        rng = np.random.default_rng(3)
        inputs = [reader_train.tensor(rng.integers(0, 256, (4, cuts.HEIGHT, cuts.WIDTH, 3), np.uint8))
                  for _ in range(2)]
        file = str(Path(__file__).parent / '../weights/plate_small.onnx')
        net = Reader()
        reader_train.unfold(net, file, inputs)
        net.eval()
        shipped = cv2.dnn.readNetFromONNX(file)
        shipped.setInput(inputs[0][:1].contiguous().numpy())
        with torch.no_grad():
            probabilities = net(inputs[0][:1]).exp().numpy()
        self.assertLess(np.abs(probabilities - shipped.forward()).max(), 1e-4)

    def test_samples_being_written_are_waited_for(self):
        with tempfile.TemporaryDirectory() as folder:
            pool = reader_train.Pool(folder, 4 * samples.SHARD)
            os.symlink('nowhere', f'{folder}/1.npz.part.npz')  # as one just renamed
            self.assertEqual(pool.refresh(), 0)


class Search(unittest.TestCase):
    def test_the_grammar_repairs(self):
        steps = np.full((16, CLASSES), 1e-6, np.float32)
        steps[:, 0] = .99
        for i, char in enumerate('川A12345'):
            steps[2 * i] = 1e-6
            steps[2 * i, encode(char)] = .6
        steps[14] = 1e-6
        steps[14, 0] = .99
        steps[12] = 1e-6
        steps[12, encode('O')], steps[12, encode('0')] = .6, .3
        keys = [None, *KEYS, None]
        number, p, _ = numbers_search.search(steps, keys, numbers_search.MAINLAND)
        self.assertEqual(number[:6], '川A1234')
        self.assertLess(p, .6)


if __name__ == '__main__':
    unittest.main()
