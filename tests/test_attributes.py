"Garment attributes: losses, choices and batches by content, training that is honest about what it has seen, models that come back as they were saved."
import json, pickle
from dataclasses import replace
from functools import partial
from pathlib import Path

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from fastai.vision.all import SGD, TensorBase
from PIL import Image
from timm.loss import AsymmetricLossMultiLabel
from torch import nn
from fabric_touch import attributes, checkpoints
from fabric_touch.attributes import (ATTRIBUTE_LOSSES, AttributeLoss, AttributeModel, AttributeNames, AttributePrediction, Prepared, attribute_activation, attribute_dls, attribute_folds, attribute_learner,
                                     attribute_model, attribute_oof, attribute_probs, attribute_report, chosen, embed_photos, fit_probe, load_attributes, macro_f1, one_of,
                                     predict_attributes, save_attributes, train_attributes)
from fabric_touch.core import FabricError, data_dir, has_data, seeded
from fabric_touch.data import load_photo
from fabric_touch.deepfashion import AttributeTable, make_deepfashion, read_fine
from fabric_touch.encoders import encoder_card, encoder_from_card, image_encoder
from fabric_touch.heads import HEADS, head
from fabric_touch.multilabel import attribute_scores, group_recall
from fabric_touch.train import fit_cosine, history

SIZE = 32
def small(name='test_resnet', **data): return image_encoder(name, pretrained=False, data=dict(img_size=SIZE, **data))

@pytest.fixture(scope='module')
def table(tmp_path_factory): return make_deepfashion(tmp_path_factory.mktemp('attributes')/'photos', n=80, size=64).with_category()

@pytest.fixture(scope='module')
def encoder():
    with seeded(0): return small()

@pytest.fixture(scope='module')
def kept(tmp_path_factory): return tmp_path_factory.mktemp('small')

@pytest.fixture(scope='module')
def vectors(table):
    "Vectors that tell most attributes, and some that tell nothing"
    rng, y = np.random.default_rng(0), table.targets()
    return np.hstack([y + rng.normal(0, .3, y.shape), rng.normal(0, 1, (len(y), 96 - y.shape[1]))]).astype(np.float32)

@pytest.fixture(autouse=True, scope='module')
def few_steps():
    "A head learns enough for a test in 24 batches"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(attributes, 'fit_probe', partial(fit_probe, steps=24))
        yield

@pytest.fixture(scope='module')
def trained(table, encoder, vectors):
    with pytest.MonkeyPatch.context() as m:
        m.setattr(attributes, 'embed_photos', lambda *a, **k: vectors)
        return train_attributes(table, encoder)

def quick(learn, *args, **kwargs):
    with learn.no_bar(), learn.no_logging(), seeded(0): (kwargs.pop('fit', None) or learn.fit_one_cycle)(*args, **kwargs)
    return learn

def state(model): return {k: v.clone() for k,v in model.state_dict().items()}
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)

GROUPS = dict(a='x', b='one', c='x', d='two', e='one', f='one', g='two')
ONE = 'one', 'two'

# ---- losses

def logits_and_labels(n=6, seed=0):
    rng = np.random.default_rng(seed)
    y = np.zeros((n, 7), np.float32)
    y[:, [0, 2]] = rng.integers(0, 2, (n, 2))
    y[np.arange(n), np.array([1, 4, 5])[rng.integers(0, 3, n)]] = 1
    y[np.arange(n), np.array([3, 6])[rng.integers(0, 2, n)]] = 1
    return torch.from_numpy(rng.normal(0, 2, (n, 7)).astype(np.float32)), torch.from_numpy(y)

def by_hand(kind, x, y, pos=None):
    "The loss of attributes that stand alone, from its formula"
    p = 1/(1 + np.exp(-x.astype(float)))
    if kind == 'asymmetric':
        q = np.minimum(1 - p + .05, 1)                                     # timm: gamma 4 for no, 1 for yes, clip .05, summed
        return -(y*np.log(p)*(1-p) + (1-y)*np.log(q)*(1-q)**4).mean()
    w = 1 if pos is None else pos
    return -(w*y*np.log(p) + (1-y)*np.log(1-p)).mean()

@pytest.mark.parametrize('kind', ATTRIBUTE_LOSSES)
@pytest.mark.parametrize('groups, exclusive', [(GROUPS, ONE), (GROUPS, ()), (GROUPS, ('two',)), ({k: g for k,g in GROUPS.items() if g == 'one'}, ('one',))])
def test_losses_are_their_formulas(kind, groups, exclusive):
    x, y = logits_and_labels()
    at = [list(GROUPS).index(a) for a in groups]
    x, y = x[:, at], y[:, at]
    many = [i for i,g in enumerate(groups.values()) if g not in exclusive]
    a, b = x.numpy()[:, many], y.numpy()[:, many]
    pos = np.minimum((len(b) - b.sum(0))/np.maximum(b.sum(0), 1), 100) if kind == 'bce_weighted' else None
    want = [by_hand(kind, a, b, pos)] if many else []
    for g in exclusive:
        cols = [i for i,h in enumerate(groups.values()) if h == g]
        want.append(-F.log_softmax(x[:, cols].double(), 1)[y[:, cols].bool()].mean().item())
    assert AttributeLoss(groups, exclusive, kind, y)(x, y).item() == pytest.approx(np.mean(want), rel=1e-5)

def test_asymmetric_is_timms_mean():
    x, y = logits_and_labels()
    one = AsymmetricLossMultiLabel()
    want = np.mean([one(a[None, None], b[None, None]).item() for a,b in zip(x.flatten(), y.flatten())])      # of one number sum and mean are the same, in every version
    assert AttributeLoss(GROUPS, (), 'asymmetric', y)(x, y).item() == pytest.approx(want, rel=1e-5)
    assert AttributeLoss(GROUPS, (), 'asymmetric', y)(torch.cat([x, x]), torch.cat([y, y])).item() == pytest.approx(want, rel=1e-5)

def test_no_label_of_a_group_adds_nothing():
    x, y = logits_and_labels()
    loss, gaps = AttributeLoss(GROUPS, ONE, 'bce', y), y.clone()
    gaps[2, [1, 4, 5]] = 0
    some = x.clone().requires_grad_()
    loss(some, gaps).backward()
    assert (some.grad[2, [1, 4, 5]] == 0).all() and (some.grad[2, [0, 2, 3, 6]] != 0).all() and (some.grad[1, [1, 4, 5]] != 0).all()
    other = x.clone(); other[2, [1, 4, 5]] = torch.tensor([9., -9, 4])
    assert loss(x, gaps) == loss(other, gaps)
    gaps[:, [1, 4, 5]] = 0                                                  # nobody is labelled: the group is no part of the mean
    rest = [i for i in range(7) if i not in (1, 4, 5)]
    assert loss(x, gaps).item() == pytest.approx(AttributeLoss({a: g for a,g in GROUPS.items() if g != 'one'}, ('two',), 'bce', y[:, rest])(x[:, rest], y[:, rest]).item(), rel=1e-6)

def test_nothing_labelled_at_all():
    groups = {a: g for a,g in GROUPS.items() if g == 'one'}
    x = torch.randn(4, 3, requires_grad=True)
    loss = AttributeLoss(groups, ('one',))(x, torch.zeros(4, 3))
    loss.backward()
    assert loss == 0 and (x.grad == 0).all()

@pytest.mark.parametrize('kind', ATTRIBUTE_LOSSES)
def test_losses_take_half_precision_and_integers(kind):
    x, y = logits_and_labels()
    loss = AttributeLoss(GROUPS, ONE, kind, y.numpy().astype(np.uint8))
    assert loss(x.half(), y.to(torch.uint8)).item() == pytest.approx(loss(x, y).item(), rel=2e-3)
    assert loss(TensorBase(x), TensorBase(y)).item() == pytest.approx(loss(x, y).item())

def test_pos_weight_is_rarity_up_to_100():
    y = torch.zeros(1000, 3); y[:500, 0] = 1; y[0, 1] = 1
    assert AttributeLoss(dict(a='x', b='x', c='x'), (), 'bce_weighted', y).loss.pos_weight.tolist() == [1, 100, 100]

def test_unknown_loss():
    with pytest.raises(FabricError, match='choose from: bce, bce_weighted, asymmetric'): AttributeLoss(GROUPS, ONE, 'focal')

def test_weights_need_labels():
    with pytest.raises(FabricError, match='labels'): AttributeLoss(GROUPS, ONE, 'bce_weighted')

# ---- probabilities and choices

def test_columns_of_each_exclusive_group():
    assert one_of(GROUPS, ONE) == [[1, 4, 5], [3, 6]] and one_of(GROUPS, ('two', 'one')) == [[3, 6], [1, 4, 5]] and one_of(GROUPS, ()) == []

@pytest.mark.parametrize('exclusive', [ONE, ('two',), ()])
def test_activation_against_a_loop(exclusive):
    x, _ = logits_and_labels()
    got, want = attribute_activation(x, one_of(GROUPS, exclusive)).numpy(), np.empty((6, 7))
    for i, row in enumerate(x.double().numpy()):
        for j, g in enumerate(GROUPS.values()):
            peers = [np.exp(v) for v,h in zip(row, GROUPS.values()) if h == g]
            want[i, j] = np.exp(row[j])/sum(peers) if g in exclusive else 1/(1 + np.exp(-row[j]))
    np.testing.assert_allclose(got, want, rtol=1e-5)
    assert torch.equal(attribute_activation(x.half(), one_of(GROUPS, exclusive)), attribute_activation(x.half().float(), one_of(GROUPS, exclusive)))

@pytest.mark.parametrize('exclusive', [ONE, ('two',), ()])
@pytest.mark.parametrize('thresholds', [.5, .2, np.array([.1, .9, .7, .2, .3, .4, .5])])
@pytest.mark.parametrize('kind', ['numpy', 'torch', 'float64'])
def test_chosen_against_a_loop(exclusive, thresholds, kind):
    probs = attribute_activation(logits_and_labels(20)[0], one_of(GROUPS, exclusive)).numpy()
    if kind == 'float64': probs = probs.astype(float)
    before, cuts, want = probs.copy(), np.broadcast_to(thresholds, 7), np.zeros((20, 7), bool)
    for i, j in np.ndindex(20, 7):
        peers = [k for k,g in enumerate(GROUPS.values()) if g == list(GROUPS.values())[j]]
        want[i, j] = j == max(peers, key=lambda k: probs[i, k]) if list(GROUPS.values())[j] in exclusive else probs[i, j] >= cuts[j]
    got = chosen(torch.from_numpy(probs) if kind == 'torch' else probs, one_of(GROUPS, exclusive), thresholds)
    assert isinstance(got, torch.Tensor if kind == 'torch' else np.ndarray) and (np.asarray(got) == want).all() and (probs == before).all()

def test_at_least_the_threshold_is_a_yes():
    assert chosen(np.array([[.5, .4999, .3]]), (), [.5, .5, .3]).tolist() == [[True, False, True]]

def test_macro_f1_counts_what_occurs():
    "As multilabel's attribute_scores: an attribute that no photo has is no part of the mean, however often it is said"
    rng = np.random.default_rng(0)
    groups, y = dict(zip('abcde', 'xxxxx')), rng.integers(0, 2, (50, 5)).astype(np.float32)
    y[:, 4] = 0
    x = torch.from_numpy(rng.normal(0, 1, (50, 5)).astype(np.float32))
    metric = macro_f1(AttributeLoss(groups))
    metric.reset(); metric.accum_values(x, TensorBase(torch.from_numpy(y)))
    want = attribute_scores(x.sigmoid().numpy(), y, groups)
    assert metric.value == pytest.approx(want.f1[want.support > 0].mean(), rel=1e-5)

# ---- the model

@pytest.mark.parametrize('name', ['linear', 'mlp', 'probe', 'decoder_levels'])
def test_an_untrained_model_answers_with_the_rates(table, encoder, name):
    model = attribute_model(table, encoder, head_name=name).eval()
    probs, y = attribute_probs(model, np.random.randn(3, encoder.n_out)), table.targets()
    many, one = [i for i,g in enumerate(table.groups.values()) if g != 'category'], one_of(table.groups, table.exclusive)[0]
    np.testing.assert_allclose(probs[:, many], y[:, many].mean(0)[None].clip(1e-4).repeat(3, 0), rtol=1e-3)
    np.testing.assert_allclose(probs[:, one], (y[:, one].sum(0)/y[:, one].sum())[None].repeat(3, 0), rtol=1e-3)

def test_rates_of_what_never_and_always_occurs():
    t = AttributeTable(pd.DataFrame(dict(image=['a']*4, labels=[('a',)]*4)), dict(a='x', b='x'))
    np.testing.assert_allclose(attribute_probs(attribute_model(t, small()), np.zeros((1, 96))), [[1-1e-4, 1e-4]], rtol=1e-3)

@pytest.mark.parametrize('name', [k for k in HEADS if k not in ('linear', 'mlp', 'probe', 'decoder_levels')])
def test_heads_that_do_not_end_in_logits_of_vectors(table, encoder, name):
    with pytest.raises(FabricError): attribute_model(table, encoder, head_name=name)

@pytest.mark.parametrize('given, says', [(dict(encoder=7), 'an encoder is a name or an ImageEncoder, not a int'), (dict(encoder=nn.Linear(2, 2)), 'not a Linear'), (dict(encoder='resnet_nineteen'), 'unknown encoder'),
                                         (dict(head_name='forest'), 'choose from: linear'), (dict(p=2, n_hiden=3), 'takes p, not n_hiden')])
def test_models_that_cannot_be(table, encoder, given, says):
    with pytest.raises(FabricError, match=says): attribute_model(table, **dict(encoder=encoder) | given)

@pytest.mark.parametrize('name', ['test_resnet', 'test_vit'])
def test_photos_and_their_vectors_say_the_same(table, name):
    enc = small(name)
    model = attribute_model(table, enc).eval()
    nn.init.normal_(model.head[-1].weight)
    x = torch.rand(3, 3, SIZE, SIZE)
    with torch.no_grad(): torch.testing.assert_close(model(x), model(enc(x)))

@pytest.mark.parametrize('fine_tune', [False, True])
def test_what_is_frozen_stays_in_evaluation_mode(table, fine_tune):
    model = attribute_model(table, small(), fine_tune=fine_tune)
    assert all(p.requires_grad == fine_tune for p in model.encoder.parameters()) and all(p.requires_grad for p in model.head.parameters())
    for m in (model, model.eval().train()): assert m.head.training and m.encoder.body.training == fine_tune
    assert not model.eval().head.training

def test_models_of_one_encoder_leave_each_other_alone(table, vectors):
    enc = small()
    tuned, frozen, before = attribute_model(table, enc, fine_tune=True), attribute_model(table, enc), state(enc)
    assert all(p.requires_grad for p in tuned.encoder.parameters()) and not any(p.requires_grad for p in frozen.encoder.parameters())
    with torch.no_grad(): next(tuned.encoder.parameters()).add_(1)
    assert same(state(enc), before) and same(state(frozen.encoder), before)

# ---- the probe head, card of an encoder, cosine

def test_probe_head_is_a_linear_layer_on_standardised_numbers():
    with seeded(0): h, x = head('probe', 6, 3, p=0.), torch.randn(500, 6)*5 + 3
    for _ in range(200): h(x)
    want = F.linear((x - x.mean(0))/(x.var(0) + 1e-5).sqrt(), h[-1].weight, h[-1].bias)
    torch.testing.assert_close(h.eval()(x), want, rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize('args', [dict(), dict(out_indices=(2, 3)), dict(out_indices=(2, 3), pooled=True), dict(data=dict(img_size=48, crop_mode='squash', crop_pct=.9, mean=(.1, .2, .3)))])
def test_encoders_come_back_from_their_cards(args):
    one = image_encoder('test_resnet', pretrained=False, **args)
    card = json.loads(json.dumps(encoder_card(one)))
    two = encoder_from_card(card)
    two.load_state_dict(one.state_dict())
    assert two.id == one.id and encoder_card(two) == encoder_card(one) and (one.size, one.crop, one.crop_mode) == (two.size, two.crop, two.crop_mode)

@pytest.mark.parametrize('change', [dict(size=64), dict(crop=.5), dict(crop_mode='squash'), dict(mean=[0, 0, 0]), dict(std=[1, 1, 1]), dict(n_out=7)])
def test_encoders_that_are_not_as_their_card_says(change):
    with pytest.raises(FabricError, match=f'{[*change][0]} .* there and'): encoder_from_card(encoder_card(small()) | change)

def test_pooled_puts_the_networks_own_vector_in_front():
    own = image_encoder('test_resnet', pretrained=False)
    both, maps = (image_encoder('test_resnet', own.body.state_dict(), out_indices=(2, 3), **k) for k in (dict(pooled=True), dict()))
    x = torch.rand(2, 3, own.size, own.size)
    with torch.no_grad(): torch.testing.assert_close(both(x), torch.cat([own(x), maps(x)], 1))
    with pytest.raises(FabricError, match='stands beside out_indices'): image_encoder('test_resnet', pretrained=False, pooled=True)

@pytest.mark.parametrize('warmup', [0, 1, 2])
def test_the_rate_climbs_and_falls(table, encoder, vectors, warmup):
    learn = attribute_learner(attribute_dls(table, vectors=vectors, bs=8), attribute_model(table, encoder), opt_func=SGD)
    quick(learn, 4, .1, warmup=warmup, fit=partial(fit_cosine, learn))
    lrs, n = np.array(learn.recorder.lrs), 6
    at = np.arange(4*n)/(4*n)
    share = warmup/4
    want = np.where(at < share, .001 + .099*at/max(share, 1e-9), .1*(1 + np.cos(np.pi*(at - share)/(1 - share)))/2)
    np.testing.assert_allclose(lrs, want, atol=1e-6)

@pytest.mark.parametrize('warmup', [-1, 4, 9])
def test_a_warm_up_that_is_too_long(table, encoder, vectors, warmup):
    learn = attribute_learner(attribute_dls(table, vectors=vectors), attribute_model(table, encoder))
    with pytest.raises(FabricError, match='give fewer than there are'): fit_cosine(learn, 4, .1, warmup)

# ---- batches

def found(dl): return [tuple(t.cpu() for t in b) for b in dl]

@pytest.mark.parametrize('cut', ['whole', 'box', 'mask', 'both'])
def test_labels_stay_with_their_photos(table, kept, cut, monkeypatch):
    "By content: each photo is one grey, its cut another, and the grey says which row it is"
    y, rows = table.targets(), {}
    def fake(items, folder, size, c):
        assert size == round(SIZE/.7)
        files = []
        for i, p in zip(items['row'], items.image):
            grey = 3*i + dict(whole=0, box=1, mask=2)[c]
            Image.new('RGB', (40, 50), (grey,)*3).save(f := kept/f'{c}{i}.png'); files.append(str(f))
        return files
    monkeypatch.setattr(attributes, 'small_photos', fake)
    t = replace(table, items=table.items.assign(row=range(len(table))))
    dls = attribute_dls(t, small(), cut=cut, bs=7)
    for which, dl in enumerate((dls.train.new(shuffle=True, drop_last=False), dls.valid)):
        seen = []
        for x, labels in found(dl):
            for photo, label in zip(x, labels):
                grey = round(255*photo.mean().item())
                assert photo.std() < 1e-3 and (label.numpy() == y[grey//3]).all()
                seen.append((grey//3, ('whole', 'box', 'mask')[grey % 3]))
        part = np.flatnonzero(t.items.part == ('train', 'val')[which])
        cuts = ('whole', 'mask') if cut == 'both' and not which else ('whole',) if cut == 'both' else (cut,)
        assert sorted(seen) == sorted((i, c) for i in part for c in cuts)
    assert (dls.labels == y[t.items.part == 'train'].repeat(1, 0)).all() or len(dls.labels) == (t.items.part == 'train').sum()

def test_both_takes_the_box_where_there_are_no_masks(table, kept, monkeypatch):
    asked = []
    monkeypatch.setattr(attributes, 'small_photos', lambda items, folder, size, c: asked.append((c, len(items))) or list(items.image))
    attribute_dls(replace(table, items=table.items.drop(columns='mask')), small(), cut='both')
    assert asked == [('whole', 80), ('box', 48)]

def test_validation_is_what_the_encoder_prepares(table, kept):
    for enc in (small(), small(crop_mode='squash', crop_pct=.9), small(crop_mode='border')):
        dls = attribute_dls(table, enc, bs=8, folder=kept)
        x = torch.cat([b[0] for b in found(dls.valid)])
        rows = np.flatnonzero(table.items.part == 'val')
        files = attributes.small_photos(table.items.iloc[rows], kept, round(SIZE/.7), 'whole')
        torch.testing.assert_close(torch.Tensor(x), torch.stack([enc.prepare(f) for f in files]), atol=1e-6, rtol=0)

def test_variation_in_training_only(table, kept):
    enc, order = small(), dict(bs=8, folder=kept)
    dls, plain = attribute_dls(table, enc, **order), attribute_dls(table, enc, augment=False, **order)
    first, again = (torch.cat([b[0] for b in found(dls.train.new(shuffle=False, drop_last=False))]) for _ in range(2))
    steady, files = torch.cat([b[0] for b in found(plain.train.new(shuffle=False, drop_last=False))]), attributes.small_photos(table.items[table.items.part == 'train'], kept, round(SIZE/.7), 'whole')
    assert not torch.equal(first, again)
    torch.testing.assert_close(torch.Tensor(steady), torch.stack([enc.prepare(f) for f in files]), atol=1e-6, rtol=0)
    a, b = (torch.cat([b[0] for b in found(dls.valid)]) for _ in range(2))
    assert torch.equal(a, b)
    both = [(i, Prepared(enc.square, augment=lambda img: img.resize((SIZE, SIZE)).convert('L').convert('RGB'))) for i in (0, 1)]
    grey, own = (np.asarray(p(load_photo(files[0]), split_idx=i)) for i,p in both)
    assert (grey[..., 0] == grey[..., 1]).all() and (own == np.asarray(enc.square(load_photo(files[0])))).all()

@pytest.mark.parametrize('num_workers', [1, 2])
def test_workers_give_the_same_batches(table, kept, num_workers):
    enc = small()
    alone, helped = (found(attribute_dls(table, enc, bs=8, folder=kept, num_workers=n).valid) for n in (0, num_workers))
    assert len(alone) == len(helped) and all(torch.equal(a, b) for o,p in zip(alone, helped) for a,b in zip(o, p))

def test_photos_are_prepared_without_the_encoders_tensors(table, kept):
    "The encoder moves to the GPU with the model, and a forked worker must not touch a tensor there"
    enc = small(crop_mode='border')
    dls = attribute_dls(table, enc, bs=8, folder=kept)
    before = found(dls.valid)[0][0]
    enc.to('meta')
    assert torch.equal(found(dls.valid)[0][0], before)

def test_vectors_and_their_labels(table, vectors):
    y = table.targets()
    dls = attribute_dls(table, vectors=vectors, bs=7)
    for dl, part in ((dls.train.new(shuffle=False, drop_last=False), 'train'), (dls.valid, 'val')):
        x, t = map(torch.cat, zip(*found(dl)))
        rows = table.items.part == part
        assert (x.numpy() == vectors[rows]).all() and (t.numpy() == y[rows]).all()
    fold = np.arange(10, 30), np.arange(5)
    dls = attribute_dls(table, fold=fold, vectors=torch.from_numpy(vectors))
    assert (dls.labels == y[10:30]).all() and (found(dls.valid)[0][0].numpy() == vectors[:5]).all()

@pytest.mark.parametrize('kwargs, says', [(dict(), 'neither encoder nor vectors'), (dict(vectors=np.zeros((80, 8)), num_worker=2), 'not num_worker'), (dict(augmnt=False), 'not augmnt'),
                                          (dict(vectors=np.zeros((3, 8))), '3 vectors for 80 photos; give one for each')])
def test_batches_that_cannot_be(table, kwargs, says):
    with pytest.raises(FabricError, match=says): attribute_dls(table, **kwargs)

def test_unknown_cuts(table, encoder, kept):
    with pytest.raises(FabricError, match='choose from: whole, box, mask'): attribute_dls(table, encoder, cut='boxes', folder=kept)

# ---- folds

@pytest.mark.parametrize('n', [2, 5, 20])
@pytest.mark.parametrize('seed', [0, 1])
def test_folds_never_split_a_product(table, n, seed):
    folds, products = attribute_folds(table, n, seed), table.items['product'].to_numpy()
    assert len(folds) == n and sorted(np.concatenate([v for _,v in folds])) == list(range(80))
    for train, valid in folds: assert not {*products[train]} & {*products[valid]} and sorted([*train, *valid]) == list(range(80))
    assert all((a == b).all() for o,p in zip(folds, attribute_folds(table, n, seed)) for a,b in zip(o, p))

def test_every_photo_is_a_product_where_none_is_named(table):
    t = replace(table, items=table.items.drop(columns='product'))
    assert len(attribute_folds(t, 80)) == 80

@pytest.mark.parametrize('n', [0, 1, 21, -3])
def test_folds_that_cannot_be(table, n):
    with pytest.raises(FabricError, match='folds for 20 products'): attribute_folds(table, n)

def parted(table, **parts): return replace(table, items=table.items.assign(part=table.items.part.replace(parts)))

def test_whose_fold(table):
    part = table.items.part
    assert [a.tolist() for a in attributes._own_fold(table)] == [np.flatnonzero(part == p).tolist() for p in ('train', 'val')]
    for t in (replace(table, items=table.items.drop(columns='part')), table.part('train')):
        assert all((a == b).all() for a,b in zip(attributes._own_fold(t), attribute_folds(t)[0]))

def test_the_test_part_never_slips_into_training(table, encoder, vectors):
    "A table of train and test without val has no fold of its own: nothing is made up"
    with pytest.raises(FabricError, match='val'): attribute_dls(parted(table, val='train'), vectors=vectors)

def test_many_products_are_folded_in_a_moment():
    from time import process_time
    items = pd.DataFrame(dict(image='a', labels=[()]*40_000, product=[f'P{i//4}' for i in range(40_000)]))
    start = process_time()
    attribute_folds(AttributeTable(items, dict(a='x')))
    assert process_time() - start < 2

# ---- training

@pytest.mark.parametrize('fine_tune', [False, True])
@pytest.mark.parametrize('loss', ATTRIBUTE_LOSSES)
def test_the_loss_falls(table, kept, fine_tune, loss):
    with seeded(0): model = attribute_model(table, small(), fine_tune=fine_tune)
    before = state(model.encoder)
    learn = attribute_learner(attribute_dls(table, model.encoder, bs=16, folder=kept, augment=False), model, loss)
    losses = history(quick(learn, 4, 5e-3)).train_loss
    assert losses.iloc[-1] < losses.iloc[0]
    assert same(before, state(model.encoder)) != fine_tune                # weights, and the running means of BatchNorm

def test_the_earlier_recipe(table, encoder, vectors):
    learn = attribute_learner(attribute_dls(table, vectors=vectors, bs=8), attribute_model(table, encoder), opt_func=SGD)
    losses = history(quick(learn, 8, .5, warmup=2, fit=partial(fit_cosine, learn)))
    assert losses.valid_loss.iloc[-1] < .9*losses.valid_loss.iloc[0] and losses.macro_f1.iloc[-1] > losses.macro_f1.iloc[0]

def test_same_seed_same_weights(table, kept):
    def once(seed):
        with seeded(seed):
            model = attribute_model(table, small(), fine_tune=True)
            learn = attribute_learner(attribute_dls(table, model.encoder, bs=16, folder=kept), model)
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1)
        return state(model)
    a, b, c = once(1), once(1), once(2)
    assert same(a, b) and not same(a, c)

@pytest.mark.parametrize('change', [lambda t: t.choose(group='part'), lambda t: replace(t, exclusive=()), lambda t: replace(t, groups={a: 'x' if g == 'part' else g for a,g in t.groups.items()})])
def test_a_learner_needs_the_models_own_table(table, encoder, vectors, change):
    with pytest.raises(FabricError, match='build it from the same table'): attribute_learner(attribute_dls(change(table), vectors=vectors), attribute_model(table, encoder))

def test_a_learner_needs_the_encoders_own_photos(table, kept, vectors):
    with pytest.raises(FabricError, match='encoder'): attribute_learner(attribute_dls(table, small(crop_mode='squash'), folder=kept), attribute_model(table, small()))
    with pytest.raises(FabricError, match='vectors'): attribute_learner(attribute_dls(table, vectors=vectors[:, :7]), attribute_model(table, small()))

def test_probs_leave_the_model_as_it_was(table, encoder, vectors):
    for training in (True, False):
        model = attribute_model(table, encoder).train(training)
        a, b = attribute_probs(model, vectors), attribute_probs(model, torch.from_numpy(vectors))
        assert model.training == model.head.training == training and (a == b).all()

def test_probs_of_photos_are_those_of_their_vectors(table, encoder):
    model = attribute_model(table, encoder)
    nn.init.normal_(model.head[-1].weight, std=.1)
    photos = list(table.items.image[:5])
    np.testing.assert_array_equal(attribute_probs(model, photos), attribute_probs(model, embed_photos(table.take(range(5)), encoder)))

@pytest.mark.parametrize('cut', ['whole', 'box', 'mask'])
def test_vectors_of_cut_photos(table, kept, cut):
    enc = small(crop_pct=.8)
    t = table.take(range(4))
    files = t.items.image if cut == 'whole' else attributes.small_photos(t.items, kept, round(SIZE/.7), cut)
    with torch.no_grad(): want = enc(torch.stack([enc.prepare(f) for f in files]))
    np.testing.assert_allclose(embed_photos(t, enc, cut, kept), want, atol=1e-5)

# ---- out of fold

def spied(monkeypatch):
    "Gathers the training rows of every model, by the numbers in the first column of the vectors"
    seen, make = [], attributes.attribute_dls
    def dls(table, *args, fold=None, **kwargs):
        seen.append(tuple(map(np.asarray, fold)))
        return make(table, *args, fold=fold, **kwargs)
    monkeypatch.setattr(attributes, 'attribute_dls', dls)
    return seen

def test_no_photo_is_predicted_by_a_model_that_saw_its_product(table, encoder, vectors, monkeypatch):
    seen, products = spied(monkeypatch), table.items['product'].to_numpy()
    probs = attribute_oof(table, vectors, encoder, fit=lambda learn: learn.fit(1, 0.))
    assert probs.shape == table.targets().shape and np.isfinite(probs).all() and len(seen) == 5
    for train, valid in seen: assert not {*products[train]} & {*products[valid]}
    for train, valid in seen:                                             # untrained: each photo has the rates of its own fold's training rows
        np.testing.assert_allclose(probs[valid][:, :20], table.targets()[train][:, :20].mean(0)[None].clip(1e-4).repeat(len(valid), 0), rtol=1e-3)

def test_labels_of_a_photo_do_not_reach_its_own_prediction(table, encoder, vectors):
    "Other labels for the photos of one fold change what is said of the others, and nothing of them"
    folds = attribute_folds(table)
    flipped = replace(table, items=table.items.assign(labels=[('striped',) if i in folds[0][1] else t for i,t in enumerate(table.items.labels)]))
    a, b = (attribute_oof(t, vectors, encoder, folds) for t in (table, flipped))
    assert (a[folds[0][1]] == b[folds[0][1]]).all() and (a[folds[1][1]] != b[folds[1][1]]).any()

@pytest.mark.once
def test_vectors_that_tell_are_learned(table, encoder, vectors):
    learn = partial(attribute_oof, table, vectors, encoder, fit=partial(fit_probe, steps=100))
    probs, y = learn(), table.targets()
    often = y.sum(0) >= 8
    assert attribute_scores(probs[:, often], y[:, often], np.array(table.names)[often]).ap.mean() > 2*y[:, often].mean()
    assert (learn() == probs).all() and (learn(seed=3) != probs).any()

def test_kept_folds_are_those_of_one_experiment(table, encoder, vectors, tmp_path):
    a = attribute_oof(table, vectors, encoder, folder=tmp_path/'a')
    assert (attribute_oof(table, vectors, encoder, folder=tmp_path/'a') == a).all()
    for other in (dict(loss='asymmetric'), dict(head_name='linear'), dict(seed=1)):
        with pytest.raises(FabricError, match='another experiment'): attribute_oof(table, vectors, encoder, folder=tmp_path/'a', **other)

# ---- the report

def test_the_report_has_every_score_beside_its_baselines(table):
    y = table.targets()
    report = attribute_report(table, y*.8 + .1, n_boot=20).set_index(['group', 'model', 'metric'])
    for group, models, metric, best in (('all', {'model', 'nothing', 'everything', 'frequency'}, 'mAP', 'model'), ('category', {'model', 'most_frequent', 'chance'}, 'accuracy', 'model')):
        rows = report.xs((group, metric), level=('group', 'metric'))
        assert {*rows.index} == models and rows.value[best] == 1 == rows.value.max()
    nothing = report.xs('plain_accuracy', level='metric').value
    many = [i for i,g in enumerate(table.groups.values()) if g != 'category']
    assert nothing['all', 'nothing'] == pytest.approx(1 - y[:, many].mean()) and (report.lo.dropna() <= report.hi.dropna() + 1e-9).all()

@pytest.mark.parametrize('pick', [lambda t: t.choose(group='category'), lambda t: t.choose(group='part')])
def test_reports_of_one_kind_of_group(table, pick):
    t = pick(table)
    assert len(attribute_report(t, np.random.default_rng(0).random((80, len(t.groups))), n_boot=5))

def test_the_report_has_top_k_recall_of_each_group(table):
    probs = np.random.default_rng(0).random((80, len(table.groups)))
    report, want = attribute_report(table, probs, n_boot=5), group_recall(probs, table.targets(), table.groups, n_boot=5)
    for _,w in want[(want.group != 'all') & want.recall.notna()].iterrows():
        got = report[(report.group == w.group) & (report.metric == f'top{w.k}_recall')]
        assert got.model.item() == 'model' and got.value.item() == w.recall
    assert {*report[report.metric == 'top3_recall'].group} == {'all', 'part', 'shape', 'category'}

def test_thresholds_of_the_report(table):
    t = table.choose(group='part')
    y = t.targets()
    f1 = [attribute_report(t, .3*y + .1, thresholds=c, n_boot=5).query('metric == "macro_f1" and model == "model"').value.item() for c in (.5, .3, np.full(len(t.groups), .3))]
    assert f1[0] == 0 and f1[1] == f1[2] == 1

# ---- train_attributes

def test_trained_out_of_fold_where_there_are_no_parts(table, encoder, vectors, monkeypatch):
    monkeypatch.setattr(attributes, 'embed_photos', lambda *a, **k: vectors)
    t, tuned, tune = replace(table, items=table.items.drop(columns='part')), [], attributes.tune_thresholds
    monkeypatch.setattr(attributes, 'tune_thresholds', lambda p, y: tuned.append((p.copy(), y.copy())) or tune(p, y))
    model = train_attributes(t, encoder, seed=1)
    folds, y = attribute_folds(t, seed=1), t.targets()
    probs = attribute_oof(t, vectors, encoder, folds, seed=1)
    assert model.card['scores']['how'] == 'out of fold' and len(tuned) == 6
    for (p, labels), (train, _) in zip(tuned, folds): assert (p == probs[train]).all() and (labels == y[train]).all()     # never the fold that is scored
    assert (tuned[-1][0] == probs).all() and model.thresholds == pytest.approx({a: c for (a,g),c in zip(t.groups.items(), tune(probs, y)) if g != 'category'})
    scores = pd.DataFrame(model.card['scores']['rows'], columns=model.card['scores']['columns'])
    want = np.zeros(probs.shape, bool)
    for train, valid in folds: want[valid] = probs[valid] >= tune(probs[train], y[train])
    many = [i for i,g in enumerate(t.groups.values()) if g != 'category']
    f1 = attribute_scores(want[:, many].astype(float), y[:, many], np.array(t.names)[many])
    assert scores.query('group == "all" and model == "model" and metric == "macro_f1"').value.item() == pytest.approx(f1.f1[f1.support > 0].fillna(0).mean(), abs=1e-6)
    ap = attribute_report(t, probs).query('group == "all" and model == "model" and metric == "mAP"').value.item()
    assert scores.query('group == "all" and model == "model" and metric == "mAP"').value.item() == pytest.approx(ap)

def test_the_test_part_teaches_nothing(table, encoder, vectors, trained, monkeypatch):
    "Its labels change no weight and no threshold, only the scores; those of val change thresholds, and those of train the weights"
    monkeypatch.setattr(attributes, 'embed_photos', lambda *a, **k: vectors)
    rng = np.random.default_rng(5)
    def scrambled(part):
        rows = np.flatnonzero(table.items.part == part)
        labels = table.items.labels.to_numpy().copy(); labels[rows] = labels[rng.permutation(rows)]
        return train_attributes(replace(table, items=table.items.assign(labels=labels)), encoder)
    test, val, train = map(scrambled, ('test', 'val', 'train'))
    assert trained.card['scores']['how'] == 'test part'
    assert same(state(test), state(trained)) and test.thresholds == trained.thresholds and test.card['scores'] != trained.card['scores']
    assert same(state(val), state(trained)) and val.thresholds != trained.thresholds
    assert not same(state(train), state(trained))

def test_vectors_of_the_test_part_teach_nothing(table, encoder, vectors, trained, monkeypatch):
    other = vectors.copy(); other[table.items.part == 'test'] = 7
    monkeypatch.setattr(attributes, 'embed_photos', lambda *a, **k: other)
    model = train_attributes(table, encoder)
    assert same(state(model), state(trained)) and model.thresholds == trained.thresholds

def test_training_again_gives_the_same(table, encoder, vectors, trained, monkeypatch):
    monkeypatch.setattr(attributes, 'embed_photos', lambda *a, **k: vectors)
    again, other = train_attributes(table, encoder), train_attributes(table, encoder, seed=1)
    assert same(state(again), state(trained)) and again.card == trained.card and not same(state(other), state(trained))
    assert not trained.training and {*trained.thresholds} == {a for a,g in table.groups.items() if g != 'category'}

def test_train_and_test_without_val(table, encoder, vectors, monkeypatch):
    monkeypatch.setattr(attributes, 'embed_photos', lambda *a, **k: vectors)
    with pytest.raises(FabricError, match='val'): train_attributes(parted(table, val='train'), encoder)

# ---- on disk

def test_saved_and_loaded_to_the_last_bit(trained, vectors, tmp_path):
    folder = save_attributes(trained, tmp_path/'model', data='80 generated photos')
    model = load_attributes(folder)
    assert same(state(model), state(trained)) and (attribute_probs(model, vectors) == attribute_probs(trained, vectors)).all()
    assert (model.groups, model.exclusive, model.thresholds) == (trained.groups, trained.exclusive, trained.thresholds) and list(model.groups) == list(trained.groups)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert model.card['scores'] == trained.card['scores'] and model.card['data'] == '80 generated photos' and model.card['loss'] == 'bce'
    again = load_attributes(save_attributes(model, tmp_path/'again'))
    assert same(state(again), state(model)) and again.card['scores'] == model.card['scores'] and again.thresholds == model.thresholds
    assert sorted(p.name for p in folder.iterdir()) == ['card.json', 'model.safetensors']

@pytest.mark.parametrize('kwargs', [dict(head_name='mlp', n_hidden=9), dict(head_name='linear'), dict(p=.1)])
def test_every_head_comes_back(table, encoder, tmp_path, kwargs):
    model = attribute_model(table, encoder, **kwargs).eval()
    assert same(state(load_attributes(save_attributes(model, tmp_path/'m'))), state(model))

def resigned(folder, **change):
    "A card that somebody changed, with a right checksum"
    card = json.loads((folder/'card.json').read_text()) | change
    card['card_sha256'] = checkpoints._card_sha256(card)
    (folder/'card.json').write_bytes(checkpoints._card_bytes(card))

@pytest.mark.parametrize('change', [
    lambda c: dict(kind='touch'), lambda c: dict(encoder=c['encoder'] | dict(name='resnet_nineteen')), lambda c: dict(encoder=c['encoder'] | dict(size=64)), lambda c: dict(encoder=c['encoder'] | dict(args=7)),
    lambda c: dict(encoder=c['encoder'] | dict(args=dict(pretrained=True))), lambda c: dict(encoder=None), lambda c: dict(encoder='test_resnet'), lambda c: dict(head=dict(name='forest', args={})),
    lambda c: dict(head=dict(name='linear', args={})), lambda c: dict(head=dict(name='probe', args=dict(q=1))), lambda c: dict(head=dict(name='probe', args=dict(table=1))), lambda c: dict(head=None), lambda c: dict(attributes=None),
    lambda c: dict(attributes=c['attributes'][1:]), lambda c: dict(attributes=c['attributes'] + [['new', 'part']]), lambda c: dict(attributes=[c['attributes'][0]]*len(c['attributes'])), lambda c: dict(attributes=[[['a'], 'b']]*3),
    lambda c: dict(attributes=7), lambda c: dict(exclusive=7), lambda c: dict(exclusive=['no such group']), lambda c: dict(exclusive=None), lambda c: dict(thresholds=[.5]*20), lambda c: dict(thresholds={'no such attribute': .5}),
    lambda c: dict(thresholds=dict.fromkeys(c['thresholds'], 'half')), lambda c: dict(thresholds=dict.fromkeys(c['thresholds'], None)), lambda c: dict(thresholds='.5')])
def test_cards_that_are_refused(trained, tmp_path, change):
    folder = save_attributes(trained, tmp_path/'m')
    resigned(folder)
    assert load_attributes(folder).thresholds == trained.thresholds         # nothing is refused for the signature
    resigned(folder, **change(json.loads((folder/'card.json').read_text())))
    with pytest.raises(FabricError): load_attributes(folder)

def test_a_card_or_weights_that_were_changed(trained, tmp_path):
    folder = save_attributes(trained, tmp_path/'m')
    card = (folder/'card.json').read_text()
    (folder/'card.json').write_text(card.replace('"striped"', '"checked"', 1))
    with pytest.raises(FabricError): load_attributes(folder)
    (folder/'card.json').write_text(card)
    raw = bytearray((folder/'model.safetensors').read_bytes()); raw[-3] ^= 1
    (folder/'model.safetensors').write_bytes(raw)
    with pytest.raises(FabricError, match='sha256|changed'): load_attributes(folder)

def test_no_pickle_is_run(trained, tmp_path):
    class Evil:
        def __reduce__(self): return (Path.touch, (tmp_path/'ran',))
    folder = save_attributes(trained, tmp_path/'m')
    (folder/'model.safetensors').write_bytes(pickle.dumps(Evil()))
    with pytest.raises(FabricError, match='pickle'): load_attributes(folder)
    assert not (tmp_path/'ran').exists()

def test_what_a_card_must_say(trained, tmp_path):
    folder = save_attributes(trained, tmp_path/'m')
    assert load_attributes(folder, loss='bce').card['loss'] == 'bce'
    with pytest.raises(FabricError, match='loss'): load_attributes(folder, loss='asymmetric')

# ---- one garment

@pytest.fixture(scope='module')
def row(table): return table.items.iloc[0]

def cut_out_of(row):
    img = Image.open(row.image).convert('RGBA'); img.putalpha(Image.open(row['mask']).convert('L'))
    return img

def test_predicting_whatever_a_photo_is_given_as(trained, row, tmp_path):
    folder = save_attributes(trained, tmp_path/'m')
    array = np.asarray(Image.open(row.image))
    every = [predict_attributes(i, m) for i in (row.image, Path(row.image), Image.open(row.image), array) for m in (trained, folder, str(folder))]
    assert all(p.probs == every[0].probs and p.colours == every[0].colours and p.chosen == every[0].chosen for p in every)
    assert [*every[0].probs] == list(trained.groups) and np.allclose([*every[0].probs.values()], attribute_probs(trained, [row.image])[0])

def test_a_large_file_says_what_its_pixels_say(trained, row, tmp_path):
    "A file is decoded no larger than needed; the photo itself is taken as it is"
    large = Image.open(row.image).resize((1200, 1600), Image.Resampling.BICUBIC)
    large.save(tmp_path/'large.jpg', quality=95)
    filed, given = predict_attributes(tmp_path/'large.jpg', trained), predict_attributes(Image.open(tmp_path/'large.jpg'), trained)
    np.testing.assert_allclose([*filed.probs.values()], [*given.probs.values()], atol=.05)
    assert [c.name for c in filed.colours] == [c.name for c in given.colours]

def test_the_colours_are_the_garments(trained, row, tmp_path):
    mask = np.asarray(Image.open(row['mask']).convert('L')) > 127
    cut_out_of(row).save(tmp_path/'cut.png')
    masked, cut, filed = predict_attributes(row.image, trained, mask), predict_attributes(cut_out_of(row), trained), predict_attributes(tmp_path/'cut.png', trained)
    assert masked.colours == cut.colours == filed.colours
    white = np.full((60, 60, 3), 255, np.uint8); white[15:45, 15:45] = (200, 0, 0)
    assert [c.name for c in predict_attributes(white, trained).colours] == ['red']      # the middle, without a mask
    with pytest.raises(FabricError, match='mask is bool of shape'): predict_attributes(white, trained, mask[:5])

def test_what_is_chosen(trained, row):
    found = predict_attributes(row.image, trained)
    want = {g: [a for a in names if found.probs[a] >= trained.thresholds[a]] for g,names in ((g, [a for a,h in trained.groups.items() if h == g]) for g in dict.fromkeys(trained.groups.values())) if g != 'category'}
    category = max((a for a,g in trained.groups.items() if g == 'category'), key=found.probs.get)
    assert found.chosen == want | dict(category=[category]) and found.category == category
    said = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {g: [o['name'] for o in names] for g,names in said['attributes'].items()} == found.chosen and said['category'] == category
    assert all(0 <= o['prob'] <= 1 for names in said['attributes'].values() for o in names) and category in repr(found) and 'colours' in repr(found)

def test_without_thresholds_or_category(table, encoder, row):
    model = attribute_model(table.choose(group='texture'), encoder).eval()
    found = predict_attributes(row.image, model)
    assert model.thresholds is None and found.category is None and {*found.chosen} == {'texture'}
    assert found.chosen['texture'] == [a for a,p in found.probs.items() if p >= .5]

def test_a_thousand_attributes_are_shown_at_once(encoder):
    from time import process_time
    groups = {f'a{i}': f'g{i % 5}' for i in range(1000)}
    found = AttributePrediction(dict.fromkeys(groups, .7), AttributeModel(encoder, nn.Linear(2, 1000), groups), [])
    start = process_time()
    assert sum(map(len, found.chosen.values())) == 1000 and process_time() - start < .1

@pytest.mark.parametrize('image, says', [('gone.jpg', 'no such file'), (np.zeros((4, 4)), 'a photo is a file'), (7, 'a photo is a file')])
def test_what_is_no_photo(trained, image, says):
    with pytest.raises(FabricError, match=says): predict_attributes(image, trained)

def test_no_model_there(row, tmp_path):
    with pytest.raises(FabricError, match='no such folder'): predict_attributes(row.image, tmp_path/'gone')

@pytest.mark.filterwarnings('error::ResourceWarning', 'error::pytest.PytestUnraisableExceptionWarning')
def test_no_file_stays_open(trained, row):
    import gc
    predict_attributes(row.image, trained); gc.collect()

# ---- pictures

@pytest.fixture
def drawn():
    yield
    plt.close('all')

def words(title): return {*''.join(title.split()).split(',')}               # lines are broken at spaces and hyphens

def test_shown_batches_and_results(table, kept, drawn):
    enc = small()
    learn = attribute_learner(attribute_dls(table, enc, bs=8, folder=kept), attribute_model(table, enc))
    learn.dls.train.show_batch(max_n=4)
    titles = [ax.get_title() for ax in plt.gcf().axes]
    known = {''.join(a.split()) for a in (*table.names, 'none')}
    assert sum(map(bool, titles)) == 4 and all(words(t) <= known for t in titles if t)
    with learn.no_bar(), learn.no_logging(): learn.show_results(max_n=4, shuffle=False)
    titles = [ax.get_title() for ax in plt.gcf().axes if ax.get_title()]
    labels = table.items.labels[table.items.part == 'val'].tolist()[:4]
    assert len(titles) == 4
    for title, true in zip(titles, labels):
        told, said = map(words, title.split('→'))
        assert told == {''.join(a.split()) for a in true} and said <= known and len(said & {a for a,g in table.groups.items() if g == 'category'}) == 1

def test_names_are_shown_and_printed(capsys, drawn):
    AttributeNames(['a', 'b']).show(); AttributeNames([]).show()
    assert capsys.readouterr().out == 'a, b\nnone\n'
    _, ax = plt.subplots()
    for names in (['a'], ['b', 'c']): AttributeNames(names).show(ctx=ax)
    assert ax.get_title() == 'a\n→ b, c'

@pytest.mark.parametrize('n', [1, 3])
def test_the_figure_of_a_garment(trained, row, n, drawn):
    found = predict_attributes(row.image, trained)
    fig = found.plot(n)
    fig.canvas.draw()
    bars = next(ax for ax in fig.axes if ax.get_xlabel().startswith('probability'))
    names = [t.get_text() for t in bars.get_yticklabels()]
    assert len(names) == len(bars.patches) == sum(min(n, len([a for a,h in trained.groups.items() if h == g])) for g in {*trained.groups.values()})
    assert all(f'{trained.groups[a]}: {a}' == label and p.get_width() == pytest.approx(found.probs[a]) for label,p in zip(names, bars.patches) for a in [label.partition(': ')[2]])

# ---- real photos

def test_real_photos_beat_the_majority(monkeypatch):
    "200 photos at 96 pixels, so that it takes seconds; 320 and a thousand are in the notebook"
    for name in ('deepfashion_fine', 'weights'):
        if not has_data(name): pytest.skip(f'{name} is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
    monkeypatch.setattr(attributes, 'fit_probe', partial(fit_probe, steps=100))
    table = read_fine(data_dir('deepfashion_fine')).take(range(200))
    enc = image_encoder('mobilenetv2_tf', data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth', size=96)
    assert (enc.size, enc.crop_mode, enc.n_out) == (96, 'squash', 1280 + 2*(32 + 96 + 320))
    model = train_attributes(table, enc)
    scores = pd.DataFrame(model.card['scores']['rows'], columns=model.card['scores']['columns']).query('group == "mean"').set_index(['metric', 'model']).value
    assert scores['accuracy', 'model'] > scores['accuracy', 'most_frequent'] + .02 and scores['macro_f1', 'model'] > scores['macro_f1', 'most_frequent']
    found = predict_attributes(table.items.image[0], model)
    assert all(len(names) == 1 for names in found.chosen.values()) and found.category is None


def test_folded_batchnorms_are_not_trained():
    "Weights whose BatchNorms were folded into the convolutions keep their output when the network is fine-tuned"
    encoder = image_encoder('test_efficientnet', pretrained=False)
    norms = [m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    table = AttributeTable(pd.DataFrame(dict(image=['a'], labels=[('x',)])), {'x': 'g'})
    fresh = attribute_model(table, encoder, fine_tune=True)
    assert all(m.training for m in fresh.encoder.modules() if isinstance(m, nn.BatchNorm2d))
    with torch.no_grad():
        for m in norms: m.bias.normal_()
    photos = torch.rand(4, 3, encoder.size, encoder.size)
    tuned = attribute_model(table, encoder, fine_tune=True).train()
    assert torch.equal(tuned.encoder(photos), encoder.eval()(photos))
    assert any(p.requires_grad for p in tuned.encoder.parameters())
    with torch.no_grad(): norms[0].running_mean.add_(1)         # seen photos: an ordinary network
    assert all(m.training for m in attribute_model(table, encoder, fine_tune=True).train().encoder.modules() if isinstance(m, nn.BatchNorm2d))
