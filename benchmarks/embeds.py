"""What the embedding store saves: photos embedded a first and a second time, and vectors looked up among a million.

    python benchmarks/embeds.py [--json FILE] [--photos 300] [--vectors 1000000] [--repeats 5]

Each figure is the median of the repeats. Everything is generated and lies in a temporary folder: 300 MB for a million vectors.
"""
import statistics, tempfile, time
from json import dumps
from pathlib import Path

import numpy as np, torch
from PIL import Image
from torch import nn
from fastcore.script import call_parse
from fabric_touch.embeds import EmbeddingStore, embed


class SmallConv(nn.Module):
    "Four convolutions on 96 pixels: about as cheap as an encoder can be, so the savings are the smallest one may expect"
    id, n_out = 'small conv/1', 64
    def __init__(self):
        super().__init__()
        widths = (3, 16, 32, 64, 64)
        layers = [m for a, b in zip(widths, widths[1:]) for m in (nn.Conv2d(a, b, 3, 2, 1), nn.ReLU())]
        self.body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    def prepare(self, img): return torch.from_numpy(np.array(img.resize((96, 96)))).permute(2, 0, 1)/255
    def forward(self, x): return self.body(x)


def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

def median(f, repeats): return statistics.median(timed(f) for _ in range(repeats))

def bench_photos(folder, n, repeats):
    "Embed n photos of 480 x 360 with an empty store and with a full one"
    rng, photos = np.random.default_rng(0), []
    for i in range(n):
        photos.append(folder/f'{i}.jpg')
        small = Image.fromarray(rng.integers(0, 255, (45, 60, 3), dtype=np.uint8))
        small.resize((480, 360), Image.BICUBIC).save(photos[-1], quality=90)
    encoder = SmallConv()
    def run(store): embed(encoder, photos, store, progress=False)
    run(None)                                              # imports and caches
    stores = iter(range(1000))
    first = median(lambda: run(EmbeddingStore(folder/f'store{next(stores)}', encoder.id, encoder.n_out)), repeats)
    second = median(lambda: run(EmbeddingStore(folder/'store0', encoder.id, encoder.n_out)), repeats)
    return dict(photos=n, first_s=first, second_s=second, ratio=first/second, first_ms_per_photo=1e3*first/n, second_ms_per_photo=1e3*second/n)

def bench_store(folder, n, repeats, ask=10_000, n_out=64):
    "Fill a store with n vectors, open it, look some up and all; beside it a dict of arrays in memory"
    rng = np.random.default_rng(0)
    raw = rng.bytes(16*n).hex()
    names = [raw[i:i+32] for i in range(0, len(raw), 32)]
    vectors = rng.normal(size=(n, n_out)).astype(np.float32)
    make = lambda: EmbeddingStore(folder/'many', 'synthetic', n_out)
    store, step = make(), 100_000
    fill = timed(lambda: [store.add(names[i:i+step], vectors[i:i+step]) for i in range(0, n, step)])
    some = [names[i] for i in rng.choice(n, ask)]
    held = dict(zip(names, vectors))
    found = store.get(some)[1]
    assert np.array_equal(found, np.stack([held[o] for o in some]))
    res = dict(vectors=n, n_out=n_out, fill_s=fill, open_s=median(make, repeats), get_all_s=median(lambda: store.get(names), min(repeats, 3)),
               asked=ask, get_some_s=median(lambda: store.get(some), repeats), dict_some_s=median(lambda: np.stack([held[o] for o in some]), repeats))
    return res | dict(ratio=res['get_some_s']/res['dict_some_s'])

@call_parse
def main(
    photos:int=300, # How many photos to embed
    vectors:int=1_000_000, # How many vectors to store
    repeats:int=5, # Runs behind each median
    json:str=None, # Where to write the figures
):
    "What the embedding store saves, in one run"
    with tempfile.TemporaryDirectory() as folder:
        res = dict(photos=bench_photos(Path(folder), photos, repeats), store=bench_store(Path(folder), vectors, repeats), threads=torch.get_num_threads(), torch=torch.__version__)
    e, s = res['photos'], res['store']
    print(f"{e['photos']} photos: first time {e['first_s']:.2f} s, second time {e['second_s']:.3f} s: {e['ratio']:.0f} times faster")
    print(f"{s['vectors']:,} vectors of {s['n_out']}: filled in {s['fill_s']:.1f} s, opened in {s['open_s']:.2f} s, all read and checked in {s['get_all_s']:.1f} s")
    print(f"{s['asked']:,} of them looked up: {1e3*s['get_some_s']:.1f} ms from the store, {1e3*s['dict_some_s']:.1f} ms from a dict in memory ({s['ratio']:.1f} times)")
    if json: Path(json).write_text(dumps(res, indent=1) + '\n')
