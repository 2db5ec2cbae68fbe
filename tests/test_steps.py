"Steps: rates as transformers', gradients as of one large batch, runs that go on to the last bit wherever they were stopped."
import os, random, shutil, signal, time
from dataclasses import replace

import numpy as np, pandas as pd, pytest, torch
from torch import nn
from fastai.basics import Callback, Learner
from fastai.callback.all import MixedPrecision
from fabric_touch.checkpoints import CheckpointError, load_checkpoint, read_card
from fabric_touch.core import FabricError, seeded
from fabric_touch.steps import OPTIMIZERS, RATES, Run, StepDL, _precision, fit_steps, rates, step_dls
from fabric_touch.train import KeepBest, eval_frozen, freeze

pytestmark = pytest.mark.once

# ---- rates

@pytest.mark.parametrize('n, warm', [(1, 0), (10, 0), (100, 7), (1000, 999)])
def test_warmups_are_transformers(n, warm):
    tf = pytest.importorskip('transformers')
    def theirs(make):
        opt = torch.optim.SGD([torch.zeros(1)], lr=.003)
        sched, out = make(opt, warm, n), []
        opt.step()
        for _ in range(n): out.append(opt.param_groups[0]['lr']); sched.step()
        return out
    np.testing.assert_allclose(rates('LinearWarmup', .003, n, warm), theirs(tf.get_linear_schedule_with_warmup), rtol=1e-12)
    np.testing.assert_allclose(rates('CosineWarmup', .003, n, warm), theirs(tf.get_cosine_schedule_with_warmup), rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(rates('CosineWarmup', .003, n, warm, num_cycles=2.), theirs(lambda *a: tf.get_cosine_schedule_with_warmup(*a, num_cycles=2.)), rtol=1e-12, atol=1e-18)

def test_names_are_exact(): assert list(RATES) == ['none', 'LambdaLR', 'CosineAnnealingLR', 'ExponentialLR', 'StepLR', 'MultiStepLR', 'LinearWarmup', 'CosineWarmup']

@pytest.mark.parametrize('name', RATES)
@pytest.mark.parametrize('n', [1, 2, 3, 50])
def test_every_schedule_at_every_length(name, n):
    for w in {0, n-1}:
        r = rates(name, .5, n, w)
        assert r.shape == (n,) and np.isfinite(r).all() and (r >= 0).all() and r.max() <= .5*(1 + 1e-12) and (r.max() == .5 or w == n-1 == 0)
        assert r[w] == .5 and (np.diff(r[:w+1]) > 0).all()                       # the top is reached after the climb

def test_settings_are_pytorchs():
    x = torch.arange(20.)
    np.testing.assert_allclose(rates('ExponentialLR', 2., 20, gamma=.9), 2*.9**x, rtol=1e-6)
    np.testing.assert_allclose(rates('MultiStepLR', 1., 20, milestones=[3, 10], gamma=.5), [1]*3 + [.5]*7 + [.25]*10)
    np.testing.assert_allclose(rates('LambdaLR', 2., 5, lr_lambda=lambda s: 1/(s+1)), 2/np.arange(1, 6))
    np.testing.assert_allclose(rates('CosineAnnealingLR', 1., 20, eta_min=.2), .2 + .8*(1 + np.cos(np.pi*np.arange(20)/20))/2)
    assert rates('ExponentialLR', 1., 1000)[-1] == pytest.approx(.01, rel=.01) and rates('LambdaLR', 1., 1000)[20:].tolist() == pytest.approx((20/np.arange(20, 1000))**.5)

@pytest.mark.stress
@pytest.mark.parametrize('name', RATES)
def test_a_million_steps(name):
    start = time.perf_counter()
    r = rates(name, .001, 10**6)
    assert time.perf_counter() - start < 20 and len(r) == 10**6
    if name == 'CosineAnnealingLR': np.testing.assert_allclose(r, .0005*(1 + np.cos(np.pi*np.arange(10**6)/10**6)), atol=1e-9)

# ---- settings

@pytest.mark.parametrize('bad, says', [(dict(lr=-1), 'lr is -1'), (dict(lr=float('nan')), 'lr is nan'), (dict(lr='fast'), "lr is 'fast'"), (dict(lr=None), 'lr is None'), (dict(batch_size=0), 'at least 1'), (dict(batch_size=True), 'batch_size is True'),
    (dict(accumulation_steps=1.5), 'a whole number'), (dict(num_epochs=0), 'num_epochs is 0'), (dict(num_steps=-3, num_epochs=None), 'num_steps is -3'), (dict(seed=-1), 'seed is -1'), (dict(grad_clip=0), 'grad_clip is 0'), (dict(weight_decay=-.1), 'weight_decay is -0.1'),
    (dict(lr_scheduler='cosine'), 'choose from: none'), (dict(optimizer='adam'), 'choose from: Adam, AdamW'), (dict(num_epochs=None), 'exactly one'), (dict(num_steps=3), 'exactly one'), (dict(num_epochs=None, num_steps=5, warmup_steps=5), 'fewer'),
    (dict(lr_scheduler='StepLR', schedule_args=dict(size=3)), 'StepLR has no setting size'), (dict(save_interval=0), 'save_interval is 0')])
def test_bad_settings_are_told(bad, says):
    with pytest.raises(FabricError, match=says): Run(**dict(num_epochs=2) | bad)

def test_numpy_numbers_are_numbers(): assert type(Run(num_steps=np.int64(5), lr=np.float32(.5)).num_steps) is int

# ---- batches

class Rows:
    "Rows that draw: from the seed, the epoch and the row"
    def __init__(self, n): self.n, self.epoch, self.asked = n, None, []
    def __len__(self): return self.n
    def set_epoch(self, e): self.epoch = e
    def __getitem__(self, i): self.asked.append(i); return i, float(np.random.default_rng((5, self.epoch, i)).random())

@pytest.mark.parametrize('n, bs, world', [(1, 1, 1), (1, 4, 4), (10, 4, 1), (23, 4, 2), (24, 4, 2), (25, 4, 3), (7, 3, 4), (64, 8, 8)])
def test_shares_make_one_batch(n, bs, world):
    whole = [b.tolist() for b in StepDL(range(n), bs=bs*world).set_epoch(3)]
    parts = [StepDL(range(n), bs=bs).set_share(r, world).set_epoch(3) for r in range(world)]
    shares = [[b.tolist() for b in dl] for dl in parts]
    assert {len(s) for s in shares} == {len(whole)} == {len(dl) for dl in parts}
    for b, rows in enumerate(whole):
        assert sum((shares[r][b][:parts[r].real(b)] for r in range(world)), []) == rows
        assert all(len(shares[r][b]) == max(1, parts[r].real(b)) for r in range(world))

@pytest.mark.parametrize('workers', [0, 2])
def test_taken_up_anywhere(workers):
    dl = StepDL(Rows(11), bs=2, seed=4, num_workers=workers)
    def seen(*at): return [[x.tolist() for x in b] for b in dl.set_epoch(*at)]
    whole = seen(6)
    for start in range(0 if workers == 0 else 5, 7): assert seen(6, start) == whole[start:]
    if not workers:
        dl.dataset.asked.clear(); seen(6, 5)
        assert len(dl.dataset.asked) == 1                       # the rows before were not loaded
    assert seen(7) != whole and [r[1] for r in seen(6)] == [r[1] for r in whole]
    state = torch.get_rng_state(); list(dl)
    assert torch.equal(state, torch.get_rng_state())

def test_a_loader_like_it():
    dl = StepDL(range(10), bs=2, seed=3).set_share(1, 2).set_epoch(4)
    new = dl.new(shuffle=False, drop_last=False)
    assert (new.seed, new.rank, new.world, new.epoch, new.shuffle, new.bs) == (3, 1, 2, 4, False, 2)
    assert [b.tolist() for b in dl.new()] == [b.tolist() for b in dl]

# ---- a learner

def rows(n, seed=0):
    g = np.random.default_rng(seed)
    x, ends = g.integers(1, 12, (n, 9)), g.integers(3, 10, n)
    y = np.where(np.arange(9) < ends[:, None], x*5 % 12, -100)
    return [(torch.tensor(a), torch.tensor(b)) for a,b in zip(np.where(y < 0, 0, x), y)]

class TokenLoss:
    def __call__(self, pred, y): return nn.functional.cross_entropy(pred.flatten(0, 1), y.flatten(), ignore_index=-100)
    def count(self, y): return (y != -100).sum()

class Net(nn.Module):
    "A frozen table, dropout, BatchNorm and draws of every kind"
    def __init__(self, p=.2, draws=True, wide=8, norm=True):
        super().__init__()
        self.table, self.draws = freeze(nn.Embedding(12, wide)), draws
        self.head = nn.Sequential(nn.Linear(wide, 16), nn.Dropout(p), nn.BatchNorm1d(16) if norm else nn.Identity(), nn.ReLU(), nn.Linear(16, 12))
    def forward(self, x):
        x = self.table(x)
        if self.training and self.draws: x = x*(1 + .01*random.random() + .01*np.random.random())
        return self.head(x.flatten(0, 1)).reshape(*x.shape[:2], -1)
    def train(self, mode=True): super().train(mode); return eval_frozen(self)

def hit(p, y): return (p.argmax(-1) == y).float().mean()

def learner(run, n=23, cbs=None, **kw):
    with seeded(7): net = Net(**kw)
    return Learner(step_dls(rows(n), rows(9, 1), run), net, TokenLoss(), metrics=hit, cbs=cbs)

def quiet(learn, run, *a, **kw):
    with learn.no_bar(), learn.no_logging(): return fit_steps(learn, run, *a, **kw)

def state(learn): return torch.cat([t.double().flatten() for t in learn.model.state_dict().values()])

@pytest.mark.parametrize('name', OPTIMIZERS)
def test_optimisers_are_pytorchs(name):
    def trained(make):
        with seeded(3): net = nn.Linear(4, 3, bias=False); x = torch.randn(8, 4)
        opt = make([*net.parameters()])
        for _ in range(6): opt.zero_grad(); net(x).square().sum().backward(); opt.step()
        return net.weight.detach()
    torch.testing.assert_close(trained(lambda p: OPTIMIZERS[name](p, lr=.1, wd=.2)), trained(lambda p: getattr(torch.optim, name)(p, lr=.1, weight_decay=.2)))

class Grads(Callback):
    order = 40
    def __init__(self): self.all = []
    def before_step(self): self.all.append(torch.cat([p.grad.flatten() for p in self.model.parameters() if p.grad is not None]).clone())

@pytest.mark.parametrize('clip', [None, .05])
def test_gradients_are_those_of_one_large_batch(clip):
    def grads(bs, acc):
        run = Run(lr=1e-9, batch_size=bs, accumulation_steps=acc, num_epochs=2, grad_clip=clip)
        g = Grads(); told = quiet(learner(run, p=0, draws=False, norm=False), run, cbs=g)
        return torch.stack(g.all), told
    (large, a), (small, b) = grads(8, 1), grads(2, 4)
    assert len(large) == 6                                       # 23 rows: the last step of an epoch has 7, in four batches
    torch.testing.assert_close(small, large, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(a.to_numpy(float)[:, :5], b.to_numpy(float)[:, :5], rtol=1e-6)
    if clip: assert (large.norm(dim=1) < clip*1.001).all()

def test_shares_add_up_to_the_gradient():
    "What two processes compute, one after the other; the last batch of the second has nothing of its own"
    run = Run(batch_size=8, num_epochs=1)
    def summed(dl, loss, net):
        for b,(x,y) in enumerate(dl): (loss(net(x), y)*(loss.count(y) if dl.real(b) else 0)).backward()
    nets = [learner(run, p=0, draws=False, norm=False).model.eval() for _ in range(2)]
    summed(StepDL(rows(19), bs=8), TokenLoss(), nets[0])
    for r in range(2): summed(StepDL(rows(19), bs=4).set_share(r, 2), TokenLoss(), nets[1])
    for p,q in zip(*(n.head.parameters() for n in nets)): torch.testing.assert_close(p.grad, q.grad, rtol=1e-5, atol=1e-5)

# ---- the same result, wherever it was stopped

class Stop(Callback):
    "Asks for an end, as Ctrl-C does, at a step; in training, or at the end of an epoch or in its validation"
    order = 45
    def __init__(self, step, valid=False): self.step, self.valid, self.asked = step, valid, False
    def after_batch(self):
        if self.asked or self.step_rates.done != self.step or self.training == self.valid: return
        self.asked = True
        os.kill(os.getpid(), signal.SIGINT)

RUNS = dict(epochs=Run(lr=.02, batch_size=4, accumulation_steps=2, num_epochs=3, save_interval=2, lr_scheduler='CosineWarmup', grad_clip=1.),
            steps=Run(lr=.02, batch_size=4, accumulation_steps=2, num_steps=8, save_interval=2, optimizer='Adam', lr_scheduler='StepLR', warmup_steps=2, schedule_args=dict(gamma=.5)))

@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    "Each run, never stopped"
    out = {}
    for k,run in RUNS.items():
        folder, learn = tmp_path_factory.mktemp(k)/'run', learner(run)
        out[k] = folder, learn, quiet(learn, run, folder)
    return out

def check_same(kind, folder, learn, told, whole):
    theirs, other, rows = whole[kind]
    pd.testing.assert_frame_equal(told, rows, check_exact=True)
    assert torch.equal(state(learn), state(other))
    for x,y in zip(learn.opt.state_dict()['state'], other.opt.state_dict()['state'], strict=True): assert all(torch.equal(torch.as_tensor(x[k]), torch.as_tensor(y[k])) for k in y)
    assert learn.recorder.lrs == other.recorder.lrs and torch.equal(torch.stack(learn.recorder.losses), torch.stack(other.recorder.losses)) and learn.recorder.iters == other.recorder.iters
    names = sorted(p.name for p in theirs.iterdir())
    assert sorted(p.name for p in folder.iterdir()) == names
    assert (folder/'history.csv').read_bytes() == (theirs/'history.csv').read_bytes()
    for n in names:
        if n not in ('.training.lock', 'state', 'history.csv'): assert (folder/n/'model.safetensors').read_bytes() == (theirs/n/'model.safetensors').read_bytes()

@pytest.mark.parametrize('kind, step, valid', [('epochs', 1, False), ('epochs', 3, False), ('epochs', 3, True), ('epochs', 8, False), ('steps', 1, False), ('steps', 2, True), ('steps', 5, False), ('steps', 6, True), ('steps', 7, False)])
def test_stopped_and_gone_on(tmp_path, whole, kind, step, valid):
    run, folder, before = RUNS[kind], tmp_path/'run', signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt): quiet(learner(run), run, folder, cbs=Stop(step, valid))
    assert read_card(folder/'state')['state']['done'] == step and signal.getsignal(signal.SIGINT) is before
    random.seed(9); torch.manual_seed(9)
    learn = learner(run)
    check_same(kind, folder, learn, quiet(learn, run, folder, resume=True), whole)

def test_stopped_at_every_step(tmp_path, whole):
    run, folder = RUNS['steps'], tmp_path/'run'
    for step in range(1, 9):
        with pytest.raises(KeyboardInterrupt): quiet(learner(run), run, folder, resume=step > 1, cbs=Stop(step))
    learn = learner(run)
    check_same('steps', folder, learn, quiet(learn, run, folder, resume=True), whole)

@pytest.mark.parametrize('kind', RUNS)
def test_finished_is_finished(tmp_path, whole, kind):
    folder, learn = whole[kind][0], learner(RUNS[kind])
    stamp = (folder/'history.csv').stat().st_mtime_ns
    check_same(kind, folder, learn, quiet(learn, RUNS[kind], folder, resume=True, cbs=Stop(0)), whole)
    assert (folder/'history.csv').stat().st_mtime_ns == stamp

def test_what_the_folder_holds(whole):
    epochs, steps = (whole[k] for k in RUNS)
    assert sorted(p.name for p in epochs[0].iterdir()) == ['.training.lock', 'best', 'epoch_002', 'history.csv', 'state']
    assert sorted(p.name for p in steps[0].iterdir()) == ['.training.lock', 'best', 'history.csv', 'state', 'step_000002', 'step_000004', 'step_000006', 'step_000008']
    assert epochs[2].step.tolist() == [3, 6, 9] and epochs[2].epoch.tolist() == [1, 2, 3]
    assert steps[2].step.tolist() == [2, 3, 4, 6, 8] and steps[2].epoch.round(2).tolist() == [.67, 1, 1.33, 2, 2.67]
    assert list(steps[2]) == ['step', 'epoch', 'lr', 'train_loss', 'valid_loss', 'hit']
    assert steps[2].lr.tolist() == rates('StepLR', .02, 8, 2, gamma=.5)[steps[2].step - 1].tolist()
    net, card = load_checkpoint(epochs[0]/'best', lambda card: Net())
    assert card['valid_loss'] == epochs[2].valid_loss.min() and card['step'] == epochs[2].step[epochs[2].valid_loss.idxmin()]
    pd.testing.assert_frame_equal(pd.read_csv(steps[0]/'history.csv'), steps[2])

def test_keeping_changes_nothing(whole):
    run = RUNS['steps']
    learn = learner(run)
    quiet(learn, run)
    assert torch.equal(state(learn), state(whole['steps'][1]))

def test_validation_is_the_mean_over_tokens(whole):
    _, learn, told = whole['steps']
    x, y = (torch.stack(o) for o in zip(*rows(9, 1)))
    with torch.no_grad(): assert told.valid_loss.iloc[-1] == pytest.approx(TokenLoss()(learn.model.eval()(x), y).item(), rel=1e-6)

def test_with_keep_best(tmp_path):
    run = RUNS['epochs']
    a, b = learner(run, cbs=KeepBest()), learner(run, cbs=KeepBest())
    quiet(a, run)
    with pytest.raises(KeyboardInterrupt): quiet(b, run, tmp_path/'r', cbs=Stop(5))
    b = learner(run, cbs=KeepBest())
    quiet(b, run, tmp_path/'r', resume=True)
    assert torch.equal(state(a), state(b)) and a.keep_best.best_epoch == b.keep_best.best_epoch

# ---- what is refused and told

@pytest.mark.parametrize('change, says', [(dict(lr=.01), 'run.lr differs'), (dict(num_steps=9), 'run.num_steps differs'), (dict(accumulation_steps=1), 'accumulation_steps'), (dict(schedule_args=dict(gamma=.1)), 'gamma'), (dict(grad_clip=.5), 'grad_clip'), (dict(optimizer='AdamW'), 'optimizer')])
def test_other_settings_are_refused(whole, change, says):
    run = replace(RUNS['steps'], **change)
    with pytest.raises(CheckpointError, match=says): quiet(learner(run), run, whole['steps'][0], resume=True)

def test_other_data_model_and_damage_are_refused(tmp_path, whole):
    run = RUNS['steps']
    with pytest.raises(CheckpointError, match='run.rows differs'): quiet(learner(run, n=24), run, whole['steps'][0], resume=True)
    with pytest.raises(CheckpointError, match='shape'): quiet(learner(run, wide=9), run, whole['steps'][0], resume=True)
    shutil.copytree(whole['steps'][0], tmp_path/'r')
    file = tmp_path/'r'/'state'/'model.safetensors'
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(CheckpointError, match='delete this one'): quiet(learner(run), run, tmp_path/'r', resume=True)

def test_folders(tmp_path, whole):
    run = RUNS['steps']
    with pytest.raises(FabricError, match='holds a run already .state, best'): quiet(learner(run), run, whole['steps'][0])
    (tmp_path/'r'/'.state.0123abcd.tmp').mkdir(parents=True)                            # left by one that was killed
    learn = learner(run)
    quiet(learn, run, tmp_path/'r', resume=True)                                        # nothing to go on from: starts
    assert torch.equal(state(learn), state(whole['steps'][1])) and [p.name for p in (tmp_path/'r').glob('.*')] == ['.training.lock']

def test_not_a_number_is_told(tmp_path):
    run = RUNS['epochs']
    learn = learner(run)
    learn.model.head[0].weight.data[0] = float('nan')
    with pytest.raises(FabricError, match='training loss is nan by step 3'): quiet(learn, run, tmp_path/'r')
    assert not [*tmp_path.glob('r/*')]

def test_the_learner_is_left_as_it_was(capsys):
    run = RUNS['steps']
    learn = learner(run)
    cbs, loss, logger, draws = {*map(type, learn.cbs)}, learn.recorder.loss, learn.logger, torch.get_rng_state()
    with learn.no_bar(): fit_steps(learn, run)
    assert {*map(type, learn.cbs)} == cbs and learn.recorder.loss is loss and learn.logger is logger and torch.equal(draws, torch.get_rng_state())
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 5 and lines[0].startswith('step 2 of 8, epoch 0.67: lr 0.01, train_loss') and lines[0].endswith('steps/s')
    quiet(learn, run)
    assert not capsys.readouterr().out

def test_half_precision_is_refused():
    with pytest.raises(FabricError, match='fp16'): quiet(learner(RUNS['steps'], cbs=MixedPrecision()), RUNS['steps'])

@pytest.mark.filterwarnings('ignore')
def test_bfloat16_on_a_gpu_only(whole):
    run = RUNS['steps']
    learn = learner(run)
    assert not _precision(learn)
    learn.dls.device = torch.device('cuda')                                             # as if there were one
    (cb,) = _precision(learn)
    assert cb.amp_mode.value == 'bf16' and not _precision(learner(run, cbs=MixedPrecision(amp_mode='bf16')))
    same = learner(run, cbs=MixedPrecision(amp_mode='bf16'))
    quiet(same, run)                                                                    # on a CPU it changes nothing
    if not torch.cuda.is_available(): assert torch.equal(state(same), state(whole['steps'][1]))

def test_a_second_interrupt_does_not_wait(tmp_path):
    class Twice(Callback):
        def after_pred(self):
            if self.training and self.step_rates.done == 3: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)]; time.sleep(.01)
    run = RUNS['steps']
    with pytest.raises(KeyboardInterrupt): quiet(learner(run), run, tmp_path/'r', cbs=Twice())
    assert read_card(tmp_path/'r'/'state')['state']['done'] == 3                        # the row of the first epoch's end
