"Pixels: the same as from the file, whole or not there, shared, and what cannot be read."
import errno, os, pickle, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np, pandas as pd, pytest
from PIL import Image
from fabric_touch import pixels as room
from fabric_touch.core import FabricError
from fabric_touch.data import load_photo
from fabric_touch.folders import ClassTable
from fabric_touch.pixels import open_pixels, read_pixels

pytestmark = pytest.mark.once

def noise(folder, n=3, side=(30, 20), mode='L', seed=0):
    rng, folder = np.random.default_rng(seed), Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [str(folder/f'{i:03d}.png') for i in range(n)]
    for p in paths: Image.fromarray(rng.integers(0, 256, side, dtype=np.uint8)).convert(mode).save(p)
    return paths

def table_of(paths): return ClassTable(pd.DataFrame(dict(image=paths, label=['a', 'b']*(len(paths)//2) + ['a']*(len(paths) % 2))), ('a', 'b'))
def finished(folder): return sorted(p.name for p in Path(folder).glob('*.npy'))
def hidden(folder): return [p.name for p in Path(folder).glob('.*')]

# ---- the pixels

ODD = dict(rgba=('RGBA', 'png'), palette=('P', 'png'), bits=('1', 'png'), cmyk=('CMYK', 'jpg'), deep=('I;16', 'png'), grey=('L', 'jpg'), alpha=('LA', 'png'))

@pytest.mark.parametrize('name', ODD)
def test_any_mode_is_as_resize_makes_it(name, tmp_path):
    import albumentations as A
    mode, suffix = ODD[name]
    rng, file = np.random.default_rng(1), tmp_path/f'x.{suffix}'
    img = Image.fromarray(rng.integers(0, 65536, (41, 77), dtype=np.uint16)) if mode == 'I;16' else Image.fromarray(rng.integers(0, 256, (41, 77, 3), dtype=np.uint8)).convert(mode)
    if 'A' in img.getbands(): img.putalpha(Image.fromarray(rng.integers(0, 256, (41, 77), dtype=np.uint8)))
    img.save(file)
    assert (read_pixels([file], 32, tmp_path)[0] == A.Resize(32, 32)(image=np.array(load_photo(file)))['image']).all()

@pytest.mark.parametrize('side', [(1, 1), (1, 400), (400, 1), (32, 32), (31, 33)])
def test_any_shape(side, tmp_path):
    import albumentations as A
    p, = noise(tmp_path/'in', 1, side)
    assert (read_pixels([p], 32, tmp_path)[0] == A.Resize(32, 32)(image=np.array(load_photo(p)))['image']).all()

@pytest.mark.parametrize('coloured', [0, 63, 64, 69])
def test_one_coloured_picture_widens_all(coloured, tmp_path):
    paths = noise(tmp_path/'in', 70)
    grey = read_pixels(paths, 16, tmp_path)
    assert grey.array.shape == (70, 16, 16)
    Image.fromarray(np.random.default_rng(5).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(paths[coloured])
    mixed, others = read_pixels(paths, 16, tmp_path), np.arange(70) != coloured
    assert mixed.array.shape == (70, 16, 16, 3) and (mixed[others] == grey[others]).all() and (mixed.looks[others] == grey.looks[others]).all()
    assert (mixed[coloured] != mixed[coloured][..., :1]).any()

def test_a_whole_block_left_out(tmp_path):
    paths = [str(tmp_path/'gone.png')]*70 + noise(tmp_path/'in', 2)
    p = read_pixels(paths, 16, tmp_path)
    assert p.rows.tolist() == [70, 71] and len(p) == 2 and len(p.left_out) == 70 and set(p.left_out.why) == {'no such file'}

def test_one_thread_or_several(tmp_path):
    paths = noise(tmp_path/'in', 70)
    a, b = (read_pixels(paths, 16, tmp_path/str(k), n_workers=k) for k in (1, 4))
    assert (a[:] == b[:]).all() and Path(a.file).read_bytes() == Path(b.file).read_bytes()

@pytest.mark.parametrize('mode', ['L', 'RGB'])
def test_asking_for_some(mode, tmp_path):
    paths = noise(tmp_path/'in', 4, (30, 30, 3))
    p = read_pixels(paths if mode == 'RGB' else noise(tmp_path/'grey', 4), 16, tmp_path)
    every = p[:]
    assert every.shape == (4, 16, 16, 3) and every.dtype == np.uint8 and p.size == 16 and len(list(p)) == 4
    for i in (0, -1, np.int64(2)): assert (p[i] == every[i]).all() and p[i].flags.writeable and p[i].flags.c_contiguous
    for i in (slice(1, 3), [3, 0, 3], np.array([True, False, True, False]), slice(0, 0)): assert p[i].shape == every[i].shape and (p[i] == every[i]).all()
    every[:] = 0
    p[1][:] = 0
    assert p[1].any()                                  # what is given is a copy
    with pytest.raises(IndexError): p[4]

def test_drafts(tmp_path):
    file, x = tmp_path/'big.jpg', np.linspace(0, 255, 640)
    Image.fromarray(np.add.outer(x/2, x/2).astype(np.uint8)).save(file)
    whole, draft = read_pixels([file], 64, tmp_path), read_pixels([file], 64, tmp_path, draft=True)
    assert whole.file != draft.file and abs(whole[0].astype(int) - draft[0]).max() < 8

# ---- the file

def test_the_header_has_one_length(tmp_path):
    shapes = [(n, s, s, *c) for n in (0, 1, 10**6, 10**12) for s in (16, 1024) for c in ((), (3,))]
    with open(tmp_path/'x', 'w+b') as f:
        ends = set()
        for s in shapes: f.seek(0); ends.add(room._header(f, *s))
    assert len(ends) == 1

def test_named_by_what_it_depends_on(tmp_path):
    paths = noise(tmp_path/'in', 3)
    name = lambda p=paths, size=16, **kwargs: read_pixels(p, size, tmp_path/'out', **kwargs).file.name
    first = name()
    assert name([Path(p) for p in paths]) == name(table_of(paths)) == name(n_workers=1) == first
    assert len({first, name(size=17), name(paths[::-1]), name(paths[:2]), name(draft=True)}) == 5
    os.utime(paths[1], (1, 1))
    assert name() != first

def test_relative_paths_are_the_same_files(tmp_path, monkeypatch):
    paths = noise(tmp_path/'in', 2)
    monkeypatch.chdir(tmp_path)
    a, b = read_pixels(paths, 16, tmp_path/'out'), read_pixels(['in/000.png', 'in/001.png'], 16, 'out')
    sent = pickle.dumps(b)
    monkeypatch.chdir(tmp_path.parent)
    assert a.file.name == b.file.name and (pickle.loads(sent)[:] == a[:]).all() and len(sent) < 1000

def test_the_name_of_what_is_left_out_is_as_given(tmp_path, monkeypatch):
    noise(tmp_path/'in', 1); (tmp_path/'bad.png').write_bytes(b'x')
    monkeypatch.chdir(tmp_path)
    for given in ('bad.png', './bad.png'): assert read_pixels(['in/000.png', given], 16, 'out').left_out.file.tolist() == [given]

def damage(how, file):
    data = file.read_bytes()
    if how == 'other': np.save(file, np.zeros((3, 16, 16), np.float32))
    elif how == 'pickle': np.save(file, np.array([{}], dtype=object), allow_pickle=True)
    else: file.write_bytes(dict(empty=b'', head=data[:50], half=data[:len(data)//2], end=data[:-1], more=data + b'x', zeros=bytes(len(data)), text=b'{}')[how])

@pytest.mark.parametrize('how', ['empty', 'head', 'half', 'end', 'more', 'zeros', 'text', 'other', 'pickle'])
def test_a_damaged_file_is_made_again(how, tmp_path):
    paths = noise(tmp_path/'in', 3)
    p = read_pixels(paths, 16, tmp_path)
    whole = p[:]
    damage(how, p.file)
    with pytest.raises(FabricError, match='is no whole file of pixels'): open_pixels(p.file)
    with pytest.warns(UserWarning, match='it is made again'): again = read_pixels(paths, 16, tmp_path)
    assert (again[:] == whole).all() and not hidden(tmp_path)

def test_a_file_that_is_gone(tmp_path):
    p = read_pixels(noise(tmp_path/'in', 2), 16, tmp_path)
    sent = pickle.dumps(p)
    p.file.unlink()
    with pytest.raises(FabricError, match='no such file; read_pixels'): pickle.loads(sent)

@pytest.mark.parametrize('stop', [KeyboardInterrupt, OSError(errno.ENOSPC, 'No space left on device')])
def test_stopped_in_the_middle(stop, tmp_path, monkeypatch):
    paths, seen = noise(tmp_path/'in', 70), []
    look = room.LookEncoder.__call__
    def stops(self, x):
        seen.append(1)
        if len(seen) == 2: raise stop
        return look(self, x)
    with monkeypatch.context() as m:
        m.setattr(room.LookEncoder, '__call__', stops)
        with pytest.raises(FabricError if isinstance(stop, OSError) else KeyboardInterrupt, match=r'cannot be kept in .*out \(No space left on device\)' if isinstance(stop, OSError) else None):
            read_pixels(paths, 16, tmp_path/'out')
    assert not finished(tmp_path/'out') and not hidden(tmp_path/'out')
    assert len(read_pixels(paths, 16, tmp_path/'out')) == 70

def test_what_a_kill_left_is_removed_after_an_hour(tmp_path):
    paths = noise(tmp_path/'in', 2)
    p = read_pixels(paths, 16, tmp_path/'out')
    name = p.file.name
    del p
    (tmp_path/'out'/name).unlink()
    old, new, other = (tmp_path/'out'/f'.{n}.tmp.npy' for n in (f'{name}.aa', f'{name}.bb', 'x.npy.cc'))
    for f in (old, new, other): f.touch()
    for f in (old, other): os.utime(f, (time.time() - 4000,)*2)
    read_pixels(paths, 16, tmp_path/'out')
    assert not old.exists() and new.exists() and other.exists()

def test_several_at_once(tmp_path):
    paths = noise(tmp_path/'in', 20)
    with ThreadPoolExecutor(4) as pool: some = list(pool.map(lambda _: read_pixels(paths, 16, tmp_path/'out'), range(4)))
    assert len(finished(tmp_path/'out')) == 1 and not hidden(tmp_path/'out') and all((p[:] == some[0][:]).all() for p in some)

# ---- what cannot be read

def test_left_out_files_are_tried_again(tmp_path, monkeypatch):
    paths, decode = noise(tmp_path/'in', 3), room._decode
    with monkeypatch.context() as m:
        m.setattr(room, '_decode', lambda p, *args: 'the drive is away' if p == paths[1] else decode(p, *args))
        p = read_pixels(paths, 16, tmp_path)
        made = p.file.stat().st_mtime_ns
        assert p.left_out.to_numpy().tolist() == [[paths[1], 'the drive is away']] and p.rows.tolist() == [0, 2]
        assert read_pixels(paths, 16, tmp_path).file.stat().st_mtime_ns == made
    assert len(read_pixels(paths, 16, tmp_path)) == 3

def test_kept_rows_and_strict(tmp_path):
    paths = noise(tmp_path/'in', 4)
    Path(paths[2]).write_bytes(b'')
    table = table_of(paths)
    p = read_pixels(table, 16, tmp_path)
    kept = p.kept(table)
    assert kept.items.image.tolist() == [paths[i] for i in (0, 1, 3)] and kept.items.label.tolist() == ['a', 'b', 'b'] and kept.left_out.why.tolist() == ['the file is empty']
    assert '1 files left out' in repr(p)
    with pytest.raises(FabricError, match=r'1 of 4 files cannot be read: .*002\.png: the file is empty'): read_pixels(table, 16, tmp_path, strict=True)
    with pytest.raises(FabricError, match='give the table they were read from'): p.kept(kept)

@pytest.mark.parametrize('table, kwargs, told', [
    ('x.png', {}, 'is no table'), (None, {}, 'is no table'), ([], {}, 'there is no picture'), ([1, 'x'], {}, '1 of 2 are no paths, the first is'),
    (['x'], dict(size=15), 'size=15'), (['x'], dict(size=1025), 'size=1025'), (['x'], dict(size=224.), 'size=224.0'), (['x'], dict(size=True), 'size=True'),
    (['x'], dict(n_workers=0), 'n_workers=0'), (['x\0', 'y'*5000], {}, 'none of the 2 files can be read as a picture')])
def test_bad_input(table, kwargs, told, tmp_path):
    with pytest.raises(FabricError, match=told): read_pixels(table, **{**dict(folder=tmp_path), **kwargs})
    assert not finished(tmp_path) and not hidden(tmp_path)

def test_a_folder_that_is_a_file(tmp_path):
    paths = noise(tmp_path/'in', 1)
    with pytest.raises(FabricError, match='the pixels cannot be kept in'): read_pixels(paths, 16, paths[0])
