"""What the attribute models know: real photos, one network or several, whole photos or cut-outs, losses and schedules, and colour.

    OMP_NUM_THREADS=1 python benchmarks/attribute_scores.py [--json FILE] [--part real|one_or_three|trained|cuts|losses|colour] [--photos 1200] [--keep FOLDER]

Real photos: the 1,000 of DeepFashion's fine form (`deepfashion_fine`), 26 attributes in six groups that exclude. Generated photos: `make_deepfashion`, four to a product, seed 8, 224 pixels.
Features: ImageNet's MobileNetV2, frozen; its own vector beside means and spreads of three maps; photos squeezed to a square of 320 pixels, generated ones of 224. Heads are trained on stored vectors.
Five folds that keep products together (real photos that look alike count as one product), shuffled by seed 0. Every score is out of fold. Intervals (95 %) and paired differences (`versus`) resample whole products; where several seeds are run, their answers are stacked and the products resampled.
`real`: every way to read the photos, beside majority and chance. `nested`: head and learning rate chosen anew for each fold, on a third of its training part.
`one_or_three`: hidden layers on the same vectors, one for all groups or one for each group (or pair), of equal multiply-adds in all. `trained`: the whole network trained, one or three, of equal photos seen or of equal multiply-adds per answer; `multiply_adds` are of the training, a step taken as three forward passes; of runs with one seed, that one counts twice.
`cuts`: trained on one kind of picture and asked about another. `losses`: three losses and two schedules, the learning rate of each chosen by mAP on a validation part; thresholds tuned there too. `colour`: names of dyes without training and with it.
"""
import os, time
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from torch import nn
from fastai.optimizer import SGD
from fastcore.script import call_parse
from scipy.sparse.csgraph import connected_components
from fabric_touch.attributes import attribute_dls, attribute_folds, attribute_learner, attribute_model, attribute_oof, attribute_probs, chosen, embed_photos, one_of
from fabric_touch.colours import COLOUR_NAMES, main_colour, name_colour, oklab
from fabric_touch.core import cache_dir, data_dir, pick, seeded
from fabric_touch.deepfashion import FINE, AttributeTable, make_deepfashion, read_deepfashion, read_fine
from fabric_touch.embeds import EmbeddingStore, embed
from fabric_touch.encoders import image_encoder
from fabric_touch.metrics import bootstrap
from fabric_touch.multilabel import attribute_scores, exclusive_scores, group_recall, summary, tune_thresholds
from fabric_touch.train import fit_cosine
from heads import read, write

ALIKE, FEW = .95, 15                                    # cosine of two vectors from which photos are one product; photos below which an attribute is too rare
HEADS = dict(linear=(1e-4, 3e-4, 1e-3), probe=(1e-4, 3e-4, 1e-3), mlp=(3e-4, 1e-3, 3e-3))   # learning rates to choose from
PAIRS = [('pattern', 'fabric'), ('sleeve', 'length'), ('neckline', 'fit')]
MATTER = [('texture',), ('fabric',), ('part',)]         # the coarse groups that matter most to those who asked

# Photos and vectors

def encoder(size=320, **kwargs):
    "ImageNet's MobileNetV2"
    look = dict(img_size=size, mean=(.5,)*3, std=(.5,)*3, crop_pct=1., crop_mode='squash')
    return image_encoder('mobilenetv2_100', data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth', pad_type='same', data=look | kwargs.pop('data', {}), **kwargs)

reader = partial(encoder, out_indices=(2, 3, 4), pooled=True)
POOLED = 1280                                           # of a reader's vector, the first numbers are the network's own

def store(keep, e): return EmbeddingStore(Path(keep)/'store', e.id, e.n_out)

@cache
def real(keep):
    "(real photos, their vectors, cosine of each with its nearest)"
    e, table = reader(), read_fine(data_dir('deepfashion_fine'))
    v = embed_photos(table, e, store=store(keep, e))
    u = v[:, :POOLED]/np.linalg.norm(v[:, :POOLED], axis=1, keepdims=True)
    near = u @ u.T - 2*np.eye(len(u))
    return replace(table, items=table.items.assign(product=connected_components(near > ALIKE)[1])), v, near.max(1)

@cache
def generated(n, fine, keep):
    "Generated photos, made once"
    folder = Path(keep)/f'generated_{"fine" if fine else "coarse"}_{n}'
    return (read_fine if fine else read_deepfashion)(folder) if folder.exists() else make_deepfashion(folder, n, 8, 224, fine)

@cache
def generated_vectors(n, fine, keep, cut='whole'):
    e = reader(224)
    return embed_photos(generated(n, fine, keep), e, cut, Path(keep)/'small', store(keep, e))

# Training

class Stored(nn.Module):
    "Stands for the encoder of stored vectors"
    size, crop, crop_mode = 0, 1., ''
    def __init__(self, v):
        super().__init__()
        self.n_out = v.shape[1]

def fit_head(learn, lr=3e-4, epochs=20): learn.fit_one_cycle(epochs, lr)

def answers(table, v, fold, head='probe', loss='bce', fit=fit_head, seed=0, opt=None, **kwargs):
    "Probabilities of the second rows of a fold, from a head trained on the first"
    with seeded(seed):
        model = attribute_model(table.take(fold[0]), Stored(v), head_name=head, **kwargs)
        learn = attribute_learner(attribute_dls(table, fold=fold, vectors=v, bs=64), model, loss, keep_best=False, metrics=[], **opt or {})
        with learn.no_bar(), learn.no_logging(): fit(learn)
        return attribute_probs(learn.model, v[fold[1]])

def by_fold(n, k, folds, answer):
    "Out-of-fold answers (n, k)"
    p = np.zeros((n, k), np.float32)
    for fold in folds: p[fold[1]] = answer(fold)
    return p

def oof(table, v, folds, lr=3e-4, epochs=20, **kwargs):
    return by_fold(len(table), len(table.groups), folds, lambda fold: answers(table, v, fold, fit=partial(fit_head, lr=lr, epochs=epochs), **kwargs))

# Scores

def records(d): return d.round(4).astype(object).where(d.notna(), None).to_dict('records')

def scores(models, table, train_y=None, versus=None, times=1, each=False):
    "Scores of models over all groups, and of `each`; or their differences to one of them; with `times` seeds stacked"
    y, clusters = np.tile(table.targets(), (times, 1)), np.tile(table.items['product'], times)
    how = dict(train_y=train_y, clusters=clusters, versus=versus)
    d = exclusive_scores(models, y, table.groups, table.exclusive, **how) if table.exclusive else summary(models, y, **how)
    return records(d.loc[each | d.group.isin(('mean', 'all', 'colour')), ['group', 'model', 'metric', 'value', 'lo', 'hi', 'n']])

def right(p, y, one): return np.mean([p[:, c].argmax(1) == y[:, c].argmax(1) for c in one])

def value(rows, model, metric, group='mean'): return next(r['value'] for r in rows if (r['group'], r['model'], r['metric']) == (group, model, metric))

# Real photos

def inner_best(table, v, train, heads):
    "(head, learning rate) of the highest mean accuracy on a third of a training part, and all that was tried"
    part, w, one = table.take(train), v[train], one_of(table.groups, table.exclusive)
    inner = attribute_folds(part, 3)[0]
    tried = {(h, lr): right(answers(part, w, inner, h, fit=partial(fit_head, lr=lr)), part.targets()[inner[1]], one) for h in heads for lr in HEADS[h]}
    return max(tried, key=tried.get), {f'{h} {lr:g}': float(a) for (h, lr),a in tried.items()}

def nested(table, v, folds):
    "(row -> out-of-fold answers with all choices made inside, what was chosen)"
    p, log = {f'{h}, rate chosen inside': np.zeros((len(table), len(table.groups)), np.float32) for h in HEADS} | {'nested: head and rate': np.zeros((len(table), len(table.groups)), np.float32)}, []
    for train, test in folds:
        best, tried = inner_best(table, v, train, HEADS)
        rates = {h: max(HEADS[h], key=lambda lr: tried[f'{h} {lr:g}']) for h in HEADS}
        found = {h: answers(table, v, (train, test), h, fit=partial(fit_head, lr=lr)) for h,lr in rates.items()}
        for h,q in found.items(): p[f'{h}, rate chosen inside'][test] = q
        p['nested: head and rate'][test] = found[best[0]]
        log.append(dict(best=list(best), rates=rates, tried=tried))
    return p, log

def logistic(table, v, fold):
    "scikit-learn's logistic regression of each group, C chosen inside"
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    y, p = table.targets(), np.zeros((len(fold[1]), len(table.groups)), np.float32)
    for cols in table.slices().values():
        model = GridSearchCV(make_pipeline(StandardScaler(), LogisticRegression(max_iter=200, tol=1e-3)), dict(logisticregression__C=(1e-3, 3e-3, 1e-2)), cv=3)
        model.fit(v[fold[0]], y[fold[0]][:, cols].argmax(1))
        p[:, np.array(cols)[model.classes_]] = model.predict_proba(v[fold[1]])
    return p

def each_attribute(table, p):
    "Precision, recall and F1 of each attribute as chosen, F1 with its interval, and that of saying it of every photo"
    y, said = table.targets(), chosen(p, one_of(table.groups, table.exclusive)).astype(float)
    rows = attribute_scores(said, y, table.groups).drop(columns=['ap', 'threshold']).assign(group=list(table.groups.values()), ap=attribute_scores(p, y, table.groups).ap)
    def f1(s, t, weights=None):
        w = np.ones((1, len(s))) if weights is None else weights
        tp, total = w @ (s*t), w @ (s + t)
        f = np.divide(2*tp, total, out=np.zeros(len(w)), where=total > 0)
        return f if weights is not None else f[0]
    ends = [bootstrap(f1, said[:, i], y[:, i].astype(float), groups=table.items['product']) for i in range(len(table.groups))]
    rate = y.mean(0)
    return records(rows.assign(lo=[e[1] for e in ends], hi=[e[2] for e in ends], always=2*rate/(1+rate)))

def part_real(n, keep):
    (table, v, near), middle = real(keep), encoder(224, data=dict(crop_mode='center'))
    folds, y, groups = attribute_folds(table), table.targets(), table.items['product']
    counts = groups.value_counts()
    out = dict(photos=len(table), folds=5, epochs=20, alike=dict(cosine=ALIKE, photos=int((groups.map(counts) > 1).sum()), groups=int((counts > 1).sum()), nearest={str(q): float(np.quantile(near, q)) for q in (.1, .5, .9, .99, 1)}))
    models = {'ours': attribute_oof(table, v, Stored(v), folds), 'texture and pooled': oof(table, v, folds), 'pooled': oof(table, v[:, :POOLED], folds), 'texture': oof(table, v[:, POOLED:], folds),
              'pooled, middle 224': oof(table, embed_photos(table, middle, store=store(keep, middle)), folds)}
    inside, out['nested'] = nested(table, v, folds)
    def filled():
        out['rows'] = scores(models, table, y, each=True)
        out['over_majority'], out['over_ours'] = (scores(models, table, y, o, each=o == 'most_frequent') for o in ('most_frequent', 'ours'))
        return out
    models |= inside
    out['attributes'] = each_attribute(table, models['ours'])
    out['few'] = [r['attribute'] for r in out['attributes'] if r['support'] < FEW]
    yield filled()
    models['logistic regression'] = by_fold(len(table), len(table.groups), folds, partial(logistic, table, v))
    yield filled()

# One large or three small

def widths(n_in, sizes, hidden):
    "Hidden units of each network so that all of them together cost what one of `hidden` does"
    each = hidden*(n_in + sum(sizes))/len(sizes)
    return [max(1, round(each/(n_in + k))) for k in sizes]

def split_heads(table, v, fold, parts, hidden, lr, seed):
    "Answers of one hidden layer for each part of the groups"
    subs, p = [table.choose(group=list(g)) for g in parts], np.zeros((len(fold[1]), len(table.groups)), np.float32)
    for sub, h in zip(subs, widths(v.shape[1], [len(s.groups) for s in subs], hidden)):
        p[:, [table.names.index(a) for a in sub.names]] = answers(sub, v, fold, 'mlp', fit=partial(fit_head, lr=lr, epochs=12), seed=seed, n_hidden=h)
    return p

def quality(p, table, rows):
    "What a learning rate is chosen by"
    part = table.take(rows)
    return right(p, part.targets(), one_of(table.groups, table.exclusive)) if table.exclusive else value(records(summary(p, part.targets(), n_boot=0)), 'model', 'mAP', 'all')

def best_rate(table, v, train, answer, rates):
    "The rate that does best on a third of the training part; `answer` takes table, vectors, fold, rate"
    inner = attribute_folds(table.take(train), 3)[0]
    return max(rates, key=lambda lr: quality(answer(table, v, tuple(train[i] for i in inner), lr), table, train[inner[1]]))

def compare_heads(name, table, v, ways, hidden, seeds):
    "A row: one network and its rivals of equal cost"
    folds, p, rates = attribute_folds(table), {}, {}
    for way,parts in ways.items():
        rates[way] = best_rate(table, v, folds[0][0], lambda t, w, fold, lr: split_heads(t, w, fold, parts, hidden, lr, 0), (1e-3, 3e-3))
        p[way] = np.concatenate([by_fold(len(table), len(table.groups), folds, lambda fold: split_heads(table, v, fold, parts, hidden, rates[way], seed)) for seed in range(seeds)])
    sizes = {w: [len(table.choose(group=list(g)).groups) for g in parts] for w,parts in ways.items()}
    hiddens = {w: widths(v.shape[1], s, hidden) for w,s in sizes.items()}
    cost = {w: int(sum(h*(v.shape[1] + k) for h,k in zip(hiddens[w], s))) for w,s in sizes.items()}
    return dict(data=name, photos=len(table), hidden=hidden, widths=hiddens, multiply_adds=cost, rates=rates, seeds=seeds, rows=scores(p, table, table.targets(), times=seeds), over_one=scores(p, table, versus='one', times=seeds))

def part_one_or_three(n, keep):
    table, v, _ = real(keep)
    ways, out = dict(one=[FINE], three=PAIRS, six=[(g,) for g in FINE]), dict(rows=[])
    fine, coarse = generated(n, True, keep), generated(n, False, keep).choose(group=[g for (g,) in MATTER])
    for args in (('real', table, v, ways, 192, 3), ('generated, yes or no', coarse, generated_vectors(n, False, keep), dict(one=[tuple(g for (g,) in MATTER)], three=MATTER), 24, 2),
                 ('generated, exclusive', fine, generated_vectors(n, True, keep), ways, 24, 1), ('real', table, v, ways, 24, 1)):
        out['rows'].append(compare_heads(*args))
        yield out

# Networks trained whole

def multiply_adds(e):
    from torch.utils.flop_counter import FlopCounterMode
    with FlopCounterMode(display=False) as count, torch.no_grad(): e.eval()(torch.zeros(1, 3, e.size, e.size))
    return count.get_total_flops()//2

def train_whole(table, fold, size, epochs, seed, keep, lr=3e-4):
    "(probabilities of the second rows, multiply-adds, seconds) of a network that is trained whole"
    with seeded(seed):
        e = encoder(size)
        cost, start = multiply_adds(e), time.perf_counter()
        model = attribute_model(table.take(fold[0]), e, fine_tune=True)
        for m in e.modules():
            if isinstance(m, nn.BatchNorm2d): m.requires_grad_(False)       # and so stays in evaluation mode: this file's norms are folded into the convolutions
        learn = attribute_learner(attribute_dls(table, e, fold, folder=Path(keep)/'small'), model, keep_best=False, metrics=[])
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(epochs, lr)
            p = learn.get_preds(dl=learn.dls.valid)[0].numpy()
    return p, 3*cost*len(fold[0])*epochs, time.perf_counter() - start

def trained_way(table, fold, parts, size, epochs, seed, keep):
    "The same of one network for each part of the groups"
    p, cost, seconds = np.zeros((len(fold[1]), len(table.groups)), np.float32), 0, 0.
    for g in parts:
        sub = table.choose(group=list(g))
        p[:, [table.names.index(a) for a in sub.names]], c, s = train_whole(sub, fold, size, epochs, seed, keep)
        cost, seconds = cost + c, seconds + s
    return p, cost, seconds

WAYS = dict(one=([FINE], 96, 6, (0, 1)), three_third=(PAIRS, 96, 2, (0, 1)), three_small=(PAIRS, 56, 6, (0,)), three_full=(PAIRS, 96, 6, (0,)))   # parts, pixels, epochs, seeds

def part_trained(n, keep):
    table = real(keep)[0]
    tenths, p, out = [t for _,t in attribute_folds(table, 10)], {}, dict(ways={})
    fold = np.concatenate(tenths[3:]), np.concatenate(tenths[:3])
    test, train_y = table.take(fold[1]), table.targets()[fold[0]]
    for way,(parts, size, epochs, seeds) in WAYS.items():
        runs = [trained_way(table, fold, parts, size, epochs, s, keep) for s in seeds]
        p[way] = np.concatenate([runs[s % len(seeds)][0] for s in range(2)])
        out['ways'][way] = dict(networks=len(parts), pixels=size, epochs=epochs, seeds=len(seeds), multiply_adds=runs[0][1], seconds=[r[2] for r in runs])
        out |= dict(train=len(fold[0]), test=len(fold[1]), rows=scores(p, test, train_y, times=2), over_one=scores(p, test, versus='one', times=2) if len(p) > 1 else [])
        print(way, out['ways'][way], {m: round(value(out['rows'], way, m), 3) for m in ('accuracy', 'macro_f1')}, flush=True)
        yield out

# Whole photo or cut-out

def cross(seen, table, kinds, epochs=20):
    "Kind of training -> kind of test -> out-of-fold probabilities; `seen` holds the vectors of each kind of picture"
    out = {k: {t: np.zeros((len(table), len(table.groups)), np.float32) for t in seen} for k in kinds}
    for train,test in attribute_folds(table):
        for kind,used in kinds.items():
            rows = np.concatenate([*[train]*len(used), *[test]*len(seen)])
            x, half = np.concatenate([*[seen[u][train] for u in used], *[seen[t][test] for t in seen]]), len(used)*len(train)
            found = answers(table.take(rows), x, (range(half), range(half, len(rows))), fit=partial(fit_head, epochs=epochs//2 if kind.endswith('half the epochs') else epochs))
            for t,p in zip(seen, found.reshape(len(seen), len(test), -1)): out[kind][t][test] = p
    return out

def cut_tables(found, table):
    "Scores of every training and test; the differences to training on whole photos, and on what is asked; and of each kind asked of what knows it, to whole photos"
    by_test = {t: {k: p[t] for k,p in found.items()} for t in next(iter(found.values()))}
    own = {t: found[t][t] for t in by_test} | {f'both, on {t}': found['both'][t] for t in by_test}
    return dict(rows={t: scores(m, table, table.targets()) for t,m in by_test.items()}, own_over_whole=scores(own, table, versus='whole'), over_whole={t: scores(m, table, versus='whole') for t,m in by_test.items()},
                over_same={t: scores(m, table, versus=t) for t,m in by_test.items()})

def real_cuts(table, keep):
    "(files of the cut-outs of real photos, how each went); the whole photo stands for what could not be cut"
    from fabric_touch.detectors import segmenter
    from fabric_touch.garments import crop, scan_photos
    from garments import people_detector
    folder, went = Path(keep)/'real_cuts', []
    folder.mkdir(exist_ok=True)
    files = [str(folder/f'{i:04d}.png') for i in range(len(table))]
    if (log := folder/'went.csv').exists(): return files, pd.read_csv(log)
    for f,found in zip(files, scan_photos(list(table.items.image), people_detector(), segmenter('grabcut'), fallback='largest', progress=False)):
        (crop(found[0]) if found else Image.open(table.items.image[len(went)]).convert('RGB')).save(f)
        went.append(dict(outcome=found.outcome, area=found[0].area if found else np.nan, told=' '.join(found[0].outcomes[1:]) if found else ''))
    pd.DataFrame(went).to_csv(log, index=False)
    return files, pd.read_csv(log)

def part_cuts(n, keep):
    table, out = generated(n, True, keep), {}
    seen = {c: generated_vectors(n, True, keep, c) for c in ('whole', 'box', 'mask')}
    kinds = dict(whole=['whole'], box=['box'], mask=['mask'], both=['whole', 'mask']) | {'both, half the epochs': ['whole', 'mask']}
    out['generated'] = dict(photos=len(table)) | cut_tables(cross(seen, table, kinds), table)
    yield out
    (table, v, _), e = real(keep), reader()
    files, went = real_cuts(table, keep)
    seen = dict(whole=v, cutout=np.asarray(embed(e, files, store(keep, e), progress=False)))
    found = cross(seen, table, dict(whole=['whole'], cutout=['cutout'], both=['whole', 'cutout']) | {'both, half the epochs': ['whole', 'cutout']})
    cut = np.flatnonzero(went.outcome != 'nothing')
    out['real'] = dict(photos=len(table), outcomes=dict(Counter(went.outcome)), told=dict(Counter(went.told.fillna(''))), area=went.area.quantile([.1, .5, .9]).tolist(),
                       cut_only=dict(photos=len(cut)) | cut_tables({k: {t: p[cut] for t,p in d.items()} for k,d in found.items()}, table.take(cut))) | cut_tables(found, table)
    yield out

# Losses and schedules

LOSSES = 'bce', 'bce_weighted', 'asymmetric'
def cosine(learn, lr): fit_cosine(learn, 20, lr, warmup=3)
SCHEDULES = {'AdamW, one cycle': (fit_head, {}, dict.fromkeys(LOSSES, (3e-4, 1e-3, 3e-3))),
             'SGD, cosine with warm-up': (cosine, dict(opt_func=partial(SGD, mom=.9), wd=0.), dict.fromkeys(LOSSES, (.01, .05, .25)) | dict(asymmetric=(1., 5., 25.)))}   # how, and the rates to choose from

def loss_rows(table, v, splits):
    "Model -> (probabilities, yes or no at thresholds tuned on validation) of all test rows, and the rates; `splits` are of (train, validation, test)"
    found, rates = {}, {}
    for loss in LOSSES:
        for schedule,(fit, opt, choice) in SCHEDULES.items():
            p, said = [], []
            for train,val,test in splits:
                tried = {lr: answers(table, v, (train, np.concatenate([val, test])), loss=loss, fit=partial(fit, lr=lr), opt=opt) for lr in choice[loss]}
                lr = max(tried, key=lambda lr: quality(tried[lr][:len(val)], table, val))
                p.append(tried[lr][len(val):])
                said.append(p[-1] >= tune_thresholds(tried[lr][:len(val)], table.targets()[val]))
                rates.setdefault(f'{loss}; {schedule}', []).append(lr)
            found[f'{loss}; {schedule}'] = np.concatenate(p), np.concatenate(said).astype(float)
    return found, rates

def loss_table(table, v, splits):
    "Scores of all losses and schedules on the test rows, with baselines"
    found, rates = loss_rows(table, v, splits)
    test, train_y = table.take(np.concatenate([s[2] for s in splits])), table.targets()[splits[0][0]]
    p = {k: a for k,(a,_) in found.items()}
    plain, tuned, gains = (scores(m, test, train_y, versus) for m,versus in ((p, None), ({k: b for k,(_,b) in found.items()}, None), (p, next(iter(p)))))
    tuned = [r | dict(metric=f"{r['metric']}_tuned") for r in tuned if r['metric'] in ('macro_f1', 'micro_f1') and r['model'] in p]
    recall = {k: records(group_recall(a, test.targets(), test.groups, clusters=test.items['product'])) for k,a in p.items()}
    return dict(test=len(test), train=len(splits[0][0]), rates=rates, rows=plain + tuned, over_first=gains, recall=recall), p, test

def softmax_answers(table, v, train, val, test):
    "Answers of the model that knows which attributes exclude each other, its rate chosen on validation"
    tried = [answers(table, v, (train, np.concatenate([val, test])), fit=partial(fit_head, lr=lr)) for lr in SCHEDULES['AdamW, one cycle'][2]['bce']]
    return max(tried, key=lambda p: quality(p[:len(val)], table, val))[len(val):]

def part_losses(n, keep):
    table = generated(n, False, keep)
    parts = [np.flatnonzero(table.items.part == p) for p in ('train', 'val', 'test')]
    out = dict(generated=loss_table(table, generated_vectors(n, False, keep), [parts])[0])
    yield out
    table, v, _ = real(keep)
    folds = attribute_folds(table)
    splits = [(np.setdiff1d(train, folds[i-1][1]), folds[i-1][1], test) for i,(train,test) in enumerate(folds)]
    many = replace(table, exclusive=())
    out['real'], p, test = loss_table(many, v, splits)
    order = np.argsort(np.concatenate([s[2] for s in splits]))
    models = {'softmax': np.concatenate([softmax_answers(table, v, *s) for s in splits])[order]} | {k: a[order] for k,a in p.items()}
    out['softmax'] = dict(rows=scores(models, table, table.targets()), over_softmax=scores(models, table, table.targets(), versus='softmax'))
    yield out

# Colour

def dye_names(table): return [name_colour(tuple(bytes.fromhex(h[1:]))).name for h in table.items.colour]

def lab_numbers(photo, mask):
    "Mean and percentiles of the pixels in OKLab, (18,)"
    x = oklab(photo[mask])
    return np.concatenate([x.mean(0), *np.percentile(x, (10, 25, 50, 75, 90), axis=0)])

def part_colour(n, keep):
    fine = generated(n, True, keep)
    names = dye_names(fine)
    table = AttributeTable(fine.items.assign(labels=pd.Series([(c,) for c in names], dtype=object)), dict.fromkeys(COLOUR_NAMES, 'colour'), ('colour',))
    folds, models, out, ms = attribute_folds(table), {}, dict(photos=len(table), names=dict(Counter(names)), classes=len(COLOUR_NAMES)), []
    photos, masks = [np.asarray(Image.open(f)) for f in table.items.image], [np.asarray(Image.open(f)) > 0 for f in table.items['mask']]
    for what,where in dict(mask=masks, whole=[m | True for m in masks]).items():
        start = time.perf_counter()
        said = [main_colour(p, m).name for p,m in zip(photos, where)]
        ms.append(1000*(time.perf_counter() - start)/len(table))
        models[f'main_colour, {what}'] = np.array([[c == name for c in COLOUR_NAMES] for name in said], np.float32)
        lab = np.array([lab_numbers(p, m) for p,m in zip(photos, where)], np.float32)
        models[f'OKLab numbers, probe, {what}'] = oof(table, lab, folds, 1e-2, 40, p=0.)
        models[f'OKLab numbers, mlp, {what}'] = oof(table, 10*lab, folds, 1e-2, 40, head='mlp', p=.1)
        models[f'MobileNetV2, {what}'] = oof(table, generated_vectors(n, True, keep, what), folds, 1e-3)
        models[f'MobileNetV2 and OKLab, {what}'] = oof(table, np.concatenate([generated_vectors(n, True, keep, what), lab], 1), folds, 1e-3)
        if what == 'mask': out |= dict(wrong=[[*pair, k] for pair,k in Counter((t, c) for t,c in zip(names, said) if t != c).most_common(6)], plain=float(np.mean([t == c for t,c,l in zip(names, said, fine.items.labels) if 'solid' in l])))
        out |= dict(rows=scores(models, table, table.targets()), over_first=scores(models, table, versus='main_colour, mask'), ms=ms)
        yield out

PARTS = dict(real=part_real, one_or_three=part_one_or_three, trained=part_trained, cuts=part_cuts, losses=part_losses, colour=part_colour)

def versions():
    import fastai, sklearn, timm, platform
    return dict(python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count(), fastai=fastai.__version__, timm=timm.__version__, sklearn=sklearn.__version__)

@call_parse
def main(
    json:str=None, # Write the tables here, after each row; parts that stand there and are not asked for stay
    part:str='', # Only this part
    photos:int=1200, # Generated photos
    keep:str='', # Folder for generated photos, cut-outs and vectors, to go on after a stop; in the user's cache if not given
):
    "Measure what the attribute models know"
    done = read(json) | versions()
    keep = keep or str(cache_dir()/'attribute_scores')
    Path(keep).mkdir(parents=True, exist_ok=True)
    for name in [part] if part else PARTS:
        start = time.perf_counter()
        for done[name] in pick(PARTS, name, 'part')(photos, keep):
            done[name]['seconds_in_all'] = time.perf_counter() - start
            print(name, round(time.perf_counter() - start), 's', flush=True)
            write(json, done)
