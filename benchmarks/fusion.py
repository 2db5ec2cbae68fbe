"""Each fusion two or more ways, in one run: PyTorch's own layer against ours. Equal outputs, medians, ratios, memory, floating point operations.

    python benchmarks/fusion.py [--json FILE] [--reps 15]

Gradients are timed with a ready-made output gradient, so that no loss hides the ratio. Memory is the peak beyond the map (and its gradient, which exists before). With a GPU the same is measured there too,
with CUDA events, and the dense layer in bfloat16 as well; without one, that is said.
"""
import time
from contextlib import nullcontext
from json import dumps
from statistics import median
import torch, torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from fastcore.script import call_parse
from fabric_touch.core import whole_file
from fabric_touch.fusion import MLB, Bilinear, CompactBilinear, Mutan, OuterAttention

def seconds(f, reps, device='cpu'):
    "Median time of a call, after one to warm up"
    f()
    times = []
    for _ in range(reps):
        if device == 'cpu': start = time.perf_counter(); f(); times.append(time.perf_counter()-start); continue
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record(); f(); end.record(); torch.cuda.synchronize()
        times.append(start.elapsed_time(end)/1000)
    return median(times)

def peak_mib(f, device):
    "Most memory that a call holds at one time"
    if device != 'cpu':
        torch.cuda.synchronize(); torch.cuda.reset_peak_memory_stats(); before = torch.cuda.memory_allocated()
        f(); torch.cuda.synchronize()
        return (torch.cuda.max_memory_allocated()-before)/2**20
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as prof: f()
    held, most = 0, 0
    for e in sorted((e for e in prof.profiler.kineto_results.events() if e.name() == '[memory]'), key=lambda e: e.start_ns()): held += e.nbytes(); most = max(most, held)
    return most/2**20

def gflops(f):
    "Of matrix products, as PyTorch counts them"
    with FlopCounterMode(display=False) as counter: f()
    return counter.get_total_flops()/1e9

def attentions(b, vectors, device):
    "The dense layer over the outer product, with its default weights and (faster) without, and ours, exactly and from a table"
    dense, ours, exact = nn.MultiheadAttention(512, 8, batch_first=True), OuterAttention(512, 8), OuterAttention(512, 8, exact=True)
    for m in (dense, ours, exact): m.load_state_dict(dense.state_dict()); m.to(device)
    v, p = F.normalize(torch.randn(b, 512)), F.layer_norm(torch.randn(b, 512), (512,))
    if vectors == 'clip': v = 10*v; v[:, 133] += 4                         # CLIP's are about ten long, with a number that stands out
    v, p = v.to(device), p.to(device)
    def plain(weights):
        x = v[:, :, None]*p[:, None]
        return dense(x, x, x, need_weights=weights)[0]
    return dict(dense_weights=lambda: plain(True), dense=lambda: plain(False), exact=lambda: exact(v, p), table=lambda: ours(v, p))

def backward(f, g):
    def run(): f().backward(g)
    return run

def attention_row(b, vectors, grad, device, reps):
    "One case, all four ways"
    ways = attentions(b, vectors, device)
    with torch.no_grad():
        want = ways['dense']()
        differ = {k: ((f()-want).abs().max()/want.abs().max()).item() for k,f in ways.items() if k in ('exact', 'table')}
    if grad: ways = {k: backward(f, torch.randn_like(want)) for k,f in ways.items()}
    with nullcontext() if grad else torch.no_grad():
        ms = {k: round(1e3*seconds(f, 3 if 'dense' in k else reps, device), 2) for k,f in ways.items()}       # the dense ones are slow, and steady
        mib = {k: round(peak_mib(f, device) - want.nbytes/2**20, 1) for k,f in ways.items()}
        flops = {k: round(gflops(f), 3) for k,f in ways.items()} if b == 1 else {}
    fast = min(ms['dense'], ms['dense_weights'])
    return dict(batch=b, vectors=vectors, way='forward and backward' if grad else 'forward', device=device, ms=ms, ratio={k: round(fast/ms[k], 1) for k in ('exact', 'table')},
                mib_beyond_map=mib, gflops=flops, largest_relative_difference=differ)

def attention_in_bf16(b, reps):
    "On a GPU: the dense layer in bfloat16 against ours in float32, which is never less"
    ways = attentions(b, 'clip', 'cuda')
    def run():
        with torch.autocast('cuda', torch.bfloat16): return ways['dense']()
    with torch.no_grad(): ms = dict(dense_bf16=seconds(run, reps, 'cuda'), table_float32=seconds(ways['table'], reps, 'cuda'))
    return dict(batch=b, way='forward', device='cuda', ms={k: round(1e3*x, 2) for k,x in ms.items()})

def pooling_rows(reps):
    "Bilinear pooling: PyTorch's, ours, and the forms of low rank"
    rows = []
    for n_blend, b in ((12, 1), (12, 64), (512, 1), (512, 64)):
        plain, ours = nn.Bilinear(512, n_blend, 512), Bilinear(512, n_blend, 512)
        ours.load_state_dict(plain.state_dict())
        v, p = torch.randn(b, 512), torch.rand(b, n_blend)
        ways = {'nn.Bilinear': plain, 'bilinear': ours, 'mlb': MLB(512, n_blend).eval(), 'mutan': Mutan(512, n_blend).eval(), 'compact': CompactBilinear(512, n_blend).eval()}
        with torch.no_grad():
            ms = {k: round(1e3*seconds(lambda m=m: m(v, p), reps), 3) for k,m in ways.items()}
            differ = ((ours(v, p)-plain(v, p)).abs().max()/plain(v, p).abs().max()).item()
        rows.append(dict(batch=b, n_blend=n_blend, ms=ms, parameters={k: sum(w.numel() for w in m.parameters()) for k,m in ways.items()}, largest_relative_difference=differ))
        print(f'bilinear 512 x {n_blend}, batch {b:3}: ' + ', '.join(f'{k} {t} ms' for k,t in ms.items()), flush=True)
    return rows

def write(json, rows):
    "Write a benchmark's rows to a file, if one is given, with where they were measured"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'not measured'
    where = dict(device='cpu', threads=torch.get_num_threads(), torch=torch.__version__, gpu=gpu)
    if json:
        with whole_file(json) as tmp: tmp.write_text(dumps(dict(where, rows=rows), indent=1))

@call_parse
def main(
    json:str=None, # Write the table here
    reps:int=15, # Repetitions; the median counts
):
    "Time the fusions against PyTorch's own layers"
    torch.manual_seed(0)
    rows = dict(pooling=pooling_rows(reps), attention=[], bf16=[])
    for device in ('cpu', *(['cuda'] if torch.cuda.is_available() else [])):
        for b, vectors, grad in [(b, v, g) for v in ('clip', 'unit') for b in (1, 32, 128) for g in (False, True)]:
            rows['attention'].append(r := attention_row(b, vectors, grad, device, reps))
            print('attention, {device}, {vectors} vectors, batch {batch:3}, {way:20}: {ms}  ratio {ratio}  MiB {mib_beyond_map}'.format(**r), flush=True)
    if torch.cuda.is_available(): rows['bf16'] = [attention_in_bf16(b, reps) for b in (1, 32, 128)]
    else: print('GPU: not measured')
    write(json, rows)
