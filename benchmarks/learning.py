"""What the whole family learns: every recipe on every encoder that runs here, trained from stored embeddings of generated swatches, beside what can be known.

    OMP_NUM_THREADS=1 python benchmarks/learning.py [--json FILE] [--part recipes|cost|epoch] [--fabrics 600] [--steps 300] [--keep FOLDER]

`recipes`: out-of-fold scores of every row in the same three folds, grouped by blend; the last epoch counts. Intervals resample whole blends. Rows whose batches are dear are trained for fewer of them, which their `steps` say, and so know less than they could.
Learning rates are chosen on `swatch`, on one inner fold of the first training part with half the batches, for one row of each kind; `rates` says what was tried, and the other rows and encoders go by it.
Encoders: `swatch`, made for swatches; `mobilenetv2`, ImageNet's, pooled; `texture`, means and spreads of three of its maps; `clip_random`, CLIP's tower with random weights, which says what the shape alone gives: CLIP's own are not at hand.
ImageBind (630 million weights) is not run. `left_out` names what else is not, and why. Beside the rows: guesses that look at nothing, one person, and the ceiling, the chances that the ratings were drawn from.
`cost`: seconds to train one fold, batches times the median of five, and the parameters that learn; they are put into the rows of `recipes`. To be run on a quiet machine, with one thread.
`epoch`: one touch, vectors of 512, an epoch over 2,000 fabrics in batches of 32 on all cores (leave OMP_NUM_THREADS out); `train` is what of the MobileNet learns. `run_s` is an epoch that was run, with all that fastai does around it.
The MobileNets of the heads start at random and train whole: ImageNet's weights for them are not at hand.
"""
import tempfile, time
from functools import cache, partial
from pathlib import Path
import numpy as np, pandas as pd, torch
from fastcore.script import call_parse
from fabric_touch.blends import FIBRES
from fabric_touch.core import data_dir, has_data, pick, seeded
from fabric_touch.data import read_fabrics, touch_dls
from fabric_touch.embeds import EmbeddingStore
from fabric_touch.encoders import image_encoder
from fabric_touch.metrics import base_rate, most_frequent, one_person, score_dict, touch_scores
from fabric_touch.swatches import make_blends
from fabric_touch.touch import RECIPES, embed_fabrics, touch_learner
from heads import RATES, choose, generated, read, step_seconds, trained, write

RATES = RATES | dict(venezia=(1e-3, 3e-3)) | dict.fromkeys(('mlb_skip', 'mlb_ensemble', 'mlb_either'), RATES['mlb'])   # to choose from
FEWER = dict(venezia=150, galata=24, galata_factors=150) | dict.fromkeys((r for r in RECIPES if r.startswith('constantinople') and r != 'constantinople_levels'), 60) | dict.fromkeys(('kostantiniyye_as_ran', 'kostantiniyye_as_meant', 'kostantiniyye_scaled'), 60)   # batches, at most
FEWER_WIDE = dict.fromkeys(('venezia', 'kostantiniyye_224'), 100)   # the same, where vectors are longer than swatch's
MOST = 100e6   # weights of a bilinear form

def batches(row, width, steps): return min(steps, FEWER.get(row, steps), FEWER_WIDE.get(row, steps) if width > 128 else steps)

def kind(row):
    "The row whose learning rate a row goes by"
    if row.startswith('constantinople'): return 'constantinople_levels'
    if row.endswith('_factors'): return 'kostantiniyye_factors'
    return 'kostantiniyye' if RECIPES[row].fusion.startswith('outer_attention') else row

def encoders():
    "Name -> image encoder, and the reason why others are not there"
    net = partial(image_encoder, 'mobilenetv2_100', data=dict(img_size=224, mean=(.5,)*3, std=(.5,)*3, crop_pct=1.), pad_type='same')
    with seeded(0): found = dict(swatch=image_encoder('swatch'), clip_random=image_encoder('clip', pretrained=False))
    if not has_data('weights'): return found, dict.fromkeys(('mobilenetv2', 'texture'), 'its weights are not on this machine')
    file = data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth'
    return found | dict(mobilenetv2=net(pretrained=file), texture=net(pretrained=file, out_indices=(2, 3, 4))), {}

@cache
def made(n, keep):
    "Generated fabrics, the chances behind their ratings, their vectors by each encoder, and the encoders left out"
    found, left_out = encoders()
    with tempfile.TemporaryDirectory() as folder:
        fabrics, truth = generated(n, folder)
        store = lambda e: EmbeddingStore(Path(keep)/'embeddings', e.id, e.n_out) if keep else None
        return fabrics, truth, {name: embed_fabrics(fabrics, e, store(e)) for name,e in found.items()}, left_out

def why_not(row, encoder, width):
    "Why a row is not run on an encoder, or nothing"
    if encoder == 'swatch': return
    fusion, n = RECIPES[row].fusion, width*512*512
    if fusion == 'blend': return 'sees no photo, so it is the same on every encoder'
    if fusion.startswith('outer_attention') and fusion != 'outer_attention_224': return f'draws a map of {width} x 512, which is dear to train; shown on swatch'
    if RECIPES[row].each: return 'the row that it repeats for each touch is there, at a quarter of the cost; shown on swatch'
    if row.startswith('constantinople') and n > MOST: return f'{n/1e6:.0f} million weights'

def scores(name, model, fabrics):
    "Scores of the mean touch, [value, low, high], and Spearman of each touch"
    tree = score_dict(touch_scores({name: model}, fabrics.counts(), groups=fabrics.groups()))
    mean = tree.pop('mean')[name]
    return {m: [mean[m], *mean[f'{m}_interval']] for m in ('rps', 'spearman', 'qwk')} | dict(spearman_of={t: m[name]['spearman'] for t,m in tree.items()})

def beside(fabrics, truth, folds):
    "Scores of what needs no training"
    counts, guesses = fabrics.counts(), dict(base_rate=base_rate, most_frequent=most_frequent)
    models = {name: np.zeros(counts.shape) for name in guesses} | dict(one_person=one_person(fabrics.ratings()), ceiling=truth)
    for name,guess in guesses.items():
        for train,valid in folds: models[name][valid] = guess(counts[train], len(valid))
    return {name: scores(name, m, fabrics) for name,m in models.items()}

def row_scores(fabrics, vectors, row, folds, keep, lr, steps):
    "Scores of a row, trained"
    return dict(steps=steps, lr=lr) | scores(row, trained(fabrics, vectors, row, folds, keep, steps=steps, lr=lr), fabrics)

def rate_of(row, fabrics, vectors, folds, steps, keep):
    "The learning rate of a kind of rows, and how it was chosen"
    steps = batches(row, 128, steps)//2
    return choose(fabrics, vectors, row, folds[0][0], steps, keep, RATES[row]) | dict(steps=steps)

def part_recipes(n, steps, keep, done):
    fabrics, truth, vectors, absent = made(n, keep)
    folds, cost = fabrics.folds(3), {(r['encoder'], r['recipe'], r['steps']): r for r in done.get('recipes', {}).get('rows', [])}
    table = dict(fabrics=n, blends=len(set(fabrics.groups())), threads=torch.get_num_threads(), encoders={e: v.shape[1] for e,v in vectors.items()} | absent, left_out=[], rates={}, beside=beside(fabrics, truth, folds), rows=[])
    for encoder,v in vectors.items():
        for row in RECIPES:
            if why := why_not(row, encoder, v.shape[1]): table['left_out'].append(dict(encoder=encoder, recipe=row, why=why)); continue
            k, own = kind(row), keep and Path(keep)/encoder
            if k not in table['rates']: table['rates'][k] = rate_of(k, fabrics, v, folds, steps, own)
            r = dict(encoder=encoder, width=v.shape[1], recipe=row) | row_scores(fabrics, v, row, folds, own, table['rates'][k]['lr'], batches(row, v.shape[1], steps))
            table['rows'].append(r | {c: x for c,x in cost.get((encoder, row, r['steps']), {}).items() if c in ('parameters', 'train_s')})
            print(f'{encoder:12s} {row:25s} {r["steps"]:4} batches   rps {r["rps"][0]:.3f}   spearman {r["spearman"][0]:.3f}   qwk {r["qwk"][0]:.3f}', flush=True)
            yield table

def part_cost(n, steps, keep, done):
    for r in done['recipes']['rows']:
        step, r['parameters'] = step_seconds(r['recipe'], r['width'])
        r['train_s'] = step*r['steps']
        print(f'{r["encoder"]:12s} {r["recipe"]:25s} {r["parameters"]:12,} parameters {r["train_s"]:7.1f} s a fold', flush=True)
    yield dict(threads=torch.get_num_threads(), batch=32)

def run_epoch(row, n, **head_args):
    "Seconds of an epoch over `n` fabrics through `touch_learner`"
    rng = np.random.default_rng(0)
    items = pd.DataFrame(make_blends(n, seed=0), columns=list(FIBRES)).assign(fabric=[str(i) for i in range(n)], softness=rng.integers(1, 6, n))
    dls = touch_dls(read_fabrics(items, ['softness'], check=False), (range(n), range(32)), rng.normal(size=(n, 512)), bs=32)
    learn = touch_learner(dls, row, 512, head_args=head_args, keep_best=False)
    start = time.perf_counter()
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    return time.perf_counter() - start

def part_epoch(n, steps, keep, done):
    table = dict(threads=torch.get_num_threads(), fabrics=2000, batch=32, touches=1, rows=[])
    for row in ('kostantiniyye', 'kostantiniyye_scaled', 'kostantiniyye_224', 'kostantiniyye_factors', 'mlb', 'mlb_ensemble'):
        for train in ('last', 'all') if RECIPES[row].head == 'mobilenet' else (None,):
            how = dict(train=train) if train else {}
            step, parameters = step_seconds(row, 512, targets='softness', **how)
            table['rows'].append(r := dict(recipe=row, train=train, parameters=parameters, step_s=step, epoch_s=step*2000/32))
            if row in ('kostantiniyye_224', 'kostantiniyye_factors'): r['run_s'] = run_epoch(row, 2000, **how)
            print(r, flush=True)
            yield table

PARTS = dict(recipes=part_recipes, cost=part_cost, epoch=part_epoch)

@call_parse
def main(
    json:str=None, # Write the tables here, after each row; parts that stand there and are not asked for stay
    part:str='', # Only this part
    fabrics:int=600, # Generated swatches
    steps:int=300, # Batches of 32 that a row is trained for, unless they are dear
    keep:str=None, # Folder for embeddings and finished folds, to go on after a stop
):
    "Train the family and write its table"
    done = read(json)
    for name in [part] if part else PARTS:
        print(f'\n{name}', flush=True)
        for done[name] in pick(PARTS, name, 'part')(fabrics, steps, keep, done): write(json, done)
