"""Jobs that write files, and what happens to them when the plug is pulled: `survive(job, n, seed)` kills one again and again, and tells what was lost.

A job lies in a folder of its own: `in`, what it reads (and moves, if it does that), and `out`, what it writes. It always lies under the same path, so that files that hold paths are equal too.
The processes are forks: call these functions where computations use one thread, and before a GPU was used."""
import csv, json, os, random, re, shutil, signal, sys, tempfile, time, traceback, warnings
from collections import namedtuple
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np, pandas as pd, torch
from PIL import Image
from fabric_touch.catalogs import describe_products, read_pages
from fabric_touch.checkpoints import WEIGHTS, data_digest, load_checkpoint, read_card, read_tensors, save_checkpoint, trained_on
from fabric_touch.core import FabricError, mend_folder, seeded, whole_file
from fabric_touch.data import read_fabrics, touch_dls
from fabric_touch.embeds import EmbeddingStore, embed_all
from fabric_touch.encoders import image_encoder
from fabric_touch.filing import HOW, JOURNAL, Sorting
from fabric_touch.folders import make_folders
from fabric_touch.hybrid import HybridModel, save_hybrid, sort_images, train
from fabric_touch.sketch import fit_folds
from fabric_touch.sketches import make_sketches, read_sketches
from fabric_touch.swatches import make_swatches
from fabric_touch.touch import save_touch, touch_folds, touch_learner
from fabric_touch.train import KeepState, history

Job = namedtuple('Job', 'prepare run result exact', defaults=[True])      # (in) -> None; (in, out) -> value; out -> what must be there in the end, in whatever order it came; is every byte of a resumed run equal?

# ---- what is run

def write_fabrics(home, n=40):
    "Fabrics without photos, and vectors for them"
    s = make_swatches(n, seed=0, raters=4, size=32)
    s.write(home/'swatches', kind='ratings')
    np.save(home/'vectors.npy', np.random.default_rng(0).normal(size=(n, 12)).astype('f4'))

def fabrics_of(home): return read_fabrics(home/'swatches'/'fabrics.csv'), np.load(home/'vectors.npy')

def fit_and_keep(learn, epochs=3):
    "As a user goes on after a stop"
    learn.fit_one_cycle(epochs, 5e-3, cbs=KeepState(learn.path/'state'))

def touch_training(home, out):
    f, v = fabrics_of(home)
    with seeded(0):
        learn = touch_learner(touch_dls(f, f.folds()[0], v, bs=16), 'mlb', v.shape[1], path=out/'best.safetensors', patience=3)
        learn.path = out
        with learn.no_bar(), learn.no_logging(): fit_and_keep(learn, 4)
        dice = random.random(), np.random.random(), torch.rand(1).item()
    save_touch(learn.model, out/'model', training=trained_on(0, v, f.blends))
    with whole_file(out/'history.csv') as tmp: history(learn).to_csv(tmp, index=False)
    return history(learn).to_numpy(float), dice

def touch_fold_by_fold(home, out):
    f, v = fabrics_of(home)
    return touch_folds(f, v, 'mlb', f.folds(3), fit_and_keep, folder=out)

def write_cloth(home): make_folders(home/'cloth', n=6, size=48)

def hybrid(home, out):
    t = train(home/'cloth', output_dir=str(out/'run'), mode='mobilenet', mobilenet='swatch', epochs=2, fine_tune=True, ft_epochs=1, store=str(out/'vectors'), resume=True)
    return t.scores.to_csv(), t.history.to_csv()

def write_sketches(home): make_sketches(home/'data', n=4, classes=('dress', 'shoe', 'hat'), size=32)

def sketches(recipe, home, out):
    m = fit_folds(read_sketches(home/'data'), 'test_resnet', 2, recipe, folder=out/'member', pretrained=False, size=32, epochs=2, bs=8, views=1, store=out/'pixels')
    return m.probs, m.folds, m.history.to_csv()

def write_sorter(home):
    "Photos, some of them twice or no photo at all, and a model that was never trained"
    make_folders(home/'photos', n=5, size=32, copies=1)
    (home/'photos'/'knit'/'text.txt').write_text('no photo'); (home/'photos'/'knit'/'cut.jpg').write_bytes(b'\xff\xd8\xff')
    with seeded(0): save_hybrid(HybridModel(dict(mobilenet=image_encoder('swatch')), ('a', 'b', 'c'), 'mobilenet'), home/'model')

def sort(home, out): sort_images(home/'photos', out/'sorted', home/'model', how='move', bs=2)

def file_away(how, home, out):
    "Photos into folders by their names, without a model"
    with Sorting(out/'sorted', how, facts=('predicted',)) as s:
        for i,p in enumerate(sorted((home/'photos').rglob('*.jpg'))):
            if i % 2: s.flush()
            if not s.done(p): s.put(p, f'class{sum(p.name.encode()) % 3}', predicted='x')

class Mean:
    "An encoder that is quick"
    id, n_out = 'mean', 3
    def prepare(self, img): return torch.from_numpy(np.asarray(img.resize((8, 8)), np.float32).transpose(2, 0, 1).copy())
    def __call__(self, x): return x.mean((2, 3))

class Half(Mean): id = 'half'; __call__ = lambda self, x: x.mean((2, 3))/2

def vectors(home, out): return [v.numpy() for v in embed_all([Mean(), Half()], sorted((home/'cloth').rglob('*.jpg')), out/'stores', bs=2, n_workers=0, progress=False).vectors]

def no_input(home): pass

def products(home, out):
    rows = pd.DataFrame(dict(id=[f'p{k}' for k in range(30)], title=['면 스커트']*30, label=['cotton 95 elastane 5', 'linen 120', None]*10), dtype=object)
    return describe_products(read_pages(rows), out/'shop', progress=False).to_csv()

def checkpoint(n, home, out):
    "Saved and read again and again, each time with other weights"
    for i in range(n):
        save_checkpoint(out/'model', dict(w=torch.full((20_000,), float(i))), dict(kind='plug', i=i))
        seen = load_checkpoint(out/'model', lambda card: Flat(card['i']), kind='plug')[0]
        assert (seen.w == seen.i).all()
    return n

class Flat(torch.nn.Module):
    def __init__(self, i): super().__init__(); self.i = i; self.register_buffer('w', torch.zeros(20_000))

def write_multimodal(home):
    from test_multimodal import write_data
    write_data(home)

def multimodal(home, out):
    from test_multimodal import settings
    from fabric_touch.multimodal import train_multimodal
    with seeded(0): m = train_multimodal(settings(home, num_steps=4, save_interval=2, dropout_rate=.1, resume=True, result_dir=str(out/'run'), store=str(out/'store')))
    return {k: v for k,v in m.model.state_dict().items()}

# ---- what must be there in the end

def rows_of(stores):
    "Each vector once, whoever wrote it"
    res = []
    for e in (Mean(), Half()):
        s = EmbeddingStore(stores, e.id, e.n_out)
        keys = [bytes(k).hex() for k in s._rows.rows(len(s))[1]['digest'].tolist()]
        known, found = s.get(sorted(keys))
        assert known.all() and len({*keys}) == len(keys)
        res.append((sorted(keys), found))
    return res

def sorted_photos(out):
    "Each photo's content and class once, and a line of the journal for each"
    files = [p for p in out.rglob('*') if p.is_file() and p.parent != out]
    lines = [*csv.DictReader(open(out/JOURNAL, encoding='utf-8', newline=''))]
    assert len(lines) == len({l['file'] for l in lines}) and {l['target'] for l in lines} - {''} == {str(p.relative_to(out)) for p in files}
    return sorted((p.parent.name, sha256(p.read_bytes()).hexdigest()) for p in files), sorted((l['file'], l['predicted']) for l in lines)

def folds_of(out): return {p.name: content(p) for p in sorted(out.glob('fold_*.npz'))}

def nothing(out): return 0

JOBS = dict(touch=Job(write_fabrics, touch_training, nothing),
            folds=Job(write_fabrics, touch_fold_by_fold, folds_of),
            hybrid=Job(write_cloth, hybrid, nothing),
            sketch=Job(write_sketches, partial(sketches, 'modern'), lambda out: folds_of(out/'member')),
            frozen_sketch=Job(write_sketches, partial(sketches, 'features'), lambda out: folds_of(out/'member')),
            multimodal=Job(write_multimodal, multimodal, nothing),
            sort=Job(write_sorter, sort, lambda out: sorted_photos(out/'sorted'), False),
            **{how: Job(write_sorter, partial(file_away, how), lambda out: sorted_photos(out/'sorted'), False) for how in HOW},
            vectors=Job(write_cloth, vectors, lambda out: rows_of(out/'stores')),
            products=Job(no_input, products, lambda out: content(out/'shop'/'products.jsonl')),
            checkpoint=Job(no_input, partial(checkpoint, 15), lambda out: read_card(out/'model')['i']),
            saved_twice=Job(no_input, partial(checkpoint, 2), nothing))

# ---- what lies in a folder

HALF = re.compile(r'\..+\.[0-9a-f]{8}\.tmp(\..*)?|\.sorting-[0-9a-f]{16}\.tmp|.+\.gone')       # what a kill may leave, and the next run sweeps
PREVIOUS = re.compile(r'\..+\.old')                                                        # a whole folder that was replaced; the next one that is written there takes its place

def content(path):
    "The bytes of a file; arrays of an .npz, whose bytes hold the time"
    if path.suffix != '.npz': return path.read_bytes()
    with np.load(path, allow_pickle=False) as z: return {k: z[k].tolist() if z[k].dtype.kind == 'U' else z[k] for k in z.files}

def inside(folder):
    "Files and their names, without half-written ones"
    names = ((p, p.relative_to(folder)) for p in sorted(folder.rglob('*')) if p.is_file())
    return [(p, n) for p,n in names if not any(HALF.fullmatch(o) or PREVIOUS.fullmatch(o) for o in n.parts)]

def listing(folder): return {str(n): data_digest(content(p)) for p,n in inside(folder)}

def half_written(folder): return [str(p.relative_to(folder)) for p in folder.rglob('*') if HALF.fullmatch(p.name)]

def records(p): return [json.loads(l) for l in p.read_bytes().splitlines(True) if l.endswith(b'\n')]       # the last may be torn, and is written again

def whole_csv(p):
    "Rows of one length; the last line of a journal may be torn"
    lines = p.read_bytes().splitlines(True)
    if p.name == JOURNAL and lines and not lines[-1].endswith(b'\n'): lines.pop()
    assert p.name == JOURNAL or all(l.endswith(b'\n') for l in lines[-1:])
    assert len({len(r) for r in csv.reader(b''.join(lines).decode().splitlines())}) <= 1

def whole_weights(p):
    if p.name != WEIGHTS: return read_tensors(p)
    return read_tensors(p, read_card(p.parent)['weights_sha256'])

READ = {'.json': lambda p: json.loads(p.read_bytes()), '.jsonl': records, '.csv': whole_csv, '.safetensors': whole_weights, '.npz': content, '.npy': lambda p: np.load(p, allow_pickle=False),
        '.png': lambda p: Image.open(p).verify(), '.jpg': lambda p: Image.open(p).verify() if p.name != 'cut.jpg' else 0}

def torn(folder):
    "Files that are neither whole nor absent, and why"
    for old in folder.rglob('.*.old'): mend_folder(old.with_name(old.name[1:-4]))          # as every reader does
    bad = []
    for p,n in inside(folder):
        try: READ.get(p.suffix, nothing)(p)
        except Exception as e: bad.append(f'{n}: {type(e).__name__}: {e}')
    return bad

# ---- processes

WRITES = ('os.rename', 'os.link', 'os.remove', 'os.mkdir', 'os.rmdir', 'os.truncate', 'shutil.rmtree')

class Plug:
    "Counts what touches files below a folder, as Python's audit tells it, and each fsync; pulls the plug before the n-th"
    def __init__(self, folder, at=None): self.folder, self.at, self.n = str(folder), at, 0
    def __call__(self, event, args):
        opens = event == 'open' and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (opens or event in WRITES) and str(args[0]).startswith(self.folder): self.count()
    def count(self):
        self.n += 1
        if self.n == self.at: os.kill(os.getpid(), signal.SIGKILL)

def start(job, home, at=None):
    "A process that runs a job, and dies before its n-th move if one is given; its number"
    if pid := os.fork(): return pid
    code = 1
    try:
        os.environ['TOKENIZERS_PARALLELISM'] = 'false'
        sys.stdout = open(os.devnull, 'w')
        warnings.simplefilter('ignore')
        plug, fsync = Plug(home, at), os.fsync
        os.fsync = lambda fd: (plug.count(), fsync(fd))[1]
        sys.addaudithook(plug)
        try: said = data_digest(job.run(home/'in', home/'out'))
        except FabricError as e: (home.parent/f'refused_{os.getpid()}').write_text(str(e)); code = 3
        else: (home.parent/f'said_{os.getpid()}').write_text(f'{plug.n} {said}'); code = 0
    except BaseException: traceback.print_exc()
    finally: os._exit(code)

def outcome(pid, place, status=None):
    "What a process left: ('killed', None), ('refused', why), ('done', moves and digest)"
    if status is None: status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status): return 'killed', None
    code = os.WEXITSTATUS(status)
    assert code in (0, 3), 'a process of the job fell over; its traceback stands above'
    what = 'refused' if code else 'done'
    file = place/f"{'refused' if code else 'said'}_{pid}"
    text = file.read_text(); file.unlink()
    return what, text

def differing(a, b): return sorted(k for k in {**a, **b} if a.get(k) != b.get(k))

class Trial:
    "A job, what an uninterrupted run of it leaves, and its runs after that"
    def __init__(self, name, place):
        self.job, self.place = JOBS[name], Path(place)
        (self.place/'prepared').mkdir(parents=True)
        self.job.prepare(self.place/'prepared')
        home, begin = self.fresh(), time.monotonic()
        moves, self.said = self.finish(home)
        self.took, self.moves, self.want = time.monotonic() - begin, int(moves), self.found(home, self.said)
        self.alone = self.found(home, self.said, exact=False)
    def fresh(self):
        "The job's folder as nobody has begun it"
        home = self.place/'job'
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(self.place/'prepared', home/'in')
        (home/'out').mkdir()
        return home
    def finish(self, home):
        what, text = outcome(start(self.job, home), self.place)
        assert what == 'done', text
        return text.split()
    def found(self, home, said, exact=None):
        "What is compared, by name: every file, or, where the order may be another, the result"
        left = {n: 'left half written' for n in half_written(home)}
        if not (self.job.exact if exact is None else exact): return left | listing(home/'in') | dict(result=data_digest(self.job.result(home/'out')))
        return left | listing(home) | dict(said=said)
    def kill(self, home, move=None, after=None):
        "Run until the plug is pulled, before a move or after so many seconds; was it in time, and what is torn?"
        pid = start(self.job, home, move)
        if after is not None:
            time.sleep(after)
            os.kill(pid, signal.SIGKILL)
        return outcome(pid, self.place)[0] == 'killed', torn(home)
    def go_on(self, home): return differing(self.found(home, self.finish(home)[1]), self.want)

def survive(
    name, # Of `JOBS`
    n=2, # How often the plug is pulled, each second time while going on
    seed=0, # Of the moments
    place=None, # An empty folder; a temporary one if not given
): # (kills, list of what was lost, torn or other than in an uninterrupted run)
    "Pull the plug of a job again and again, and go on"
    if place is None:
        with tempfile.TemporaryDirectory() as d: return survive(name, n, seed, d)
    trial, dice, kills, lost = Trial(name, Path(place)/'trial'), random.Random(f'{name} {seed}'), 0, []
    while kills < n:
        home = trial.fresh()
        for how in (dict(move=dice.randint(1, trial.moves)), dict(after=dice.uniform(0, trial.took))):
            dead, bad = trial.kill(home, **how)
            kills, lost = kills + dead, lost + bad
        lost += trial.go_on(home)
    return kills, lost

def survive_every_move(name, place):
    "The same before each move of a job, one after the other"
    trial, kills, lost = Trial(name, Path(place)/'trial'), 0, []
    for move in range(1, trial.moves + 1):
        home = trial.fresh()
        dead, bad = trial.kill(home, move)
        kills, lost = kills + dead, lost + bad + trial.go_on(home)
    return kills, lost

def timed(run, gate, place, home, out):
    "Begin when the gate is opened, and note when that was and when it ended"
    os.close(gate[1])
    os.read(gate[0], 1)                     # the last process that holds the other end opens it by closing that
    begin = time.monotonic()
    try: return run(home, out)
    finally: (place/f'time_{os.getpid()}').write_text(f'{begin} {time.monotonic()}')

def overlap(pids, place):
    "Had each of these processes begun before any ended?"
    begins, ends = zip(*[map(float, (place/f'time_{p}').read_text().split()) for p in pids])
    return max(begins) < min(ends)

def at_once(
    name, # Of `JOBS`
    place, # An empty folder
    n=2, # Processes
): # (what became of each, differences from one process)
    "Let several processes run one job in one folder from the same moment on"
    trial, gate = Trial(name, Path(place)/'trial'), os.pipe()
    home, how = trial.fresh(), {False, trial.job.exact}
    pids = [start(trial.job._replace(run=partial(timed, trial.job.run, gate, trial.place)), home) for _ in range(n)]
    for end in gate: os.close(end)
    ends = [os.waitpid(p, 0)[1] for p in pids]
    became = [outcome(p, trial.place, end) for p,end in zip(pids, ends)]
    done = [p for p,(what,_) in zip(pids, became) if what == 'done']             # who was refused met another
    assert not done or overlap(done, trial.place), 'one had ended before the other began'
    odd = [f'what process {k} said' for k,(what,text) in enumerate(became) if what == 'done' and text.split()[1] != trial.said]
    found = {k: v for exact in how for k,v in trial.found(home, trial.said, exact).items()}
    return became, odd + differing(found, trial.alone | trial.want)
