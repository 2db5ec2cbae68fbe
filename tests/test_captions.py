"Photos with texts: what COCO, RedCaps, class folders and tables are read as, what is left out by name, and what is refused."
import json, os, subprocess, sys

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from fabric_touch import captions
from fabric_touch.captions import (READERS, CaptionTable, imagenet_names, join_tables, make_captions, photo_faults, read_classes, read_coco, read_datasets, read_pairs,
                                   read_redcaps, split_captions)
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.folders import ClassTable

pytestmark = pytest.mark.once

def photo(path, colour='red'):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', (16, 12), colour).save(path)
    return path

def write(path, d):
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(d, bytes): path.write_bytes(d)
    else: path.write_text(d if isinstance(d, str) else json.dumps(d), encoding='utf-8')
    return path

def tree(root, *folders, n=1):
    for f in folders:
        for i in range(n): photo(root/f/f'{i}.jpg')
    return root

@pytest.fixture(scope='module')
def here(tmp_path_factory):
    "A folder of three photos"
    folder = tmp_path_factory.mktemp('photos')
    for n in 'abc': photo(folder/f'{n}.jpg')
    return folder

def coco(**more): return dict(images=[dict(id=i, file_name=f'{n}.jpg') for i,n in enumerate('abc')], annotations=[dict(image_id=i, caption=f'photo {i}') for i in range(3)]) | more

def test_import_is_light():
    said = subprocess.run([sys.executable, '-c', 'import sys, fabric_touch.captions; print(*({"torch", "timm", "transformers", "fastai"} & {*sys.modules}))'], capture_output=True, text=True)
    assert said.returncode == 0 and not said.stdout.strip(), said

# ---- the table

def test_table_keeps_order_and_columns():
    d = pd.DataFrame(dict(image=['b', 'a', 'b'], text=['1', '2', '3'], photo=['B', 'A', 'B'], licence='x'))
    t = CaptionTable(d)
    assert t.references() == {'B': ['1', '3'], 'A': ['2']} and t.photos().licence.tolist() == ['x', 'x'] and repr(t) == '3 captions of 2 photos'
    assert t.take([2, 0]).items.text.tolist() == ['3', '1'] and len(t.take(d.photo == 'A')) == 1 and t.take([]).references() == {}

@pytest.mark.parametrize('change', [dict(text=[1, 'x', 'y']), dict(photo=['', 'x', 'y']), dict(image=[None, 'x', 'y'])])
def test_table_refuses(change):
    with pytest.raises(FabricError, match='rows 1 have no usable'): CaptionTable(pd.DataFrame(dict(image=list('abc'), text=list('abc'), photo=list('abc'))).assign(**change))

# ---- COCO

def test_coco_order_ids_and_text(here, tmp_path):
    d = coco(annotations=[dict(image_id='2', caption=' two\n\tlines '), dict(image_id=0, caption='ünï 漢字 😀'), dict(image_id=2, caption='later')])
    t = read_coco(write(tmp_path/'c.json', b'\xef\xbb\xbf' + json.dumps(d).encode()), str(here))    # with a byte order mark
    assert t.items.text.tolist() == ['ünï 漢字 😀', 'two lines', 'later'] and t.items.photo.tolist() == ['0', '2', '2']
    assert t.left_out.why.tolist() == ['it has no caption'] and t.left_out.file.tolist() == [str(here/'b.jpg')]

def test_coco_short_form_and_licences(here, tmp_path):
    d = dict(licenses=[dict(id=3, name='CC'), dict(id=[1], name='odd'), 7], images=[dict(id=1, file='a.jpg', captions=['x', 'y'], license=3, split='train2017'), dict(id=2, file='b.jpg', captions=[], license=5), dict(id=3, file='c.jpg', captions=['z'], license=[3])])
    t = read_coco(write(tmp_path/'c.json', d), here)
    assert t.items.text.tolist() == ['x', 'y', 'z'] and t.items.license[0] == 'CC' and pd.isna(t.items.license[2]) and t.left_out.why.tolist() == ['it has no caption']

@pytest.mark.parametrize('name', ['../a.jpg', 'x/../../a.jpg', '..\\a.jpg', '/etc/hosts', '\\\\host\\share\\a.jpg', 'C:a.jpg', 'c:/a.jpg', 'a\0.jpg', '', ' ', 'a\ud800.jpg', 'none.jpg', '.', 'x'*5000])
def test_bad_file_names_are_left_out(here, tmp_path, name):
    t = read_coco(write(tmp_path/'c.json', coco(images=[dict(id=0, file_name='a.jpg'), dict(id=1, file_name=name)], annotations=coco()['annotations'][:2])), here)
    assert t.items.photo.tolist() == ['0'] and len(t.left_out) == 1
    t.left_out.to_csv(tmp_path/'left.csv')

def test_links_out_of_the_folder(tmp_path):
    photo(tmp_path/'real/a.jpg'); photo(tmp_path/'real-other/b.jpg')
    try:
        (tmp_path/'real/out.jpg').symlink_to(tmp_path/'real-other/b.jpg'); (tmp_path/'real/in.jpg').symlink_to('a.jpg'); (tmp_path/'link').symlink_to('real'); (tmp_path/'real/dir').symlink_to(tmp_path/'real-other')
    except OSError: pytest.skip('no links on this system')
    names = 'a.jpg', 'in.jpg', 'out.jpg', 'dir/b.jpg'
    d = dict(images=[dict(id=i, file_name=n) for i,n in enumerate(names)], annotations=[dict(image_id=i, caption='x') for i in range(4)])
    t = read_coco(write(tmp_path/'c.json', d), tmp_path/'link')      # the folder itself may be a link
    assert t.items.photo.tolist() == ['0', '1'] and t.left_out.why.str.startswith('a link that leads out').all()

@pytest.mark.parametrize('d, says', [
    ('[1, 2]', 'holds a list'), ('"x"', "holds 'x'"), ('{', 'cannot be read as JSON'), ('', 'cannot be read as JSON'), (b'\xff\xfe\x00', 'cannot be read as JSON'),
    ('['*100_000, 'nested too deeply'), ('{"a":'*100_000, 'nested too deeply'), ('{"images": ' + '9'*5000 + '}', 'cannot be read as JSON'),
    ({}, "has no list 'images'; it has: nothing"), (coco(images={}), "has no list 'images'"), (coco(images=[3]), "record 0 of 'images' is 3"), (coco(annotations=None), "has no list 'annotations'"),
    (coco(images=[dict(id=True, file_name='a.jpg')]), "has 'id': True; it must be a whole number or text"), (coco(images=[dict(id=1.5, file_name='a.jpg')]), "'id': 1.5"),
    (coco(images=[dict(id=1, file_name=['a'])]), "has 'file_name': a list; it must be text"), (coco(annotations=[dict(image_id=1)]), "record 0 of 'annotations' has no 'caption'"),
    (coco(annotations=[dict(image_id=1, caption=None)]), "'caption': None"), (coco(images=[dict(id=i, file_name='a.jpg') for i in (1, '1')]), "'1' is listed 2 times"),
    (coco(images=[dict(id='\ud800', file_name='a.jpg')]), 'is no id of a photo'), (coco(images=[]), 'no photo of'), (coco(annotations=[]), 'no photo of'),
    (dict(images=[dict(id=1, file='a.jpg', captions=['x', 3])]), "record 0 of 'images' has a caption that is no text"), (dict(images=[dict(id=1, file='a.jpg', captions='x')]), "it must be a list")])
def test_coco_refuses(here, tmp_path, d, says):
    with pytest.raises(FabricError) as e: read_coco(write(tmp_path/'c.json', d), here)
    assert says in str(e.value) and 'c.json' in str(e.value) and len(str(e.value)) < 1000

@pytest.mark.parametrize('bad', ['nowhere.json', '.', 'a\0b', '', None])
def test_no_json(here, bad):
    with pytest.raises(FabricError): read_coco(here/bad if bad else bad, here)

def test_too_large_a_json(here, tmp_path, monkeypatch):
    monkeypatch.setattr(captions, 'MAX_JSON', 10)
    with pytest.raises(FabricError, match='at most 10 are read'): read_coco(write(tmp_path/'c.json', coco()), here)

def test_no_folder_of_photos(here, tmp_path):
    for folder in (here/'a.jpg', here/'none', None, 3, 'a\0b'):
        with pytest.raises(FabricError, match='no such folder'): read_coco(write(tmp_path/'c.json', coco()), folder)

@pytest.mark.parametrize('caption', ['', '\n ', 'a\x00b', 'half \ud800', 'bell \x07'])
def test_captions_without_words(here, tmp_path, caption):
    t = read_coco(write(tmp_path/'c.json', coco(annotations=[dict(image_id=0, caption=caption), dict(image_id=0, caption='good'), dict(image_id=1, caption=caption)])), here)
    assert t.items.text.tolist() == ['good'] and t.left_out.file.str[-5:].tolist() == ['b.jpg', 'c.jpg', 'a.jpg', 'b.jpg']

_json = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from(['id', 'file_name', 'caption', 'image_id', 'images', 'annotations', 'captions', 'file', 'license', 'licenses', 'a.jpg']), x, max_size=4), max_leaves=12)

@settings(max_examples=150, deadline=None, database=None)
@given(d=_json, key=st.sampled_from(['images', 'annotations', 'licenses', 'all']))
def test_any_json_is_a_table_or_a_told_error(here, tmp_path_factory, d, key):
    path = write(tmp_path_factory.getbasetemp()/'any.json', d if key == 'all' and isinstance(d, dict) else coco(**{key: d}))
    for read in (read_coco, read_redcaps):
        try: assert len(read(path, here, check=None))
        except FabricError as e: assert len(str(e)) < 3000

@pytest.mark.skipif(not has_data('coco_mini'), reason='coco_mini is not here')
def test_coco_mini():
    t = READERS['coco'](data_dir('coco_mini'), check='decode')
    assert len(t) == 505 and len(t.photos()) == 101 and not len(t.left_out) and {len(r) for r in t.references().values()} == {5}
    assert t.items.license.str.contains('License').all() and t.items.flickr_url.str.startswith('http').all()
    train, valid = split_captions(t, near=True)
    assert t.items.photo[valid].nunique() == 20 and not {*t.items.photo[train]} & {*t.items.photo[valid]}

# ---- what photos can be used

def test_faults(tmp_path, monkeypatch):
    good = photo(tmp_path/'a.png'); (tmp_path/'no.jpg').write_bytes(b'GIF89a'); (tmp_path/'void.jpg').touch(); (tmp_path/'dir.jpg').mkdir()
    paths = [good, tmp_path/'no.jpg', tmp_path/'void.jpg', tmp_path/'dir.jpg', tmp_path/'gone.jpg', 'a\0b']
    said = photo_faults(paths)
    assert said[0] == '' and [w[:14] for w in said[1:]] == ['cannot be read', 'the file is em', 'no such file', 'no such file', 'no such file']
    assert [bool(w) for w in photo_faults(paths, check=None)] == [False, False, False, True, True, True] and all(photo_faults(paths, check='decode')[1:]) and photo_faults([]) == []
    monkeypatch.setattr('fabric_touch.data.MAX_PIXELS', 100)
    assert photo_faults([good]) == ['claims 16 x 12 pixels; at most 100 are read'] and 'claims' in photo_faults([good], check='decode')[0]

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no pipes on this system')
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path/'p.jpg')
    assert photo_faults([tmp_path/'p.jpg']) == ['no such file']

# ---- RedCaps

def post(subreddit='cats', i='x1', **more): return dict(image_id=i, subreddit=subreddit, caption='a cat', raw_caption='A CAT', url='https://i.example/x', crosspost_parents=None) | more

def test_redcaps_files_and_texts(tmp_path):
    for f in ('cats/x1', 'dogs/x1'): photo(tmp_path/f'images/{f}.jpg')
    write(tmp_path/'annotations/cats_2019.json', dict(annotations=[post(), post(i='gone')])); write(tmp_path/'annotations/dogs_2020.json', dict(annotations=[post('dogs', raw_caption=' My\nDog ')])); write(tmp_path/'annotations/readme.txt', '')
    t, raw = READERS['redcaps'](tmp_path), read_redcaps(tmp_path/'annotations', tmp_path/'images', text='raw_caption')
    assert t.items.photo.tolist() == ['cats/x1', 'dogs/x1'] and t.items.text.tolist() == ['a cat']*2 and t.items.raw_caption[0] == 'A CAT' and raw.items.text[1] == 'My Dog'
    assert t.left_out.why.tolist() == ['no such file'] and len(read_redcaps(tmp_path/'annotations/cats_2019.json', tmp_path/'images')) == 1

def test_redcaps_same_photo_twice_and_refusals(tmp_path):
    photo(tmp_path/'images/cats/x1.jpg')
    t = read_redcaps(write(tmp_path/'a.json', dict(annotations=[post(), post(caption='again'), post('../cats'), post(i='../../a')])), tmp_path/'images')
    assert t.references() == {'cats/x1': ['a cat', 'again']} and t.left_out.why.str.startswith('leads out').tolist() == [True, True]
    for d,says in ((dict(annotations=[post(caption=None)]), "'caption': None"), (dict(annotations=[dict(image_id='x')]), "no 'subreddit'"), (dict(data=[]), "has no list 'annotations'")):
        with pytest.raises(FabricError, match=says): read_redcaps(write(tmp_path/'b.json', d), tmp_path/'images')
    with pytest.raises(FabricError, match="unknown text 'title'"): read_redcaps(tmp_path/'a.json', tmp_path/'images', text='title')

# ---- classes

def test_imagenet_names_are_apart_everywhere():
    from timm.data import ImageNetInfo
    names, every = imagenet_names(), ImageNetInfo('imagenet-21k-goog').label_names()
    assert len(names) == 1000 and list(names) == sorted(names)
    many = imagenet_names(every)
    assert [*many] == every
    assert len({n.casefold() for n in many.values()}) == len(every) and all(many.get(k, n) == n for k,n in names.items())
    assert names['n02012849'] != names['n03126707'] and names['n03710637'] != names['n03710721'] and names['n01440764'] == 'tench'

def test_imagenet_folders(tmp_path):
    t = read_classes(tree(tmp_path/'part', 'n03710721', 'n03710637', n=2))
    assert t.classes == ('maillot (tights for dancers or gymnasts)', 'tank suit') and t.items.folder.tolist() == ['n03710637']*2 + ['n03710721']*2 and t.targets().tolist() == [0, 0, 1, 1]
    whole = read_datasets('imagenet', tree(tmp_path, 'imagenet/train/n01440764', 'imagenet/train/n02012849', 'imagenet/val/n01440764', 'imagenet/val/n02012849'), part='val')[0]
    assert len(whole) == 2 and all('val' in f for f in whole.items.image) and {*whole.items.source} == {'imagenet'}

def test_scene_folders(tmp_path):
    tree(tmp_path/'s', 'a/abbey', 'a/apartment_building/outdoor', 't/theater/indoor_procenium'); (tmp_path/'s/README').touch(); (tmp_path/'s/a/abbey/note.txt').touch()
    t = read_classes(tmp_path/'s')
    assert t.classes == ('abbey', 'outdoor apartment building', 'indoor procenium theater') and t.items.folder.tolist()[1] == 'apartment_building/outdoor' and len(t.left_out) == 2
    write(tmp_path/'s/ClassName.txt', '/t/theater/indoor_procenium\n/a/abbey\n/a/apartment_building/outdoor\n')
    assert read_classes(tmp_path/'s').targets().tolist() == [1, 2, 0]
    for text,says in (('abbey\n', "'abbey' is no class"), ('/a/abbey\n/a/abbey', 'listed twice'), (b'\xff', 'cannot be read')):
        with pytest.raises(FabricError, match=says): read_classes(write(tmp_path/'s/ClassName.txt', text).parent)

def test_folders_of_letters_are_no_scenes(tmp_path):
    assert read_classes(tree(tmp_path, 'a', 'b')).classes == ('a', 'b')

def test_plain_folders_and_names(tmp_path):
    tree(tmp_path/'p', 'long_sleeve', 'hat/winter', 'hat')
    assert read_classes(tmp_path/'p').classes == ('hat', 'long sleeve')
    for names in (dict(hat='cap', long_sleeve='shirt'), write(tmp_path/'n.json', dict(hat='cap', long_sleeve='shirt')), write(tmp_path/'n.txt', 'hat cap, headgear\nlong_sleeve\tshirt\n')):
        assert read_classes(tmp_path/'p', names).classes == ('cap', 'shirt')

@pytest.mark.parametrize('names, says', [(dict(hat='x'), 'no name for long_sleeve'), (dict(hat='x', long_sleeve='x'), 'two classes have one name'), (dict(hat='x', long_sleeve=3), 'no name for long_sleeve'),
                                         (dict(hat='x', long_sleeve='\ud800'), 'no name for long_sleeve'), ('nowhere.txt', 'cannot be read'), ('nowhere.json', 'no such file'), (3, 'cannot be read')])
def test_names_refused(tmp_path, names, says):
    with pytest.raises(FabricError, match=says): read_classes(tree(tmp_path, 'long_sleeve', 'hat'), names)

def test_names_without_words(tmp_path):
    with pytest.raises(FabricError, match='a line without words'): read_classes(tree(tmp_path/'p', 'shirt', 'hat'), write(tmp_path/'n.txt', 'hat\n'))

def test_faulty_photos_of_classes(tmp_path):
    tree(tmp_path, 'hat', 'shoe', n=2); (tmp_path/'hat/1.jpg').write_text('<html>')
    t = read_classes(tmp_path)
    assert len(t) == 3 and t.left_out.why.tolist() == ['cannot be read as a picture (UnidentifiedImageError)'] and len(read_classes(tmp_path, check=None)) == 4
    (tmp_path/'hat/0.jpg').write_text('')
    with pytest.raises(FabricError, match='no photo of hat can be used; the first, .*0.jpg: the file is empty'): read_classes(tmp_path)

# ---- tables of one's own

def test_pairs_forms(here, tmp_path):
    d = pd.DataFrame(dict(image=['a.jpg', 'b.jpg'], text=['x', 'y'], label=[1, 2]))
    t, c = read_pairs(d, here), read_pairs(d.drop(columns='text'), here)
    assert isinstance(t, CaptionTable) and t.items.label.tolist() == [1, 2] and isinstance(c, ClassTable) and c.classes == ('1', '2')
    d.assign(image=[str(here/i) for i in d.image]).to_csv(tmp_path/'t.csv', index=False)
    assert len(read_pairs(pd.read_csv(tmp_path/'t.csv'))) == 2                 # a table of one's own may have paths to anywhere
    with pytest.raises(FabricError, match='read the CSV with pandas'): read_pairs(tmp_path/'t.csv')
    d.assign(image=['a.jpg', '../x.jpg']).to_csv(here/'t.csv', index=False)
    left = read_pairs(here/'t.csv').left_out
    assert len(left) == 1 and left.why[0].startswith('leads out')

def test_pairs_boxes(here):
    d = pd.DataFrame(dict(image=['a.jpg', 'b.jpg'], text='x', x0=['1', ''], y0=['2', ''], x1=['5.5', ''], y1=['6', '']))
    assert read_pairs(d, here).items.x1.tolist()[0] == 5.5 and read_pairs(d, here).items.x1.isna().tolist() == [False, True]
    for change in (dict(x0=['', '']), dict(x0=['-1', '']), dict(x1=['1', '']), dict(y1=['inf', '']), dict(y1=['six', '']), dict(x0=['1', '3']), dict(x0=['.1', ''], y0=['.2', ''], x1=['.6', ''], y1=['1', ''])):
        with pytest.raises(FabricError, match='have no usable box'): read_pairs(d.assign(**change), here)

@pytest.mark.parametrize('d, says', [(dict(image=['a.jpg']), 'text or label'), (dict(text=['x']), "column 'image'"), (dict(image=[], text=[]), 'no rows'), (dict(image=[None], text=['x']), "no usable 'image'"),
                                     (dict(image=['a.jpg'], text=['a\0']), "no usable 'text'"), (dict(image=['a.jpg'], text=['x'], group=[None]), "no usable 'group'"), (dict(image=['a.jpg'], label=['x']), 'at least two classes'),
                                     (dict(image=['zzz.jpg'], text=['x']), 'no photo of the table can be used')])
def test_pairs_refused(here, d, says):
    with pytest.raises(FabricError, match=says): read_pairs(pd.DataFrame(d), here)

def test_no_folder_is_given(here):
    with pytest.raises(FabricError, match='no such folder'): read_pairs(pd.DataFrame(dict(image=['a.jpg'], text=['x'])), 3)
    with pytest.raises(FabricError, match='no such folder'): read_datasets('coco', None)

def test_pairs_no_csv(here):
    for source in (here/'none.csv', here/'a.jpg'):
        with pytest.raises(FabricError): read_pairs(source)

# ---- by name

def test_coco_places(here, tmp_path):
    for part,y in (('train', 2017), ('val', 2014)):
        for n in 'abc': photo(tmp_path/f'coco/{part}{y}/{n}.jpg')
        write(tmp_path/f'coco/annotations/captions_{part}{y}.json', coco())
    for part in ('train', 'val'): assert len(read_datasets(['coco'], tmp_path, part)[0]) == 3
    own = make_captions(tmp_path/'cloth', 3)
    both = join_tables(read_datasets('coco coco:cloth', tmp_path))
    assert len(both) == 3 + len(own) and both.items.photo.nunique() == 6 and both.items.photo[0] == 'coco/0'

@pytest.mark.parametrize('names, says', [('coco', 'no such folder'), ('', 'name at least one'), ('coco coco', 'each once'), (3, 'name at least one'), ([3], 'name at least one'), ('cocoa', "unknown data set 'cocoa'"), ('table:a', 'holds none of: train.csv; table.csv')])
def test_datasets_refused(tmp_path, names, says):
    (tmp_path/'a').mkdir()
    with pytest.raises(FabricError, match=says): read_datasets(names, tmp_path)

def test_parts_refused(tmp_path):
    (tmp_path/'redcaps').mkdir()
    with pytest.raises(FabricError, match="no part 'val' of its own"): read_datasets('redcaps', tmp_path, 'val')
    with pytest.raises(FabricError, match="unknown part 'test'"): read_datasets('redcaps', tmp_path, 'test')

def test_join_refused():
    t = CaptionTable(pd.DataFrame(dict(image=['a'], text=['x'], photo=['1'])))
    with pytest.raises(FabricError, match="no column 'source'"): join_tables([t, t])
    with pytest.raises(FabricError, match='no kind'): join_tables([])

def test_join_makes_same_words_one_class():
    a, b = (ClassTable(pd.DataFrame(dict(image=list('xy'), label=c)), c) for c in (('barn', 'crane'), ('barn', 'abbey')))
    assert join_tables([a, b]).classes == ('barn', 'crane', 'abbey') and join_tables([a, b]).targets().tolist() == [0, 1, 0, 2]

# ---- split and generation

@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.sampled_from(['', 'g', 'h', 'i', 'j'])), min_size=2, max_size=30), st.integers(0, 2**32-1), st.sampled_from([.01, .2, .5, .99]))
def test_nothing_stands_on_both_sides(rows, seed, valid):
    d = pd.DataFrame([(f'f{a}', f'p{b}', g or None) for a,b,g in rows], columns=['image', 'photo', 'group']).assign(text='x')
    try: train, valid = split_captions(CaptionTable(d), valid, seed)
    except FabricError: return
    assert len(train) and len(valid) and sorted([*train, *valid]) == list(range(len(d)))
    for c in ('image', 'photo', 'group'): assert not {*d[c].iloc[train].dropna()} & {*d[c].iloc[valid].dropna()}

def test_split_near_duplicates(tmp_path):
    made = make_captions(tmp_path/'made', 6, size=96)
    copy = Image.open(made.items.image[0]).resize((72, 72)); copy.save(tmp_path/'copy.jpg', quality=90)
    t = CaptionTable(pd.concat([made.items, pd.DataFrame(dict(image=[str(tmp_path/'copy.jpg')], text='x', photo='copy'))], ignore_index=True))
    for seed in range(6):
        train, valid = split_captions(t, .3, seed, near=True)
        assert len({'0', 'copy'} & {*t.items.photo[valid]}) != 1

@pytest.mark.parametrize('valid', [0, 1, True, '.2', None, -.1, float('nan')])
def test_split_refuses(valid):
    with pytest.raises(FabricError, match='valid is'): split_captions(CaptionTable(pd.DataFrame(dict(image=list('ab'), text='x', photo=list('ab')))), valid)

def test_made_captions(tmp_path):
    a, b, c = make_captions(tmp_path/'a', 8), make_captions(tmp_path/'b', 8), make_captions(tmp_path/'c', 8, seed=1)
    assert a.items.text.tolist() == b.items.text.tolist() != c.items.text.tolist() and (tmp_path/'a/images/000003.jpg').read_bytes() == (tmp_path/'b/images/000003.jpg').read_bytes()
    assert all(2 <= len(r) == len({*r}) <= 5 for r in a.references().values()) and not any(' a orange' in t or '  ' in t for t in a.items.text)
    for bad in (dict(n=0), dict(seed=-1), dict(size=8)):
        with pytest.raises(FabricError, match='whole number'): make_captions(tmp_path/'d', **bad)
