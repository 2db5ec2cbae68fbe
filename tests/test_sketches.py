"Tables of sketches: what is read, refused and left out; copies, mirrored ones too; folds as scikit-learn's own."
import warnings
from pathlib import Path

import numpy as np, pandas as pd, pytest
from PIL import Image
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.folders import ClassTable
from fabric_touch.sketches import GARMENTS, check_sketches, draw_sketch, look_table, make_sketches, plot_copies, read_sketches, read_test, sketch_folds

pytestmark = pytest.mark.once

def blank(folder, *names):
    for n in names:
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        (folder/n).touch()
    return folder

def table_of(labels, classes=None):
    return ClassTable(pd.DataFrame(dict(image=[f'{i}.png' for i in range(len(labels))], label=labels)), classes or tuple(sorted({*labels})))

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sketches')/'data'
    make_sketches(folder, n=6, size=48, copies=3, seed=1)
    return folder

# ---- generated drawings

@pytest.mark.parametrize('kind', GARMENTS)
def test_each_kind_is_drawn_dark_on_white(kind):
    for seed in range(5):
        x = np.asarray(draw_sketch(kind, 48, seed))
        assert x.shape == (48, 48) and x.dtype == np.uint8 and x.min() < 200 and .4 < (x > 250).mean() < .98
    assert not np.array_equal(x, np.asarray(draw_sketch(kind, 48, 5)))

def test_a_drawing_depends_on_kind_number_and_seed_alone(tmp_path, data):
    make_sketches(tmp_path/'more', n=8, classes=['hat', 'dress'], size=48, seed=1)
    make_sketches(tmp_path/'other', n=6, classes=['hat', 'dress'], size=48, seed=2)
    read = lambda folder: (folder/'train'/'dress'/'0005.png').read_bytes()
    assert read(tmp_path/'more') == read(data) != read(tmp_path/'other')

def test_the_layout_is_that_of_a_competition(data):
    train, test, truth = (pd.read_csv(data/f'{n}.csv') for n in ('train', 'test', 'test_truth'))
    assert list(train) == ['image_path', 'target'] and list(test) == ['id', 'image_path'] and 'target' not in test
    assert len(train) == 5*9 and len(test) == 5 and (test.image_path == truth.image_path).all() and truth.target.nunique() == 5
    assert {Image.open(data/'train'/p).mode for p in train.image_path} == {'L'}
    assert sorted(p.name for p in (data/'train'/'coat').iterdir() if '_' in p.name) == ['0000_mirrored.png', '0001_smaller.jpg', '0002_both.jpg']

@pytest.mark.parametrize('kwargs, said', [
    (dict(n=0), 'n=0'), (dict(n=True), 'n=True'), (dict(size=16), 'size=16'), (dict(seed=-1), 'seed=-1'), (dict(copies=-1), 'copies=-1'), (dict(n=2, copies=3), 'at most n'),
    (dict(classes=['hat', 'scarf']), "unknown kind of garment 'scarf'"), (dict(classes=['hat']), 'two different classes'), (dict(classes='hat'), 'two different classes'), (dict(classes=['hat', 'hat']), 'two different')])
def test_what_cannot_be_made_leaves_nothing(tmp_path, kwargs, said):
    with pytest.raises(FabricError, match=said): make_sketches(tmp_path/'new', **kwargs)
    assert not (tmp_path/'new').exists()

@pytest.mark.parametrize('seed', [-1, 1.5, 'a', None, (1, -2)])
def test_a_seed_is_whole(seed):
    with pytest.raises(FabricError, match='seed='): draw_sketch('hat', 48, seed)

# ---- train.csv

def test_paths_may_start_from_the_data_or_from_train(tmp_path):
    blank(tmp_path, 'train/a.png', 'train/in/b.png')
    inside, outside = pd.DataFrame(dict(image_path=['a.png', './in/b.png'], target=[1, 2])), pd.DataFrame(dict(image_path=['train/a.png', 'train/in/b.png'], target=[1, 2]))
    for d in (inside, outside):
        d.to_csv(tmp_path/'train.csv', index=False)
        for t in (read_sketches(tmp_path), read_sketches(str(tmp_path/'train.csv')), read_sketches(d, root=tmp_path)):
            assert [Path(p) for p in t.items.image] == [tmp_path/'train'/'a.png', tmp_path/'train'/'in'/'b.png']
            assert t.classes == ('1', '2') and list(t.items.image_path) == list(d.image_path)

def test_class_numbers_other_columns_and_a_byte_order_mark(tmp_path):
    blank(tmp_path, 'a.png', 'b.png', 'ü.png')
    (tmp_path/'train.csv').write_text('class_name,image_path,target\nx,a.png,10\ny,b.png,9\nx,ü.png,10\n', encoding='utf-8-sig')
    t = read_sketches(tmp_path)
    assert t.classes == ('9', '10') and t.targets().tolist() == [1, 0, 1]

def test_a_folder_of_class_folders(tmp_path):
    t = read_sketches(blank(tmp_path, 'hat/1.png', 'shoe/2.png'))
    assert list(t.items.image_path) == ['hat/1.png', 'shoe/2.png'] and t.classes == ('hat', 'shoe')
    with pytest.raises(FabricError, match='train.csv: no such file'): read_sketches(blank(tmp_path, 'test/3.png'))

@pytest.mark.parametrize('text, said', [
    ('', 'cannot be read as a CSV'), ('image_path,target\n', 'has no rows'), ('image_path,label\na.png,1\n', "no single column 'target'; it has: image_path, label"), ('path,target\na.png,1\n', "no single column 'image_path'"),
    ('image_path,target\na.png,1\n,2\n', "row 2, the first is ''"), ('image_path,target\na.png,1\nb.png,\n', "rows 2 have no usable 'target'"), ('image_path,target\na.png,1\nb.png, \n', "rows 2 have no usable 'target'"),
    ('image_path,target\na.png,1\nb.png,1\n', 'at least two classes'), ('image_path,target\na.png,1\nb.png,2\na.png,1\n', r"rows 1 and 3 are both 'a.png' \(1\)"),
    ('image_path,target\na.png,1\n./a.png,2\n', r"rows 1 and 2 are both './a.png' \(1 and 2\)"), ('image_path,target\na.png,1\nc.png,2\n', "1 of 2 drawings are missing: 'c.png'; looked in"),
    ('image_path,target\na.png,1\nin\\b.png,2\n', 'meant as /')])
def test_a_bad_train_csv(tmp_path, text, said):
    blank(tmp_path, 'a.png', 'b.png')
    (tmp_path/'train.csv').write_text(text)
    with pytest.raises(FabricError, match=said): read_sketches(tmp_path)

@pytest.mark.parametrize('path', ['/etc/passwd', '../a.png', 'in/../../a.png', '..', 'C:/a.png', 'C:a.png', '\\\\host\\share\\a.png', '..\\a.png', '\\a.png'])
def test_paths_that_lead_elsewhere(tmp_path, path):
    blank(tmp_path, 'a.png', 'data/b.png')
    d = pd.DataFrame(dict(image_path=['b.png', path], target=['x', 'y']))
    with pytest.raises(FabricError, match='leads out of its folder: row 2'): read_sketches(d, root=tmp_path/'data')
    with pytest.raises(FabricError, match='leads out of its folder: row 2'): read_test(d, root=tmp_path/'data')

def test_dots_that_stay_inside_and_a_zero_byte(tmp_path):
    blank(tmp_path, 'a.png', 'b.png', 'in/c.png')
    assert len(read_sketches(pd.DataFrame(dict(image_path=['in/../a.png', '..b.png'.strip('.')], target=[1, 2])), root=tmp_path)) == 2
    with pytest.raises(FabricError, match='1 of 2 drawings are missing'): read_sketches(pd.DataFrame(dict(image_path=['a.png', 'b\0.png'], target=[1, 2])), root=tmp_path)

@pytest.mark.parametrize('source', [None, 3, '', []])
def test_no_table(source):
    for read in (read_sketches, read_test):
        with pytest.raises(FabricError, match='is no table'): read(source)

def test_a_class_that_is_not_known(data):
    with pytest.raises(FabricError, match='coat: not among the classes'): read_sketches(data, classes=['dress', 'shirt', 'skirt', 'trousers'])

# ---- test.csv

def test_test_csv_stays_as_it_is(tmp_path):
    blank(tmp_path, 'test/b.png', 'test/a.png')
    (tmp_path/'test.csv').write_text('ID,image_path,note,target\n007,b.png,NA,hat\n1.0,a.png,,shoe\n')
    d = read_test(tmp_path)
    assert d.drop(columns='image').values.tolist() == [['007', 'b.png', 'NA', 'hat'], ['1.0', 'a.png', '', 'shoe']] and list(d) == ['ID', 'image_path', 'note', 'target', 'image']
    assert [Path(p) for p in d.image] == [tmp_path/'test'/'b.png', tmp_path/'test'/'a.png']

@pytest.mark.parametrize('text, said', [('ID\n1\n', "no single column 'image_path'"), ('image_path\n', 'no rows'), ('image_path\na.png\na.png\n', "rows 1 and 2 are both 'a.png';"), ('image_path\nb.png\n', '1 of 1 drawings are missing'),
    ('image_path,image\na.png,x\n', "has a column 'image'"), ('image_path,n\na.png,1\n"",2\n', 'no path: row 2')])
def test_a_bad_test_csv(tmp_path, text, said):
    blank(tmp_path, 'test/a.png')
    (tmp_path/'test.csv').write_text(text)
    with pytest.raises(FabricError, match=said): read_test(tmp_path)

# ---- copies

def test_copies_are_found_and_the_unreadable_named(data, tmp_path):
    t, looks, groups = look_table(read_sketches(data))
    stem = t.items.image_path.str.replace(r'(_\w+)?\.\w+$', '', regex=True)
    assert looks.shape == (45, 100) and looks.dtype == np.uint8 and (pd.factorize(stem)[0] == groups).all()
    assert len(np.unique(look_table(t, mirror=False)[2])) == 30 + 2*5
    report = check_sketches(t, looks=looks)
    assert (report.copies, report.mirrored) == (15, 10) and report.counts.loc['coat'].tolist() == [9, 6] and '15 copies, 10 of them mirrored' in repr(report)
    assert check_sketches(t, groups=groups).mirrored is None
    (tmp_path/'bad.png').write_bytes(b'no picture')
    odd = ClassTable(pd.concat([t.items.head(3), pd.DataFrame(dict(image=[str(tmp_path/'bad.png')], label=['coat']))]), t.classes, pd.DataFrame(dict(file=['x.txt'], why=['no photo'])))
    kept, looks, groups = look_table(odd, n_workers=1)
    assert len(kept) == len(looks) == len(groups) == 3 and [Path(f).name for f in kept.left_out.file] == ['x.txt', 'bad.png'] and 'cannot be read' in kept.left_out.why[1] and len(odd) == 4

def test_looks_are_the_same_with_any_number_of_threads(data):
    t = read_sketches(data)
    assert np.array_equal(look_table(t, n_workers=1)[1], look_table(t, n_workers=4)[1])

def test_nothing_readable(tmp_path):
    with pytest.raises(FabricError, match='none of 2 drawings can be read'): look_table(read_sketches(blank(tmp_path, 'hat/1.png', 'shoe/2.png')))

def test_copies_under_two_classes_come_first(data):
    t, _, groups = look_table(read_sketches(data))
    label = t.items.label.to_numpy(copy=True)
    last = np.flatnonzero(np.bincount(groups) > 1)[-1]
    label[np.flatnonzero(groups == last)[0]] = 'dress'
    other = ClassTable(t.items.assign(label=label), t.classes)
    fig = plot_copies(other, groups, n=2)
    first = [a.texts[0].get_text().split('\n')[0] for a in fig.axes[:2]]
    assert len(fig.axes) == 4 and first == ['dress', t.items.label.iloc[-1]]
    with pytest.raises(FabricError, match='nothing to show'): plot_copies(t, np.arange(len(t)))

# ---- folds

@pytest.mark.parametrize('seed', [42, 0, 7])
def test_folds_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels, groups = rng.choice(['b', 'a', 'c'], 90, p=[.5, .3, .2]), rng.integers(0, 60, 90)
    t = table_of(labels)
    for g, kind in ((None, StratifiedKFold), (rng.permutation(90), StratifiedKFold), (groups, StratifiedGroupKFold)):
        with warnings.catch_warnings():
            warnings.simplefilter('error')
            ours = sketch_folds(t, g, seed=seed)
        cv = kind(n_splits=5, shuffle=True, random_state=seed)
        theirs = cv.split(labels, labels) if kind is StratifiedKFold else cv.split(labels, t.targets(), groups)
        for a, b in zip(ours, theirs, strict=True): assert np.array_equal(a[0], b[0]) and np.array_equal(a[1], b[1])
    for train, valid in ours: assert not {*groups[train]} & {*groups[valid]}

@pytest.mark.parametrize('labels, groups, kwargs, said', [
    (['a', 'b'], None, {}, '2 drawings for 5 folds'), (['a']*9 + ['b']*3, None, {}, 'b 3; add drawings, leave these classes out, or give n_folds=3'), (['a']*9 + ['b'], None, {}, 'leave these classes out$'),
    (['a']*5 + ['b']*5, [0, 0, 1, 2, 3, *range(4, 9)], {}, r'a 5 \(4 without copies\)'), (['a']*5 + ['b']*5, [1, 2], {}, r'groups have shape \(2,\) for 10'),
    (['a']*5 + ['b']*5, None, dict(n_folds=1), 'n_folds=1'), (['a']*5 + ['b']*5, None, dict(n_folds=2.5), 'n_folds=2.5'), (['a']*5 + ['b']*5, None, dict(seed=-1), 'seed=-1'), (['a']*5 + ['b']*5, None, dict(seed=2**32), 'seed=')])
def test_no_folds(labels, groups, kwargs, said):
    with pytest.raises(FabricError, match=said): sketch_folds(table_of(labels), groups, **kwargs)

def test_a_class_without_drawings_is_named():
    with pytest.raises(FabricError, match='c 0; add'): check_sketches(table_of(['a']*5 + ['b']*5, ('a', 'b', 'c')), groups=np.arange(10))

def test_a_fold_without_drawings_or_without_a_class_is_refused(monkeypatch):
    from fabric_touch import sketches
    class All:
        def __init__(self, *args, **kwargs): pass
        def split(self, *args): return [(np.arange(5), np.arange(5, 10))]
    monkeypatch.setattr(sketches, 'StratifiedKFold', All)
    with pytest.raises(FabricError, match='fold 1 of 5 has nothing to learn b from'): sketch_folds(table_of(['a']*5 + ['b']*5))
    All.split = lambda *args: [(np.arange(10), np.arange(0))]
    with pytest.raises(FabricError, match='nothing to judge by'): sketch_folds(table_of(['a']*5 + ['b']*5))

@pytest.mark.stress
@pytest.mark.skipif(not has_data('pacs_sketch'), reason='pacs_sketch is not here')
def test_real_sketches():
    report = check_sketches(read_sketches(data_dir('pacs_sketch')))
    assert len(report.table) == 1792 and report.copies <= 12 and not len(report.table.left_out)
