"Two processes on the CPU, by torchrun: the same losses and weights as one with the doubled batch, and going on together."
import json, os, subprocess, sys

import numpy as np, pytest, torch
from fabric_touch.checkpoints import CheckpointError, read_tensors
from fabric_touch.core import FabricError
from fabric_touch.processes import launched, main_process, several
from fabric_touch.steps import Run

sys.path.insert(0, os.path.dirname(__file__))
from test_steps import learner, quiet, state

pytestmark = pytest.mark.once

def run(bs, **kw): return Run(**dict(lr=.02, batch_size=bs, accumulation_steps=2, num_steps=7, save_interval=2, lr_scheduler='LinearWarmup', warmup_steps=2, grad_clip=1.) | kw)

SHAPES = dict(uneven=23, empty=17)       # rows: with 4 for each process, the last batch is 4 + 3, 1 + 0

def plain(run, n):
    learn = learner(run, n=n, p=0, draws=False, norm=False)
    learn.dls.loaders[1].bs = 4                   # 9 rows for validation: in two processes the last batch is 1 + 0
    return learn

SCRIPT = '''
import json, sys, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_processes import FabricError, SHAPES, launched, learner, main_process, plain, quiet, run, several, state
from test_steps import Net
from fabric_touch.checkpoints import read_card
from fastai.basics import Callback
from torch import distributed as dist
folder, (rank, world), out = Path(sys.argv[2]), launched(), {}
assert world == 2 and main_process() == (rank == 0)

def everyones(x):
    "A number of each process"
    both = [torch.zeros(1, dtype=torch.float64) for _ in range(2)]
    dist.all_gather(both, torch.tensor([float(x)], dtype=torch.float64))
    return [b.item() for b in both]

for name,n in SHAPES.items():
    learn = plain(run(4), n)
    with several(learn):
        told = quiet(learn, run(4), folder/name)
        assert type(learn.model) is Net
        for p in learn.model.parameters(): assert len({*everyones(p.detach().double().sum())}) == 1
    out[name] = dict(told=told.to_dict('list'), weights=state(learn).tolist())
    assert learn.dls.train.world == 1

try: quiet(plain(run(4), 23), run(4))
except FabricError as e: assert 'within `several(learn)`' in str(e)
else: raise AssertionError('fitted alone beside the other')

# dropout, BatchNorm, draws: never stopped, and stopped
class Draw(Callback):
    "Look at the dice, stop or ask for an end"
    def __init__(self, stop=None, ask=None): self.stop_at, self.ask_at, self.seeds = stop, ask, None
    def before_train(self):
        if not self.seeds: self.seeds = everyones(torch.initial_seed())
    def after_batch(self):
        if self.training and self.step_rates.done == self.ask_at and rank == 1: self.keep_steps.halt = True
        if self.training and self.step_rates.done == self.stop_at: raise KeyboardInterrupt
def together(where, r=run(4, num_steps=5, save_interval=3), **kw):
    learn, draw = learner(r, n=23), Draw(**kw)
    with several(learn):
        try: told = quiet(learn, r, folder/where, resume=True, cbs=draw)
        except KeyboardInterrupt: told = None
        return told, state(learn) if rank == 0 else None, everyones(read_card(folder/where/'state')['state']['done']), draw.seeds
told, weights, done, seeds = together('whole')
assert seeds[1] == seeds[0] + 1, seeds
assert together('stopped', stop=4)[2] == [3, 3]                   # within the second epoch
again, same, *_ = together('stopped')
assert rank or again.equals(told) and torch.equal(weights, same)

# one process is asked to end: both end, at the same step
assert together('asked', run(4, num_steps=9, save_interval=None), ask=3)[2] == [8, 8]
if rank == 0: (folder/'out.json').write_text(json.dumps(out))
'''

@pytest.fixture(scope='module')
def two(tmp_path_factory):
    "The folder of the two processes, and what they told"
    folder = tmp_path_factory.mktemp('two')
    (folder/'train.py').write_text(SCRIPT)
    command = [sys.executable, '-W', 'ignore', '-m', 'torch.distributed.run', '--nproc_per_node', '2', '--rdzv_backend', 'c10d', '--rdzv_endpoint', 'localhost:0', str(folder/'train.py'), os.path.dirname(__file__), str(folder)]
    env = os.environ | dict(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', GLOO_SOCKET_IFNAME='lo')
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder, json.loads((folder/'out.json').read_text())

@pytest.mark.parametrize('name', SHAPES)
def test_two_are_one(two, name):
    folder, out = two
    learn = plain(run(8), SHAPES[name])
    told = quiet(learn, run(8))
    for k in told: np.testing.assert_allclose(out[name]['told'][k], told[k], rtol=1e-6, atol=1e-6 if k != 'hit' else 1)     # metrics are fastai's: averaged by rows, stand-ins and all
    np.testing.assert_allclose(out[name]['weights'], state(learn), atol=1e-6)
    assert sorted(p.name for p in (folder/name).iterdir()) == ['best', 'history.csv', 'state', 'step_000002', 'step_000004', 'step_000006']
    assert all(len(t) == 2 for k,t in read_tensors(folder/name/'state'/'model.safetensors').items() if k.endswith('random'))

def test_two_states_are_not_one(two):
    with pytest.raises(CheckpointError, match='run.processes differs: the checkpoint has 2, expected 1'): quiet(plain(run(4), 23), run(4), two[0]/'uneven', resume=True)

# ---- one process

@pytest.mark.parametrize('rank, world, says', [('2', '2', 'RANK is 2 of WORLD_SIZE 2'), ('-1', '2', 'RANK is -1'), ('a', '2', "RANK is 'a'"), ('0', '0', 'of WORLD_SIZE 0'), ('0', '', "WORLD_SIZE is ''")])
def test_a_strange_environment_is_told(monkeypatch, rank, world, says):
    monkeypatch.setenv('RANK', rank); monkeypatch.setenv('WORLD_SIZE', world)
    with pytest.raises(FabricError, match=says): launched()

def test_one_process_changes_nothing(monkeypatch):
    monkeypatch.delenv('RANK', raising=False); monkeypatch.delenv('WORLD_SIZE', raising=False)
    a, b = plain(run(8), 23), plain(run(8), 23)
    with several(a) as learn: quiet(learn, run(8))
    quiet(b, run(8))
    assert torch.equal(state(a), state(b)) and main_process() and not torch.distributed.is_initialized()
