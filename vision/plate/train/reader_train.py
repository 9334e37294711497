"""Trains the reader on the samples that samples.py writes, also while it is still writing.

Two losses: CTC, and the cross-entropy of single columns where it is known which character stands
in them. The second one gets the net off the plateau on which CTC answers nothing but blanks; its
weight falls as training goes on. The learning rate follows the clock, so that a run ends well in
the time it is given, however busy the machine.

usage: reader_train.py --train ../shared/train --pool FOLDER --out FILE.pt --minutes 70
"""

import argparse
import copy
import glob
import math
import os
import time

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import nn

import cuts
import real
import samples
from alphabet import decode
from reader_net import Reader

BATCH = 64
IGNORE = -100
CENTRES = (np.arange(cuts.STEPS, dtype=np.float32) + .5) * cuts.WIDTH / cuts.STEPS


class Pool:
    """The samples written so far, at most `most` of them; older ones make room."""

    def __init__(self, folder, most):
        self.folder, self.most = folder, most
        self.shards, self.seen = [], set()

    def refresh(self):
        # those still being written are renamed in the meantime
        done = [f for f in glob.glob(f'{self.folder}/*.npz') if not f.endswith('.part.npz')]
        for file in sorted(done, key=os.path.getmtime):
            if file in self.seen:
                continue
            self.seen.add(file)
            with np.load(file) as shard:
                self.shards.append((shard['cuts'], shard['labels'], shard['spans']))
        keep = self.most // samples.SHARD
        self.shards = self.shards[-keep:]
        return len(self.shards) * samples.SHARD

    def draw(self, rng, n):
        at = rng.integers(len(self.shards), size=n), rng.integers(samples.SHARD, size=n)
        return [np.stack([self.shards[s][k][i] for s, i in zip(*at)]) for k in range(3)]


def columns(labels, spans):
    """Which class each column should answer: N×STEPS, IGNORE where it is open."""
    target = np.full((len(labels), cuts.STEPS), IGNORE, np.int64)
    for n, (label, span) in enumerate(zip(labels, spans)):
        count = int((label > 0).sum())
        if span[0, 1] < 0:
            continue
        middle, width = span[:count].mean(1), span[:count, 1] - span[:count, 0]
        away = np.abs(CENTRES[None] - middle[:, None])
        target[n, (away > .5 * width[:, None] + 1).all(0)] = 0
        for i in range(count):
            core = away[i] < max(2., .2 * width[i])
            target[n, core] = label[i]
    return target


def moved(cut, spans, rng):
    """Every sample a few pixels to the side and up or down, brighter or darker."""
    out = np.empty_like(cut)
    spans = spans.copy()
    for n in range(len(cut)):
        dx, dy = int(rng.integers(-4, 5)), int(rng.integers(-2, 3))
        out[n] = np.roll(cut[n], (dy, dx), (0, 1))
        if dx > 0:
            out[n, :, :dx] = out[n, :, dx:dx + 1]
        elif dx < 0:
            out[n, :, dx:] = out[n, :, dx - 1:dx]
        if dy > 0:
            out[n, :dy] = out[n, dy]
        elif dy < 0:
            out[n, dy:] = out[n, dy - 1]
        if spans[n, 0, 1] >= 0:
            spans[n] += dx
        if rng.random() < .12:  # something stands before a part
            w, h = rng.integers(3, 14), rng.integers(6, 40)
            x, y = rng.integers(cuts.WIDTH - w), rng.integers(cuts.HEIGHT - h)
            out[n, y:y + h, x:x + w] = rng.integers(0, 256, 3)
    return out, spans


def tensor(cut, rng=None):
    """uint8 cuts to the net's input; with rng the light changes."""
    x = torch.from_numpy(np.ascontiguousarray(cut)).permute(0, 3, 1, 2).float()
    x = (x - 127.5) / 127.5
    if rng is not None:
        gain = torch.from_numpy(rng.uniform(.75, 1.3, (len(cut), 1, 1, 1)).astype(np.float32))
        bias = torch.from_numpy(rng.uniform(-.2, .2, (len(cut), 1, 1, 1)).astype(np.float32))
        x = (x * gain + bias).clamp(-1, 1)
    return x.contiguous(memory_format=torch.channels_last)


def greedy(logs):
    """The numbers that the most probable class of every column spells."""
    best = logs.argmax(2).numpy()
    out = []
    for row in best:
        kept = [c for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1])]
        out.append(decode(kept))
    return out


def read_all(net, cut):
    with torch.no_grad():
        return sum((greedy(net(tensor(cut[i:i + 128]))) for i in range(0, len(cut), 128)), [])


class Check:
    """Held plates that the net never learns from, and rendered ones of another seed."""

    def __init__(self, train, most=900):
        rng = np.random.default_rng(77)
        held = [r for r in real.load(train) if r.held]
        common = [r for r in held if r.number[0] == '皖']
        held = [r for r in held if r.number[0] != '皖'] + common[:most // 2]
        self.held = [samples.photographed(r, rng, plain=True) for r in held]
        street = samples.Surroundings(train, 40)
        self.made = [samples.rendered(rng, street) for _ in range(600)]
        self.empty = [samples.nothing(rng, street) for _ in range(200)]

    def run(self, net):
        net.eval()
        out = []
        for name, group in (('held', self.held), ('rendered', self.made)):
            reads = read_all(net, np.stack([s.cut for s in group]))
            right = np.array([r == s.number for r, s in zip(reads, group)])
            out.append(f'{name} {right.mean():.3f}')
            if name == 'held':
                rare = np.array([s.number[0] != '皖' for s in group])
                first = np.array([r[:1] == s.number[0] for r, s in zip(reads, group)])
                out.append(f'not 皖 {right[rare].mean():.3f} (province {first[rare].mean():.3f})')
        reads = read_all(net, np.stack([s.cut for s in self.empty]))
        out.append(f'read where there is nothing {np.mean([len(r) > 3 for r in reads]):.3f}')
        net.train()
        return ', '.join(out)


def rate(done, peak):
    """The learning rate when the fraction `done` of the time is over."""
    if done < .03:
        return peak * (.1 + .9 * done / .03)
    return peak * (.5 + .5 * math.cos(math.pi * min(1., (done - .03) / .97))) + 1e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--train', required=True)
    parser.add_argument('--pool', required=True)
    parser.add_argument('--pack')
    parser.add_argument('--out', required=True)
    parser.add_argument('--start', help='weights to begin with: a .pt file, or an .onnx one as it is shipped')
    parser.add_argument('--minutes', type=float, default=70)
    parser.add_argument('--rate', type=float, default=2.5e-3)
    parser.add_argument('--most', type=int, default=160000, help='samples held in memory')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    samples.plates.use_pack(args.pack)
    pool, check = Pool(args.pool, args.most), Check(args.train)
    net = Reader().to(memory_format=torch.channels_last)
    if args.start and args.start.endswith('.onnx'):
        pool.refresh()
        unfold(net, args.start, [tensor(pool.draw(rng, 128)[0]) for _ in range(8)])
    elif args.start:
        net.load_state_dict(torch.load(args.start)['net'])
    mean = copy.deepcopy(net)
    ctc = nn.CTCLoss(zero_infinity=True)
    cross = nn.CrossEntropyLoss(ignore_index=IGNORE)
    optimizer = torch.optim.AdamW(net.parameters(), lr=args.rate, weight_decay=.01)
    begin, step, shown = time.time(), 0, time.time()
    totals = np.zeros(2)
    while (done := (time.time() - begin) / 60 / args.minutes) < 1:
        if step % 200 == 0:
            size = pool.refresh()
        cut, labels, spans = pool.draw(rng, BATCH)
        cut, spans = moved(cut, spans, rng)
        for group in optimizer.param_groups:
            group['lr'] = rate(done, args.rate)
        logs = net(tensor(cut, rng))
        lengths = torch.from_numpy((labels > 0).sum(1))
        flat = torch.from_numpy(labels[labels > 0].astype(np.int64))
        lost_ctc = ctc(logs.transpose(0, 1), flat, torch.full((BATCH,), cuts.STEPS), lengths)
        want = torch.from_numpy(columns(labels, spans))
        lost_cross = cross(logs.flatten(0, 1), want.flatten())
        share = max(.1, 1 - done / .3)
        optimizer.zero_grad(set_to_none=True)
        (lost_ctc + 2 * share * lost_cross).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.)
        optimizer.step()
        follow(mean, net, min(.999, (1 + step) / (20 + step)))
        totals += float(lost_ctc), float(lost_cross)
        step += 1
        if step % 500 == 0:
            ctc_mean, cross_mean = totals / 500
            totals[:] = 0
            print(f'{time.time() - begin:6.0f} s, step {step}, pool {size}, ctc {ctc_mean:.3f}, '
                  f'columns {cross_mean:.3f}, {(time.time() - shown) / 500 / BATCH * 1e3:.1f} ms '
                  f'a sample; {check.run(mean)}', flush=True)
            shown = time.time()
            save(mean, args.out)
    save(mean, args.out)
    print(f'{step} steps; {check.run(mean)}')


def unfold(net, file, inputs):
    """Makes net compute what the exported file does, whose batch norms were folded into the
    convolutions before them. They get back what they see of the inputs, to go on from there."""
    weights = [onnx.numpy_helper.to_array(w) for w in stored(file)]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(weights) == 2 * len(convolutions) == 2 * (len(norms) + 1)
    seen = {norm: [] for norm in norms}
    with torch.no_grad():
        for at, convolution in enumerate(convolutions):
            convolution.weight.copy_(torch.tensor(weights[2 * at]))
            bias = torch.tensor(weights[2 * at + 1])
            if convolution.bias is not None:
                convolution.bias.copy_(bias)
                continue
            norm = norms[at]
            norm.running_var.fill_(1 - norm.eps)
            norm.bias.copy_(bias)
            norm.register_forward_pre_hook(lambda norm, x: seen[norm].append(x[0]))
        net.eval()
        for x in inputs:
            net(x)
        net.train()
        for norm, maps in seen.items():
            norm._forward_pre_hooks.clear()
            values = torch.cat(maps).transpose(0, 1).flatten(1)
            norm.running_mean.copy_(values.mean(1))
            norm.running_var.copy_(values.var(1))
            norm.weight.copy_((norm.running_var + norm.eps).sqrt())
            norm.bias.add_(norm.running_mean)


def stored(file):
    """The weights and the bias of each convolution of an exported net, in their order."""
    graph = onnx.load(file).graph
    named = {w.name: w for w in graph.initializer}
    return [named[name] for node in graph.node if node.op_type == 'Conv' for name in node.input[1:]]


def follow(mean, net, keep):
    """Moves the running mean of the weights, which is what is used, towards the weights."""
    with torch.no_grad():
        for a, b in zip(mean.state_dict().values(), net.state_dict().values()):
            if a.dtype.is_floating_point:
                a.mul_(keep).add_(b, alpha=1 - keep)
            else:
                a.copy_(b)


def save(net, out):
    torch.save({'net': net.state_dict()}, out + '.part')
    os.replace(out + '.part', out)


if __name__ == '__main__':
    main()
