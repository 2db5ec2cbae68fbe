"Folders of photos as tables: what is found, left out and refused; near-duplicates; splits."
import io, os, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from hypothesis import given, settings, strategies as st
from PIL import Image, ImageOps
from fabric_touch import folders
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.data import load_photo
from fabric_touch.embeds import EmbeddingStore, embed
from fabric_touch.folders import (ALIKE, PHOTO_SUFFIXES, ClassTable, LookEncoder, alike, alike_table, class_table, look_distances, make_folders, photo_files,
                                  read_folders, split_classes, tell_alike)

pytestmark = pytest.mark.once

def fill(folder, *names):
    for n in names:
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).touch()
    return folder

def names(paths, folder): return [Path(p).relative_to(folder).as_posix() for p in paths]
def hashes(photos):
    look = LookEncoder()
    return look(torch.stack([look.prepare(p) for p in photos])).numpy()

# ---- files

def test_photos_and_others(tmp_path):
    fill(tmp_path, 'b/x.JPG', 'b/y.txt', 'a/deep/er/z.webp', '.hidden/h.jpg', 'a/.h.jpg', 'Thumbs.db', 'a/desktop.ini', 'c.tiff', 'noend', 'out/o.png', 'out/in/o.png')
    photos, others = photo_files(tmp_path, skip=[tmp_path/'out'])
    assert names(photos, tmp_path) == ['a/deep/er/z.webp', 'b/x.JPG', 'c.tiff'] and names(others, tmp_path) == ['b/y.txt', 'noend']
    assert len(photo_files(str(tmp_path))[0]) == 5

def test_skip_may_be_given_another_way(tmp_path, monkeypatch):
    fill(tmp_path, 'a/x.jpg', 'out/y.jpg')
    monkeypatch.chdir(tmp_path)
    assert [p.name for p in photo_files('.', skip=['a/../out'])[0]] == ['x.jpg']

def test_a_folder_named_like_a_photo_is_a_folder(tmp_path):
    photos, others = photo_files(fill(tmp_path, 'odd.jpg/x.png'))
    assert names(photos, tmp_path) == ['odd.jpg/x.png'] and not others

def test_links(tmp_path):
    fill(tmp_path, 'real/x.jpg', 'a/y.jpg')
    try:
        (tmp_path/'a/link.jpg').symlink_to(tmp_path/'real/x.jpg'); (tmp_path/'a/round').symlink_to(tmp_path); (tmp_path/'a/gone.jpg').symlink_to(tmp_path/'nothing')
    except OSError: pytest.skip('no links on this system')
    photos, others = photo_files(tmp_path/'a')
    assert [p.name for p in photos] == ['link.jpg', 'y.jpg'] and [p.name for p in others] == ['gone.jpg', 'round']
    left = read_folders(tmp_path).left_out
    assert [w.split(',')[0] for w in left.why] == ['no plain file', 'a link to a folder; put the folder itself here']

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes on this system')
def test_a_pipe_is_no_photo(tmp_path):
    os.mkfifo(fill(tmp_path, 'a.jpg')/'pipe.jpg')
    assert [p.name for p in photo_files(tmp_path)[1]] == ['pipe.jpg']

def test_every_suffix_is_one_that_pillow_opens():
    Image.init()
    assert {*PHOTO_SUFFIXES} <= {e for e,f in Image.registered_extensions().items() if f in Image.OPEN}
    assert {'.jpg', '.jpeg', '.png', '.webp', '.bmp', '.gif', '.tif', '.tiff'} <= {*PHOTO_SUFFIXES} and all(s == s.lower() for s in PHOTO_SUFFIXES)

@pytest.mark.parametrize('folder, says', [('nowhere', 'no such folder'), ('a.jpg', 'is a file'), ('x'*5000, 'cannot be read'), ('a\0b', 'cannot be read')])
def test_folders_that_cannot_be_read(tmp_path, folder, says):
    fill(tmp_path, 'a.jpg')
    for read in (photo_files, read_folders):
        with pytest.raises(FabricError, match=says): read(tmp_path/folder)

@pytest.mark.parametrize('folder', [None, '', 3])
def test_no_folder_is_given(folder):
    with pytest.raises(FabricError, match='is no folder'): photo_files(folder)

def test_no_permission(tmp_path, monkeypatch):
    fill(tmp_path, 'a/x.jpg', 'b/y.jpg')
    real = os.scandir
    def scandir(p):
        if str(p).endswith('b'): raise PermissionError(13, 'Permission denied', str(p))
        return real(p)
    monkeypatch.setattr(folders.os, 'scandir', scandir)
    for read in (photo_files, read_folders):
        with pytest.raises(FabricError, match='Permission denied'): read(tmp_path)

# ---- a folder per class

def test_read_folders(tmp_path):
    fill(tmp_path, 'shoes/a.JPG', 'shoes/sale/c.webp', 'shoes/prices.txt', 'hat/d.jpg', 'hat/.h.jpg', 'loose.jpg', 'notes.md')
    t = read_folders(tmp_path)
    assert t.classes == ('hat', 'shoes') and list(t.items.label) == ['hat', 'shoes', 'shoes'] and list(t.targets()) == [0, 1, 1] and t.targets().dtype == np.int64
    assert names(t.items.image, tmp_path) == ['hat/d.jpg', 'shoes/a.JPG', 'shoes/sale/c.webp'] and t.counts().to_dict() == dict(hat=1, shoes=2)
    assert dict(zip(names(t.left_out.file, tmp_path), t.left_out.why)) == {'loose.jpg': 'it stands in no class folder', 'notes.md': 'no photo by its suffix', 'shoes/prices.txt': 'no photo by its suffix'}
    assert '3 photos in 2 classes: hat 1, shoes 2; 3 files left out' == repr(t)

@pytest.mark.parametrize('files, says', [
    ((), 'holds no folder'), (('a.jpg',), 'holds no folder'), (('hat/a.jpg',), "only the folder 'hat'"), (('hat/a.jpg', 'shoe/b.txt'), "no photo in 'shoe'"), (('hat/a.jpg', 'shoe/.b.jpg'), "no photo in 'shoe'"),
    (('train/hat/a.jpg', 'test/hat/a.jpg'), 'are parts and no classes; give .*test'), (('Train/hat/a.jpg',), 'parts and no classes'), (('Hat/a.jpg', 'hat/a.jpg'), "'Hat' and 'hat': are one folder"),
    (('é/a.jpg', 'e\u0301/a.jpg'), 'are one folder'), (('con/a.jpg', 'hat/a.jpg'), "'con': cannot be"), (('COM1.x/a.jpg', 'hat/a.jpg'), 'cannot be'), (('a:b/a.jpg', 'hat/a.jpg'), 'cannot be'),
    (('dot./a.jpg', 'hat/a.jpg'), 'cannot be'), (('blank /a.jpg', 'hat/a.jpg'), 'cannot be'), ((' /a.jpg', 'hat/a.jpg'), 'cannot be'), (('new\nline/a.jpg', 'hat/a.jpg'), r"'new\\nline': cannot be")])
@pytest.mark.skipif(sys.platform != 'linux', reason='such folders can be made on Linux alone')
def test_folders_that_are_refused(tmp_path, files, says):
    with pytest.raises(FabricError, match=says): read_folders(fill(tmp_path, *files))

def test_unicode_and_very_long_names(tmp_path):
    long = 'y'*240
    t = read_folders(fill(tmp_path, '連衣裙/写真 1.jpg', 'Röcke & Hosen/ö.png', f'{long}/{"z"*250}.jpg', '👗/👗.jpg'))
    assert len(t) == 4 and {*t.classes} == {'連衣裙', 'Röcke & Hosen', long, '👗'} and list(t.classes) == sorted(t.classes)

@pytest.mark.skipif(sys.platform != 'linux', reason='such names can be made on Linux alone')
def test_names_that_are_no_unicode_are_left_out_and_told(tmp_path):
    fill(tmp_path, 'a/x.jpg', 'b/y.jpg')
    try: open(os.fsencode(tmp_path) + b'/a/\xff.jpg', 'x').close(); open(os.fsencode(tmp_path) + b'/\xfe.txt', 'x').close()
    except OSError: pytest.skip('this disk takes Unicode names only')
    t = read_folders(tmp_path)
    assert len(t) == 2 and len(t.left_out) == 2 and 'not valid Unicode' in t.left_out.why[1] and 'udcff' in t.left_out.file[1]
    t.left_out.to_csv(io.BytesIO())

def test_numbers_are_ordered_as_numbers(tmp_path):
    assert read_folders(fill(tmp_path, '10/a.jpg', '9/a.jpg', '-1/a.jpg')).classes == ('-1', '9', '10')

@pytest.mark.parametrize('most', [1, 3, 50])
def test_max_samples(tmp_path, most):
    fill(tmp_path, *[f'a/{i:02d}.jpg' for i in range(20)], *[f'b/{i}.jpg' for i in range(3)])
    t, again, other = read_folders(tmp_path, most), read_folders(tmp_path, most), read_folders(tmp_path, most, seed=1)
    assert list(t.counts()) == [min(most, 20), min(most, 3)] and t.items.equals(again.items) and list(t.items.image) == sorted(t.items.image)
    assert t.items.equals(other.items) == (most == 50)

@pytest.mark.parametrize('kw', [dict(max_samples=0), dict(max_samples=2.5), dict(max_samples=True), dict(seed=-1), dict(seed='a')])
def test_bad_options(tmp_path, kw):
    with pytest.raises(FabricError, match='give a whole number'): read_folders(fill(tmp_path, 'a/x.jpg', 'b/x.jpg'), **kw)

def test_fixed_classes(tmp_path):
    fill(tmp_path, 'b/x.jpg', 'a/x.jpg')
    t = read_folders(tmp_path, classes=('c', 'b', 'a'))
    assert t.classes == ('c', 'b', 'a') and list(t.items.label) == ['b', 'a'] and list(t.targets()) == [1, 2] and list(t.counts()) == [0, 1, 1]
    assert len(read_folders(tmp_path/'..'/tmp_path.name, classes=['a', 'b'])) == 2
    with pytest.raises(FabricError, match="are no classes here: 'a'; the classes are: b, d"): read_folders(tmp_path, classes=('b', 'd'))
    with pytest.raises(FabricError, match='named twice'): read_folders(tmp_path, classes=('b', 'a', 'a'))
    assert len(read_folders(fill(tmp_path/'one', 'a/x.jpg'), classes=('a', 'b'))) == 1

# ---- tables

def test_take_and_counts():
    t = class_table(pd.DataFrame(dict(image=list('wxyz'), label=list('abca'))))
    for rows in ([0, 3], np.array([True, False, False, True]), pd.Series([True, False, False, True], index=[7, 8, 9, 4])):
        part = t.take(rows)
        assert list(part.items.image) == ['w', 'z'] and list(part.items.index) == [0, 1] and part.classes == t.classes and list(part.counts()) == [2, 0, 0]

def test_class_table_from_a_csv(tmp_path):
    f = tmp_path/'t.csv'
    f.write_text('\ufeffimage_path,target,x\na.jpg,007,1\n/b/c.jpg,NA,2\n', encoding='utf-8')
    t = class_table(f, image='image_path', label='target')
    assert t.classes == ('007', 'NA') and list(t.items.image) == [str(tmp_path/'a.jpg'), '/b/c.jpg']
    assert list(class_table(f, 'r', 'image_path', 'target').items.image) == [str(Path('r/a.jpg')), '/b/c.jpg']
    assert class_table(f, image='image_path', label='target', classes=('NA', 'more', '007')).targets().tolist() == [2, 0]

@pytest.mark.parametrize('labels, classes', [([2, 10, 9], ('2', '9', '10')), ([2., 10., 9.], ('2', '9', '10')), (['b', '10', '9'], ('10', '9', 'b')), ([1.5, 2, 3], ('1.5', '2', '3')), ([True, False, True], ('False', 'True')),
                                             (['t-shirt/top', 'x', 'x'], ('t-shirt/top', 'x'))])
def test_labels_become_text(labels, classes): assert class_table(pd.DataFrame(dict(image=list('abc'), label=labels))).classes == classes

@pytest.mark.parametrize('table, says', [
    (dict(image=['a'], name=['b']), "no single column 'label'"), (dict(image=[], label=[]), '0 rows'), (dict(image=['a'], label=['b']), 'at least two classes'),
    (dict(image=['a', None], label=['x', 'y']), "rows 2 have no usable 'image'"), (dict(image=['a', 'b', 'c'], label=['x', np.nan, ' ']), "rows 2, 3 have no usable 'label'"), (dict(image=['a', 'b'], label=['x', 'a\tb']), r"first is 'a\\tb'")])
def test_tables_that_are_refused(table, says):
    with pytest.raises(FabricError, match=says): class_table(pd.DataFrame(table))

def test_more_refused_tables(tmp_path):
    with pytest.raises(FabricError, match='no such file'): class_table(tmp_path/'no.csv')
    with pytest.raises(FabricError, match='cannot be read'): class_table(tmp_path)
    (tmp_path/'e.csv').touch()
    with pytest.raises(FabricError, match='cannot be read'): class_table(tmp_path/'e.csv')
    with pytest.raises(FabricError, match='c: not among the classes a, b'): class_table(pd.DataFrame(dict(image=['x', 'y'], label=['a', 'c'])), classes=('a', 'b'))
    d = pd.DataFrame([['a', 'b', 'c']], columns=['image', 'label', 'label'])
    with pytest.raises(FabricError, match='no single column'): class_table(d)

# ---- looks

@pytest.fixture(scope='module')
def cloth(tmp_path_factory): return make_folders(tmp_path_factory.mktemp('cloth')/'c', n=30, copies=10)

def true_groups(t): return [(Path(f).parent.name, Path(f).stem.removesuffix('_copy')) for f in t.items.image]

@pytest.mark.parametrize('size', [64, 96])
def test_copies_are_found_and_nothing_else(tmp_path, size):
    t = make_folders(tmp_path/'c', n=20, copies=8, size=size, seed=3)
    want = pd.factorize(pd.Series(true_groups(t)))[0]
    got = alike(hashes([load_photo(f) for f in t.items.image]))
    assert got.tolist() == want.tolist() and tell_alike(t, got) == '48 of 84 photos are near-duplicates, in 24 groups.'

def test_the_store_keeps_hashes(cloth, tmp_path):
    look = LookEncoder()
    store = EmbeddingStore(tmp_path, look.id, look.n_out)
    h = embed(look, cloth.items.image, store, progress=False)
    assert h.shape == (120, 100) and h.dtype == torch.float32 and (h == h.round()).all() and h.min() >= 0 and h.max() <= 255 and len(store) == 120
    assert (embed(look, cloth.items.image, EmbeddingStore(tmp_path, look.id, look.n_out), progress=False) == h).all()
    assert (alike(h) == alike(h.numpy())).all()

@pytest.mark.parametrize('change, most', [(lambda i: i.resize((48, 48)), 40), (lambda i: i.point(lambda v: .8*v), 30), (lambda i: i.convert('L').convert('RGB'), 0), (lambda i: ImageOps.expand(i, 2, 'white'), 72), (lambda i: i.crop((2, 2, i.width - 2, i.height - 2)), 72)])
def test_small_changes_are_small_distances(cloth, change, most):
    photos = [Image.fromarray(np.asarray(load_photo(f))) for f in cloth.items.image[:20]]
    assert np.median(look_distances(hashes(photos), hashes([change(p) for p in photos])).diagonal()) <= most

def test_mirrored(cloth):
    photos = [Image.fromarray(np.asarray(load_photo(f))) for f in cloth.items.image[::4]]
    a, b = hashes(photos), hashes([ImageOps.mirror(p) for p in photos])
    assert look_distances(a, b).diagonal().min() > 100 and look_distances(a, b, mirror=True).diagonal().max() < 10
    n = len(a)
    assert (alike(np.concatenate([a, b]), mirror=True)[n:] == alike(a, mirror=True)).all() and alike(np.concatenate([a, b]))[n:].min() >= 1

def test_plain_pictures_are_alike():
    plain = [Image.new('RGB', s, c) for s,c in (((64, 64), 'white'), ((300, 20), 'black'), ((1, 1), (13, 200, 77)), ((5, 900), (254, 255, 255)))]
    assert alike(hashes(plain)).tolist() == [0, 0, 0, 0]

def plain_alike(h, most, mirror=False):
    "Groups by all pairs and plain loops"
    d, group = look_distances(h, h, mirror), list(range(len(h)))
    for i in range(len(h)):
        for j in range(i):
            if d[i, j] <= most or (h[i] == h[j]).all(): group = [group[j] if g == group[i] else g for g in group]
    return pd.factorize(np.array(group))[0].tolist()

@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.sampled_from([0, 40, 72, 100]), st.booleans(), st.integers(1, 50))
def test_groups_are_those_of_plain_loops(seed, n, most, mirror, block):
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 2, (max(1, n//4), 798), np.uint8)
    bits = parents[rng.integers(0, len(parents), n)] ^ (rng.random((n, 798)) < rng.uniform(0, .25, (n, 1)))
    h = np.packbits(bits, axis=1).astype(np.float32)
    assert alike(h, most, mirror, block).tolist() == plain_alike(h, most, mirror)

def test_equal_ones_join_at_zero_and_none_is_no_error():
    h = np.random.default_rng(0).integers(0, 256, (5, 100)); h[3] = h[1]
    assert alike(h, 0).tolist() == [0, 1, 2, 1, 3] and alike(h[:0]).tolist() == [] and alike(h[:1]).tolist() == [0]

def test_a_crowd_of_near_duplicates_needs_little_memory():
    rng, one = np.random.default_rng(0), np.random.default_rng(1).integers(0, 2, 798)
    bits = one ^ (rng.random((5000, 798)) < .02)
    assert alike(np.packbits(bits, axis=1), block=1000).max() == 0

@pytest.mark.parametrize('bad', [np.zeros((3, 64)), np.zeros(100), np.full((2, 100), 256), np.full((2, 100), -1), np.full((2, 100), .5), np.full((2, 100), np.nan)])
def test_hashes_that_are_none(bad):
    with pytest.raises(FabricError, match='hashes have shape'): alike(bad)

@pytest.mark.parametrize('most', [-1, 101, 72., True, None])
def test_distances_that_are_none(most):
    with pytest.raises(FabricError, match='max_distance'): alike(np.zeros((2, 100)), most)

def test_tell_two_classes():
    t = class_table(pd.DataFrame(dict(image=[f'{i}.jpg' for i in range(6)], label=['hat', 'hat', 'shoe', 'shoe', 'hat', 'shoe'])))
    assert tell_alike(t, np.arange(6)) == 'No near-duplicates among 6 photos.'
    assert tell_alike(t, [0, 1, 0, 2, 1, 3]) == '4 of 6 photos are near-duplicates, in 2 groups. 1 of these stands in more than one class: hat/0.jpg = shoe/2.jpg.'
    d = alike_table(t, [0, 1, 0, 2, 1, 3])
    assert d.group.tolist() == [0, 0, 1, 1] and d.classes.tolist() == [2, 2, 1, 1] and d.image.tolist() == ['0.jpg', '2.jpg', '1.jpg', '4.jpg']

# ---- splits

@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 6), st.integers(1, 60), st.floats(.05, .9))
def test_splits(seed, k, size, pct):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.repeat(np.arange(k), 2), rng.integers(0, k, k*size)])
    g = np.where(rng.random(len(y)) < .7, np.arange(len(y)), y*3 + rng.integers(0, 3, len(y)) + len(y))   # some groups within a class
    g[:2*k] = np.arange(2*k)
    train, valid = split_classes(y, g, pct, seed % 1000)
    assert np.union1d(train, valid).tolist() == list(range(len(y))) and not {*g[train]} & {*g[valid]} and {*y[train]} == {*y[valid]} == {*y}
    assert all((np.diff(r) > 0).all() for r in (train, valid))
    again = split_classes(pd.Series(y, index=rng.permutation(len(y))), pd.Series(g + 1000, index=rng.permutation(len(y))), pct, seed % 1000)
    assert (again[1] == valid).all()
    for c in range(k):
        n, most = (y == c).sum(), max(np.bincount(pd.factorize(g[y == c])[0]))
        assert abs((y[valid] == c).sum() - pct*n) <= max(1, most)

@pytest.mark.parametrize('pct, want', [(.1, 10), (.2, 20), (.25, 25), (.3, 30), (.5, 50), (.8, 80)])
def test_the_share_of_single_photos_is_exact(pct, want):
    y = np.repeat([0, 1], [100, 1000])
    assert np.bincount(y[split_classes(y, valid_pct=pct)[1]]).tolist() == [want, 10*want]

def test_seeds_differ_and_every_photo_is_held_out_about_as_often():
    y, often = np.repeat([0, 1], 20), np.zeros(40)
    for seed in range(200): often[split_classes(y, seed=seed)[1]] += 1
    assert often.sum() == 200*8 and 20 <= often.min() and often.max() <= 60

def test_groups_across_classes_stay_whole():
    y, g = [0, 0, 0, 1, 1, 1, 2, 2], [0, 1, 2, 0, 3, 4, 3, 5]
    train, valid = split_classes(y, g)
    assert not {g[i] for i in train} & {g[i] for i in valid}

@pytest.mark.parametrize('kw, says', [
    (dict(targets=[0, 1, 1]), '^0: all photos of the class'), (dict(targets=[0, 0, 1, 1], groups=[4, 4, 5, 6], names=('hat', 'shoe')), '^hat: all photos'), (dict(targets=[]), 'targets have shape'), (dict(targets=[0, 0, 1], groups=[1]), 'groups'),
    (dict(targets=[[0]]), 'targets have shape'), (dict(targets=[0., 1.]), 'float64'), (dict(targets=[-1, 0]), 'from 0'), (dict(targets=[0, 0], valid_pct=0), 'valid_pct is 0'), (dict(targets=[0, 0], valid_pct=1.), 'valid_pct'),
    (dict(targets=[0, 0], valid_pct='a'), 'valid_pct'), (dict(targets=[0, 0], valid_pct=float('nan')), 'valid_pct'), (dict(targets=[0, 0], seed=-1), 'seed'),
    (dict(targets=[0, 1, 1, 2, 2, 0], groups=[0, 0, 1, 1, 2, 2]), 'all photos of the class')])   # three groups in a ring of three classes
def test_splits_that_are_refused(kw, says):
    with pytest.raises(FabricError, match=says): split_classes(**kw)

# ---- generated folders

def test_made_folders_are_the_same_for_a_seed(tmp_path):
    a, b, c = (make_folders(tmp_path/n, n=2, size=32, seed=s, copies=1, classes=('twill', 'knit')) for n,s in (('a', 0), ('b', 0), ('c', 1)))
    read = lambda t: [Path(f).read_bytes() for f in t.items.image]
    assert a.classes == ('knit', 'twill') and len(a) == 6 and read(a) == read(b) != read(c)

@pytest.mark.parametrize('kw, says', [(dict(n=0), 'n=0'), (dict(size=8), 'size=8'), (dict(seed=-1), 'seed'), (dict(copies=9, n=3), 'copies=9'), (dict(classes=('silk', 'knit')), "unknown kind of cloth 'silk'"), (dict(classes=('knit',)), 'at least two'),
                                      (dict(classes=('knit', 'knit')), 'different')])
def test_folders_that_are_not_made(tmp_path, kw, says):
    with pytest.raises(FabricError, match=says): make_folders(tmp_path/'x', **kw)
    assert not any(tmp_path.iterdir())

def test_nothing_is_overwritten(tmp_path):
    fill(tmp_path, 'x/mine.txt', 'f')
    for name in ('x', 'f'):
        with pytest.raises(FabricError, match='is there already'): make_folders(tmp_path/name)
    assert (tmp_path/'x/mine.txt').exists()

# ---- real photos

@pytest.mark.skipif(not has_data('clothing_small'), reason='clothing_small is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
def test_clothing_small():
    t = read_folders(data_dir('clothing_small'))
    assert len(t) == 1435 and len(t.classes) == 10 and not len(t.left_out)
    some = t.take(np.flatnonzero(t.items.label == 'skirt'))
    photos = [Image.fromarray(np.asarray(load_photo(f))) for f in some.items.image]
    h = hashes([*photos, *[p.resize((p.width//2, p.height//2)) for p in photos]])
    g, n = alike(h), len(photos)
    assert (g[:n] == g[n:]).all() and len({*g}) == n - 1                     # two photos of one skirt
    train, valid = split_classes(some.targets()*0, g[:n])
    assert abs(len(valid)/n - .2) < .01

@pytest.mark.skipif(not has_data('pacs_sketch'), reason='pacs_sketch is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
def test_drawings_do_not_chain():
    t = read_folders(data_dir('pacs_sketch'))
    t = t.take(np.flatnonzero(t.items.label.isin(['guitar', 'giraffe'])))
    g = alike(hashes([load_photo(f) for f in t.items.image]))
    assert np.bincount(g).max() <= 5 and len({*g}) > .97*len(t)
