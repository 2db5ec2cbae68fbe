"""What a touch model costs as it is, fused, as an exported program and as ONNX; and how close each export stays to its model.

    python benchmarks/serving.py [--json FILE] [--part recipes|speed] [--quick]

`recipes`: every recipe from stored vectors of 128, exported both ways; seconds to export, size of the file, and the largest difference of a probability on 64 fabrics that the export never saw. Weights are random; logits are brought to differ by 2 between fabrics, multiplied by at most 10,
since the flat answers of an untrained model would hide a difference.
`speed`: ms of a batch of 1, 8 and 32 (Galata: 1 and 8). The four ways take turns in one process, so that a busy machine slows all of them alike; medians count. From photos of 96 pixels with the encoder `swatch`, and Galata from stored vectors of 512. All ways get the same number of threads.
`difference` is the largest of a probability to the model as it is, whose logits are brought to differ as above; `spread` is the standard deviation of its probabilities, over 64 fabrics, here over 16.
"""
import json as js, tempfile, time
from pathlib import Path
from statistics import median
import numpy as np, torch
from fastcore.script import call_parse
from fabric_touch.core import pick, whole_file
from fabric_touch.serving import KINDS, export_touch, load_exported
from fabric_touch.swatches import make_blends
from fabric_touch.touch import RECIPES, touch_model, touch_probs

def lively(model, v, blends, spread=2.):
    "A model with random weights, its BatchNorms having seen a batch, whose logits differ between fabrics as trained ones do"
    for m in model.modules():
        if hasattr(m, 'momentum'): m.momentum = None            # the mean of what was seen
    with torch.no_grad():
        model.train().from_vectors(v, blends)
        if not model.eval().numbers: model.temperature = (model.from_vectors(v, blends).std(0).mean(-1)/spread).clamp(min=.1).tolist()
    return model

def args(recipe): return dict(train='all') if RECIPES[recipe].head.startswith('mobilenet') else {}

def loaded(folder, kind):
    "An export that this script wrote itself"
    program = torch.export.load(folder/KINDS[kind].file) if kind == 'torch_export' else None
    return load_exported(folder, program=program, threads=torch.get_num_threads())

def exported(model, kind, folder, **how):
    "(export, seconds it took, MB of its file)"
    start = time.perf_counter()
    export_touch(model, kind, folder, **how)
    return loaded(folder, kind), time.perf_counter() - start, (folder/KINDS[kind].file).stat().st_size/1e6

def recipe_row(recipe, folder, width=128, b=64):
    "Both kinds of export of a recipe"
    torch.manual_seed(0)
    v, blends = torch.randn(b, width), torch.from_numpy(make_blends(b, seed=1))
    model, row = lively(touch_model(recipe, width, **args(recipe)), v, blends), {}
    want = touch_probs(model, v, blends)
    for kind in KINDS:
        there, s, mb = exported(model, kind, folder/f'{recipe}-{kind}', vectors=True)
        row[kind] = dict(difference=float(abs(there.probs(v.numpy(), blends.numpy()) - want).max()), export_s=round(s, 2), mb=round(mb, 2))
    return row | dict(spread=float(want.std(0).mean()))

def part_recipes(folder, quick):
    for recipe in ('mlb', 'kostantiniyye') if quick else RECIPES:
        row = recipe_row(recipe, folder)
        print(f'{recipe:25s}', ', '.join(f"{k}: {row[k]['difference']:.0e}, {row[k]['mb']:.1f} MB, {row[k]['export_s']:.1f} s" for k in KINDS), flush=True)
        yield recipe, row

def in_turns(ways, rounds):
    "Median seconds of each way, all of them once in every round"
    times = {k: [] for k in ways}
    for f in ways.values(): f(); f()                        # to warm up
    for _ in range(rounds):
        for k,f in ways.items(): start = time.perf_counter(); f(); times[k].append(time.perf_counter() - start)
    return {k: median(t) for k,t in times.items()}

CASES = dict(mlb=('mlb', 'swatch', (1, 8, 32)), kostantiniyye=('kostantiniyye', 'swatch', (1, 8, 32)), galata=('galata', 512, (1, 8)))   # name -> recipe, encoder or width of stored vectors, batches

def inputs(encoder, b):
    "A batch of photos, noise of another brightness each, or of vectors, and blends"
    dice = torch.Generator().manual_seed(b)
    x = torch.randn(b, encoder, generator=dice) if isinstance(encoder, int) else torch.rand(b, 3, 96, 96, generator=dice)*torch.rand(b, 3, 1, 1, generator=dice)
    return x, torch.from_numpy(make_blends(b, seed=b))

def speed_model(recipe, encoder, b=16):
    "A model whose answers differ between fabrics, and by how much"
    torch.manual_seed(0)
    model, (x, blends) = touch_model(recipe, encoder, **args(recipe)).eval(), inputs(encoder, b)
    with torch.no_grad(): v = x if isinstance(encoder, int) else model.encoder(x)
    model = lively(model, v, blends)
    return model, float(touch_probs(model, v, blends).std(0).mean())

def four_ways(model, fused, there, x, blends):
    "The ways to ask one model about a batch: each gives probabilities"
    heat = torch.tensor(model.temperature)[:, None]
    return dict(eager=lambda: (model(x, blends)/heat).softmax(-1), fused=lambda: (fused(x, blends)/heat).softmax(-1), **{k: lambda k=k: there[k][0].probs(x.numpy(), blends.numpy()) for k in KINDS})

def speed_case(recipe, encoder, batches, folder, quick):
    "ms of four ways to ask one model"
    model, spread = speed_model(recipe, encoder)
    there = {k: exported(model, k, folder/f'speed-{recipe}-{k}', vectors=isinstance(encoder, int)) for k in KINDS}
    res, fused = dict(mb={k: round(t[2], 2) for k,t in there.items()}, ms={}, difference={}, spread=spread), model.fuse()
    for b in batches:
        ways = four_ways(model, fused, there, *inputs(encoder, b))
        with torch.no_grad():
            want = ways['eager']().numpy()
            res['difference'][b] = {k: float(abs(np.asarray(f()) - want).max()) for k,f in ways.items()}
            res['ms'][b] = {k: round(1e3*s, 3) for k,s in in_turns(ways, 3 if quick else {1: 31, 8: 11, 32: 5}[b]).items()}
        print(f'{recipe:15s} batch {b:2}: ' + ', '.join(f"{k} {t:.2f} ms, {res['ms'][b]['eager']/t:.1f}, off by {res['difference'][b][k]:.0e}" for k,t in res['ms'][b].items()), flush=True)
    return res

def part_speed(folder, quick):
    for name,case in CASES.items():
        if not quick or name == 'mlb': yield name, speed_case(*case, folder, quick)

PARTS = dict(recipes=part_recipes, speed=part_speed)

def read(json):
    "The tables that were written, and where they are measured now"
    import onnx, onnxruntime
    done = js.loads(Path(json).read_text()) if json and Path(json).exists() else {}
    return done | dict(device='cpu', threads=torch.get_num_threads(), torch=torch.__version__, onnx=onnx.__version__, onnxruntime=onnxruntime.__version__, gpu='not measured')

@call_parse
def main(
    json:str=None, # Write the tables here; parts that stand there and are not asked for stay
    part:str='', # Only this part
    quick:bool=False, # Two recipes, one case, three rounds
):
    "Measure touch models as they are served"
    done = read(json)
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            print(f'\n{name}', flush=True)
            done[name] = {}
            for key,row in pick(PARTS, name, 'part')(Path(folder), quick):
                done[name][key] = row
                if json:
                    with whole_file(json) as tmp: tmp.write_text(js.dumps(done, indent=1))
