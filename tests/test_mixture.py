"Blend autoencoders and their halves: what fits, what is refused, what comes back, and what the packaged weights do on real blends."
from collections import OrderedDict
from importlib.resources import files

import numpy as np, pandas as pd, pytest, torch
from safetensors.torch import save_file
from torch import nn

from fabric_touch.blends import FIBRES, BlendError, blend_from_vector, blend_vector, format_blend, parse_blend, parse_parts
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.mixture import (AUTOENCODERS, BLEND_ENCODERS, FIT_RECIPES, EncoderHalf, autoencoder, blend_encoder, blend_scores, check_shares, distinct_blends,
                                  fit_autoencoder, neighbours_kept, split_blends)
from fabric_touch.swatches import make_blends
from fabric_touch.train import eval_frozen

KINDS = tuple(AUTOENCODERS)
PACKAGED = ('simple_ae', 'simple_gelu_ae', 'simplex_ae')

@pytest.fixture(scope='module')
def blends(): return torch.from_numpy(make_blends(50, seed=3))

@pytest.fixture(scope='module')
def fits():
    "Each kind, trained a little"
    return {kind: fit_autoencoder(make_blends(1500, seed=1), kind, epochs=12) for kind in KINDS}

def lively(model, blends, seed=0):
    "Random biases and norms, and BatchNorm statistics of these blends, so that a wrong map of names shows"
    dice = torch.Generator().manual_seed(seed)
    for n,w in model.named_parameters():
        w.data = torch.randn(w.shape, generator=dice)*(.5 if w.dim() == 1 else w.shape[1]**-.5) + (1 if w.dim() == 1 and n.endswith('weight') else 0)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm1d): m.momentum = 1.
    with torch.no_grad(): model.train()(blends)
    return model.eval()

# ---- shares

def row(*shares): return torch.tensor([*shares, *[0.]*(12 - len(shares))])

BAD = {'per cents': (row(95, 5), 'sums to 100'), 'too little': (row(.9, .05), 'sums to 0.95'), 'too much': (row(.9, .2), 'sums to 1.1'), 'nothing': (row(0), 'sums to 0'),
       'just over the tolerance': (row(1.0018), 'sums to 1.002'), 'NaN': (row(float('nan'), 1), 'nan'), 'infinite': (row(float('inf')), 'inf'), 'negative': (row(1.2, -.2), '-0.2'),
       'both infinite': (row(float('inf'), -float('inf')), 'nan')}

@pytest.mark.parametrize('name', BAD)
@pytest.mark.parametrize('kind', KINDS)
def test_no_shares_no_answer(kind, name, blends):
    bad, words = BAD[name]
    x = blends.clone(); x[7] = bad
    for model in (autoencoder(kind), blend_encoder(kind, False)):
        with pytest.raises(FabricError, match='row 7 of 50') as e: model(x)
        assert words in str(e.value) and 'blend_vector' in str(e.value) and 'divide' in str(e.value)

def test_shares_that_pass(blends):
    for x in (blends, blends.double(), blends.half(), blends.bfloat16(), blends[0], blends[:0], blends[None], blends + 5e-5, row(1 + 5e-4), row(1.0005, -.0005)): assert check_shares(x) is x
    assert check_shares(torch.empty(3, 12, device='meta')).is_meta
    for x in (blends[:, :11], torch.ones(13), torch.tensor(1.)):
        with pytest.raises(FabricError, match='do not fit; the last side is the 12 shares'): check_shares(x)

def test_the_check_changes_neither_values_nor_gradients(blends):
    x = blends.clone().requires_grad_()
    check_shares(x).square().sum().backward()
    torch.testing.assert_close(x.grad, 2*x.detach())

def test_raw_and_log_take_anything():
    for name in ('raw', 'log'): assert blend_encoder(name)(torch.full((3, 12), 7.)).shape == (3, 12)

# ---- the kinds

@pytest.mark.parametrize('kind', KINDS)
def test_contract(kind, blends):
    model = autoencoder(kind)
    assert not model.training and model.n_out == 512 and model.encoder(blends).shape == (50, 512)
    out = model.train()(blends)
    assert out.shape == (50, 12) and out.isfinite().all()
    model.loss(out, blends).backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in model.parameters())
    half = blend_encoder(kind, False)
    assert isinstance(half, EncoderHalf) and half.n_out == 512 and half(blends).shape == (50, 512) and not half.training
    assert isinstance(half.normalize, nn.LayerNorm if kind == 'simple_gelu_ae' else nn.Identity)
    assert blend_encoder(kind, False).to('meta')(torch.empty(2, 12, device='meta')).shape == (2, 512)

@pytest.mark.parametrize('norm, last, kind', [(nn.BatchNorm1d, nn.ReLU, 'simple_ae'), (nn.LayerNorm, nn.GELU, 'simple_gelu_ae')])
def test_the_references_layers_fit_by_name(norm, last, kind, blends):
    "Plain modules laid out as the reference's, under its names"
    def half(a, b, c, end): return nn.Sequential(nn.Linear(a, b), norm(b), nn.GELU(), nn.Linear(b, c), norm(c), end())
    encoder, decoder = half(12, 1024, 512, nn.GELU), half(512, 1024, 12, last)
    whole = lively(nn.Sequential(OrderedDict(encoder=encoder, decoder=decoder)), blends)
    z, y = encoder(blends), whole(blends)
    assert z.std(0).median() > 1e-2 and y.std(0).median() > 1e-2
    assert {k.split('.')[0] for k in encoder.state_dict()} == {'0', '1', '3', '4'}
    torch.testing.assert_close(autoencoder(kind, whole.state_dict())(blends), y)
    for state in (encoder.state_dict(), whole.state_dict()): torch.testing.assert_close(blend_encoder(kind, state).encoder(blends), z)

@pytest.mark.parametrize('kind', ['simplex_ae', 'variational_ae'])
def test_a_softmax_end_gives_blends_whatever_the_weights(kind, blends):
    back = lively(autoencoder(kind), blends)(blends)
    assert back.min() >= 0 and back.std(0).max() > 1e-3
    torch.testing.assert_close(back.sum(1), torch.ones(50))

def test_the_variational_one_draws_in_training_only(blends):
    model = autoencoder('variational_ae')
    assert not torch.equal(model.train()(blends), model(blends))
    assert torch.equal(model.eval()(blends), model(blends))
    mean = blend_encoder('variational_ae', model.state_dict())(blends)
    torch.testing.assert_close(model.decoder(mean), model(blends))
    p, q = (torch.distributions.Normal(m, s) for m,s in ((mean, (model.log_variance(model.encoder[:-1](blends))/2).exp()), (torch.zeros(()), torch.ones(()))))
    torch.testing.assert_close(model.kl, torch.distributions.kl_divergence(p, q).mean())

# ---- halves

@pytest.mark.parametrize('kind', KINDS)
def test_a_half_never_trains(kind, blends):
    half = blend_encoder(kind, False)
    before = {k: v.clone() for k,v in half.state_dict().items()}
    assert not any(w.requires_grad for w in half.parameters())
    model = eval_frozen(nn.Sequential(half, nn.Linear(512, 2)).train())
    model(blends).sum().backward(); model(blends)
    assert all(torch.equal(v, before[k]) for k,v in half.state_dict().items())

def test_normalize_is_one_and_zero_unless_loaded(blends):
    half = blend_encoder('simple_gelu_ae')
    assert (half.normalize.weight == 1).all() and (half.normalize.bias == 0).all()
    given = dict(half.state_dict(), **{'normalize.weight': torch.full((512,), 2.), 'normalize.bias': torch.full((512,), .5)})
    loaded = blend_encoder('simple_gelu_ae', given)
    torch.testing.assert_close(loaded(blends), 2*half(blends) + .5)
    assert not any(w.requires_grad for w in loaded.parameters())
    with pytest.raises(FabricError, match='not in the model'): blend_encoder('simple_ae', {**blend_encoder('simple_ae').state_dict(), 'normalize.weight': torch.ones(512)})

@pytest.mark.parametrize('kind', KINDS)
def test_weights_from_anywhere(kind, fits, blends, tmp_path):
    model = fits[kind].model.cpu().eval()
    state = {k: v.clone() for k,v in model.state_dict().items()}
    half = {k.removeprefix('encoder.'): v for k,v in state.items() if k.startswith('encoder.')}
    torch.save(state, tmp_path/'whole.pth'); torch.save(dict(model_state_dict=half), tmp_path/'half.pth.tar')
    save_file(state, tmp_path/'whole.safetensors'); save_file(half, tmp_path/'half.safetensors')
    z = model.encoder(blends)
    for given in (state, half, *tmp_path.iterdir(), str(tmp_path/'half.safetensors')): torch.testing.assert_close(blend_encoder(kind, given).encoder(blends), z, rtol=0, atol=0)
    for given in (state, tmp_path/'whole.pth', tmp_path/'whole.safetensors'): torch.testing.assert_close(autoencoder(kind, given)(blends), model(blends), rtol=0, atol=0)
    for given in (half, tmp_path/'half.pth.tar'):
        with pytest.raises(FabricError, match='without a decoder'): autoencoder(kind, given)

def test_weights_that_do_not_fit(fits, tmp_path):
    state = fits['simple_ae'].model.state_dict()
    cut = {k: v for k,v in state.items() if k != 'encoder.3.weight'}
    (tmp_path/'page.pth').write_text('<html>')
    for name, given, words in [('simple_gelu_ae', state, 'not in the model'), ('simplex_ae', state, 'has shape'), ('simple_ae', cut, r"missing: 'encoder\.3\.weight'"), ('simple_ae', {}, 'missing'),
                               ('simple_ae', {'encoder.0.weight': [1, 2]}, 'not tensors'), ('simple_ae', tmp_path/'none.pth', 'none.pth'), ('simple_ae', tmp_path/'page.pth', 'web page'),
                               ('simple_ae', {**state, 'encoder.0.weight': torch.full((1024, 12), float('nan'))}, 'NaN'), ('simple_ae', {3: torch.zeros(1)}, 'missing')]:
        with pytest.raises(FabricError, match=words): blend_encoder(name, given)

def test_names_and_places_that_are_not_there():
    for call, words in [(lambda: blend_encoder('sqrt'), 'choose from: raw, log, simple_ae, simple_gelu_ae, variational_ae, simplex_ae'), (lambda: autoencoder('raw'), 'choose from: simple_ae'),
                        (lambda: blend_encoder('variational_ae'), "no weights of 'variational_ae' in the package, only of simple_ae, simple_gelu_ae, simplex_ae"),
                        (lambda: autoencoder('variational_ae', True), "no weights of 'variational_ae'"), (lambda: autoencoder('simple_ae', True), 'without a decoder'),
                        (lambda: blend_encoder('raw', 'w.pth'), "no weights to read from 'w.pth'"), (lambda: blend_encoder('log', {'w': torch.ones(9)}), 'no weights to read from a dict')]:
        with pytest.raises(FabricError, match=words): call()
    assert tuple(BLEND_ENCODERS) == ('raw', 'log', *KINDS)

# ---- training

@pytest.mark.parametrize('kind', KINDS)
def test_a_fit_learns_and_keeps_the_best(kind, fits):
    learn = fits[kind]
    losses = [r[1] for r in learn.keep_best.rows]
    assert len(losses) == 12 and learn.keep_best.best == min(losses) < losses[0]/1.5
    model = learn.model.cpu().eval()
    x = torch.cat([o[0] for o in learn.dls.valid]).cpu()
    with torch.no_grad(): torch.testing.assert_close(model.loss(model(x), x).item(), learn.keep_best.best, rtol=1e-3, atol=1e-5)

def test_same_seed_same_weights():
    state = torch.get_rng_state()
    run = lambda seed, recipe: fit_autoencoder(make_blends(200), 'simplex_ae', recipe, epochs=2, seed=seed).model.state_dict()
    a, b = run(1, 'ours'), run(1, 'ours')
    assert torch.equal(state, torch.get_rng_state()) and all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(v, a[k]) for k,v in run(2, 'ours').items()) and any(not torch.equal(v, a[k]) for k,v in run(1, 'reference').items())

def test_the_references_recipe():
    "Adam at 1e-5, L1, batches of 256, 100 epochs, a fifth held out: in plain torch, the same numbers of rows and steps"
    r = FIT_RECIPES['reference']
    assert (r.lr, r.epochs, r.bs, r.cycle, r.mix) == (1e-5, 100, 256, False, False)
    many = make_blends(2500, seed=8)
    learn = fit_autoencoder(many, 'simplex_ae', 'reference', epochs=2)
    n = len(distinct_blends(many))
    assert len(learn.dls.valid_ds) == -(-n//5) and len(learn.dls.train_ds) == n - -(-n//5) and learn.dls.bs == 256
    assert all(h['lr'] == 1e-5 and h['wd'] == 0 and h['eps'] == 1e-8 and (h['mom'], h['sqr_mom']) == (.9, .999) for h in learn.opt.hypers)
    x = torch.stack([o[0] for o in learn.dls.train_ds])
    assert len(torch.unique(x, dim=0)) == len(x)                                                # nothing mixed in

def test_a_grouped_split():
    table = distinct_blends(make_blends(3000, seed=4))
    train, test = split_blends(table, 'fibres', seed=2)
    assert not set(table.fibres[train]) & set(table.fibres[test]) and sorted([*train, *test]) == list(range(len(table)))
    assert all(np.array_equal(a, b) for a,b in zip(split_blends(table, 'fibres', seed=2), (train, test)))
    learn = fit_autoencoder(make_blends(3000, seed=4), 'simplex_ae', split='fibres', epochs=1, seed=2)
    sets = lambda ds: {tuple(np.flatnonzero(o[0] > 0)) for o in ds}
    single = {(i,) for i in range(12)}                                                           # our recipe mixes these in
    assert not (sets(learn.dls.train_ds) - single) & (sets(learn.dls.valid_ds) - single)
    with pytest.raises(FabricError, match='choose from: blend, fibres'): split_blends(table, 'part')

def test_distinct_blends():
    x = np.array([blend_vector(t) for t in ('60% cotton 40% linen', '100% wool', '60% cotton 40% linen')])
    table = distinct_blends(x)
    assert table.fibres.tolist() == ['wool', 'cotton + linen'] and table.times.tolist() == [1, 2] and tuple(table.columns[:12]) == FIBRES
    assert len(distinct_blends(x + [[-1e-9] + [0]*11])) == 2 and len(distinct_blends(torch.from_numpy(x))) == 2
    with pytest.raises(FabricError, match='row 1 of 2'): distinct_blends(np.stack([x[0], x[0]*2]))

def test_what_cannot_be_trained(blends):
    for call, words in [(lambda: fit_autoencoder(blends[:5]), '5 different blends are too few'), (lambda: fit_autoencoder(blends, 'ae'), 'choose from: simple_ae'),
                        (lambda: fit_autoencoder(blends, recipe='mine'), 'choose from: reference, ours'), (lambda: fit_autoencoder(blends, split='part'), 'choose from: blend, fibres'),
                        (lambda: fit_autoencoder(blends*100), 'sums to 100')]:
        with pytest.raises(FabricError, match=words): call()

# ---- scores

def test_scores_by_hand():
    x, y = torch.stack([row(.6, .4), row(1.)]), torch.stack([row(.595, .405), row(.9, .1)])
    s = blend_scores(x, y)
    assert s['L1'] == pytest.approx(.21/24) and s['total variation'] == pytest.approx((.005 + .1)/2) and s['within 1 %'] == .5 and np.isnan(s['neighbours'])
    assert blend_scores(x, x)['total variation'] == 0 and blend_scores(x, x)['within 1 %'] == 1

def test_neighbours_kept(blends):
    x = torch.tensor(distinct_blends(blends)[list(FIBRES)].to_numpy(), dtype=torch.float32)
    pairs = torch.cdist(x, x, p=1)/2
    same = torch.linalg.eigh(-.5*(torch.eye(len(x)) - 1/len(x)) @ pairs.double().float() @ (torch.eye(len(x)) - 1/len(x)))     # vectors whose squared distances are the total variation
    z = same.eigenvectors*same.eigenvalues.clamp(min=0).sqrt()
    assert neighbours_kept(z, x) > 4.9
    assert neighbours_kept(x, x) > 4.5 and neighbours_kept(x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))], x) < 2
    assert neighbours_kept(x*7 + 3, x) == neighbours_kept(x, x)

# ---- the packaged weights

def test_the_package_stays_small():
    found = {p.name.removesuffix('.safetensors'): p.stat().st_size for p in (files('fabric_touch')/'weights').iterdir()}
    assert sum(found[k] for k in PACKAGED) <= 3_000_000 and set(found) & set(KINDS) == set(PACKAGED)

@pytest.mark.parametrize('kind', PACKAGED)
def test_packaged_halves(kind, blends):
    half = blend_encoder(kind)
    assert all(w.dtype == torch.float32 for w in half.parameters()) and half(blends).std(0).max() > .1
    x = torch.tensor(distinct_blends(make_blends(400, seed=77))[list(FIBRES)].to_numpy(), dtype=torch.float32)
    assert neighbours_kept(half(x), x) > 3.5 > 1 > neighbours_kept(torch.randn(len(x), 9, generator=torch.Generator().manual_seed(0)), x)

def test_encode_and_decode_labels():
    ae = autoencoder('simplex_ae', pretrained=True)
    for text in ('95% cotton 5% spandex', '100% wool', '60% polyester 35% rayon 5% spandex', '55% linen 45% rayon', '100% polyurethane'):
        with torch.no_grad(): back = ae(torch.from_numpy(blend_vector(text)).float()[None])[0].numpy()
        assert np.abs(back - blend_vector(text)).max() < .02, text
        assert parse_blend(format_blend(blend_from_vector(back.round(2)/back.round(2).sum()))).keys() >= parse_blend(text).keys()

def test_the_packaged_whole_on_generated_blends():
    x = torch.tensor(distinct_blends(make_blends(2000, seed=300))[list(FIBRES)].to_numpy(), dtype=torch.float32)
    with torch.no_grad(): s = blend_scores(x, autoencoder('simplex_ae', True)(x))
    assert s['within 1 %'] > .9 and s['L1'] < .002

# ---- real blends, skipped by name where they are absent

def needs(name): return pytest.mark.skipif(not has_data(name), reason=f'{name} is not here; set FABRIC_TOUCH_DATA to the folder that holds it')

def read_all(texts, read):
    found, n = [], 0
    for t in texts:
        try: found += [blend_vector(b) for b in read(t)]; n += 1
        except BlendError: pass
    return np.stack(found), n

def check_real(x, least):
    "The packaged whole never saw these; it must do far better than the nearest generated blend"
    x, seen = (torch.tensor(distinct_blends(o)[list(FIBRES)].to_numpy(), dtype=torch.float32) for o in (x, make_blends(5000, seed=100)))
    with torch.no_grad(): s = blend_scores(x, autoencoder('simplex_ae', True)(x))
    near = blend_scores(x, seen[torch.cdist(x, seen, p=1).argmin(1)])
    assert s['within 1 %'] > least and s['total variation'] < near['total variation']/2, (s, near)

@needs('hm_compositions')
def test_shop_labels():
    x, n = read_all(pd.read_csv(data_dir('hm_compositions')/'compositions.csv').composition, lambda t: parse_parts(t).values())
    assert n == 1624
    check_real(x, .8)

@needs('telas_luciana')
def test_mill_labels():
    x, n = read_all(pd.read_csv(data_dir('telas_luciana')/'fabrics.csv').composition, lambda t: [parse_blend(t)])
    assert n == 198
    check_real(x, .7)

@needs('touch_survey')
def test_survey_blends(): check_real(pd.read_csv(data_dir('touch_survey')/'blends.csv')[list(FIBRES)].values, .7)
