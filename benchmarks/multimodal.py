"""How fast the multimodal T5 trains and answers, with what is frozen computed once, and without.

    python benchmarks/multimodal.py [--json FILE] [--part train|labels|counted|gpu] [--quick]

Photos are generated swatches with generated captions; all weights are random. Ways take turns within a part, and figures are medians over the rounds.
`train`: target tokens per second of training steps, from item to updated weights. `plain`: photos are decoded and go through the image model, sources through the language model, in every step. `image kept`: the cells of each photo were
computed once and are read. `both kept`: the language model, besides, remembers each source that it has read. The losses of the first steps must agree within 1e-3: the same model is trained. `fill_s` is what computing the cells once takes, and
`paid_after` after how many epochs that is won back. Captions have one prompt for all; hidden words have another source for each caption and epoch, so there is nothing to remember, and `both kept` is left out.
`labels`: milliseconds per photo for the probabilities of 10 and of 1,000 labels: `rows` decodes the row of every label, `tree` (`label_probs`) those to the forks; `gap` is the largest difference of a probability.
`counted`: milliseconds of a training step with the scores of all places of the target and of those that count, for captions of unequal length and for hidden codes.
`gpu`: `train` with bf16 where there is CUDA; else it says that it was not measured.
`load` is how busy the machine was when a part began: to be run on a quiet one. `quick` tries everything on little.
"""
import os, tempfile, time, warnings
from functools import partial
from pathlib import Path
from statistics import median
import numpy as np
from fastcore.script import call_parse
from fabric_touch.core import keep_memory, pick, seeded
from attributes import machine, seconds, threads

TOLERANCE = 1e-3
IMAGES = dict(swinv2_tiny=('microsoft/swinv2-tiny-patch4-window8-256', {}), mobilenetv3_large=('mobilenetv3_large_100', {}))      # name here -> cell_encoder's name and arguments
SMALL = dict(d_model=256, num_layers=4, num_heads=4, d_ff=1024, dropout_rate=0.)                                                # the transformer

def settings(folder, image, **kwargs):
    "A config whose networks have random weights"
    from fabric_touch.options import MultimodalConfig
    return MultimodalConfig(image_model_name=IMAGES[image][0], image_weights='random', language_model_name='t5-small', language_weights='random', tokenizer='train', vocab_size=2000, image_vocab_size=1024, ffn=True, batch_size=16, num_steps=1000,
                            root_dir=str(folder), **dict(store=str(folder/'store')) | SMALL | kwargs)

def table(folder, n):
    from fabric_touch.captions import make_captions, read_coco
    place = folder/f'swatches{n}'
    return make_captions(place, n, size=256) if not place.exists() else read_coco(place/'captions.json', place/'images')

# Training

def one_way(m, data, way):
    "The items of a way to train"
    from fabric_touch.multimodal import ItemSet, _Live, _draws, item_sets
    language = m.model.language_model
    if way != 'both kept': language.forward = lambda ids, mask: language.net(input_ids=ids, attention_mask=mask.long()).last_hidden_state      # each source in each step
    if way == 'plain': return ItemSet(m, _draws(m, data), _Live(m.model.image_model))
    return item_sets(m, [[data]])[0]

class Steps:
    "Training steps of one way, on and on"
    def __init__(self, folder, image, way, data, bf16=False, **kwargs):
        import torch
        from fabric_touch.core import default_device
        from fabric_touch.multimodal import build_multimodal
        from fabric_touch.t5 import TokenLoss
        self.m, self.bf16, self.device, self.at = build_multimodal(settings(folder, image, **kwargs), list(data.items.text)), bf16, default_device(), 0
        start = time.perf_counter()
        self.items, self.loss = one_way(self.m, data, way), TokenLoss()
        self.fill_s = time.perf_counter() - start
        self.model = self.m.model.to(self.device).train()
        self.opt = torch.optim.AdamW(self.model.parameters(), lr=1e-4)
        self.order = np.random.default_rng(0).permutation(len(self.items))
    def step(self):
        "The loss of a step and its real tokens"
        import torch
        from fabric_touch.multimodal import collate
        from fastai.torch_core import to_device
        rows, self.at = np.take(self.order, range(self.at, self.at + 16), mode='wrap'), self.at + 16
        *x, labels = to_device(collate([self.items[int(i)] for i in rows]), self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16): loss = self.loss(self.model(*x), labels)
        loss.backward(); self.opt.step(); self.opt.zero_grad()
        return loss.item(), int(self.loss.count(labels))

def speeds(ways, n_steps, rounds):
    "Tokens per second of each way, taking turns, and the losses of the first round"
    found, first = {k: [] for k in ways}, {}
    for r in range(rounds + 1):                             # the first round warms up
        for k,steps in ways.items():
            start = time.perf_counter()
            losses, tokens = zip(*[steps.step() for _ in range(n_steps)])
            took = time.perf_counter() - start
            if r: found[k].append(sum(tokens)/took)
            else: first[k] = losses
    return {k: median(v) for k,v in found.items()}, first

def train_rows(folder, image, task, quick, bf16=False):
    n, (n_steps, rounds) = (24, (1, 1)) if quick else (96, (3, 5))
    data, pretrain = table(folder, n), dict(pretrain=True, image_mask_ratio=0.) if task == 'hidden words' else {}
    store = str(folder/f'store {image} {task}')
    names = ('plain', 'image kept', 'both kept')[:2 if pretrain else 3]
    ways = {k: Steps(folder, image, k, data, bf16, store=store, **pretrain) for k in names}
    found, first = speeds(ways, n_steps, rounds)
    gap = max(abs(a - b) for k in names for a,b in zip(first[k], first['plain']))
    assert gap < (.05 if bf16 else TOLERANCE), f'the ways train different models: losses differ by {gap}'
    photos, per_item = len(data.photos()), np.mean([len(t) for t in ways['plain'].items.target])
    fill, saved = ways['image kept'].fill_s - ways['plain'].fill_s, len(data)*per_item*(1/found['plain'] - 1/found['image kept'])
    return [dict(image=image, task=task, way=k, tokens_per_s=v, ratio=v/found['plain'], gap=gap, photos=photos, captions=len(data), fill_s=fill if k != 'plain' else 0., paid_after=fill/saved if k != 'plain' else 0.) for k,v in found.items()]

def part_train(folder, quick, done):
    rows = []
    for image in list(IMAGES)[1 if quick else 0:]:
        for task in ('captions', 'hidden words'):
            rows += (now := train_rows(folder, image, task, quick))
            for r in now: print('{image:18} {task:13} {way:11} {tokens_per_s:8.1f} target tokens per second, {ratio:.2f} x; cells filled in {fill_s:.1f} s, paid after {paid_after:.1f} epochs'.format(**r), flush=True)
            yield dict(transformer=SMALL, batch=16, rows=rows)

# Labels

def label_names(k):
    "Names of clothes, or ImageNet's"
    from fabric_touch.captions import imagenet_names
    return ['dress', 'hat', 'longsleeve', 'outwear', 'pants', 'shirt', 'shoes', 'shorts', 'skirt', 't-shirt'][:k] if k <= 10 else list(imagenet_names().values())[:k]

def by_rows(model, read, mask, tree, at_once=64):
    "Probabilities by decoding every label's row"
    import torch
    from fabric_touch.t5 import PAD, shifted
    out = torch.zeros(len(read), len(tree.rows))
    for s in range(0, len(tree.rows), at_once):
        part = tree.rows[s:s+at_once]
        ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(r) for r in part], batch_first=True, padding_value=PAD)
        b, r = len(read), len(ids)
        scores = model._scores(model._decode(read.repeat_interleave(r, 0), mask.repeat_interleave(r, 0), shifted(ids).repeat(b, 1))).unflatten(0, (b, r))
        for k,row in enumerate(part):
            for i,t in enumerate(row):
                if row[:i] in tree.ways: out[:, s+k] += scores[:, k, i, tree.ways[row[:i]]].log_softmax(-1)[:, tree.ways[row[:i]].index(t)]
    return out.exp()

def label_rows(folder, k, quick):
    import torch
    from fabric_touch.multimodal import build_multimodal
    from fabric_touch.t5 import LabelTree
    from fabric_touch.tokens import label_trie
    labels = label_names(k)
    m = build_multimodal(settings(folder, 'mobilenetv3_large'), [f'a photo of {l}' for l in labels] + ['What does the image describe ?'])
    tree, cells = LabelTree(label_trie(m.tokens, labels)[1]), torch.randn(4, m.model.image_model.n_cells, m.model.image_model.width)
    x = next(m.batches(cells))
    with torch.no_grad():
        read, mask = m.model.eval().encode(*x)
        ways = dict(rows=lambda: by_rows(m.model, read, mask, tree), tree=lambda: m.model.label_probs(*x, tree))
        said = {w: f() for w,f in ways.items()}
        took = {w: [] for w in ways}
        for _ in range(1 if quick else 5):
            for w,f in ways.items(): took[w].append(seconds(f))
    gap = (said['rows'] - said['tree']).abs().max().item()
    assert gap < 1e-4, f'tree and rows differ by {gap}'
    return [dict(labels=len(labels), way=w, decoded=len(tree.rows if w == 'rows' else tree.leads), ms=1e3*median(v)/4, ratio=median(took['rows'])/median(v), gap=gap) for w,v in took.items()]

def part_labels(folder, quick, done):
    rows = []
    for k in (10,) if quick else (10, 1000):
        rows += (now := label_rows(folder, k, quick))
        for r in now: print('{labels:4} labels, {way:4}: {decoded:4} rows decoded, {ms:8.1f} ms per photo, {ratio:.1f} x'.format(**r), flush=True)
        yield dict(rows=rows)

# Scores of what counts

def counted_rows(kind, quick):
    import torch
    from fabric_touch.sequences import text_encoder
    from fabric_touch.t5 import MultimodalT5, TokenLoss, labels_of, shifted, t5_transformer
    rng, n_vocab = np.random.default_rng(0), 4_000 if quick else 49_512
    with seeded(0):
        words = text_encoder('t5-small', pretrained=False, d_model=64, num_layers=1, num_heads=2, d_ff=64, vocab_size=100)
        model = MultimodalT5(t5_transformer(n_vocab, **SMALL), words, image_width=64, ffn=True).train()
    lengths = rng.integers(6, 40, 8) if kind == 'captions' else np.full(8, 257)
    real = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])
    if kind == 'hidden codes': real = real & torch.from_numpy(rng.random(real.shape) < .75)
    target = torch.from_numpy(rng.integers(2, n_vocab, real.shape))
    x, labels, loss = (torch.randn(8, 64, 64), torch.full((8, 9), 5), torch.ones(8, 9, dtype=torch.bool), shifted(target)), labels_of(target, real), TokenLoss()
    def step(counted):
        out = loss(model(*x, counted), labels)
        out.backward(); model.zero_grad()
        return out.item()
    assert abs(step(None) - step(real)) < TOLERANCE
    took = {w: [] for w in ('all', 'counted')}
    for _ in range(1 if quick else 5):
        for w,c in zip(took, (None, real)): took[w].append(seconds(partial(step, c)))
    return [dict(kind=kind, way=w, vocabulary=n_vocab, share=float(real.float().mean()), ms=1e3*median(v), ratio=median(took['all'])/median(v)) for w,v in took.items()]

def part_counted(folder, quick, done):
    rows = []
    for kind in ('captions', 'hidden codes'):
        rows += (now := counted_rows(kind, quick))
        for r in now: print('{kind:13} scores of {way:8} ({share:.0%} count): {ms:8.1f} ms a step, {ratio:.2f} x'.format(**r), flush=True)
        yield dict(rows=rows)

def part_gpu(folder, quick, done):
    import torch
    if not torch.cuda.is_available(): print('not measured: no CUDA here'); yield dict(gpu='not measured', rows=[]); return
    rows = []
    for image in IMAGES:
        rows += train_rows(folder/'gpu', image, 'captions', quick, bf16=True)
        yield dict(gpu=torch.cuda.get_device_name(), rows=rows)

PARTS = dict(train=part_train, labels=part_labels, counted=part_counted, gpu=part_gpu)

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    quick:bool=False, # Try everything on little
):
    "Measure training with and without what is kept, and the probabilities of labels"
    warnings.filterwarnings('ignore')
    import torch, transformers
    from heads import read, write
    torch.set_num_threads(threads()); keep_memory()
    done = read(json) | machine() | dict(transformers=transformers.__version__)
    with tempfile.TemporaryDirectory() as folder:
        for name in [part] if part else PARTS:
            print(f'\n{name}', flush=True)
            begin, load = time.perf_counter(), os.getloadavg()[0]
            for now in pick(PARTS, name, 'part')(Path(folder), quick, done):
                done[name] = now | dict(load=load, quick=quick); write(json, done)
            print(f'{time.perf_counter() - begin:.0f} s', flush=True)
