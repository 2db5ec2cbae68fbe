"Shards: the same bytes in this process, on Ray and after a kill; bad photos are rows, bad lists and other encoders are refused."
import json, os, shutil, signal, subprocess, sys, time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image

from fabric_touch import scale
from fabric_touch.catalogs import describe_rows, read_pages
from fabric_touch.core import FabricError
from fabric_touch.scale import Run, describe_catalog, embed_files, embed_shard, open_shards, read_vectors

pa = pytest.importorskip('pyarrow')
pd = pytest.importorskip('pandas')
pytestmark = pytest.mark.once
HERE = dict(workers=0, shard=4)

def files(folder): return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}
def shards(folder): return sorted((folder/'shards').rglob('[!.]*.parquet'))
def frame(out): return open_shards(out).to_table().to_pandas()

class Mean:
    "The mean colour; where it is seen how often it was asked, if a folder is given"
    n_out = 3
    def __init__(self, seen=None, wait=0.): self.seen, self.wait, self.id = seen, wait, 'mean colour/1'
    def prepare(self, img):
        time.sleep(self.wait)
        if self.seen: Path(self.seen, os.urandom(8).hex()).touch()
        return torch.from_numpy(np.array(img)).permute(2, 0, 1)/255
    def __call__(self, x): return x.mean((2, 3))

class Black(Mean):
    "Cannot bear a white photo"
    def __call__(self, x): return torch.where(x.amin((1, 2, 3))[:, None] > .99, float('nan'), x.mean((2, 3)))

ODD = {'a.jpg': None, '면 바지.jpg': None, 'b/é.png': None, 'b/e\u0301.png': None, "c's, \"d\".jpg": None, 'new\nline.png': None, 'empty.jpg': b'', 'text.png': b'no photo', 'half.jpg': 200}

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Photos with names that break what is careless, and files that are none"
    folder, rng = tmp_path_factory.mktemp('photos'), np.random.default_rng(0)
    for name, bad in ODD.items():
        (folder/name).parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)).save(folder/name)
        if bad is not None: (folder/name).write_bytes(bad if isinstance(bad, bytes) else (folder/name).read_bytes()[:bad])
    for i in range(11): Image.fromarray(rng.integers(0, 256, (40, 32, 3), np.uint8)).save(folder/f'{i:02d}.png')
    return folder

@pytest.fixture(scope='module')
def whole(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp('whole')/'out'
    assert embed_files(photos, out, Mean(), **HERE)[1:5] == (20, 5, 5, 3)
    return out


# ---- one process -------------------------------------------------------------------------------------------------------------------------
def test_vectors_are_those_of_each_photo_alone(photos, whole):
    d = frame(whole)
    assert [*d.path] == sorted([*ODD, *(f'{i:02d}.png' for i in range(11))], key=lambda n: str(photos/n))
    assert {*d.path[d.vector.isna()]} == {'empty.jpg', 'text.png', 'half.jpg'} == {*d.path[d.error.notna()]} == {*d.path[d.digest.isna()]}
    for e, p in zip(d.error.dropna(), d.path[d.error.notna()]): assert e.startswith(p) and str(photos) not in e
    found = read_vectors(whole)
    assert found.vectors.shape == (17, 3) and found.vectors.dtype == np.float32
    for p, v in zip(found.paths, found.vectors): np.testing.assert_allclose(v, np.array(Image.open(photos/p)).mean((0, 1))/255, atol=1e-6)

def test_restart_makes_what_is_missing_and_nothing_else(photos, whole, tmp_path):
    seen, out = tmp_path/'seen', tmp_path/'out'
    seen.mkdir()
    embed_files(photos, out, Mean(), **HERE)
    before = {p: p.stat().st_mtime_ns for p in shards(out)}
    gone = shards(out)[3]; gone.unlink(); del before[gone]
    rows = [*pd.read_parquet(out/'list.parquet').row][12:16]
    made = embed_files(photos, out, Mean(seen), **HERE)
    assert made.written == 1 and len([*seen.iterdir()]) == sum(r not in ('empty.jpg', 'text.png', 'half.jpg') for r in rows) > 0
    assert files(out) == files(whole) and all(p.stat().st_mtime_ns == t for p, t in before.items())
    assert embed_files(photos, out, Mean(seen, wait=9), **HERE).written == 0

@pytest.mark.parametrize('left', ['list', 'half list', 'half card'])
def test_killed_before_the_card(photos, whole, tmp_path, left):
    "A kill while the plan was written: a later run begins anew"
    names = {'list': 'list.parquet', 'half list': '.list.parquet.0123abcd.tmp.parquet', 'half card': '.card.json.0123abcd.tmp.json'}
    (tmp_path/names[left]).write_bytes((whole/'list.parquet').read_bytes()[:None if left == 'list' else 100])       # what has its name is whole
    embed_files(photos, tmp_path, Mean(), **HERE)
    assert files(tmp_path) == files(whole)

def test_a_photo_listed_twice_is_two_rows_and_one_encoding(photos, tmp_path):
    seen = tmp_path/'seen'; seen.mkdir()
    names = [str(photos/'00.png')]*3 + [str(photos/'01.png')]
    embed_files(names, tmp_path/'out', Mean(seen), **HERE)
    d = frame(tmp_path/'out')
    assert [*d.path] == names and len([*seen.iterdir()]) == 2 and d.digest.nunique() == 2
    assert np.array_equal(d.vector[0], d.vector[2])

@pytest.mark.parametrize('kind', ['csv', 'tsv', 'parquet'])
def test_a_table_says_the_same_as_its_folder(photos, whole, kind):
    table, out = pd.DataFrame(dict(x=1, file=pd.read_parquet(whole/'list.parquet').row)), photos/f'.list.{kind}'
    table.to_parquet(out) if kind == 'parquet' else table.to_csv(out, index=False, sep=dict(csv=',', tsv='\t')[kind])
    try: embed_files(out, photos.parent/kind, Mean(), column='file', **HERE)
    finally: out.unlink()
    assert files(photos.parent/kind) == files(whole)

def test_a_missing_cell_is_a_row_that_says_so(photos, tmp_path):
    pd.DataFrame(dict(path=['00.png', None, 'lost.png'])).to_parquet(tmp_path/'list.parquet')
    Image.open(photos/'00.png').save(tmp_path/'00.png')
    assert embed_files(tmp_path/'list.parquet', tmp_path/'out', Mean(), **HERE).failed == 2
    assert [*frame(tmp_path/'out').error.fillna('')] == ['', ': no such file', 'lost.png: no such file']

@pytest.mark.parametrize('make, told', [
    (lambda d: d/'lost', 'no such folder'), (lambda d: d/'empty', 'no row to work on'), (lambda d: [], 'no row to work on'), (lambda d: [3], 'row 0 is a int'), (lambda d: 7, 'photos is a int'),
    (lambda d: d/'x.csv', "has no column 'path'; its columns are: file"), (lambda d: d/'wide.csv', 'more cells than its first line'), (lambda d: d/'bad.csv', 'cannot be read as a table'),
    (lambda d: d/'bad.parquet', 'cannot be read as a table'), (lambda d: d/'none.csv', 'cannot be read as a table'), (lambda d: d/'x.xls', 'unknown kind of table')])
def test_what_is_no_list_of_photos(tmp_path, make, told):
    (tmp_path/'empty').mkdir()
    for name, text in {'x.csv': 'file\na.jpg\n', 'wide.csv': 'path,b\na,b.jpg,c\n', 'none.csv': '', 'x.xls': '', 'bad.parquet': 'PAR1'}.items(): (tmp_path/name).write_text(text)
    (tmp_path/'bad.csv').write_bytes(b'path\n\xff\xfe\xfa\n')
    with pytest.raises(FabricError, match=told): embed_files(make(tmp_path), tmp_path/'out', Mean(), **HERE)
    assert not shards(tmp_path/'out')

@pytest.mark.parametrize('given, told', [
    (dict(encoder=Black()), None), (dict(shard=5), "made with shard '4', and now it is '5'"), (dict(dtype='float16'), "dtype 'float32'"), (dict(workers=-1), 'workers is -1'), (dict(shard=0), 'shard is 0'),
    (dict(bs=0), 'bs is 0'), (dict(dtype='int8'), 'unknown type of vectors'), (dict(address='x:1', workers=0), 'leave one of them out'), (dict(encoder='swatch'), "made with encoder 'mean colour/1'")])
def test_another_run_over_the_same_folder(photos, whole, given, told):
    before = files(whole)
    run = lambda: embed_files(photos, whole, **dict(encoder=Mean(), **HERE) | given)
    if told is None: assert run().written == 0                              # of the same id
    else:
        with pytest.raises(FabricError, match=told): run()
    assert files(whole) == before

@pytest.mark.parametrize('card', ['', '{', '[]', '{"format": 1}', '['*10_000, None])
def test_a_damaged_card_is_refused(photos, whole, tmp_path, card):
    for name, content in files(whole).items(): (tmp_path/name).parent.mkdir(parents=True, exist_ok=True); (tmp_path/name).write_bytes(content)
    (tmp_path/'card.json').unlink() if card is None else (tmp_path/'card.json').write_text(card)
    for f in (lambda: embed_files(photos, tmp_path, Mean(), **HERE), lambda: read_vectors(tmp_path)):
        with pytest.raises(FabricError, match='card'): f()
    assert len(shards(tmp_path)) == 5

def test_a_full_disk_is_one_line(photos, tmp_path, monkeypatch):
    "What is done stays, and a later run goes on"
    real, n = scale.whole_file, Counter()
    def full(path):
        n['files'] += 1
        if n['files'] == 5: raise OSError(28, 'No space left on device')
        return real(path)
    with monkeypatch.context() as m:
        m.setattr(scale, 'whole_file', full)
        with pytest.raises(FabricError, match='No space left on device'): embed_files(photos, tmp_path, Mean(), **HERE)
    assert len(shards(tmp_path)) == 2
    assert embed_files(photos, tmp_path, Mean(), **HERE).written == 3

def test_other_photos_of_the_same_names_are_refused(photos, whole, tmp_path):
    out = shutil.copytree(whole, tmp_path/'out')
    others = shutil.copytree(photos, tmp_path/'others')
    for f in others.glob('*.png'): Image.new('RGB', (40, 32)).save(f)
    before = files(out)
    with pytest.raises(FabricError, match='holds vectors of other photos: 00.png.*give another folder'): embed_files(others, out, Mean(), **HERE)
    assert files(out) == before
    shards(out)[0].unlink()                                # the first photo was changed: its shard is made anew, the rest is held against the next
    with pytest.raises(FabricError, match='holds vectors of other photos: 04.png'): embed_files(others, out, Mean(), **HERE)

def test_photos_that_are_gone_are_no_other_photos(photos, whole, tmp_path):
    out, there = shutil.copytree(whole, tmp_path/'out'), shutil.copytree(photos, tmp_path/'there')
    listed = [str(p.relative_to(there)) for p in there.rglob('*') if p.is_file()]
    pd.DataFrame(dict(path=sorted(listed, key=lambda n: str(photos/n)))).to_csv(there/'list.csv', index=False)
    for n in listed: (there/n).unlink()
    assert embed_files(there/'list.csv', out, Mean(), **HERE).written == 0

@pytest.mark.parametrize('name', ['notes.txt', '.hidden', '0.png', 'list.parquet'])
def test_a_folder_that_holds_other_things_is_refused(photos, tmp_path, name):
    (tmp_path/name).write_bytes(b'mine')
    with pytest.raises(FabricError, match=f'holds {name}; give a new folder'): embed_files(photos, tmp_path, Mean(), **HERE)
    assert files(tmp_path) == {name: b'mine'}

def test_a_list_is_not_written_over(photos, tmp_path):
    pd.DataFrame(dict(path=[str(photos/'00.png')], label=['cotton'])).to_parquet(tmp_path/'list.parquet')
    before = files(tmp_path)
    with pytest.raises(FabricError, match='holds list.parquet; give a new folder'): embed_files(tmp_path/'list.parquet', tmp_path, Mean(), **HERE)
    assert files(tmp_path) == before

@pytest.mark.parametrize('spoil', [lambda f: f.write_bytes(f.read_bytes()[:100]), lambda f: f.write_bytes(b'')], ids=['cut', 'empty'])
def test_a_damaged_list_is_named_and_written_anew(photos, whole, tmp_path, spoil):
    out = shutil.copytree(whole, tmp_path/'out')
    shards(out)[1].unlink(); spoil(out/'list.parquet')
    with pytest.raises(FabricError, match='list.parquet cannot be read .*delete it, and the next run writes it anew'): embed_files(photos, out, Mean(), **HERE)
    (out/'list.parquet').unlink()
    assert embed_files(photos, out, Mean(), **HERE).written == 1 and files(out) == files(whole)

def test_a_shard_that_a_lost_worker_had_made_is_not_made_again(photos, whole, tmp_path):
    seen = tmp_path/'seen'; seen.mkdir()
    out, job = shutil.copytree(whole, tmp_path/'out'), lambda: scale._Job(tmp_path/'out', partial(embed_shard, encoder=Mean(seen), root=str(photos)), json.loads((whole/'card.json').read_text()))
    name, before = shards(out)[0].relative_to(out/'shards').as_posix(), files(out)
    said = job()(0, name)
    assert (said['failed'], said['error'], [*seen.iterdir()], files(out)) == (sum(frame(whole).error[:4].notna()), '', [], before)
    (out/'shards'/name).write_bytes(b'')
    assert 'delete it and run again' in job()(0, name)['error']

def test_a_shard_may_be_longer_than_what_arrow_writes_at_once(tmp_path):
    parts = [['a']*(2**20 + 5), ['b']*3]
    scale._write_list(tmp_path/'list.parquet', scale._named(parts, 'x'))
    job = scale._Job(tmp_path, None, {})
    assert [(len(r), {*r}) for r in (job._rows(0), job._rows(1))] == [(2**20 + 5, {'a'}), (3, {'b'})]

def test_half_precision_is_rounded_and_no_more(photos, whole, tmp_path):
    embed_files(photos, tmp_path, Mean(), dtype='float16', **HERE)
    half = read_vectors(tmp_path).vectors
    assert half.dtype == np.float16 and np.array_equal(half, read_vectors(whole).vectors.astype(np.float16))

def test_threads_are_put_back(photos):
    n = torch.get_num_threads()
    embed_shard(['00.png'], Mean(), str(photos))
    assert torch.get_num_threads() == n

def test_a_thousand_shards_in_a_folder():
    names = [n for n, _ in scale._named(scale._parts(range(2001), 1), 'x')]
    assert Counter(n.split('/')[0] for n in names) == {'0000': 1000, '0001': 1000, '0002': 1} and names == sorted(names)


# ---- pages -------------------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def pages(photos):
    rows = [dict(id=f'p{k}', title=['면 스커트', 'jeans', None, 8, 'half \ud800 letter'][k % 5], photos=[['00.png'], [], ['text.png', 'lost.png'], None][k % 4], label=['cotton 100', 'linen 120', None][k % 3]) for k in range(11)]
    return pd.DataFrame(rows, dtype=object)

def test_records_are_those_of_describe_rows(photos, pages, tmp_path, monkeypatch):
    monkeypatch.chdir(photos)
    done, d = describe_catalog(pages, tmp_path/'a', **HERE), frame(tmp_path/'a')
    direct = describe_rows(read_pages(pages, root=photos).to_dict('records'))
    assert [json.loads(r) for r in d.record] == direct and done.failed == sum(bool(r['failures']) for r in direct) > 0
    assert {c: str(t) for c, t in d.dtypes.items() if c in ('photos', 'cotton')} == dict(photos='int64', cotton='float64')
    pages[:4].to_json(photos/'pages.jsonl', orient='records', lines=True)
    try:
        with pytest.raises(FabricError, match='another folder'): describe_catalog(photos/'pages.jsonl', tmp_path/'a', **HERE)
    finally: (photos/'pages.jsonl').unlink()

def test_a_photo_in_memory_is_no_row_of_a_list(tmp_path):
    with pytest.raises(FabricError, match="page '000000' cannot be written to a list"): describe_catalog(pd.DataFrame(dict(photos=[[np.zeros((4, 4, 3), np.uint8)]])), tmp_path, **HERE)


# ---- stops, and Ray, started once --------------------------------------------------------------------------------------------------------
def until(f, seconds=120):
    end = time.monotonic() + seconds
    while not (found := f()) and time.monotonic() < end: time.sleep(.02)
    return found

def gone_on_with(photos, whole, out, tmp_path):
    "A run after a kill reads each photo of the shards that are missing once, and none of those that are there"
    before, seen = {*shards(out)}, tmp_path/'seen'
    seen.mkdir()
    done = embed_files(photos, out, Mean(seen), **HERE)
    assert 1 <= len(before) < 5 and done.written == 5 - len(before) and files(out) == files(whole)
    assert len([*seen.iterdir()]) == sum(pd.read_parquet(s).error.isna().sum() for s in {*shards(out)} - before)

def test_killed_and_gone_on_with(photos, whole, tmp_path, one_thread):
    out, pid = tmp_path/'out', os.fork()
    if not pid:
        try: embed_files(photos, out, Mean(wait=.02), **HERE)
        finally: os._exit(0)
    until(lambda: shards(out)); time.sleep(.03)                          # in the midst of the second shard
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
    gone_on_with(photos, whole, out, tmp_path)

@pytest.fixture(scope='module')
def address():
    "Two workers on this machine; what joins them by the address"
    ray = pytest.importorskip('ray')
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])      # workers have no tests/ to import from
    with scale._ray(Run(workers=2)): yield ray.get_runtime_context().gcs_address

def test_ray_equals_one_process_and_its_errors_are_ours(photos, tmp_path, address):
    "A photo that the encoder cannot bear ends a run on Ray in one error; what was done stays, and has the bytes of one process"
    Image.new('RGB', (32, 40), 'white').save(tmp_path/'z.png')
    names = [*map(str, sorted(photos.rglob('*.*g'))), str(tmp_path/'z.png')]
    with pytest.raises(FabricError, match='z.png: the encoder gave NaN') as e: embed_files(names, tmp_path/'ray', Black(), shard=3, workers=2)
    assert 'Ray' not in str(e.value) and e.value.__cause__ is None and e.value.__context__ is None
    by_ray = shards(tmp_path/'ray')
    assert 1 <= len(by_ray) < 7
    for out in ('ray', 'here'): embed_files(names, tmp_path/out, Mean(), shard=3, workers=0)
    assert files(tmp_path/'ray') == files(tmp_path/'here') and by_ray == shards(tmp_path/'ray')[:len(by_ray)]

def test_nobody_at_the_address(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(pytest.importorskip('ray'), 'is_initialized', lambda: False)
    with pytest.raises(FabricError, match='no Ray cluster could be reached at 127.0.0.1:9'): embed_files(photos, tmp_path, Mean(), address='127.0.0.1:9', shard=4)

DRIVER = """
import ray, sys, test_scale
from fabric_touch.scale import embed_files
ray.cloudpickle.register_pickle_by_value(test_scale)
embed_files(sys.argv[1], sys.argv[2], test_scale.Mean(wait=.1), shard=4, **({'address': sys.argv[3]} if sys.argv[3:] else {'workers': 2}))
"""

def workers():
    "pid of each worker of Ray on this machine"
    def name(pid):
        try: return Path('/proc', pid, 'cmdline').read_bytes()
        except OSError: return b''
    return {int(p) for p in os.listdir('/proc') if p.isdigit() and name(p).startswith(b'ray::MapWorker')}

@pytest.mark.stress
@pytest.mark.parametrize('joined', [False, True])
def test_a_driver_of_ray_is_killed(photos, whole, tmp_path, address, joined):
    "Its workers go with it, whether it started Ray itself or joined one by the address"
    out, args = tmp_path/'out', [address]*joined
    p = subprocess.Popen([sys.executable, '-c', DRIVER, photos, out, *args], cwd=Path(__file__).parent, stderr=subprocess.PIPE, start_new_session=True)
    assert until(lambda: shards(out) or p.poll() is not None) and p.poll() is None, p.stderr.read().decode()[-2000:]
    assert workers()
    p.kill(); p.wait()
    assert until(lambda: not workers(), 60)
    gone_on_with(photos, whole, out, tmp_path)

@pytest.mark.stress
def test_pages_on_ray(photos, pages, tmp_path, address, monkeypatch):
    monkeypatch.chdir(photos)
    for n in (0, 2): describe_catalog(pages, tmp_path/str(n), workers=n, shard=4)
    assert files(tmp_path/'0') == files(tmp_path/'2')

@pytest.mark.stress
def test_a_worker_that_cannot_start_is_told(photos, tmp_path, address):
    "What the workers lack, such as this file, is named"
    ray = pytest.importorskip('ray')
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    try:
        with pytest.raises(FabricError, match="No module named 'test_scale'; each machine needs"): embed_files(photos, tmp_path, Mean(), shard=4, workers=2)
    finally: ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
