"The sketch ensemble as a researcher, a statistician and an attacker meet it: killed anywhere and gone on with, honest out of fold, equal to plain torch, damaged or foreign folders refused by name."
import json, os, shutil, signal, time
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np, pandas as pd, pytest, timm, torch, torch.nn.functional as F
from fastai.vision.all import Callback, DataLoaders
from PIL import Image
from safetensors.torch import save_file
from sklearn.model_selection import StratifiedKFold

from fabric_touch import sketch
from fabric_touch.augment import test_transform as prepared
from fabric_touch.checkpoints import load_checkpoint, read_card, read_weights, save_checkpoint
from fabric_touch.core import FabricError, seeded
from fabric_touch.ensembles import COMBINERS, read_oofs, read_output, read_outputs
from fabric_touch.folders import class_table
from fabric_touch.pixels import read_pixels
from fabric_touch.sketch import SCHEDULES, SKETCH_RECIPES, SketchLoss, as_recipe, fit_folds, load_member, sketch_dls, sketch_ensemble, sketch_learner, sketch_model
from fabric_touch.sketches import make_sketches, read_sketches, read_test
from fabric_touch.train import best_epochs, fair_epochs

posix = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX')

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(scope='module')
def room(tmp_path_factory): return tmp_path_factory.mktemp('sketch')

@pytest.fixture(scope='module')
def table(room): return make_sketches(room/'data', n=8, classes=('dress', 'shoe', 'hat'), size=32, copies=1)

@pytest.fixture(scope='module')
def how(room, table):
    read_pixels(table, 32, room/'pixels')
    return dict(arch='test_resnet', pretrained=False, recipe='scratch', n_folds=3, size=32, epochs=2, lr=.01, bs=8, augment='light', store=room/'pixels')

@pytest.fixture(scope='module')
def modern(how): return how | dict(recipe='modern', epochs=7, bs=16, ema=.9)     # mixup, CutMix, averaged weights

@pytest.fixture(scope='module')
def frozen(how): return how | dict(recipe='features', views=1)

@pytest.fixture(scope='module')
def whole(room, table, modern): return fit_folds(table, folder=room/'whole', **modern)

@pytest.fixture(scope='module')
def whole_frozen(room, table, frozen): return fit_folds(table, folder=room/'whole_frozen', **frozen)

@pytest.fixture(scope='module')
def small(room, table, how): return fit_folds(table, folder=room/'small', **how)

def refused(f, *args, **kwargs):
    with pytest.raises(FabricError) as e: f(*args, **kwargs)
    return str(e.value)

def files(folder):
    "Everything in a folder; arrays of an .npz, whose bytes hold the time"
    def read(p):
        if p.suffix != '.npz': return p.read_bytes()
        with np.load(p, allow_pickle=False) as z: return {k: (z[k].dtype.str, z[k].shape, z[k].tobytes()) for k in z.files}
    return {str(p.relative_to(folder)): read(p) for p in Path(folder).rglob('*') if p.is_file()}

def same(a, b):
    for k in ('probs', 'flattered', 'y', 'folds', 'groups'): assert np.array_equal(getattr(a, k), getattr(b, k)), k
    pd.testing.assert_frame_equal(a.history, b.history)
    x, y = a.model.state_dict(), b.model.state_dict()
    assert x.keys() == y.keys() and all(torch.equal(x[k], y[k]) for k in x)

def changed(folder, other, what):
    "A copy of a folder with something done to it"
    shutil.rmtree(other, ignore_errors=True); shutil.copytree(folder, other); what(other)
    return other

# ---- killed in another place than it goes on; at any moment: test_unplugged

class Plug(Callback):
    order = 80
    def __init__(self, fold, epoch): self.fold, self.at = fold, epoch
    def after_batch(self):
        if self.training and self.epoch == self.at and Path(self.learn.path).name == f'fold_{self.fold}': os.kill(os.getpid(), signal.SIGKILL)

def killed(f, fold, epoch):
    "Run f in a process of its own that is killed in an epoch; is it dead, or did it end?"
    if pid := os.fork(): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    try:
        own = sketch._callbacks
        sketch._callbacks = lambda *args: [*own(*args), Plug(fold, epoch)]
        f()
    finally: os._exit(0)

@posix
def test_killed_in_fold_3_epoch_7(tmp_path, table, modern, whole, room):
    go = lambda: fit_folds(table, folder=tmp_path/'m', **modern)
    assert killed(go, 2, 6)
    assert (tmp_path/'m'/'fold_1.npz').exists() and not (tmp_path/'m'/'fold_2.npz').exists()
    assert read_card(tmp_path/'m'/'fold_2'/'state')['state']['done'] == 6
    assert 'holds no finished member' in refused(load_member, tmp_path/'m')
    shutil.move(tmp_path/'m', tmp_path/'moved')                                         # to another disk
    same(fit_folds(table, folder=tmp_path/'moved', **modern), whole)
    assert files(tmp_path/'moved') == files(room/'whole')

def test_same_seed_same_result(tmp_path, table, how, small):
    same(fit_folds(table, **how), small)                                                   # not kept anywhere

@posix
@pytest.mark.once
def test_workers_change_nothing(tmp_path, table, how):
    own = how | dict(recipe='modern', n_folds=2, epochs=1)
    many = fit_folds(table, folder=tmp_path/'m', **own, n_workers=2)
    same(many, fit_folds(table, **own, n_workers=0))
    same(many, fit_folds(table, folder=tmp_path/'m', **own, n_workers=1))                  # another number is the same experiment

def test_a_finished_member_is_read_only(table, how, small, room, monkeypatch):
    before = {p: p.stat().st_mtime_ns for p in (room/'small').rglob('*') if p.is_file()}
    monkeypatch.setattr(sketch, 'sketch_learner', None)
    same(fit_folds(table, folder=room/'small', **how), small)
    same(load_member(str(room/'small')), small)
    assert before == {p: p.stat().st_mtime_ns for p in (room/'small').rglob('*') if p.is_file()}

def test_another_experiment_is_refused(tmp_path, room, table, how, small):
    go = lambda t=table, **kw: refused(fit_folds, t, folder=room/'small', **how | kw)
    for kw, words in ((dict(lr=.02), 'lr is 0.01 there and 0.02 here'), (dict(n_folds=2), 'folds is'), (dict(seed=1), 'seed is 42 there and 1 here'), (dict(arch='test_vit'), "weights is 'test_resnet random' there and 'test_vit random' here"),
                      (dict(data=dict(mean=(.1,)*3)), 'weights is'), (dict(grouped=False, n_folds=2), 'folds is')):
        assert 'holds another experiment' in go(**kw) and words in go(**kw), kw
    order = table.take(np.arange(len(table))[::-1])
    items = table.items.copy(); items.loc[0, 'label'] = 'hat'
    picture = table.items.copy(); picture.loc[0, 'image'] = picture.image[1]
    for t in (order, replace(table, items=items), replace(table, items=picture), replace(table, classes=table.classes[::-1])): assert 'data is' in go(t) or 'folds is' in go(t)
    for v in (0, 1): torch.manual_seed(v); save_file(timm.create_model('test_resnet').state_dict(), tmp_path/f'{v}.safetensors')
    fit_folds(table, folder=tmp_path/'m', **how | dict(pretrained=tmp_path/'0.safetensors', epochs=1))
    assert 'weights is' in refused(fit_folds, table, folder=tmp_path/'m', **how | dict(pretrained=tmp_path/'1.safetensors', epochs=1))

def test_one_process_at_a_time(tmp_path, table, how):
    with sketch._held(tmp_path/'m'): assert 'another process trains in' in refused(fit_folds, table, folder=tmp_path/'m', **how)
    with sketch._held(tmp_path/'m'): pass                                                    # and then again

# ---- damaged and foreign folders

def cut(name):
    def do(d): p = d/name; p.write_bytes(p.read_bytes()[:p.stat().st_size//2])
    return do
def text(name, s): return lambda d: (d/name).write_bytes(s)
def gone(name): return lambda d: shutil.rmtree(d/name) if (d/name).is_dir() else (d/name).unlink()
def card(**kw): return lambda d: (d/'member.json').write_text(json.dumps(json.loads((d/'member.json').read_text()) | kw))
def arrays(**kw):
    def do(d):
        with np.load(d/'oof.npz') as z: a = {k: z[k] for k in z.files} | kw
        np.savez(d/'oof.npz', **a)
    return do

DAMAGE = {'no card': (gone('member.json'), 'member.json is not there'), 'half a card': (cut('member.json'), 'member.json: not as'), 'empty card': (text('member.json', b''), 'member.json: not as'), 'a list': (text('member.json', b'[]'), 'member.json: not as'),
    'deep card': (text('member.json', b'['*10**5), 'nested more than'), 'no text': (text('member.json', b'\xff\xfe'), 'member.json: not as'), 'large card': (text('member.json', b' '*2*10**6), 'larger than'),
    'half arrays': (cut('oof.npz'), 'oof.npz: not as'), 'empty arrays': (text('oof.npz', b''), 'oof.npz: not as'), 'no arrays': (gone('oof.npz'), 'oof.npz: not as'), 'other rows': (arrays(y=np.zeros(3, int)), 'oof.npz: not as'),
    'flat': (arrays(probs=np.zeros(3)), 'oof.npz: not as'), 'NaN': (arrays(probs=np.full((27, 3), np.nan)), 'oof.npz: not as'), 'no such class': (arrays(y=np.full(27, 3)), 'oof.npz: not as'), 'no such fold': (arrays(folds=np.full(27, 3)), 'oof.npz: not as'),
    'half a history': (cut('history.csv'), 'history.csv: not as'), 'empty history': (text('history.csv', b''), 'history.csv: not as'), 'no history': (gone('history.csv'), 'history.csv: not as'),
    'no folds': (card(n_folds=0), 'member.json: not as'), 'minus folds': (card(n_folds=-1), 'member.json: not as'), '10**9 folds': (card(n_folds=10**9), 'history.csv: not as'), 'folds as text': (card(n_folds='3'), 'member.json: not as'),
    'numbers for classes': (card(classes=[1, 2, 3]), 'member.json: not as'), 'text for classes': (card(classes='abc'), 'member.json: not as'), 'one class': (card(classes=['a']), 'member.json: not as'), 'no classes': (card(classes=None), 'member.json: not as'),
    'other classes': (card(classes=['hat', 'dress', 'shoe']), 'classes differ'), 'another network': (card(arch=dict(name='vit_giant_patch14_224')), 'arch.name differs'), 'a path': (card(arch='../../x'), 'arch differs'), 'no recipe': (card(recipe=None), 'member.json: not as'),
    'strange recipe': (card(recipe=dict(augment='__import__')), 'unknown set of augmentations'), 'frozen': (card(recipe=dict(freeze=True)), 'network'), 'many rows': (card(n=10**12), 'oof.npz: not as'),
    'no fold': (gone('fold_1'), 'fold 1 lacks epoch_00'), 'half the weights': (lambda d: [cut(p.relative_to(d)/'model.safetensors')(d) for p in d.glob('fold_1/epoch_*')], 'model.safetensors'),
    'half a checkpoint': (lambda d: [gone(p.relative_to(d)/'card.json')(d) for p in d.glob('fold_1/epoch_*')], 'card.json')}

@pytest.mark.parametrize('what', DAMAGE)
def test_damaged_members(tmp_path, room, small, what):
    do, words = DAMAGE[what]
    folder = changed(room/'small', tmp_path/'m', do)
    before = {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}
    said = refused(load_member, folder)
    assert str(folder) in said and words in said
    assert before == {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}

def test_a_folder_that_asks_for_a_giant(tmp_path, room, small):
    "Cards that agree with each other, on a network of seven gigabytes: told before it is built"
    giant = json.loads((room/'small'/'member.json').read_text())['arch'] | dict(name='vit_giant_patch14_224')
    def lie(d):
        card(arch=giant)(d)
        for p in d.glob('fold_*/epoch_*'): save_checkpoint(p, read_weights(p), read_card(p) | dict(arch=giant))
    start = time.monotonic()
    assert 'asks for' in refused(load_member, changed(room/'small', tmp_path/'m', lie)) and time.monotonic() - start < 20

def test_a_lost_checkpoint_is_not_replaced_by_the_next_best(tmp_path, room, table, how, small):
    h = small.history[small.history.fold == 1]
    best = h.epoch[h.valid_loss.idxmin()]
    folder = changed(room/'small', tmp_path/'m', gone(f'fold_1/epoch_{best:03d}'))
    assert f'fold 1 lacks epoch_{best:03d}; remove fold_1.npz' in refused(fit_folds, table, folder=folder, **how)
    shutil.rmtree(folder/'fold_1'); (folder/'fold_1.npz').unlink()                             # as the message says
    same(fit_folds(table, folder=folder, **how), small)
    assert files(folder) == files(room/'small')

def test_unpacks_to_more_than_it_has(tmp_path, room, small):
    folder = changed(room/'small', tmp_path/'m', lambda d: np.savez_compressed(d/'oof.npz', probs=np.zeros((10**6, 3), np.float32), flattered=0, y=0, folds=0, groups=0))
    assert 'unpacks to' in refused(load_member, folder)

@posix
def test_damaged_on_the_way(tmp_path, table, frozen, how):
    go = lambda **kw: fit_folds(table, folder=tmp_path/'m', **frozen | kw)
    class Stop(Callback):
        def after_epoch(self): raise KeyboardInterrupt
    with pytest.MonkeyPatch.context() as m:
        m.setattr(sketch, '_callbacks', lambda *args: [Stop()])
        with pytest.raises(KeyboardInterrupt): go()
    file = tmp_path/'m'/'vectors.npy'
    assert file.exists()
    for b in (file.read_bytes()[:200], file.read_bytes()[:20], b''):
        file.write_bytes(b)
        assert str(file) in refused(go)
    np.save(file, np.zeros((2, 3, 4), np.float32)); assert 'not the vectors of these drawings' in refused(go)
    file.unlink()
    assert len(go().probs) == len(table)
    cut('fold_1.npz')(tmp_path/'m'); assert 'fold_1.npz' in refused(go)
    (tmp_path/'m'/'folds.json').write_text('[]'); assert 'folds.json' in refused(go)

# ---- honest scores

def test_folds_are_those_of_scikit_learn(table, how, room):
    alone = fit_folds(table, folder=None, **how | dict(grouped=False, epochs=1))
    for k, (_, valid) in enumerate(StratifiedKFold(3, shuffle=True, random_state=42).split(table.targets(), table.targets())): assert (alone.folds[valid] == k).all()

def test_groups_stay_together(small, whole):
    for m in (small, whole): assert (pd.Series(m.folds).groupby(m.groups).nunique() == 1).all() and len(np.unique(m.groups)) < len(m.y)

def test_what_is_left_out_is_not_trained_on(table, how):
    "Other labels of the rows that a fold judges change nothing in what it says"
    n = len(table)
    folds = [(np.setdiff1d(np.arange(n), v), v) for v in (np.arange(0, n, 2), np.arange(1, n, 2))]
    items = table.items.copy()
    items.loc[folds[0][1], 'label'] = items.label[folds[0][1]].map(dict(dress='shoe', shoe='hat', hat='dress'))
    own = how | dict(n_folds=folds, epochs=1, grouped=False)
    a, b = fit_folds(table, **own), fit_folds(replace(table, items=items), **own)
    assert np.array_equal(a.probs[folds[0][1]], b.probs[folds[0][1]]) and not np.allclose(a.probs[folds[1][1]], b.probs[folds[1][1]])

def test_fair_epochs_know_nothing_of_their_fold(whole):
    "Whatever a fold's own losses were, its epoch is the same, and it is the best of the others' mean"
    fair = fair_epochs(whole.history)
    for k in range(3):
        h = whole.history.copy()
        h.loc[h.fold == k, 'valid_loss'] = np.random.default_rng(k).random((h.fold == k).sum())
        assert fair_epochs(h)[k] == fair[k] == whole.history[whole.history.fold != k].groupby('epoch').valid_loss.mean().idxmin()

@pytest.mark.parametrize('spoil', [lambda f: f.unlink(), lambda f: f.write_bytes(f.read_bytes()[:90]), lambda f: np.save(f, np.zeros((2, 2))), lambda f: np.save(f, np.array([{}]), allow_pickle=True)], ids=['gone', 'cut', 'shape', 'pickle'])
def test_what_a_fold_said_is_gone_or_damaged(tmp_path, spoil):
    from fabric_touch.sketch import _said
    file = tmp_path/'fold_1'/'said'/'epoch_000.npy'
    file.parent.mkdir(parents=True)
    np.save(file, np.eye(3))
    assert (_said(file, (3, 3)) == np.eye(3)).all()
    spoil(file)
    said = refused(_said, file, (3, 3))
    assert str(file) in said and 'gone or damaged' in said and 'the fold is trained again' in said

def test_checkpoints_hold_what_was_said(room, table, whole, small, whole_frozen):
    "The best checkpoint of a fold, with averaged weights if asked for, says of the rows left out what `flattered` holds"
    for m in (whole, small, whole_frozen):
        pixels = read_pixels(table, 32, room/'pixels')
        x = torch.from_numpy(np.stack([prepared(m.card['recipe']['augment'], 32)(image=pixels[i])['image'] for i in range(len(table))])).permute(0, 3, 1, 2)/255
        logits = m.model(x).softmax(-1).numpy()                                                # (folds, n, classes)
        assert np.abs(logits[m.folds, np.arange(len(table))] - m.flattered).max() < 1e-5

def test_top_three(room, table, whole):
    three = load_member(room/'whole', top=3)
    assert len(three.model) == 9 and not np.allclose(three.predict(table), whole.predict(table))
    for k, h in whole.history.groupby('fold'):
        kept = sorted(int(p.name[6:]) for p in (room/'whole'/f'fold_{k}').glob('epoch_*'))
        assert kept == sorted(best_epochs(h.valid_loss, 3))
        for e in kept: assert read_card(room/'whole'/f'fold_{k}'/f'epoch_{e:03d}')['valid_loss'] == h.valid_loss.iloc[e]
    for top in (0, -1, True, '1', 1.): assert 'top is' in refused(load_member, room/'whole', top=top)
    assert 'give at most 3' in refused(load_member, room/'whole', top=4)

# ---- equal to plain torch

def focal(logits, y):
    p = logits.softmax(1)[range(len(y)), y]
    return (.5*(1 - p)**2*-p.log()).mean()

def test_an_epoch_of_classic_is_that_of_torch(table, room):
    pixels, r = read_pixels(table, 32, room/'pixels'), as_recipe('classic', epochs=2, bs=8, lr=1e-3, wd=.1)
    with seeded(0): model = sketch_model('test_resnet', 3, False, 32)
    theirs, start = deepcopy(model).train(), {k: v.clone() for k, v in model.state_dict().items()}
    seen = []
    class See(Callback):
        def before_batch(self):
            if self.training: seen.append((self.x.clone(), self.y.clone()))
    with seeded(0):
        learn = sketch_learner(sketch_dls(pixels, table.targets(), (np.arange(20), np.arange(20, 27)), r), model, r, 3)
        learn.add_cb(See()); learn.keep_best.restore = False
        with learn.no_bar(), learn.no_logging(): SCHEDULES['halving'](learn, r, [])
    opt = torch.optim.AdamW(theirs.parameters(), lr=1e-3, weight_decay=.1)
    for x, y in seen:
        opt.zero_grad(); focal(theirs(x), y).backward(); opt.step()
    assert len(seen) == 4
    far = lambda a, b: sum((a[k] - b[k]).double().square().sum() for k in a if a[k].is_floating_point())**.5
    assert far(model.state_dict(), theirs.state_dict()) < 1e-3*far(model.state_dict(), start)          # AdamW makes whole steps of gradients that are all rounding
    theirs.eval(); model.eval()
    assert torch.allclose(model(seen[0][0]), theirs(seen[0][0]), atol=1e-3)

@pytest.mark.parametrize('n_batches', [1, 3, 7])
def test_the_rate_halves_every_ten_epochs(n_batches):
    "As StepLR(10, .5), for each batch of 25 epochs"
    data = [(torch.zeros(2), torch.tensor(0))]*(2*n_batches)
    dls, rates = DataLoaders.from_dsets(data, data[:2], bs=2, num_workers=0, device=torch.device('cpu')), []
    class See(Callback):
        def after_batch(self):
            if self.training: rates.append(self.opt.hypers[-1]['lr'])
    r = as_recipe('classic', epochs=25, freeze=True)
    learn = sketch_learner(dls, torch.nn.Linear(2, 2), r, 2)
    with learn.no_bar(), learn.no_logging(): SCHEDULES['halving'](learn, r, [See()])
    lin = torch.nn.Linear(1, 1); opt = torch.optim.SGD(lin.parameters(), lr=5e-5); step, wanted = torch.optim.lr_scheduler.StepLR(opt, 10, .5), []
    for _ in range(25): wanted += [opt.param_groups[0]['lr']]*n_batches; opt.step(); step.step()
    assert rates == pytest.approx(wanted, rel=1e-12)

def test_the_stated_recipe():
    r = SKETCH_RECIPES['classic']
    assert (r.augment, r.loss, r.schedule, r.epochs, r.lr, r.wd, r.seed) == ('sketch', 'focal', 'halving', 40, 5e-5, 1e-5, 42)
    x, y = torch.randn(9, 4), torch.arange(9) % 4
    assert torch.allclose(SketchLoss(2., .5)(x, y), focal(x, y))
    assert torch.allclose(SketchLoss()(x, F.one_hot(y, 4).float()), F.cross_entropy(x, y))

ARCHS = [*('test_resnet test_vit test_efficientnet test_convnext test_byobnet test_nfnet lcnet_035'.split()),
         *(pytest.param(a, marks=pytest.mark.stress) for a in 'caformer_s18 coatnet_0_rw_224 eva02_tiny_patch14_224 eca_nfnet_l0 resnet101 tf_efficientnetv2_s swin_tiny_patch4_window7_224 convnext_tiny vit_small_patch16_224 deit3_small_patch16_224 maxvit_tiny_tf_224 efficientvit_b0'.split())]

@pytest.mark.parametrize('arch', ARCHS)
def test_the_network_is_timms_own(arch):
    "Its classifier, its names and shapes; and its weights' mean, spread and size"
    model = sketch_model(arch, 5, pretrained=False)
    with torch.device('meta'): theirs = timm.create_model(arch, num_classes=5)
    shapes = lambda m: {k: tuple(v.shape) for k, v in m.state_dict().items()}
    assert shapes(model.net) == shapes(theirs) and all(p.requires_grad for p in model.parameters())
    cfg = timm.data.resolve_data_config({}, model=theirs)
    assert (model.size, model.mean.flatten().tolist(), model.std.flatten().tolist()) == (cfg['input_size'][-1], pytest.approx(list(cfg['mean'])), pytest.approx(list(cfg['std'])))

@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_weights_of_a_file_are_loaded_whole(tmp_path, suffix):
    state = timm.create_model('test_efficientnet', num_classes=1000).state_dict()
    (save_file if suffix == '.safetensors' else torch.save)(state, tmp_path/f'w{suffix}')
    ours, head = sketch_model('test_efficientnet', 7, tmp_path/f'w{suffix}').net.state_dict(), ('classifier.weight', 'classifier.bias')
    assert ours.keys() == state.keys() and all(torch.equal(ours[k], state[k]) for k in state if k not in head) and ours[head[0]].shape[0] == 7

# ---- new drawings

def test_predictions_by_hand(room, table, small):
    "Softmax of each fold model, their mean; with the mirror image; in the order given; whatever the batch"
    some = list(table.items.image)[::-2]
    pixels = np.stack([np.asarray(Image.open(p).convert('RGB').resize((32, 32), Image.BILINEAR)) for p in some])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2)/255
    models = [load_checkpoint(p, sketch._rebuilt)[0].eval() for p in sketch._fold_checkpoints(room/'small', small.history, 1)]
    with torch.no_grad(): plain, flip = (torch.stack([m(o).softmax(1) for m in models]).mean(0).numpy() for o in (x, x.flip(-1)))
    assert np.abs(small.predict(some) - plain).max() < 1e-5 and np.abs(small.predict(some, tta=True) - (plain + flip)/2).max() < 1e-5
    for bs in (1, 5, 1000): assert np.abs(small.predict(some, bs=bs) - plain).max() < 1e-5
    for items in (table.take(np.arange(len(table))[::-2]), pd.DataFrame(dict(image=some)), pd.Series(some), [Path(p) for p in some], [Image.open(p) for p in some], list(pixels), pixels, read_pixels(some, 32, room/'pixels')):
        assert np.abs(small.predict(items) - plain).max() < 1e-5
    assert np.abs(small.predict(some, folder=room/'pixels') - plain).max() < 1e-5
    assert small.predict(read_pixels(some, 64, room/'pixels')).shape == plain.shape                # of another size: brought to the network's
    assert small.predict(some[:1]).shape == (1, 3) and not any(m.training for m in small.model.modules())

def test_what_cannot_be_predicted(tmp_path, room, table, small):
    (tmp_path/'no.png').write_bytes(b'no picture')
    many = [*table.items.image[:3], str(tmp_path/'no.png')]
    for f in (None, room/'pixels'): assert 'no.png' in refused(small.predict, many, folder=f)
    assert 'gone.png' in refused(small.predict, [tmp_path/'gone.png'])
    for items, words in (([], 'at least one'), (table.items.image[0], 'give a list'), (Image.open(table.items.image[0]), 'give a list'), (None, 'give a list'), ((p for p in many), 'give a list'), (pd.DataFrame(dict(a=[1])), "no column 'image'"), ([3], 'int')):
        assert words in refused(small.predict, items)
    assert 'bs=0' in refused(small.predict, many, bs=0)

def test_odd_pictures(tmp_path, how):
    "Grey, with alpha, palette, 16 bits, CMYK, large, one pixel"
    rng, odd = np.random.default_rng(0), dict(grey='L', alpha='RGBA', palette='P', cmyk='CMYK', bits='1')
    for c in ('a', 'b'):
        (tmp_path/'d'/c).mkdir(parents=True)
        img = lambda *s: Image.fromarray(rng.integers(0, 256, s, dtype=np.uint8))
        for name, mode in odd.items(): img(40, 30, 3).convert(mode).save(tmp_path/'d'/c/(name + ('.tif' if mode == 'CMYK' else '.png')))
        Image.fromarray(rng.integers(0, 65536, (30, 40), dtype=np.uint16)).save(tmp_path/'d'/c/'sixteen.png')
        img(1500, 2100).save(tmp_path/'d'/c/'large.png'); img(1, 1).save(tmp_path/'d'/c/'dot.png'); img(2, 500).save(tmp_path/'d'/c/'line.png')
    t = read_sketches(tmp_path/'d')
    m = fit_folds(t, folder=tmp_path/'m', **how | dict(recipe='features', views=1, n_folds=2, epochs=1))
    assert len(m.probs) == 18 and np.abs(m.predict(t) - m.predict(t, folder=how['store'])).max() < 1e-5

# ---- classes, sizes and rows as they come

def drawings(room, labels): return class_table(pd.DataFrame(dict(image=[str(p) for p in sorted((room/'data'/'train').rglob('*.png'))[:len(labels)]], label=labels)))

@pytest.mark.parametrize('names', [('10', '9', '007'), ('ä/ö', '日本 語', '🧦'), ('p_a', 'target', 'a,"b"'), ('..', 'con', 'A'*200)], ids=['numbers', 'unicode', 'csv', 'paths'])
def test_names_of_classes(tmp_path, room, table, how, names, monkeypatch):
    monkeypatch.setattr(sketch, '_write_scores', lambda *args: None)                         # pictures, which take long
    t, own = drawings(room, list(names)*6), how | dict(recipe='features', views=0, n_folds=2, epochs=1)
    sketch_ensemble(t, dict(a={}, b=dict(lr=.1)), tmp_path/'e', read_test(room/'data'), **own)
    assert load_member(tmp_path/'e'/'a').classes == t.classes and set(t.classes) == set(names)
    assert read_output(tmp_path/'e'/'submission.csv', read_test(room/'data'), t.classes).classes == t.classes
    assert read_oofs(tmp_path/'e').classes == t.classes

def test_the_least_sizes(room, table, how):
    own = how | dict(n_folds=2, epochs=1, bs=64, grouped=False)
    few = drawings(room, ['a', 'b']*3)
    for recipe in ('classic', 'modern', 'features'): assert fit_folds(few, **own | dict(recipe=recipe)).probs.shape == (6, 2)      # 3 drawings to train on: mixed in pairs, one left over
    assert fit_folds(drawings(room, ['a', 'b']*5), **own | dict(bs=2, recipe='modern')).probs.shape == (10, 2)                         # 5 in batches of 2: the last is left out
    assert 'fewer drawings than 4 folds' in refused(fit_folds, few, **own | dict(n_folds=4))
    assert 'one class' in refused(fit_folds, replace(few.take([0, 2, 4]), classes=('a',)), **own)

def test_copies(tmp_path, room, table, how):
    "The same drawing twice, and mirrored in two classes: one fold, and a class that is missing from one is no error"
    file = table.items.image[0]
    Image.open(file).transpose(Image.FLIP_LEFT_RIGHT).save(tmp_path/'mirrored.png')
    items = pd.concat([table.items[['image', 'label']], pd.DataFrame(dict(image=[file, str(tmp_path/'mirrored.png')], label=['dress', 'hat']))], ignore_index=True)
    m = fit_folds(replace(table, items=items), **how | dict(recipe='features', views=0, epochs=1))
    assert len({*m.groups[[0, -1, -2]]}) == len({*m.folds[[0, -1, -2]]}) == 1
    assert 'stands in line' in refused(sketch_ensemble, replace(table, items=items), dict(a={}, b={}), tmp_path/'e', **how) and not (tmp_path/'e').exists()

@pytest.mark.stress
def test_a_thousand_classes(tmp_path, how):
    rng = np.random.default_rng(0)
    for i in range(2000): Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(tmp_path/f'{i:04d}.png')
    t = class_table(pd.DataFrame(dict(image=[str(tmp_path/f'{i:04d}.png') for i in range(2000)], label=[f'class {i % 1000}' for i in range(2000)])))
    m = fit_folds(t, folder=tmp_path/'m', **how | dict(recipe='modern', n_folds=2, epochs=1, bs=64, grouped=False))
    assert m.probs.shape == (2000, 1000) and load_member(tmp_path/'m').classes == t.classes

ROWS = np.arange(27)
BAD = [(dict(n_folds=1), 'n_folds'), (dict(n_folds=True), 'n_folds'), (dict(n_folds=2.), 'n_folds'), (dict(n_folds='3'), 'n_folds'), (dict(n_folds=[]), '0 folds judge'), (dict(n_folds=[1, 2]), 'folds cannot be read'),
       (dict(n_folds=[(ROWS[9:], ROWS[:9])]), '1 folds judge'), (dict(n_folds=[(ROWS[9:], ROWS[:9]), (ROWS[:9], ROWS[9:20])]), 'is validated once'), (dict(n_folds=[(ROWS, ROWS[:9]), (ROWS[:9], ROWS[9:])]), 'also trains on'),
       (dict(n_folds=[(ROWS[9:], ROWS[:9]), (ROWS[:9], ROWS[9:]+20)]), 'is validated once'), (dict(n_folds=[(ROWS[9:]+9, ROWS[:9]), (ROWS[:9], ROWS[9:])]), 'to train on, from 0 to 26'), (dict(n_folds=[(ROWS[9:]/1., ROWS[:9]), (ROWS[:9], ROWS[9:])]), 'folds cannot be read'),
       (dict(n_workers=-1), 'n_workers is -1'), (dict(n_workers='x'), "n_workers is 'x'"), (dict(size=0), 'size is 0'), (dict(size='x'), "size is 'x'"), (dict(freeze='no'), "freeze is 'no'"), (dict(epochs=0), 'epochs is 0'), (dict(lr=float('nan')), 'lr is nan'),
       (dict(bs=7, mixup=.1, loss='cross_entropy'), 'even number'), (dict(arch='no_such_net'), "unknown encoder 'no_such_net'"), (dict(pretrained='no.pth'), 'no.pth'), (dict(pretrained=3), 'pretrained is 3'), (dict(recipe='best'), "unknown recipe 'best'"), (dict(lrr=1), 'lrr'),
       (dict(arch='dla46_c', recipe='features'), 'no single classifier')]

@pytest.mark.parametrize('kw, words', BAD, ids=lambda o: next(iter(o)) if isinstance(o, dict) else o[:12])
def test_refused_before_anything_is_trained(tmp_path, table, how, kw, words, monkeypatch):
    monkeypatch.setattr(sketch, '_fold_learner', None)
    assert words in refused(fit_folds, table, folder=tmp_path/'m', **how | kw) and not (tmp_path/'m').exists()

def test_folders_that_cannot_be(tmp_path, table, how):
    (tmp_path/'file').write_text('x')
    for f in (tmp_path/'file', tmp_path/'file'/'m'): assert str(f) in refused(fit_folds, table, folder=f, **how)
    assert 'folder is 3' in refused(fit_folds, table, folder=3, **how)

def test_two_rows_of_odd_folds_given(room, how):
    "Folds as lists, of uneven sizes, one with an odd number of rows that are mixed"
    m = fit_folds(drawings(room, ['a', 'b', 'c']*4), **how | dict(recipe='modern', epochs=1, bs=32, grouped=False, n_folds=[([*range(7)], [*range(7, 12)]), ([*range(7, 12)], [*range(7)])]))
    assert m.folds.tolist() == [1]*7 + [0]*5

# ---- several members

NAMES = [('../a', 'b'), ('a/b', 'c'), ('', 'b'), ('.', 'b'), ('..', 'b'), ('a\\b', 'c'), ('a\n', 'b'), ('mean', 'b'), ('oracle', 'b'), ('best member', 'b'), ('most_frequent', 'b'), ('scores.csv', 'b'), ('.a', 'b'), ('a'*200, 'b'), (1, 2)]

def test_names_of_members(tmp_path, table, how, monkeypatch):
    monkeypatch.setattr(sketch, 'fit_folds', None)
    go = lambda members, **kw: refused(sketch_ensemble, table, members, tmp_path/'e', **how | kw)
    for names in NAMES: assert 'no name for a member' in go(dict.fromkeys(names, {})), names
    for members, words in (({'A': {}, 'a': {}}, 'capitals'), (['a', 'b'], 'give a dict'), (dict(a='x', b='y'), 'give a dict'), (dict(a={}), 'is no ensemble'), ({}, 'is no ensemble'), (dict(a=dict(folder='x'), b={}), 'its folder')): assert words in go(members)
    for test in ('test.csv', pd.DataFrame(dict(id=[1]))): assert "without a column 'image'" in go(dict(a={}, b={}), test=test)
    test = pd.DataFrame(dict(id=['1', '1'], image=['x', 'y']))
    assert 'stands in line' in go(dict(a={}, b={}), test=test) and "'p_hat'" in go(dict(a={}, b={}), test=test.assign(id=['1', '2'], p_hat='0'))
    assert 'unknown way to combine' in go(dict(a={}, b={}), how=['mean']) and not (tmp_path/'e').exists()

def test_an_ensemble_stopped_between_members(tmp_path, room, table, how, small, monkeypatch):
    "Members with other folds and sizes, other columns of test.csv, every way to combine; what is whole is not trained again"
    test = read_test(room/'data').assign(note='a "note", with commas')
    rows = dict(a={}, b=dict(n_folds=2, size=48, epochs=1))
    shutil.copytree(room/'small', tmp_path/'e'/'a')
    for way in COMBINERS:
        e = sketch_ensemble(table, rows, tmp_path/'e', test, way, **how)
        monkeypatch.setattr(sketch, '_write_scores', lambda *args: None)                     # pictures, once
        same(e.members['a'], small)
        assert e.members['b'].model.size == 48 and len(e.members['b'].model) == 2
        back = read_output(tmp_path/'e'/'submission.csv', test, e.classes)
        assert np.abs(back.probs - e.predict(test)).max() < 1e-5 and list(back.rows) == ['id', 'image_path', 'note']
        by_hand = (e.members['a'].predict(test) + e.members['b'].predict(test))/2
        assert way != 'mean' or np.abs(back.probs - by_hand).max() < 1e-5
    assert set(read_outputs(tmp_path/'e', test).members) == {'a', 'b'} and read_oofs(tmp_path/'e').folds is None
    assert sorted(p.name for p in (tmp_path/'e').iterdir()) == ['a', 'added.csv', 'agreement.png', 'b', 'models.png', 'oof_a.csv', 'oof_b.csv', 'output_a.csv', 'output_b.csv', 'scores.csv', 'submission.csv']
