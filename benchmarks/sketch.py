"""How fast the sketch ensemble reads its pictures and asks its fold models.

    python benchmarks/sketch.py [--json FILE] [--part together|memory|decoding|workers|gpu] [--quick]

The pictures are `pacs_sketch`, or generated drawings where it is not at hand; weights are random. Ways take turns within a part, and figures are medians over the rounds.
`together`: milliseconds per picture for five fold models of one architecture over all pictures. `members`: the plain way, each model over a DataLoader of its own, which decodes and prepares every picture again (no workers, here and there); the others: one pass, each batch shown to `Together` in that way.
`logits_ms` is what `Together` takes without decoding and preparing, and `plain_ms` the same of the plain loop over models. `gap` is the largest difference of a logit from the plain way: more than 1e-5 is an error.
`memory`: megabytes that a process grows by at most, from the built models on: weights that are copied, and intermediate results of a batch of 8; each in a fresh process.
`decoding`: milliseconds per picture of an epoch that only reads, from the files and from the squares of `read_pixels`, both down to the same tensors, which is checked; and what making the file of squares costs, and after how many epochs it is won back.
`workers`: milliseconds per picture of an epoch that trains MobileNetV3-small at half width on `sketch` augmentations of stored squares, batches of 32, with 0, 1 and 2 worker processes that live on; `starts_s` is the epoch in which they start, `augment_ms` and `network_ms` what the two take alone.
`gpu`: milliseconds per picture of five fold models and of a training step, with 32 bits and with bf16 and channels last, where there is CUDA; else it says that it was not measured.
`load` is how busy the machine was when a part began: to be run on a quiet one. `quick` tries everything on little.
"""
import os, tempfile, time, warnings
from functools import partial
from multiprocessing import set_start_method
from pathlib import Path
from statistics import median
import numpy as np
from fastcore.script import call_parse
from fabric_touch.core import data_dir, has_data, keep_memory, pick, seeded
from attributes import alone, machine, megabytes, seconds, threads

FOLDS, CLASSES, TOLERANCE = 5, 7, 1e-5
ARCHS = dict(mobilenetv3_small_100=224, resnet10t=128, convnext_atto=128, test_vit2=64)    # timm's name -> side of the pictures
BATCHES = {1: 4, 8: 8, 32: 32}                                                            # batch -> pictures of a pass

def start(keep=True):
    "All cores, or OMP_NUM_THREADS; workers are forked, as in training"
    warnings.filterwarnings('ignore'); set_start_method('fork', force=True)
    import torch
    torch.set_num_threads(threads()); torch.manual_seed(0)
    if keep: keep_memory()

def by_itself(quick): return (lambda f, *args: f(*args)) if quick else alone      # in a process of its own; in this one, to try it quickly

# Pictures and models

def pictures(folder, n):
    "Paths of n pictures, alike in number from every class, and where they come from"
    from fabric_touch.folders import read_folders
    from fabric_touch.sketches import make_sketches
    real = has_data('pacs_sketch')
    if not real and not (folder/'sketches').exists(): make_sketches(folder/'sketches', -(-n//CLASSES), size=227)
    table = read_folders(data_dir('pacs_sketch')) if real else make_table(folder/'sketches')
    return [str(p) for p in np.random.default_rng(0).permutation(table.items.image)][:n], 'pacs_sketch' if real else 'generated'

def make_table(folder):
    from fabric_touch.sketches import read_sketches
    return read_sketches(folder)

def fold_models(arch, size, n=FOLDS):
    "Models as training would leave them: no branch switched off by a weight of 0, BatchNorms that have seen something"
    import timm, torch
    args = dict(img_size=size) if 'vit' in arch else {}
    with seeded(0), torch.no_grad():
        models = [timm.create_model(arch, num_classes=CLASSES, **args) for _ in range(n)]
        for m in models:
            for p in m.parameters():
                if p.min() == p.max(): p.add_(.02*torch.randn_like(p))
            for o in m.modules():
                if isinstance(o, torch.nn.BatchNorm2d): o.momentum = .5
            m.train()(torch.randn(8, 3, 64, 64))
    return [m.eval().requires_grad_(False) for m in models]

class Files:
    "Pictures from their files, as tensors"
    def __init__(self, paths, size):
        from fabric_touch.augment import test_transform
        self.paths, self.transform = paths, test_transform('sketch', size)
    def __len__(self): return len(self.paths)
    def picture(self, i):
        from fabric_touch.data import load_photo
        return np.array(load_photo(self.paths[i]))
    def change(self, img, i): return self.transform(image=img)['image']
    def __getitem__(self, i):
        import torch
        return torch.from_numpy(self.change(self.picture(i), i)).permute(2, 0, 1).float().div_(255).sub_(.45).div_(.225)

class Squares(Files):
    "The same, from the squares of `read_pixels`"
    def __init__(self, pixels): super().__init__(range(len(pixels)), pixels.size); self.pixels = pixels
    def picture(self, i): return self.pixels[i]

class Augmented(Squares):
    "Squares with the augmentations of training, and a class"
    def __init__(self, pixels):
        from fabric_touch.augment import Augment, train_transform
        super().__init__(pixels); self.augment = Augment(train_transform('sketch', pixels.size))
    def change(self, img, i): return self.augment(img, 0, i)
    def __getitem__(self, i): return super().__getitem__(i), i % CLASSES

def loader(data, batch, **kwargs):
    from torch.utils.data import DataLoader
    return DataLoader(data, batch, **kwargs)

def turns(ways, rounds, warm=True):
    "Way to seconds, the median over rounds in which the ways take turns, each of which ran once before"
    took = {k: [] for k in ways}
    for f in ways.values():
        if warm: f()
    for _ in range(rounds):
        for k,f in ways.items(): took[k].append(seconds(f))
    return {k: median(v) for k,v in took.items()}

# Fold models together

def over(data, batch, ask):
    "What is said of all pictures in one pass, (m, n, classes)"
    import torch
    with torch.inference_mode(): return torch.cat([ask(x) for x in loader(data, batch)], 1)

def one_by_one(data, batch, models):
    "The plain way: each model over all pictures"
    import torch
    return torch.cat([over(data, batch, lambda x: m(x)[None]) for m in models])

def compare(arch, size, batch, n, rounds, paths):
    "Rows of one architecture and batch: the plain way and every way of `Together`"
    import torch
    from fabric_touch.together import WAYS, Together
    data, models = Files(paths[:n], size), fold_models(arch, size)
    asks = {how: Together(fold_models(arch, size), how) for how in WAYS}
    passes = dict(members=partial(one_by_one, data, batch, models)) | {how: partial(over, data, batch, ask) for how,ask in asks.items()}
    said = {k: f() for k,f in passes.items()}
    gaps = {k: (v - said['members']).abs().max().item() for k,v in said.items()}
    if max(gaps.values()) > TOLERANCE: raise AssertionError(f'{arch}, batch {batch}: logits differ from the plain way by {gaps}')
    x = torch.stack([data[i] for i in range(batch)])
    def alone_of(ask):
        with torch.inference_mode(): ask(x)
    whole = turns(passes, rounds, warm=False)
    logits = turns(dict(members=lambda: alone_of(lambda x: [m(x) for m in models])) | {k: partial(alone_of, ask) for k,ask in asks.items()}, rounds, warm=False)
    return [dict(arch=arch, size=size, batch=batch, way=k, ms=1e3*whole[k]/n, ratio=whole['members']/whole[k], logits_ms=1e3*logits[k]/batch, logits_ratio=logits['members']/logits[k], gap=gaps[k]) for k in passes]

def part_together(folder, quick, done):
    paths, source = pictures(folder, 8 if quick else max(BATCHES.values()))
    rows = []
    for arch, size in list(ARCHS.items())[3 if quick else 0:]:
        for batch, n in ({1: 2, 8: 8} if quick else BATCHES).items():
            rows += (now := compare(arch, size, batch, n, 1 if quick else 3, paths))
            for r in now: print('{arch:22} {size} batch {batch:2} {way:13} {ms:7.2f} ms per picture, {ratio:.2f} x; logits alone {logits_ms:7.2f} ms, {logits_ratio:.2f} x; gap {gap:.0e}'.format(**r), flush=True)
        yield dict(folds=FOLDS, pictures=source, rows=rows)

# Memory

def grows(arch, size, how, batch=8):
    "Megabytes above the built models"
    start(keep=False)
    import torch
    from fabric_touch.together import Together
    models, x = fold_models(arch, size), torch.zeros(batch, 3, size, size)
    weights, before = sum(t.nbytes for m in models for t in [*m.parameters(), *m.buffers()])/1e6, megabytes('VmRSS')
    ask = Together(models, how)
    for _ in range(2): ask(x)
    return dict(weights_mb=weights, grows_mb=megabytes() - before)

def part_memory(folder, quick, done):
    from fabric_touch.together import WAYS
    rows = []
    for arch, size in (('test_resnet', 64),) if quick else (('resnet10t', 128), ('mobilenetv3_small_100', 224)):
        for how in list(WAYS)[2 if quick else 0:]:
            rows.append(dict(arch=arch, size=size, way=how) | by_itself(quick)(grows, arch, size, how))
            print('{arch:22} {size} {way:13} five models {weights_mb:6.1f} MB, grows by {grows_mb:6.1f} MB'.format(**rows[-1]), flush=True)
    yield dict(folds=FOLDS, batch=8, rows=rows)

# Decoding

def part_decoding(folder, quick, done):
    from fabric_touch.pixels import read_pixels
    rows, (paths, source) = [], pictures(folder, 20 if quick else 300)
    for size in (64,) if quick else (128, 224):
        made = [seconds(lambda: read_pixels(paths, size, folder=folder/f'pixels{size}-{i}')) for i in range(1 if quick else 3)]
        kept = Squares(read_pixels(paths, size, folder=folder/f'pixels{size}-0'))
        files = Files(paths, size)
        gap = max((files[i] - kept[i]).abs().max().item() for i in range(min(20, len(paths))))
        if gap > 0: raise AssertionError(f'a picture from the squares differs by {gap} from that of its file')
        drain = lambda data: [x for x in loader(data, 32)]
        read = turns(dict(files=lambda: [files.picture(i) for i in range(len(paths))], squares=lambda: [kept.picture(i) for i in range(len(paths))]), 1 if quick else 5)
        epoch = turns(dict(files=lambda: drain(files), squares=lambda: drain(kept)), 1 if quick else 5)
        ms = lambda s: 1e3*s/len(paths)
        rows.append(dict(size=size, pictures=len(paths), files_ms=ms(epoch['files']), squares_ms=ms(epoch['squares']), ratio=epoch['files']/epoch['squares'], read_files_ms=ms(read['files']), read_squares_ms=ms(read['squares']), read_ratio=read['files']/read['squares'],
                         make_ms=ms(median(made)), won_back_epochs=median(made)/(epoch['files'] - epoch['squares']), megabytes=kept.pixels.array.nbytes/1e6))
        print('{size} pixels: files {files_ms:.2f} ms per picture, squares {squares_ms:.2f}, {ratio:.2f} x; reading alone {read_files_ms:.3f} and {read_squares_ms:.3f}, {read_ratio:.1f} x; made at {make_ms:.2f}, won back in {won_back_epochs:.1f} epochs, {megabytes:.1f} MB'.format(**rows[-1]), flush=True)
    yield dict(source=source, rows=rows)

# Workers

def train_pass(model, opt, batches):
    from torch.nn.functional import cross_entropy
    for x, y in batches: opt.zero_grad(); cross_entropy(model(x), y).backward(); opt.step()

def epochs(paths, size, folder, workers, rounds, batch=32):
    "Rows of an epoch with each number of workers, which take turns"
    start()
    import timm, torch
    from fabric_touch.pixels import read_pixels
    with seeded(0): model = timm.create_model('mobilenetv3_small_050', num_classes=CLASSES).train()
    data, opt = Augmented(read_pixels(paths, size, folder=folder/f'pixels{size}')), torch.optim.AdamW(model.parameters())
    loaders = {k: loader(data, batch, num_workers=k, persistent_workers=k > 0, shuffle=True, drop_last=True) for k in workers}
    x, y = next(iter(loaders[0]))
    run = lambda k: train_pass(model, opt, loaders[k])
    run(0)                                                              # the network's first steps are slower
    starts = {k: seconds(lambda: run(k)) for k in workers}
    n, took = len(loaders[0])*batch, turns({k: partial(run, k) for k in workers}, rounds)
    alone_ms = dict(augment_ms=1e3*seconds(lambda: [data[i] for i in range(batch)])/batch, network_ms=1e3*median(seconds(lambda: train_pass(model, opt, [(x, y)])) for _ in range(3))/batch)
    return [dict(workers=k, ms=1e3*took[k]/n, ratio=took[0]/took[k], starts_s=starts[k], **alone_ms) for k in workers]

def part_workers(folder, quick, done):
    paths, source = pictures(folder, 16 if quick else 96)
    rows = by_itself(quick)(epochs, paths, 64 if quick else 224, folder, (0, 2) if quick else (0, 1, 2), 1 if quick else 3, 8 if quick else 32)
    for r in rows: print('{workers} workers: {ms:6.2f} ms per picture, {ratio:.2f} x; first epoch {starts_s:.1f} s; augmentation alone {augment_ms:.2f}, network alone {network_ms:.2f}'.format(**r), flush=True)
    yield dict(source=source, rows=rows)

# GPU

def gpu_turns(arch, size, batch, rounds):
    "Milliseconds per picture with 32 bits and with bf16 and channels last, and how far the probabilities are apart"
    import torch
    from fabric_touch.together import WAYS, Together, mean_probs
    x, ways = torch.randn(batch, 3, size, size, device='cuda'), {}
    for bf16 in (False, True):
        for how in WAYS:
            ask = Together([m.cuda() for m in fold_models(arch, size)], how)
            ways[f"{'bf16' if bf16 else 'fp32'} {how}"] = partial(asked, mean_probs, ask, x, bf16)
    said = {k: f() for k,f in ways.items()}
    took = turns(ways | {f'train {k}': partial(gpu_step, arch, size, x, k == 'bf16') for k in ('fp32', 'bf16')}, rounds)
    return [dict(arch=arch, size=size, batch=batch, way=k, ms=1e3*v/batch, gap=(said[k] - said['fp32 loop']).abs().max().item() if k in said else None) for k,v in took.items()]

def asked(ask, model, x, bf16):
    import torch
    with torch.autocast('cuda', torch.bfloat16, enabled=bf16): res = ask(model, x)
    torch.cuda.synchronize()
    return res

_trained = {}

def gpu_step(arch, size, x, bf16):
    "A training step; bf16 comes with channels last"
    import torch
    from torch.nn.functional import cross_entropy
    layout = torch.channels_last if bf16 else torch.contiguous_format
    if (arch, bf16) not in _trained:
        model = fold_models(arch, size, 1)[0].requires_grad_(True).train().cuda().to(memory_format=layout)
        _trained[arch, bf16] = model, torch.optim.AdamW(model.parameters())
    model, opt = _trained[arch, bf16]
    opt.zero_grad()
    with torch.autocast('cuda', torch.bfloat16, enabled=bf16): loss = cross_entropy(model(x.contiguous(memory_format=layout)), torch.arange(len(x), device='cuda') % CLASSES)
    loss.backward(); opt.step(); torch.cuda.synchronize()

def part_gpu(folder, quick, done):
    import torch
    if not torch.cuda.is_available(): print('not measured: no CUDA here'); yield dict(gpu='not measured', rows=[]); return
    rows = []
    for arch, size in list(ARCHS.items())[3 if quick else 0:]:
        for batch in (2,) if quick else (8, 64):
            rows += (now := gpu_turns(arch, size, batch, 1 if quick else 9))
            for r in now: print('{arch:22} {size} batch {batch:2} {way:20} {ms:.3f} ms per picture'.format(**r), flush=True)
            yield dict(gpu=torch.cuda.get_device_name(), folds=FOLDS, rows=rows)

PARTS = dict(together=part_together, memory=part_memory, decoding=part_decoding, workers=part_workers, gpu=part_gpu)

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    quick:bool=False, # Try everything on little
):
    "Measure reading, and fold models that are evaluated together"
    warnings.filterwarnings('ignore')
    import cv2
    from heads import read, write
    start()
    done = read(json) | machine() | dict(opencv=cv2.__version__)
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            print(f'\n{name}', flush=True)
            begin, load = time.perf_counter(), os.getloadavg()[0]
            for table in pick(PARTS, name, 'part')(Path(folder), quick, done):
                done[name] = table | dict(load=load, quick=quick); write(json, done)
            print(f'{time.perf_counter() - begin:.0f} s', flush=True)
