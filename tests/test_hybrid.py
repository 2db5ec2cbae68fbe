"The hybrid classifier as a user, an attacker and a statistician meet it: trained from folders, stopped and gone on with, evaluated honestly, sorted without loss, old checkpoints read without running them."
import csv, inspect, json, os, pickle, random, re, shutil, signal, subprocess, sys, time
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np, open_clip, pandas as pd, pytest, torch
from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, ImageDataLoaders, MultiCategoryBlock, Normalize, PILImageBW, RegressionBlock, Resize, get_image_files, imagenet_stats, parent_label
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss
from torch import nn
from torchvision.transforms.functional import normalize

from conftest import DRIVER
from fabric_touch import filing, hybrid
from fabric_touch.checkpoints import CheckpointError, read_card, read_weights, save_checkpoint
from fabric_touch.cli import ft_evaluate, ft_sort, ft_train
from fabric_touch.core import FabricError, seeded
from fabric_touch.encoders import CLIP_MEAN, CLIP_STD, ImageEncoder, image_encoder, last_blocks
from fabric_touch.folders import make_folders, read_folders
from fabric_touch.hybrid import (HybridHead, HybridModel, PhotoView, TrainOptions, class_probs, evaluate, hybrid_dls, hybrid_learner, load_hybrid, photo_dls, read_hybrid, save_hybrid,
                                 sort_images, thaw, train)
from fabric_touch.zeroshot import class_vectors, zero_shot

posix = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX')
BIN, OWN = Path(sys.executable).parent, (filing.JOURNAL, filing.ABOUT, '.sorting.lock')
VISION = dict(image_size=32, patch_size=8, width=64, layers=2, heads=4)
CLASSES = ('knit', 'pile', 'woven')

pytestmark = pytest.mark.usefixtures('one_thread')

@pytest.fixture(scope='module')
def room(tmp_path_factory): return tmp_path_factory.mktemp('hybrid')

@pytest.fixture(scope='module')
def folder(room):
    make_folders(room/'cloth', n=14, seed=0, copies=2)
    return room/'cloth'

@pytest.fixture(scope='module')
def quick(room): return dict(mode='mobilenet', mobilenet='swatch', epochs=4, store=str(room/'vectors'))

@pytest.fixture(scope='module')
def done(room, folder, quick): return train(folder, output_dir=str(room/'done'), **quick)

@pytest.fixture(scope='module')
def tuned(room, folder, quick): return train(folder, output_dir=str(room/'tuned'), fine_tune=True, ft_epochs=2, **quick)

@pytest.fixture(scope='module')
def clip():
    "A whole CLIP, small"
    model = open_clip.CLIP(16, dict(image_size=32, patch_size=8, width=64, layers=2, head_width=16), dict(width=128, heads=2, layers=2), quick_gelu=True)
    gen = torch.Generator().manual_seed(0)
    for n, p in model.named_parameters(): p.data = (p.ndim == 1 and n.endswith('weight')) + torch.randn(p.shape, generator=gen)*(.3 if p.ndim < 2 else p[0].numel()**-.5)
    return model.eval().requires_grad_(False)

def small_clip(clip): return image_encoder('clip', clip.state_dict(), vision=VISION, n_out=16)

@pytest.fixture(scope='module')
def both(clip): return dict(mobilenet=image_encoder('swatch'), clip=small_clip(clip))

@pytest.fixture(scope='module')
def data(room, folder, both): return read_hybrid(folder, both, room/'vectors')

def quiet(learn, *args):
    with learn.no_bar(), learn.no_logging(): learn.fit(*args)
    return learn

def states(out, mode='mobilenet'): return {n: load_hybrid(Path(out)/f'checkpoint_{mode}_{n}').state_dict() for n in ('best', 'last')}
def same(a, b): return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
def listing(p): return sorted(str(q.relative_to(p)) for q in Path(p).rglob('*')) if Path(p).exists() else []
def tree(p): return {str(q.relative_to(p)): q.read_bytes() for q in Path(p).rglob('*') if q.is_file() and not (q.parent == Path(p) and q.name in OWN)}
def rows(out): return list(csv.DictReader(open(Path(out)/filing.JOURNAL, encoding='utf-8', newline='')))

def refused(f, *args, **kwargs):
    with pytest.raises(FabricError) as e: f(*args, **kwargs)
    return str(e.value)

# ---- the commands

STATED = dict(ft_train=dict(data_dir=None, epochs=10, batch_size=32, lr=.001, mode='hybrid', output_dir='checkpoints', max_samples=None, patience=5, fine_tune=False, ft_lr=1e-4, ft_epochs=5, resume=False, views=0),
              ft_evaluate=dict(data_dir=None, checkpoint=None, batch_size=32, all=False),
              ft_sort=dict(input_dir=None, output_dir=None, checkpoint=None, threshold=0., others_dir='others', move=False, link=False, dry_run=False))

@pytest.mark.parametrize('command', [ft_train, ft_evaluate, ft_sort], ids=lambda c: c.__name__)
def test_options_have_their_names_and_defaults(command):
    given = {k: p.default for k, p in inspect.signature(command).parameters.items()}
    for k, v in STATED[command.__name__].items(): assert k in given and given[k] == v, (k, given.get(k))
    p = subprocess.run([BIN/command.__name__, '--help'], capture_output=True, text=True, timeout=100, env=dict(os.environ, COLUMNS='200'))
    assert p.returncode == 0
    for k in given: assert re.search(rf'^ *--{k}\b', p.stdout, re.M), k
    for k, v in given.items(): assert v is None or v is False or f'(default: {v})' in ' '.join(p.stdout.split()), k

def run(*args, **kwargs): return subprocess.run([BIN/args[0], *map(str, args[1:])], capture_output=True, text=True, timeout=200, env=dict(os.environ, OMP_NUM_THREADS='1'), **kwargs)

@pytest.mark.once
def test_a_hyphen_is_an_underscore(tmp_path):
    p = run('ft_sort', '--input-dir', tmp_path/'no-such_place', f'--output-dir={tmp_path/"a-b"}', '--checkpoint', tmp_path/'none')
    assert p.returncode == 1 and p.stderr.startswith(f'ft_sort: {tmp_path/"none"}'), p.stderr

@pytest.mark.once
def test_ft_train_as_a_process(room, folder, done, quick):
    p = run('ft_train', '--data_dir', folder, '--mode', 'mobilenet', '--mobilenet', 'swatch', '--epochs', '4', '--store', room/'vectors', '--output_dir', room/'process')
    assert p.returncode == 0, p.stderr
    assert 'near-duplicates' in p.stdout and 'most_frequent' in p.stdout and 'validation part of' in p.stdout and 'checkpoint_mobilenet_best' in p.stdout
    assert sorted(q.name for q in (room/'process').iterdir()) == ['.training.lock', 'checkpoint_mobilenet_best', 'checkpoint_mobilenet_last', 'config_mobilenet.json', 'history.csv', 'history.png', 'left_out.csv', 'validation.csv']
    for a, b in zip(states(room/'process').values(), states(room/'done').values()): assert same(a, b)         # another process, the same result
    for f in ('history.csv', 'validation.csv'): assert (room/'process'/f).read_bytes() == (room/'done'/f).read_bytes()


def commands(place, folder, done, room):
    "name -> (command line, exit code, words)"
    t = ['ft_train', '--data_dir', folder, '--mode', 'mobilenet', '--mobilenet', 'swatch', '--store', room/'vectors', '--output_dir', place/'out_train']
    e = ['ft_evaluate', '--data_dir', folder, '--checkpoint', done.checkpoint, '--store', room/'vectors', '--output_dir', place/'out_eval']
    s = ['ft_sort', '--input_dir', folder, '--checkpoint', done.checkpoint, '--output_dir', place/'out_sort']
    for c in 'ab':
        for i in range(3): (place/'bad'/c).mkdir(parents=True, exist_ok=True); (place/'bad'/c/f'{i}.jpg').write_bytes(b'x')
    shutil.copytree(folder, place/'half'); (place/'half'/'lace').mkdir(); (place/'half'/'lace'/'a.jpg').write_bytes(b'x')
    shutil.copytree(folder/'knit', place/'one'/'knit')
    shutil.copytree(folder, place/'hollow'); (place/'hollow'/'lace').mkdir()
    shutil.copytree(folder, place/'more'); shutil.copytree(folder/'knit', place/'more'/'lace')
    (place/'file').write_text('x')
    no = {'bad epochs': (t + ['--epochs', 0], 'epochs is 0'), 'bad lr': (t + ['--lr', 'nan'], 'lr is nan'), 'bad mode': (t + ['--mode', 'both'], 'hybrid, mobilenet, clip'), 'batch of 1': (t + ['--batch_size', 1], 'batch_size is 1'),
          'bad encoder': (t + ['--mobilenet', 'nope'], "unknown encoder 'nope'"), 'lost weights': (t + ['--mobilenet_weights', 'no.pth'], 'no.pth'), 'lost folder': (t + ['--data_dir', 'nowhere'], 'no such folder'),
          'seed': (t + ['--seed', 2**70], 'seed is'), 'views': (t + ['--views', 101], 'views is 101'), 'one class': (t + ['--data_dir', place/'one'], 'at least two'), 'empty class': (t + ['--data_dir', place/'hollow'], "no photo in 'lace'"),
          'class of wrecks': (t + ['--data_dir', place/'half'], "no photo of 'lace' can be read"), 'nothing readable': (t + ['--data_dir', place/'bad'], 'can be read'), 'out is a file': (t + ['--output_dir', place/'file'/'a'], 'cannot be written'),
          'out in data': (t + ['--output_dir', folder/'checkpoints'], 'every folder is a class'), 'lost checkpoint': (e + ['--checkpoint', 'nowhere'], 'nowhere'), 'class unseen in training': (e + ['--data_dir', place/'more'], "'lace'"),
          'report in data': (e + ['--output_dir', folder/'evaluation'], 'every folder is a class'), 'evaluate 0': (e + ['--batch_size', 0], '0'), 'threshold': (s + ['--threshold', '1.5'], 'threshold is 1.5'),
          'sort batch 0': (s + ['--batch_size', 0], 'batch size is 0'), 'sort batch -1': (s + ['--batch_size', -1], 'batch size is -1'), 'others up': (s + ['--others_dir', '../x'], '../x'), 'others is a class': (s + ['--others_dir', 'knit'], 'knit'),
          'move and link': (s + ['--move', '--link'], 'choose one'), 'lost input': (s + ['--input_dir', 'nowhere'], 'no such folder'), 'long checkpoint': (s + ['--checkpoint', 'x'*5000], 'xxx')}
    yes = {'evaluate': (e, f'{len(done.data.fold[1])} photos are scored'), 'evaluate all': (e + ['--all'], 'these scores flatter'), 'dry': (s + ['--dry_run'], 'dry_run'), 'sort': (s + ['--threshold', '.5', '--others_dir', 'rest'], 'copied'),
           'again': (s + ['--threshold', '.5', '--others_dir', 'rest'], 'copied')}
    return {k: (c, 1, w) for k, (c, w) in no.items()} | {k: (c, 0, w) for k, (c, w) in yes.items()} | {'missing': (['ft_sort', '--input_dir', folder], 2, '--output_dir, --checkpoint'), 'no int': (t + ['--epochs', 'x'], 2, 'epochs')}

@pytest.fixture(scope='module')
def ran(room, folder, done):
    "name -> (exit code, words, stdout, stderr), what stood there before the commands that end well, and the place"
    place = room/'place'; place.mkdir()
    table = commands(place, folder, done, room)
    line = lambda c: [str(BIN/c[0]), *map(str, c[1:])]
    def go(names):
        p = subprocess.run([sys.executable, '-W', 'ignore', '-c', DRIVER], input=json.dumps([line(table[n][0]) for n in names]), capture_output=True, text=True, cwd=place, timeout=300, env=dict(os.environ, OMP_NUM_THREADS='1'))
        assert p.returncode == 0, p.stderr
        return dict(zip(names, json.loads(p.stdout.splitlines()[-1])))
    before = listing(room)
    found = go([n for n in table if table[n][1]] + ['dry'])
    left = sorted({*listing(room)} - {*before})
    found |= go([n for n in table if not table[n][1] and n != 'dry'])
    return table, found, left, place

def test_what_is_refused_is_one_line(ran):
    table, found, left, _ = ran
    for name, (_, code, words) in table.items():
        rc, out, err = found[name]
        assert rc == code and 'Traceback' not in err and words in (err if code else out), (name, rc, out[-500:], err[-500:])
        if code == 1: assert len([l for l in err.splitlines() if l.startswith('ft_')]) == 1 and err.rstrip().splitlines()[-1].startswith('ft_') and len(err.rstrip().splitlines()[-1]) < 1000, (name, err)
    assert left == []                                                                                       # and a dry run writes nothing

def test_what_the_commands_leave(ran, folder, done):
    _, found, _, place = ran
    assert {'report.txt', 'report.csv', 'scores.csv', 'predictions.csv', 'confusion.png', 'reliability.png', 'mistakes.png'} <= {p.name for p in (place/'out_eval').iterdir()}
    assert sorted(tree(place/'out_sort').values()) == sorted(p.read_bytes() for p in folder.rglob('*.jpg')) and found['sort'][1] == found['again'][1]
    assert {p.name for p in (place/'out_sort').iterdir() if p.is_dir()} <= {*CLASSES, 'rest'}
    for r in rows(place/'out_sort'): assert (float(r['probability']) < .5) == (r['folder'] == 'rest')

# ---- split

def test_near_duplicates_are_on_one_side(done):
    data = done.data
    assert not {*data.groups[data.fold[0]]} & {*data.groups[data.fold[1]]} and len({*data.groups}) < len(data)
    assert sorted(np.concatenate(data.fold)) == list(range(len(data)))
    counts = np.bincount(data.table.targets()[data.fold[1]], minlength=3)
    assert (abs(counts - .2*data.table.counts().to_numpy()) <= 1.5).all()

def test_the_split_stands_in_files(done, room):
    valid = pd.read_csv(room/'done'/'validation.csv')
    want = done.data.table.items.iloc[done.data.fold[1]]
    assert list(valid.image) == list(want.image) and list(valid.label) == list(want.label) and valid.digest.str.len().eq(32).all()
    card = read_card(done.checkpoint)
    assert card['split']['n_valid'] == len(valid) and sum(card['split']['per_class']) == card['split']['n_train'] == len(done.data.fold[0]) and card['classes'] == [*CLASSES]
    for k in ('mode', 'encoders', 'scores', 'options', 'valid_loss', 'accuracy', 'epoch'): assert k in card

def test_the_split_is_of_the_photos_not_of_their_dates(tmp_path, folder, done, quick):
    shutil.copytree(folder, tmp_path/'copy')
    for i, p in enumerate(sorted((tmp_path/'copy').rglob('*.jpg'))): os.utime(p, (i, i))
    again = read_hybrid(tmp_path/'copy', done.model.encoders, quick['store'])
    assert all((a == b).all() for a, b in zip(again.fold, done.data.fold))
    other = read_hybrid(tmp_path/'copy', done.model.encoders, quick['store'], seed=1)
    assert not np.array_equal(other.fold[1], done.data.fold[1])

def test_max_samples(room, folder, quick):
    t = train(folder, output_dir=str(room/'few'), max_samples=6, **quick)
    assert t.data.table.counts().tolist() == [6, 6, 6]
    said = evaluate(folder, t.checkpoint, output_dir=room/'few_report', store=quick['store'])
    assert said.scores.n.iloc[0] == len(read_folders(folder)) - len(t.data.fold[0])

# ---- frozen means run once

@pytest.fixture
def counted(monkeypatch):
    n = dict(stored=0, live=0)
    plain, features = PhotoView.forward, HybridModel.features
    def forward(self, x): n['stored'] += len(x); return plain(self, x)
    def live(self, *x): n['live'] += 1; return features(self, *x)
    monkeypatch.setattr(PhotoView, 'forward', forward); monkeypatch.setattr(HybridModel, 'features', live)
    return n

def test_backbones_run_once(tmp_path, folder, quick, counted):
    how = quick | dict(store=str(tmp_path/'vectors'), epochs=3)
    n = len(read_folders(folder))
    train(folder, output_dir=str(tmp_path/'a'), **how)
    assert counted == dict(stored=n, live=0)
    train(folder, output_dir=str(tmp_path/'b'), **how | dict(epochs=6, lr=.01))
    assert counted == dict(stored=n, live=0)
    train(folder, output_dir=str(tmp_path/'c'), views=2, **how)
    assert counted == dict(stored=3*n, live=0)
    v = train(folder, output_dir=str(tmp_path/'d'), views=2, **how | dict(store=str(tmp_path/'fresh')))
    assert same(states(tmp_path/'c')['best'], states(tmp_path/'d')['best'])
    dls = hybrid_dls(v.data, 8)
    assert len(dls.train_ds) == 3*len(v.data.fold[0]) and len(dls.valid_ds) == len(v.data.fold[1])
    assert not torch.equal(v.data.vectors[1], v.data.vectors[0]) and not torch.equal(v.data.vectors[1], v.data.vectors[2])

def test_frozen_parts_do_not_move(done, tuned):
    fresh = image_encoder('swatch')
    for out in (done.checkpoint, done.checkpoint.with_name('checkpoint_mobilenet_last')): assert same(load_hybrid(out).encoders['mobilenet'].state_dict(), fresh.state_dict())
    thawed = {id(p) for p in last_blocks(fresh, 2)}
    may, before = {n for n, p in fresh.named_parameters() if id(p) in thawed}, fresh.state_dict()
    for s in states(tuned.checkpoint.parent).values():
        moved = {k for k in before if not torch.equal(before[k], s[f'encoders.mobilenet.{k}'])}
        assert moved and moved <= may and not any('running' in k for k in moved)

@pytest.mark.parametrize('mode', ['mobilenet', 'hybrid'])
def test_fine_tuning_starts_from_the_best_head(mode, folder, quick, both, tmp_path, monkeypatch):
    seen, quick = {}, quick | dict(mode=mode)
    monkeypatch.setattr(TrainOptions, 'backbones', lambda self: {k: deepcopy(both)[k] for k in hybrid.MODES[self.mode]})
    plain = hybrid._fine_tune
    def look(model, data, o, state):
        with torch.no_grad(): seen['start'] = hybrid._learner(photo_dls(data, dict(model.encoders.items())), model).validate()[0]
        return plain(model, data, o, state)
    monkeypatch.setattr(hybrid, '_fine_tune', look)
    t = train(folder, output_dir=str(tmp_path/'a'), fine_tune=True, ft_epochs=2, ft_lr=3., clip_weights='random', **quick)         # far too high: the head's best stays
    head = t.history[t.history.step == 'head'].valid_loss.min()
    assert abs(seen['start'] - head) < 1e-3 and list(t.history.step) == ['head']*4 + ['fine_tune']*2
    valid = t.data.fold[1]
    y, p = t.data.table.targets()[valid], class_probs(load_hybrid(t.checkpoint), list(t.data.table.items.image.iloc[valid]))
    assert abs(-np.log(p[np.arange(len(y)), y]).mean() - head) < 1e-3 and read_card(t.checkpoint)['epoch'] <= 4

def test_runs_are_equal(folder, quick, tuned, tmp_path, monkeypatch):
    "With other stores, an empty one too, and with other numbers of threads"
    plain = hybrid.embed_all
    for n, store in ((0, 'new'), (1, 'newer')):
        monkeypatch.setattr(hybrid, 'embed_all', partial(plain, n_workers=n))
        t = train(folder, output_dir=str(tmp_path/f'out{n}'), fine_tune=True, ft_epochs=2, **quick | dict(store=str(tmp_path/store)))
        for a, b in zip(states(tmp_path/f'out{n}').values(), states(tuned.checkpoint.parent).values()): assert same(a, b)
        for f in ('history.csv', 'validation.csv'): assert (tmp_path/f'out{n}'/f).read_bytes() == (tuned.checkpoint.parent/f).read_bytes()

# ---- stopped and gone on with; at any moment: test_unplugged

def killed(f, at):
    "Run f in a child that is killed at the n-th time that something is put in place; whether it was"
    pid = os.fork()
    if not pid:
        try:
            count = iter(range(at, -1, -1))
            def deadly(call):
                def inner(*args, **kwargs):
                    if not next(count, 1): os.kill(os.getpid(), signal.SIGKILL)
                    return call(*args, **kwargs)
                return inner
            os.replace, os.fsync = deadly(os.replace), deadly(os.fsync)
            sys.stdout = sys.stderr = open(os.devnull, 'w')
            f()
            os._exit(0)
        except BaseException: os._exit(1)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
    return os.WIFSIGNALED(status)

@posix
@pytest.mark.stress
@pytest.mark.parametrize('seed', range(3))
def test_the_command_killed(folder, tuned, room, tmp_path, seed):
    line = ['ft_train', '--data_dir', folder, '--mode', 'mobilenet', '--mobilenet', 'swatch', '--epochs', '4', '--fine_tune', '--ft_epochs', '2', '--store', room/'vectors', '--output_dir', tmp_path/'out']
    p = subprocess.Popen([BIN/line[0], *map(str, line[1:])], stdout=subprocess.PIPE, text=True, env=dict(os.environ, OMP_NUM_THREADS='1'))
    for text in p.stdout:
        if text.startswith(('head epoch 2', 'head epoch 4', 'fine_tune epoch 1')[seed]): break
    p.kill(); p.wait()
    assert run(*line, '--resume').returncode == 0
    for a, b in zip(states(tmp_path/'out').values(), states(tuned.checkpoint.parent).values()): assert same(a, b)

@posix
def test_what_is_not_gone_on_with(folder, quick, done, tmp_path, monkeypatch):
    # `done` has stored the vectors, so that moves are those of training alone
    shutil.copytree(folder, tmp_path/'cloth')
    go = partial(train, tmp_path/'cloth', output_dir=str(tmp_path/'out'), **quick)
    assert killed(go, at=9)
    before = tree(tmp_path/'out')
    assert 'epochs 4 there and 5 now' in refused(train, tmp_path/'cloth', output_dir=str(tmp_path/'out'), resume=True, **quick | dict(epochs=5))
    assert 'seed 0 there and 1 now' in refused(go, resume=True, seed=1)
    p = tmp_path/'cloth'/'knit'/'0003.jpg'
    kept = p.read_bytes()
    Image.open(p).rotate(90).save(p, quality=95)                                                             # another photo under the old name
    assert 'photos' in refused(go, resume=True)
    p.write_bytes(kept)
    monkeypatch.setattr(TrainOptions, 'backbones', lambda self: dict(mobilenet=image_encoder('swatch', False)))  # other weights under the old name
    assert 'photos' in refused(go, resume=True)
    monkeypatch.undo()
    assert {k: v for k, v in tree(tmp_path/'out').items() if 'config' not in k} == {k: v for k, v in before.items() if 'config' not in k}
    t = go(resume=True)
    assert same(states(tmp_path/'out')['best'], states(Path(train(tmp_path/'cloth', output_dir=str(tmp_path/'whole'), **quick).checkpoint).parent)['best'])
    assert same(go(resume=True).model.state_dict(), t.model.state_dict())                                    # of one that was finished: the same again

def test_a_refused_training_spoils_nothing(folder, done, quick, tmp_path):
    shutil.copytree(done.checkpoint.parent, tmp_path/'out')
    (tmp_path/'out'/'.training_mobilenet').mkdir()
    before = listing(tmp_path/'out'), tree(tmp_path/'out')
    for how in (dict(mobilenet='nope'), dict(mobilenet_weights='lost.pth'), dict(epochs=0), dict(views=200)): refused(train, folder, output_dir=str(tmp_path/'out'), **quick | how)
    assert (listing(tmp_path/'out'), tree(tmp_path/'out')) == before

def test_two_modes_in_one_folder(room, folder, quick, both, monkeypatch, tmp_path):
    monkeypatch.setattr(TrainOptions, 'backbones', lambda self: {k: both[k] for k in hybrid.MODES[self.mode]})
    for mode in ('mobilenet', 'clip'): train(folder, output_dir=str(tmp_path/'out'), **quick | dict(mode=mode))
    assert {'checkpoint_mobilenet_best', 'checkpoint_clip_best', 'config_mobilenet.json', 'config_clip.json'} <= {*os.listdir(tmp_path/'out')}
    for mode in ('mobilenet', 'clip'): assert load_hybrid(tmp_path/'out'/f'checkpoint_{mode}_best', mode=mode).mode == mode
    assert 'mode differs' in refused(load_hybrid, tmp_path/'out'/'checkpoint_clip_best', mode='hybrid')

def test_each_backbone_gets_photos_prepared_for_it(data, both):
    dls = photo_dls(data, both, 8)
    files = data.table.items.image.iloc[data.fold[1]]
    for k, e in enumerate(both.values()):
        x = torch.stack([dls.valid_ds[i][k] if isinstance(dls.valid_ds[i][k], torch.Tensor) else e.prepare(dls.valid_ds[i][k]) for i in range(len(files))])
        assert x.shape[1:] == (3, e.size, e.size) and dls.one_batch()[k].shape[1:] == (3, e.size, e.size)
    with torch.no_grad(): got = torch.cat([HybridModel(both, CLASSES).features(*(x.cpu() for x in b[:-1])) for b in dls.valid])
    assert (got - data.vectors[0, data.fold[1]]).abs().max() < 1e-4

# ---- evaluation

def test_the_report_is_scikit_learns(folder, done, quick, tmp_path):
    ev = evaluate(folder, done.checkpoint, output_dir=tmp_path/'report', store=quick['store'])
    d = pd.read_csv(tmp_path/'report'/'predictions.csv')
    p = d[[f'p {c}' for c in CLASSES]].to_numpy()
    want = dict(accuracy=accuracy_score(d.true, d.predicted), balanced_accuracy=balanced_accuracy_score(d.true, d.predicted), macro_f1=f1_score(d.true, d.predicted, average='macro', labels=CLASSES, zero_division=0),
                log_loss=log_loss(d.true, p/p.sum(1, keepdims=True), labels=CLASSES))
    got = ev.scores.set_index(['model', 'metric']).value
    for k, v in want.items(): assert abs(got['mobilenet', k] - v) < 2e-4, k
    train_y = done.data.table.targets()[done.data.fold[0]]
    rate, y = np.bincount(train_y)/len(train_y), np.array([CLASSES.index(c) for c in d.true])
    assert abs(got['base_rate', 'log_loss'] + np.log(rate[y]).mean()) < 1e-6 and abs(got['most_frequent', 'accuracy'] - (y == rate.argmax()).mean()) < 1e-6
    assert 'zero-shot' not in got.index.get_level_values(0)
    assert {*d.file} == {*pd.read_csv(done.checkpoint.parent/'validation.csv').image}
    saved = pd.read_csv(tmp_path/'report'/'scores.csv')
    assert np.allclose(saved.value, ev.scores.value, atol=1e-4) and (tmp_path/'report'/'report.txt').read_text().strip() == ev.text.strip()
    assert 'its best epoch was chosen by' in ev.text and f'{len(done.data.fold[0])} that the model was trained on are left out' in ev.text       # what the scores rest on

def test_photos_are_known_wherever_they_lie(folder, done, quick, tmp_path):
    for i, p in enumerate(sorted(folder.rglob('*.jpg'))):
        q = tmp_path/'moved'/p.parent.name/f'deep{i % 2}'/f'größe {i}.JPEG'
        q.parent.mkdir(parents=True, exist_ok=True); shutil.copy(p, q)
    shutil.rmtree(tmp_path/'moved'/'pile')                                                                     # fewer classes than the model has
    ev = evaluate(tmp_path/'moved', done.checkpoint, output_dir=tmp_path/'report', store=quick['store'])
    assert ev.scores.n.iloc[0] == sum(done.data.table.items.label.iloc[i] != 'pile' for i in done.data.fold[1])
    every = evaluate(folder, done.checkpoint, output_dir=tmp_path/'report', store=quick['store'], all=True)
    assert every.scores.n.iloc[0] == len(done.data) and 'these scores flatter' in every.text
    copies = tmp_path/'copies'                                                                                 # of training photos, saved anew and smaller: no digest knows them
    for i in done.data.fold[0]:
        p = Path(done.data.table.items.image.iloc[i])
        (copies/p.parent.name).mkdir(parents=True, exist_ok=True); Image.open(p).resize((80, 80)).save(copies/p.parent.name/f'{p.stem}.png')
    (copies/'knit'/'wreck.jpg').write_bytes(b'x')
    like = evaluate(copies, done.checkpoint, output_dir=tmp_path/'report', store=quick['store'])
    assert f'{len(done.data.fold[0])} photos are scored' in like.text and f'{len(done.data.fold[0])} of the scored ones are nearly the same as one it was trained on; 1 files left out' in like.text
    only = tmp_path/'only'
    for i in done.data.fold[0]:
        p = Path(done.data.table.items.image.iloc[i])
        (only/p.parent.name).mkdir(parents=True, exist_ok=True); shutil.copy(p, only/p.parent.name/p.name)
    assert 'none is left to score' in refused(evaluate, only, done.checkpoint, output_dir=tmp_path/'none', store=quick['store'])
    assert not (tmp_path/'none').exists()

def test_zero_shot(room, folder, clip, both, quick, tmp_path, monkeypatch):
    "The row of a training with a whole CLIP is what is had by hand; of random weights and of a tuned CLIP there is none"
    save_file({k: v.contiguous() for k, v in clip.state_dict().items()}, tmp_path/'clip.safetensors')
    monkeypatch.setattr(TrainOptions, 'backbones', lambda self: {k: deepcopy(both)[k] for k in hybrid.MODES[self.mode]})
    by_hand = class_vectors(CLASSES, clip.state_dict())
    for mode in ('clip', 'hybrid'):
        t = train(folder, output_dir=str(tmp_path/mode), clip_weights=str(tmp_path/'clip.safetensors'), **quick | dict(mode=mode))
        valid = t.data.fold[1]
        want = np.asarray(zero_shot(t.data.vectors[0, valid, -16:], by_hand))
        y = t.data.table.targets()[valid]
        ev = evaluate(folder, t.checkpoint, output_dir=tmp_path/'report', store=quick['store'])
        for scores in (t.scores, ev.scores):
            got = scores.set_index(['model', 'metric']).value
            assert got['zero-shot', 'accuracy'] == pytest.approx((want.argmax(1) == y).mean()) and got['zero-shot', 'log_loss'] == pytest.approx(-np.log(want[np.arange(len(y)), y]).mean(), abs=1e-4)
        assert load_hybrid(tmp_path/mode/f'checkpoint_{mode}_last').words.shape == (3, 16)
    random_one = train(folder, output_dir=str(tmp_path/'random'), clip_weights='random', **quick | dict(mode='clip'))
    tuned = train(folder, output_dir=str(tmp_path/'tuned'), clip_weights=str(tmp_path/'clip.safetensors'), fine_tune=True, ft_epochs=1, **quick | dict(mode='clip', batch_size=16))
    assert 'zero-shot' not in {*random_one.scores.model} and 'zero-shot' in {*tuned.scores.model}
    ev = evaluate(folder, tuned.checkpoint, output_dir=tmp_path/'report', store=quick['store'])
    assert 'zero-shot' not in {*ev.scores.model}

# ---- sorting

@pytest.fixture
def mixed(folder, tmp_path):
    "Photos with awkward names in nested folders, wrecks and other files"
    src = tmp_path/'mixed'; (src/'a'/'b').mkdir(parents=True); (src/'leer').mkdir()
    photos = sorted(folder.rglob('*.jpg'))[::6]
    names = ['x.jpg', 'a/x.jpg', 'a/b/x.jpg', 'a/b/größe 布 🧵.JPG', 'a/' + 'é'*125 + 'x.jpg', 'new\nline.jpg', '-rf.jpg', '=1+1.jpg']
    for p, n in zip(photos, names): shutil.copy(p, src/n)
    (src/'note.txt').write_text('words'); (src/'cut.jpg').write_bytes(photos[0].read_bytes()[:400]); (src/'empty.png').write_bytes(b'')
    return src

def test_sorting(mixed, done, tmp_path, counted):
    before, out = tree(mixed), tmp_path/'out'
    dry = sort_images(mixed, out, done.checkpoint, dry_run=True)
    assert not out.exists() and len(dry.summary()['folders']) and tree(mixed) == before
    counted['stored'] = 0
    sort_images(mixed, out, done.checkpoint)
    assert counted['stored'] == 8 and tree(mixed) == before
    placed = tree(out)
    assert sorted(placed.values()) == sorted(v for k, v in before.items() if not k.endswith(('.txt', 'cut.jpg', 'empty.png'))) and {k.split('/')[0] for k in placed} <= {*CLASSES}
    found = {r['file']: r for r in rows(out)}
    assert len(found) == len(before) == len(rows(out))
    for name, why in (('note.txt', 'no photo'), ('cut.jpg', 'cannot be read'), ('empty.png', 'empty')): assert why in found[str(mixed/name)]['why'] and found[str(mixed/name)]['done'] == 'left'
    p = class_probs(done.model, [mixed/'x.jpg'])[0]
    assert found[str(mixed/'x.jpg')]['predicted'] == CLASSES[p.argmax()] == found[str(mixed/'x.jpg')]['folder'] and float(found[str(mixed/'x.jpg')]['probability']) == pytest.approx(p.max(), abs=1e-3)
    counted['stored'] = 0
    sort_images(mixed, out, done.checkpoint)
    assert counted['stored'] == 0 and tree(out) == placed and len(rows(out)) == len(before)
    assert 'was sorted otherwise' in refused(sort_images, mixed, out, done.checkpoint, threshold=.9)

def test_sorting_with_a_threshold(mixed, done, tmp_path):
    sort_images(mixed, tmp_path/'out', done.checkpoint, threshold=1., others_dir='неясно')
    assert {k.split('/')[0] for k in tree(tmp_path/'out')} == {'неясно'}
    assert {r['predicted'] for r in rows(tmp_path/'out')} <= {*CLASSES, ''}

@pytest.mark.parametrize('how', ['move', 'link'])
def test_sorting_otherwise(mixed, done, tmp_path, how):
    before = tree(mixed)
    sort_images(mixed, tmp_path/'out', done.checkpoint, how=how)
    good = sorted(v for k, v in before.items() if not k.endswith(('.txt', 'cut.jpg', 'empty.png')))
    assert sorted(tree(tmp_path/'out').values()) == good
    assert tree(mixed) == (before if how == 'link' else {k: v for k, v in before.items() if k.endswith(('.txt', 'cut.jpg', 'empty.png'))})
    sort_images(mixed, tmp_path/'out', done.checkpoint, how=how)
    assert sorted(tree(tmp_path/'out').values()) == good

def test_sorting_into_its_own_folder(mixed, done):
    "Output within the input, and the input itself: nothing is sorted twice"
    for out in (mixed/'sorted', mixed):
        sort_images(mixed, out, done.checkpoint)
        once = tree(mixed)
        sort_images(mixed, out, done.checkpoint)
        assert tree(mixed) == once
        if out != mixed: shutil.rmtree(out)

@posix
@pytest.mark.skipif(hasattr(os, 'geteuid') and os.geteuid() == 0, reason='the superuser may write everywhere')
def test_sorting_into_what_is_read_only(mixed, done, tmp_path):
    (tmp_path/'out').mkdir(mode=0o500)
    assert 'out' in refused(sort_images, mixed, tmp_path/'out', done.checkpoint)

# ---- checkpoints

def changed(done, folder, **card):
    "The checkpoint with another card, signed anew"
    return save_checkpoint(folder, read_weights(done.checkpoint), {k: v for k, v in (read_card(done.checkpoint) | card).items() if v is not None})

def encoder(done, **k): return dict(mobilenet=read_card(done.checkpoint)['encoders']['mobilenet'] | k)

HOSTILE = dict(twice=dict(classes=['a', 'a', 'b']), text=dict(classes='abc'), a_dict=dict(classes=dict(a=1, b=2, c=3)), numbers=dict(classes=[1, 2, 3]), nulls=dict(classes=[None]*3), no_name=dict(classes=['', 'b', 'c']), one=dict(classes=['a']),
               many=dict(classes=[str(i) for i in range(50_000)]), seen=dict(n_seen=10**9), much_seen=dict(n_seen=10**15), less=dict(n_seen=-1), judged=dict(n_judged=10**9), words=dict(n_words=10**9), words_text=dict(n_words='x'), kind=dict(kind='touch'), mode=dict(mode='clip'),
               modes=dict(mode=['clip']), no_encoders=dict(encoders={}), encoders=dict(encoders=[1]), gone=dict(classes=None), hidden=dict(n_hidden=8))

@pytest.mark.parametrize('name', HOSTILE)
def test_a_hostile_card(name, done, tmp_path):
    start = time.process_time()
    with pytest.raises(FabricError): load_hybrid(changed(done, tmp_path/'bad', **HOSTILE[name]))
    assert time.process_time() - start < 5                                                                     # nothing of the claimed size was filled

@pytest.mark.parametrize('name', ['hf-hub:timm/resnet18.a1_in1k', 'hf_hub:a/b', 'local-dir:/tmp', 'resnet18', '../swatch', 'ViT-B-32', ''])
def test_another_encoder_in_the_card(name, done, tmp_path):
    with pytest.raises(FabricError): load_hybrid(changed(done, tmp_path/'bad', encoders=encoder(done, name=name)))       # the network is shut in tests, and this error is ours
    with pytest.raises(FabricError): load_hybrid(changed(done, tmp_path/'bad', encoders=encoder(done, args=dict(pretrained=True))))

@pytest.mark.parametrize('name', ['../../x', '..', '.', 'a/b', 'a\\b', 'nul\0', '/etc', 'x'*256, 'sorted.csv'])
def test_class_names_that_lead_elsewhere(name, done, folder, tmp_path):
    bad = changed(done, tmp_path/'bad', classes=[name, 'b', 'c'])
    refused(sort_images, folder, tmp_path/'out', bad)
    assert listing(tmp_path) == ['bad', 'bad/card.json', 'bad/model.safetensors']

@pytest.mark.parametrize('split', [[1], dict(per_class=[10**13]*3), dict(per_class='xxx'), dict(per_class=[-1, 2, 3]), dict(per_class=[1, 2]), dict(per_class=[0, 0, 0]), dict()], ids=str)
def test_a_hostile_split(split, done, folder, quick, tmp_path): assert 'per_class' in refused(evaluate, folder, changed(done, tmp_path/'bad', split=split), output_dir=tmp_path/'out', store=quick['store'])

@pytest.mark.parametrize('file', ['model.safetensors', 'card.json'])
def test_flipped_bits(file, done, tmp_path):
    rng, whole = random.Random(0), (done.checkpoint/file).read_bytes()
    shutil.copytree(done.checkpoint, tmp_path/'bad')
    for _ in range(8):
        raw = bytearray(whole); raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
        (tmp_path/'bad'/file).write_bytes(raw)
        refused(load_hybrid, tmp_path/'bad')
    (tmp_path/'bad'/file).unlink()
    refused(load_hybrid, tmp_path/'bad')

def test_a_checkpoint_elsewhere(done, folder, tmp_path):
    shutil.copytree(done.checkpoint, tmp_path/'ö'/'copy')
    a, b = load_hybrid(str(tmp_path/'ö'/'copy'), mode='mobilenet'), load_hybrid(done.checkpoint)
    assert same(a.state_dict(), b.state_dict()) and not a.training and not any(p.requires_grad for p in a.parameters())
    assert sorted(os.listdir(done.checkpoint)) == ['card.json', 'model.safetensors'] and (done.checkpoint/'model.safetensors').read_bytes()[8:9] == b'{'
    for no in (None, 5, 'x'*5000, 'a\0b', '', tmp_path): refused(load_hybrid, no)

# ---- old checkpoints

@pytest.fixture(scope='module')
def old():
    "The modules of the earlier version at their real sizes, with random weights"
    from torchvision.models import mobilenet_v3_large
    pytest.importorskip('transformers')
    from transformers import CLIPConfig, CLIPModel
    with seeded(3):
        parts = dict(mobilenet=mobilenet_v3_large().eval(), clip=CLIPModel(CLIPConfig()).eval())
        norms = [m for m in parts['mobilenet'].train().modules() if isinstance(m, nn.BatchNorm2d)]
        for m in norms: m.momentum = 1.
        with torch.no_grad(): parts['mobilenet'].features(torch.randn(8, 3, 96, 96))                         # statistics that let the photo through to the end
        parts['mobilenet'].eval()
        heads = {}
        for mode, n in dict(hybrid=1472, mobilenet=960, clip=512).items():
            heads[mode] = HybridHead(n, 10).eval()
            heads[mode][1].running_mean.normal_(0, .1); heads[mode][1].running_var.uniform_(.5, 1.5)
    return parts, heads

def write_old(path, old, mode, prefix='', take=lambda k: True, **more):
    parts, heads = old
    state = {f'{b}.{k}': t for b in hybrid.MODES[mode] for k, t in parts[b].state_dict().items() if take(f'{b}.{k}')} | {f'classifier.{k}': t for k, t in heads[mode].state_dict().items()}
    torch.save(dict(state_dict={prefix + k: t for k, t in state.items()}, classes=[f'class {i}' for i in range(10)], mode=mode, epoch=7, optimizer=dict(state={}, param_groups=[])) | more, path)
    return path

@torch.no_grad()
def old_logits(old, mode, photos, model):
    "By torchvision and transformers, of the photos as prepared"
    (parts, heads), made, feats = old, {b: torch.stack([e.prepare(p) for p in photos]) for b, e in model.encoders.items()}, []
    if 'mobilenet' in made: feats.append(parts['mobilenet'].avgpool(parts['mobilenet'].features(normalize(made['mobilenet'], *imagenet_stats))).flatten(1))
    if 'clip' in made: feats.append(parts['clip'].visual_projection(parts['clip'].vision_model(pixel_values=normalize(made['clip'], CLIP_MEAN, CLIP_STD)).pooler_output))
    return heads[mode](torch.cat(feats, 1)), tuple(made.values())

HOW = dict(hybrid=dict(prefix='module.'), mobilenet=dict(take=lambda k: '.classifier.' not in k), clip=dict(take=lambda k: 'text_' not in k and 'logit_scale' not in k))   # whole and from several GPUs; without torchvision's classifier; without the text tower

@pytest.mark.parametrize('mode', HOW)
@pytest.mark.once
def test_an_old_checkpoint_at_its_real_size(mode, old, folder, tmp_path):
    photos = sorted(folder.rglob('*.jpg'))[::20]
    model = load_hybrid(write_old(tmp_path/'old.pth.tar', old, mode, **HOW[mode]))
    want, x = old_logits(old, mode, photos, model)
    with torch.no_grad(): got = model(*x)
    assert model.mode == mode and len(model.classes) == 10 and want.std(0).mean() > .003 and (got - want).abs().max() < 1e-4
    if mode == 'mobilenet':
        back = load_hybrid(save_hybrid(model, tmp_path/'new'))
        with torch.no_grad(): assert torch.equal(back(*x), got)
        assert back.classes == model.classes and not len(back.seen)

def test_an_old_checkpoint_is_evaluated_and_sorts(old, folder, tmp_path):
    for i, c in enumerate(CLASSES):
        (tmp_path/'cloth'/f'class {i}').mkdir(parents=True)
        for p in sorted((folder/c).iterdir())[:3]: shutil.copy(p, tmp_path/'cloth'/f'class {i}')
    path = write_old(tmp_path/'old.pth.tar', old, 'mobilenet')
    ev = evaluate(tmp_path/'cloth', path, output_dir=tmp_path/'report', store=tmp_path/'vectors')
    assert ev.scores.n.iloc[0] == 9 and 'does not say which it was trained on' in ev.text
    sort_images(tmp_path/'cloth', tmp_path/'sorted', path)
    assert len(tree(tmp_path/'sorted')) == 9

class Thief:
    def __init__(self, path): self.path = path
    def __reduce__(self): return os.system, (f'touch {self.path}',)

def test_an_old_checkpoint_runs_nothing(old, folder, tmp_path):
    ok = dict(classes=['a', 'b'], mode='mobilenet', epoch=1, optimizer={})
    for i, bad in enumerate((dict(state_dict=Thief(tmp_path/'stolen')), dict(state_dict={}, optimizer=Thief(tmp_path/'stolen')), dict(state_dict={}, classes=Thief(tmp_path/'stolen')))):
        torch.save(ok | bad, tmp_path/f'{i}.pth.tar')
        with open(tmp_path/f'{i}.raw.pth.tar', 'wb') as f: pickle.dump(ok | bad, f)
        torch.save(ok | bad, tmp_path/f'{i}.old.pth.tar', _use_new_zipfile_serialization=False)
        for name in (f'{i}.pth.tar', f'{i}.raw.pth.tar', f'{i}.old.pth.tar'):
            refused(load_hybrid, tmp_path/name); refused(sort_images, folder, tmp_path/'out', tmp_path/name); refused(evaluate, folder, tmp_path/name, output_dir=tmp_path/'out')
    assert not (tmp_path/'stolen').exists() and not (tmp_path/'out').exists()

def test_old_files_of_another_kind(tmp_path):
    head = {f'classifier.{k}': t for k, t in HybridHead(960, 2).state_dict().items()}
    ok = dict(state_dict=head, classes=['a', 'b'], mode='mobilenet')
    for name, found in dict(no_weights=ok, mode=ok | dict(mode='both'), modes=ok | dict(mode=['clip']), classes=ok | dict(classes='ab'), numbers=ok | dict(classes=[1, 2]), twice=ok | dict(classes=['a', 'a']), words=ok | dict(state_dict=dict(a='x')),
                            more=ok | dict(state_dict=head | {'mobilenet.x': torch.ones(2)}), tensor=torch.ones(3), a_list=[1], nothing={}, weights=head).items():
        torch.save(found, tmp_path/f'{name}.pth.tar')
        refused(load_hybrid, tmp_path/f'{name}.pth.tar')
    for name, raw in dict(text=b'hello', empty=b'', picture=b'\x89PNG\r\n', safe=b'\x08\0\0\0\0\0\0\0{}      ').items():
        (tmp_path/f'{name}.pth.tar').write_bytes(raw)
        refused(load_hybrid, tmp_path/f'{name}.pth.tar')

# ---- Python

@pytest.fixture(scope='module')
def learn(data, both):
    with seeded(0): return quiet(hybrid_learner(data, encoders=both), 2, 1e-3)

def test_a_learner_takes_photos(learn, data, both):
    p = data.table.items.image[0]
    said, number, probs = learn.predict(p)
    assert said == data.table.classes[number] and probs.sum() == pytest.approx(1, abs=1e-5)
    for x in (Path(p), Image.open(p), np.asarray(Image.open(p))): assert np.abs(np.asarray(learn.predict(x)[2]) - np.asarray(probs)).max() < 2e-3
    for x in ([p], None, 'lost.jpg', np.zeros((4, 4))): refused(learn.predict, x)
    stored, photos = class_probs(learn.model, data.vectors[0]), class_probs(learn.model, list(data.table.items.image))
    assert np.abs(stored - photos).max() < 1e-5
    for copy in (deepcopy(learn.model), pickle.loads(pickle.dumps(learn.model))): assert np.array_equal(class_probs(copy, data.vectors[0]), stored)
    with learn.no_bar(): assert np.abs(learn.get_preds()[0].numpy() - stored[data.fold[1]]).max() < 1e-5 and len(learn.validate()) == 2
    live = hybrid_learner(photo_dls(data, both, 8), encoders=both)
    live.model.load_state_dict(learn.model.state_dict())
    with live.no_bar(): assert abs(live.validate()[0] - learn.validate()[0]) < 1e-3

def test_unfreeze_thaws_no_backbone(learn, data):
    learn.unfreeze(); quiet(learn, 1)
    assert not any(p.requires_grad for p in learn.model.encoders.parameters()) and not any(m.training for m in learn.model.train().encoders.modules())

def test_results_of_a_tuned_model_are_its_own(data, both, monkeypatch):
    "Stored vectors are those of the backbones before they were tuned"
    live = hybrid_learner(photo_dls(data, deepcopy(both), 8), encoders=deepcopy(both))
    with torch.no_grad():
        for p in live.model.encoders.parameters(): p.mul_(1.1)
    got = []
    monkeypatch.setattr(hybrid, 'plot_swatches', lambda photos, titles: got.extend(titles))
    live.show_results(max_n=9, shuffle=False)
    want = class_probs(live.model, list(data.table.items.image.iloc[data.fold[1][:9]]))
    assert [t.rsplit(' ', 1)[1] for t in got] == [f'{p:.0%}' for p in want.max(1)]

def test_own_dataloaders(folder, both, tmp_path):
    own = lambda **k: ImageDataLoaders.from_folder(k.pop('at', folder), **(dict(valid_pct=.2, seed=0, item_tfms=Resize(96), num_workers=0, bs=8) | k))
    learn = quiet(hybrid_learner(own(), encoders=both), 1)
    assert learn.predict(next(folder.rglob('*.jpg')))[0] in CLASSES
    shutil.copytree(folder/'knit', tmp_path/'one'/'knit')
    block = lambda *blocks, y=parent_label: DataBlock(blocks, get_items=get_image_files, get_y=y, item_tfms=Resize(64)).dataloaders(folder, bs=4, num_workers=0)
    for dls, word in ((own(batch_tfms=Normalize.from_stats(*imagenet_stats)), 'Normalize'), (own(bs=1), 'at least'), (own(bs=500), 'at least'), (own(at=tmp_path/'one'), 'two names or more'), (block(ImageBlock(PILImageBW), CategoryBlock), 'photos'),
                      (block(ImageBlock, RegressionBlock, y=lambda o: 1.), 'vocab'), (block(ImageBlock, MultiCategoryBlock, y=lambda o: [o.parent.name]), 'one class'), (None, 'folder'), ([1], 'folder')):
        assert word in refused(hybrid_learner, dls, encoders=both)

def test_data_and_encoders_must_fit(data, both):
    one = dict(mobilenet=both['mobilenet'])
    assert 'backbones' in refused(hybrid_learner, data, 'clip', encoders=both)
    assert 'backbones' in refused(hybrid_learner, data, encoders=dict(reversed(both.items())))
    assert '144 numbers' in refused(hybrid_learner, data, 'mobilenet', encoders=one)
    assert quiet(hybrid_learner(data.table, encoders=both), 1).dls.vocab == CLASSES
    for bs in (1, 0, 8., True): refused(hybrid_learner, data, encoders=both, bs=bs)
    for fold in ((np.array([0]), np.array([1])), (np.array([], int), np.array([1]))): refused(hybrid_dls, replace(data, fold=fold))
    quiet(hybrid_learner(data, encoders=both, bs=10_000), 1)                                                  # more than there are

# ---- bad input

@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('how, word', [(dict(lr=1e30), 'lr=1e+30'), (dict(fine_tune=True, ft_epochs=2, ft_lr=1e30), 'ft_lr=1e+30')])
def test_losses_that_are_no_numbers(how, word, folder, quick, tmp_path):
    assert word in refused(train, folder, output_dir=str(tmp_path/'out'), **quick | how)
    assert not [p for p in listing(tmp_path/'out') if p.startswith(('checkpoint', 'history'))]

def test_photos_that_cannot_be_used(folder, quick, tmp_path):
    shutil.copytree(folder, tmp_path/'cloth'); knit = tmp_path/'cloth'/'knit'
    (knit/'cut.jpg').write_bytes((knit/'0000.jpg').read_bytes()[:700]); (knit/'empty.jpg').write_bytes(b''); (knit/'note.txt').write_text('x'); (tmp_path/'cloth'/'stray.jpg').write_bytes((knit/'0000.jpg').read_bytes())
    (knit/'huge.png').write_bytes(b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + (60_000).to_bytes(4, 'big')*2 + b'\x08\x02\0\0\0' + bytes(4))
    (knit/'deep'/'er').mkdir(parents=True); shutil.copy(knit/'0001.jpg', knit/'deep'/'er'/('ü'*120 + '.jpg')); Image.new('L', (40, 300)).save(knit/'grey.png'); Image.new('RGBA', (5, 5)).save(knit/'tiny.png')
    t = train(tmp_path/'cloth', output_dir=str(tmp_path/'out'), **quick)
    left = pd.read_csv(tmp_path/'out'/'left_out.csv')
    assert {Path(f).name for f in left.file} == {'cut.jpg', 'empty.jpg', 'note.txt', 'stray.jpg', 'huge.png'} and left.why.str.len().gt(5).all() and len(t.data) == len(read_folders(folder)) + 3

def test_vectors_that_changed_in_the_store(folder, quick, tmp_path):
    how = quick | dict(store=str(tmp_path/'vectors'))
    train(folder, output_dir=str(tmp_path/'a'), **how)
    f = next(p for p in (tmp_path/'vectors').rglob('vectors.f32') if 'swatch' in str(p))
    raw = bytearray(f.read_bytes()); raw[77] ^= 4; f.write_bytes(raw)
    assert 'damaged' in refused(train, folder, output_dir=str(tmp_path/'b'), **how)
    assert listing(tmp_path/'b') == []

@posix
def test_no_space_left(folder, quick, done, tmp_path, monkeypatch):
    "A full disk is told, and what stood there before stands"
    shutil.copytree(done.checkpoint.parent, tmp_path/'out')
    before = states(tmp_path/'out')
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr('fabric_touch.checkpoints.save_file', full)
    said = refused(train, folder, output_dir=str(tmp_path/'out'), **quick | dict(seed=5))
    assert 'No space left' in said and '\n' not in said
    monkeypatch.undo()
    for a, b in zip(states(tmp_path/'out').values(), before.values()): assert same(a, b)
