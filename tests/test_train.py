"Training that was stopped goes on with the same result (killed: test_unplugged); best weights come back exactly."
import os, random, shutil
from pathlib import Path

import numpy as np, pytest, torch
from torch import nn
from fastai.basics import DataLoaders, Learner, OptimWrapper, SGD, Callback
from fastai.callback.all import GradientAccumulation, MixedPrecision
from fabric_touch.checkpoints import CARD, WEIGHTS, CheckpointError, _card_bytes, _card_sha256, file_sha256, read_card, read_tensors, save_checkpoint
from fabric_touch.core import FabricError, seeded
from fabric_touch.train import KeepState, changing, eval_frozen, fit_cosine, fit_learner, freeze, history

class Net(nn.Module):
    "A frozen tower, BatchNorm of every kind, dropout"
    def __init__(self, wide=32):
        super().__init__()
        self.tower = freeze(nn.Sequential(nn.Linear(6, wide), nn.BatchNorm1d(wide), nn.ReLU()))
        self.head = nn.Sequential(nn.Linear(wide, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(.4), nn.BatchNorm1d(16, affine=False), nn.Linear(16, 3))
    def forward(self, x): return self.head(self.tower(x))
    def train(self, mode=True): super().train(mode); return eval_frozen(self)

def dls(n=120, bs=16):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(n, 6, generator=g); y = (x[:, :3] + torch.randn(n, 3, generator=g)).argmax(1)
    return DataLoaders.from_dsets(*[list(zip(x[i], y[i])) for i in (slice(0, n*3//4), slice(n*3//4, n))], bs=bs, shuffle=True, drop_last=True, num_workers=0)

def accuracy(p, y): return (p.argmax(1) == y).float().mean()

def learner(seed=0, wide=32, net=Net, **kw):
    with seeded(7): model = net(wide)                      # the weights it begins with are the same in each process
    random.seed(seed); np.random.seed(seed); torch.manual_seed(seed)
    return fit_learner(dls(), model, nn.functional.cross_entropy, metrics=accuracy, **kw)

def quiet(learn, f):
    with learn.no_bar(), learn.no_logging(): f(learn)
    return learn

def fitted(*cbs, seed=0, n=6, how='one', net=Net, **kw):
    "A learner after a fit; the process's own random states are put back"
    ways = dict(one=lambda l: l.fit_one_cycle(n, .05, cbs=cbs), plain=lambda l: l.fit(n, .01, cbs=cbs), cosine=lambda l: fit_cosine(l, n, .05, 2, cbs=cbs))
    with seeded(0): return quiet(learner(seed, net=net, **kw), ways[how])

def same(a, b):
    "Two learners after a fit: weights, optimiser, history, to the last bit"
    for (k, x), (l, y) in zip(a.model.state_dict().items(), b.model.state_dict().items(), strict=True): assert k == l and torch.equal(x, y), k
    for x, y in zip(a.opt.state_dict()['state'], b.opt.state_dict()['state'], strict=True):
        assert x.keys() == y.keys() and all(torch.equal(torch.as_tensor(x[k]), torch.as_tensor(y[k])) for k in x)
    assert list(map(dict, a.opt.hypers)) == list(map(dict, b.opt.hypers))
    np.testing.assert_array_equal(history(a).to_numpy(float), history(b).to_numpy(float))
    ra, rb = a.recorder, b.recorder
    assert [list(v) for v in ra.values] == [list(v) for v in rb.values]
    assert torch.equal(torch.stack(ra.losses), torch.stack(rb.losses)) and ra.lrs == rb.lrs and ra.iters == rb.iters
    assert (a.keep_best.best, a.keep_best.best_epoch) == (b.keep_best.best, b.keep_best.best_epoch) and a.train_iter == b.train_iter

class Stop(Callback):
    "Stops as Ctrl-C does, within an epoch"
    order = 99
    def __init__(self, epoch, iter=2, event='after_batch'): self.at, self.ev = (epoch, iter), event
    def after_batch(self):
        if self.ev == 'after_batch' and self.training and (self.epoch, self.iter) == self.at: raise KeyboardInterrupt
    def after_train(self):
        if self.ev == 'after_train' and self.epoch == self.at[0]: raise KeyboardInterrupt
    def after_epoch(self):
        if self.ev == 'after_epoch' and self.epoch == self.at[0]: raise KeyboardInterrupt

def stopped(folder, *cbs, stop, every=1, **kw):
    with pytest.raises(KeyboardInterrupt): fitted(KeepState(folder, every), *cbs, stop, **kw)

# ---- the same result

@pytest.mark.parametrize('how, epoch, event, every', [('one', 0, 'after_batch', 1), pytest.param('one', 1, 'after_train', 1, marks=pytest.mark.stress), ('one', 3, 'after_epoch', 1), pytest.param('one', 5, 'after_epoch', 1, marks=pytest.mark.stress), ('one', 4, 'after_batch', 3),
                                                      ('plain', 3, 'after_batch', 1), ('cosine', 3, 'after_batch', 1)])
def test_resumed_is_the_same(tmp_path, how, epoch, event, every):
    whole = fitted(how=how)
    stopped(tmp_path/'s', stop=Stop(epoch, event=event), every=every, how=how)
    assert (tmp_path/'s').exists() == (epoch + (event == 'after_epoch') >= every)
    resumed = fitted(KeepState(tmp_path/'s', every), seed=99 if (tmp_path/'s').exists() else 0, how=how)
    same(resumed, whole)
    same(fitted(KeepState(tmp_path/'s', every), Stop(0), seed=98, how=how), whole)           # finished: nothing is trained

def test_stopped_many_times(tmp_path):
    whole = fitted(n=5)
    for e in range(5): stopped(tmp_path/'s', stop=Stop(e, 1), n=5, seed=50+e if (tmp_path/'s').exists() else 0)
    same(fitted(KeepState(tmp_path/'s'), n=5, seed=3), whole)

def test_the_state_changes_nothing(tmp_path):
    same(fitted(KeepState(tmp_path/'s')), fitted())
    def after(*cbs):
        with seeded(0):
            quiet(learner(), lambda l: l.fit(2, .01, cbs=cbs))
            return random.random(), np.random.random(), torch.rand(1).item()
    assert after() == after(KeepState(tmp_path/'t')) == after(KeepState(tmp_path/'t'))    # and after going on the dice lie as they would

@pytest.mark.parametrize('lr', [.3, 3.])
def test_stopped_early_stays_stopped(tmp_path, lr):
    kw = dict(n=30, patience=2, how='plain')
    with seeded(0): whole = quiet(learner(patience=2), lambda l: l.fit(30, lr))
    done = len(history(whole))
    assert 3 <= done < 30
    for stop in (None, done-1):
        folder = tmp_path/str(stop)
        for cb in ([Stop(stop, 1)] if stop else []) + [None, Stop(0)]:
            with seeded(0):
                learn = learner(5 if folder.exists() else 0, patience=2)
                try: quiet(learn, lambda l: l.fit(30, lr, cbs=[KeepState(folder), *filter(None, [cb])]))
                except KeyboardInterrupt: continue
            same(learn, whole)

def test_other_callbacks(tmp_path):
    for i, make in enumerate([lambda: [GradientAccumulation(40)], lambda: [MixedPrecision(amp_mode='bf16')]]):
        whole = fitted(*make())
        stopped(tmp_path/str(i), *make(), stop=Stop(3))
        same(fitted(KeepState(tmp_path/str(i)), *make(), seed=4), whole)

@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_mixed_precision_keeps_its_scale(tmp_path):
    stopped(tmp_path/'s', MixedPrecision(), stop=Stop(3))
    assert fitted(KeepState(tmp_path/'s'), MixedPrecision(), seed=4).keep_best.best == pytest.approx(fitted(MixedPrecision()).keep_best.best, rel=.05)

@pytest.mark.parametrize('opt', [SGD, lambda p, lr: SGD(p, lr, mom=.9)], ids=['sgd', 'momentum'])
def test_other_optimisers(tmp_path, opt):
    whole = fitted(opt_func=opt)
    stopped(tmp_path/'s', stop=Stop(3), opt_func=opt)
    same(fitted(KeepState(tmp_path/'s'), opt_func=opt, seed=4), whole)

def test_torch_optimisers_are_refused(tmp_path):
    from functools import partial
    with pytest.raises(FabricError, match='optimisers of fastai'): fitted(KeepState(tmp_path/'s'), opt_func=partial(OptimWrapper, opt=torch.optim.Adam))

def test_head_first_then_more(tmp_path):
    def two(folder, *stops, seed=0):
        with seeded(0):
            learn = learner(seed)
            def steps(l):
                l.fit_one_cycle(3, .05, cbs=[KeepState(folder/'head'), *stops[:1]])
                l.model.tower.requires_grad_(True)
                l.fit_one_cycle(3, .01, reset_opt=True, cbs=[KeepState(folder/'all'), *stops[1:]])
            return quiet(learn, steps)
    whole = two(tmp_path/'whole')
    for stops in ([Stop(1)], [Stop(9), Stop(1)], [Stop(9), Stop(0, event='after_epoch')]):
        with pytest.raises(KeyboardInterrupt): two(tmp_path/'s', *stops, seed=0 if not (tmp_path/'s').exists() else 9)
    same(two(tmp_path/'s', seed=9), whole)
    assert not torch.equal(whole.model.tower[0].weight, learner().model.tower[0].weight)

class Thaw(Callback):
    order = 1
    def before_epoch(self):
        if self.epoch == 2:
            self.model.tower.requires_grad_(True)
            self.learn.create_opt()

def test_thawed_on_the_way(tmp_path):
    "What a callback thaws is kept from then on, and the best weights of before come back with the tower of before"
    whole = fitted(Thaw(), how='plain')
    for epoch in (1, 3): stopped(tmp_path/'s', Thaw(), stop=Stop(epoch), how='plain', seed=epoch-1 and 9)
    same(fitted(KeepState(tmp_path/'s'), Thaw(), seed=8, how='plain'), whole)

# ---- what is in it, and what is refused

def test_only_what_can_change_is_kept(tmp_path):
    small = fitted(KeepState(tmp_path/'small'), wide=4); large = fitted(KeepState(tmp_path/'large'), net=WithTower)
    names = [n for n in read_tensors(tmp_path/'large'/WEIGHTS) if 'tower' in n]
    assert not names and (tmp_path/'large'/WEIGHTS).stat().st_size < 100_000 < large.model.tower[0].weight.nbytes
    assert {p.name for p in (tmp_path/'small').iterdir()} == {WEIGHTS, CARD}

class WithTower(Net):
    "The same with a tower of a megabyte"
    def __init__(self, wide): super().__init__(wide); self.tower = freeze(nn.Sequential(nn.Linear(6, 50_000), nn.Linear(50_000, wide)))

def test_best_weights_of_a_frozen_tower_are_not_copied(tmp_path):
    kept = []
    class Look(Callback):
        order = 65
        def after_epoch(self): kept.append({k: v.clone() for k, v in (self.keep_best.state or {}).items()}); whole.append({k: v.clone() for k, v in self.model.state_dict().items()})
    whole = []
    learn = fitted(Look(), path=tmp_path/'best.safetensors', how='plain', n=8)
    best = learn.keep_best.best_epoch
    assert all(not k.startswith('tower') for k in kept[-1]) and {'head.1.running_mean', 'head.4.running_var', 'head.0.weight'} <= set(kept[-1])
    for k, v in learn.model.state_dict().items(): assert torch.equal(v, whole[best][k]), k
    assert set(read_tensors(tmp_path/'best.safetensors')) == set(learn.model.state_dict())        # the file is a whole model

def test_changing():
    net = Net().train()
    assert set(changing(net)) == {k for k in net.state_dict() if k.startswith('head')}
    net.tower.requires_grad_(True)
    assert set(changing(net.train())) == set(net.state_dict())
    net.head[1].eval(); net.head[5].bias.requires_grad_(False)
    assert set(net.state_dict()) - set(changing(net)) == {'head.1.running_mean', 'head.1.running_var', 'head.1.num_batches_tracked', 'head.5.bias'}
    tied = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)); tied[1].weight = tied[0].weight
    assert set(changing(tied)) == set(tied.state_dict())
    bare = nn.BatchNorm1d(3, affine=False)
    assert set(changing(bare)) == set(bare.state_dict()) and not changing(bare.eval())

@pytest.fixture(scope='module')
def three_epochs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('state')/'s'
    stopped(folder, stop=Stop(3))
    return folder

@pytest.fixture
def halfway(three_epochs, tmp_path): return shutil.copytree(three_epochs, tmp_path/'s')

def test_another_run_is_refused(halfway):
    before = {p.name: p.read_bytes() for p in halfway.iterdir()}
    for kw, why in [(dict(n=7), 'n_epoch differs: the checkpoint has 6, expected 7'), (dict(wide=40), 'head.0.weight.* has shape'), (dict(opt_func=SGD), 'optimiser'), (dict(net=More), 'other weights train.*extra')]:
        with pytest.raises(CheckpointError, match=f'(?s){why}.*another folder, or delete'): fitted(KeepState(halfway), **kw)
    with pytest.raises(CheckpointError, match="tag differs: the checkpoint has '', expected 'b'"): fitted(KeepState(halfway, tag='b'))
    with seeded(0), pytest.raises(CheckpointError, match='n_batches'):
        learn = fit_learner(dls(bs=20), Net(), nn.functional.cross_entropy, metrics=accuracy); quiet(learn, lambda l: l.fit(6, cbs=KeepState(halfway)))
    assert {p.name: p.read_bytes() for p in halfway.iterdir()} == before

class More(Net):
    def __init__(self, wide): super().__init__(wide); self.extra = nn.Parameter(torch.zeros(3))
    def forward(self, x): return super().forward(x) + self.extra

def spoil(what, folder, dice):
    weights, card = folder/WEIGHTS, folder/CARD
    if what == 'bits':
        path = dice.choice([weights, card]); b = bytearray(path.read_bytes()); b[dice.randrange(len(b))] ^= 1 << dice.randrange(8); path.write_bytes(b)
    elif what == 'cut': weights.write_bytes(weights.read_bytes()[:-50])
    elif what == 'pickle':
        import pickle; weights.write_bytes(pickle.dumps(Thief(folder)))
    elif what == 'no card': card.unlink()
    elif what == 'model': save_checkpoint(folder, nn.Linear(2, 2), dict(kind='touch'))

class Thief:
    def __init__(self, folder): self.folder = folder
    def __reduce__(self): return os.system, (f'touch {self.folder}.stolen',)

@pytest.mark.parametrize('what', ['bits']*4 + ['cut', 'pickle', 'no card', 'model'])
def test_damaged_states(halfway, what, request):
    spoil(what, halfway, random.Random(request.node.name))
    with pytest.raises(CheckpointError, match='delete this one, and training starts from the beginning'): fitted(KeepState(halfway), seed=3)
    assert not Path(f'{halfway}.stolen').exists()

def forged(folder, change):
    "A state that was changed and signed anew, as somebody hostile would"
    tensors, card = read_tensors(folder/WEIGHTS), read_card(folder)
    change(tensors, card['state'])
    from safetensors.torch import save_file
    save_file(tensors, folder/WEIGHTS)
    card['weights_sha256'] = file_sha256(folder/WEIGHTS)
    card['card_sha256'] = _card_sha256(card)
    (folder/CARD).write_bytes(_card_bytes(card))

def setter(*path, value):
    def change(tensors, state):
        for k in path[:-1]: state = state[k]
        state[path[-1]] = value
    return change

def retensor(part, make):
    def change(tensors, state):
        name = next(n for n in tensors if part in n)
        tensors[name] = make(tensors[name])
    return change

forgeries = dict(
    nan=retensor('model.head', lambda t: t*float('nan')), shape=retensor('model.head', lambda t: t[:1].clone()), best=retensor('callbacks.keep_best.state', lambda t: t[:1].clone()),
    adam=retensor('grad_avg', lambda t: t.reshape(-1)[:2].clone()), torch_state=retensor('random.torch', lambda t: t[:9].clone()), done_many=setter('done', value=99), done_text=setter('done', value='3'), done_none=setter('done', value=None),
    done_less=setter('done', value=1), python=setter('random', 'python', value=[[3, [1, 2], None]]*3), numpy=setter('random', 'numpy', value='x'), loader=setter('random', 'python', 2, value=[3, ['a'], None]), fewer=setter('random', 'python', value=[]), opt_short=setter('opt', 'state', value=[]),
    opt_list=setter('opt', value=[1]), hypers=setter('opt', 'hypers', value=[{}]), callbacks=setter('callbacks', 'keep_best', value={}), callback=setter('callbacks', value=7), recorder=setter('recorder', value={}), smooth=setter('recorder', 'smooth', value=5),
    state=setter('model', value={}), tensor=setter('model', 'head.0.weight', value={'$': 'float'}), none=setter('model', 'head.0.weight', value=None), grads=setter('grads', value={'nowhere': 0}), values=setter('recorder', 'values', value=[1, 2, 3]))

@pytest.mark.parametrize('what', forgeries)
def test_hostile_states(halfway, what):
    forged(halfway, forgeries[what])
    with pytest.raises(CheckpointError, match='delete this one, and training starts from the beginning'): fitted(KeepState(halfway), seed=3)

def test_states_in_odd_places(tmp_path):
    (tmp_path/'empty').mkdir(); same(fitted(KeepState(tmp_path/'empty'), n=2), fitted(n=2))
    (tmp_path/'file').write_text('x')
    (tmp_path/'full').mkdir(); (tmp_path/'full'/'mine.txt').write_text('x')
    for name in ('file', 'full'):
        with pytest.raises(CheckpointError): fitted(KeepState(tmp_path/name), n=2)
    assert (tmp_path/'full'/'mine.txt').read_text() == 'x'
    with pytest.raises(FabricError, match='every is 0'): KeepState(tmp_path, every=0)
    same(fitted(KeepState(str(tmp_path/'a'/'ü b')), n=2), fitted(n=2))

def test_moved_aside_between_two_moves(halfway):
    halfway.rename(halfway.with_name(f'.{halfway.name}.old'))
    same(fitted(KeepState(halfway), seed=3), fitted())

def test_looking_is_no_training(halfway):
    "validate, predictions and the finder of learning rates leave the state alone"
    before = {p.name: p.read_bytes() for p in halfway.iterdir()}
    learn = learner(cbs=KeepState(halfway))
    with seeded(0), learn.no_bar(), learn.no_logging(): learn.validate(); learn.get_preds(); learn.lr_find(num_it=10, show_plot=False)
    assert {p.name: p.read_bytes() for p in halfway.iterdir()} == before

def test_nan_writes_no_state(tmp_path):
    class Spoil(Callback):
        def after_batch(self):
            if self.training and self.epoch == 3: self.model.head[0].weight.data.fill_(float('nan'))
    with pytest.warns(UserWarning, match='not written.*NaN'): whole = fitted(KeepState(tmp_path/'s'), Spoil(), n=5)
    assert read_card(tmp_path/'s')['state']['done'] == 3
    with pytest.warns(UserWarning, match='not written.*NaN'): again = fitted(KeepState(tmp_path/'s'), Spoil(), n=5, seed=9)
    for k, v in whole.model.state_dict().items(): assert torch.equal(v, again.model.state_dict()[k])

def test_a_learner_of_another_class():
    class Mine(Learner): pass
    assert type(learner(cls=Mine)) is Mine

def test_the_table_of_progress_is_whole(halfway, capsys):
    learn, lines = learner(), []
    learn.logger = lines.append
    with seeded(0), learn.no_bar(): learn.fit_one_cycle(6, .05, cbs=KeepState(halfway))
    assert [l[0] for l in lines] == list(range(6)) and all(len(l) == 5 for l in lines)
