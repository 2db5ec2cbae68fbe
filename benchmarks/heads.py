"""What each way to read photo and blend knows and costs, on generated swatches.

    python benchmarks/heads.py [--json FILE] [--part swatches|unit|cost] [--fabrics 600] [--steps 300] [--keep FOLDER]

`swatches`: every row is trained for the same number of batches of 32 in the same three folds, grouped by blend, and the last epoch counts. Its learning rate is chosen on one inner fold of the first training part, with half the batches.
`unit`: the swatches' vectors at length 1, as ImageBind's are, on half the fabrics with half the steps, at the learning rates of `swatches`.
`cost`: parameters, training steps, and prediction of four touches from stored vectors of 512; the rows that draw a map have a fusion and a head for each touch there, as galata has, and so have their factors.
The MobileNets start at random and train whole: ImageNet's weights for them are not at hand, and these rows take most of the time.
"""
import json as js, tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
import numpy as np, torch, torch.nn.functional as F
from fastcore.script import call_parse
from fabric_touch.core import TOUCHES, pick, whole_file
from fabric_touch.data import read_fabrics
from fabric_touch.metrics import base_rate, over_touches, rps, score_table, touch_scores
from fabric_touch.swatches import make_blends, make_swatches
from fabric_touch.touch import RECIPES, embed_fabrics, touch_folds, touch_model
from fusion import seconds

SMALL = ('kostantiniyye_factors', 'mlb', 'mutan', 'compact', 'constantinople_levels', 'photo', 'blend')
MAPS = ('kostantiniyye', 'kostantiniyye_224', 'kostantiniyye_scaled')
RATES = dict.fromkeys(SMALL, (5e-4, 1e-3, 2e-3, 5e-3)) | dict.fromkeys(MAPS, (1e-3, 3e-3)) | dict(constantinople_levels=(2e-4, 1e-3))   # learning rates to choose from

def args(row): return dict(train='all') if RECIPES[row].head.startswith('mobilenet') else {}

def fit(learn, steps, lr, bs=32):
    "One cycle of about `steps` batches of `bs`; convolutions run faster with the channels last"
    learn.dls.train.bs = min(bs, len(learn.dls.train_ds))
    learn.model.to(memory_format=torch.channels_last)
    valid, n = learn.dls.valid, learn.dls.valid.n
    valid.n = 1                                     # what is scored is not looked at before the end
    learn.fit_one_cycle(max(2, round(steps/len(learn.dls.train))), lr)
    valid.n = n

def trained(fabrics, vectors, row, folds, keep=None, seed=0, **how):
    "Out-of-fold predictions of a row"
    return touch_folds(fabrics, vectors, row, folds, partial(fit, **how), head_args=args(row), seed=seed,
                       folder=keep and Path(keep)/f'{row}-{len(fabrics)}-{how["steps"]}-{how["lr"]}')

def choose(fabrics, vectors, row, train, steps, keep, rates):
    "The one of some learning rates that does best on one inner fold of the rows `train`, and all that were tried"
    few, v, found = fabrics.take(train), vectors[train], {}
    fold = few.folds(3)[0]
    for lr in rates:
        found[lr] = float(over_touches(rps)(trained(few, v, row, [fold], keep, steps=steps, lr=lr)[fold[1]], few.counts()[fold[1]]))
    return dict(lr=min(found, key=found.get), tried={str(k): round(x, 4) for k,x in found.items()})

def scored(models, fabrics):
    "Scores of the mean touch: model -> metric -> [value, low, high]"
    s = touch_scores(models, fabrics.counts(), groups=fabrics.groups()).query("touch=='mean' and metric in ('rps', 'spearman')")
    print(score_table(s, digits=3).to_string(), flush=True)
    return {m: {r.metric: [r.value, r.lo, r.hi] for r in s[s.model==m].itertuples()} for m in models}

def rows_on(fabrics, vectors, rows, steps, keep, rates={}):
    "Scores of each row and how they came about; `rates` are learning rates chosen elsewhere"
    folds, models, how = fabrics.folds(3), {}, {}
    for row in rows:
        family = 'kostantiniyye' if row in MAPS else row
        if family not in rates: rates = rates | {family: choose(fabrics, vectors, family, folds[0][0], steps//2, keep, RATES[family])}
        models[row], how[row] = trained(fabrics, vectors, row, folds, keep, steps=steps, lr=rates[family]['lr']), rates[family] | dict(steps=steps)
        print(row, how[row], flush=True)
    base = np.full_like(models[rows[0]], np.nan)
    for train,valid in folds: base[valid] = base_rate(fabrics.counts()[train], len(valid))
    scores = scored(models | dict(base_rate=base), fabrics)
    return dict(fabrics=len(fabrics), rows={m: s | how.get(m, {}) for m,s in scores.items()})

def generated(n, folder):
    "Generated fabrics, and the chances that their ratings were drawn from"
    made = make_swatches(n, seed=15)
    return read_fabrics(made.write(Path(folder)/'swatches', kind='ratings'), check=False), made.probs

def swatches(n, folder):
    "Generated fabrics and their vectors"
    fabrics, _ = generated(n, folder)
    return fabrics, embed_fabrics(fabrics)

def part_swatches(data, steps, keep, done): return rows_on(*data, ('kostantiniyye', 'kostantiniyye_224', *SMALL), steps, keep and Path(keep)/'swatches')

def part_unit(data, steps, keep, done):
    half = len(data[0])//2
    fabrics, vectors = data[0].take(range(half)), F.normalize(torch.as_tensor(data[1][:half])).numpy()
    rates = {r: dict(lr=v['lr']) for r,v in done.get('swatches', {}).get('rows', {}).items() if 'lr' in v}
    return rows_on(fabrics, vectors, ('kostantiniyye', 'kostantiniyye_scaled', 'kostantiniyye_factors'), steps//2, keep and Path(keep)/'unit', rates)

def predicts(row):
    "ms of four touches from stored vectors of 512, batch 1 and 8"
    recipe = replace(RECIPES[row], each=True) if 'kostantiniyye' in row else row
    model, res = touch_model(recipe, 512, **args(row)).fuse(), {}
    for b in (1, 8):
        v, blends = torch.randn(b, 512), torch.from_numpy(make_blends(b, seed=0))
        with torch.no_grad(): res[f'predict_ms_{b}'] = 1e3*seconds(lambda: model.from_vectors(v, blends), 7)
    return res

def step_seconds(row, width, bs=32, targets=TOUCHES, **head_args):
    "Seconds of one training step, and the parameters that learn"
    model = touch_model(row, width, targets, **(head_args or args(row))).train().to(memory_format=torch.channels_last)
    learns = [p for p in model.parameters() if p.requires_grad]
    opt, v, blends = torch.optim.AdamW(learns, 1e-3), torch.randn(bs, width), torch.from_numpy(make_blends(bs, seed=0))
    def step(): opt.zero_grad(); model.from_vectors(v, blends).square().mean().backward(); opt.step()
    return seconds(step, 5), sum(p.numel() for p in learns)

def part_cost(data, steps, keep, done):
    rows = {}
    for row in ('kostantiniyye', 'kostantiniyye_224', *SMALL):
        torch.manual_seed(0)
        step, n = step_seconds(row, 128)
        rows[row] = r = dict(parameters=n, train_s=step*steps) | predicts(row)
        for b in (1, 8): r[f'ratio_{b}'] = rows['kostantiniyye'][f'predict_ms_{b}']/r[f'predict_ms_{b}']
        print(f'{row:22s} {n:12,} parameters {r["train_s"]:7.1f} s a fold' + ''.join(f'   batch {b}: {r[f"predict_ms_{b}"]:8.2f} ms, 1/{r[f"ratio_{b}"]:.1f}' for b in (1, 8)), flush=True)
    return dict(threads=torch.get_num_threads(), steps=steps, rows=rows)

PARTS = dict(swatches=part_swatches, unit=part_unit, cost=part_cost)

def write(json, done):
    "Write the tables to a file, if one is given"
    if json:
        with whole_file(json) as tmp: tmp.write_text(js.dumps(done, indent=1))

def read(json):
    "The tables that were written, and where they are measured now"
    done = js.loads(Path(json).read_text()) if json and Path(json).exists() else {}
    return done | dict(device='cpu', threads=torch.get_num_threads(), torch=torch.__version__, gpu='not measured')

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    fabrics:int=600, # Generated swatches
    steps:int=300, # Batches of 32 that each row is trained for
    keep:str=None, # Folder for finished folds, to go on after a stop
):
    "Compare the ways to read photo and blend"
    done = read(json)
    with tempfile.TemporaryDirectory() as folder: data = swatches(fabrics, folder)
    for name in [part] if part else PARTS:
        print(f'\n{name}', flush=True)
        done[name] = pick(PARTS, name, 'part')(data, steps, keep, done)
        write(json, done)
