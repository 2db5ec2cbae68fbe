"One page: nothing in it raises, its record fits the schema and holds no folder, boxes lie in masks, states say what happened, hostile records are refused."
import json
import math
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from fabric_touch.attributes import AttributeModel
from fabric_touch.core import FabricError
from fabric_touch.data import Number, Target
from fabric_touch.detectors import Detector, Segmenter
from fabric_touch.encoders import image_encoder
from fabric_touch.heads import head
from fabric_touch.pages import plot_product, product_html
from fabric_touch.product import PRODUCT_SCHEMA, STAGES, ProductModels, cloth_box, describe_product, mask_from_rle, read_page, read_product, rle
from fabric_touch.touch import predict_touch, touch_model

pytestmark = pytest.mark.once
jsonschema = pytest.importorskip('jsonschema')
CHECK = jsonschema.Draft202012Validator(PRODUCT_SCHEMA)
PHOTO = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
SOME = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])


def checked(page):
    "A record that is strict JSON, fits the schema, and comes back as it was"
    CHECK.validate(page)
    assert json.loads(json.dumps(page, allow_nan=False)) == page
    assert list(page['stages']) == list(STAGES)
    return page

def whys(page, stage): return [f['why'] for f in page['failures'] if f['stage'] == stage]

def seen(boxes, labels=None, scores=None):
    "A detector that gives these boxes of every photo"
    sv = pytest.importorskip('supervision')
    boxes = np.asarray(boxes, float)
    given = sv.Detections(xyxy=boxes, confidence=np.asarray([.9]*len(boxes) if scores is None else scores, float), class_id=np.zeros(len(boxes), int), data=dict(class_name=np.asarray(labels or ['pants']*len(boxes))))
    return Detector('mine', lambda img: given)

def segmenter(mask): return Segmenter('mine', lambda img: img.size, lambda size, boxes: np.stack([mask(size[1], size[0])]*len(boxes)))

@pytest.fixture(scope='module')
def touch(): return touch_model('mlb', 'swatch').eval()

def attributes(exclusive=(), bias=(2., 1., 3.), encoder=None):
    "A model that says the same of every photo"
    encoder = image_encoder('swatch')
    model = AttributeModel(encoder, head('linear', encoder.n_out, 3), dict(plain='pattern', striped='pattern', silk='fabric'), exclusive)
    last = next(m for m in model.head.modules() if isinstance(m, torch.nn.Linear))
    with torch.no_grad(): last.weight.zero_(); last.bias.copy_(torch.tensor(bias))
    return model.eval()


@pytest.mark.parametrize('photos', [5, math.nan, b'abc', {'a.jpg': 1}, {'a.jpg'}, PHOTO[..., 0], np.array(5), object, open(os.devnull, 'rb')], ids='number nan bytes dict set grey scalar class file'.split())
def test_what_is_no_list_of_photos_is_one_failure(photos):
    page = checked(describe_product('jeans', photos, 'cotton 100'))
    assert [p['outcome'] for p in page['photos']] == ['unreadable'] and len(page['failures']) == 1
    assert page['stages'] == dict(title='done', photos='failed', garments='not asked', attributes='not asked', colours='not asked', blend='done', touch='not asked')

@pytest.mark.parametrize('photos, n', [(None, 0), ((), 0), ([], 0), ((x for x in [PHOTO, PHOTO]), 2), (PHOTO[None], 1), (PHOTO, 1), (Image.fromarray(PHOTO), 1), ([None, PHOTO], 2)], ids='none tuple list generator batch array image gap'.split())
def test_lists_of_photos(photos, n): assert len(checked(describe_product('jeans', photos))['photos']) == n

@pytest.fixture(scope='module')
def files(tmp_path_factory):
    "Photos of every kind"
    folder, img = tmp_path_factory.mktemp('photos'), Image.fromarray(PHOTO)
    turned, clear = Image.Exif(), img.convert('RGBA')
    turned[0x112] = 6
    clear.putalpha(0)
    img.save(folder/'turned.jpg', exif=turned); img.convert('CMYK').save(folder/'cmyk.jpg'); clear.save(folder/'clear.png'); img.save(folder/'moving.gif', save_all=True, append_images=[img]*2)
    Image.fromarray((np.arange(96*128).reshape(96, 128)*5).astype(np.uint16)).save(folder/'deep.png')
    Image.new('RGB', (1, 1)).save(folder/'dot.png'); Image.new('RGB', (10000, 20)).save(folder/'strip.png')
    (folder/'none.jpg').write_bytes(b'no photo'); (folder/'empty.jpg').touch(); (folder/'folder.jpg').mkdir(); os.mkfifo(folder/'fifo.jpg'); os.symlink(folder/'loop.jpg', folder/'loop.jpg')
    whole = (folder/'deep.png').read_bytes()
    (folder/'half.png').write_bytes(whole[:len(whole)//2])
    (folder/'claims.png').write_bytes(whole[:16] + (20_000).to_bytes(4, 'big')*2 + whole[24:])
    return folder

@pytest.mark.parametrize('name, size', dict(turned=(96, 128), cmyk=(128, 96), clear=(128, 96), moving=(128, 96), deep=(128, 96), dot=(1, 1), strip=(10000, 20)).items())
def test_photos_of_every_kind(files, touch, name, size):
    page = checked(describe_product('jeans', next(files.glob(f'{name}.*')), 'cotton 100', ProductModels(touch)))
    assert (page['photos'][0]['width'], page['photos'][0]['height']) == size == page.photos[0].size
    assert page['garments'][0]['box'] == [0, 0, *size] and page['garments'][0]['cutout'] is None and page.mask(0).shape == size[::-1]
    assert page['stages']['touch'] == ('failed' if min(size) < 64 else 'done')

@pytest.mark.parametrize('name', 'none.jpg empty.jpg folder.jpg fifo.jpg loop.jpg half.png claims.png lost.jpg'.split())
def test_photos_that_are_none(files, name):
    page = checked(describe_product('jeans', [files/name, PHOTO], 'cotton 100'))
    assert [p['outcome'] for p in page['photos']] == ['unreadable', 'whole'] and page['stages']['photos'] == 'partly'
    assert page['garments'][0]['photo'] == 1 and page.photos[0] is None

@pytest.mark.parametrize('path', ['./my  shop/lost.jpg', '{}//my  shop/lost.jpg', '{}/./my  shop/none.jpg', '{}/my  shop/../my  shop/none.jpg', "{}/it's\n\"here\"/none.jpg", '{}/' + 'd'*250 + '/lost.jpg', '.', '/', '..'])
def test_no_folder_is_told(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    for name in ('my  shop', "it's\n\"here\""): (tmp_path/name).mkdir(); (tmp_path/name/'none.jpg').write_bytes(b'no photo')
    page = checked(describe_product('jeans', path.format(tmp_path)))
    told = json.dumps(page)
    assert tmp_path.name not in told and 'shop' not in told and 'here' not in told and 'dddd' not in told
    assert 'no such file' in page['photos'][0]['why'] or 'cannot be read as a picture' in page['photos'][0]['why']

@pytest.mark.parametrize('text', ['', ' ', '\x00\x07', '\ud800 jeans', '\u202e', 'x'*10**6, '면바지'*10**5, '9'*10**6, '%s'*99, 'cotton 100, '*10**4], ids=lambda t: ascii(t[:8]))
def test_titles_and_labels_of_any_text(text):
    page = checked(describe_product(text, (), text))
    assert page['input'] == dict(title=text, label=text) and {page['stages'][s] for s in ('title', 'blend')} <= {'done', 'failed'}
    assert repr(page)

@pytest.mark.parametrize('given', [dict(title=7), dict(title=math.nan), dict(title=b'jeans'), dict(label_text=b'cotton'), dict(label_text=['cotton'])])
def test_what_is_no_page_is_refused(given):
    with pytest.raises(FabricError, match='is a text, or None'): describe_product(**given)

@pytest.mark.parametrize('given, why', [(dict(detect=5), 'Detector'), (dict(detect='whole', segment=5), 'Segmenter'), (dict(detect='yolo99'), 'unknown detector'), (dict(fallback='guess'), 'unknown fallback'), (dict(min_score=2), 'min_score'),
                                        (dict(min_score=math.nan), 'min_score'), (dict(touch={}), 'not a dict'), (dict(attributes=5), 'not a int'), (dict(touch='nowhere'), 'nowhere')], ids=str)
def test_models_that_are_none_are_refused_when_they_are_named(given, why):
    if 'detect' in given: pytest.importorskip('supervision')
    with pytest.raises(FabricError, match=why): ProductModels(**given)

def test_models_of_another_kind_are_refused(touch):
    with pytest.raises(FabricError, match='ProductModels'): describe_product('jeans', PHOTO, 'cotton 100', touch)


@pytest.mark.parametrize('boxes, scores, garments', [([[500, 500, 600, 600]], None, ['whole']), ([[-50, -50, 64, 64]], None, ['found']), ([[60, 60, 10, 10]], None, ['whole']), ([[11.5, 3, 12.5, 60]], None, ['found']), (np.zeros((0, 4)), None, ['whole']),
                                                     ([[0, 0, 64, 64]], [55.], []), ([[0, 0, 64, 64]], [np.inf], []), ([[0, 0, 64, 64]], [np.nan], ['whole']), ([[0, 0, 64, 64]], [.1], ['whole'])], ids=str)
def test_boxes_of_any_kind(boxes, scores, garments):
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(detect=seen(boxes, scores=scores))))
    assert [g['outcomes'][0] for g in page['garments']] == garments
    assert page['stages']['garments'] == ('done' if garments else 'failed')

def test_many_boxes(touch):
    boxes = [[20*(k % 6), 16*(k//6), 20*(k % 6) + 20, 16*(k//6) + 16] for k in range(30)]
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(touch, detect=seen(boxes, scores=np.linspace(.3, 1, 30)))))
    assert [g['cutout'] for g in page['garments']] == [f'cutout_{k:02d}.png' for k in range(30)] and all(page.cutouts)
    assert page['stages']['touch'] == 'failed' and '32 are needed' in whys(page, 'touch')[0]

@pytest.mark.parametrize('segment, went', [(segmenter(lambda h, w: np.zeros((3, 3), bool)), 'failed'), (segmenter(lambda h, w: np.ones((h, w), np.uint8)), 'failed'), (Segmenter('mine', lambda img: 1/0, None), 'failed'),
                                           (segmenter(lambda h, w: np.zeros((h, w), bool)), 'done'), (segmenter(lambda h, w: np.ones((h, w), bool)), 'done')], ids=['shape', 'kind', 'raises', 'empty', 'full'])
def test_masks_of_any_kind(segment, went):
    page = checked(describe_product('jeans', [PHOTO, PHOTO], 'cotton 100', ProductModels(detect=seen([[10, 10, 90, 90]]), segment=segment)))
    assert page['stages']['garments'] == went and page['stages']['blend'] == 'done'
    assert [g['photo'] for g in page['garments']] == ([0, 1] if went == 'done' else []) and all(g['cutout'] is None for g in page['garments'])

def test_a_detector_that_fails_on_one_photo():
    detect = seen([[10, 10, 90, 90]])
    def find(img):
        if img.width == 100: raise MemoryError()
        return detect.find(img)
    page = checked(describe_product('jeans', [PHOTO[:, :100], PHOTO], None, ProductModels(detect=Detector('mine', find))))
    assert page['stages']['garments'] == 'partly' and [g['photo'] for g in page['garments']] == [1]
    assert [p['outcome'] for p in page['photos']] == ['failed', 'found'] and whys(page, 'garments') == ['it did not say why']


def test_views_are_of_the_garment_they_name(touch):
    "Two garments on two photos: boxes in pixels of the masks, cut-outs of the photos, the mean of the views"
    def mask(h, w): m = np.zeros((h, w), bool); m[5:80, 20:110] = True; m[40] = False; return m
    models = ProductModels(touch, detect=seen([[20, 5, 110, 80], [0, 0, 60, 40]], ['pants', 'jacket'], [.8, .6]), segment=segmenter(mask))
    page = checked(describe_product('jacket and pants suit', [PHOTO, 255 - PHOTO], 'cotton 100', models))
    assert set(page['categories']) == {'jacket', 'pants'} and [(g['photo'], g['category']) for g in page['garments']] == [(0, 'pants'), (0, 'jacket'), (1, 'pants'), (1, 'jacket')]
    assert [(v['photo'], v['garment'], v['crop']) for v in page['views']] == [(0, 0, 'garment'), (1, 2, 'garment')]
    alone = []
    for v in page['views']:
        x1, y1, x2, y2 = v['box']
        assert page.mask(v['garment'])[y1:y2, x1:x2].all() and x2 - x1 == y2 - y1 >= 32
        alone.append(predict_touch(page.photos[v['photo']].crop(v['box']), 'cotton 100', touch))
        assert v['levels'] == {k: t['level'] for k,t in alone[-1].to_dict().items()}
    assert np.allclose([t['probs'] for t in page['touches'].values()], np.mean([p.probs for p in alone], 0), atol=1e-4)
    for k,g in enumerate(page['garments']):
        cut = np.asarray(page.cutouts[k])
        assert (cut[..., 3] > 0).sum() == page.mask(k).sum() and abs(g['area'] - page.mask(k).mean()) < 1e-4
        assert (np.sort(cut[cut[..., 3] > 0][:, :3].ravel()) == np.sort(np.asarray(page.photos[g['photo']])[page.mask(k)].ravel())).all()

def test_close_photos_come_first_and_the_others_if_none_can_be_read(touch, files):
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(touch), [files/'lost.jpg', PHOTO]))
    assert [(v['photo'], v['crop'], v['garment'], v['box']) for v in page['views']] == [(2, 'fabric', None, None)] and page['stages']['photos'] == 'partly'
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(touch), files/'lost.jpg'))
    assert [(v['photo'], v['crop'], v['garment']) for v in page['views']] == [(0, 'middle', 0)] and page['stages']['touch'] == 'done'

@SOME
@given(st.integers(0, 10**6), st.sampled_from([(40, 60), (530, 90), (1100, 1030), (8, 3000)]), st.floats(0, 1))
def test_the_square_of_cloth_lies_inside(seed, shape, thin):
    "Of masks with holes of any size, such as one line of pixels"
    rng = np.random.default_rng(seed)
    mask = np.ones(shape, bool)
    for _ in range(rng.integers(0, 6)):
        y, x = rng.integers(0, shape)
        if rng.random() < thin: mask[y] = False
        else: mask[y:y + rng.integers(1, 30), x:x + rng.integers(1, 30)] = False
    x1, y1, x2, y2 = cloth_box(mask)
    assert x2 - x1 == y2 - y1 > 0 and x1 >= 0 and y1 >= 0 and x2 <= shape[1] and y2 <= shape[0] and mask[y1:y2, x1:x2].all()

def test_no_square_in_an_empty_mask():
    for shape in ((5, 5), (1100, 1100)): x1, _, x2, _ = cloth_box(np.zeros(shape, bool)); assert x2 <= x1


@pytest.mark.parametrize('recipe, targets', [('mlb', [Number('gsm')]), ('mlb', [Target('a', 3), Target('b', 5), Number('gsm')]), ('constantinople', None), ('mlb_either', None)], ids=str)
def test_touch_models_of_every_kind(recipe, targets):
    model = touch_model(recipe, 'swatch', **(dict(targets=targets) if targets else {})).eval()
    page = checked(describe_product('jeans', [PHOTO, 255 - PHOTO], 'cotton 100', ProductModels(model)))
    assert page['stages']['touch'] == 'done' and list(page['touches']) == [t.name for t in model.targets] and len(page['views']) == 2
    for t in model.targets: assert len(page['touches'][t.name].get('probs', [])) in ((t.levels,) if recipe.startswith('mlb') else (0,))
    assert repr(page) and 'How it feels' in product_html(page)

@pytest.mark.parametrize('targets', [None, [Number('gsm')]], ids=['levels', 'number'])
def test_a_damaged_touch_model_fails_alone(targets):
    model = touch_model('mlb', 'swatch', **(dict(targets=targets) if targets else {})).eval()
    with torch.no_grad():
        for p in model.head.parameters(): p.fill_(math.nan)
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(model)))
    assert page['stages']['touch'] == 'failed' and page['touches'] is None and page['views'] == []

@pytest.mark.parametrize('exclusive', [(), ('pattern',)])
@pytest.mark.parametrize('cut', ['whole', 'box', 'mask', 'both'])
def test_attributes_of_every_view(exclusive, cut):
    model = attributes(exclusive)
    model.card = dict(cut=cut)
    page = checked(describe_product('jeans', PHOTO, None, ProductModels(attributes=model, detect=seen([[10, 10, 90, 90]]))))
    assert [a['name'] for a in page['garments'][0]['attributes']['pattern']][:1] == ['plain'] and len(page['garments'][0]['attributes']['pattern']) == 2 - len(exclusive)
    assert page['stages']['attributes'] == 'done'

@pytest.mark.parametrize('exclusive', [(), ('pattern',)])
def test_a_damaged_attribute_model_fails_alone(exclusive):
    page = checked(describe_product('jeans', PHOTO, 'cotton 100', ProductModels(attributes=attributes(exclusive, [math.nan]*3))))
    assert page['stages']['attributes'] == 'failed' and page['garments'][0]['attributes'] is None and page['stages']['colours'] == 'done'

def test_same_page_same_record_and_nothing_is_left_behind(touch, files):
    "Random states, modes of models, and earlier pages"
    models = ProductModels(touch, attributes(), seen([[10, 10, 90, 90]]), 'grabcut')
    touch.train()
    models.attributes.train()
    modes = [m.training for net in (touch, models.attributes) for m in net.modules()]
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    def page(): return json.dumps(checked(describe_product('jeans', [files/'cmyk.jpg', PHOTO], 'cotton 100', models)))
    first = page()
    describe_product('skirt', 255 - PHOTO, 'linen 100', models)
    assert page() == first
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert [m.training for net in (touch, models.attributes) for m in net.modules()] == modes
    touch.eval()

def test_cards_are_json_and_name_no_folder():
    detect = seen([[10, 10, 90, 90]])
    detect.source, detect.licence = Path('/home/me/weights/fine.onnx'), None
    page = checked(describe_product('jeans', PHOTO, None, ProductModels(detect=detect)))
    assert page['models'][0]['card']['source'] == 'fine.onnx'


TEXT = st.one_of(st.none(), st.text(max_size=30), st.sampled_from(['남자 면바지', 'jeans', 'jacket and pants suit', 'cotton 95 elastane 5', '겉감: 면 100% 안감: 폴리에스터 100%', 'cotton 60 poly 60', 'a bag']))
PHOTOS = st.lists(st.sampled_from([PHOTO, PHOTO[:40, :30], PHOTO[:1, :1], None, 5, 'lost.jpg', b'x', Image.new('LA', (70, 70))]), max_size=3)

@SOME
@given(TEXT, TEXT, PHOTOS, PHOTOS, st.sampled_from(['none', 'largest', 'whole']), st.sampled_from([None, 0, 1, 2]))
def test_any_page_fits_the_schema(touch, title, label, photos, close, fallback, boxes):
    detect = None if boxes is None else seen([[5, 5, 60, 60], [-20, 30, 90, 200]][:boxes] or np.zeros((0, 4)), ['pants', 'person'][:boxes])
    page = checked(describe_product(title, photos, label, ProductModels(touch, detect=detect, fallback=fallback), close))
    failed = {f['stage'] for f in page['failures']}
    for s,state in page['stages'].items(): assert (state in ('partly', 'failed')) == (s in failed)
    assert [p['outcome'] == 'unreadable' for p in page['photos']] == [p is None for p in page.photos]
    for k,g in enumerate(page['garments']):
        mask = page.mask(k)
        assert mask.shape == page.photos[g['photo']].size[::-1] and (g['cutout'] is None) == (page.cutouts[k] is None) == mask.all()
    for v in page['views']: assert v['garment'] is None or page['garments'][v['garment']]['photo'] == v['photo']
    assert (page['touches'] is None) == (page['views'] == [])


def test_runs():
    for seed in range(10):
        mask = np.random.default_rng(seed).random((7, 5)) < seed/9
        assert (mask_from_rle(rle(mask)) == mask).all()

@pytest.mark.parametrize('runs', [dict(size=[10**9, 10**9], counts=[10**18]), dict(size=[2**32, 2**32], counts=[0]), dict(size=[2, 2], counts=[1.5, 2.5]), dict(size=[2, 2], counts=['4']), dict(size=[2, 2], counts=[-1, 5]), dict(size=[4], counts=[4]),
                                  dict(size=['2', 2], counts=[4]), dict(size=[2, 2], counts=None), dict(size=[2, 2]), {}, None, 'x', dict(size=[-2, -2], counts=[4]), dict(size=[2, 2], counts={'a': 4}), dict(size=[math.nan, 2], counts=[4])], ids=str)
def test_runs_that_are_none_are_refused(runs):
    with pytest.raises(FabricError): mask_from_rle(runs)

@pytest.fixture(scope='module')
def record(touch):
    return json.loads(json.dumps(describe_product('남자 면바지', PHOTO, 'Shell: cotton 95 elastane 5. Lining: polyester 100', ProductModels(touch, attributes()))))

def spoiled(record, rng):
    "A record with one value changed, left out, or put in the place of another"
    record = json.loads(json.dumps(record))
    at, key, todo = None, None, [record]
    places = []
    while todo:
        x = todo.pop()
        for k in (x if isinstance(x, dict) else range(len(x))):
            places.append((x, k))
            if isinstance(x[k], (dict, list)) and len(places) < 2000: todo.append(x[k])
    at, key = places[rng.integers(len(places))]
    what = [None, -1, 1e999, math.nan, 'x', '', [], {}, True, 10**30, [[]], {'a': 1}, 'gone'][rng.integers(13)]
    if what == 'gone': del at[key]
    else: at[key] = what
    return record

@pytest.mark.parametrize('seed', range(40))
def test_hostile_records_are_refused_or_shown(record, tmp_path, seed):
    "No other error than our own, from the file to the page; what is read fits the schema"
    (tmp_path/'product.json').write_text(json.dumps(spoiled(record, np.random.default_rng(seed))))
    try: page = read_product(tmp_path/'product.json')
    except FabricError: return
    CHECK.validate(page)
    repr(page), product_html(page), [page.mask(k) for k in range(len(page['garments']))]

def test_records_come_back(record, tmp_path):
    (tmp_path/'product.json').write_text(json.dumps(record | dict(of_a_later_release=1)))     # a new key does not raise the version
    page = read_product(tmp_path/'product.json')
    assert page == record | dict(of_a_later_release=1) and page.mask(0).all() and page.photos == []
    import matplotlib.pyplot as plt
    plt.close(plot_product(page))
    for odd in (dict(kind='other'), dict(version=2), dict(version=True), {k: record[k] for k in ('kind', 'version')}):
        (tmp_path/'product.json').write_text(json.dumps(odd if len(odd) == 2 else record | odd))
        with pytest.raises(FabricError): read_product(tmp_path/'product.json')


@pytest.mark.parametrize('text, why', [('{"title": "a", "title": "b"}', 'twice'), ('{"photos": 0}', 'list of file names'), ('{"photos": false}', 'list of file names'), ('{"photos": {}}', 'list of file names'), ('{"photos": [""]}', 'list of file names'), ('{"photos": [["a"]]}', 'list of file names'),
                                       ('{"title": NaN}', 'is a text|NaN'), ('{"label": ["x"]}', 'is a text'), ('{"titel": "x"}', 'titel'), ('[]', 'an object'), ('', 'cannot be read'), ('{"title": ' + '1'*6000 + '}', 'cannot be read'), ('{"a":'*5000, 'cannot be read')], ids=lambda t: t[:20])
def test_pages_that_are_none_are_refused(tmp_path, text, why):
    (tmp_path/'page.json').write_text(text)
    with pytest.raises(FabricError, match=why): read_page(tmp_path/'page.json')

def test_pages_in_files(tmp_path):
    file = tmp_path/'page.json'
    file.write_bytes(b'\xef\xbb\xbf' + json.dumps(dict(title='jeans', photos=['../a.jpg', '/b.jpg'], label=None)).encode())
    assert read_page(file) == dict(title='jeans', label_text=None, photos=[tmp_path/'../a.jpg', Path('/b.jpg')], fabric_photos=[])
    file.write_bytes('{}'.encode('utf-16'))
    with pytest.raises(FabricError, match='cannot be read'): read_page(file)
    file.write_bytes(b' '*2**20 + b'{}')
    with pytest.raises(FabricError, match='bytes'): read_page(file)
    for name in ('fifo.json', 'folder.json'):
        os.mkfifo(tmp_path/name) if name == 'fifo.json' else (tmp_path/name).mkdir()
        with pytest.raises(FabricError, match='cannot be read'): read_page(tmp_path/name)
