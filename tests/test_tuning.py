"Annotations as published, and detectors tuned on them: hostile files, nothing left behind, the same seed the same weights."
import importlib.util, json, os, random, signal, subprocess, sys, time
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch
from PIL import Image, ImageDraw
from fabric_touch import tuning
from fabric_touch.checkpoints import read_card, read_weights
from fabric_touch.core import FabricError
from fabric_touch.tuning import box_scores, read_coco, split_photos, true_mask, tune_detector

# ---- files of annotations

PHOTO = dict(id=1, file_name='a.jpg', width=30, height=20)
SHIRT = dict(id=7, name='shirt', supercategory='upperbody', level=2, taxonomy_id='7')
BOX = dict(id=5, image_id=1, category_id=7, bbox=[4, 2, 5, 9], area=45, iscrowd=0, segmentation=[[4, 2, 9, 2, 9, 11, 4, 11]])
RLE = dict(counts=[200, 10, 10, 10, 370], size=[20, 30])

def write(folder, name='instances.json', **change):
    path = Path(folder)/name
    path.write_text(json.dumps(dict(info={}, licenses=[], images=[PHOTO], annotations=[BOX], categories=[SHIRT]) | change))
    return path

def test_a_row_for_each_instance(tmp_path):
    row = read_coco(write(tmp_path), images='/photos').loc[0]
    assert (row.image, row.label, row.width, row.height) == ('/photos/a.jpg', 'shirt', 30, 20)
    assert (row.x1, row.y1, row.x2, row.y2, row.area, row.attributes) == (4, 2, 9, 11, 45, ())
    assert read_coco(write(tmp_path)).image[0] == str(tmp_path/'a.jpg')

def test_attributes_by_name(tmp_path):
    named = [dict(id=3, name='plain'), dict(id=9, name='wool')]
    table = read_coco(write(tmp_path, attributes=named, annotations=[BOX | dict(attribute_ids=[9, 3]), BOX | dict(id=6, attribute_ids=[])]))
    assert list(table.attributes) == [('wool', 'plain'), ()]

def test_ids_may_be_texts_and_photos_in_folders(tmp_path):
    table = read_coco(write(tmp_path, images=[PHOTO | dict(id='x', file_name='train/a..b.jpg')], annotations=[BOX | dict(image_id='x')]))
    assert table.image[0] == str(tmp_path/'train'/'a..b.jpg')

WHOLE = {   # what refuses a file whole: what is changed, and what the error says
    'no_images': (dict(images=None), "no list 'images'"), 'annotations_dict': (dict(annotations={}), "no list 'annotations'"),
    'row_no_dict': (dict(images=[3]), r'images\[0\] has no id'), 'no_size': (dict(images=[dict(id=1, file_name='a.jpg')]), 'has no width, height'),
    'no_bbox': (dict(annotations=[dict(id=1, image_id=1, category_id=7)]), 'has no bbox'), 'id_list': (dict(images=[PHOTO | dict(id=[1])]), 'must be a number or a text'),
    'id_true': (dict(images=[PHOTO | dict(id=True)]), 'must be a number or a text'), 'twice': (dict(annotations=[BOX, BOX]), 'id 5 stands twice'),
    'image_twice': (dict(images=[PHOTO, PHOTO]), 'in images, id 1 stands twice'), 'category_twice': (dict(categories=[SHIRT, SHIRT]), 'in categories'),
    'up': (dict(images=[PHOTO | dict(file_name='../a.jpg')]), 'inside the folder'), 'up_inside': (dict(images=[PHOTO | dict(file_name='x/../../a.jpg')]), 'inside the folder'),
    'up_windows': (dict(images=[PHOTO | dict(file_name='x\\..\\a.jpg')]), 'inside the folder'), 'absolute': (dict(images=[PHOTO | dict(file_name='/etc/passwd')]), 'inside the folder'),
    'drive': (dict(images=[PHOTO | dict(file_name='C:\\a.jpg')]), 'inside the folder'), 'nul': (dict(images=[PHOTO | dict(file_name='a\0.jpg')]), 'inside the folder'),
    'empty_name': (dict(images=[PHOTO | dict(file_name=' ')]), 'inside the folder'), 'number_name': (dict(images=[PHOTO | dict(file_name=3)]), 'inside the folder'),
    'zero': (dict(images=[PHOTO | dict(width=0)]), 'whole numbers'), 'text_size': (dict(images=[PHOTO | dict(width='30')]), 'whole numbers'),
    'half': (dict(images=[PHOTO | dict(width=30.5)]), 'whole numbers'), 'huge': (dict(images=[PHOTO | dict(width=10**9, height=10**9)]), 'at most'),
    'label_number': (dict(categories=[SHIRT | dict(name=4)]), 'is not a text'), 'nothing': (dict(annotations=[]), 'no annotation that can be used')}

@pytest.mark.parametrize('case', WHOLE)
def test_a_file_that_is_refused_whole(tmp_path, case):
    change, why = WHOLE[case]
    path = write(tmp_path, **change)
    with pytest.raises(FabricError, match=why) as e: read_coco(path, skip_bad=True)
    assert str(path) in str(e.value)

ROWS = {   # what is wrong with one annotation
    'image': (dict(image_id=2), 'no image of the file'), 'image_list': (dict(image_id=[1]), 'no image'), 'image_none': (dict(image_id=None), 'no image'),
    'category': (dict(category_id=8), 'no category'), 'attribute': (dict(attribute_ids=[4]), 'attribute 4 is no attribute'),
    'nan': (dict(bbox=[float('nan'), 2, 5, 9]), 'four finite numbers'), 'inf': (dict(bbox=[4, 2, float('inf'), 9]), 'four finite numbers'),
    'huge': (dict(bbox=[4, 2, 10**400, 9]), 'four finite numbers'), 'three': (dict(bbox=[4, 2, 5]), 'four finite numbers'), 'text': (dict(bbox='4 2 5 9'), 'four finite numbers'),
    'none': (dict(bbox=None), 'four finite numbers'), 'true': (dict(bbox=[True, 2, 5, 9]), 'four finite numbers'), 'flat': (dict(bbox=[4, 2, 5, 0]), 'no width or no height'),
    'negative': (dict(bbox=[4, 2, -5, 9]), 'no width or no height'), 'beside': (dict(bbox=[31, 2, 5, 9]), 'lies beside'), 'left': (dict(bbox=[-9, 2, 5, 9]), 'lies beside'),
    'over': (dict(bbox=[20, 2, 22, 9]), 'by 12 pixels'), 'rle_size': (dict(segmentation=RLE | dict(size=[30, 20])), 'has size'), 'rle_empty': (dict(segmentation={}), 'has size'),
    'rle_counts': (dict(segmentation=dict(size=[20, 30])), 'no counts'), 'two_points': (dict(segmentation=[[1, 2, 3, 4]]), 'neither'), 'odd': (dict(segmentation=[[1, 2, 3, 4, 5, 6, 7]]), 'neither'),
    'deep': (dict(bbox=json.loads('['*900 + ']'*900)), 'four finite numbers'), 'points': (dict(segmentation=[[[1, 2], [3, 4]]]), 'neither'), 'word': (dict(segmentation='poly'), 'neither')}

@pytest.mark.parametrize('case', ROWS)
def test_an_annotation_that_is_refused(tmp_path, case):
    change, why = ROWS[case]
    path = write(tmp_path, annotations=[BOX, BOX | dict(id=6) | change])
    with pytest.raises(FabricError, match=why) as e: read_coco(path)
    assert '1 of 2 annotations' in str(e.value) and 'annotation 6' in str(e.value) and str(path) in str(e.value) and len(str(e.value)) < 600
    table = read_coco(path, skip_bad=True)
    assert len(table) == 1 and len(table.attrs['left_out']) == 1

def test_clip_cuts_and_rounding_is_left(tmp_path):
    assert read_coco(write(tmp_path, annotations=[BOX | dict(bbox=[-3, 2, 50, 9])]), clip=True)[['x1', 'x2']].values.tolist() == [[0, 30]]
    assert read_coco(write(tmp_path, annotations=[BOX | dict(bbox=[20, 2, 10.4, 9])])).x2[0] == 30.4

@pytest.mark.parametrize('text', ['', '{', '[1, 2', 'null', '[]', '3', '{"images": [', '<html>', '[' * 200_000, '{"a": ' * 5000], ids=lambda t: t[:12] or 'empty')
def test_what_is_no_annotation_file(tmp_path, text):
    (tmp_path/'a.json').write_text(text)
    with pytest.raises(FabricError, match='a.json'): read_coco(tmp_path/'a.json')

def test_cut_off_and_bytes(tmp_path):
    whole = write(tmp_path).read_bytes()
    for n in range(0, len(whole)-1, 7):
        (tmp_path/'cut.json').write_bytes(whole[:n])
        with pytest.raises(FabricError, match='cut off'): read_coco(tmp_path/'cut.json')
    for data in (b'\xff\xfe\x00', bytes(range(256)), whole.replace(b'shirt', b'sh\xffrt')):
        (tmp_path/'cut.json').write_bytes(data)
        with pytest.raises(FabricError, match='cut.json'): read_coco(tmp_path/'cut.json')
    for path in (tmp_path/'none.json', tmp_path):
        with pytest.raises(FabricError, match='cannot be read'): read_coco(path)

def test_reading_grows_in_proportion(tmp_path):
    "Twenty thousand instances; the work is counted, not timed: what is checked per instance is called once for each"
    calls = []
    for n in (2000, 20_000):
        path = write(tmp_path, images=[PHOTO | dict(id=i, file_name=f'{i}.jpg') for i in range(n//7+1)], annotations=[BOX | dict(id=i, image_id=i//7) for i in range(n)])
        seen, fault = [0], tuning._fault
        def counted(*args): seen[0] += 1; return fault(*args)
        with pytest.MonkeyPatch.context() as m:
            m.setattr(tuning, '_fault', counted)
            assert len(read_coco(path)) == n
        calls.append(seen[0])
    assert calls == [2000, 20_000]

# ---- masks

def row(seg): return dict(segmentation=seg, width=30, height=20)

def test_masks_from_run_lengths():
    pytest.importorskip('supervision')
    m = true_mask(row(RLE))
    assert m.dtype == bool and m.shape == (20, 30) and m.sum() == 20
    assert m[:10, 10].all() and m[:10, 11].all() and not m[10:].any()             # down the columns
    assert (true_mask(row(dict(counts='X6::0X;', size=[20, 30]))) == m).all()

def test_masks_from_polygons():
    pytest.importorskip('supervision')
    one, two = true_mask(row([[4, 2, 9, 2, 9, 11, 4, 11]])), true_mask(row([[20, 2, 25, 2, 25, 6]]))
    assert one[2:12, 4:10].all() and one.sum() == 60
    assert (true_mask(row([[4, 2, 9, 2, 9, 11, 4, 11], [20, 2, 25, 2, 25, 6]])) == (one | two)).all()
    assert true_mask(row([[-50, -50, 80, -50, 80, 80, -50, 80]])).all()

@pytest.mark.parametrize('seg', [None, float('nan'), [], [[]], [[1, 2, float('nan'), 4, 5, 6]], [[1, 2, 1e30, 4, 5, 6]], ['abc'], 'abc', 3, dict(counts=[1, 2]), dict(counts=[-5, 605]), dict(counts=[10**30]),
                                 dict(counts='\x00'), dict(counts='X6:'), dict(counts=None), dict(), dict(counts=[['a']]), dict(counts='€€€')], ids=repr)
def test_what_gives_no_mask(seg):
    pytest.importorskip('supervision')
    with pytest.raises(FabricError, match='no mask'): true_mask(row(seg))

# ---- pictures to tune on

def toys(folder, n=10, mode='RGB', ext='png'):
    "Generated pictures: a red disc, a blue square and a green square at other places"
    folder, rng, rows = Path(folder), np.random.default_rng(0), []
    folder.mkdir(exist_ok=True, parents=True)
    for i in range(n):
        img = Image.new('RGB', (80, 100), 'white')
        for label,colour,y in (('hat', 'red', 2), ('top', 'blue', 34), ('skirt', 'green', 68)):
            x, s = int(rng.integers(2, 45)), int(rng.integers(20, 30))
            (ImageDraw.Draw(img).ellipse if label == 'hat' else ImageDraw.Draw(img).rectangle)((x, y, x+s, y+s), colour)
            rows.append((str(folder/f'{i}.{ext}'), 80, 100, label, x, y, x+s, y+s))
        img.convert(mode).save(folder/f'{i}.{ext}')
    return pd.DataFrame(rows, columns='image width height label x1 y1 x2 y2'.split())

def state(folder):
    "Everything in a folder: name, size and time of change"
    return {str(p.relative_to(folder)): (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(Path(folder).rglob('*'))}

def tiny_net():
    tf = pytest.importorskip('transformers')
    torch.manual_seed(0)
    return tf.YolosForObjectDetection(tf.YolosConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[64, 64], num_detection_tokens=10))

def tiny_yolo():
    "ultralytics looks up hosts when it is imported plainly; the library does so with its switches set"
    if not importlib.util.find_spec('ultralytics'): pytest.skip('ultralytics is not installed: pip install "fabric_touch[yolo]"')
    return 'yolov8n.yaml'

def bases(): return dict(yolo=tiny_yolo, yolos=tiny_net)
BASES = list(bases())

def tune(table, out, kind='yolos', **kwargs):
    pytest.importorskip('supervision')
    return tune_detector(table, out, bases()[kind](), **dict(valid=.3, epochs=1, size=64, bs=4) | kwargs)

@pytest.fixture(scope='module')
def table(tmp_path_factory): return toys(tmp_path_factory.mktemp('toys'))

def test_equal_photos_stay_together(tmp_path):
    t = toys(tmp_path, 8)
    for i in range(4): (tmp_path/f'copy{i}.png').write_bytes((tmp_path/'0.png').read_bytes())
    photos = [*t.image.unique(), *(str(tmp_path/f'copy{i}.png') for i in range(4))]
    for seed in range(20):
        a, b = split_photos(photos, .25, seed)
        assert sorted(a+b) == sorted(photos) and (a, b) == split_photos(photos, .25, seed)
        assert len({p in a for p in [photos[0], *photos[8:]]}) == 1
    assert len({tuple(split_photos(photos, .25, s)[1]) for s in range(20)}) > 5

@pytest.mark.parametrize('valid', [0, 1, -1, 2., ['nowhere.png'], [], 'all'], ids=str)
def test_splits_that_are_refused(table, valid):
    photos = list(table.image.unique())
    with pytest.raises(FabricError): split_photos(photos, photos if valid == 'all' else valid)

def test_scores_of_the_right_boxes_and_none(table):
    sv = pytest.importorskip('supervision')
    true = [sv.Detections(np.array([[0, 0, 10, 10], [20, 20, 40, 40]], np.float32), class_id=np.array([0, 1]))]
    right = sv.Detections(true[0].xyxy, confidence=np.ones(2), data=dict(class_name=np.array(['a', 'b'])))
    none = sv.Detections.empty()
    assert box_scores([right], true, ['a', 'b', 'c']) == dict(map50=1, map50_95=1, recall=dict(a=1, b=1))
    assert box_scores([none], true, ['a', 'b'])['recall'] == dict(a=0, b=0) and box_scores([none], true, ['a', 'b'])['map50'] == 0
    swapped = sv.Detections(true[0].xyxy, confidence=np.ones(2), data=dict(class_name=np.array(['b', 'other'])))
    assert box_scores([swapped], true, ['a', 'b'])['map50'] == 0

def test_one_box_serves_one_instance_and_the_best_count():
    sv = pytest.importorskip('supervision')
    true = [sv.Detections(np.array([[0, 0, 10, 10], [0, 0, 10, 11]], np.float32), class_id=np.array([0, 0]))]
    def found(boxes, scores): return [sv.Detections(np.array(boxes, np.float32), confidence=np.array(scores), data=dict(class_name=np.array(['a']*len(boxes))))]
    assert box_scores(found([[0, 0, 10, 10]], [1.]), true, ['a'])['recall']['a'] == .5
    assert box_scores(found([[50, 0, 60, 10], [0, 0, 10, 10]], [.9, .1]), true, ['a'], most=1)['recall']['a'] == 0

def test_guesses_are_means_of_the_training_photos():
    photos = [tuning._Photo(str(i), '', (10, 10), np.array([[.1*i, 0, .5, 1.]]), np.array([1])) for i in range(3)]
    photos[0] = photos[0]._replace(boxes=np.array([[0, 0, .5, 1.], [0, 0, 1, 1.]]), ids=np.array([1, 0]))
    guess = tuning._plain_guesses(photos, ['a', 'b', 'never'])
    assert list(guess['mean_box'][1]) == ['a', 'b'] and np.allclose(guess['mean_box'][2], [1/3, 1])
    assert np.allclose(guess['mean_box'][0][1], [.1, 0, .5, 1]) and np.allclose(guess['whole'][0], [[0, 0, 1, 1]]*2)

# ---- tuning

@pytest.mark.parametrize('kind', BASES)
def test_saved_and_loaded_it_finds_the_same(table, tmp_path, kind):
    from fabric_touch.detectors import Detector, detector
    before = state(Path(table.image[0]).parent)
    tuned = tune(table, tmp_path/'out', kind)
    assert isinstance(tuned, Detector) and tuned.name == kind and tuned.labels == ('hat', 'skirt', 'top')
    card = read_card(tmp_path/'out', kind='detector', base=kind, labels=['hat', 'skirt', 'top'], size=64)
    assert (card['processor'] is None) == (kind == 'yolo') and ('AGPL-3.0' in card['licence']) == (kind == 'yolo')
    assert set(card['training']['scores']) == {'tuned', 'whole', 'mean_box'} and card['training']['held_out'] == 3 and card['training']['boxes'] == 21
    a, b = (detector(kind, pretrained=tmp_path/'out', floor=1e-4) for _ in range(2))
    for p in table.image.unique()[:4]:
        x, y = a(p), b(p)
        assert len(x) and set(x.data['class_name']) <= {'hat', 'skirt', 'top'}
        assert np.array_equal(x.xyxy, y.xyxy) and np.array_equal(x.confidence, y.confidence) and np.array_equal(x.data['class_name'], y.data['class_name'])
    assert before == state(Path(table.image[0]).parent)                           # the photos' folder is as it was

@pytest.mark.parametrize('kind', BASES)
def test_nothing_is_left_outside_of_out(table, tmp_path, monkeypatch, kind):
    temp, here, base = tmp_path/'temp', tmp_path/'here', bases()[kind]()
    for d in (temp, here): d.mkdir()
    pytest.importorskip('supervision')
    monkeypatch.chdir(here); monkeypatch.setattr('tempfile.tempdir', str(temp))
    threads, torch_state, py_state = torch.get_num_threads(), torch.get_rng_state(), random.getstate()
    tune_detector(table, tmp_path/'out', base, valid=.3, epochs=1, size=64, bs=4)
    assert sorted(p.name for p in (tmp_path/'out').iterdir()) == ['card.json', 'model.safetensors']
    assert not list(here.iterdir()) and not list(temp.iterdir())
    assert sorted(p.name for p in tmp_path.iterdir()) == ['here', 'out', 'temp']
    assert torch.get_num_threads() == threads and not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), torch_state) and random.getstate() == py_state

@pytest.mark.parametrize('kind', BASES)
def test_same_seed_same_weights(table, tmp_path, kind):
    weights = []
    for name,seed in (('a', 1), ('b', 1), ('c', 2)):
        torch.manual_seed(len(weights)); np.random.seed(len(weights)); random.seed(len(weights))
        tune(table, tmp_path/name, kind, seed=seed, epochs=2, valid=list(table.image.unique()[:3]))
        weights.append(read_weights(tmp_path/name))
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not all(torch.equal(weights[0][k], weights[2][k]) for k in weights[0])
    assert read_card(tmp_path/'a')['training']['scores'] == read_card(tmp_path/'b')['training']['scores']

@pytest.mark.parametrize('kind', BASES)
def test_a_tuned_one_can_be_gone_on_with(table, tmp_path, kind):
    tune(table, tmp_path/'a', kind)
    first = read_weights(tmp_path/'a')
    renamed = table.assign(label=table.label.replace('hat', 'cap'))[lambda d: d.label != 'skirt']
    tuned = tune_detector(renamed, tmp_path/'b', tmp_path/'a', valid=.3, epochs=1, size=64, bs=4, lr=1e-6)
    assert tuned.labels == ('cap', 'top') and read_card(tmp_path/'b')['base'] == kind
    second = read_weights(tmp_path/'b')
    key = dict(yolo='model.0.conv.weight', yolos='vit.embeddings.patch_embeddings.projection.weight')[kind]
    assert torch.allclose(first[key], second[key], atol=1e-3) and not torch.equal(first[key], second[key])

def test_it_learns_where_things_are(tmp_path):
    "Some hundred steps on generated pictures: the training loss of a tiny YOLOS falls, and its boxes are better than at the start"
    pytest.importorskip('supervision')
    t = toys(tmp_path/'p', 24)
    scores = [read_card(tune(t, tmp_path/f'e{n}', 'yolos', epochs=n, lr=2e-3).source)['training']['scores']['tuned']['map50'] for n in (1, 40)]
    assert scores[1] > scores[0] + .02, scores

@pytest.mark.parametrize('mode,ext', [('L', 'png'), ('RGBA', 'png'), ('P', 'png'), ('CMYK', 'jpg'), ('I;16', 'png'), ('RGB', 'webp')])
def test_photos_of_every_mode(tmp_path, mode, ext):
    t = toys(tmp_path/'p', 5, 'RGB' if mode == 'I;16' else mode, ext)
    if mode == 'I;16':
        for p in t.image.unique(): Image.fromarray(np.array(Image.open(p).convert('L')).astype(np.uint16)*257).save(p)
    assert tune(t, tmp_path/'out').labels == ('hat', 'skirt', 'top')

def test_photos_that_cannot_be_used_are_counted(table, tmp_path):
    t = toys(tmp_path/'p')
    (tmp_path/'p'/'3.png').unlink(); (tmp_path/'p'/'4.png').write_bytes(b'no picture')
    Image.new('RGB', (100, 80)).save(tmp_path/'p'/'5.png')
    with pytest.raises(FabricError, match='3 of 10 photos cannot be used') as e: tune(t, tmp_path/'out')
    for why in ('3.png: no such file', '4.png: cannot be read', '5.png: is 100 x 80 pixels, the annotations are for 80 x 100'): assert why in str(e.value)
    assert not (tmp_path/'out').exists()
    tune(t, tmp_path/'out', skip_bad=True)
    training = read_card(tmp_path/'out')['training']
    assert training['left_out'] == len(training['left_out_first']) == 3 and training['photos'] + training['held_out'] == 7

def test_crowds_take_no_part(table, tmp_path):
    crowd = table.assign(iscrowd=(table.label == 'skirt').astype(int))
    assert tune(crowd, tmp_path/'out').labels == ('hat', 'top')

TABLES = dict(no_label=(lambda t: t.drop(columns='label'), 'has no label'), nan=(lambda t: t.assign(x1=float('nan')), 'row 0 has the box'), flat=(lambda t: t.assign(x2=t.x1), 'row 0 has the box'),
              text=(lambda t: t.assign(x1='a'), 'must be numbers'), empty=(lambda t: t[:0], 'no rows'), list=(lambda t: [1], 'has no image'), unnamed=(lambda t: t.assign(label=None), 'has no label'),
              beside=(lambda t: t.assign(x1=900, x2=910), 'photos cannot be used'))

@pytest.mark.parametrize('case', TABLES)
def test_tables_that_are_refused(table, tmp_path, case):
    change, why = TABLES[case]
    with pytest.raises(FabricError, match=why): tune(change(table), tmp_path/'out')
    assert not (tmp_path/'out').exists()

SETTINGS = [dict(epochs=0), dict(epochs=1.5), dict(size=0), dict(size='64'), dict(bs=0), dict(bs=2.5), dict(lr=-1), dict(lr='x'), dict(seed=-1), dict(seed='1'), dict(valid=0), dict(valid=['x.png'])]

@pytest.mark.parametrize('settings', SETTINGS, ids=str)
def test_settings_that_are_refused(table, tmp_path, settings):
    with pytest.raises(FabricError): tune(table, tmp_path/'out', **settings)
    assert not (tmp_path/'out').exists()

@pytest.mark.parametrize('settings', [dict(project='/tmp/x'), dict(save=True), dict(no_such_setting=1), dict(mosaic='much'), dict(size=50)], ids=str)
def test_settings_that_ultralytics_may_not_have(table, tmp_path, settings):
    with pytest.raises(FabricError): tune(table, tmp_path/'out', 'yolo', **settings)
    assert not (tmp_path/'out').exists()

def test_settings_that_adamw_does_not_have(table, tmp_path):
    with pytest.raises(FabricError, match='AdamW'): tune(table, tmp_path/'out', 'yolos', mosaic=1)

def test_networks_that_cannot_be_tuned(table, tmp_path):
    with pytest.raises(FabricError, match='a Linear cannot be tuned'): tune_detector(table, tmp_path/'out', torch.nn.Linear(2, 2))
    for name in ('yolox', 'grounding_dino', 'whole'):
        with pytest.raises(FabricError, match='choose from: yolo, yolos'): tune_detector(table, tmp_path/'out', name)
    assert not (tmp_path/'out').exists()

def test_weights_that_are_not_there(table, tmp_path):
    tiny_yolo(); tiny_net()
    for base in ('nowhere.pt', 'nowhere.yaml', 'nobody/has-this', tmp_path):
        with pytest.raises(FabricError): tune_detector(table, tmp_path/'out', base)
    assert not (tmp_path/'out').exists()

def test_what_is_there_is_not_lost(table, tmp_path):
    (tmp_path/'thesis').mkdir(); (tmp_path/'thesis'/'chapter1.txt').write_text('years')
    (tmp_path/'file').write_text('x')
    for out in ('thesis', 'file'):
        with pytest.raises(FabricError): tune(table, tmp_path/out)
    assert (tmp_path/'thesis'/'chapter1.txt').read_text() == 'years'
    tune(table, tmp_path/'out'); tune(table, tmp_path/'out')                       # a tuned detector may be replaced

def test_a_loss_that_is_no_number(table, tmp_path):
    net = tiny_net()
    with torch.no_grad(): net.class_labels_classifier.layers[0].weight.fill_(float('nan'))
    pytest.importorskip('supervision')
    with pytest.raises(FabricError, match='no number'): tune_detector(table, tmp_path/'out', net, valid=.3, epochs=1, size=64, bs=4)
    assert not (tmp_path/'out').exists()

RUN = '''
import sys, pandas as pd
sys.path.insert(0, {tests!r})
from test_tuning import bases, toys
from fabric_touch.tuning import tune_detector
t = toys({folder!r})
print('ready', flush=True)
tune_detector(t, {out!r}, bases()[{kind!r}](), valid=.3, epochs=100_000, size=64, bs=4)
'''

@pytest.mark.parametrize('kind,how', [pytest.param('yolo', signal.SIGINT, id='interrupt'), pytest.param('yolos', signal.SIGKILL, id='kill', marks=pytest.mark.stress)])
@pytest.mark.once
def test_stopped_it_leaves_out_as_it_was(tmp_path, kind, how):
    bases()[kind](); pytest.importorskip('supervision')
    (tmp_path/'temp').mkdir()
    code = RUN.format(tests=str(Path(__file__).parent), folder=str(tmp_path/'p'), out=str(tmp_path/'out'), kind=kind)
    run = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ | dict(TMPDIR=str(tmp_path/'temp'), OMP_NUM_THREADS='1'), cwd=tmp_path)
    try:
        assert run.stdout.readline() == b'ready\n'
        while not list((tmp_path/'temp').rglob('000009.jpg')): time.sleep(.05); assert run.poll() is None
        time.sleep(2)
        run.send_signal(how)
        run.wait(60)
    finally: run.kill(); run.wait(); run.stdout.close()
    assert not (tmp_path/'out').exists() and sorted(p.name for p in tmp_path.iterdir()) == ['p', 'temp']
    if how == signal.SIGINT: assert not list((tmp_path/'temp').glob('tmp*/*.jpg'))

def test_what_a_file_says_of_its_layers_is_not_run(table, tmp_path, monkeypatch):
    pytest.importorskip('ultralytics')
    from fabric_touch.detectors import ultralytics
    monkeypatch.chdir(tmp_path)
    net = ultralytics('.nn.tasks').DetectionModel('yolov8n.yaml', verbose=False)
    net.yaml['activation'] = "__import__('pathlib').Path('ran').touch()"
    torch.save(dict(model=net), tmp_path/'bad.pt')
    with pytest.raises(FabricError): tune_detector(table, tmp_path/'out', tmp_path/'bad.pt', epochs=1, size=64)
    assert not (tmp_path/'ran').exists() and not (tmp_path/'out').exists()


@pytest.mark.parametrize('change, why', [(dict(attribute_ids=5), 'attribute_ids 5 is no list'), (dict(iscrowd='1'), 'neither 0 nor 1'), (dict(iscrowd=2), 'neither 0 nor 1')])
def test_crowds_and_attributes_of_another_kind(change, why, tmp_path):
    with pytest.raises(FabricError, match=why): read_coco(write(tmp_path, annotations=[BOX | change]))

def test_a_row_without_an_image_is_refused(tmp_path):
    table = pd.DataFrame(dict(image=['a.jpg', np.nan], label='x', x1=0, y1=0, x2=5, y2=5), index=[3, 8])
    with pytest.raises(FabricError, match='row 8 has no image'): tune_detector(table, tmp_path/'o', 'yolov8n.yaml', size=64)

def test_what_would_be_lost_is_said(tmp_path):
    (tmp_path/'thesis.txt').write_text('x')
    with pytest.raises(FabricError, match='which would be lost'): tune_detector(read_coco(write(tmp_path)), tmp_path, 'yolov8n.yaml', size=64)
