"The embedding store: nothing lost, nothing doubled, nothing believed that was damaged."
import os, random, signal, subprocess, sys, threading, time

import numpy as np, pytest, torch
from PIL import Image
from torch import nn
from fabric_touch import embeds, core
from fabric_touch.core import FabricError
from fabric_touch.embeds import EmbeddingStore, embed, embed_all, picture_digest

pytestmark = pytest.mark.once

def digest(i): return f'{i:032x}'
def digests(*r): return [digest(i) for i in range(*r)]
def vectors(*r, n_out=4): return np.add.outer(np.arange(*r, dtype=np.float32), np.arange(n_out, dtype=np.float32)/8)

@pytest.fixture
def store(tmp_path):
    s = EmbeddingStore(tmp_path, 'toy', 4)
    assert s.add(digests(10), vectors(10)) == 10
    return s

def check(store, n=None):
    "Every row is the vector of its own digest, each digest stands there once; how many there are"
    store = EmbeddingStore(store.folder.parent, store.encoder_id, store.n_out)
    keys = np.fromfile(store.folder/'digests.bin', embeds._row)['digest'][:len(store)]
    numbers = [int(k.ljust(16, b'\0').hex(), 16) for k in keys.tolist()]
    assert len(set(numbers)) == len(numbers) == len(store)
    known, found = store.get([digest(i) for i in numbers])
    assert known.all()
    np.testing.assert_array_equal(found, np.float32(numbers)[:, None] + np.arange(store.n_out, dtype=np.float32)/8)
    assert n is None or len(store) == n
    return len(store)

class Toy:
    "Mean colour, counting what it is asked to prepare"
    id, n_out = 'mean colour', 3
    def __init__(self): self.prepared, self.batches = 0, []
    def prepare(self, img): self.prepared += 1; return torch.from_numpy(np.array(Image.fromarray(np.array(img)).resize((8, 8)))).permute(2, 0, 1)/255
    def __call__(self, x): self.batches.append(len(x)); return x.mean((2, 3))

def fabrics(n, seed=0): return np.random.default_rng(seed).integers(0, 255, (n, 8, 8, 3), dtype=np.uint8)

# ---- digests

def test_digest_of_a_file_is_sha256(tmp_path):
    (tmp_path/'abc').write_bytes(b'abc')
    assert picture_digest(tmp_path/'abc') == picture_digest(str(tmp_path/'abc')) == 'ba7816bf8f01cfea414140de5dae2223'

def test_digests_differ_where_pictures_do():
    a = fabrics(1)[0]
    img = Image.fromarray(a)
    turned = img.copy(); turned.getexif()[0x0112] = 6      # a flag that says: turn me
    p1 = img.quantize(8); p2 = p1.copy(); p2.putpalette(bytes(range(48)))
    found = [picture_digest(o) for o in (a, a[:4], a.reshape(4, 16, 3), img, img.convert('L'), turned, p1, p2, img.resize((4, 16)))]
    assert len(set(found)) == len(found)
    assert picture_digest(img.copy()) == picture_digest(img) and picture_digest(a[::-1][::-1]) == picture_digest(a)

@pytest.mark.parametrize('bad', [None, 3, b'bytes', np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((1, 4, 4, 3), np.uint8), torch.zeros(3, 4, 4)], ids=str)
def test_what_is_no_picture(bad):
    with pytest.raises(FabricError, match='a picture is'): picture_digest(bad)

# ---- the store

def test_round_trip(store, tmp_path):
    check(store, 10)
    other = EmbeddingStore(tmp_path, 'toy', 4)
    known, found = other.get([digest(3), digest(99), digest(0), digest(3)])
    assert known.tolist() == [True, False, True, True]
    np.testing.assert_array_equal(found, vectors(10)[[3, 0, 3]])
    assert digest(9) in other and digest(10) not in other and len(other) == 10
    assert store.add(digests(8, 12), vectors(8, 12)) == 2
    assert len(other) == 12 and digest(11) in other        # seen by the one that was open all the time
    assert other.get([])[1].shape == (0, 4) and other.add([], np.empty((0, 4))) == 0

def test_digests_that_end_in_zeros(tmp_path):
    s = EmbeddingStore(tmp_path, 'toy', 1)
    names = ['00'*16, 'ab' + '00'*15, 'ab'*2 + '00'*14, '00'*15 + 'ab']
    s.add(names, [[1], [2], [3], [4]])
    for o in (s, EmbeddingStore(tmp_path, 'toy', 1)): assert o.get(names[::-1])[1].ravel().tolist() == [4, 3, 2, 1]

@pytest.mark.parametrize('folder', [True, False], ids=['disk', 'memory'])
def test_sorted_and_recent_rows_agree(tmp_path, monkeypatch, folder):
    monkeypatch.setattr(embeds, '_RECENT', 7)
    rng, names = np.random.default_rng(0), [np.random.default_rng(i).bytes(16).hex() for i in range(100)]
    s, want = EmbeddingStore(tmp_path if folder else None, 'toy', 2), {}
    for _ in range(40):
        some = rng.choice(100, rng.integers(1, 6))
        v = rng.normal(size=(len(some), 2)).astype(np.float32)
        new = {names[i] for i in some} - set(want)
        assert s.add([names[i] for i in some], v) == len(new)
        for i,o in zip(some, v): want.setdefault(names[i], o)
        known, found = s.get(names)
        assert known.tolist() == [o in want for o in names]
        np.testing.assert_array_equal(found, [want[o] for o in names if o in want])
    assert len(s) == len(want)

def test_nothing_is_written_by_looking(tmp_path):
    s = EmbeddingStore(tmp_path/'new', 'toy', 4)
    assert len(s) == 0 and digest(1) not in s and s.get([digest(1)])[1].shape == (0, 4)
    assert not (tmp_path/'new').exists()

def test_encoders_have_folders_of_their_own(tmp_path):
    ids = ['a/b', 'a-b', '../../etc/passwd', '..', 'é'*300, 'a\0b', 'CON', '/abs', 'x'*500]
    stores = [EmbeddingStore(tmp_path/'s', o, 2) for o in ids]
    for i,s in enumerate(stores): s.add([digest(1)], [[i, i]])
    assert len(list((tmp_path/'s').iterdir())) == len(ids) and [p.name for p in tmp_path.iterdir()] == ['s']
    for i,o in enumerate(ids): assert EmbeddingStore(tmp_path/'s', o, 2).get([digest(1)])[1].tolist() == [[i, i]]

@pytest.mark.parametrize('args, why', [(('', 4), 'encoder_id'), ((None, 4), 'encoder_id'), (('toy', 0), 'n_out'), (('toy', 4.5), 'n_out'), (('toy', None), 'n_out')], ids=str)
def test_bad_stores(tmp_path, args, why):
    with pytest.raises(FabricError, match=why): EmbeddingStore(tmp_path, *args)

bad_adds = [([digest(50)], [[1, 2, 3]], 'shape'), ([digest(50)], [[1, 2, 3, np.nan]], 'NaN'), ([digest(50)], [[1, 2, 3, np.inf]], 'NaN'), ([digest(50)], [[1, 2, 3, 1e300]], 'NaN'), ([digest(50)], [], 'shape'),
            (['xyz'], [[1, 2, 3, 4]], 'digest'), ([' ' + digest(1)[1:]], [[1, 2, 3, 4]], 'digest'), ([None], [[1, 2, 3, 4]], 'digest'), ([b'1'*16], [[1, 2, 3, 4]], 'digest'), (digest(50), [[1, 2, 3, 4]], 'digest'),
            ([digest(50)[:30], digest(50) + '00'], [[1, 2, 3, 4]]*2, 'digest')]

@pytest.mark.parametrize('names, rows, why', bad_adds, ids=range(len(bad_adds)))
def test_bad_adds(store, names, rows, why):
    before = {p.name: p.read_bytes() for p in store.folder.iterdir()}
    with pytest.raises(FabricError, match=why): store.add(names, rows)
    assert {p.name: p.read_bytes() for p in store.folder.iterdir()} == before

def test_another_width_or_encoder_by_name(store, tmp_path):
    with pytest.raises(FabricError, match="n_out is '4', expected 8"): EmbeddingStore(tmp_path, 'toy', 8)
    store.folder.rename(tmp_path/embeds._slug('other'))
    with pytest.raises(FabricError, match="encoder_id is 'toy', expected 'other'"): EmbeddingStore(tmp_path, 'other', 4)

# ---- damage

abouts = {'empty': b'', 'cut': b'{"format": "fab', 'list': b'[]', 'page': b'<html>', 'nested': b'['*90_000, 'bytes': bytes(range(256)), 'other': b'{"format": "x"}', 'number': b'3', 'huge': b' '*10**6 + b'{}'}

@pytest.mark.parametrize('what', abouts)
def test_corrupt_about(store, what):
    (store.folder/'store.json').write_bytes(abouts[what])
    for act in (lambda: EmbeddingStore(store.folder.parent, 'toy', 4), lambda: store.add([digest(77)], vectors(77, 78))):
        with pytest.raises(FabricError, match='store.json'): act()

def test_missing_about(store):
    (store.folder/'store.json').unlink()
    with pytest.raises(FabricError, match='no store.json'): EmbeddingStore(store.folder.parent, 'toy', 4)

@pytest.mark.parametrize('name', ['store.json', 'vectors.f32', 'digests.bin'])
@pytest.mark.parametrize('what', ['folder', 'loop', 'pipe'])
def test_something_else_in_place(store, name, what):
    path = store.folder/name
    path.unlink()
    dict(folder=path.mkdir, loop=lambda: path.symlink_to(path), pipe=lambda: os.mkfifo(path))[what]()
    with pytest.raises(FabricError, match=name): EmbeddingStore(store.folder.parent, 'toy', 4)
    with pytest.raises(FabricError): store.add([digest(50)], vectors(50, 51))

def test_truncated_at_every_length(store):
    old = {n: (store.folder/n).read_bytes() for n in ('vectors.f32', 'digests.bin')}
    for name, width in (('vectors.f32', 16), ('digests.bin', 20)):
        for k in (0, 1, width-1, width, 5*width+3, 9*width, 10*width-1):
            for n,b in old.items(): (store.folder/n).write_bytes(b)
            (store.folder/name).write_bytes(old[name][:k])
            assert check(store) == k//width
            assert len(store) == k//width                 # the one that was open sees it too
            assert store.add(digests(10), vectors(10)) == 10 - k//width
            check(store, 10)
            assert (store.folder/name).read_bytes() == old[name]

def test_bit_flips_are_found_or_harmless(store):
    dice, names = random.Random(0), ('vectors.f32', 'digests.bin', 'store.json')
    for i in range(60):
        path = store.folder/names[i % 3]
        old = path.read_bytes(); at = dice.randrange(len(old))
        path.write_bytes(old[:at] + bytes([old[at] ^ 1 << dice.randrange(8)]) + old[at+1:])
        try:
            known, found = EmbeddingStore(store.folder.parent, 'toy', 4).get(digests(10))
            np.testing.assert_array_equal(found, vectors(10)[known])   # what is given is right
            assert i % 3 and known.sum() >= 9
        except FabricError as e: assert 'toy' in str(e)
        path.write_bytes(old)
    check(store, 10)

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_full_disk(store, monkeypatch):
    def full(*args): open('/dev/full', 'wb', buffering=0).write(b'1')
    monkeypatch.setattr(embeds._Files, 'append', full)
    with pytest.raises(FabricError, match='No space left'): store.add([digest(50)], vectors(50, 51))
    monkeypatch.undo()
    check(store, 10)
    assert store.add([digest(50)], vectors(50, 51)) == 1

# ---- the plug pulled within a write; at any other moment: test_unplugged

appender = """
import os, signal, sys, numpy as np
from fabric_touch import embeds
folder, first, step, stop_at = sys.argv[1], *map(int, sys.argv[2:5])
store = embeds.EmbeddingStore(folder, 'toy', 4)
if stop_at:                                     # die in the midst of the given write, with half of it on disk
    real, count = embeds.os.fsync, [0]
    def fsync(fd):
        real(fd); count[0] += 1
        if count[0] == stop_at: os.ftruncate(fd, os.fstat(fd).st_size - 7); os.kill(os.getpid(), signal.SIGKILL)
    embeds.os.fsync = fsync
for i in range(first, first + 30*step, step):
    n = np.arange(i, i + 10)
    store.add([f'{k:032x}' for k in n], np.add.outer(n.astype('f4'), np.arange(4, dtype='f4')/8))
    print(i, flush=True)
"""

def start(folder, first=0, step=10, stop_at=0):
    return subprocess.Popen([sys.executable, '-c', appender, str(folder), str(first), str(step), str(stop_at)], stdout=subprocess.PIPE, text=True)

@pytest.mark.parametrize('stop_at', [3, 4, 5, 6])   # 1 belongs to store.json; then vectors, digests, vectors, ...
def test_killed_within_a_write(tmp_path, stop_at):
    p = start(tmp_path, stop_at=stop_at)
    p.communicate(timeout=60)
    assert p.returncode == -signal.SIGKILL
    store = EmbeddingStore(tmp_path, 'toy', 4)
    assert check(store) in (9, 10, 19, 20)
    store.add(digests(40), vectors(40))
    check(store, 40)
    assert (store.folder/'vectors.f32').stat().st_size == 40*16 and (store.folder/'digests.bin').stat().st_size == 40*20

# ---- two at once: see test_two_at_once

def test_lock_without_flock(store, monkeypatch):
    monkeypatch.setattr(embeds, 'fcntl', None)
    assert store.add([digest(60)], vectors(60, 61)) == 1
    assert not (store.folder/'lock.held').exists()
    monkeypatch.setattr(embeds, 'LOCK_SECONDS', .05)
    (store.folder/'lock.held').write_bytes(b'')
    with pytest.raises(FabricError, match='delete .*lock.held'): store.add([digest(61)], vectors(61, 62))
    (store.folder/'lock.held').unlink()
    check(store, 11)

def test_lock_is_not_waited_for_forever(store, monkeypatch):
    monkeypatch.setattr(embeds, 'LOCK_SECONDS', .05)
    with store._rows.lock():
        with pytest.raises(FabricError, match='held by another process'): store.add([digest(60)], vectors(60, 61))
    assert store.add([digest(60)], vectors(60, 61)) == 1

# ---- embedding

@pytest.fixture
def photos(tmp_path):
    (tmp_path/'photos').mkdir()
    for i,a in enumerate(fabrics(6)): Image.fromarray(a).save(tmp_path/'photos'/f'{i}.png')
    return sorted((tmp_path/'photos').iterdir())

def test_second_run_prepares_nothing(photos, tmp_path, monkeypatch):
    e, s = Toy(), EmbeddingStore(tmp_path/'s', Toy.id, 3)
    first = embed(e, photos, s, bs=4)
    assert first.dtype == torch.float32 and first.shape == (6, 3) and (e.prepared, e.batches) == (6, [4, 2])
    np.testing.assert_allclose(first, fabrics(6).mean((1, 2))/255, atol=1e-6)
    monkeypatch.setattr('fabric_touch.data.load_photo', lambda path: 1/0)          # nothing is decoded either
    e = Toy()
    assert torch.equal(embed(e, [str(p) for p in photos[::-1]], EmbeddingStore(tmp_path/'s', Toy.id, 3)), first.flip(0))
    assert e.prepared == 0

def test_kinds_of_pictures_agree(photos):
    a = embed(Toy(), photos); b = embed(Toy(), fabrics(6)); c = embed(Toy(), [Image.open(p) for p in photos])
    assert torch.equal(a, b) and torch.equal(a, c)
    assert torch.equal(embed(Toy(), [photos[0], fabrics(6)[1], Image.open(photos[2])]), a[:3])

def test_rotation_flag_counts(tmp_path):
    img = Image.fromarray(np.uint8(np.arange(8*8*3).reshape(8, 8, 3)))
    flag = Image.Exif(); flag[0x0112] = 6
    img.save(tmp_path/'turned.png', exif=flag)
    class Corner(Toy):
        def __call__(self, x): return x[:, :, 0, 0]
    a, b, c = embed(Corner(), [tmp_path/'turned.png']), embed(Corner(), [Image.open(tmp_path/'turned.png')]), embed(Corner(), [img])
    assert torch.equal(a, b) and not torch.equal(a, c)

def test_store_deleted_during_a_run(tmp_path):
    import shutil
    s = EmbeddingStore(tmp_path/'s', Toy.id, 3)
    class Deletes(Toy):
        def __call__(self, x):
            if self.batches: shutil.rmtree(s.folder)
            return super().__call__(x)
    with pytest.raises(FabricError, match='run again|written'): embed(Deletes(), fabrics(4), s, bs=2)

def test_twice_in_one_call(tmp_path):
    e, x = Toy(), fabrics(5)
    assert torch.equal(embed(e, np.concatenate([x, x, x]), bs=4), embed(Toy(), x).repeat(3, 1)) and e.prepared == 5

def test_nothing_to_embed(): assert embed(Toy(), []).shape == (0, 3)

def test_stop_loses_one_batch_at_most(tmp_path):
    class Stops(Toy):
        def prepare(self, img):
            if self.prepared == 7: raise KeyboardInterrupt
            return super().prepare(img)
    s = EmbeddingStore(tmp_path, Toy.id, 3)
    with pytest.raises(KeyboardInterrupt): embed(Stops(), fabrics(20), s, bs=3)
    assert len(s) == 6
    e = Toy(); embed(e, fabrics(20), s, bs=3)
    assert e.prepared == 14

def png_bomb():
    import struct, zlib
    def chunk(kind, data): return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', 20_000, 20_000, 8, 2, 0, 0, 0)) + chunk(b'IDAT', b'') + chunk(b'IEND', b'')

@pytest.mark.parametrize('what', ['empty', 'cut', 'text', 'bomb', 'missing', 'folder'])
def test_unreadable_photo_by_name(photos, what):
    bad = photos[0].with_name('bad.png')
    if what == 'folder': bad.mkdir()
    elif what != 'missing': bad.write_bytes(dict(empty=b'', cut=photos[0].read_bytes()[:90], text=b'not a photo', bomb=png_bomb())[what])
    with pytest.raises(FabricError, match='bad.png'): embed(Toy(), [*photos, bad])

def test_photo_that_changes(photos, monkeypatch):
    from fabric_touch import data
    real = data.load_photo
    def slow(path): photos[0].write_bytes(photos[1].read_bytes()); return real(path)
    monkeypatch.setattr(data, 'load_photo', slow)
    with pytest.raises(FabricError, match='0.png: changed while'): embed(Toy(), photos[:1])

class Net(nn.Module):
    id, n_out = 'net', 3
    def __init__(self): super().__init__(); self.body = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3), nn.Dropout(.5))
    def prepare(self, img): return torch.from_numpy(np.array(img)).permute(2, 0, 1)/255
    def forward(self, x): assert not torch.is_grad_enabled(); return self.body(x).mean((2, 3))

def test_modes_and_statistics_are_as_before():
    net = Net().train(); net.body[1].eval()
    stats = net.body[1].running_mean.clone()
    a, b = embed(net, fabrics(5)), embed(net, fabrics(5), bs=2)
    assert torch.allclose(a, b, atol=1e-6) and not a.requires_grad
    assert net.training and net.body[0].training and not net.body[1].training and net.body[2].training
    assert torch.equal(stats, net.body[1].running_mean) and torch.is_grad_enabled()
    net.forward = lambda x: 1/0
    with pytest.raises(ZeroDivisionError): embed(net, fabrics(1))
    assert net.training and torch.is_grad_enabled()

def but(**changes): return type('Changed', (Toy,), changes)()

def test_bad_encoders_and_items():
    x = fabrics(2)
    for e, items, kw, why in [(but(n_out=4), x, {}, 'its n_out promises'), (but(__call__=lambda s, x: x.mean((2, 3))*float('nan')), x, {}, 'NaN'),
                              (but(prepare=lambda s, o: torch.zeros(3, 4 + int(np.asarray(o)[0, 0, 0]) % 7, 4)), fabrics(9), {}, 'different shapes'), (Toy(), x[0], {}, 'give a list'), (Toy(), 'a.jpg', {}, 'give a list'),
                              (Toy(), Image.fromarray(x[0]), {}, 'give a list'), (Toy(), x/255, {}, 'uint8'), (Toy(), x, dict(bs=0), 'bs is 0'), (Toy(), x, dict(store=EmbeddingStore(None, 'other', 3)), "the store is for 'other'"),
                              (Toy(), x, dict(store=EmbeddingStore(None, Toy.id, 5)), 'with 5 numbers')]:
        with pytest.raises(FabricError) as err: embed(e, items, **kw)
        assert why in str(err.value), str(err.value)

def test_bar_only_when_it_takes_long(monkeypatch, capsys):
    clock = [0.]
    monkeypatch.setattr(core.time, 'perf_counter', lambda: clock[0])
    seen = []
    monkeypatch.setattr(core.sys.stdout, 'isatty', lambda: True, raising=False)
    monkeypatch.setattr('fastprogress.fastprogress.progress_bar', lambda seq, **kw: seen.append(len(seq)) or seq)
    for cost, n, progress, want in [(.01, 100, True, []), (.1, 100, True, [95]), (.1, 10, True, []), (.1, 100, False, []), (5, 1, True, []), (5, 3, True, [2])]:
        seen.clear(); out = []
        for o in core.paced(list(range(n)), progress): out.append(o); clock[0] += cost
        assert (out, seen) == (list(range(n)), want)

# ---- several encoders, one decode

class Dark(Toy):
    id = 'darkest'
    def __call__(self, x): self.batches.append(len(x)); return x.amin((2, 3))

def stored(folder, e): return EmbeddingStore(folder, e.id, e.n_out)

@pytest.fixture
def decoded(monkeypatch):
    "How often each photo was decoded"
    from collections import Counter
    from fabric_touch import data
    seen, real = Counter(), data.load_photo
    def load_photo(path, size=None): seen[os.path.basename(path)] += 1; return real(path, size)
    monkeypatch.setattr(data, 'load_photo', load_photo)
    return seen

@pytest.mark.parametrize('n_workers', [0, 1, 2, 5])
def test_two_encoders_as_each_alone(tmp_path, photos, decoded, n_workers):
    a, b = Toy(), Dark()
    found = embed_all([a, b], photos, tmp_path/'s', bs=4, n_workers=n_workers)
    assert set(decoded.values()) == {1} and len(decoded) == 6 and found.rows.tolist() == list(range(6)) and not len(found.bad)
    for v, e in zip(found.vectors, (Toy(), Dark())): assert torch.equal(v, embed(e, photos, bs=4)) and e.batches == a.batches == [4, 2]
    decoded.clear()
    again = embed_all([Dark(), Toy()], photos[::-1], tmp_path/'s', n_workers=n_workers)
    assert torch.equal(again.vectors[1], found.vectors[0].flip(0)) and not decoded

def test_known_to_some(tmp_path, photos, decoded):
    embed(Toy(), photos[:4], stored(tmp_path/'s', Toy)); embed(Dark(), photos[2:5], stored(tmp_path/'s', Dark))
    decoded.clear()
    a, b = Toy(), Dark()
    found = embed_all([a, b], photos, tmp_path/'s')
    assert (a.prepared, b.prepared) == (2, 3) and sorted(decoded) == ['0.png', '1.png', '4.png', '5.png'] and set(decoded.values()) == {1}
    for v, e in zip(found.vectors, (Toy(), Dark())): assert torch.equal(v, embed(e, fabrics(6)))

def test_bad_ones_are_left_out_and_told(tmp_path, photos):
    cut, text, gone = (photos[0].with_name(n) for n in ('cut.png', 'text.png', 'gone.png'))
    cut.write_bytes(photos[0].read_bytes()[:90]); text.write_bytes(b'no photo')
    items = [cut, photos[0], photos[1], gone, text, photos[2], cut, None, photos[1], fabrics(6)[3], photos[4]]
    e = Toy()
    found = embed_all([e, Dark()], items, tmp_path/'s', bs=3, skip_bad=True)
    assert found.rows.tolist() == [1, 2, 5, 8, 9, 10] and found.bad.row.tolist() == [0, 3, 4, 6, 7] and e.batches == [3, 2]       # whole batches
    for why, word in zip(found.bad.why, ('cut.png', 'no such file', 'text.png', 'cut.png', 'a picture is')): assert word in why
    assert torch.equal(found.vectors[0], embed(Toy(), fabrics(6)[[0, 1, 2, 1, 3, 4]]))
    assert torch.equal(embed_all([Toy(), Dark()], items, tmp_path/'s', skip_bad=True).vectors[1], found.vectors[1])
    with pytest.raises(FabricError, match='gone.png'): embed_all([Toy()], items, tmp_path/'t')
    with pytest.raises(FabricError, match='cut.png'): embed_all([Toy()], [*photos[:5], cut, text], tmp_path/'t', bs=2)
    assert len(stored(tmp_path/'t', Toy)) == 4                                    # what was stored stays
    nothing = embed_all([Toy()], [cut, gone], skip_bad=True)
    assert nothing.vectors[0].shape == (0, 3) and nothing.bad.row.tolist() == [0, 1] and not len(nothing.rows)
    assert list(embed_all([Toy()], []).bad) == ['row', 'why']

def test_an_encoders_own_fault_is_no_bad_photo(photos):
    with pytest.raises(FabricError, match='0.png: could not be prepared .ZeroDivisionError'): embed_all([but(prepare=lambda s, o: 1/0)], photos, skip_bad=True)
    with pytest.raises(FabricError, match='picture 0: could not be prepared'): embed_all([but(prepare=lambda s, o: 1/0)], fabrics(3))
    with pytest.raises(FabricError, match='0.png: the encoder gave NaN'): embed_all([but(__call__=lambda s, x: x.mean((2, 3))*float('nan'))], photos, skip_bad=True)
    for e, kw, why in [(Toy(), {}, 'give a list'), ([], {}, 'give a list'), ([Toy()], dict(n_workers=-1), 'n_workers is -1'), ([Toy()], dict(n_workers=None), 'n_workers'), ([Toy()], dict(bs=True), 'bs is'), ([but(draft=True)], {}, 'must also say size')]:
        with pytest.raises(FabricError, match=why): embed_all(e, photos, **kw)

def test_order_with_uneven_work():
    class Uneven(Toy):
        def prepare(self, img): time.sleep(.02*(int(np.asarray(img)[0, 0, 0]) % 3)); return super().prepare(img)
    assert torch.equal(embed(Uneven(), fabrics(30), bs=4, n_workers=4), embed(Toy(), fabrics(30), bs=4, n_workers=0))

def test_gradients_are_off_in_threads():
    class Grad(Net):
        def prepare(self, img): assert not torch.is_grad_enabled(); return super().prepare(img)*self.body[0].bias.new_ones(1)
    assert not embed(Grad(), fabrics(3)).requires_grad

def workers(): return [t for t in threading.enumerate() if t.name.startswith('ThreadPool')]

@pytest.mark.parametrize('error', [KeyboardInterrupt, FabricError, MemoryError])
def test_no_thread_is_left(tmp_path, error):
    before = workers()
    class Stops(Toy):
        def __call__(self, x):
            if self.batches: raise error('stop')
            return super().__call__(x)
    s = EmbeddingStore(tmp_path, Toy.id, 3)
    with pytest.raises(error): embed(Stops(), fabrics(50), s, bs=4)
    assert len(s) == 4 and workers() == before
    embed(Toy(), fabrics(50), s, bs=4)
    assert len(s) == 50 and workers() == before

def test_no_more_than_a_batch_ahead():
    class Counts(Toy):
        def __call__(self, x): most.append(self.prepared - sum(self.batches)); time.sleep(.05); most.append(self.prepared - sum(self.batches)); return super().__call__(x)
    most = []
    embed(Counts(), fabrics(60), bs=5, n_workers=3)
    assert 5 <= max(most) <= 5 + 5 + 1

def test_reduced_only_where_asked(tmp_path, decoded):
    big = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(big).resize((1600, 1200), Image.BICUBIC).save(tmp_path/'a.jpg'); Image.fromarray(big).save(tmp_path/'b.png')
    class Sees(Toy):
        def prepare(self, img): self.sizes.append(img.size); return super().prepare(img)
    def sees(**kw): e = but(**kw, prepare=Sees.prepare); e.__class__ = type('Sees', (Sees,), kw); e.sizes = []; return e
    whole, half, less = sees(), sees(draft=True, size=500), sees(draft=True, size=130, crop=.5)
    same = sees(draft=True, size=400)
    embed_all([whole, half, less, same], [tmp_path/'a.jpg', tmp_path/'b.png', Image.open(tmp_path/'a.jpg')], n_workers=0)
    assert whole.sizes == [(1600, 1200), (80, 60), (1600, 1200)] and half.sizes == same.sizes == [(800, 600), (80, 60), (1600, 1200)] and less.sizes[0] == (400, 300)
    assert decoded['a.jpg'] == 3                          # whole, at a half for two, at a quarter

both = """
import os, sys
sys.path.insert(0, {tests!r})
import test_embeds as t
folder, photos = sys.argv[1:3]
found = t.embed_all([t.Toy(), t.Dark()], sorted(t.os.path.join(photos, n) for n in t.os.listdir(photos)), folder, bs=3)
print(found.vectors[0].sum().item(), found.vectors[1].sum().item())
"""

@pytest.mark.skipif(os.name != 'posix', reason='signals')
@pytest.mark.once
def test_ctrl_c(tmp_path):
    code = both.format(tests=os.path.dirname(os.path.abspath(__file__))).replace('folder, photos', "t.Toy.prepare = lambda s, o: (print('x', flush=True), t.time.sleep(.2), t.torch.zeros(3, 2, 2))[2]\nfolder, photos")
    (tmp_path/'photos').mkdir()
    for i, a in enumerate(fabrics(60)): Image.fromarray(a).save(tmp_path/'photos'/f'{i:02}.png')
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, str(tmp_path/'s'), str(tmp_path/'photos')], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    p.stdout.readline()
    p.send_signal(signal.SIGINT)
    start, err = time.monotonic(), p.communicate(timeout=60)[1]
    assert p.returncode and 'KeyboardInterrupt' in err and time.monotonic() - start < 5

@pytest.mark.stress
def test_memory_is_flat(tmp_path):
    "1,000 photos of a megapixel need no more memory than 200"
    code = """
import sys, resource, numpy as np, torch
from PIL import Image
sys.path.insert(0, {tests!r})
import test_embeds as t
from pathlib import Path
folder, n = Path(sys.argv[1]), int(sys.argv[2])
t.embed(t.Toy(), [folder/'0.jpg'])
start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
t.embed(t.Toy(), [folder/f'{{i}}.jpg' for i in range(n)])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start)
""".format(tests=os.path.dirname(os.path.abspath(__file__)))
    img = Image.fromarray(np.random.default_rng(0).integers(0, 255, (30, 40, 3), dtype=np.uint8)).resize((1200, 900), Image.BICUBIC)
    for i in range(1000): img.putpixel((0, 0), (i % 256, i//256, 0)); img.save(tmp_path/f'{i}.jpg', comment=str(i))
    few, many = (int(subprocess.run([sys.executable, '-W', 'ignore', '-c', code, str(tmp_path), str(n)], capture_output=True, text=True, check=True).stdout) for n in (200, 1000))
    assert many < few + 30_000, (few, many)                # kilobytes

@pytest.mark.stress
def test_a_million_vectors(tmp_path):
    import resource
    s, rng = EmbeddingStore(tmp_path, 'toy', 64), np.random.default_rng(0)
    names = [rng.bytes(16).hex() for _ in range(1_000_000)]
    for i in range(0, 1_000_000, 100_000): s.add(names[i:i+100_000], rng.normal(size=(100_000, 64)))
    s = EmbeddingStore(tmp_path, 'toy', 64)
    assert len(s) == 1_000_000 and s.has(names).all() and not s.has([o[::-1] for o in names[:1000]]).any()
    assert s.get(names[::1000])[1].shape == (1000, 64)

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_child_lets_go_of_the_lock(tmp_path):
    "A worker of a DataLoader outlives its killed parent by seconds, and must not keep the next run waiting"
    parent = os.fork()
    if not parent:
        try:
            with embeds.locked(tmp_path/'lock'):
                if not os.fork(): time.sleep(5); os._exit(0)       # the worker
                os._exit(0)                                        # killed: nothing is released by hand
        finally: os._exit(1)
    assert os.waitpid(parent, 0)[1] == 0
    with embeds.locked(tmp_path/'lock', wait=1): pass
