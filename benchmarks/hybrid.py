"""How fast the hybrid classifier trains and sorts.

    python benchmarks/hybrid.py [--json FILE] [--part epochs|second|epoch|sort|epochs_gpu] [--quick]

The photos are `clothing_small`, or generated ones where it is not at hand. Weights of MobileNetV3-large and of a whole CLIP ViT-B/32 are random and lie in files, which takes the time that the published ones take; `mobilenetv2_tf` has its real ones, where they are at hand.
`epochs`: `train` with an empty store, whole: list, decode, hash, both backbones once, 10 epochs of the head, scores, both checkpoints. Against it the plain way: both frozen backbones on every batch of every epoch, photos decoded anew by one worker, validation in each epoch;
same photos, split, head, seed, batch size, Adam and schedule; it loads its backbones as ours does and writes nothing. `few`: both on the same few photos; of the plain way 2 epochs are run, and others computed from their median. `all`: ours on all photos; to the plain way's epoch is added, for each photo more,
the time of its median batch. For 1, 2, 5 and 20 epochs ours is computed from its 10. The plain way is given `keep_memory`, which ours has; without it, one epoch, stands beside. Losses of both stand beside.
`second`: `train` again with the store full: seconds until the first epoch begins, in all, and in each step. The steps do not overlap.
`epoch`: an epoch over stored vectors, training and validation, in milliseconds per thousand photos: as `train` does it, which keeps its state after each epoch; `hybrid_learner` alone; and a plain loop over the same vectors (`bare`).
`sort`: photos per second of `sort_images` that copies, on photos of clothing_small and on generated ones of 12 million pixels, with two threads that decode and with none; `fixed_s` is what loading the model costs, which is not in the rates. `again_s`: a second run, when all is done.
Beside it the steps alone, in milliseconds for a photo: the network on all cores, the others on one.
`epochs_gpu`: `epochs` with CUDA, where there is one. Each measurement runs in a fresh process; imports of torch and fabric_touch are not timed. Medians where there is more than one run. `load` is how busy the machine was when a part began: to be run on a quiet one. `quick` tries everything on little.
"""
import os, time, warnings
from functools import partial
from pathlib import Path
from statistics import median
import numpy as np
from fastcore.script import call_parse
from fabric_touch.core import data_dir, has_data, pick
from attributes import alone, machine, ready, seconds

EPOCHS, POINTS, BATCH, FEW = 10, (1, 2, 5, 10, 20), 32, 30           # FEW: photos of a class, where both ways run
MOBILENETV2 = 'mobilenetv2_100_tfptq_fp16.pth'

# Photos and weights

def photos(folder, quick):
    "The folder of classes"
    if has_data('clothing_small'): return data_dir('clothing_small')
    from fabric_touch.folders import make_folders
    if not (folder/'cloth').exists(): make_folders(folder/'cloth', n=20 if quick else 300, size=320)
    return folder/'cloth'

def write_weights(folder):
    "Random weights of MobileNetV3-large and of a whole CLIP ViT-B/32"
    import logging, open_clip, torch
    from safetensors.torch import save_file
    from torchvision.models import mobilenet_v3_large
    folder.mkdir(); torch.manual_seed(0)
    logging.disable(logging.WARNING)       # open_clip warns of random weights
    save_file(mobilenet_v3_large().state_dict(), folder/'mobilenet.safetensors')
    save_file({k: v.contiguous() for k,v in open_clip.create_model('ViT-B-32-quickgelu').state_dict().items()}, folder/'clip.safetensors')

def cases(folder):
    "Name to options of `train`"
    if not (folder/'weights').exists(): alone(write_weights, folder/'weights')
    mobilenet, clip = (str(folder/'weights'/f'{k}.safetensors') for k in ('mobilenet', 'clip'))
    res = dict(hybrid=dict(mode='hybrid', mobilenet_weights=mobilenet, clip_weights=clip), mobilenet_v3_large=dict(mode='mobilenet', mobilenet_weights=mobilenet))
    if has_data('weights'): res['mobilenetv2_tf'] = dict(mode='mobilenet', mobilenet='mobilenetv2_tf', mobilenet_weights=str(data_dir('weights')/MOBILENETV2))
    return res

def start(cuda=False, keep=True):
    "A process that sees a GPU or none"
    if not cuda: os.environ['CUDA_VISIBLE_DEVICES'] = ''
    ready(keep)
    import fabric_touch.hybrid, timm, open_clip

def backbones(case):
    from fabric_touch.hybrid import TrainOptions
    return TrainOptions('', **case).backbones()

# What takes how long

def stopwatch(places):
    "Name to seconds that a function takes from now on, of names and (module or class, function)"
    spent = dict.fromkeys(places, 0.)
    def timed(name, f):
        def run(*args, **kwargs):
            begin = time.perf_counter()
            try: return f(*args, **kwargs)
            finally: spent[name] += time.perf_counter() - begin
        return run
    for name, (where, f) in places.items(): setattr(where, f, timed(name, getattr(where, f)))
    return spent

def steps():
    "The steps of `train`, none within another but the state within the fit"
    from fabric_touch import embeds, encoders, hybrid
    from fabric_touch.train import KeepState
    return stopwatch(dict(list=(hybrid, 'read_folders'), load_backbones=(hybrid, 'hybrid_encoders'), digest_weights=(encoders, '_digest'), digest_photos=(embeds, '_digests'), digest_photos_again=(hybrid, 'picture_digest'),
        decode_and_encode=(embeds, '_work'), alike=(hybrid, 'alike'), fit=(hybrid, '_fit'), keep_state=(KeepState, '_write'), class_names=(hybrid, '_words'), scores=(hybrid, '_valid_scores'), lists=(hybrid, '_write_lists'), checkpoints=(hybrid, 'save_hybrid')))

def clock():
    "When each epoch begins and ends, of every Learner made from now on"
    from fastai.basics import Callback, defaults
    class Clock(Callback):
        order, marks = 100, []
        def before_epoch(self): self.marks.append([time.perf_counter()])
        def after_epoch(self): self.marks[-1].append(time.perf_counter())
    defaults.callbacks = [*defaults.callbacks, Clock]
    return Clock.marks

# Both ways

def ours(folder, photos, case, max_samples, store, cuda=False):
    "`train`, whole: seconds, in which steps, losses, and who trained"
    start(cuda)
    from fabric_touch.hybrid import train
    spent, marks, begin = steps(), clock(), time.perf_counter()
    done = train(photos, epochs=EPOCHS, patience=0, batch_size=BATCH, max_samples=max_samples, store=folder/store, output_dir=folder/'out', **case)
    whole = time.perf_counter() - begin
    spent['fit'] -= spent['keep_state']
    files, y = list(done.data.table.items.image), done.data.table.targets()
    return dict(seconds=whole, until_first_epoch_s=marks[0][0] - begin, epoch_s=median(b-a for a,b in marks), steps_s=spent | dict(rest=whole - sum(spent.values())), photos=len(files), per_epoch=per_epoch(done.data.fold),
                train_loss=list(done.history.train_loss), valid_loss=list(done.history.valid_loss), accuracy=list(done.history.accuracy)), [[(files[i], int(y[i])) for i in rows] for rows in done.data.fold]

def per_epoch(fold): return len(fold[0])//BATCH*BATCH + len(fold[1])       # the last batch of training is dropped if it is not full

class Photos:
    "Photos decoded whole and prepared for each backbone, with their class"
    def __init__(self, rows, encoders): self.rows, self.encoders = rows, encoders
    def __len__(self): return len(self.rows)
    def __getitem__(self, i):
        from fabric_touch.data import load_photo
        file, y = self.rows[i]
        img = load_photo(file)
        return *(e.prepare(img) for e in self.encoders), y

def plain(case, fold, n_classes, epochs, keep=True, cuda=False):
    "The plain way: seconds before the first epoch, of each, and of a photo once it runs; and losses"
    start(cuda, keep)
    import torch
    from fabric_touch.core import seeded
    from fabric_touch.hybrid import HybridModel
    begin, device = time.perf_counter(), 'cuda' if cuda else 'cpu'
    encoders = backbones(case)
    with seeded(0): model = HybridModel(encoders, [f'class {i}' for i in range(n_classes)], case['mode']).to(device)
    model.encoders.requires_grad_(False)
    loaders = [torch.utils.data.DataLoader(Photos(rows, list(encoders.values())), BATCH, shuffle=i == 0, drop_last=i == 0, num_workers=1) for i,rows in enumerate(fold)]
    opt = torch.optim.Adam(model.head.parameters())
    rate, before = torch.optim.lr_scheduler.OneCycleLR(opt, 1e-3, EPOCHS*len(loaders[0]), pct_start=.25), time.perf_counter() - begin
    rows = [plain_epoch(model, *loaders, opt, rate, device) for _ in range(epochs)]
    return dict(before_s=before, epoch_s=median(r['seconds'] for r in rows), photo_s=median(b/BATCH for r in rows for b in r['batches_s'][1:] or r['batches_s']),
                photos=sum(map(len, fold)), per_epoch=per_epoch(fold), train_loss=[r['train_loss'] for r in rows], valid_loss=[r['valid_loss'] for r in rows])

def plain_epoch(model, train, valid, opt, rate, device):
    "Seconds of an epoch and of its training batches, and mean losses"
    import torch
    from torch.nn.functional import cross_entropy
    loss = lambda x, y: cross_entropy(model(*(o.to(device) for o in x)), y.to(device))
    learned, at = [], [time.perf_counter()]
    model.train()
    for *x, y in train:
        opt.zero_grad(); (now := loss(x, y)).backward(); opt.step(); rate.step()
        learned.append(now.item()); at.append(time.perf_counter())
    model.eval()
    with torch.no_grad(): seen = sum(loss(x, y).item()*len(y) for *x, y in valid)
    return dict(seconds=time.perf_counter() - at[0], batches_s=np.diff(at).tolist(), train_loss=float(np.mean(learned)), valid_loss=seen/len(valid.dataset))

# Ten epochs

def points(ours, plain):
    "Seconds of both ways, and how many times faster, for some numbers of epochs"
    epoch = plain['epoch_s'] + (ours['per_epoch'] - plain['per_epoch'])*plain['photo_s']       # workers start once in an epoch, however many photos
    rows = [dict(epochs=n, ours_s=ours['seconds'] + (n - EPOCHS)*ours['epoch_s'], plain_s=plain['before_s'] + n*epoch) for n in POINTS]
    return [r | dict(ratio=r['plain_s']/r['ours_s']) for r in rows]

def compare(folder, quick, name, case, cuda=False):
    "One case: ours on few photos and on all, the plain way on the few"
    run = partial(alone, ours, folder, photos(folder, quick), case)
    few, fold = run(6 if quick else FEW, f'few-{name}-{cuda}', cuda)
    slow = {k: alone(plain, case, fold, len({y for rows in fold for _,y in rows}), 1 if quick or not k else 2, k, cuda) for k in (True, False)}
    whole, _ = run(8 if quick else None, f'all-{name}-{cuda}', cuda)
    return dict(case=name, gpu=cuda, photos_few=few['photos'], photos_all=whole['photos'], few=points(few, slow[True]), all=points(whole, slow[True]), all_without_keep_memory=points(whole, slow[False]),
                ours_few=few, ours_all=whole, plain=slow[True], plain_without_keep_memory=slow[False])

def tell(row):
    at_ten = {k: next(p for p in row[k] if p['epochs'] == EPOCHS) for k in ('few', 'all', 'all_without_keep_memory')}
    for k,p in at_ten.items(): print(f"{row['case']:19} {k:24} {EPOCHS} epochs: ours {p['ours_s']:6.1f} s, plain {p['plain_s']:7.1f} s: {p['ratio']:.1f} x", flush=True)
    for k in ('ours_few', 'plain'): print(f"{k:9} losses", *(f"{a:.3f}/{b:.3f}" for a,b in zip(row[k]['train_loss'], row[k]['valid_loss'])), flush=True)

def part_epochs(folder, quick, done, cuda=False):
    rows, found = [], cases(folder)
    for name in [k for k in ('hybrid', 'mobilenetv2_tf') if k in found]:
        rows.append(compare(folder, quick, name, found[name], cuda)); tell(rows[-1])
        yield dict(photos='clothing_small' if has_data('clothing_small') else 'generated', batch=BATCH, rows=rows)

def part_gpu(folder, quick, done):
    import torch
    if not torch.cuda.is_available(): print('not measured'); yield dict(gpu='not measured', rows=[])
    else: yield from part_epochs(folder, quick, done, cuda=True)

# A second training

def part_second(folder, quick, done):
    rows, found = [], cases(folder)
    for name in [k for k in ('hybrid', 'mobilenetv2_tf') if k in found]:
        run = partial(alone, ours, folder, photos(folder, quick), found[name], 8 if quick else None, f'all-{name}-False')
        if not (folder/f'all-{name}-False').exists(): run()
        res, _ = run()
        rows.append(dict(case=name) | {k: res[k] for k in ('photos', 'until_first_epoch_s', 'seconds', 'epoch_s', 'steps_s')})
        print(name, {k: round(v, 2) for k,v in rows[-1].items() if k[-1] == 's' and isinstance(v, float)}, {k: round(v, 2) for k,v in res['steps_s'].items()}, flush=True)
        yield dict(rows=rows)

# One epoch over stored vectors

def generated(n, n_in, k=10):
    "`HybridData` of vectors that are noise around a centre for each class"
    import pandas as pd, torch
    from fabric_touch.folders import ClassTable
    from fabric_touch.hybrid import HybridData
    rng = np.random.default_rng(0)
    y, order = np.arange(n) % k, rng.permutation(n)
    x = rng.standard_normal((1, n, n_in), dtype=np.float32) + rng.standard_normal((k, n_in), dtype=np.float32)[y]
    names = [f'class {i}' for i in range(k)]
    table = ClassTable(pd.DataFrame(dict(image=[f'{i}.jpg' for i in range(n)], label=[names[i] for i in y])), tuple(names), pd.DataFrame(columns=['file', 'why']))
    return HybridData(table=table, vectors=torch.from_numpy(x), looks=torch.zeros(n, 100), groups=np.arange(n), fold=(np.sort(order[n//5:]), np.sort(order[:n//5])), digests=[f'{i:032x}' for i in range(n)])

def bare_epochs(model, data, bs, epochs):
    "Seconds of each epoch of a plain loop over vectors"
    import torch
    from torch.nn.functional import cross_entropy
    y, opt = torch.from_numpy(data.table.targets()), torch.optim.Adam(model.head.parameters(), 1e-3)
    (x, y), (vx, vy) = ((data.vectors[0, i], y[i]) for i in data.fold)
    def epoch():
        model.train()
        for i in torch.randperm(len(x)).split(bs)[:len(x)//bs]:
            opt.zero_grad(); cross_entropy(model(x[i]), y[i]).backward(); opt.step()
        model.eval()
        with torch.no_grad(): return [cross_entropy(model(a), b).item() for a,b in zip(vx.split(bs), vy.split(bs))]
    return [seconds(epoch) for _ in range(epochs)]

def our_epochs(way, encoders, data, bs, epochs, folder, marks):
    "Seconds of each epoch of the Learner: as `train` has it, which writes its state after each, or alone"
    from fabric_touch.hybrid import hybrid_learner
    from fabric_touch.train import KeepState
    marks.clear()
    learn = hybrid_learner(data, encoders=encoders, bs=bs, cbs=[KeepState(folder)]*(way == 'train'))
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(epochs, 1e-3)
    return [b - a for a,b in marks]

def epoch_times(folder, case, n, batches, epochs):
    "Rows of milliseconds per thousand photos"
    start()
    import tempfile
    from fabric_touch.hybrid import HybridModel
    marks, encoders, rows = clock(), backbones(case), []
    data = generated(n, sum(e.n_out for e in encoders.values()))
    for bs in batches:
        for way in ('bare', 'learner', 'train'):
            with tempfile.TemporaryDirectory(dir=folder) as tmp: took = bare_epochs(HybridModel(encoders, data.table.classes), data, bs, epochs) if way == 'bare' else our_epochs(way, encoders, data, bs, epochs, tmp, marks)
            rows.append(dict(photos=n, batch=bs, way=way, ms=1e6*median(took[1:] or took)/n))
    return rows

def part_epoch(folder, quick, done):
    rows = []
    for n, epochs in ((320, 3),) if quick else ((1435, 11), (50_000, 3)):
        rows += alone(epoch_times, folder, cases(folder)['hybrid'], n, (32, 256), epochs)
        for r in rows: r['ratio_to_bare'] = r['ms']/next(o['ms'] for o in rows if o['way'] == 'bare' and (o['photos'], o['batch']) == (r['photos'], r['batch']))
        yield dict(numbers=1472, rows=rows)
    for r in rows: print('{photos:6} photos, batch {batch:3} {way:8} {ms:7.1f} ms per thousand, {ratio_to_bare:.2f} of bare'.format(**r), flush=True)

# Sorting

def large_photos(folder, n):
    "JPEGs of 12 million pixels with grain; a few pictures, each file with other bytes at its end"
    from PIL import Image
    from fabric_touch.swatches import make_swatches
    rng, made = np.random.default_rng(0), []
    for img in make_swatches(3, size=256, seed=0).images:
        big = np.asarray(Image.fromarray(img).resize((4000, 3000), Image.Resampling.BICUBIC)).astype(np.int16)
        Image.fromarray((big + rng.integers(-8, 9, big.shape, np.int16)).clip(0, 255).astype(np.uint8)).save(folder/'made.jpg', quality=90)
        made.append((folder/'made.jpg').read_bytes())
    (folder/'made.jpg').unlink()
    for i in range(n): (folder/f'{i}.jpg').write_bytes(made[i%3] + i.to_bytes(4, 'big'))

def to_sort(folder, quick):
    "Kind to folder of photos"
    import shutil
    small, large = folder/'sort_small', folder/'sort_large'
    if small.exists(): return dict(small=small, large=large)
    small.mkdir(); large.mkdir()
    files = sorted(p for p in Path(photos(folder, quick)).rglob('*') if p.is_file())
    n = 16 if quick else 192
    for i,p in enumerate(files[::max(1, len(files)//n)][:n]): shutil.copy(p, small/f'{i}{p.suffix}')
    alone(large_photos, large, 6 if quick else 48)
    return dict(small=small, large=large)

def sorts(folder, case, kinds, rounds):
    "Rows of a model: rates with threads and without, and what is fixed"
    start()
    from fabric_touch import hybrid
    saved = hybrid.save_hybrid(hybrid.HybridModel(backbones(case), [f'class {i}' for i in range(10)], case['mode']), folder/f"model_{case['mode']}")
    embed_all, out = hybrid.embed_all, iter(range(1000))
    def sort(photos, workers, out):
        hybrid.embed_all = partial(embed_all, n_workers=workers)
        return seconds(lambda: hybrid.sort_images(photos, out, saved))
    fixed = median(seconds(lambda: hybrid._digest(hybrid.load_hybrid(saved))) for _ in range(3))
    sort(kinds['large'], 2, folder/f"warm_{case['mode']}")
    rows = {}
    for _ in range(rounds):
        for kind, place in kinds.items():
            for workers in (2, 0): rows.setdefault((kind, workers), []).append([sort(place, workers, where := folder/f"out_{case['mode']}_{next(out)}"), sort(place, workers, where)])
    return [sort_row(kind, workers, len(os.listdir(kinds[kind])), fixed, np.median(took, 0)) for (kind, workers), took in rows.items()]

def sort_row(kind, workers, n, fixed, took): return dict(kind=kind, workers=workers, photos=n, seconds=took[0], fixed_s=fixed, photos_per_s=n/(took[0] - fixed), again_s=took[1])

def sort_steps(folder, case, kinds):
    "Kind to milliseconds for a photo of each step alone"
    start()
    from fabric_touch.hybrid import PhotoView
    views = [PhotoView(e, b) for b,e in backbones(case).items()]
    return {kind: photo_steps(views, sorted(map(str, place.iterdir()))[:16], folder/f"put_{case['mode']}_{kind}") for kind, place in kinds.items()}

def photo_steps(views, files, out):
    import torch
    from fabric_touch.data import load_photo
    from fabric_touch.embeds import picture_digest
    enough = max(int(np.ceil(v.size/v.crop)) for v in views)
    imgs = [load_photo(f, enough) for f in files]
    x, tries = [torch.stack([v.prepare(o) for o in imgs]*BATCH)[:BATCH] for v in views], iter(range(9))
    each = lambda f, items: median(1e3*seconds(lambda: [f(o) for o in items])/len(items) for _ in range(3))
    with torch.no_grad(): network = median(1e3*seconds(lambda: [v(o) for v,o in zip(views, x)])/BATCH for _ in range(3))
    return dict(file_kb=float(np.mean([os.path.getsize(f)/1e3 for f in files])), digest=each(picture_digest, files), decode_full=each(load_photo, files), decode_reduced=each(lambda f: load_photo(f, enough), files),
                prepare=each(lambda o: [v.prepare(o) for v in views], imgs), network=network, put=median(1e3*seconds(lambda: put_all(files, f'{out}_{next(tries)}'))/len(files) for _ in range(3)))

def put_all(files, out):
    from fabric_touch.filing import Sorting
    with Sorting(out) as sorting:
        for f in files: sorting.put(f, 'coat')

def part_sort(folder, quick, done):
    kinds, rows, parts = to_sort(folder, quick), [], {}
    for name in ('mobilenet_v3_large', 'hybrid'):
        case = cases(folder)[name]
        rows += [dict(case=name) | r for r in alone(sorts, folder, case, kinds, 1 if quick else 2)]
        parts[name] = alone(sort_steps, folder, case, kinds)
        for k,v in parts[name].items(): print(name, k, {a: round(b, 1) for a,b in v.items()}, flush=True)
        yield dict(rows=rows, steps=parts)
    for r in rows: print('{case:19} {kind} threads {workers}: {photos_per_s:6.1f} photos/s, fixed {fixed_s:.1f} s, again {again_s:.1f} s'.format(**r), flush=True)

PARTS = dict(epochs=part_epochs, second=part_second, epoch=part_epoch, sort=part_sort, epochs_gpu=part_gpu)

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    quick:bool=False, # Try everything on little
):
    "Measure training and sorting of the hybrid classifier"
    warnings.filterwarnings('ignore')
    import open_clip, tempfile
    from heads import read, write
    done = read(json) | machine() | dict(open_clip=open_clip.__version__)
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            print(f'\n{name}', flush=True)
            begin, load = time.perf_counter(), os.getloadavg()[0]
            for table in pick(PARTS, name, 'part')(Path(folder), quick, done):
                done[name] = table | dict(load=load, quick=quick); write(json, done)
            print(f'{time.perf_counter() - begin:.0f} s', flush=True)
