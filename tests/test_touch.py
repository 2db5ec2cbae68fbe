"One contract for every recipe: shapes, gradients, what is frozen, what is saved, what comes back the same."
import dataclasses, random, warnings
from functools import partial

import numpy as np, pandas as pd, pytest, torch
from PIL import Image
from torch import nn

from fabric_touch.blends import FIBRES, blend_vector
from fabric_touch.core import TOUCHES, FabricError, seeded
from fabric_touch.data import Number, Target, as_targets, read_fabrics, touch_dls
from fabric_touch.encoders import image_encoder
from fabric_touch.fusion import FUSIONS, Bilinear, OuterAttention, fusion
from fabric_touch.swatches import make_blends, make_swatches
from fabric_touch.touch import (FLAT, RECIPES, Recipe, TouchPrediction, effective_levels, embed_fabrics, fit_touch, load_touch, predict_touch, save_touch,
                                touch_folds, touch_learner, touch_model, touch_probs, touch_refit)
from fabric_touch.train import LEVEL_LOSSES, TouchLoss

WIDTHS = (8, 33, 96)
SMALL = dict(n_out=24, vision=dict(image_size=28, patch_size=14, width=16, layers=2, heads=2))   # a small imagebind tower

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "24 swatches, one row per rating"
    return make_swatches(24, seed=4, raters=5).write(tmp_path_factory.mktemp('touch')/'swatches', kind='ratings').parent

@pytest.fixture(scope='module')
def fabrics(folder): return read_fabrics(folder/'fabrics.csv')

@pytest.fixture(scope='module')
def learn(fabrics):
    "A learner over photos that has trained for one epoch"
    with seeded(0):
        learn = touch_learner(touch_dls(fabrics, bs=8, size=96), 'mlb')
        with learn.no_bar(), learn.no_logging(): learn.fit(1, 1e-3)
    return learn

@pytest.fixture(scope='module')
def model(learn, tmp_path_factory): return load_touch(save_touch(learn.model, tmp_path_factory.mktemp('saved')/'model', note='for tests'))

def batch(n_img, b=4, seed=0):
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(b, n_img, generator=dice), torch.from_numpy(make_blends(b, seed))

def whole(recipe): return dict(train='all') if 'mobilenet' in RECIPES[recipe].head else {}     # there are no ImageNet weights here, and frozen noise tells nothing apart

def quiet(learn): return learn.no_bar(), learn.no_logging()

def state(model): return {k: v.detach().clone() for k,v in model.state_dict().items()}

def differ(a, b): return [k for k in a if not torch.equal(a[k], b[k])]

def step(model, x, blend):
    "One step of training on all that may train"
    opt = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], .1)
    model.train()
    model(x, blend).square().mean().backward()
    opt.step()

def warm(model, x, blend):
    "Let BatchNorm see this batch, as it would in a long training; without it, a fresh MobileNet answers nearly the same to everything"
    for m in model.modules():
        if isinstance(m, nn.modules.batchnorm._BatchNorm): m.momentum = 1.
    with torch.no_grad(): model.train()(x, blend)
    return model.eval()

# ---- the contract

NUMBERS = tuple(k for k,r in RECIPES.items() if r.head == 'decoder')

def test_the_family_is_there():
    assert {'venezia', 'constantinople', 'constantinople_v2', 'constantinople_levels', 'constantinople_v2_levels', 'kostantiniyye', 'kostantiniyye_as_ran', 'kostantiniyye_as_meant', 'galata',
            'mlb', 'mlb_either', 'photo', 'blend'} <= set(RECIPES)

@pytest.mark.parametrize('width', WIDTHS)
@pytest.mark.parametrize('recipe', RECIPES)
def test_contract(recipe, width, tmp_path):
    torch.manual_seed(0)
    m = touch_model(recipe, encoder=width, **whole(recipe))
    x, blend = batch(width)
    out = m.train()(x, blend)
    members = (RECIPES[recipe].members,) if RECIPES[recipe].members > 1 else ()
    assert out.shape == (*members, *((4, 4) if recipe in NUMBERS else (4, 4, 5))) and out.dtype == torch.float32 and out.isfinite().all()
    before = state(m)
    step(m, x, blend)
    trains = {n for n,p in m.named_parameters() if p.requires_grad}
    assert trains and all(p.grad is not None and p.grad.isfinite().all() for n,p in m.named_parameters() if n in trains)
    moved = set(differ(before, state(m)))
    assert moved & trains and not {n for n in moved if n.startswith('blend_encoder')}
    assert not {n for n,p in m.named_parameters() if not p.requires_grad} & moved
    one = warm(m, x, blend)(x, blend)
    assert (one[0] - one[1]).abs().max() > 1e-3                                          # and it tells them apart
    torch.testing.assert_close(m(x[:1], blend[:1]), one[:1], rtol=1e-4, atol=1e-5)       # a fabric's answer is its own, alone or in a batch
    torch.testing.assert_close(m.from_vectors(x, blend), one, rtol=0, atol=0)
    again = load_touch(save_touch(m, tmp_path/'m'))
    torch.testing.assert_close(again(x, blend), one, rtol=0, atol=1e-6)
    assert not again.training and again.recipe == recipe and again.card['kind'] == 'touch' and again.targets == m.targets

@pytest.mark.parametrize('recipe', RECIPES)
def test_what_a_recipe_looks_at(recipe):
    torch.manual_seed(0)
    x, blend = batch(16)
    m = warm(touch_model(recipe, encoder=16, **whole(recipe)), x, blend)
    with torch.no_grad():
        by_photo, by_blend = (not torch.equal(m(x, blend), m(*o)) for o in ((x.flip(0), blend), (x, blend.flip(0))))
    assert (by_photo, by_blend) == (recipe != 'blend', recipe != 'photo')

@pytest.mark.parametrize('recipe', ['mlb', 'kostantiniyye'])
def test_frozen_parts_do_not_move_on_photos(recipe):
    encoder = image_encoder('swatch', pretrained=False)
    m = touch_model(recipe, encoder)
    before = state(m)
    step(m, torch.rand(4, 3, 96, 96), batch(1)[1])
    moved = differ(before, state(m))
    assert moved and not [k for k in moved if k.startswith(('encoder.', 'blend_encoder.encoder.'))]     # BatchNorm's statistics included
    assert any('running_mean' in k for k in before if k.startswith('encoder.'))                         # there were some to move
    assert not any(p.grad is not None for p in encoder.parameters())
    assert not any(b.training for b in encoder.modules()) and m.head.training

def stated(recipe, head='mobilenet'):
    "What trains, as the reference states it: nothing of encoders and of the LayerNorm behind the blend encoder, nothing of MobileNet but its last layer"
    return {'fusion.attention.in_proj_weight', 'fusion.attention.in_proj_bias', 'fusion.attention.out_proj.weight', 'fusion.attention.out_proj.bias', 'fusion.normalize.weight',
            'fusion.normalize.bias', 'head.mobilenet.classifier.3.weight', 'head.mobilenet.classifier.3.bias'}

@pytest.mark.parametrize('recipe', ['kostantiniyye', 'kostantiniyye_as_ran', 'kostantiniyye_as_meant'])
def test_only_the_stated_parts_train(recipe):
    torch.manual_seed(0)
    m = touch_model(recipe, 16, targets='softness')
    assert {n for n,p in m.named_parameters() if p.requires_grad} == stated(recipe)
    for b in m.head.modules():
        if isinstance(b, nn.BatchNorm2d): b.train(); b.momentum = 1.                      # as if it had seen pictures; else hardly anything comes through
    with torch.no_grad(): m(*batch(16))
    before = state(m)
    for _ in range(3): step(m, *batch(16))
    moved = set(differ(before, state(m)))
    assert moved <= stated(recipe) and 'head.mobilenet.classifier.3.weight' in moved       # no BatchNorm statistics, no counter
    assert any('num_batches_tracked' in k for k in before)
    later = touch_model(recipe, 16, targets='softness', train='classifier')
    assert {n for n,p in later.named_parameters() if p.requires_grad} - stated(recipe) == {'head.mobilenet.classifier.0.weight', 'head.mobilenet.classifier.0.bias'}

def test_galata_trains_a_branch_for_each_touch():
    m, one = touch_model('galata', 16), stated('kostantiniyye')
    assert {n for n,p in m.named_parameters() if p.requires_grad} == {n.replace('.', f'.{j}.', 1) for n in one for j in range(4)}

def test_frozen_noise_is_warned_of(fabrics):
    dls = touch_dls(fabrics, vectors=np.zeros((24, 8)), bs=8)
    with pytest.warns(UserWarning, match='random weights and stays frozen'): touch_learner(dls, 'kostantiniyye', 8)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        touch_learner(dls, 'kostantiniyye', 8, head_args=dict(train='all')); touch_learner(dls, 'mlb', 8); touch_model('kostantiniyye', 8)

@pytest.mark.parametrize('recipe', RECIPES)
@pytest.mark.parametrize('name', ['swatch', 'test_vit', 'clip', 'imagebind'])
def test_every_recipe_on_every_encoder(recipe, name, encoders):
    m = touch_model(recipe, encoders[name], pretrained=False)
    with torch.no_grad(): out = m.eval()(torch.rand(2, 3, m.encoder.size, m.encoder.size), batch(1, b=2)[1])
    assert out.shape[:2] == (2, 4) and out.isfinite().all()

@pytest.fixture(scope='module')
def encoders():
    "Each kind of encoder once, at random; the large ones as small replicas"
    torch.manual_seed(0)
    names = dict(swatch={}, test_vit={}, clip=SMALL, imagebind=SMALL)
    return {k: image_encoder(k, pretrained=False, **kw) for k,kw in names.items()}

@pytest.mark.filterwarnings('ignore:the MobileNet has random weights')
def test_frozen_parts_do_not_move_in_a_fit(fabrics):
    with seeded(1):
        learn = touch_learner(touch_dls(fabrics, bs=8, size=96), 'kostantiniyye', image_encoder('swatch', pretrained=False))
        before = state(learn.model)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(1, 1e-3)
    moved = differ(before, state(learn.model))
    assert moved and not [k for k in moved if k.startswith(('encoder.', 'blend_encoder.encoder.'))]

@pytest.mark.parametrize('recipe', RECIPES)
def test_same_seed_same_weights(recipe, fabrics):
    def run(seed):
        vectors = np.random.default_rng(0).standard_normal((24, 8))
        with seeded(seed):
            learn = touch_learner(touch_dls(fabrics, vectors=vectors, bs=8), recipe, 8, head_args=whole(recipe))
            with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
        return state(learn.model)
    here = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    a = run(1)
    assert random.getstate() == here[0] and np.random.get_state()[1].tolist() == here[1] and torch.equal(torch.get_rng_state(), here[2])
    random.random(); torch.rand(3); np.random.rand()
    assert not differ(a, run(1))
    if recipe == 'mlb': assert differ(a, run(2))

_dear = {'kostantiniyye_224', 'kostantiniyye_scaled'}    # take longest, and differ from kostantiniyye by a number
@pytest.mark.parametrize('recipe', [pytest.param(r, marks=pytest.mark.stress) if r in _dear else r for r in sorted(set(RECIPES) - {'galata', 'kostantiniyye_as_ran', 'kostantiniyye_as_meant'})])    # the same parts as kostantiniyye
@pytest.mark.once
def test_a_fitted_model_does_not_say_the_same_of_everything(recipe, fabrics):
    "What BatchNorm saw in a short training must be enough to tell fabrics apart in evaluation mode"
    vectors = np.random.default_rng(0).standard_normal((24, 8))
    with seeded(0):
        learn = touch_learner(touch_dls(fabrics, (np.arange(24),)*2, vectors, bs=8), recipe, 8, head_args=whole(recipe))
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(30, 2e-3)
            probs = learn.get_preds()[0]
    assert probs.std(0).max() > .02, f'after {30*len(learn.dls.train)} steps all fabrics get the same, to {probs.std(0).max():.1e}'

def test_a_recipe_of_ones_own(tmp_path):
    m = touch_model(Recipe('log', 'bilinear', 'mlp'), 16).eval()
    again = load_touch(save_touch(m, tmp_path/'m'))
    x = batch(16)
    torch.testing.assert_close(again(*x), m(*x))
    assert again.recipe == 'own'

def test_the_encoder_is_saved_with_the_model(model, learn, fabrics):
    x, blend, _ = learn.dls.valid.one_batch()
    with torch.no_grad(): torch.testing.assert_close(model.to(x.device)(x, blend), learn.model.eval()(x, blend), rtol=0, atol=1e-6)
    model.cpu()
    assert model.card['encoder']['name'] == 'swatch' and model.card['note'] == 'for tests' and model.card['fibres'] == list(FIBRES)

def test_photos_and_their_vectors_agree(model, fabrics):
    with torch.no_grad():
        v = torch.from_numpy(embed_fabrics(fabrics, model.encoder))
        from_vectors = model(v, torch.from_numpy(fabrics.blends)).softmax(-1)
    from_photos = np.stack([predict_touch(i, b, model).probs for i,b in zip(fabrics.images[:4], fabrics.blends)])
    np.testing.assert_allclose(from_photos, from_vectors[:4], atol=1e-5)

def test_any_timm_name(fabrics):
    m = touch_model('mlb', image_encoder('resnet10t', pretrained=False))
    assert m.encoder.n_out == 512 and not any(p.requires_grad for p in m.encoder.parameters())
    pred = predict_touch(fabrics.images[0], '100% cotton', m)
    assert pred.probs.shape == (4, 5)

# ---- a missing side

def gap(x): return torch.full_like(x, float('nan'))

def test_a_missing_side_is_taken_for_its_stand_in():
    torch.manual_seed(0)
    x, blend = batch(8, b=6)
    m = warm(touch_model('mlb_either', 8), x, blend)
    nn.init.normal_(m.absent.photo); nn.init.normal_(m.absent.blend)
    with torch.no_grad():
        full, photo, label, neither = m(x, blend), m(x, gap(blend)), m(gap(x), blend), m(gap(x), gap(blend))
        assert all(o.isfinite().all() for o in (full, photo, label, neither))
        torch.testing.assert_close(label, m(m.absent.photo.expand(6, -1), blend))
        assert torch.equal(neither[0], neither[1]) and not torch.equal(photo[0], photo[1]) and not torch.equal(photo, full)
        mixed = x.clone(); mixed[2] = float('nan')                                             # one row of many
        got = m(mixed, blend)
        torch.testing.assert_close(got[2], label[2]); torch.testing.assert_close(got[[0, 1, 3]], full[[0, 1, 3]])

def test_training_withholds_a_side_but_never_both():
    absent = touch_model(dataclasses.replace(RECIPES['mlb_either'], missing=.6), 3).absent.train()
    v, p = absent(torch.ones(4000, 3), torch.eye(12)[0].expand(4000, -1), lambda b: torch.ones(len(b), 12))
    gone = [(o == 0).all(1).float().mean().item() for o in (v, p)]                             # stand-ins begin at 0
    assert abs(gone[0]-.3) < .03 and abs(gone[1]-.3) < .03 and not ((v == 0).all(1) & (p == 0).all(1)).any()
    v, _ = absent.eval()(torch.ones(50, 3), torch.eye(12)[0].expand(50, -1), lambda b: torch.ones(len(b), 12))
    assert (v == 1).all()

@pytest.mark.parametrize('recipe', [k for k,r in RECIPES.items() if not r.missing])
def test_a_gap_is_refused_by_models_not_trained_for_it(recipe):
    x, blend = batch(8)
    m = touch_model(recipe, 8).eval()
    x[1] = float('nan')
    with pytest.raises(FabricError, match=f'photo 1 is missing.*{recipe}.*mlb_either'): m.from_vectors(x, blend)
    with pytest.raises(FabricError, match='blend 0 is missing'): m.from_vectors(batch(8)[0], gap(blend))

def test_vectors_and_blends_of_another_shape():
    m = touch_model('mlb', 8).eval()
    x, blend = batch(8)
    for bad, words in ((x/0, 'photo 0 holds infinite'), (torch.where(torch.eye(4, 8) > 0, float('nan'), x), 'photo 0 holds infinite numbers, or NaN among others')):
        with pytest.raises(FabricError, match=words): touch_model('mlb_either', 8).from_vectors(bad, blend)
    with pytest.raises(FabricError, match='tensors here, not ndarray'): m.from_vectors(x.numpy(), blend)
    for v, b, words in ((x[:, :7], blend, r'\(4, 7\), this model takes \(b, 8\)'), (x[0], blend, 'this model takes'), (x, blend[:, :11], r'\(4, 11\)'), (x, blend[:3], r'\(3, 12\), the photos are 4')):
        with pytest.raises(FabricError, match=words): m.from_vectors(v, b)

def test_predicting_with_one_side(fabrics, tmp_path):
    m = touch_model('mlb_either', image_encoder('swatch'))
    for img, blend in ((fabrics.images[0], None), (None, '100% cotton'), (fabrics.images[0], 'wool 100')):
        pred = predict_touch(img, blend, m)
        assert pred.probs.shape == (4, 5) and (pred.blend is None) == (blend is None)
    with pytest.raises(FabricError, match='neither photo nor blend'): predict_touch(None, None, m)
    with pytest.raises(FabricError, match='not trained to do without'): predict_touch(None, '100% cotton', touch_model('mlb', image_encoder('swatch')))
    again = load_touch(save_touch(m.eval(), tmp_path/'m'))
    np.testing.assert_array_equal(predict_touch(None, '100% cotton', again).probs, predict_touch(None, '100% cotton', m).probs)

@pytest.mark.parametrize('missing', [-.1, 1, 2, 'half', None])
def test_a_chance_to_withhold(missing):
    with pytest.raises(FabricError, match='chance to withhold'): touch_model(Recipe('log', 'mlb', 'mlp', missing=missing), 8)

# ---- numbers, and temperature

@pytest.mark.parametrize('recipe', NUMBERS)
def test_numbers(recipe, fabrics, tmp_path):
    with pytest.raises(FabricError, match="cannot predict .'gsm'."): touch_model(recipe, 8, ['softness', Number('gsm')])
    vectors = np.random.default_rng(0).standard_normal((24, 8))
    with seeded(0):
        learn = touch_learner(touch_dls(fabrics, vectors=vectors, bs=8), recipe, 8)
        with learn.no_bar(), learn.no_logging():
            learn.fit_one_cycle(2, 1e-3)
            probs = learn.get_preds()[0]
    assert probs.shape[1:] == (4, 5) and torch.allclose(probs.sum(-1), torch.ones(len(probs), 4)) and ((probs > 0).sum(-1) <= 2).all()
    out = learn.model.eval().from_vectors(*batch(8))
    assert (out >= 0).all()
    with torch.no_grad(): p = touch_probs(learn.model, *batch(8))
    np.testing.assert_allclose(p @ np.arange(5), out.clamp(max=4).detach(), rtol=1e-5, atol=1e-6)
    pred = TouchPrediction(p[0], learn.model.targets, {}, True)
    assert set(pred.to_dict()['softness']) == {'level', 'expected'} and 'without a distribution' in repr(pred)
    with pytest.raises(FabricError, match='no distribution'): pred.interval()

def test_numbers_stay_within_their_own_levels():
    m = touch_model('constantinople', 8, ['softness', Target('shade', 3)]).eval()
    with torch.no_grad(): m.head[4].weight.zero_(); m.head[4].bias.fill_(5.6)
    p = touch_probs(m, *batch(8))
    np.testing.assert_array_equal(p[0], np.eye(5)[[4, 2]])
    assert TouchPrediction(p[0], m.targets, {}, True).to_dict() == dict(softness=dict(level=5, expected=5.), shade=dict(level=3, expected=3.))

def test_halves_and_doubles_predict(fabrics):
    m = touch_model('mlb', image_encoder('swatch', pretrained=False)).eval()
    want = predict_touch(fabrics.images[0], '100% cotton', m).probs
    for kind, eps in ((torch.float64, 1e-5), (torch.float16, 2e-2)):
        np.testing.assert_allclose(predict_touch(fabrics.images[0], '100% cotton', m.to(kind)).probs, want, atol=eps)

def test_indices_are_the_most_likely_levels_from_0():
    p = np.array([[0, .1, .2, .7, 0], [.4, .1, .1, .1, .3]])
    assert TouchPrediction(p, as_targets(['a', 'b']), {}).indices == (3, 0)
    assert TouchPrediction(p, as_targets(['a', 'b']), {}).interval(.65) == {'a': (4, 4), 'b': (1, 4)}

def test_temperature_is_kept_and_used(fabrics, tmp_path):
    m = touch_model('mlb', 8, ['softness', Number('gsm'), Target('thickness', 3)]).eval()
    plain = touch_probs(m, *batch(8))
    m.temperature = [2., 1., .5]
    heated = touch_probs(load_touch(save_touch(m, tmp_path/'m')), *batch(8))
    with torch.no_grad(): logits = m.from_vectors(*batch(8))
    torch.testing.assert_close(torch.from_numpy(heated[:, 0]), (logits[:, 0]/2).softmax(-1))
    torch.testing.assert_close(torch.from_numpy(heated[:, 2, :3]), (logits[:, 2, :3]*2).softmax(-1))
    np.testing.assert_array_equal(heated[:, 1], plain[:, 1])

@pytest.mark.parametrize('bad', [[1., 1.], [1., 0., 1., 1.], 'hot', [1., float('inf'), 1., 1.], [1, 2, None, 1]])
def test_a_temperature_that_cannot_be(bad):
    m = touch_model('mlb', 8)
    m.temperature = np.ones(4)
    with pytest.raises(FabricError, match='give 4 numbers above 0'): m.temperature = bad
    assert m.temperature == [1.]*4

@pytest.mark.parametrize('encoder', [0, -1, True, 1.5, None, [512]])
def test_an_encoder_that_cannot_be(encoder):
    with pytest.raises(FabricError, match='an encoder is a name'): touch_model('mlb', encoder)

@pytest.mark.parametrize('targets', [None, 3, [], [Target('a', 1)], [Target('a', -3)], [Target('a', 2.5)], [Target('a', 0, std=0.)], ['a', 'a'], [7]])
def test_targets_that_cannot_be(targets):
    with pytest.raises(FabricError): touch_model('mlb', 8, targets)

def test_arguments_of_another_head():
    with pytest.raises(FabricError, match="the head 'mlp' takes n_hidden, p, not weights"): touch_model('mlb', 8, weights='mobilenet.pth')

def test_a_checkpoint_of_the_reference_is_pointed_on(tmp_path):
    torch.save({}, tmp_path/'k.pth')
    with pytest.raises(FabricError, match='load_reference'): load_touch(tmp_path/'k.pth')

# ---- dropout, as it ran and as it was meant

def test_dropout_as_ran_blanks_whole_fabrics_and_as_meant_rows_and_channels():
    torch.manual_seed(0)
    v, p = torch.randn(600, 6), torch.randn(600, 16)
    zero = lambda x: (x.abs() < 1e-7)
    ran = fusion('outer_attention_as_ran', 6, 16).train()(v, p)
    gone = zero(ran).flatten(1)
    assert ran.shape == (600, 1, 6, 16) and set(gone.float().mean(1).tolist()) == {0., 1.} and abs(gone.all(1).float().mean() - .3) < .06
    meant = zero(fusion('outer_attention_as_meant', 6, 16).train()(v, p))
    channels, rows = meant.flatten(2).all(2), meant.all(3)                                     # (600, 3), (600, 3, 6)
    assert abs(channels.float().mean() - .3) < .05 and 0 < channels.all(1).float().mean() < .1   # each channel by itself
    kept = rows[~channels]
    assert abs(kept.float().mean() - .3) < .03
    plain = fusion('outer_attention', 6, 16).eval()
    for name in ('as_ran', 'as_meant'):
        other = fusion(f'outer_attention_{name}', 6, 16).eval()
        other.load_state_dict(plain.state_dict())
        torch.testing.assert_close(other(v, p).mean(1), plain(v, p)[:, 0])

# ---- the mathematics

@pytest.mark.parametrize('n_img, dim, heads', [(5, 16, 4), (9, 24, 8), (1, 8, 8), (7, 12, 1)])
def test_outer_attention_is_multihead_attention(n_img, dim, heads):
    torch.manual_seed(0)
    ours, plain = OuterAttention(dim, heads).double(), nn.MultiheadAttention(dim, heads, batch_first=True).double()
    for p in ours.parameters(): nn.init.normal_(p, std=.4)                      # biases too, which begin at 0
    plain.load_state_dict(ours.state_dict())
    for scale in (1., 5.):                                                       # 5: attention that is nearly all on one row
        v, p = ((scale*torch.randn(3, n, dtype=torch.float64)) for n in (n_img, dim))
        sides = []
        for net in (ours, plain):
            a, b = v.clone().requires_grad_(), p.clone().requires_grad_()
            rows = a[:, :, None]*b[:, None]
            out = ours(a, b) if net is ours else plain(rows, rows, rows, need_weights=False)[0]
            net.zero_grad(); (out*torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view_as(out)).sum().backward()
            sides.append([out, a.grad, b.grad, *(w.grad for w in net.parameters())])
        assert [n for n,_ in ours.named_parameters()] == [n for n,_ in plain.named_parameters()]
        for x, y in zip(*sides): torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)

def test_bilinear_is_nn_bilinear():
    torch.manual_seed(0)
    ours, plain = Bilinear(7, 12, 5).double(), nn.Bilinear(7, 12, 5).double()
    plain.load_state_dict(ours.state_dict())
    sides = []
    for net in (ours, plain):
        torch.manual_seed(1)
        v, p = (torch.randn(4, n, dtype=torch.float64, requires_grad=True) for n in (7, 12))
        out = net(v, p); out.pow(3).sum().backward()
        sides.append([out, v.grad, p.grad, net.weight.grad, net.bias.grad])
    for x, y in zip(*sides): torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)

@pytest.mark.parametrize('name', FUSIONS)
def test_every_fusion_tells_its_size(name):
    f = fusion(name, 16, 24).eval()
    out = f(torch.randn(3, 16), torch.randn(3, 24))
    assert tuple(out.shape[1:]) == (f.n_out if isinstance(f.n_out, tuple) else (f.n_out,))

# ---- targets other than the four touches

@pytest.fixture(scope='module')
def weighed(fabrics):
    "Weight in g/m2, a touch of which some are not rated, and a shade of three levels"
    soft = fabrics.counts()[:, 0].argmax(-1) + 1.
    soft[::5] = np.nan
    d = fabrics.items.assign(gsm=100. + 20*np.arange(24), softness=soft, shade=1 + np.arange(24) % 3)
    return read_fabrics(d.drop(columns='image').assign(image=fabrics.images), [Number('gsm'), 'softness', Target('shade', 3)])

@pytest.mark.parametrize('loss', LEVEL_LOSSES)
def test_mixed_targets(weighed, tmp_path, loss):
    with seeded(0):
        learn = touch_learner(touch_dls(weighed, vectors=embed_fabrics(weighed), bs=8), 'mlb', loss=loss)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(2, 1e-3)
    m = load_touch(save_touch(learn.model, tmp_path/'m'))
    gsm = weighed.fit_targets(weighed.folds()[0][0])[0]
    assert m.targets[0].name == 'gsm' and abs(m.targets[0].mean - gsm.mean) < 1e-4 and abs(m.targets[0].std - gsm.std) < 1e-4
    said = predict_touch(weighed.images[0], weighed.blends[0], m)
    d = said.to_dict()
    assert list(d) == ['gsm', 'softness', 'shade'] and set(d['gsm']) == {'value'} and abs(d['gsm']['value'] - gsm.mean) < 5*gsm.std
    assert len(d['softness']['probs']) == 5 and len(d['shade']['probs']) == 3 and 1 <= d['shade']['expected'] <= 3
    for t in ('softness', 'shade'): assert abs(sum(d[t]['probs']) - 1) < 1e-3 and d[t]['level'] in range(1, len(d[t]['probs']) + 1)
    assert repr(said).count('\n') == 2

def test_numbers_alone_are_learnt(fabrics):
    d = fabrics.items[['image', 'fabric', *FIBRES]].assign(gsm=100 + 300*fabrics.items.cotton.astype(float))
    f, v = read_fabrics(d, [Number('gsm')], check=False), np.zeros((24, 1))
    learn = None
    with seeded(0):
        learn = touch_learner(touch_dls(f, (np.arange(24),)*2, v, bs=24), 'blend', 1)
        with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(60, 1e-2)
    got = learn.get_preds(dl=learn.dls.valid, act=learn.loss_func.activation)[0][:, 0, 0]
    assert got.shape == (24,) and np.corrcoef(got, d.gsm)[0, 1] > .9 and abs(float(got.mean()) - d.gsm.mean()) < 40

def test_number_targets_say_so_in_the_picture(weighed, learn):
    m = touch_model('mlb', 'swatch', weighed.fit_targets())
    predict_touch(weighed.images[0], '100% cotton', m).plot()

# ---- the learner, the fastai way

def test_predict_takes_a_row_of_the_table(learn, fabrics):
    with learn.no_bar(): _, _, probs = learn.predict(dict(image=fabrics.images[0], blend='60% cotton 40% polyester'))
    assert probs.shape == (4, 5)
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
    for blend in ({'cotton': .6, 'polyester': .4}, blend_vector('60% cotton 40% polyester')):
        with learn.no_bar(): np.testing.assert_allclose(learn.predict(dict(image=fabrics.images[0], blend=blend))[2], probs, atol=1e-6)

def test_learner_and_predict_touch_agree(learn, model, fabrics):
    with learn.no_bar(): probs = learn.predict(dict(image=fabrics.images[1], blend=fabrics.blends[1]))[2]
    np.testing.assert_allclose(predict_touch(fabrics.images[1], fabrics.blends[1], model).probs, probs, atol=.02)   # two ways to resize a photo

def test_shows(learn, fabrics):
    import matplotlib.pyplot as plt
    learn.dls.show_batch(max_n=4)
    with learn.no_bar(): learn.show_results(max_n=4)
    titles = [ax.get_title() for n in plt.get_fignums() for ax in plt.figure(n).axes]
    assert sum('softness' in t for t in titles) == 8 and sum('target / prediction' in t for t in titles) == 4
    plt.close('all')

def test_shows_with_vectors_and_numbers(weighed):
    import matplotlib.pyplot as plt
    dls = touch_dls(weighed, vectors=np.zeros((24, 3)), bs=6)
    with seeded(0): learn = touch_learner(dls, 'mlb', 3)
    with learn.no_bar(), learn.no_logging():
        learn.fit(1); preds, y = learn.get_preds()
    assert preds.shape == y.shape == (len(dls.valid_ds), 3, 5)
    plt.close('all')

def test_a_width_that_does_not_fit_is_refused(fabrics):
    for dls, why in [(touch_dls(fabrics, vectors=np.zeros((24, 7))), 'the stored vectors have 7 numbers'), (touch_dls(fabrics, size=64, bs=8), 'size=96')]:
        with pytest.raises(FabricError, match=why): touch_learner(dls, 'mlb')

# ---- predicting

def kinds(folder):
    photo = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    img = Image.fromarray(photo)
    clear = img.convert('RGBA'); clear.putalpha(Image.fromarray(np.tile(np.linspace(0, 255, 160).astype(np.uint8), (120, 1))))
    exif = Image.Exif(); exif[274] = 6
    grey = Image.fromarray((photo[..., 0].astype(np.uint16)*257))
    for name, i, more in [('plain.png', img, {}), ('clear.png', clear, {}), ('turned.png', img, dict(exif=exif)), ('cmyk.tiff', img.convert('CMYK'), {}),
                          ('palette.png', img.quantize(16), {}), ('sixteen.png', grey, {}), ('grey.png', img.convert('L'), {})]:
        i.save(folder/name, **more)
    return photo

@pytest.mark.parametrize('name', ['plain.png', 'grey.png', 'palette.png', 'cmyk.tiff', 'clear.png', 'turned.png', 'sixteen.png'])
def test_file_and_picture_give_the_same(model, tmp_path, name):
    photo = kinds(tmp_path)
    path = tmp_path/name
    said = predict_touch(path, '100% cotton', model)
    np.testing.assert_array_equal(predict_touch(str(path), {'cotton': 1.}, model).probs, said.probs)
    if name == 'plain.png': np.testing.assert_array_equal(predict_touch(photo, blend_vector('100% cotton'), model).probs, said.probs)
    with Image.open(path) as img: np.testing.assert_allclose(predict_touch(img, '100% cotton', model).probs, said.probs, atol=1e-6)

def test_a_folder_does_in_place_of_a_model(model, learn, fabrics, tmp_path):
    where = save_touch(learn.model, tmp_path/'m')
    for m in (where, str(where)): np.testing.assert_array_equal(predict_touch(fabrics.images[0], '100% wool', m).probs, predict_touch(fabrics.images[0], '100% wool', model).probs)

def test_predicting_leaves_no_trace(model, fabrics):
    here = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    before, grads = state(model), [p.requires_grad for p in model.parameters()]
    one = predict_touch(fabrics.images[0], '100% cotton', model)
    assert random.getstate() == here[0] and np.random.get_state()[1].tolist() == here[1] and torch.equal(torch.get_rng_state(), here[2])
    assert not differ(before, state(model)) and grads == [p.requires_grad for p in model.parameters()] and not any(p.grad is not None for p in model.parameters())
    np.testing.assert_array_equal(predict_touch(fabrics.images[0], '100% cotton', model).probs, one.probs)

def test_predicting_in_the_middle_of_training(fabrics):
    "Predictions are those of evaluation mode; afterwards the model is in the mode it was in"
    m = touch_model('mlb').train()
    modes = [o.training for o in m.modules()]
    a, b = (predict_touch(fabrics.images[0], '100% cotton', m).probs for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert [o.training for o in m.modules()] == modes

def said(*rows, targets=None): return TouchPrediction(np.array(rows, np.float32), targets or as_targets(TOUCHES[:len(rows)]), {'cotton': 1.})

def test_effective_levels():
    np.testing.assert_allclose(effective_levels(np.array([[1, 0, 0, 0, 0], [.5, .5, 0, 0, 0], [.2]*5])), [1, 2, 5], atol=1e-6)
    assert 1 < FLAT < 5

def test_not_sure_is_said_where_it_is_flat():
    sharp, flat, nearly = [0, .1, .8, .1, 0], [.2]*5, [.24, .22, .2, .18, .16]
    p = said(sharp, flat, nearly)
    assert [v['sure'] for v in p.to_dict().values()] == [True, False, False]
    assert ['not sure' in line for line in repr(p).splitlines()] == [False, True, True]
    edge = np.array([[1-4*e, e, e, e, e] for e in np.linspace(0, .2, 50)])
    sure = [said(r).to_dict()['softness']['sure'] for r in edge]
    assert sure[0] and not sure[-1] and sorted(sure, reverse=True) == sure                # once it is too flat it stays so
    np.testing.assert_array_equal(sure, effective_levels(edge) < FLAT)

def test_not_sure_counts_the_levels_there_are():
    three = (Target('shade', 3),)
    assert not said([1/3, 1/3, 1/3, 0, 0], targets=three).to_dict()['shade']['sure']
    assert said([.9, .1, 0, 0, 0], targets=three).to_dict()['shade']['sure']

def test_prediction_is_plain_json(model, fabrics):
    import json
    d = predict_touch(fabrics.images[0], '면 95% 폴리우레탄 5%', model).to_dict()
    assert list(json.loads(json.dumps(d, allow_nan=False))) == list(TOUCHES)
    for v in d.values():
        assert v['level'] in range(1, 6) and abs(sum(v['probs']) - 1) < 1e-3 and 1 <= v['expected'] <= 5 and isinstance(v['sure'], bool)
        assert v['probs'][v['level']-1] > 0

def test_the_level_is_the_rounded_mean_or_says_why():
    "`level` and `expected` of one dictionary do not contradict each other"
    for row in ([.45, .05, 0, .05, .45], [.3, .3, .2, .1, .1], [0, .1, .8, .1, 0], [.5, 0, 0, 0, .5]):
        d = said(row).to_dict()['softness']
        assert abs(d['level'] - d['expected']) <= .5 + 1e-6

# ---- folds

def test_folds_go_on_after_a_stop(fabrics, tmp_path):
    vectors, folds, fitted = np.random.default_rng(0).standard_normal((24, 6)), fabrics.folds(3), []
    stop_at = []
    def fit(learn):
        if len(fitted) in stop_at: raise KeyboardInterrupt
        fitted.append(1); learn.fit_one_cycle(2, 1e-2)
    whole = touch_folds(fabrics, vectors, 'mlb', folds, fit)
    assert whole.shape == (24, 4, 5) and np.isfinite(whole).all() and len(fitted) == 3
    np.testing.assert_allclose(whole.sum(-1), 1, atol=1e-5)
    fitted.clear(); stop_at.append(2)
    with pytest.raises(KeyboardInterrupt): touch_folds(fabrics, vectors, 'mlb', folds, fit, folder=tmp_path/'f')
    stop_at.clear()
    torch.rand(5); np.random.rand(5)
    np.testing.assert_array_equal(touch_folds(fabrics, vectors, 'mlb', folds, fit, folder=tmp_path/'f'), whole)
    assert len(fitted) == 3                                                    # two before the stop, one after
    np.testing.assert_array_equal(touch_folds(fabrics, vectors, 'mlb', folds, fit, folder=tmp_path/'f'), whole)
    assert len(fitted) == 3
    for other in (dict(recipe='blend'), dict(folds=fabrics.folds(2)), dict(loss='rps'), dict(seed=1), dict(fit=lambda l: fit(l))):
        with pytest.raises(FabricError, match='holds another experiment'): touch_folds(fabrics, vectors, **{**dict(recipe='mlb', folds=folds, fit=fit, folder=tmp_path/'f'), **other})

def test_stored_folds_belong_to_their_data(fabrics, tmp_path):
    "Other vectors, same shape: what is stored was not predicted from these"
    folds, dice = fabrics.folds(2), np.random.default_rng(0)
    a, b = dice.standard_normal((2, 24, 6))
    fit = lambda learn: learn.fit_one_cycle(1, 1e-2)
    touch_folds(fabrics, a, 'mlb', folds, fit, folder=tmp_path/'f')
    fresh = touch_folds(fabrics, b, 'mlb', folds, fit)
    try: got = touch_folds(fabrics, b, 'mlb', folds, fit, folder=tmp_path/'f')
    except FabricError: return
    np.testing.assert_array_equal(got, fresh)

@pytest.mark.parametrize('data', [b'', b'PK\x03\x04 not a zip', b'\x80\x04N.'])
def test_a_damaged_fold_is_named(fabrics, tmp_path, data):
    vectors, folds = np.zeros((24, 2)), fabrics.folds(2)
    fit = lambda learn: learn.fit_one_cycle(1, 1e-2)
    touch_folds(fabrics, vectors, 'blend', folds, fit, folder=tmp_path/'f')
    (tmp_path/'f'/'fold_1.npz').write_bytes(data)
    with pytest.raises(FabricError, match='fold_1.npz'): touch_folds(fabrics, vectors, 'blend', folds, fit, folder=tmp_path/'f')

def test_a_model_never_saw_what_it_predicts(fabrics):
    "Changing the ratings of one fold changes nothing in that fold's own predictions"
    folds, vectors = fabrics.folds(3), np.random.default_rng(0).standard_normal((24, 6))
    other = fabrics.take(range(24)); left = set(fabrics.items.fabric.iloc[folds[1][1]])
    other.values = fabrics.values.copy(); at = other.values.fabric.isin(left)
    other.values.loc[at, list(TOUCHES)] = 6 - other.values.loc[at, list(TOUCHES)]
    fit = lambda learn: learn.fit_one_cycle(1, 1e-2)
    a, b = (touch_folds(f, vectors, 'mlb', folds, fit) for f in (fabrics, other))
    np.testing.assert_array_equal(a[folds[1][1]], b[folds[1][1]])
    assert not np.allclose(a[folds[0][1]], b[folds[0][1]])

def test_the_scored_fold_chooses_nothing(fabrics):
    "Other ratings of the rows left out leave their predictions as they were"
    vectors, fold = np.random.default_rng(0).standard_normal((24, 6)), fabrics.folds(3)[0]
    def predictions(f): return touch_folds(f, vectors, 'mlb', [fold], lambda l: l.fit_one_cycle(6, 5e-2))[fold[1]]
    other, left_out = dataclasses.replace(fabrics, values=fabrics.values.copy()), set(fabrics.items.fabric.iloc[fold[1]])
    rows = other.values.fabric.isin(left_out)
    other.values.loc[rows, list(TOUCHES)] = 6 - other.values.loc[rows, list(TOUCHES)]
    assert not np.array_equal(other.counts(), fabrics.counts())
    np.testing.assert_array_equal(predictions(other), predictions(fabrics))

def test_a_rate_that_is_too_high_is_said(fabrics):
    dls = touch_dls(fabrics, vectors=np.random.default_rng(0).standard_normal((24, 6)), bs=8)
    with pytest.raises(FabricError, match='lower learning rate'): touch_learner(dls, 'mlb', 6).fit(2, 1e30)

def test_members_learn_by_themselves():
    "A member's gradient is that of its own loss; the answer is the mean of all"
    torch.manual_seed(0)
    trio = Recipe('log', 'mlb_skip', 'mlp', members=3)
    m, (x, blend) = touch_model(trio, 24, p=0.), batch(24)
    y = torch.rand(len(x), 4, 5).softmax(-1)
    loss = TouchLoss(TOUCHES)
    loss(m.train()(x, blend), y).backward()
    joint = [p.grad.clone() for p in m.head[1].parameters()]
    m.zero_grad()
    (loss(m.train()(x, blend)[1], y)/3).backward()
    for a,p in zip(joint, m.head[1].parameters()): torch.testing.assert_close(a, p.grad)
    assert all(p.grad is None or not p.grad.any() for k in (0, 2) for p in m.head[k].parameters())
    m.eval()
    each = torch.stack([h(f(x, m.blend_encoder(blend))) for f,h in zip(m.fusion, m.head)]).mean(0)
    torch.testing.assert_close(m(x, blend), each.unflatten(-1, (4, 5)))

def test_members_refused():
    for n in (0, 2.5, True, 65):
        with pytest.raises(FabricError, match='members is'): touch_model(Recipe('log', 'mlb', 'mlp', members=n), 8)
    with pytest.raises(FabricError, match='answers with numbers'): touch_model(Recipe('simple_ae', 'bilinear', 'decoder', members=2), 8)

@pytest.mark.parametrize('each', [False, True])
def test_members_of_each_target(each, tmp_path):
    torch.manual_seed(0)
    m, (x, blend) = touch_model(Recipe('log', 'mlb', 'mlp', each=each, members=2), 8, ['softness', Number('gsm')]), batch(8)
    assert m.train()(x, blend).shape == (2, len(x), 2, 5) and m.eval()(x, blend).shape == (len(x), 2, 5)
    torch.testing.assert_close(load_touch(save_touch(m, tmp_path/'m'))(x, blend), m(x, blend), rtol=0, atol=1e-6)
    torch.testing.assert_close(m.fuse()(x, blend), m(x, blend), rtol=1e-4, atol=1e-5)

def test_refit_is_seeded_and_knows_all():
    v = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    items = pd.DataFrame(dict(blend='100% cotton', gsm=np.exp(v[:, 0]), fabric=[str(i) for i in range(30)]))
    fabrics = read_fabrics(items, [Number('gsm')], check=False)
    fit = partial(fit_touch, steps=60)
    one, two, other = [touch_refit(fabrics, v, 'mlb_skip', 6, fit, seed=s) for s in (0, 0, 1)]
    assert not differ(state(one), state(two)) and differ(state(one), state(other)) and not one.training
    p = touch_probs(one, v, fabrics.blends)[:, 0, 0]
    assert np.corrcoef(p, fabrics.counts()[:, 0, 0])[0, 1] > .7
    with pytest.raises(FabricError, match='stored vectors have 6 numbers'): touch_refit(fabrics, v, 'mlb_skip')

@pytest.mark.parametrize('args', [5, 'ab', [], dict(pretrained=True), dict(name='clip'), dict(out_indices=5), dict(pad_type=10**6), dict(data=dict(img_size=10**6)), dict(checkpoint_path='x.pth')], ids=str)
def test_hostile_arguments_on_a_card(args, tmp_path):
    m = touch_model('mlb', image_encoder('test_resnet', False, out_indices=(1,)))
    m.encoder.args = args
    with pytest.raises(FabricError): load_touch(save_touch(m, tmp_path/'m'))
