"""What the hybrid classifier knows of real photos: an honest score, a learning curve, choices, fine-tuning, and time.

    OMP_NUM_THREADS=1 python benchmarks/hybrid_scores.py [--json FILE] [--part unseen|curve|choices|fine_tune|time] [--keep FOLDER]

Photos: `clothing_small`, ten classes, 1,435 photos. Backbone: `mobilenetv2_tf` with ImageNet's weights, frozen; its vectors are stored and computed once.
Five outer folds, stratified, near-duplicates together, seed 0. In each, the training part goes through what `train` does: its own split of 80 to 20, the best epoch by the loss of those 20, patience. The outer part chooses nothing and is all that is scored.
`unseen`: that, for five seeds of split and training, and what the scores of the inner 20 are beside it. `curve`: the same on photos drawn from the training part. `choices`: one thing changed at a time, two seeds, paired photo by photo and seed by seed with the defaults.
`fine_tune`: the first outer fold, `train` with and without `fine_tune`. `time`: wall time of the commands, by themselves.
Intervals (95 %) resample photos, copies of one photo in several seeds or draws together.
"""
import math, os, resource, shutil, subprocess, sys, tempfile, time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import ImageOps
from torch import nn
from fastai.vision.all import Callback, CancelFitException, MixUp
from fastcore.script import call_parse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from fabric_touch.classes import chance_error, class_report, class_scores
from fabric_touch.core import cache_dir, data_dir, pick, seeded
from fabric_touch.embeds import embed_all
from fabric_touch.encoders import image_encoder
from fabric_touch.folders import split_classes
from fabric_touch.heads import ProbeHead
from fabric_touch.hybrid import ClassLoss, HybridModel, PhotoView, TrainOptions, _learner, _train_steps, class_probs, hybrid_dls, load_hybrid, read_hybrid, train
from fabric_touch.train import history
from heads import read, write

BACKBONE, SEEDS, OUTER = 'mobilenetv2_tf', range(5), 5
SIZES, DRAWS, STEPS = (5, 10, 20, 40, 80, 120), 3, 350          # photos per class; draws of each; steps that ten epochs of all photos have
OPTIONS = TrainOptions('', mode='mobilenet', mobilenet=BACKBONE)

# Photos and vectors

def weights(): return data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth'

@cache
def backbone(): return image_encoder(BACKBONE, weights())

class Mirrored(PhotoView):
    "The photo in a mirror"
    def __init__(self, encoder, name):
        super().__init__(encoder, name)
        self.id += ' mirrored'
    def prepare(self, img): return self.encoder.prepare(ImageOps.mirror(img))

@cache
def photos(keep, views=0): return read_hybrid(data_dir('clothing_small'), dict(mobilenet=backbone()), Path(keep)/'store', views=views)

@cache
def mirrored(keep): return embed_all([Mirrored(backbone(), backbone().id)], list(photos(keep).table.items.image), Path(keep)/'store', 32).vectors[0]

def read_as(size, mode, maps):
    "The backbone with another way to read a photo"
    look = dict(img_size=size, mean=(.5,)*3, std=(.5,)*3, crop_pct=1. if mode == 'squash' else .875, crop_mode=mode)
    return image_encoder('mobilenetv2_100', weights(), pad_type='same', data=look, **(dict(out_indices=(2, 3, 4), pooled=True) if maps else {}))

@cache
def other_vectors(keep, size, mode, maps):
    e = read_as(size, mode, maps)
    return embed_all([PhotoView(e, e.id)], list(photos(keep).table.items.image), Path(keep)/'store', 32).vectors[0]

@cache
def outer_folds(keep):
    d = photos(keep)
    return list(StratifiedGroupKFold(OUTER, shuffle=True, random_state=0).split(d.groups, d.table.targets(), d.groups))

def part(data, rows, seed, whole=False):
    "Some of the photos, split as `train` splits them; with `whole` all train"
    table, groups = data.table.take(rows), data.groups[rows]
    fold = split_classes(table.targets(), groups, seed=seed, names=table.classes)
    return replace(data, table=table, vectors=data.vectors[:, rows], groups=groups, fold=(np.arange(len(rows)), fold[1]) if whole else fold, digests=[data.digests[i] for i in rows], looks=data.looks[rows])

# Training

class Stored(nn.Module):
    "Stands for the backbone of stored vectors"
    def __init__(self, n_out):
        super().__init__()
        self.n_out = n_out

class StopAt(Callback):
    "Stop after so many epochs of a longer schedule"
    order = 75
    def __init__(self, n): self.n = n
    def after_epoch(self):
        if self.epoch + 1 == self.n: raise CancelFitException

def fresh(data, o, head=None):
    with seeded(o.seed): model = HybridModel(dict(mobilenet=Stored(data.vectors.shape[2])), data.table.classes, 'mobilenet')
    if head: model.head = head(model.n_in, len(model.classes))
    return model

def one_cycle(learn, o): learn.fit_one_cycle(o.epochs, o.lr)
def constant(learn, o): learn.fit(o.epochs, o.lr)

def fit(data, o, head=None, schedule=one_cycle, loss=None, **kwargs):
    "(model, history) as `train` makes them, or with one thing changed"
    model = fresh(data, o, head)
    with seeded(o.seed):
        learn = _learner(hybrid_dls(data, o.batch_size), model, patience=o.patience, **kwargs)
        if loss: learn.loss_func = loss
        with learn.no_bar(), learn.no_logging(): schedule(learn, o)
    return model, history(learn)

def check_same(data, o):
    "Is `fit` what `train` does?"
    model = fresh(data, o)
    with tempfile.TemporaryDirectory() as tmp: rows, _ = _train_steps(model, data, o, Path(tmp))
    mine, mine_rows = fit(data, o)
    assert all(torch.equal(a, b) for a,b in zip(model.state_dict().values(), mine.state_dict().values())) and rows.valid_loss.equals(mine_rows.valid_loss)

def answer(data, train_rows, test_rows, o, whole=False, epochs=None, flip=None, **kwargs):
    "(probabilities of the test rows, facts of the training)"
    mine, start = part(data, train_rows, o.seed, whole), time.process_time()
    model, rows = fit(mine, o, **kwargs)
    seconds, best = time.process_time() - start, rows.valid_loss.argmin()
    p = class_probs(model, data.vectors[0, test_rows])
    if flip is not None: p = (p + class_probs(model, flip[test_rows]))/2
    return p, dict(epochs=len(rows), best=best + 1, valid=rows.accuracy[best], valid_last=rows.accuracy.iloc[-1], valid_loss=rows.valid_loss[best], n_valid=len(mine.fold[1]), seconds=seconds,
                   valid_rows=train_rows[mine.fold[1]], valid_right=class_probs(model, mine.vectors[0, mine.fold[1]]).argmax(1) == mine.table.targets()[mine.fold[1]])

def kept(keep, name, make):
    "What `make` gives for each outer fold, kept in a file: (out-of-fold probabilities, list of facts)"
    file = Path(keep)/'answers'/f'{name}.npz'
    if not file.exists():
        d, found = photos(keep), [make(*fold) for fold in outer_folds(keep)]
        p = np.zeros((len(d), len(d.table.classes)), np.float32)
        for (_,test),(q,_) in zip(outer_folds(keep), found): p[test] = q
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(file, p=p, **{f'{k} {i}': v for i,(_,facts) in enumerate(found) for k,v in facts.items()})
    z = np.load(file)
    return z['p'], [{k.rsplit(' ', 1)[0]: z[k] if z[k].ndim else z[k].item() for k in z.files if k.endswith(f' {i}')} for i in range(OUTER)]

def oof(keep, name, seed=0, data=None, **kwargs):
    "Out-of-fold answers of one way to train"
    options = {k: kwargs.pop(k) for k in ('epochs', 'lr', 'batch_size', 'patience') if k in kwargs}
    o, data = replace(OPTIONS, seed=seed, **options), data or photos(keep)
    return kept(keep, f'{name}, seed {seed}', lambda a,b: answer(data, a, b, o, **kwargs))

# Scores

def records(d): return d.round(4).astype(object).where(d.notna(), None).to_dict('records')

def scores(models, data, train_y=None, versus=None, times=1):
    "Scores of models, or their differences to one; with `times` seeds or draws stacked"
    y, groups = np.tile(data.table.targets(), times), np.tile(data.groups, times)
    d = class_scores(models, y, data.table.classes, train_y, groups, versus)
    return records(d[d.model != 'chance'] if versus else d)

def flattery(data, found, p, n_boot=1000):
    "Validation accuracy against outer accuracy of the same models; photos resampled"
    right, times, own = np.zeros(len(data)), np.zeros(len(data)), sum((q.argmax(1) == data.table.targets()).astype(float) for q in p)
    for facts in found: np.add.at(right, facts['valid_rows'], facts['valid_right']); np.add.at(times, facts['valid_rows'], 1)
    w = np.vstack([np.ones(len(data)), np.random.default_rng(0).multinomial(len(data), np.full(len(data), 1/len(data)), n_boot)])
    draws = w @ right/(w @ times), w @ own/(w.sum(1)*len(p))
    said = lambda v: dict(value=v[0], lo=np.quantile(v[1:], .025), hi=np.quantile(v[1:], .975))
    return {k: {a: round(float(b), 4) for a,b in said(v).items()} for k,v in dict(validation=draws[0], outer=draws[1], difference=draws[0]-draws[1]).items()}

# The parts

def part_unseen(keep):
    d, folds = photos(keep), outer_folds(keep)
    check_same(part(d, folds[0][0], 0), OPTIONS)
    y, classes, ps, found = d.table.targets(), d.table.classes, [], []
    out = dict(photos=len(d), classes=list(classes), count=d.table.counts().to_dict(), alike=int(len(d) - len({*d.groups})), n_train=[len(a) for a,_ in folds], n_in=d.vectors.shape[2], options=dict(epochs=OPTIONS.epochs, batch_size=OPTIONS.batch_size, lr=OPTIONS.lr, patience=OPTIONS.patience))
    for seed in SEEDS:
        p, facts = oof(keep, 'defaults', seed)
        ps.append(p); found += facts
        out |= dict(seeds=[round(float((q.argmax(1) == y).mean()), 4) for q in ps], best=[f['best'] for f in found], epochs=[f['epochs'] for f in found], flattery=flattery(d, found, ps),
                    valid_last=round(float(np.mean([f['valid_last'] for f in found])), 4), valid_best=round(float(np.mean([f['valid'] for f in found])), 4), fit_seconds=round(float(np.median([f['seconds'] for f in found])), 2))
        yield out
    middle = int(np.argsort(out['seeds'])[len(ps)//2])                              # of the seeds, for the pictures
    p = ps[middle]
    out |= dict(rows=scores({'mobilenet': np.concatenate(ps)}, d, y[folds[0][0]], times=len(ps)), middle=middle, probs=[' '.join(f'{v:.4f}' for v in row) for row in p], report=records(class_report(y, p, classes)), chance_error=round(chance_error(p), 4))
    yield out
    refit = {'defaults': np.concatenate(ps[:2])}
    best = [[f['best'] for f in oof(keep, 'defaults', s)[1]] for s in (0, 1)]
    def again(stop, s):
        it = iter(best[s])
        return oof(keep, f'refit {stop}', s, whole=True, patience=0, keep_best=False) if stop == 'to the end' else kept(keep, f'refit {stop}, seed {s}', lambda a,b: answer(d, a, b, replace(OPTIONS, seed=s, patience=0), whole=True, keep_best=False, cbs=[StopAt(next(it))]))
    for stop in ('to the chosen epoch', 'to the end'): refit[f'all photos, {stop}'] = np.concatenate([again(stop, s)[0] for s in (0, 1)])
    out['refit'] = dict(over_defaults=scores(refit, d, versus='defaults', times=2))
    mean = {'defaults': np.concatenate(ps), 'five models, averaged': np.tile(np.mean(ps, 0), (len(ps), 1))}
    out['five'] = dict(over_defaults=scores(mean, d, versus='defaults', times=len(ps)))
    yield out

def drawn(data, rows, n, seed):
    "At most n photos of each class among the rows"
    y, rng = data.table.targets()[rows], np.random.default_rng(seed)
    return np.sort(np.concatenate([rows[rng.permutation(np.flatnonzero(y == k))[:n]] for k in range(len(data.table.classes))]))

def logistic(x, y, c):
    with seeded(0): return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)).fit(x, y)

def curve_answer(data, n, draw, way, train_rows, test_rows):
    rows, y = drawn(data, train_rows, n, draw), data.table.targets()
    if way == 'logistic regression': return logistic(data.vectors[0, rows].numpy(), y[rows], .01).predict_proba(data.vectors[0, test_rows].numpy()).astype(np.float32), {}
    o = replace(OPTIONS, seed=draw)
    whole = way == 'steps, all photos'
    if way != 'defaults': o = replace(o, epochs=max(o.epochs, math.ceil(STEPS/max(1, (len(rows) if whole else int(.8*len(rows)))//o.batch_size))), patience=0)
    return answer(data, rows, test_rows, o, whole, **dict(keep_best=False) if whole else {})

def part_curve(keep):
    d, rows, epochs = photos(keep), [], {}
    for way,most in {'defaults': 120, 'logistic regression': 120, 'steps': 80, 'steps, all photos': 20}.items():
        for n in [n for n in SIZES if n <= most]:
            found = [oof(keep, 'defaults', k) if (way, n) == ('defaults', SIZES[-1]) else kept(keep, f'curve {way} {n}, draw {k}', partial(curve_answer, d, n, k, way)) for k in range(DRAWS)]
            rows += [r | dict(photos=n, model=way) for r in scores({way: np.concatenate([p for p,_ in found])}, d, times=DRAWS) if r['model'] == way]
            epochs[f'{way} {n}'] = sorted({f['epochs'] for _,facts in found for f in facts if f})
            yield dict(rows=rows, sizes=list(SIZES), draws=DRAWS, epochs=epochs, steps=STEPS)

def plain(keep, c, train_rows, test_rows):
    d = photos(keep)
    return logistic(d.vectors[0, train_rows].numpy(), d.table.targets()[train_rows], c).predict_proba(d.vectors[0, test_rows].numpy()).astype(np.float32), {}

def readings(keep):
    "Other ways to read a photo: name -> vectors"
    for size,mode,maps in ((224, 'center', False), (224, 'squash', False), (224, 'squash', True)):
        yield f"{size} {'squeezed' if mode == 'squash' else 'middle'}, {'pooled and texture' if maps else 'pooled'}", partial(other_vectors, keep, size, mode, maps)
    yield '320 squeezed, pooled', lambda: photos(keep).vectors[0][:, :1280]
    yield '320 squeezed, texture', lambda: photos(keep).vectors[0][:, 1280:]

def ways(keep):
    "Name -> (group, function of a seed that gives out-of-fold answers)"
    one = lambda name, **how: partial(oof, keep, name, **how)
    yield 'probe head', 'head', one('probe head', head=ProbeHead)
    for c in (.01, 1): yield f'logistic regression, C {c}', 'head', lambda seed, c=c: kept(keep, f'logistic {c}', partial(plain, keep, c))
    yield 'last epoch', 'epochs', one('last epoch', keep_best=False, patience=0)
    for n in (5, 20, 40): yield f'{n} epochs', 'epochs', one(f'{n} epochs', epochs=n)
    yield 'constant rate', 'rate', one('constant rate', schedule=constant)
    for lr in (3e-4, 3e-3): yield f'rate {lr:g}', 'rate', one(f'rate {lr:g}', lr=lr)
    for bs in (64, 128): yield f'batch {bs}', 'batch', one(f'batch {bs}', batch_size=bs)
    yield 'label smoothing .1', 'loss', one('label smoothing', loss=ClassLoss(label_smoothing=.1))
    yield 'mixup of vectors', 'loss', lambda seed: oof(keep, 'mixup', seed, cbs=[MixUp(.4)])
    yield 'weight decay .05', 'loss', one('weight decay', wd=.05)
    for name,v in readings(keep): yield name, 'reading', lambda seed, name=name, v=v: oof(keep, name, seed, data=replace(photos(keep), vectors=v()[None]))
    yield 'mean over mirror', 'mirror', lambda seed: oof(keep, 'mirror', seed, flip=mirrored(keep))
    for n in (1, 2): yield f'{n} view{"s"*(n > 1)}', 'views', lambda seed, n=n: oof(keep, f'{n} views', seed, data=photos(keep, n))

def part_choices(keep, seeds=2):
    d, models = photos(keep), {}
    base = np.concatenate([oof(keep, 'defaults', s)[0] for s in range(seeds)])
    for name,group,make in ways(keep):
        found = [make(seed=s)[0] for s in range(seeds)]
        both = {'defaults': base, name: np.concatenate(found)}
        models[name] = dict(group=group, accuracy=[round(float((p.argmax(1) == d.table.targets()).mean()), 4) for p in found],
                            over_defaults=[r for r in scores(both, d, versus='defaults', times=seeds) if r['model'] == name])
        print(name, *(f"{r['metric']} {r['value']} [{r['lo']}, {r['hi']}]" for r in models[name]['over_defaults'] if r['metric'] in ('accuracy', 'log_loss')), flush=True)
        yield dict(ways=models, seeds=seeds)

def linked(data, rows, folder):
    "Links to some photos, a folder per class"
    for r in data.table.items.iloc[rows].itertuples():
        (folder/r.label).mkdir(parents=True, exist_ok=True)
        (folder/r.label/Path(r.image).name).symlink_to(r.image)
    return folder

def tuned_scores(models, d, test):
    score = partial(class_scores, models, d.table.targets()[test], d.table.classes, clusters=d.groups[test])
    return dict(rows=records(score()), over_head=records(score(versus='head')), load=round(os.getloadavg()[0], 1))

def part_fine_tune(keep, epochs=2):
    d, (train_rows, test) = photos(keep), outer_folds(keep)[0]
    with tempfile.TemporaryDirectory() as tmp:
        tmp, out, models = Path(tmp), dict(ft_epochs=epochs, n_train=len(train_rows), n_test=len(test), seconds={}, history={}), {}
        folder = linked(d, train_rows, tmp/'photos')
        for name,how in dict(head={}, fine_tune=dict(fine_tune=True, ft_epochs=epochs)).items():
            start = time.perf_counter()
            done = train(folder, mode='mobilenet', mobilenet=BACKBONE, mobilenet_weights=str(weights()), store=str(Path(keep)/'store'), output_dir=str(tmp/name), **how)
            out['seconds'][name] = round(time.perf_counter() - start, 1)
            out['history'][name] = records(done.history)
            models[name] = class_probs(done.model, list(d.table.items.image.iloc[test]) if how else d.vectors[0, test])
            if how: models['fine_tune, last epoch'] = class_probs(load_hybrid(tmp/name/'checkpoint_mobilenet_last'), list(d.table.items.image.iloc[test]))
            yield out | tuned_scores(models, d, test)

def part_time(keep):
    "The commands as they are typed, on an empty store and a full one: wall time, and processor time of all cores"
    tmp, tools, env = Path(tempfile.mkdtemp()), Path(sys.executable).parent, {k: v for k,v in os.environ.items() if k != 'OMP_NUM_THREADS'}
    folder, out = str(data_dir('clothing_small')), dict(load=os.getloadavg()[0], cores=os.cpu_count(), seconds={}, cpu={})
    def spent(): return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    def run(name, tool, *args):
        start, cpu = time.perf_counter(), spent()
        subprocess.run([tools/tool, *args], check=True, env=env, stdout=subprocess.DEVNULL)
        out['seconds'][name], out['cpu'][name] = round(time.perf_counter() - start, 1), round(spent() - cpu, 1)
        print(name, out['seconds'][name], out['cpu'][name], flush=True)
        return out
    learn = ('--data_dir', folder, '--mode', 'mobilenet', '--mobilenet', BACKBONE, '--mobilenet_weights', str(weights()), '--store', str(tmp/'store'))
    best = ('--checkpoint', str(tmp/'out'/'checkpoint_mobilenet_best'))
    try:
        yield run('ft_train, empty store', 'ft_train', *learn, '--output_dir', str(tmp/'out'))
        yield run('ft_train, full store', 'ft_train', *learn, '--output_dir', str(tmp/'again'))
        yield run('ft_evaluate', 'ft_evaluate', '--data_dir', folder, *best, '--store', str(tmp/'store'), '--output_dir', str(tmp/'report'))
        yield run('ft_sort', 'ft_sort', '--input_dir', folder, '--output_dir', str(tmp/'sorted'), *best)
        yield run('ft_sort, again', 'ft_sort', '--input_dir', folder, '--output_dir', str(tmp/'sorted'), *best)
    finally: shutil.rmtree(tmp)

PARTS = dict(unseen=part_unseen, curve=part_curve, choices=part_choices, fine_tune=part_fine_tune, time=part_time)

def versions():
    import fastai, platform, sklearn, timm
    return dict(python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count(), fastai=fastai.__version__, timm=timm.__version__, sklearn=sklearn.__version__)

@call_parse
def main(
    json:str=None, # Write the tables here, after each row; parts that stand there and are not asked for stay
    part:str='', # Only this part
    keep:str='', # Folder for vectors and answers, to go on after a stop; in the user's cache if not given
):
    "Measure what the hybrid classifier knows"
    keep = keep or str(cache_dir()/'hybrid_scores')
    Path(keep).mkdir(parents=True, exist_ok=True)
    for name in [part] if part else PARTS:
        for found in pick(PARTS, name, 'part')(keep): write(json, read(json) | versions() | {name: found})
        print(name, 'done', flush=True)
