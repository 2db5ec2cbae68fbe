"""Two ways to compute each fusion, in one run: PyTorch's own layer against ours, equal outputs, medians and the ratio.

    python benchmarks/fusion.py [--json FILE] [--reps 7]
"""
import time
from json import dumps
from statistics import median
import torch
from torch import nn
from fastcore.script import call_parse
from fabric_touch.core import whole_file
from fabric_touch.fusion import Bilinear, OuterAttention

def seconds(f, reps):
    f()
    times = []
    for _ in range(reps): start = time.perf_counter(); f(); times.append(time.perf_counter()-start)
    return median(times)

def bilinear(b):
    "nn.Bilinear 512 x 12 -> 512 and ours"
    plain, ours = nn.Bilinear(512, 12, 512), Bilinear(512, 12, 512)
    ours.load_state_dict(plain.state_dict())
    v, p = torch.randn(b, 512), torch.rand(b, 12)
    return [lambda m=m: m(v, p) for m in (plain, ours)]

def outer_attention(b, grad=False):
    "Dense attention over the outer product (its faster form, without weights) and ours"
    dense, ours = nn.MultiheadAttention(512, 8, batch_first=True), OuterAttention(512, 8)
    ours.load_state_dict(dense.state_dict())
    v, p, g = torch.randn(b, 512)*.5, torch.randn(b, 512), torch.randn(b, 512, 512)
    def run_dense():
        x = v[:, :, None]*p[:, None]
        return dense(x, x, x, need_weights=False)[0]
    def back(f):
        def run(): out = f(); out.backward(g); return out.detach()
        return run
    pair = [run_dense, lambda: ours(v, p)]
    return [back(f) for f in pair] if grad else pair

CASES = {f'bilinear 512x12, batch {b}': lambda b=b: bilinear(b) for b in (1, 64)} | \
        {f'outer attention, forward, batch {b}': lambda b=b: outer_attention(b) for b in (1, 32)} | \
        {'outer attention, forward and backward, batch 32': lambda: outer_attention(32, grad=True)}

def write(json, rows):
    "Write a benchmark's rows to a file, if one is given, with where they were measured"
    where = dict(device='cpu', threads=torch.get_num_threads(), torch=torch.__version__, gpu='not measured')
    if json:
        with whole_file(json) as tmp: tmp.write_text(dumps(dict(where, rows=rows), indent=1))

@call_parse
def main(
    json:str=None, # Write the table here
    reps:int=7, # Repetitions; the median counts
):
    "Time the fusions against PyTorch's own layers"
    torch.manual_seed(0)
    rows = []
    for name,make in CASES.items():
        plain, ours = make()
        with torch.set_grad_enabled('backward' in name): a, b = plain(), ours()
        diff = ((a-b).abs().max()/a.abs().max()).item()
        with torch.set_grad_enabled('backward' in name): t = [seconds(f, reps) for f in (plain, ours)]
        rows.append(dict(case=name, plain_ms=round(1e3*t[0], 2), ours_ms=round(1e3*t[1], 2), ratio=round(t[0]/t[1], 1), largest_relative_difference=diff))
        print('{case:50s} {plain_ms:9.2f} ms  {ours_ms:9.2f} ms  x {ratio:5.1f}  differ by {largest_relative_difference:.0e}'.format(**rows[-1]), flush=True)
    write(json, rows)
