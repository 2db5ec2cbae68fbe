"""What the sketch ensemble knows of real sketches: members, ensembles, drawings that nobody saw, copies, choices, and time.

    OMP_NUM_THREADS=1 python benchmarks/sketch_scores.py [--json FILE] [--part members|ensembles|unseen|copies|choices] [--keep FOLDER] [--quick]

Drawings: `pacs_sketch`, seven classes, 1,792 sketches. Before anything else a fifth is put aside, stratified, near-duplicates and mirrored drawings together (seed 0); the members are trained on the other four fifths in five folds, and everything is chosen there (which networks to take at all: after a first look at folds of all drawings).
`members`: each member by `fit_folds`: out of fold at the epoch that is best on the other folds, beside each fold's own best epoch, a logistic regression on thumbnails of 16 x 16, and the commonest class.
`ensembles`: the ways to combine them, weights chosen without the fold that is scored; agreement, and what each member adds. `sketch_ensemble` writes its folder of CSVs and pictures.
`unseen`: the fifth that was put aside: one fold model, all five together, three epochs of each, mirror images, and the ensembles. `copies`: folds that tear near-duplicates apart. `choices`: drawings sharpened and darkened or not.
Intervals (95 %) resample groups of near-duplicates. `--quick`: a few drawings, two folds, few epochs: does everything run?
"""
import os, time
from functools import cache
from pathlib import Path
import numpy as np, pandas as pd, torch
from fastcore.script import call_parse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from fabric_touch.augment import Augment, test_transform
from fabric_touch.classes import class_report, class_scores
from fabric_touch.core import cache_dir, data_dir, keep_memory, pick, seeded
from fabric_touch.encoders import image_encoder
from fabric_touch.ensembles import COMBINERS, added, agreement, ensemble_scores, fit_combiner, nested_probs
from fabric_touch.folders import alike
from fabric_touch.pixels import read_pixels
from fabric_touch.sketch import SketchModel, SketchSet, as_recipe, fit_folds, load_member, sketch_ensemble, sketch_vectors
from fabric_touch.sketches import check_sketches, read_sketches, read_test, sketch_folds
from heads import read, write

OUTER, FOLDS, BACKBONE = 5, 5, 'mobilenetv2_tf'
TF = dict(pad_type='same', data=dict(mean=(.5,)*3, std=(.5,)*3))     # how the weights want their pictures

def weights(): return str(data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth')

# name -> what `fit_folds` is told; settings were tried on the first fold alone
MEMBERS = dict(
    frozen=dict(arch=BACKBONE, size=224, recipe='features', views=0, lr=5e-3),
    tuned=dict(arch='mobilenetv2_100', **TF, size=112, recipe='scratch', epochs=6, lr=6e-4),
    resnet10t=dict(arch='resnet10t', pretrained=False, size=64, recipe='scratch', epochs=12, lr=2e-3),
    mobilenetv3=dict(arch='mobilenetv3_small_050', pretrained=False, size=64, recipe='scratch', epochs=15, lr=3e-3))

QUICK = dict(frozen=dict(size=64, epochs=3), tuned=dict(size=32, epochs=1), resnet10t=dict(size=32, epochs=1), mobilenetv3=dict(size=32, epochs=1))

class Run:
    "The drawings, what is put aside, and where things are kept"
    def __init__(self, keep, quick):
        self.keep, self.quick, self.folds = Path(keep), quick, 2 if quick else FOLDS
        self.store = self.keep/'store'
        self.all = read_sketches(data_dir('pacs_sketch'))
        if quick: self.all = self.all.take(np.sort(np.concatenate([np.flatnonzero(self.all.targets() == k)[:15] for k in range(len(self.all.classes))])))
        self.looks = read_pixels(self.all, 64, self.store).looks
        self.all_groups = alike(self.looks, mirror=True)
        self.rest, self.aside = sketch_folds(self.all, self.all_groups, OUTER, 0)[0]
        self.table, self.groups = self.all.take(self.rest), self.all_groups[self.rest]
        self.unseen = self.all.take(self.aside)
        self.classes, self.y, self.unseen_y = self.all.classes, self.table.targets(), self.unseen.targets()
    def told(self, name): return dict(pretrained=weights()) | MEMBERS[name] | (QUICK[name] if self.quick else {})
    def folder(self, name): return self.keep/'ensemble'/name
    def test(self): return read_test(self.unseen.items[['image_path']], root=data_dir('pacs_sketch'))
    @property
    def done(self): return {n: load_member(self.folder(n)) for n in MEMBERS if (self.folder(n)/'member.json').exists()}

# Scores

def records(d): return d.round(4).astype(object).where(d.notna(), None).to_dict('records')

def differences(models, y, classes, groups, versus):
    "Accuracy and log loss of models over one of them, with paired intervals"
    d = class_scores(models, y, classes, clusters=groups, versus=versus)
    return records(d[d.model.isin(list(models)) & (d.model != versus) & d.metric.isin(('accuracy', 'log_loss', 'macro_f1'))])

def logistic(c=.01): return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))

def cross(x, y, folds, make):
    "Out-of-fold probabilities of a classifier of scikit-learn"
    p = np.zeros((len(y), y.max() + 1), np.float32)
    for train, valid in folds:
        with seeded(0): p[valid] = make().fit(x[train], y[train]).predict_proba(x[valid])
    return p

def thumbnails(run, size=16):
    import cv2
    pixels = read_pixels(run.all, 64, run.store)
    return np.stack([cv2.resize(np.asarray(pixels[i])[..., 0], (size, size), interpolation=cv2.INTER_AREA).ravel()/255 for i in range(len(run.all))]).astype(np.float32)

@cache
def _model(size):
    with seeded(0): return SketchModel(image_encoder(BACKBONE, weights(), size=size), 7)

def vectors(run, augment):
    "All drawings as the frozen network sees them, kept in a file"
    file = run.keep/f'vectors_{augment}.npy'
    keep_memory()
    if not file.exists():
        size = run.told('frozen')['size']
        np.save(file, sketch_vectors(_model(size), read_pixels(run.all, size, run.store), as_recipe('features', augment=augment, views=0))[0])
    return np.load(file, allow_pickle=False)

def own_folds(run): return sketch_folds(run.table, run.groups, run.folds, 42)

# The parts

def fit(run, name):
    "A member, and the seconds it took if this run trained it whole"
    start, cpu, whole = time.perf_counter(), time.process_time(), not run.folder(name).exists()
    fresh = not (run.folder(name)/'member.json').exists()
    m = fit_folds(run.table, n_folds=run.folds, folder=run.folder(name), store=run.store, **run.told(name))
    file = run.keep/f'time_{name}.txt'
    if fresh: file.write_text(f'{time.perf_counter()-start:.1f} {time.process_time()-cpu:.1f} {int(whole)}')
    wall, cpu, whole = map(float, file.read_text().split())
    return m, dict(wall=wall, cpu=cpu, whole=bool(whole))

def member_facts(run, m, took):
    flat, h = f'{m.name}, own best epoch', m.history
    best = [int(h[h.fold == k].set_index('epoch').valid_loss.idxmin()) + 1 for k in range(run.folds)]
    return dict(told={k: v for k,v in m.card['recipe'].items()}, arch=m.card['arch']['name'], size=m.model.size, parameters=sum(p.numel() for p in (m.model.heads[0] if m.model.heads else m.model.whole.way.models[0]).parameters()),
                rows=records(class_scores({m.name: m.probs, flat: m.flattered}, m.y, m.classes, m.y, m.groups)), flattery=differences({m.name: m.probs, flat: m.flattered}, m.y, m.classes, m.groups, m.name),
                by_fold=[round(float((m.probs[m.folds == k].argmax(1) == m.y[m.folds == k]).mean()), 4) for k in range(run.folds)],
                best=best, took=took, history=records(h.groupby('epoch')[['train_loss', 'valid_loss', 'accuracy']].mean().reset_index()), report=records(class_report(m.y, m.probs, m.classes)))

def part_members(run):
    report = check_sketches(run.all, run.folds, groups=run.all_groups, looks=run.looks)
    x, folds = thumbnails(run)[run.rest], own_folds(run)
    base = {'thumbnails 16 x 16, logistic regression': cross(x, run.y, folds, logistic)}
    out = dict(drawings=len(run.all), aside=len(run.aside), train=len(run.table), folds=run.folds, classes=list(run.classes), count=run.all.counts().to_dict(), copies=int(report.copies), mirrored=int(report.mirrored),
               baseline=records(class_scores(base, run.y, run.classes, run.y, run.groups)), members={})
    for name in MEMBERS:
        m, took = fit(run, name)
        out['members'][name] = member_facts(run, m, took)
        print(name, m, took, flush=True)
        yield out

def part_ensembles(run):
    members = run.done
    if len(members) < 2: return
    one, oof = next(iter(members.values())), {n: m.probs for n,m in members.items()}
    same = dict(folds=one.folds, clusters=one.groups)
    found = {how: nested_probs(how, oof, one.y, **same) for how in COMBINERS}
    best = max(oof, key=lambda n: (oof[n].argmax(1) == one.y).mean())
    p = found['weighted']
    out = dict(scores=records(ensemble_scores(oof, one.y, one.classes, train_y=one.y, **same)), agreement={k: d.round(4).to_dict() for k,d in agreement(oof, one.y).items()}, best=best,
               added={how: records(added(oof, one.y, how, **same)) for how in ('mean', 'weighted')}, over_best=differences(found | {best: oof[best]}, one.y, one.classes, one.groups, best),
               over_honest=differences(found, one.y, one.classes, one.groups, 'best member'), weights={how: dict(zip(oof, fit_combiner(how, oof, one.y).weights.round(3).tolist())) for how in ('weighted', 'greedy')},
               report=records(class_report(one.y, p, one.classes)), confusion=pd.crosstab(one.y, p.argmax(1)).reindex(index=range(len(one.classes)), columns=range(len(one.classes)), fill_value=0).to_numpy().tolist())
    yield out
    pairs = [(a, b) for i,a in enumerate(oof) for b in list(oof)[i+1:]]
    out['pairs'] = {f'{a} + {b}': round(float(((oof[a] + oof[b]).argmax(1) == one.y).mean()), 4) for a,b in pairs}
    yield out
    if len(members) < len(MEMBERS): return
    e = sketch_ensemble(run.table, {n: run.told(n) for n in MEMBERS}, run.keep/'ensemble', run.test(), 'weighted', True, n_folds=run.folds, store=run.store)
    assert all((e.members[n].probs == oof[n]).all() for n in oof)
    out['files'] = sorted(p.name for p in (run.keep/'ensemble').iterdir() if p.is_file())
    yield out

@torch.no_grad()
def fold_probs(run, name, top=1):
    "What each fold model says of the drawings put aside, and of their mirror images (2, models, n, classes), kept in a file"
    file = run.keep/f'unseen_{name}_{top}.npy'
    if not file.exists():
        m = load_member(run.folder(name), top)
        pixels = read_pixels(run.unseen, m.model.size, run.store)
        data = SketchSet(pixels, range(len(pixels)), np.zeros(len(pixels), int), Augment(test_transform(m.card['recipe']['augment'], m.model.size)))
        said = []
        for x,_ in torch.utils.data.DataLoader(data, 64): said.append(torch.stack([m.model(v.float()/255).softmax(-1) for v in ([x, x.flip(-1)] if top == 1 else [x])]))
        np.save(file, torch.cat(said, 2).numpy())
    return np.load(file, allow_pickle=False)

def stacked(run, p):
    "Scores of models side by side (models, n, classes) as one: the mean of their scores"
    k = len(p)
    d = class_scores({'one': p.reshape(-1, p.shape[-1])}, np.tile(run.unseen_y, k), run.classes, clusters=np.tile(run.all_groups[run.aside], k))
    return d[d.model == 'one']

def easy(run):
    "How well a logistic regression on the frozen network's vectors tells each of the fifths, one of which was put aside"
    x, y, right = vectors(run, 'lines'), run.all.targets(), []
    for train, test in sketch_folds(run.all, run.all_groups, OUTER, 0):
        with seeded(0): right.append(round(float((logistic().fit(x[train], y[train]).predict(x[test]) == y[test]).mean()), 4))
    return right                                                    # the first is the one put aside

def part_unseen(run):
    members, groups, y = run.done, run.all_groups[run.aside], run.unseen_y
    out, probs = dict(n=len(y), members={}), {}
    for name,m in members.items():
        p = fold_probs(run, name)
        tta, together, thrice = p.mean(0), p[0].mean(0), fold_probs(run, name, 1 if run.quick else 3)[0]
        probs[name] = together
        ways = {'five fold models': together, 'five, and mirror images': tta.mean(0), 'three epochs of each': thrice.mean(0)}
        rows = class_scores(ways, y, run.classes, clusters=groups)
        est = class_scores({'out of fold': m.probs}, m.y, m.classes, clusters=m.groups)
        rows = pd.concat([est[est.model == 'out of fold'], stacked(run, p[0]).assign(model='one fold model'), rows[rows.model.isin(list(ways))]])
        alone = {'five': np.tile(together, (len(p[0]), 1)), 'one': p[0].reshape(-1, p.shape[-1])}
        out['members'][name] = dict(rows=records(rows), each=[round(float((q.argmax(1) == y).mean()), 4) for q in p[0]], over_five=differences(ways, y, run.classes, groups, 'five fold models'),
                                    five_over_one=differences(alone, np.tile(y, len(p[0])), run.classes, np.tile(groups, len(p[0])), 'one'))
        yield out
    if len(probs) < 2: return
    oof = {n: m.probs for n,m in members.items()}
    found = {how: fit_combiner(how, oof, run.y)(probs) for how in COMBINERS}
    best = max(oof, key=lambda n: (oof[n].argmax(1) == run.y).mean())
    out |= dict(ensembles=records(class_scores(probs | found, y, run.classes, run.y, groups)), best=best, over_best=differences(found | {best: probs[best]}, y, run.classes, groups, best),
                report=records(class_report(y, found['weighted'], run.classes)), oracle=round(float(np.any([p.argmax(1) == y for p in probs.values()], 0).mean()), 4),
                tta_ensemble=records(class_scores({f'{how}, mirror images': fit_combiner(how, oof, run.y)({n: fold_probs(run, n).mean((0, 1)) for n in members}) for how in ('mean', 'weighted')}, y, run.classes, clusters=groups)), easy=easy(run))
    yield out

def part_copies(run, seeds=3):
    "Folds that keep near-duplicates together against folds that do not, on all drawings"
    v, y, g = vectors(run, 'lines'), run.all.targets(), run.all_groups
    v = v/np.linalg.norm(v, axis=1, keepdims=True)
    times, out = pd.Series(g).map(pd.Series(g).value_counts()).to_numpy(), {}
    kinds = {'one nearest neighbour': lambda: KNeighborsClassifier(1, metric='cosine', algorithm='brute'), 'logistic regression': logistic}
    for name,make in kinds.items():
        x = v if name.startswith('one') else vectors(run, 'lines')
        kept, torn = [], []
        for s in range(seeds if not run.quick else 1):
            kept.append(cross(x, y, list(StratifiedGroupKFold(run.folds, shuffle=True, random_state=s).split(x, y, g)), make))
            torn.append(cross(x, y, list(StratifiedKFold(run.folds, shuffle=True, random_state=s).split(x, y)), make))
        k, many = len(kept), lambda a: np.tile(a, len(kept))
        models = dict(together=np.concatenate(kept), torn=np.concatenate(torn))
        right = {n: p.argmax(1) == many(y) for n,p in models.items()}
        out[name] = dict(rows=[r for r in records(class_scores(models, many(y), run.classes, clusters=many(g))) if r['model'] in models and r['metric'] == 'accuracy'], over_together=differences(models, many(y), run.classes, many(g), 'together'),
                         on_copies={n: round(float(r[many(times) > 1].mean()), 4) for n,r in right.items()} if (times > 1).any() else None)
        yield dict(groups=int((pd.Series(g).value_counts() > 1).sum()), in_groups=int((times > 1).sum()), two_classes=int((pd.Series(y).groupby(g).nunique() > 1).sum()), seeds=k, kinds=out)

def part_choices(run):
    "The frozen network on drawings as they are, and sharpened and darkened as the earlier system had them"
    y, folds = run.y, own_folds(run)
    models = {'as they are': cross(vectors(run, 'lines')[run.rest], y, folds, logistic)}
    models['sharpened and darkened'] = cross(vectors(run, 'none')[run.rest], y, folds, logistic)
    models['both, averaged'] = (models['as they are'] + models['sharpened and darkened'])/2
    yield dict(rows=records(class_scores(models, y, run.classes, clusters=run.groups)), over_plain=differences(models, y, run.classes, run.groups, 'as they are'))

PARTS = dict(members=part_members, ensembles=part_ensembles, unseen=part_unseen, copies=part_copies, choices=part_choices)

def versions():
    import fastai, platform, sklearn, timm
    return dict(python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count(), fastai=fastai.__version__, timm=timm.__version__, sklearn=sklearn.__version__)

@call_parse
def main(
    json:str=None, # Write the tables here, after each row; parts that stand there and are not asked for stay
    part:str='', # Only this part
    keep:str='', # Folder for members, vectors and answers, to go on after a stop; in the user's cache if not given
    quick:bool=False, # A few drawings, two folds, few epochs
):
    "Measure what the sketch ensemble knows"
    run = Run(keep or str(cache_dir()/('sketch_scores_quick' if quick else 'sketch_scores')), quick)
    for name in [part] if part else PARTS:
        for found in pick(PARTS, name, 'part')(run): write(json, read(json) | versions() | {name: found})
        print(name, 'done', flush=True)
