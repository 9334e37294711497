"""CTC beam search that keeps to the numbers there are, for comparing readers.

The program's own search is ../text; this one is short, not fast.
"""

import math

import plates

LATIN = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789'
_CLASSES = {'P': plates.PROVINCES, 'L': plates.LETTERS, 'A': plates.LETTERS + plates.DIGITS,
            'D': plates.DIGITS, 'N': plates.ENERGY, 'C': plates.OLD_ARMY}
_PATTERNS = ['PLAAAAA', 'PLNADDDD', 'PLDDDDDN', 'PLAAAA警', 'PLAAAA学', 'PLAAAA挂', '粤LAAAA港',
             '粤LAAAA澳', '使DDDDDD', 'DDDDDD使', 'PLAAAA领', 'wjPDDDDA', 'LLDDDDD', 'CLDDDDD',
             '民航ADDDD', '民航DDDDA', 'PDDDDDDD', 'PLDDDD应急']


def _slots(pattern):
    return [{'w': 'W', 'j': 'J'}.get(c, _CLASSES.get(c, c)) for c in pattern]


MAINLAND = [_slots(p) for p in _PATTERNS]
ABROAD = [[LATIN] * n for n in range(4, 10)]
WIDTH = 20
FLOOR = 1e-4  # less probable characters of a step are left out


def search(steps, keys, templates, ignored=(0,)):
    """The most probable number and its probability; steps T×classes, keys per output (None where
    an output is no plate character)."""
    beam = {'': (1., 0., (1 << len(templates)) - 1)}
    allowed = {}
    for step in steps:
        none = float(sum(step[i] for i in ignored)) + 1e-9
        live = [(keys[i], float(step[i])) for i in (step > FLOOR).nonzero()[0] if keys[i]]
        found = {}
        for prefix, (blank, last, alive) in beam.items():
            old = found.setdefault(prefix, [0., 0., alive])
            old[0] += (blank + last) * none
            for char, p in live:
                if prefix and char == prefix[-1]:
                    old[1] += last * p
                    begin = blank
                else:
                    begin = blank + last
                at = (len(prefix), char)
                if at not in allowed:
                    allowed[at] = sum(1 << n for n, t in enumerate(templates)
                                      if at[0] < len(t) and char in t[at[0]])
                if begin and alive & allowed[at]:
                    new = found.setdefault(prefix + char, [0., 0., alive & allowed[at]])
                    new[1] += begin * p
        best = sorted(found.items(), key=lambda f: -(f[1][0] + f[1][1]))[:WIDTH]
        beam = {prefix: tuple(v) for prefix, v in best}
    done = [(blank + last, prefix) for prefix, (blank, last, alive) in beam.items()
            if any(alive >> n & 1 and len(t) == len(prefix) for n, t in enumerate(templates))]
    p, number = max(done, default=(0., ''))
    return number, min(1., p), math.log(max(p, 1e-30))
