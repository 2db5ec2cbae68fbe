"""How fast garment attributes are read, trained and predicted.

    python benchmarks/attributes.py [--json FILE] [--part reading|loop|stages|memory|predict] [--quick]

`reading`: DeepFashion's list files at full size, generated (0.9 GB in the temporary folder), by `read_deepfashion`; and `list_attr_img.txt` by pandas.read_csv, on its first rows, of which time and memory for all are computed.
`loop`: photos per second of training ResNet18 on 24 attributes, 224 pixels, batches of 32: `attribute_learner` against a loop as in torchvision's references/classification, on two kinds of generated photos, 225 x 300 as DeepFashion's and 2000 x 3000 as a
shop's. An epoch of 256 photos is timed without validation, and the median of its batches taken but for the first, in which a worker starts
and shares its memory (`first_batch_ms`); in a long epoch that comes once. (Right as long as the worker keeps ahead of the network: see `reference_whole` in `stages`.) `waits_ms` is the part of it in which the network waits for a batch. One network is trained through all epochs of a process:
its losses stand beside. Both loops are measured as they are, the reference also with `keep_memory`, ours also without. `small_ms` is what the small copies of a photo cost, once.
`stages`: milliseconds per photo of each step alone, the photo's on one thread; and what share of the photo's steps one worker hides, from how long the network waits in `loop` (which is to be run before); and the sum of all steps less the time of the loop.
`memory`: what `keep_memory` saves and costs in `embed`, at batches of 8 and 64 in one process each; of a training step, with the most memory, it stands in `stages`. `predict`: one photo at a time.
All jobs run in fresh processes, since `keep_memory` acts on the whole process, and take turns; figures are medians. torch takes all cores (or OMP_NUM_THREADS), a worker one besides; `load` is how busy the machine was when a part began. To be run on a quiet machine. `quick` tries everything on little.
"""
import os, time, warnings
from functools import partial
from multiprocessing import get_context, set_start_method
from pathlib import Path
from statistics import mean, median
import numpy as np
from fastcore.script import call_parse
from fabric_touch.core import keep_memory, pick   # torch is imported where it is needed: it would be most of the memory that reading holds

SYSTEMS = 11_000*3/(20*3600)   # photos per second that the systems report: 11,000 photos, 3 epochs, 20 hours on an A100
ROWS, SMALL, BATCH, RATE, KINDS = 289_222, 320, 32, .05, dict(deepfashion=(225, 300), shop=(2000, 3000))   # small copies have this shorter side

# Fresh processes

def alone(f, *args):
    "What f gives in a process of its own, which may have workers"
    from concurrent.futures import ProcessPoolExecutor
    with ProcessPoolExecutor(1, get_context('spawn')) as pool: return pool.submit(f, *args).result()

def threads(): return int(os.environ.get('OMP_NUM_THREADS') or len(os.sched_getaffinity(0)))

def megabytes(what='VmHWM'):
    "Most memory that this process held (VmHWM), or holds (VmRSS)"
    return int(next(o for o in Path('/proc/self/status').read_text().splitlines() if o.startswith(what)).split()[1])*1024/1e6

def ready(keep):
    "All cores, or OMP_NUM_THREADS; with keep_memory, or with one that does nothing"
    warnings.filterwarnings('ignore'); set_start_method('fork', force=True)   # of the workers, as it is outside of such a process
    import torch, fabric_touch.embeds, fabric_touch.train
    torch.set_num_threads(threads()); torch.manual_seed(0)
    if keep: keep_memory()
    else: fabric_touch.embeds.keep_memory = fabric_touch.train.keep_memory = lambda: False

def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

def medians(rows):
    "The median of each number of some alike dicts"
    return {k: median(r[k] for r in rows) if isinstance(v, (int, float)) else v for k,v in rows[0].items()}

# Reading

def write_lists(folder, n, k=1000, has=3):
    "DeepFashion's lists for n photos with three of 1,000 attributes each"
    rng = np.random.default_rng(0)
    names = [f'img/Generated_Product_{i//4:06d}/img_{i%4+1:08d}.jpg' for i in range(n)]
    boxes = np.concatenate([rng.integers(0, 100, (n, 2)), rng.integers(101, 300, (n, 2))], 1)
    lists = dict(attr_cloth=[(f'attribute {i}', i%5 + 1) for i in range(k)], category_cloth=[(f'Category{i}', i%3 + 1) for i in range(50)], category_img=zip(names, rng.integers(1, 51, n)),
                 bbox=zip(names, (' '.join(f'{v:03d}' for v in b) for b in boxes.tolist())), eval_partition=zip(names, np.repeat(['train', 'val', 'test'], [n - 2*(n//7), n//7, n//7])))
    for name, rows in lists.items():
        text = ''.join(f'{a:<70} {b}\n' for a,b in rows)
        (folder/f'list_{name}.txt').write_text(f'{text.count(chr(10))}\nname value\n{text}')
    with open(folder/'list_attr_img.txt', 'wb') as f:
        f.write(f'{n}\nname labels\n'.encode())
        for name, at in zip(names, rng.integers(0, k, (n, has)).tolist()):
            signs = bytearray(b' -1'*k)
            for i in at: signs[3*i+1:3*i+2] = b' '
            f.write(b'%-70s%s\n' % (name.encode(), signs))

def read_ours(folder):
    from fabric_touch.deepfashion import read_deepfashion
    before, start = megabytes('VmRSS'), time.perf_counter()
    table = read_deepfashion(folder)
    return dict(seconds=time.perf_counter() - start, peak_mb=megabytes(), table_mb=megabytes('VmRSS') - before, rows=len(table))

def read_pandas(folder, nrows):
    import pandas as pd
    before, start = megabytes('VmRSS'), time.perf_counter()
    frame = pd.read_csv(folder/'list_attr_img.txt', sep=r'\s+', skiprows=2, header=None, nrows=nrows)
    return dict(seconds=time.perf_counter() - start, peak_mb=megabytes(), before_mb=before, table_mb=float(frame.memory_usage().sum())/1e6, rows=len(frame))

def part_reading(folder, quick, done):
    n, rounds = (20_000, 1) if quick else (ROWS, 3)
    write_lists(folder, n)
    table = dict(megabytes=(folder/'list_attr_img.txt').stat().st_size/1e6, ours=medians([alone(read_ours, folder) for _ in range(rounds)]), pandas=(p := alone(read_pandas, folder, min(20_000, n//2))))
    scale = n/p['rows']
    table['pandas_all_computed'] = dict(seconds=p['seconds']*scale, peak_mb=p['before_mb'] + (p['peak_mb'] - p['before_mb'])*scale, table_mb=p['table_mb']*scale, rows=n)
    for f in folder.glob('list_*'): f.unlink()
    print({k: {a: round(b, 1) for a,b in table[k].items()} for k in ('ours', 'pandas', 'pandas_all_computed')}, flush=True)
    yield table

# The photos

def enlarge(table, folder):
    "The same photos at a shop's size, with grain, so that they are as hard to decode as photos"
    from concurrent.futures import ThreadPoolExecutor
    from PIL import Image, ImageChops
    size, rng = KINDS['shop'], np.random.default_rng(0)
    grain = Image.fromarray(rng.normal(128, 4, (*size[::-1], 3)).clip(0, 255).astype(np.uint8))
    def one(o):
        img = Image.open(o[1]).resize(size, Image.Resampling.BICUBIC)
        ImageChops.add(img, ImageChops.offset(grain, 37*o[0]), 1, -128).save(folder/f'{o[0]}.jpg', quality=90)
        return str(folder/f'{o[0]}.jpg')
    folder.mkdir()
    with ThreadPoolExecutor(threads()) as pool: return list(pool.map(one, enumerate(table.items.image)))

def make_photos(folder, n):
    "Both kinds, and their small copies in folder/small; what the copies cost per photo"
    from fabric_touch.deepfashion import make_deepfashion
    from fabric_touch.photos import small_photos
    enlarge(make_deepfashion(folder/'deepfashion', n, size=KINDS['deepfashion'][1]), folder/'shop')
    make = lambda kind: seconds(partial(small_photos, table_of(folder, kind).items, folder/'small', SMALL, n_workers=threads()))
    return {kind: dict(small_ms=1e3*make(kind)/n, file_kb=mean(os.path.getsize(p) for p in table_of(folder, kind).items.image)/1e3) for kind in KINDS}

def photos(folder, quick):
    "The folder of photos, made once, and what the small copies cost"
    import json
    if not (facts := folder/'facts.json').exists(): facts.write_text(json.dumps(alone(make_photos, folder, 64 if quick else 256)))
    return json.loads(facts.read_text())

def table_of(folder, kind):
    "The photos of a kind and 24 attributes; those of the category stand alone here too"
    from dataclasses import replace
    from fabric_touch.deepfashion import read_deepfashion
    table = read_deepfashion(folder/'deepfashion').with_category()
    table = replace(table.choose(list(table.names)[:24]), exclusive=())
    return table if kind == 'deepfashion' else replace(table, items=table.items.assign(image=[str(folder/kind/f'{i}.jpg') for i in range(len(table))]))

# The loops

def our_model(table):
    from fabric_touch.attributes import attribute_model
    from fabric_touch.encoders import image_encoder
    encoder = image_encoder('resnet18', pretrained=False)
    return attribute_model(table, encoder, head_name='linear', fine_tune=True), encoder   # the reference's last layer is linear too

def clock():
    "A callback that notes seconds and losses of an epoch, and the seconds in which the network waits"
    from fastai.callback.core import Callback
    class Clock(Callback):
        order = 100
        def before_train(self): self.mark = time.perf_counter(); self.waits, self.took, self.losses = [], [], []
        def before_batch(self):
            if self.training: self.waits.append(time.perf_counter() - self.mark)
        def after_batch(self):
            if not self.training: return
            self.losses.append(self.loss.item())
            now = time.perf_counter()
            self.took.append(now - self.mark); self.mark = now
    return Clock()

def our_loop(folder, device):
    "A function that trains an epoch of a kind of photos with so many workers, as (seconds of each batch, of which it was waited for, losses)"
    from fastai.optimizer import SGD
    from fabric_touch.attributes import attribute_dls, attribute_learner
    model, encoder = our_model(table_of(folder, 'deepfashion'))
    for m in model.head.modules(): getattr(m, 'reset_parameters', lambda: None)()   # ours begins at the attributes' rates; so both losses begin alike
    learn, timer = None, clock()
    def epoch(kind, workers, rows):
        nonlocal learn
        dls = attribute_dls(table_of(folder, kind), encoder, fold=(rows, rows[:1]), bs=BATCH, folder=folder/'small', num_workers=workers).to(device)
        learn = learn or attribute_learner(dls, model, opt_func=partial(SGD, mom=.9), wd=1e-4, metrics=[], cbs=timer)
        learn.dls = dls
        with learn.no_bar(), learn.no_logging(): learn.fit(1, RATE)
        return timer.took, timer.waits, timer.losses
    return epoch

class Photos:
    "Photos and labels as torchvision's reference has them: opened whole, cropped at random, mirrored, as floats"
    def __init__(self, table, rows):
        import torch
        from torchvision import transforms as T
        self.files, self.y = [table.items.image[i] for i in rows], torch.from_numpy(table.targets()[rows]).float()
        self.made = T.Compose([T.RandomResizedCrop(224, antialias=True), T.RandomHorizontalFlip(), T.PILToTensor(), T.ConvertImageDtype(torch.float), T.Normalize((.485, .456, .406), (.229, .224, .225))])
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        from PIL import Image
        with open(self.files[i], 'rb') as f: return self.made(Image.open(f).convert('RGB')), self.y[i]

def reference_loop(folder, device):
    "The same for torchvision's loop"
    import torch
    from torchvision.models import resnet18
    (model := resnet18()).fc = torch.nn.Linear(512, 24)
    model, loss_func = model.to(device).train(), torch.nn.BCEWithLogitsLoss()
    step = partial(reference_step, model, loss_func, torch.optim.SGD(model.parameters(), RATE, momentum=.9, weight_decay=1e-4))
    def epoch(kind, workers, rows):
        loader = torch.utils.data.DataLoader(Photos(table_of(folder, kind), rows), BATCH, shuffle=True, num_workers=workers)
        mark, waits, took, losses = time.perf_counter(), [], [], []
        for x, y in loader:
            waits.append(time.perf_counter() - mark)
            losses.append(step(x.to(device), y.to(device)))
            took.append(time.perf_counter() - mark); mark += took[-1]
        return took, waits, losses
    return epoch

def reference_step(model, loss_func, opt, x, y):
    loss = loss_func(model(x), y)
    opt.zero_grad(); loss.backward(); opt.step()
    return loss.item()

def loops(folder, who, keep, device, cases, n):
    "Milliseconds per photo of some (kind, workers), after one batch to warm up, and the losses along the way"
    ready(keep)
    epoch = (our_loop if who == 'ours' else reference_loop)(folder, device)
    losses, rng, rows = epoch('deepfashion', 0, list(range(BATCH)))[2], np.random.default_rng(0), []
    for kind, workers in cases:
        took, waits, new = epoch(kind, workers, rng.permutation(len(table_of(folder, kind)))[:n].tolist())
        losses += new
        middle = lambda seconds: 1e3*median(seconds[1:] or seconds)/BATCH          # in a long epoch the first batch comes once
        rows.append(dict(kind=kind, workers=workers, ms=middle(took), waits_ms=middle(waits), first_batch_ms=1e3*took[0]))
    return rows, dict(first=losses[0], last_four=mean(losses[-4:]), batches=len(losses), peak_mb=megabytes())

def part_loop(folder, quick, done):
    "Every way once per round; medians over the rounds so far"
    import torch
    table, cases = dict(photos=photos(folder, quick), systems_photos_per_s=SYSTEMS, network='resnet18', attributes=24, batch=BATCH), [('deepfashion', 1), ('shop', 1), ('shop', 0)]
    ways = {('ours', True): cases, ('reference', False): cases, ('ours', False): cases[:1], ('reference', True): cases[:2]}
    found, facts = {}, {}
    for i in range(1 if quick else 2):
        for device in ('cpu', *['cuda']*torch.cuda.is_available()):
            for (who, keep), some in ways.items():
                rows, facts[f'{who}, keep_memory {keep}, {device}'] = alone(loops, folder, who, keep, device, some, 32 if quick else 256)
                for r in rows: found.setdefault((who, keep, device, r['kind'], r['workers']), []).append(r)
        yield table | dict(rounds=i+1, gpu='measured' if torch.cuda.is_available() else 'not measured', rows=loop_rows(found), training=facts)

def loop_rows(found):
    "Medians, and how many times faster than the reference as it is, with as many workers"
    rows = [dict(who=who, keep_memory=keep, device=device, all_ms=[r['ms'] for r in runs]) | medians(runs) for (who, keep, device, *_), runs in found.items()]
    same = lambda a, b: all(a[k] == b[k] for k in ('device', 'kind', 'workers'))
    for r in rows:
        plain = next(p['ms'] for p in rows if same(p, r) and p['who'] == 'reference' and not p['keep_memory'])
        r |= dict(photos_per_s=1e3/r['ms'], ratio=plain/r['ms'], ratio_to_systems=1e3/r['ms']/SYSTEMS)
    for r in rows: print('{device} {kind:11} workers {workers} {who:9} keep_memory {keep_memory!s:5} {photos_per_s:6.1f} photos/s, waits {waits_ms:5.1f} of {ms:5.1f} ms, {ratio:.2f} x'.format(**r), flush=True)
    return rows

# The steps

def photo_steps(folder, kind, n):
    "Milliseconds per photo of what is done before the network, on one thread"
    ready(True)
    import torch
    from fastai.vision.core import PILImage, ToTensor
    from fabric_touch.attributes import _varied
    from fabric_touch.data import load_photo
    from fabric_touch.photos import small_photos
    torch.set_num_threads(1)
    table, to_tensor, varied = table_of(folder, kind), ToTensor(), _varied(224)
    files, reference, rows = list(table.items.image[:n]), Photos(table, list(range(n))), range(n)
    kept = small_photos(table.items, folder/'small', SMALL)[:n]
    small = [load_photo(p) for p in kept]
    done = [PILImage.create(varied(o)) for o in small]
    steps = dict(decode_full=lambda i: load_photo(files[i]), decode_draft=lambda i: load_photo(files[i], 224), decode_small=lambda i: load_photo(kept[i]), augment=lambda i: PILImage.create(varied(small[i])),
                 to_tensor=lambda i: to_tensor(done[i]).float().div_(255), reference_whole=reference.__getitem__)
    return {k: median(1e3*seconds(lambda: [f(i) for i in rows])/n for _ in range(3)) for k,f in steps.items()}

def network_steps(folder, keep, device, reps):
    "Milliseconds per photo of the network's steps at a batch of 32, and the most memory"
    ready(keep)
    import torch
    from fabric_touch.attributes import AttributeLoss
    model, loss_func = our_model(table := table_of(folder, 'deepfashion'))[0].to(device), AttributeLoss(table.groups)
    opt, x, y = torch.optim.SGD(model.parameters(), RATE, momentum=.9), torch.rand(BATCH, 3, 224, 224, device=device), torch.from_numpy(table.targets()[:BATCH]).to(device)
    sync, runs = torch.cuda.synchronize if device == 'cuda' else lambda: None, []
    for _ in range(reps + 2):
        at = [time.perf_counter()]
        def lap(): sync(); at.append(time.perf_counter())
        loss = loss_func(model(x), y); lap()
        opt.zero_grad(); loss.backward(); opt.step(); lap()
        runs.append([1e3*t/BATCH for t in np.diff(at)])
    forward, backward = np.median(runs[2:], axis=0).tolist()
    return dict(forward=forward, backward_and_step=backward, ms=forward + backward, peak_mb=megabytes())

def hidden(steps, network, loop):
    "The share of the photo's steps for which the network did not wait, and what the loop takes less than all steps one after the other"
    before = sum(steps[k] for k in ('decode_small', 'augment', 'to_tensor'))
    return dict(before_ms=before, network_ms=network, loop_ms=loop['ms'], waits_ms=loop['waits_ms'], hidden_share=max(0., 1 - loop['waits_ms']/before), sum_less_loop_ms=before + network - loop['ms'])

def part_stages(folder, quick, done):
    photos(folder, quick)
    before = {kind: alone(photo_steps, folder, kind, 8 if quick else 48) for kind in KINDS}
    turns = [{keep: alone(network_steps, folder, keep, 'cpu', 2 if quick else 4) for keep in (True, False)} for _ in range(1 if quick else 2)]
    network = {f'keep_memory {keep}': medians([t[keep] for t in turns]) for keep in (True, False)}
    loop = {r['kind']: r for r in done.get('loop', {}).get('rows', []) if (r['who'], r['keep_memory'], r['device'], r['workers']) == ('ours', True, 'cpu', 1)}
    table = dict(photo=before, network=network, one_worker={kind: hidden(before[kind], network['keep_memory True']['ms'], r) for kind,r in loop.items()})
    print(*table.items(), sep='\n', flush=True)
    yield table

# What keep_memory saves and costs

def embed_times(folder, network, keep, n, sizes):
    "Milliseconds per photo and the most memory of `embed` at some batch sizes, the smallest first"
    ready(keep)
    from fabric_touch.embeds import embed
    from fabric_touch.encoders import image_encoder
    encoder, files, rows = image_encoder(network, pretrained=False), list(table_of(folder, 'deepfashion').items.image[:n]), {}
    for bs in sizes:
        run = partial(embed, encoder, bs=bs, progress=False)
        run(files[:bs])                                                            # to warm up
        rows[bs] = dict(ms=1e3*seconds(partial(run, files))/n, peak_mb=megabytes())
    return rows

def memory_rows(found):
    "On and off beside each other"
    rows = []
    for (network, batch), runs in found.items():
        on, off = (medians(runs[k]) for k in (True, False))
        rows.append(dict(network=network, batch=batch, ms_on=on['ms'], ms_off=off['ms'], ratio=off['ms']/on['ms'], peak_mb_on=on['peak_mb'], peak_mb_off=off['peak_mb']))
        print('{network:22} {batch:2}: {ms_off:5.1f} -> {ms_on:5.1f} ms, {ratio:.2f} x; {peak_mb_off:.0f} -> {peak_mb_on:.0f} MB'.format(**rows[-1]), flush=True)
    return rows

def part_memory(folder, quick, done):
    photos(folder, quick)
    found, n, sizes = {}, *((16, (8, 16)) if quick else (128, (8, 64)))
    for i in range(1 if quick else 3):
        for name in ('mobilenetv3_large_100', 'mobilenetv2_100'):
            for keep in (True, False):
                for bs, r in alone(embed_times, folder, name, keep, n, sizes).items(): found.setdefault((name, bs), {}).setdefault(keep, []).append(r)
        yield dict(rounds=i+1, photos=n, rows=memory_rows(found))

# One photo at a time

def timed_predictions(folder, network, n):
    "Milliseconds of `predict_attributes` for one photo, and of its parts, for both kinds"
    ready(True)
    import torch
    from fabric_touch.attributes import attribute_model, predict_attributes
    from fabric_touch.colours import dominant_colours
    from fabric_touch.data import load_photo
    encoder, rows = (model := attribute_model(table_of(folder, 'deepfashion'), network, pretrained=False).eval()).encoder, {}
    for kind in KINDS:
        files = list(table_of(folder, kind).items.image[:n])
        whole = [load_photo(p) for p in files]
        x = [encoder.prepare(o)[None] for o in whole]
        with torch.no_grad():
            v = [encoder(o) for o in x]
            steps = dict(decode=lambda i: load_photo(files[i]), decode_draft=lambda i: load_photo(files[i], 224), prepare=lambda i: encoder.prepare(whole[i]), encode=lambda i: encoder(x[i]), head=lambda i: model.head(v[i]),
                         colours=lambda i: dominant_colours(whole[i]), weights_digest=lambda i: encoder.id, whole=lambda i: predict_attributes(files[i], model))
            rows[kind] = {k: median([1e3*seconds(partial(f, i)) for i in [0, *range(n)]][1:]) for k,f in steps.items()}
    return rows

def part_predict(folder, quick, done):
    photos(folder, quick)
    table = dict(rows=[])
    for network in ('resnet18', 'mobilenetv3_large_100'):
        for kind, ms in alone(timed_predictions, folder, network, 4 if quick else 24).items():
            table['rows'].append(dict(network=network, kind=kind, ms=ms))
            print(f'{network:22} {kind:11}', {k: round(v, 1) for k,v in ms.items()}, flush=True)
        yield table

PARTS = dict(reading=part_reading, loop=part_loop, stages=part_stages, memory=part_memory, predict=part_predict)

def machine():
    "Where it is measured"
    import platform, torch, torchvision, timm, fastai, pandas, PIL
    info = Path('/proc/cpuinfo')
    cpu = next((o.partition(':')[2].strip() for o in info.read_text().splitlines() if o.startswith('model name')), '') if info.exists() else platform.processor()
    return dict(device='cpu', cpu=cpu, cores=len(os.sched_getaffinity(0)), threads=threads(), python=platform.python_version(), gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else 'not measured',
                **{m.__name__: m.__version__ for m in (torch, torchvision, timm, fastai, pandas, PIL)})

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    quick:bool=False, # Try everything on little
):
    "Measure reading, training and predicting garment attributes"
    warnings.filterwarnings('ignore')
    import tempfile
    from heads import read, write
    done = read(json) | machine()
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            print(f'\n{name}', flush=True)
            start, load = time.perf_counter(), os.getloadavg()[0]
            for table in pick(PARTS, name, 'part')(Path(folder), quick, done):
                done[name] = table | dict(load=load); write(json, done)
            print(f'{time.perf_counter() - start:.0f} s', flush=True)
