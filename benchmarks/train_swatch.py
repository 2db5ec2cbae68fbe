"""Train the `swatch` encoder on generated swatches and write fabric_touch/weights/swatch.safetensors.

It learns to tell the *structure* of a swatch from its picture: which weave or knit, the yarn's spacing and thickness, hairiness and so
on. It is never shown a touch, nor a blend. The fabrics come from seeds of their own, far from those of demos, notebooks and tests.

    python benchmarks/train_swatch.py [--n 13000] [--epochs 12] [--out fabric_touch/weights/swatch.safetensors] [--json FILE]
"""
import time
from json import dumps
import numpy as np, torch, torch.nn.functional as F
from torch import nn
from fastcore.script import call_parse
from fastprogress.fastprogress import progress_bar
from safetensors.torch import save_file
from fabric_touch.core import seeded, whole_file
from fabric_touch.encoders import ImageEncoder, swatch_body
from fabric_touch.swatches import make_swatches

SEED = 9_000_000
NUMBERS = dict(spacing=np.log, yarn=np.log, pile=lambda x: np.log1p(5*x), float=np.log, cover=None, irregularity=None, hairiness=None, sheen=None, twist=None)

def swatches(n, seed):
    "Pictures (n, 3, 96, 96) uint8, structure classes (n,), standardised numbers (n, k)"
    parts = [make_swatches(min(500, n-i), seed=seed, raters=1, start=i) for i in progress_bar(range(0, n, 500))]
    table = {k: np.concatenate([p.structure[k].to_numpy() for p in parts]) for k in ('structure', *NUMBERS)}
    x = torch.from_numpy(np.concatenate([p.images for p in parts])).permute(0, 3, 1, 2).contiguous()
    return x, table['structure'], np.stack([(f or (lambda v: v))(table[k].astype(float)) for k,f in NUMBERS.items()], 1)

def turned(x):
    "A batch flipped at random; structure does not change"
    if torch.rand(()) < .5: x = x.flip(-1)
    return x.flip(-2) if torch.rand(()) < .5 else x

def loss(out, kind, numbers, k): return F.cross_entropy(out[:, :k], kind) + 2*F.smooth_l1_loss(out[:, k:], numbers)

def train(enc, head, x, kind, numbers, k, epochs, bs=64, lr=2e-3):
    params = [*enc.parameters(), *head.parameters()]
    opt = torch.optim.AdamW(params, lr, weight_decay=.02)
    steps = len(x)//bs
    sched = torch.optim.lr_scheduler.OneCycleLR(opt, lr, total_steps=steps*epochs, pct_start=.2)
    for e in range(epochs):
        enc.train(), head.train()
        total = 0.
        for idx in torch.randperm(len(x))[:steps*bs].split(bs):
            xb = turned(x[idx]).float().div(255).to(memory_format=torch.channels_last)
            l = loss(head(enc(xb)), kind[idx], numbers[idx], k)
            opt.zero_grad(); l.backward(); opt.step(); sched.step()
            total += l.item()
        print(f'epoch {e+1:2d}  loss {total/steps:.4f}', flush=True)

@torch.no_grad()
def scores(enc, head, x, kind, numbers, k):
    "Accuracy of the structure and R2 of each number on unseen swatches"
    enc.eval(), head.eval()
    out = torch.cat([head(enc(b.float().div(255))) for b in x.split(256)])
    r2 = 1 - (out[:, k:]-numbers).square().mean(0)/numbers.var(0)
    return dict(structure=(out[:, :k].argmax(1) == kind).float().mean().item()) | {n: round(v.item(), 3) for n,v in zip(NUMBERS, r2)}

@call_parse
def main(
    n:int=13000, # Swatches to train on
    epochs:int=12, # Times over all of them
    out:str='fabric_touch/weights/swatch.safetensors', # Weights to write
    json:str=None, # Also write the scores here
):
    "Train the swatch encoder"
    start = time.perf_counter()
    x, names, numbers = swatches(n+1000, SEED)
    kinds = sorted(set(names)); k = len(kinds)
    kind = torch.tensor([kinds.index(s) for s in names])
    numbers = torch.from_numpy((numbers - numbers.mean(0))/numbers.std(0)).float()
    print(f'{time.perf_counter()-start:.0f} s to draw {n+1000} swatches')
    with seeded(0):
        enc = ImageEncoder(swatch_body(), 'swatch', 96, (.5,)*3, (.25,)*3).to(memory_format=torch.channels_last)
        head = nn.Linear(enc.n_out, k+numbers.shape[1])
        train(enc, head, x[1000:], kind[1000:], numbers[1000:], k, epochs)
        res = scores(enc, head, x[:1000], kind[:1000], numbers[:1000], k) | dict(n=n, epochs=epochs, seconds=round(time.perf_counter()-start))
    with whole_file(out) as tmp: save_file({k: v.half().contiguous() if v.is_floating_point() else v for k,v in enc.body.state_dict().items()}, tmp)
    print(dumps(res, indent=1))
    if json:
        with whole_file(json) as tmp: tmp.write_text(dumps(res, indent=1))
