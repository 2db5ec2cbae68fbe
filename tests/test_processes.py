"Two processes on the CPU, started once by torchrun: a touch model, folds, counted steps and the multimodal model as in one process with the doubled batch; going on together; what is refused."
import os, signal, subprocess, sys
from functools import partial
from importlib.util import find_spec

import numpy as np, pandas as pd, pytest, torch
from torch import nn
from fastai.basics import Callback, DataLoaders, Learner
from fabric_touch.blends import FIBRES
from fabric_touch.checkpoints import CheckpointError, read_card, read_tensors
from fabric_touch.core import FabricError, TOUCHES, seeded
from fabric_touch.data import VectorDL, array_dls, read_fabrics, touch_dls
from fabric_touch.processes import launched, main_process, several, together
from fabric_touch.steps import Run
from fabric_touch.touch import Recipe, fit_touch, touch_folds, touch_learner, touch_refit
from fabric_touch.train import KeepPreds, KeepState, KeepTop, TouchLoss, fit_learner, history

sys.path.insert(0, os.path.dirname(__file__))
from test_steps import learner, quiet, state

pytestmark = pytest.mark.once
WORDS = all(find_spec(k) for k in ('sacrebleu', 'tokenizers', 'transformers'))

# ---- steps

def run(bs, **kw): return Run(**dict(lr=.02, batch_size=bs, accumulation_steps=2, num_steps=7, save_interval=2, lr_scheduler='LinearWarmup', warmup_steps=2, grad_clip=1.) | kw)

SHAPES = dict(uneven=23, empty=17)       # rows: with 4 for each process, the last batch is 4 + 3, 1 + 0

def plain(run, n):
    learn = learner(run, n=n, p=0, draws=False, norm=False)       # a bias before BatchNorm has no gradient but rounding, which Adam makes large
    learn.dls.loaders[1].bs = 4                   # 9 rows for validation: in two processes the last batch is 1 + 0
    return learn

# ---- touch

def fabrics(n=45):
    "Generated: no two blends alike; some touches were not rated"
    g = np.random.default_rng(0)
    blends, v = g.dirichlet(np.full(len(FIBRES), .3), n), g.normal(size=(n, 6)).astype(np.float32)
    rated = np.clip(np.rint(v[:, :4] + 3), 1, 5)
    rated[g.random(rated.shape) < .2] = np.nan
    return read_fabrics(pd.DataFrame(np.c_[blends, rated], columns=[*FIBRES, *TOUCHES])), v

def no_rows_lost(f, fold, v, bs):
    "As touch_dls, with the last batch: of 35 rows in batches of 8 it is one of three, for two processes 2 and 1"
    dls = touch_dls(f, fold, v, bs)
    dls.loaders[0] = VectorDL(dls.train_ds, bs=bs, shuffle=True, num_workers=0)
    return dls

KINDS = dict(mlb=(touch_dls, 'mlb', dict(p=0.)), members=(no_rows_lost, Recipe('log', 'mlb_skip', 'mlp', members=2), dict(p=0.)))

def touch(kind, bs, cls=Learner, **kw):
    (f, v), fold = fabrics(), (np.arange(35), np.arange(35, 45))
    make, recipe, args = KINDS[kind]
    with seeded(1): return touch_learner(make(f, fold, v, bs=bs), recipe, 6, head_args=args | kw, cls=cls)

def fit(learn, folder=None, *cbs):
    keep = [KeepTop(folder/'top'), KeepPreds(folder/'said'), KeepState(folder/'state')] if folder else []
    with seeded(2), learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(4, .01, cbs=[*keep, *cbs])
    return learn

def told(learn): return dict(history=history(learn).to_numpy(float), losses=torch.stack(learn.recorder.losses).numpy(), weights=state(learn).numpy())

FIT, P0 = partial(fit_touch, steps=6, lr=.01), dict(head_args=dict(p=0.))

def folds(**kw): return touch_folds(*fabrics(), 'mlb', **P0, **kw)

def refit(fit):
    model = touch_refit(*fabrics(44), 'mlb', 6, fit=fit, **P0)
    return torch.cat([t.double().flatten() for t in model.state_dict().values()]).numpy()

def lone(bs):
    "17 rows and no BatchNorm: the last batch is 1 + 0"
    x = np.random.default_rng(0).normal(size=(17, 3))
    with seeded(1):
        dls = array_dls([x, np.eye(5)[np.arange(17) % 5][:, None]], (np.arange(17), np.arange(9)), bs)
        dls.loaders[0] = VectorDL(dls.train_ds, bs=bs, shuffle=True, num_workers=0)
        return fit_learner(dls, nn.Sequential(nn.Linear(3, 5), nn.Unflatten(1, (1, 5))), TouchLoss(['a']))

def lone_fit(learn):
    with seeded(2), learn.no_bar(), learn.no_logging(): learn.fit(3, .1)
    return learn

PAIR = dict(words=dict(datasets='coco:capt', pretrain=True, image_mask_ratio=0.), both=dict(datasets='coco:capt folders:cloth'))     # of ft_multimodal

SCRIPT = '''
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_processes import two_processes
two_processes(Path(sys.argv[2]))
'''

def everyones(x):
    "A number of each process"
    from torch import distributed as dist
    both = [torch.zeros(1, dtype=torch.float64) for _ in range(2)]
    dist.all_gather(both, torch.tensor([float(x)], dtype=torch.float64))
    return [b.item() for b in both]

def same_in_both(learn): return len({*everyones(state(learn).sum())}) == 1

def two_processes(folder):
    "What each of two processes does"
    assert launched()[1] == 2 and main_process() == (launched()[0] == 0)
    out = {}
    refused(); touch_together(folder, out); folds_together(folder, out); touch_goes_on(folder); steps_together(folder, out); steps_go_on(folder)
    if main_process(): np.savez(folder/'out.npz', **out)
    if not WORDS: return
    from test_multimodal import train
    for k,kw in PAIR.items(): train(folder, f'two_{k}', **kw, batch_size=4, store=str(folder/f'store_{k}'))

def touch_together(folder, out):
    for kind in KINDS:
        learn = touch(kind, 4)
        before = type(learn.dls.train), len(learn.dls.train), type(learn.model)
        with several(learn):
            fit(learn, folder/kind)
            found = told(learn)
            preds, y = learn.get_preds()
            assert len(preds) == 10 and type(learn.model) is before[2]
        assert (type(learn.dls.train), len(learn.dls.train), type(learn.model)) == before and same_in_both(learn)
        assert torch.equal(learn.get_preds()[0], preds) and len({*everyones(torch.rand(1))}) == 1         # after it, as one
        out |= {f'{kind}_{k}': v for k,v in (found | dict(preds=preds)).items()}
    learn = lone(4)
    with several(learn): lone_fit(learn)
    assert same_in_both(learn)
    out |= {f'lone_{k}': v for k,v in told(learn).items()}

class Dice(Callback):
    "Look at the draws of both, and stop"
    def __init__(self, stop=None): self.stop_at, self.seen = stop, None
    def before_batch(self): self.seen = self.seen or everyones(torch.initial_seed())
    def after_batch(self):
        if self.training and self.epoch == self.stop_at: raise KeyboardInterrupt

def touch_goes_on(folder):
    "Dropout: stopped in the third epoch and gone on with is never stopped"
    def go(where, dice):
        learn = touch('mlb', 4, p=.3)
        with several(learn):
            try: fit(learn, folder/where, dice)
            except KeyboardInterrupt: return
        assert same_in_both(learn)
        return state(learn)
    whole, again = Dice(), Dice()
    first = go('whole', whole)
    assert whole.seen[0] != whole.seen[1] and go('stopped', Dice(stop=2)) is None
    assert read_card(folder/'stopped'/'state')['state']['done'] == 2
    assert torch.equal(go('stopped', again), first)

def folds_together(folder, out):
    out['folds'] = folds(fit=together(FIT), folder=folder/'folds')
    out['spread'] = folds(fit=FIT, folder=folder/'spread')                  # a fold for each process
    out['refit'] = refit(together(FIT))

def refused():
    (f, v), rank = fabrics(), launched()[0]
    def says(part, call):
        try: call()
        except FabricError as e: assert part in str(e), e
        else: raise AssertionError(f'nothing was said of: {part}')
    def within(learn):
        with several(learn): raise AssertionError('begun')
    says('fit within `several(learn)`', lambda: fit(touch('mlb', 4)))
    says('fit within `several(learn)`', lambda: touch_refit(f, v, 'mlb', 6, fit=FIT, **P0))
    says('no folder in which they could meet', lambda: folds(fit=FIT))
    says('training data is', lambda: within(touch_learner(touch_dls(f, (np.arange(rank, 30 + rank), np.arange(31, 45)), v), 'mlb', 6)))
    says('training batch is 4 in process 0 and 5 in process 1', lambda: within(touch('mlb', 4 + rank)))
    says('model is', lambda: within(touch('mlb', 4, n_hidden=16 + rank)))
    one = [(torch.ones(2), torch.ones(1))]
    says('1 rows for 2 processes', lambda: within(Learner(DataLoaders.from_dsets(one, one, bs=1, drop_last=False), nn.Linear(2, 1), nn.MSELoss())))
    says('cannot be shared', lambda: within(Learner(DataLoaders(*[torch.utils.data.DataLoader(one)]*2), nn.Linear(2, 1), nn.MSELoss())))
    says('within `several(learn)`', lambda: quiet(plain(run(4), 23), run(4)))
    learn = touch('mlb', 4)
    def finds():
        with several(learn), learn.no_bar(), learn.no_logging(): learn.lr_find(show_plot=False)
    def twice():
        with several(learn), several(learn): raise AssertionError('begun')
    says('find the rate in one process', finds)
    says('within `several` already', twice)
    with several(learn): fit(learn)                                         # the Learner is as it was
    assert same_in_both(learn)

def steps_together(folder, out):
    for name,n in SHAPES.items():
        learn = plain(run(4), n)
        with several(learn):
            rows = quiet(learn, run(4), folder/name)
            assert same_in_both(learn)
        out |= {f'{name}_{k}': rows[k].to_numpy(float) for k in rows} | {f'{name}_weights': state(learn).numpy()}
        assert learn.dls.train.world == 1

class Draw(Callback):
    "Look at the dice, stop or ask for an end"
    def __init__(self, stop=None, ask=None): self.stop_at, self.ask_at, self.seeds = stop, ask, None
    def before_train(self):
        if not self.seeds: self.seeds = everyones(torch.initial_seed())
    def after_batch(self):
        if self.training and self.step_rates.done == self.ask_at and not main_process(): self.keep_steps.halt = True
        if self.training and self.step_rates.done == self.stop_at: raise KeyboardInterrupt

def steps_go_on(folder):
    "Dropout, BatchNorm, draws: never stopped, and stopped within the second epoch; asked to end in one process"
    def go(where, r=run(4, num_steps=5, save_interval=3), **kw):
        learn, draw = learner(r, n=23), Draw(**kw)
        with several(learn):
            try: rows = quiet(learn, r, folder/where, resume=True, cbs=draw)
            except KeyboardInterrupt: rows = None
            return rows, state(learn), everyones(read_card(folder/where/'state')['state']['done']), draw.seeds
    rows, weights, done, seeds = go('whole_steps')
    assert seeds[1] == seeds[0] + 1 and go('stopped_steps', stop=4)[2] == [3, 3]
    again, same, *_ = go('stopped_steps')
    assert again.equals(rows) and torch.equal(weights, same)
    assert go('asked', run(4, num_steps=9, save_interval=None), ask=3)[2] == [8, 8]                # both end, at the same step

def torchrun(folder, script):
    (folder/'train.py').write_text(script)
    options = ['--nproc_per_node', '2', '--rdzv_backend', 'c10d', '--rdzv_endpoint', 'localhost:0']
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', *options, str(folder/'train.py'), os.path.dirname(__file__), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | dict(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', GLOO_SOCKET_IFNAME='lo'), timeout=240)

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "The folder of the two processes, and what they found"
    folder = tmp_path_factory.mktemp('two')
    if WORDS:
        from test_multimodal import write_data
        write_data(folder)
    done = torchrun(folder, SCRIPT)
    assert done.returncode == 0, done.stderr[-4000:]
    with np.load(folder/'out.npz', allow_pickle=False) as z: return folder, dict(z)

close = partial(np.testing.assert_allclose, rtol=2e-5, atol=2e-6)

@pytest.mark.parametrize('kind', KINDS)
def test_touch(two, tmp_path, kind):
    (folder, out), learn = two, fit(touch(kind, 8), tmp_path)
    for k,v in told(learn).items(): close(out[f'{kind}_{k}'], v, err_msg=k)
    close(out[f'{kind}_preds'], learn.get_preds()[0])
    files = lambda d: sorted(str(p.relative_to(d)) for p in d.rglob('*'))
    assert files(folder/kind) == files(tmp_path)
    for p in tmp_path.glob('said/*.npy'): close(np.load(folder/kind/'said'/p.name), np.load(p))

def test_a_lone_row(two):
    for k,v in told(lone_fit(lone(8))).items(): close(two[1][f'lone_{k}'], v, err_msg=k)

def test_folds(two):
    folder, out = two
    one = folds(fit=FIT)
    close(out['folds'], one)
    np.testing.assert_array_equal(out['spread'], one)
    assert sorted(p.name for p in (folder/'spread').iterdir()) == sorted(p.name for p in (folder/'folds').iterdir()) == ['.folds.lock', *(f'fold_{k}.npz' for k in range(5)), 'folds.json']
    with pytest.raises(FabricError, match="another experiment"): folds(fit=FIT, folder=folder/'folds')

def test_refit(two): close(two[1]['refit'], refit(FIT))

@pytest.mark.parametrize('name', SHAPES)
def test_steps(two, name):
    folder, out = two
    learn = plain(run(8), SHAPES[name])
    rows = quiet(learn, run(8))
    for k in rows: np.testing.assert_allclose(out[f'{name}_{k}'], rows[k], rtol=2e-5, atol=2e-6 if k != 'hit' else 1, err_msg=k)     # metrics are fastai's: averaged by rows, stand-ins and all
    np.testing.assert_allclose(out[f'{name}_weights'], state(learn), atol=2e-6)
    assert sorted(p.name for p in (folder/name).iterdir()) == ['.training.lock', 'best', 'history.csv', 'state', 'step_000002', 'step_000004', 'step_000006']
    assert all(len(t) == 2 for k,t in read_tensors(folder/name/'state'/'model.safetensors').items() if k.endswith('random'))

def test_two_states_are_not_one(two):
    with pytest.raises(CheckpointError, match='run.processes differs: the checkpoint has 2, expected 1'): quiet(plain(run(4), 23), run(4), two[0]/'uneven', resume=True)

@pytest.mark.skipif(not WORDS, reason='without the extra multimodal')
@pytest.mark.parametrize('kind', PAIR)
def test_multimodal(two, kind):
    import test_multimodal as mm
    d = two[0]
    m, other = mm.train(d, f'one_{kind}', **PAIR[kind]), mm.load_multimodal(d/f'two_{kind}')
    a, b = (pd.read_csv(d/f'{n}_{kind}'/'history.csv') for n in ('one', 'two'))
    np.testing.assert_allclose(a[['train_loss', 'valid_loss']], b[['train_loss', 'valid_loss']], atol=1e-5, rtol=1e-5)
    for n,t in mm.state(m).items(): torch.testing.assert_close(other.model.state_dict()[n], t, atol=2e-4, rtol=1e-3)
    assert (d/f'two_{kind}'/'scores.csv').exists() and other.tokens.digest == m.tokens.digest

# ---- a process that dies

class Die(Callback):
    "The second process is killed once, within the third epoch"
    def __init__(self, mark): self.mark = mark
    def after_batch(self):
        if main_process() or self.epoch != 2 or not self.training or self.mark.exists(): return
        self.mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)

def dying(folder):
    for name,cbs in dict(killed=[Die(folder/'died')], whole=[]).items():
        learn = touch('mlb', 4, p=.3)
        with several(learn): fit(learn, folder/name, *cbs)
        if main_process(): np.save(folder/f'{name}.npy', state(learn).numpy())

@pytest.mark.stress
def test_killed_and_started_again(tmp_path):
    "All end with the one that is killed; the same command goes on"
    script = SCRIPT.replace('two_processes', 'dying')
    assert torchrun(tmp_path, script).returncode and (tmp_path/'died').exists()
    assert read_card(tmp_path/'killed'/'state')['state']['done'] == 2 and not (tmp_path/'killed.npy').exists()
    done = torchrun(tmp_path, script)
    assert done.returncode == 0, done.stderr[-3000:]
    np.testing.assert_array_equal(np.load(tmp_path/'killed.npy'), np.load(tmp_path/'whole.npy'))
    assert not [*tmp_path.rglob('.*.tmp*')]

# ---- one process

@pytest.mark.parametrize('rank, world, says', [('2', '2', 'RANK is 2 of WORLD_SIZE 2'), ('-1', '2', 'RANK is -1'), ('a', '2', "RANK is 'a'"), ('0', '0', 'of WORLD_SIZE 0'), ('0', '', "WORLD_SIZE is ''"), ('0', None, 'has RANK and not WORLD_SIZE'), (None, '2', 'has WORLD_SIZE and not RANK')])
def test_a_strange_environment_is_told(monkeypatch, rank, world, says):
    for k,v in dict(RANK=rank, WORLD_SIZE=world).items(): monkeypatch.delenv(k, raising=False) if v is None else monkeypatch.setenv(k, v)
    with pytest.raises(FabricError, match=says): launched()

def test_one_process_changes_nothing(monkeypatch):
    for k in ('RANK', 'WORLD_SIZE'): monkeypatch.delenv(k, raising=False)
    a, b = plain(run(8), 23), plain(run(8), 23)
    with several(a) as learn: quiet(learn, run(8))
    quiet(b, run(8))
    assert torch.equal(state(a), state(b)) and main_process() and not torch.distributed.is_initialized()
    np.testing.assert_array_equal(folds(fit=together(FIT)), folds(fit=FIT))
