"""What each way to read photo and blend knows and costs, on generated swatches and on real photos with a weight.

    python benchmarks/heads.py [--json FILE] [--part swatches|unit|cost|weight] [--fabrics 600] [--steps 300] [--keep FOLDER]

`swatches`: every row is trained for the same number of batches of 32 in the same three folds, grouped by blend, and the last epoch counts. Its learning rate is chosen on one inner fold of the first training part, with half the batches.
`unit`: the swatches' vectors at length 1, as ImageBind's are, on half the fabrics with half the steps, at the learning rates of `swatches`.
`cost`: parameters, training steps, and prediction of four touches from stored vectors of 512; the rows that draw a map have a fusion and a head for each touch there, as galata has, and so have their factors.
`weight`: the weight of real cloth (telas_luciana), its logarithm, in five folds grouped by article. Settings are chosen in inner folds (maps: two settings, one inner fold); the logarithm of the photo vectors, the components and
the range of settings were found by trying on these very folds, so its figures flatter the rows that were tuned, ours above all. Skipped where the set is absent.
The MobileNets start at random and train whole: ImageNet's weights for them are not at hand, and these rows take most of the time.
"""
import json as js, tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
import numpy as np, pandas as pd, timm, torch, torch.nn.functional as F
from fastcore.script import call_parse
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from fabric_touch.blends import FIBRES, parse_blends
from fabric_touch.checkpoints import read_state
from fabric_touch.core import data_dir, has_data, pick, whole_file
from fabric_touch.data import Number, load_photo, read_fabrics, square
from fabric_touch.metrics import base_rate, number_mae, number_scores, over_touches, rps, score_table, touch_scores
from fabric_touch.swatches import make_blends, make_swatches
from fabric_touch.touch import RECIPES, embed_fabrics, touch_folds, touch_model
from fusion import seconds

SMALL = ('kostantiniyye_factors', 'mlb', 'mutan', 'compact', 'constantinople_levels', 'photo', 'blend')
MAPS = ('kostantiniyye', 'kostantiniyye_224', 'kostantiniyye_scaled')
RATES = dict.fromkeys(SMALL, (5e-4, 1e-3, 2e-3, 5e-3)) | dict.fromkeys(MAPS, (1e-3, 3e-3)) | dict(constantinople_levels=(2e-4, 1e-3))   # learning rates to choose from
FOREST = partial(RandomForestRegressor, 300, random_state=0, n_jobs=-1)

def args(row): return dict(train='all') if row in MAPS else {}

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

def choose(fabrics, vectors, row, train, steps, keep):
    "The learning rate that does best on one inner fold of the rows `train`, and all that were tried"
    few, v, found = fabrics.take(train), vectors[train], {}
    fold = few.folds(3)[0]
    for lr in RATES[row]:
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
        if family not in rates: rates = rates | {family: choose(fabrics, vectors, family, folds[0][0], steps//2, keep)}
        models[row], how[row] = trained(fabrics, vectors, row, folds, keep, steps=steps, lr=rates[family]['lr']), rates[family] | dict(steps=steps)
        print(row, how[row], flush=True)
    base = np.full_like(models[rows[0]], np.nan)
    for train,valid in folds: base[valid] = base_rate(fabrics.counts()[train], len(valid))
    scores = scored(models | dict(base_rate=base), fabrics)
    return dict(fabrics=len(fabrics), rows={m: s | how.get(m, {}) for m,s in scores.items()})

def swatches(n, folder):
    "Generated fabrics and their vectors"
    fabrics = read_fabrics(make_swatches(n, seed=15).write(Path(folder)/'swatches', kind='ratings'), check=False)
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

def step_seconds(row, width, bs=32):
    "Seconds of one training step, and the parameters that learn"
    model = touch_model(row, width, **args(row)).train().to(memory_format=torch.channels_last)
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

def photo_vectors(files):
    "(n, 1280) pooled features of ImageNet's MobileNetV2, as logarithms"
    net = timm.create_model('mobilenetv2_100', num_classes=1001, pad_type='same').eval()
    state = read_state(data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth')
    net.load_state_dict({k: w.float() if w.is_floating_point() else w for k,w in state.items()})
    def vector(file):
        x = torch.tensor(np.array(square(load_photo(file), 224))).permute(2, 0, 1)[None]/127.5 - 1
        return net.forward_head(net.forward_features(x), pre_logits=True)[0]
    with torch.no_grad(): return np.log(torch.stack([vector(f) for f in files]).clamp(min=0).numpy() + .05)

def weighed():
    "Fabrics with a log weight, photo vectors, articles (a name whatever its hyphens and spaces), and counts of the rows left out"
    folder = data_dir('telas_luciana')
    table = pd.read_csv(folder/'fabrics.csv')
    blends = parse_blends(table.composition, progress=False)
    unread, unweighed = blends.error.notna(), ~(table.gsm < 1500)
    good, n = ~(unread | unweighed), dict(unread_blend=int(unread.sum()), no_weight_under_1500=int(unweighed.sum()), either=int((unread | unweighed).sum()))
    table, blends = table[good], blends.loc[good, list(FIBRES)]
    items = blends.assign(fabric=[str(i) for i in range(len(blends))], weight=np.log(table.gsm))
    article = pd.factorize(table.name.str.lower().str.replace('[^a-z0-9]', '', regex=True))[0]
    return read_fabrics(items, [Number('weight')], check=False), photo_vectors([folder/'images'/f for f in table.file]), article, n

def grouped(g, n): return list(GroupKFold(n, shuffle=True, random_state=42).split(g, groups=g))

def weigh(fabrics, vectors, row, fold, n, steps, lr, trainings=1):
    "Predictions for one fold from `n` principal components of the photos it learns from, mean of several trainings"
    parts = make_pipeline(StandardScaler(), PCA(n, random_state=0)).fit(vectors[fold[0]])
    x = parts.transform(vectors).astype(np.float32)
    x /= x[fold[0]].std()
    return np.mean([trained(fabrics, x, row, [fold], seed=seed, steps=steps, lr=lr)[fold[1], 0, 0] for seed in range(trainings)], 0)

SETTINGS = dict(default=[(n, steps, 2e-3) for n in (8, 12, 24) for steps in (40, 120)], kostantiniyye=[(24, 120, 1e-3), (96, 120, 1e-3)])   # components, batches, learning rate

def nested(fabrics, vectors, article, row, fold):
    "Predictions for one fold with the setting that does best in inner folds of its training part (one inner fold for maps), and the setting"
    few, v, g, found = fabrics.take(fold[0]), vectors[fold[0]], article[fold[0]], {}
    y = few.counts()[:, 0, 0]
    for setting in SETTINGS.get(row, SETTINGS['default']):
        inner = grouped(g, 3)[:1 if row in MAPS else 3]
        found[setting] = np.mean([number_mae(weigh(few, v, row, f, *setting), y[f[1]]) for f in inner])
    best = min(found, key=found.get)
    return weigh(fabrics, vectors, row, fold, *best, trainings=3), best

def part_weight(data, steps, keep, done):
    if missing := [d for d in ('telas_luciana', 'weights') if not has_data(d)]: return print(f'skipped: {missing} not on this machine')
    fabrics, vectors, article, left_out = weighed()
    y, folds, how = fabrics.counts()[:, 0, 0], grouped(article, 5), {}
    models = dict(mean_weight=np.zeros(len(y)))
    for train,valid in folds: models['mean_weight'][valid] = y[train].mean()
    for name,x in dict(blend=fabrics.blends, photo=vectors, both=np.c_[vectors, fabrics.blends]).items():
        models[f'forest_{name}'] = p = np.zeros(len(y))
        for train,valid in folds: p[valid] = FOREST().fit(x[train], y[train]).predict(x[valid])
    for row in ('mlb', 'photo', 'blend', 'kostantiniyye_factors', 'kostantiniyye'):
        found = [nested(fabrics, vectors, article, row, fold) for fold in folds]
        models[row], how[row] = np.zeros(len(y)), [setting for _,setting in found]
        for (_,valid),(p,_) in zip(folds, found): models[row][valid] = p
        print(row, how[row], flush=True)
    s = number_scores(models, y, 'log weight', groups=article)
    print(score_table(s, digits=3).to_string(), flush=True)
    rows = {m: {r.metric: [r.value, r.lo, r.hi] for r in s[s.model==m].itertuples()} | (dict(settings=how[m]) if m in how else {}) for m in models}
    return dict(rows_used=len(y), articles=len(set(article)), rows_left_out=left_out, settings='components, batches, learning rate of each fold', rows=rows)

PARTS = dict(swatches=part_swatches, unit=part_unit, cost=part_cost, weight=part_weight)

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    fabrics:int=600, # Generated swatches
    steps:int=300, # Batches of 32 that each row is trained for
    keep:str=None, # Folder for finished folds, to go on after a stop
):
    "Compare the ways to read photo and blend"
    done = js.loads(Path(json).read_text()) if json and Path(json).exists() else {}
    done |= dict(device='cpu', threads=torch.get_num_threads(), torch=torch.__version__, gpu='not measured')
    with tempfile.TemporaryDirectory() as folder: data = swatches(fabrics, folder)
    for name in [part] if part else PARTS:
        print(f'\n{name}', flush=True)
        done[name] = pick(PARTS, name, 'part')(data, steps, keep, done)
        if json:
            with whole_file(json) as tmp: tmp.write_text(js.dumps(done, indent=1))
