"""What the multimodal T5 learns of real photos: captions by heart, classes as text, captions of unseen photos, hidden words and codes.

    OMP_NUM_THREADS=1 python benchmarks/multimodal_scores.py [--json FILE] [--part heart|classes|captions|restore|codes] [--keep FOLDER] [--quick]

Photos: `coco_mini`, 101 photos with 505 captions, and `clothing_small`, 1,435 photos of ten classes. Image model: MobileNetV2 with ImageNet's weights, frozen, 10 x 10 cells for each photo, stored and computed once.
Language model: a T5 encoder of two layers with random weights, frozen; for captions and classes its text is one constant prompt. Transformer: one or two layers of width 64, from random weights. Tokenizer: trained from the training texts.
`heart`: 32 captions of 32 photos until each is written exactly; fails if one is not. Eight of them with one seed twice and with another. `classes`: a fifth is put aside, stratified, near-duplicates together (seed 0); the rest is split 7 to 1 to train and to choose the epoch. `captions`: 30 photos are put aside, 10 choose the epoch.
`restore`: hidden words of captions, split as `captions`. `codes`: hidden codes of a random VQGAN, four photos by heart: wiring only.
Settings were tried on photos that choose the epoch. Intervals (95 %) resample photos, near-duplicates together. `--quick`: few steps, which cannot pass: does everything run?
"""
import os, time
from dataclasses import replace
from functools import cache
from pathlib import Path
import numpy as np, pandas as pd, torch
import torch.nn.functional as F
from fastai.basics import to_device
from fastcore.script import call_parse
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from fabric_touch.captions import read_coco, split_captions
from fabric_touch.checkpoints import load_weights, read_weights
from fabric_touch.classes import calibration_error, chance_error, class_report, class_scores
from fabric_touch.core import cache_dir, data_dir, drop_folder, pick, seeded
from fabric_touch.embeds import EmbeddingStore, embed_all
from fabric_touch.folders import LookEncoder, alike, read_folders, split_classes
from fabric_touch.multimodal import ItemSet, build_multimodal, class_answers, collate, item_sets, multimodal_dls, multimodal_learner, run_of
from fabric_touch.options import MultimodalConfig
from fabric_touch.sequences import cell_encoder, photo_cells, text_encoder
from fabric_touch.steps import fit_steps
from fabric_touch.t5 import EOS
from fabric_touch.tasks import PROMPTS
from fabric_touch.tokens import LABEL_FORM
from fabric_touch.texts import caption_scores, exact_match, perplexity, unigram_perplexity
from fabric_touch.vqgan import tiny_vqgan
from heads import read, write

IMAGE, SEEDS = 'mobilenetv2_tf', range(3)
LANGUAGE = dict(d_model=64, d_kv=16, d_ff=128, num_layers=2, num_heads=4, vocab_size=2000, feed_forward_proj='relu')
TRANSFORMER = dict(ffn=True, d_model=64, num_layers=2, num_heads=4, d_ff=256)
HEART = dict(num_steps=150, lr=.01, lr_scheduler='CosineWarmup', batch_size=32, dropout_rate=0., vocab_size=400)
CLASSES = dict(num_epochs=12, lr=.003, lr_scheduler='CosineWarmup', batch_size=32, num_layers=1, dropout_rate=0., vocab_size=128)
CAPTIONS = dict(num_epochs=12, lr=.003, lr_scheduler='CosineWarmup', batch_size=32, dropout_rate=0., vocab_size=600)
RESTORE = CAPTIONS | dict(num_epochs=40, pretrain=True, image_mask_ratio=0)
CODES = HEART | dict(num_steps=150, lr=.005, batch_size=16, pretrain=True)

def weights(): return data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth'

class Place:
    "Where things are kept, and whether there is no time"
    def __init__(self, keep, quick):
        self.keep, self.quick = Path(keep), quick
        self.keep.mkdir(parents=True, exist_ok=True)
        with seeded(0): net = text_encoder('small-random', False, **LANGUAGE).net
        save_file({k: v.contiguous().clone() for k,v in net.state_dict().items()}, self.keep/'t5.safetensors')
        save_file({k: v.contiguous() for k,v in tiny_vqgan().body.model.state_dict().items()}, self.keep/'vqgan.safetensors')
    def config(self, **kwargs):
        c = MultimodalConfig(image_model_name=IMAGE, image_weights=str(weights()), language_model_name='small-random', language_weights=str(self.keep/'t5.safetensors'), tokenizer='train', loc_vocab_size=10, image_vocab_size=32,
                             vae_ckpt_path=str(self.keep/'vqgan.safetensors'), store=str(self.keep/'store'), **dict(seed=0) | TRANSFORMER | kwargs)
        return replace(c, **{k: min(v, 2) for k in ('num_epochs', 'num_steps') if (v := getattr(c, k))}) if self.quick else c

@cache
def backbone(): return cell_encoder(IMAGE, weights())

def cells(place, paths): return photo_cells(backbone(), list(paths), EmbeddingStore(place.keep/'store', backbone().id, backbone().n_out))

# Training and scores

def facts(m): return dict(learn=sum(p.numel() for p in m.model.parameters() if p.requires_grad), tokens=len(m.tokens), cells=list(m.model.image_model.grid), image_width=m.model.image_model.width)

def trained(config, train, valid, texts, folder=None):
    "(model with the best weights, or the last if no folder is given; facts)"
    m, run = build_multimodal(config, [*PROMPTS.values(), *texts]), run_of(config)
    learn = multimodal_learner(m, multimodal_dls(m, [train], [valid]))
    if folder: drop_folder(folder)
    start, cpu = time.perf_counter(), time.process_time()
    with learn.no_bar(), learn.no_logging(): h = fit_steps(learn, run, folder)
    took = dict(seconds=round(time.perf_counter() - start, 1), cpu_seconds=round(time.process_time() - cpu, 1))
    if folder: load_weights(m.model, read_weights(Path(folder)/'best'))
    return m, took | dict(steps=int(h.step.iloc[-1]), best_epoch=round(float(h.epoch[h.valid_loss.argmin()]), 2), train_loss=round(float(h.train_loss.iloc[-1]), 4), valid_loss=round(float(h.valid_loss.min()), 4), curve=h[['step', 'train_loss', 'valid_loss']].round(4).to_dict('list'))

def records(d): return d.round(4).astype(object).where(d.notna(), None).to_dict('records')

def in_mind(m): return [v.clone() for v in m.model.state_dict().values()]

# By heart

def coco(): return read_coco(data_dir('coco_mini')/'coco_mini.json', data_dir('coco_mini')/'images')

def one_each(n):
    table = coco()
    return table.take(table.items.drop_duplicates('photo').index[:n])

def learned(place, table, **how):
    "One training on a small table, and what it writes"
    m, took = trained(place.config(**HEART | how), table, table, list(table.items.text))
    return m, took, m.write(cells(place, table.items.image))

def part_heart(place):
    table, few = one_each(32), one_each(8)
    m, took, said = learned(place, table)
    x, texts = cells(place, table.items.image), list(table.items.text)
    beams = m.write(x, num_beams=4)
    out = dict(photos=len(table), model=facts(m), told={k: v for k,v in HEART.items()}, exact=int(exact_match(said, texts).sum()), exact_beams=int(exact_match(beams, texts).sum()), said=said, words=int(sum(len(t.split()) for t in texts)), **took)
    if not place.quick and min(out['exact'], out['exact_beams']) < len(table): raise SystemExit(f"by heart: only {out['exact']} of {len(table)} captions are written exactly, {out['exact_beams']} with beams; something is not wired")
    blind = {}
    for what in ('image', 'text'):
        m.model.sees = what
        blind[what] = int(exact_match(m.write(x), texts).sum())
    out['withheld'] = dict(prompt=blind['image'], photo=blind['text'])
    yield out
    (a, _, _), (b, _, _), (c, _, _) = (learned(place, few, num_steps=40, seed=s) for s in (0, 0, 1))
    same = lambda p, q: all(torch.equal(u, v) for u,v in zip(in_mind(p), in_mind(q)))
    out['seeds'] = dict(photos=len(few), steps=40, same_seed=same(a, b), other_seed=same(a, c))
    if not out['seeds']['same_seed']: raise SystemExit('two runs of one seed differ')
    yield out

# Classes as text

@cache
def clothes(place):
    "The table, its groups, and the rows that train, choose the epoch and are scored"
    table = read_folders(data_dir('clothing_small'))
    groups = alike(embed_all([LookEncoder()], list(table.items.image), place.keep/'store', 32).vectors[0].numpy())
    rest, test = split_classes(table.targets(), groups, .2, seed=0, names=table.classes)
    train, valid = (rest[r] for r in split_classes(table.targets()[rest], groups[rest], .125, seed=0, names=table.classes))
    return table, groups, train, valid, test

def logistic(x, y, c):
    with seeded(0): return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300)).fit(x, y)

def yardstick(x, y, train, valid, test):
    "Logistic regression on the mean of a photo's cells; C is chosen as the epoch is, then all but the test part trains"
    tried = {c: float(logistic(x[train], y[train], c).score(x[valid], y[valid])) for c in (.001, .01, .1, 1)}
    c, both = max(tried, key=tried.get), np.r_[train, valid]
    return {'logistic regression': logistic(x[both], y[both], c).predict_proba(x[test]), 'logistic regression, same photos': logistic(x[train], y[train], c).predict_proba(x[test])}, dict(C=c, tried={str(k): round(v, 4) for k,v in tried.items()})

def classified(place, name, **how):
    "A model, its probabilities of the test photos, and facts"
    table, _, train, valid, test = clothes(place)
    m, took = trained(place.config(**CLASSES | how), table.take(train), table.take(valid), [LABEL_FORM.format(label=c) for c in table.classes], place.keep/'runs'/name)
    return m, m.label_probs(cells(place, table.items.image[test]), table.classes), took

def free(m, x, table, test):
    "What is written freely: scores, and how it fits what is written under constraint"
    said, want = m.write(x), [LABEL_FORM.format(label=l) for l in table.items.label[test]]
    bound, best = m.write(x, labels=table.classes), m.label_probs(x, table.classes).argmax(1)
    rows = caption_scores({'written freely': said}, want).query("metric == 'exact'")
    sentences = [LABEL_FORM.format(label=c) for c in table.classes]
    return dict(row=records(rows)[0], one_of_the_sentences=float(np.mean([s in sentences for s in said])), as_the_likeliest=float(np.mean([sentences[i] == s for i,s in zip(best, said)])), bound_as_the_likeliest=float(np.mean([sentences[i] == s for i,s in zip(best, bound)])))

def part_classes(place):
    table, groups, train, valid, test = clothes(place)
    y, x = table.targets(), cells(place, table.items.image)
    m, p, took = classified(place, 'both')
    models = {'photo and prompt': p}
    out = dict(photos=len(table), alike=int(len(table) - len({*groups})), train=len(train), valid=len(valid), test=len(test), classes=list(table.classes), test_rows=test.tolist(), model=facts(m), told=CLASSES, took=dict(both=took))
    out |= dict(probs=[' '.join(f'{v:.4f}' for v in row) for row in p], report=records(class_report(y[test], p, table.classes)), ece=round(calibration_error(y[test], p), 4), chance_error=round(chance_error(p), 4), free=free(m, x[test], table, test))
    room = class_answers(m, table.take(test), y[train], x[test])
    out['room'] = records(room[room.metric.isin(('accuracy', 'exact'))])
    m.model.sees = 'text'
    models['the same, photo withheld'] = m.label_probs(x[test], table.classes)
    more, out['yardstick'] = yardstick(x.mean(1).numpy(), y, train, valid, test)
    for what,name in (('image', 'photo alone'), ('text', 'prompt alone')):
        _, models[name], out['took'][what] = classified(place, what, sees=what)
    for name,how in {'focal loss': dict(loss='focal'), 'dropout .1': dict(dropout_rate=.1)}.items(): _, models[name], out['took'][name] = classified(place, name.split()[0], **how)
    score = lambda versus=None: class_scores(models | more, y[test], table.classes, y[train], groups[test], versus)
    out |= dict(rows=records(score()), over_both=records(score('photo and prompt')), over_logistic=records(score('logistic regression')))
    yield out
    others = [classified(place, 'seed', seed=s)[1] for s in SEEDS if s]
    out['seeds'] = [round(float((q.argmax(1) == y[test]).mean()), 4) for q in (p, *others)]
    accuracy = next(r['value'] for r in out['rows'] if r['model'] == 'photo and prompt' and r['metric'] == 'accuracy')
    if not place.quick and accuracy < .3: raise SystemExit(f'classes: {accuracy:.3f} is less than three times chance')
    yield out

# Captions of photos nobody saw

@cache
def parts(place):
    "Tables of captions to train on, to choose the epoch by and to score, by photo"
    table = coco()
    rest, test = split_captions(table, .3, 0, near=True)
    train, valid = split_captions(table.take(rest), .15, 0, near=True)
    return table.take(rest).take(train), table.take(rest).take(valid), table.take(test)

def sizes(place): return dict(zip(('train', 'valid', 'test'), (t.items.photo.nunique() for t in parts(place)))) | dict(captions=[len(t) for t in parts(place)])

def part_captions(place):
    train, valid, test = parts(place)
    photos, refs, texts = test.photos(), test.references(), list(train.items.text)
    x, said, out = cells(place, photos.image), {}, dict(**sizes(place), told=CAPTIONS, took={})
    for what,name in (('both', 'photo and prompt'), ('text', 'prompt alone')):
        m, out['took'][what] = trained(place.config(**CAPTIONS | dict(sees=what)), train, valid, texts, place.keep/'runs'/f'captions_{what}')
        said[name] = m.write(x)
        if what == 'both':
            said |= {'four beams': m.write(x, num_beams=4), 'long past the best epoch': []}
            out['model'] = facts(m)
    m, out['took']['last'] = trained(place.config(**CAPTIONS | dict(num_epochs=3*CAPTIONS['num_epochs'])), train, valid, texts)
    said['long past the best epoch'] = m.write(x)
    own = train.photos()
    refs_of = [refs[p] for p in photos.photo]
    learnt = caption_scores({'training photos': m.write(cells(place, own.image))}, [train.references()[p] for p in own.photo])
    out |= dict(rows=records(caption_scores(said, refs_of, texts)), over_central=records(caption_scores(said, refs_of, texts, versus='central')), own=records(learnt), photos=list(photos.photo), said=said, licenses=photos.license.tolist() if 'license' in photos else [],
                distinct={k: len({*v}) for k,v in said.items()}, copied={k: int(exact_match(v, [texts]*len(v)).sum()) for k,v in said.items()})
    yield out

# Hidden words

@torch.no_grad()
def token_losses(m, items, bs=32):
    "Cross-entropy and id of every token that counts, and the photo it belongs to"
    m.model.eval()
    loss, ids, photo = [], [], []
    for i in range(0, len(items), bs):
        own = range(i, min(i+bs, len(items)))
        *x, labels = to_device(collate([items[k] for k in own]), m.model.device)
        real = labels != -100
        loss.append(F.cross_entropy(m.model(*x), labels[real], reduction='none')); ids.append(labels[real])
        photo += [items.items[own[k]].image for k in real.nonzero()[:, 0].tolist()]
    return torch.cat(loss).numpy().astype(float), torch.cat(ids).numpy(), np.array(photo)

def restored(losses, photo, keep, n_boot=500):
    "Perplexity over some of the tokens, with an interval that resamples photos"
    at = pd.factorize(photo)[0]
    sums, n = np.bincount(at, losses*keep), np.bincount(at, keep*1.)
    w = np.vstack([np.ones(len(n)), np.random.default_rng(0).multinomial(len(n), np.full(len(n), 1/len(n)), n_boot)])
    draws = np.exp(w @ sums/(w @ n))
    return dict(value=round(draws[0], 3), lo=round(np.quantile(draws[1:], .025), 3), hi=round(np.quantile(draws[1:], .975), 3), n=int(keep.sum()))

def unigrams(seen, ids, n_vocab):
    "The loss of each token under the frequencies of those that count"
    counts = np.bincount(seen, minlength=n_vocab) + 1
    return -np.log(counts[ids]/counts.sum())

def said_of(losses, photo, word): return dict(all=restored(losses, photo, np.ones(len(losses), bool)), words=restored(losses, photo, word))

def words_of(m, ids):
    "Which tokens are neither a sentinel nor the end"
    return ~np.isin(ids, [EOS, *(i for row in m.tokens.ids([f'<extra_id_{k}>' for k in range(100)]) for i in row)])

def frequencies(m, seen, ids, photo):
    "What the frequencies of the training targets' tokens reach"
    known, word = np.concatenate([np.array(t) for t in seen.target]), words_of(m, ids)
    part = lambda k, keep: restored(unigrams(k, ids, len(m.tokens)), photo, keep)
    return dict(all=part(known, np.ones(len(ids), bool)), words=part(known[words_of(m, known)], word))

def part_restore(place):
    train, valid, test = parts(place)
    out, rows, each = dict(**sizes(place), told=RESTORE, took={}), {}, {}
    for what,name in (('both', 'photo and words'), ('text', 'words alone'), ('image', 'photo alone')):
        m, out['took'][what] = trained(place.config(**RESTORE | dict(sees=what)), train, valid, list(train.items.text), place.keep/'runs'/f'restore_{what}')
        items, seen = item_sets(m, [[test], [train]])
        each[name], ids, photo = token_losses(m, items)
        rows[name] = said_of(each[name], photo, words_of(m, ids))
        if what == 'both':
            m.model.sees = 'text'
            rows['the same, photo withheld'] = said_of(token_losses(m, items)[0], photo, words_of(m, ids))
            rows['token frequencies'] = frequencies(m, seen, ids, photo)
            out |= dict(model=facts(m), examples=[dict(source=i.source, target=i.target) for i in items.items[:3]])
    ratios = {name: said_of(each[name] - each['photo and words'], photo, words_of(m, ids)) for name in each if name != 'photo and words'}
    yield out | dict(rows=rows, ratios=ratios)

# Hidden codes

def codes_of(m, items):
    "Perplexity and share right of the hidden codes alone"
    own = ItemSet(m, lambda e: [i for i in items.draw(e) if i.hidden is not None], items.image, items.n_codes)
    own.set_epoch(10**6)                                             # cells that training never hid together
    loss, ids, _ = token_losses(m, own)
    said = []
    with torch.no_grad():
        for k in range(len(own)):
            *x, labels = to_device(collate([own[k]]), m.model.device)
            said.append(m.model(*x).argmax(1))
    return dict(perplexity=round(perplexity(loss.sum(), len(loss)), 3), right=round(float((torch.cat(said).numpy() == ids).mean()), 4), n=len(ids)), ids

def part_codes(place):
    few = one_each(4)
    fresh = build_multimodal(place.config(**CODES), [*PROMPTS.values(), *few.items.text])
    before, _ = codes_of(fresh, item_sets(fresh, [[few]])[0])
    m, took = trained(place.config(**CODES), few, few.take([0]), list(few.items.text))
    items = item_sets(m, [[few]])[0]
    after, ids = codes_of(m, items)
    m.model.sees = 'text'
    blind, _ = codes_of(m, items)
    first = m.tokens.ids(['<img_0>'])[0][0]
    yield dict(photos=len(few), codes=items.n_codes, told=CODES, took=took, before=before, after=after, photo_withheld=blind, frequencies=round(unigram_perplexity(ids - first, ids - first, 32), 3), most_frequent=round(float(np.bincount(ids).max()/len(ids)), 4), distinct=len({*ids.tolist()}))

PARTS = dict(heart=part_heart, classes=part_classes, captions=part_captions, restore=part_restore, codes=part_codes)

def versions():
    import fastai, platform, sklearn, timm, transformers
    return dict(python=platform.python_version(), machine=platform.machine(), cores=os.cpu_count(), fastai=fastai.__version__, timm=timm.__version__, sklearn=sklearn.__version__, transformers=transformers.__version__)

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    keep:str='', # Folder for features and runs; in the user's cache if not given
    quick:bool=False, # Two steps of everything
):
    "Measure what the multimodal T5 learns"
    place = Place(keep or str(cache_dir()/('multimodal_scores_quick' if quick else 'multimodal_scores')), quick)
    for name in [part] if part else PARTS:
        start = time.perf_counter()
        for found in pick(PARTS, name, 'part')(place): write(json, read(json) | versions() | {name: found | dict(part_seconds=round(time.perf_counter() - start, 1), load=os.getloadavg()[0])})
        print(name, 'done', round(time.perf_counter() - start), 's', flush=True)
