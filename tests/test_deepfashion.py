"DeepFashion's label files: what is read, what is refused with file and line, and that the generated folder is what it says."
import hashlib, os, re, subprocess, sys
from pathlib import Path

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.deepfashion import (ATTRIBUTE_SETS, FINE, KINDS, PARTS, AttributeTable, attribute_table, make_deepfashion, read_deepfashion, read_fine,
                                      _signs, _write_coarse)

pytestmark = pytest.mark.once

NAMES = 'abstract chevron print', 'v-neck', 'denim'
TABLE = dict(image=['img/A/1.jpg', 'img/A/2.jpg', 'img/B/1.jpg'], labels=[(), ('abstract chevron print', 'denim'), ('v-neck',)], category=['Tee', 'Jeans', 'Dress'],
             part=['train', 'val', 'test'], x1=[0, 1, 2], y1=[0, 1, 2], x2=[9, 10, 11], y2=[9, 10, 11])
GROUPS = dict(zip(NAMES, ('texture', 'part', 'fabric')))

@pytest.fixture
def folder(tmp_path):
    _write_coarse(tmp_path, pd.DataFrame(TABLE), GROUPS)
    return tmp_path

@pytest.fixture(scope='module')
def made(tmp_path_factory): return make_deepfashion(tmp_path_factory.mktemp('made')/'coarse', n=60, size=96)

def edit(path, old, new):
    raw = path.read_bytes()
    assert old in raw, (old, raw)
    path.write_bytes(raw.replace(old, new, 1))

def relative(table, folder): return [os.path.relpath(p, folder).replace(os.sep, '/') for p in table.items.image]

# ---- reading what was written

def same(table, d, folder):
    assert relative(table, folder) == list(d.image) and list(table.items.labels) == list(d.labels)
    for c in ('category', 'part', 'x1', 'y1', 'x2', 'y2'): assert list(table.items[c]) == list(d[c]), c

def test_round_trip(folder):
    table = read_deepfashion(folder)
    same(table, pd.DataFrame(TABLE), folder)
    assert table.groups == GROUPS and table.exclusive == () and list(table.items['product']) == ['A', 'A', 'B']
    assert table.targets().tolist() == [[0, 0, 0], [1, 0, 1], [0, 1, 0]] and table.targets().dtype == np.uint8

@pytest.mark.parametrize('change', [lambda raw: raw.replace(b'\n', b'\r\n'), lambda raw: raw.rstrip(b'\n'), lambda raw: raw + b'\n\n',
                                    lambda raw: re.sub(b' +', b'\t', raw) if b'img/' in raw else raw, lambda raw: re.sub(b'  +', b'    ', raw)])
def test_other_spacing_reads_the_same(folder, change):
    for path in folder.rglob('*.txt'): path.write_bytes(change(path.read_bytes()))
    same(read_deepfashion(folder), pd.DataFrame(TABLE), folder)

@pytest.mark.parametrize('anno, evaluation', [('', ''), ('Anno_coarse', 'Eval'), ('Anno', 'Anno')])
def test_where_files_may_lie(folder, anno, evaluation):
    for path in [*(folder/'Anno').iterdir()]: (folder/anno).mkdir(exist_ok=True); path.rename(folder/anno/path.name)
    path = folder/'Eval'/'list_eval_partition.txt'
    path.rename(folder/evaluation/path.name)
    same(read_deepfashion(folder), pd.DataFrame(TABLE), folder)

def test_photos_in_img_img(folder):
    (folder/'Img'/'img').mkdir(parents=True)
    assert relative(read_deepfashion(str(folder)), folder)[0] == 'Img/img/A/1.jpg'

def test_only_two_files_are_needed(folder):
    for path in folder.rglob('*.txt'):
        if 'attr' not in path.name: path.unlink()
    assert list(read_deepfashion(folder).items) == ['image', 'product', 'labels']

def test_rows_of_the_other_files_may_have_another_order(folder):
    for name in ('Anno/list_bbox.txt', 'Anno/list_category_img.txt', 'Eval/list_eval_partition.txt'):
        top, names, *rows = (folder/name).read_text().splitlines(keepends=True)
        (folder/name).write_text(''.join([top, names, *rows[::-1]]))
    same(read_deepfashion(folder), pd.DataFrame(TABLE), folder)

words = st.text('abcdefghij0123456789-é목', min_size=1, max_size=8)

@st.composite
def tables(draw):
    names = draw(st.lists(st.lists(words, min_size=1, max_size=3).map(' '.join), min_size=1, max_size=12, unique=True))
    groups = {a: draw(st.sampled_from(KINDS)) for a in names}
    images = draw(st.lists(st.tuples(words, words).map(lambda w: f'img/{w[0]}/{w[1]}.jpg'), min_size=1, max_size=8, unique=True))
    one = lambda x: draw(st.lists(x, min_size=len(images), max_size=len(images)))
    labels = [tuple(a for a,h in zip(names, has) if h) for has in one(st.lists(st.booleans(), min_size=len(names), max_size=len(names)))]
    box = np.array(one(st.tuples(*[st.integers(0, 400)]*2, *[st.integers(1, 400)]*2))); box[:, 2:] += box[:, :2]
    return pd.DataFrame(dict(image=images, labels=labels, category=one(st.sampled_from(TABLE['category'])), part=one(st.sampled_from(PARTS)), **dict(zip(('x1', 'y1', 'x2', 'y2'), box.T)))), groups

@settings(max_examples=40, deadline=None)
@given(tables())
def test_random_tables_come_back(tmp_path_factory, table):
    folder, (d, groups) = tmp_path_factory.mktemp('random'), table
    _write_coarse(folder, d, groups)
    back = read_deepfashion(folder)
    same(back, d, folder)
    assert back.groups == groups and list(back.groups) == list(groups)

@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([b'-1', b'1', b'0', b'11', b'-', b'1.0', b'+1', b'--1', b'1-1', b'- 1']), max_size=6), st.sampled_from([b' ', b'  ', b'\t', b' \t ']), st.integers(1, 5))
def test_signs_are_right_or_none(values, gap, k):
    "Against the plain reading of the same line"
    line = gap.join([b'img/11.jpg', *values]) + b'\r\n'
    tokens = line.split()[1:]
    good = len(tokens) == k and all(t in (b'1', b'-1') for t in tokens)
    assert _signs(line, k) == (b'img/11.jpg', b''.join(b'-' if t == b'-1' else b' ' for t in tokens) if good else None)

# ---- what is refused

A, I, C, N, B, P = 'Anno/list_attr_cloth.txt', 'Anno/list_attr_img.txt', 'Anno/list_category_cloth.txt', 'Anno/list_category_img.txt', 'Anno/list_bbox.txt', 'Eval/list_eval_partition.txt'
WRONG = [  # file, old, new, line, what the message says
    (I, b'  1 -1  1', b'  1 -1 11', 4, "'11' is neither -1 nor 1"), (I, b'  1 -1  1', b'  1 -1  0', 4, "'0' is neither"), (I, b'  1 -1  1', b'  1 -1  -', 4, "'-' is neither"),
    (I, b'  1 -1  1', b'  1 -1  1.0', 4, "'1.0' is neither"), (I, b'  1 -1  1', b'  1 -1', 4, '2 values'), (I, b'  1 -1  1', b'  1 -1  1  1', 4, '4 values'), (I, b'  1 -1  1', b' 1-1 1', 4, "'1-1' is neither"),
    (I, b'  1 -1  1', b'', 4, '0 values'), (I, b'img/A/2.jpg', b'img/A/1.jpg', 4, 'stands there twice'), (I, b'img/A/2.jpg', b'img/A/\xff.jpg', 4, 'not UTF-8'),
    (I, b'img/A/2.jpg', b'../A/2.jpg ', 4, 'no path inside'), (I, b'img/A/2.jpg', b'img/../../2', 4, 'no path inside'), (I, b'img/A/2.jpg', b'/etc/passwd', 4, 'no path inside'),
    (I, b'img/A/2.jpg', b'img\\A\\2.jpg', 4, 'no path inside'), (I, b'img/A/2.jpg', b'C:/A/2.jpg ', 4, 'no path inside'), (I, b'img/A/2.jpg', b'~root/2.jpg', 4, 'no path inside'),
    (I, b'img/A/2.jpg', b'img/\x00/2.jpg', 4, 'no path inside'), (I, b'img/A/2.jpg', b'img/A 2.jpg', 4, 'is neither -1 nor 1'), (I, b'3\n', b'4\n', 1, 'says 4 rows, but there are 3'),
    (I, b'3\n', b'2\n', 1, 'says 2 rows, but there are 3'), (I, b'3\n', b'three\n', 1, "'three' is not the number"), (I, b'3\n', b'-3\n', 1, 'is not the number'), (I, b'3\n', b'1_0\n', 1, 'is not the number'),
    (I, b'3\n', b'\n', 1, 'is empty'), (I, b'3\n', b'9'*5000 + b'\n', 1, 'is not the number'), (I, b'3\nimage_name  attribute_labels\n', b'3\n', 1, 'but there are 2'),
    (A, b'v-neck', b'denim ', 5, "'denim' stands there twice"), (A, b'4\n', b'6\n', 4, 'number from 1 to 5'), (A, b'4\n', b'\n', 4, 'not a name and a type'), (A, b'v-neck', b'\xffneck', 4, 'not UTF-8'), (A, b'3\n', b'1000\n', 1, 'but there are 3'),
    (C, b'Skirt', b'Tee  ', 6, 'stands there twice'), (C, b'Tee     1', b'Tee     4', 3, 'from 1 to 3'), (N, b' 1\n', b' 7\n', 3, "'7' is not a number from 1 to 6"), (N, b' 1\n', b' 0\n', 3, 'number from 1 to 6'),
    (N, b' 1\n', b' x\n', 3, 'number from 1 to 6'), (N, b' 1\n', b' 1 2\n', 3, 'number from 1 to 6'), (N, b'img/A/1', b'img/C/1', 3, 'do not have'), (N, b'img/A/1', b'img/A/2', 4, 'stands there twice'),
    (P, b'train', b'dev', 3, "'dev' is not train, val or test"), (P, b'train', b'', 3, 'is not train'), (P, b'img/A/2', b'img/\xffA', 4, 'not UTF-8'),
    (B, b'000 000 009 009', b'009 000 009 009', 3, 'x_1 < x_2'), (B, b'000 000 009 009', b'000 010 009 009', 3, 'y_1 < y_2'), (B, b'000 000 009 009', b'0 0 9', 3, 'four whole numbers'),
    (B, b'000 000 009 009', b'0 0 9 nan', 3, 'four whole numbers'), (B, b'000 000 009 009', b'0 0 9 1e3', 3, 'four whole numbers'), (B, b'000 000 009 009', b'-1 0 9 9', 3, 'four whole numbers')]

@pytest.mark.parametrize('file, old, new, line, says', WRONG, ids=[f'{Path(w[0]).stem}-{i}' for i,w in enumerate(WRONG)])
def test_refused_with_file_and_line(folder, file, old, new, line, says):
    edit(folder/file, old, new)
    with pytest.raises(FabricError) as e: read_deepfashion(folder)
    assert str(e.value).startswith(f'{folder/file}, line {line}: ') and says in str(e.value) and '; ' in str(e.value) and len(str(e.value)) < 600

@pytest.mark.parametrize('file', [A, I, C, N, B, P])
def test_empty_files(folder, file):
    (folder/file).write_bytes(b'')
    with pytest.raises(FabricError, match='line 1: the file is empty'): read_deepfashion(folder)

@pytest.mark.parametrize('file', [A, I, C])
def test_missing_files(folder, file):
    (folder/file).unlink()
    with pytest.raises(FabricError, match=f'no {Path(file).name} there'): read_deepfashion(folder)

@pytest.mark.parametrize('file', [N, B, P])
def test_an_image_without_a_row(folder, file):
    lines = (folder/file).read_text().splitlines(keepends=True)
    (folder/file).write_text(''.join(['2\n', *lines[1:4]]))
    with pytest.raises(FabricError, match=f'{Path(file).name}: no row for img/B/1.jpg'): read_deepfashion(folder)

@pytest.mark.parametrize('raw, says', [(b'0\nimage_name labels\n', 'have no images'), (b'0', 'have no images')])
def test_no_images(folder, raw, says):
    (folder/I).write_bytes(raw)
    with pytest.raises(FabricError, match=says): read_deepfashion(folder)

def test_no_attributes(folder):
    (folder/A).write_bytes(b'0\nname type\n')
    with pytest.raises(FabricError, match='no names'): read_deepfashion(folder)

def test_no_folder(tmp_path):
    with pytest.raises(FabricError, match='give the folder that holds these and the photos'): read_deepfashion(tmp_path/'none')

# ---- the table

def test_the_named_set():
    names = ATTRIBUTE_SETS['neckline']
    assert len(names) == len(set(names)) == 24 and {'mock neck', 'mock-neck', 'neckline', 'scoop-neck', 'neck ribbed', 'turtle-neck'} < set(names)

def test_choose(made):
    necks = made.choose('neckline')
    assert necks.names == ('crew neck', 'v-neck', 'scoop-neck', 'boat neck', 'turtle-neck') and set(necks.groups.values()) == {'part'}
    assert (necks.targets() == made.targets()[:, [made.names.index(n) for n in necks.names]]).all() and len(necks) == len(made)
    assert made.choose(['v-neck', 'striped']).names == ('striped', 'v-neck')                # the table's order
    assert set(made.choose(group=['fabric', 'texture']).slices()) == {'fabric', 'texture'}
    assert made.choose(group='part', rule=lambda a: a.endswith('neck')).names == necks.names
    train = made.part('train').targets().sum(0)
    assert made.choose(at_least=8).names == tuple(a for a,n in zip(made.names, train) if n >= 8)
    whole = AttributeTable(made.items.drop(columns='part'), made.groups)
    assert whole.choose(at_least=8).names == tuple(a for a,n in zip(made.names, made.targets().sum(0)) if n >= 8)

@pytest.mark.parametrize('how, says', [(dict(names='vneck'), 'the nearest: v-neck'), (dict(names=['striped', 'stripped']), 'nearest: striped'), (dict(names=[3]), "unknown attribute '3'"),
                                       (dict(group='colour'), "unknown group 'colour'"), (dict(group=['part', 3]), 'unknown group 3'), (dict(rule=lambda a: False), 'no attribute is left'),
                                       (dict(names=[]), 'no attribute is left'), (dict(at_least=10**9), 'choose less strictly')])
def test_choices_that_cannot_be(made, how, says):
    with pytest.raises(FabricError, match=re.escape(says)): made.choose(**how)

def test_choose_keeps_the_exclusive_groups_that_are_left():
    table = attribute_table(pd.DataFrame(dict(image=['a'], labels=['x; y'])), dict(x='g', y='h', z='g'), ('g', 'h'))
    assert table.choose(group='h').exclusive == ('h',) and table.choose(['x']).exclusive == ('g',)

def test_parts_and_rows(made):
    assert sum(len(made.part(p)) for p in PARTS) == len(made) == 60
    assert list(made.take([5, 2]).items.image) == [made.items.image[5], made.items.image[2]]
    assert len(made.take(made.items.category == 'Tee')) == sum(made.items.category == 'Tee') and len(made.take([])) == 0 and made.take([]).targets().shape == (0, len(made.names))
    with pytest.raises(FabricError, match='choose from: train, val, test'): made.part('dev')
    with pytest.raises(FabricError, match="no column 'part'"): AttributeTable(made.items[['image', 'labels']], made.groups).part('train')
    assert 'texture 3' in repr(made) and 'train 36, val 12, test 12' in repr(made)

def test_with_category(made):
    table = made.with_category()
    columns = table.slices()['category']
    assert table.exclusive == ('category',) and (table.targets()[:, columns].sum(1) == 1).all() and [table.names[i] for i in columns] == sorted(set(made.items.category))
    assert (table.part('val').targets().shape[1] == table.targets().shape[1]) and (table.targets()[:, :len(made.names)] == made.targets()).all()
    some = AttributeTable(made.items.assign(category=made.items.category.where(made.items.index > 3)), made.groups).with_category()
    assert (some.targets()[:4, some.slices()['category']] == 0).all()
    with pytest.raises(FabricError, match="'striped' is the name of an attribute too"): AttributeTable(made.items.assign(category='striped'), made.groups).with_category()
    with pytest.raises(FabricError, match="no column 'category'"): AttributeTable(made.items[['image', 'labels']], made.groups).with_category()

def test_a_table_of_ones_own(tmp_path):
    groups = {'v-neck': 'neck', 'crew': 'neck', 'NA': 'brand'}
    (tmp_path/'t.csv').write_text('image,labels,part\na.jpg,NA; v-neck,train\nb/b.jpg,,val\n')
    table = attribute_table(tmp_path/'t.csv', groups, 'neck')
    assert list(table.items.labels) == [('v-neck', 'NA'), ()] and table.items.image[1] == str(tmp_path/'b/b.jpg') and table.exclusive == ('neck',)
    frame = pd.DataFrame(dict(image=['a.jpg']*4, labels=[['crew'], None, {'NA', 'crew'}, np.array(['crew'])]), index=[7]*4)
    assert list(attribute_table(frame, groups, root='x').items.labels) == [('crew',), (), ('crew', 'NA'), ('crew',)] and list(frame.labels)[0] == ['crew']

@pytest.mark.parametrize('columns, says', [(dict(labels=['v-neck; vneck']), "row 0: unknown attribute 'vneck'"), (dict(labels=['v-neck; crew']), 'row 0: v-neck and crew are both'), (dict(labels=[[['x']]]), 'row 0: unknown'),
                                           (dict(labels=[5]), "row 0: unknown attribute '5'"), (dict(image=['']), 'row 0 has no image'), (dict(image=[None]), 'row 0 has no image'), (dict(part=['dev']), "row 0: the part is 'dev'")])
def test_ones_own_table_refused(columns, says):
    with pytest.raises(FabricError, match=re.escape(says)): attribute_table(pd.DataFrame(dict(image=['a'], labels=['crew']) | columns), {'v-neck': 'neck', 'crew': 'neck'}, ['neck'])

@pytest.mark.parametrize('source, kw, says', [('none.csv', {}, 'no such file'), (3, {}, 'give a CSV or a DataFrame'), (pd.DataFrame(dict(image=['a'])), {}, "no column 'labels'"), (pd.DataFrame(dict(image=[], labels=[])), {}, 'no rows'),
                                              (pd.DataFrame(dict(image=['a'], labels=[''])), dict(exclusive='g'), "unknown group 'g'")])
def test_sources_refused(source, kw, says):
    with pytest.raises(FabricError, match=re.escape(says)): attribute_table(source, dict(a='b'), **kw)

def test_a_csv_that_is_none(tmp_path):
    (tmp_path/'a.csv').write_bytes(b'image,labels\n\xff\xfe,x\n')
    with pytest.raises(FabricError, match='cannot be read as a CSV'): attribute_table(tmp_path/'a.csv', dict(x='g'))

# ---- the fine-grained form

CLOTH = '12\nattribute_name type\n' + ''.join(f'{g}_{i} {k}\n' for k,g in enumerate(FINE, 1) for i in (0, 1))

@pytest.fixture
def fine_csv(tmp_path):
    (tmp_path/'list_attr_cloth.txt').write_text(CLOTH)
    (tmp_path/'labels.csv').write_text('image,' + ','.join(f'category{i}' for i in range(1, 7)) + '\nimg/1.jpg,0,1,0,1,0,1\nimg/2.jpg,1,1,1,1,1,1\n')
    return tmp_path

def test_fine_csv(fine_csv):
    table = read_fine(fine_csv)
    assert table.exclusive == FINE and table.items.labels[0] == ('pattern_0', 'sleeve_1', 'length_0', 'neckline_1', 'fabric_0', 'fit_1')
    assert list(table.items['product']) == ['img/1.jpg', 'img/2.jpg'] and all((table.targets()[:, c].sum(1) == 1).all() for c in table.slices().values())

@pytest.mark.parametrize('old, new, line, says', [(b',1\n', b',2\n', 2, 'six numbers'), (b',1\n', b'\n', 2, 'six numbers'), (b',1\n', b',1,1\n', 2, 'six numbers'), (b',1\n', b',-1\n', 2, 'six numbers'), (b',1\n', b',1.0\n', 2, 'six numbers'),
                                                  (b'img/2', b'img/1', 3, 'twice'), (b'img/2', b'../2', 3, 'no path inside'), (b'img/2', b'img\\2', 3, 'no path inside'), (b'img/2', b'\xff', 3, 'not UTF-8'), (b'category1', b'category2', 1, 'they must be image,category1'), (b'image,category1', b'category1,image', 1, 'they must be image')])
def test_fine_csv_refused(fine_csv, old, new, line, says):
    edit(fine_csv/'labels.csv', old, new)
    with pytest.raises(FabricError) as e: read_fine(fine_csv)
    assert f'labels.csv, line {line}: ' in str(e.value) and says in str(e.value)

def test_fine_parts(tmp_path):
    table = make_deepfashion(tmp_path/'fine', n=40, size=48, fine=True)
    assert {*table.items} == {'image', 'product', 'labels', 'category', 'part', 'x1', 'y1', 'x2', 'y2', 'mask', 'colour'}
    assert all((table.targets()[:, c].sum(1) == 1).all() for c in table.slices().values()) and table.exclusive == FINE
    anno = tmp_path/'fine'/'Anno_fine'
    for name in ('train_bbox', 'val_bbox', 'test_bbox', 'train_cate', 'val_cate', 'test_cate'): (anno/f'{name}.txt').unlink()
    (tmp_path/'fine'/'colours.csv').unlink()
    bare = read_fine(tmp_path/'fine')
    assert list(bare.items) == ['image', 'product', 'labels', 'part'] and list(bare.items.labels) == list(table.items.labels)

def test_both_forms_in_one_folder(tmp_path):
    "As in the published archive: each reader takes its own files, and the fine form finds the categories of the coarse one"
    make_deepfashion(tmp_path/'fine', n=20, size=32, fine=True)
    _write_coarse(tmp_path/'fine', pd.DataFrame(TABLE), GROUPS)
    (tmp_path/'fine'/'Anno_fine'/'list_category_cloth.txt').unlink()
    (tmp_path/'fine'/'colours.csv').unlink()
    assert read_deepfashion(tmp_path/'fine').groups == GROUPS and len(read_fine(tmp_path/'fine')) == 20 and 'category' in read_fine(tmp_path/'fine').items

def test_the_colours_are_checked(tmp_path):
    make_deepfashion(tmp_path/'a', n=4, size=32)
    path = tmp_path/'a'/'colours.csv'
    path.write_bytes(path.read_bytes().replace(b'#', b'0x', 1))
    with pytest.raises(FabricError, match=r'colours.csv, line 2: .* is not a colour'): read_deepfashion(tmp_path/'a')

@pytest.mark.parametrize('file, change, says', [
    ('val_attr.txt', lambda raw: raw.split(b'\n', 1)[1], r'val_attr.txt, line 7: 7 rows, but 8 images'), ('val_attr.txt', lambda raw: b'9' + raw[1:], r'val_attr.txt, line 1: .* is not six numbers'),
    ('val_bbox.txt', lambda raw: b'9 9 9 9\n' + raw.split(b'\n', 1)[1], r'val_bbox.txt, line 1: .* is not a box'), ('val_cate.txt', lambda raw: b'51\n' + raw.split(b'\n', 1)[1], r'val_cate.txt, line 1: .51. is not a number'),
    ('val.txt', lambda raw: b'../' + raw, r'val.txt, line 1: .* no path inside'), ('val.txt', lambda raw: raw.replace(b'00000002', b'00000001', 1), r'val.txt, line 2: .* twice'), ('val_bbox.txt', None, 'box is there for some parts only'),
    ('val_attr.txt', None, 'no val_attr.txt there'), ('test.txt', None, 'no test.txt there'), ('val.txt', lambda raw: (raw + b'\n').replace(b'img/', b'img/\xff'), r'val.txt, line 1: .* is not UTF-8')])
def test_fine_parts_refused(tmp_path, file, change, says):
    make_deepfashion(tmp_path/'fine', n=40, size=32, fine=True)
    path = tmp_path/'fine'/'Anno_fine'/file
    path.write_bytes(change(path.read_bytes())) if change else path.unlink()
    with pytest.raises(FabricError, match=says): read_fine(tmp_path/'fine')

def test_an_image_in_two_parts(tmp_path):
    make_deepfashion(tmp_path/'fine', n=40, size=32, fine=True)
    anno = tmp_path/'fine'/'Anno_fine'
    for end in ('', '_attr', '_bbox', '_cate'): (anno/f'val{end}.txt').write_bytes((anno/f'train{end}.txt').read_bytes())
    with pytest.raises(FabricError, match='is in an earlier part too'): read_fine(tmp_path/'fine')

@pytest.mark.skipif(not has_data('deepfashion_fine'), reason='deepfashion_fine is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
def test_the_real_labels():
    folder = data_dir('deepfashion_fine')
    table, raw = read_fine(folder), pd.read_csv(folder/'labels.csv')
    assert len(table) == len(raw) == 1000 and len(table.names) == 26 and [len(c) for c in table.slices().values()] == [7, 3, 3, 4, 6, 3]
    for i, (g, columns) in enumerate(table.slices().items(), 1): assert (table.targets()[:, columns].argmax(1) == raw[f'category{i}']).all(), g
    assert all(Path(p).is_file() for p in table.items.image)

# ---- the generator

def digest(folder): return hashlib.sha256(b''.join(p.relative_to(folder).as_posix().encode() + p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file())).hexdigest()

@pytest.mark.parametrize('fine', [False, True])
def test_same_seed_same_bytes(tmp_path, fine):
    a, b, c = (make_deepfashion(tmp_path/n, n=10, size=48, seed=s, fine=fine) for n,s in (('a', 3), ('b', 3), ('c', 4)))
    assert digest(tmp_path/'a') == digest(tmp_path/'b') != digest(tmp_path/'c') and list(a.items.labels) == list(b.items.labels)

def test_more_photos_begin_with_the_same(tmp_path):
    a, b = make_deepfashion(tmp_path/'a', n=10, size=48), make_deepfashion(tmp_path/'b', n=12, size=48)
    assert all(Path(p).read_bytes() == Path(q).read_bytes() for p,q in zip(a.items.image, b.items.image))

def test_what_is_made_is_true(made):
    assert made.items.groupby('product').part.nunique().max() == 1 and made.items.groupby('product').size().eq(4).all()
    for r in made.items.itertuples():
        photo, mask = np.asarray(Image.open(r.image)).astype(float), np.asarray(Image.open(r.mask))
        assert photo.shape == (96, 72, 3) and mask.shape == (96, 72) and .04 < mask.mean() < .6
        box = mask[r.y1:r.y2, r.x1:r.x2]
        assert box.sum() == mask.sum() and all(e.any() for e in (box[0], box[-1], box[:, 0], box[:, -1]))
        if not {'striped', 'floral', 'dots', 'denim'} & set(r.labels):
            dye = np.array([int(r.colour[i:i+2], 16) for i in (1, 3, 5)])
            assert np.abs(photo[mask].mean(0) - dye).max() < 60
    groups = made.slices()
    part = made.targets()[:, groups['part']]
    assert set(KINDS) == set(groups) and (part.sum(1) <= 2).all() and (made.targets()[:, groups['fabric']].sum(1) == 1).all()

def test_a_folder_that_is_there_is_kept(tmp_path):
    (tmp_path/'mine.txt').write_text('x')
    with pytest.raises(FabricError, match='give the name of a new folder'): make_deepfashion(tmp_path, n=4, size=32)
    with pytest.raises(FabricError, match='give the name of a new folder'): make_deepfashion(tmp_path/'mine.txt', n=4, size=32)
    assert (tmp_path/'mine.txt').read_text() == 'x'
    (tmp_path/'empty').mkdir()
    assert len(make_deepfashion(tmp_path/'empty', n=1, size=32)) == 1

@pytest.mark.parametrize('kw', [dict(n=0), dict(n=2.5), dict(size=8), dict(seed=-1), dict(n=True)])
def test_numbers_that_do_not_work(tmp_path, kw):
    with pytest.raises(FabricError, match='give a whole number'): make_deepfashion(tmp_path/'x', **kw)
    assert not (tmp_path/'x').exists()

def test_names_of_the_generated_attributes_are_deepfashions(tmp_path):
    "The fine form has names of the published list of 26"
    names = set(make_deepfashion(tmp_path/'f', n=4, size=32, fine=True).names)
    assert names < set('''floral graphic striped embroidered pleated solid lattice long_sleeve short_sleeve sleeveless maxi_length mini_length no_dress crew_neckline v_neckline square_neckline no_neckline
        denim chiffon cotton leather faux knit tight loose conventional'''.split())

# ---- size

def write_big(folder, n, k=1000):
    "A folder of n images with k attributes, in the published form, a row at a time"
    rng = np.random.default_rng(0)
    (folder/'Anno').mkdir()
    (folder/'list_attr_cloth.txt').write_text(f'{k}\nattribute_name  attribute_type\n' + ''.join(f'attribute {i:04d} {i%5+1}\n' for i in range(k)))
    (folder/'list_category_cloth.txt').write_text('50\ncategory_name  category_type\n' + ''.join(f'Category_{i:02d} {i%3+1}\n' for i in range(50)))
    names = [f'img/A_Product_With_A_Long_Name_{i//50:05d}/img_{i%50:08d}.jpg'.ljust(70) for i in range(n)]
    values = dict(list_category_img=lambda i: i%50+1, list_bbox=lambda i: f'{i%90:03d} 000 200 {i%200+1:03d}', list_eval_partition=lambda i: PARTS[i%3])
    for name, value in values.items(): (folder/f'{name}.txt').write_text(f'{n}\nimage_name  value\n' + ''.join(f'{s}{value(i)}\n' for i,s in enumerate(names)))
    columns = (k*rng.random((n, 5))**2).astype(int)
    with open(folder/'Anno'/'list_attr_img.txt', 'wb') as f:
        f.write(b'%d\nimage_name  attribute_labels\n' % n)
        for name, some in zip(names, columns.tolist()):
            row = bytearray(b' -1'*k)
            for c in some[:c_of(some)]: row[3*c+1] = 32
            f.write(name.encode()); f.write(row); f.write(b'\n')
    return [sorted({*some[:c_of(some)]}) for some in columns.tolist()]

def c_of(some): return some[0] % 6      # so many of the five are set

READ = '''
import sys, time
from fabric_touch.deepfashion import read_deepfashion
peak = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1])//1024   # ru_maxrss would count the process that started this one
before, start = peak(), time.process_time()
table = read_deepfashion(sys.argv[1])
print(len(table), sum(map(len, table.items.labels)), round(time.process_time() - start, 1), before, peak(), int(table.items.memory_usage(deep=True).sum())//2**20)
'''

def read_big(folder, limit):
    "Read in a fresh process: photos, labels, seconds, MB before, MB at the peak, MB of the table"
    done = subprocess.run([sys.executable, '-c', READ, str(folder)], capture_output=True, text=True, timeout=limit, env=os.environ | {'OMP_NUM_THREADS': '1'})
    assert not done.returncode, done.stderr
    return [float(w) for w in done.stdout.split()]

def test_three_thousand_rows(tmp_path):
    truth = write_big(tmp_path, 3000)
    table = read_deepfashion(tmp_path)
    assert [[int(a.split()[1]) for a in t] for t in table.items.labels] == truth and len(table.names) == 1000

@pytest.mark.stress
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory is read from /proc, which this system does not have')
def test_the_full_size(tmp_path, capsys):
    "289,222 rows of 1,000 values"
    truth = write_big(tmp_path, 289_222)
    size = (tmp_path/'Anno'/'list_attr_img.txt').stat().st_size
    photos, labels, seconds, before, peak, held = read_big(tmp_path, 120)
    with capsys.disabled(): print(f'\n{photos:,.0f} rows, {size/1e6:.0f} MB: {seconds} s of one core, peak {peak:.0f} MB ({before:.0f} MB before), the table {held:.0f} MB')
    assert (photos, labels) == (289_222, sum(map(len, truth))) and peak < 1000
