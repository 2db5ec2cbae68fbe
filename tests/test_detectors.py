"Detectors and segmenters: each keeps one contract, nothing in anybody's file is run, and what is decoded is what the network said."
import importlib.util, json, os, pickle, shutil, subprocess, sys, threading, time
from pathlib import Path

import numpy as np, pytest, torch
from PIL import Image
from fabric_touch import detectors
from fabric_touch.checkpoints import CheckpointError, save_checkpoint
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.data import load_photo
from fabric_touch.detectors import (DETECTORS, HUB, SEGMENTERS, WEIGHTS, Detector, Segmenter, box_masks, check_detector, check_segmenter, coco_labels, detector, find_weights, found_boxes,
                                    grounding_dino_detector, is_tuned, segmenter, tiny_grounding_dino, tiny_sam, tiny_yolos, yolo_detector, yolos_detector, yolox_detector)

sv = pytest.importorskip('supervision')

def needs(*names): return pytest.mark.skipif(not all(map(has_data, names)), reason=f"{' or '.join(names)} is not here; set FABRIC_TOUCH_DATA to the folder that holds it")

def has_yolo():
    "Skip where ultralytics is not; it may only be imported by the adapter, offline"
    if not importlib.util.find_spec('ultralytics'): pytest.skip('ultralytics is not installed')

def photo(w=70, h=50, seed=0): return np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)

def same(a, b, atol=1e-3): return len(a) == len(b) and np.allclose(a.xyxy, b.xyxy, atol=atol) and np.allclose(a.confidence, b.confidence, atol=1e-4) and list(a.data['class_name']) == list(b.data['class_name'])

@pytest.fixture(scope='module', autouse=True)
def settings(tmp_path_factory):
    "ultralytics keeps its settings in a folder of the test's own"
    with pytest.MonkeyPatch.context() as m:
        m.setenv('YOLO_CONFIG_DIR', str(tmp_path_factory.mktemp('ultralytics')))
        yield

@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty folder to work in, which may hold nothing stolen afterwards"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    yield tmp_path
    assert not (tmp_path/'stolen').exists(), 'code in a file was run'

class Thief:
    "A pickle that calls something when it is read"
    def __init__(self, call=os.mkdir, *args): self.call, self.args = call, args or ('stolen',)
    def __reduce__(self): return self.call, self.args

@pytest.fixture(scope='module')
def folders(tmp_path_factory):
    "Tiny networks, saved as the published ones are"
    pytest.importorskip('transformers')
    tmp = tmp_path_factory.mktemp('tiny')
    return dict(yolos=tiny_yolos(tmp/'yolos'), grounding_dino=tiny_grounding_dino(tmp/'dino'))

# ---- one contract for all

def make_detector(name, folders):
    if name in folders: return detector(name, pretrained=folders[name], floor=0)
    if name == 'yolox' and not has_data('weights'): pytest.skip('weights is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
    if name == 'yolo': has_yolo()
    if name == 'yolox': pytest.importorskip('onnxruntime')
    return detector(name, **dict(yolo=dict(pretrained='yolov8n.yaml', imgsz=64, floor=1e-5), yolox=dict(floor=.001), whole={})[name])

def make_segmenter(name):
    if name.startswith('sam_'): return pytest.importorskip('segment_anything') and segmenter(name, pretrained=False, net=tiny_sam())
    if name in ('mobile_sam', 'sam2'): return has_yolo() or segmenter(name, pretrained=False)
    return segmenter(name)

strips = [(1, 1), (2, 2), (64, 64), (3000, 10), (10, 3000), (1, 3000)]

@pytest.mark.parametrize('name', DETECTORS)
def test_detectors_keep_the_contract(name, folders):
    d = make_detector(name, folders)
    check_detector(d)
    for size in strips:
        found = d(photo(*size))
        assert found.xyxy.shape == (len(found), 4) and found.xyxy.dtype == np.float32 and np.isfinite(found.xyxy).all() and 'class_name' in found.data
        assert (found.confidence >= 0).all() and (found.confidence <= 1).all() and set(found.data['class_name']) <= set(d.labels)
    assert (d.n_params > 0) == isinstance(d.model, torch.nn.Module) and (d.source or name == 'whole')

@pytest.mark.parametrize('name', [n if n not in ('mobile_sam', 'sam2') else pytest.param(n, marks=pytest.mark.stress) for n in SEGMENTERS])
def test_segmenters_keep_the_contract(name):
    "MobileSAM takes 2 and SAM 2 takes 5 seconds for a photo, so they are held to this contract among the stress tests"
    s = make_segmenter(name)
    check_segmenter(s)
    for w, h in strips: assert s(photo(w, h), [[0, 0, w, h], [0, 0, w/2, h/2], [w/3, h/3, w*.9, h*.9]]).shape == (3, h, w)

@pytest.mark.parametrize('name', ['mobile_sam', 'sam2'])
@pytest.mark.once
def test_one_encoding_one_decoding(name, here):
    "At their real shapes, from a state dict saved as the published ones are: boxes together are as boxes alone, and the photo is seen once"
    s, seen = make_segmenter(name), []
    torch.save(s.model.state_dict(), 'w.pt'); torch.save(dict(model=s.model.state_dict()), 'wrapped.pt')
    for file in ('w.pt', 'wrapped.pt'):
        again = segmenter(name, pretrained=file)
        assert again.source == file and all(torch.equal(a, b) for a, b in zip(s.model.state_dict().values(), again.model.state_dict().values(), strict=True))
    again.model.image_encoder.register_forward_hook(lambda *args: seen.append(args[1][0].shape))
    boxes = np.array([[5, 5, 60, 40], [0, 0, 90, 70], [1, 1, 3, 3]], np.float32)
    state = again.encode(Image.fromarray(photo(90, 70)))
    masks = again.decode(state, boxes)
    assert masks.shape == (3, 70, 90) and masks.dtype == bool and len(seen) == 1 and seen[0] == (1, 3, 1024, 1024)
    for b, m in zip(boxes, masks): assert (again.decode(state, b[None])[0] != m).mean() < 1e-3
    assert len(seen) == 1, 'decoding encodes again'

def test_own_detectors_are_checked():
    for gives, why in [(None, 'NoneType'), ([[0, 0, 1, 1]], 'list'), (np.zeros((2, 4)), 'ndarray'), (sv.Detections(np.ones((1, 4))), 'without scores'), (sv.Detections(np.ones((1, 4)), confidence=np.ones(1)), 'without labels')]:
        with pytest.raises(FabricError, match=f"'mine' gave.*{why}"): Detector('mine', lambda img: gives)(photo())
    assert not len(Detector('mine', lambda img: sv.Detections.empty())(photo()))
    odd = found_boxes([[0, 0, float('nan'), 5], [-9, -9, 1e9, 3]], ['a', 'b'], [.5, float('nan')])
    assert np.array_equal(Detector('mine', lambda img: odd)(photo()).xyxy, odd.xyxy, equal_nan=True)   # kept; who uses them decides
    for args in [([[0, 0, 1, 1]], []), ([[0, 0, 1, 1]], ['a', 'b']), ([[0, 0, 1, 1]], ['a'], []), ([], ['a'])]:
        with pytest.raises(FabricError, match='one of each'): found_boxes(*args)

def test_photos_of_every_mode(tmp_path):
    "Whatever it is given, a detector's function sees an upright RGB photo"
    seen, rgb = [], Image.fromarray(photo(40, 30))
    d = Detector('mine', lambda img: seen.append(img) or found_boxes([[0, 0, *img.size]], ['x']))
    exif = Image.Exif(); exif[0x0112] = 6
    rgb.save(tmp_path/'turned.jpg', exif=exif)
    photos = [rgb.convert(m) for m in ('1', 'L', 'P', 'RGBA', 'CMYK', 'LA')] + [Image.fromarray(np.full((30, 40), 40000, np.uint16)), np.asarray(rgb), tmp_path/'turned.jpg', str(tmp_path/'turned.jpg'), Image.open(tmp_path/'turned.jpg')]
    for p in photos: d(p)
    assert {o.mode for o in seen} == {'RGB'} and [o.size for o in seen] == [(40, 30)]*8 + [(30, 40)]*3
    assert abs(np.asarray(seen[6], float).mean() - 156) < 3
    masks = Segmenter('mine', lambda img: img.size, box_masks)(tmp_path/'turned.jpg', [[0, 0, 10, 40]])
    assert masks.shape == (1, 40, 30) and masks.sum() == 400
    for bad in ('nowhere.jpg', None, np.zeros((5, 5)), np.zeros((5, 5, 3), np.float32)):
        for call in (d, lambda p: segmenter()(p, [])): pytest.raises(FabricError, call, bad)

bad_boxes = [([[0, 0, float('nan'), 5]], 'box 0 is'), ([[0, 0, 5, 5], [0, 0, float('inf'), 5]], 'box 1 is'), ([[5, 0, 5, 5]], 'x2 > x1'), ([[0, 9, 5, 5]], 'y2 > y1'), ([0, 0, 5, 5], 'give'), ([[0, 0, 5]], 'give'), (np.zeros((2, 2, 4)), 'give'), (None, 'give'), (7, 'give'), ('abcd', 'boxes'), ([[0, 0, 1, 1], [1]], 'boxes')]

@pytest.mark.parametrize('boxes, why', bad_boxes, ids=range(len(bad_boxes)))
def test_bad_boxes(boxes, why):
    with pytest.raises(FabricError, match=why): segmenter()(photo(), boxes)

def test_a_segmenter_counts_its_calls():
    "No boxes: nothing is computed. Many boxes: one encoding, one decoding"
    calls = []
    s = Segmenter('mine', lambda img: calls.append('encode') or img.size, lambda size, boxes: calls.append(len(boxes)) or box_masks(size, boxes))
    for none in ([], np.zeros((0, 4)), sv.Detections.empty().xyxy): assert s(photo(), none).shape == (0, 50, 70) and s(photo(), none).dtype == bool
    assert calls == []
    assert s(photo(), np.tile([[1, 2, 30, 40]], (25, 1))).sum() == 25*29*38 and calls == ['encode', 25]

bad_masks = [np.ones((1, 50, 70)), np.ones((1, 50, 70), np.uint8), np.ones((50, 70), bool), np.ones((2, 50, 70), bool), np.ones((1, 70, 50), bool), np.ones((1, 1, 50, 70), bool), [], None]

@pytest.mark.parametrize('masks', bad_masks, ids=range(len(bad_masks)))
def test_bad_masks(masks):
    with pytest.raises(FabricError, match="'mine' gave masks.*must give"): Segmenter('mine', lambda img: 0, lambda state, boxes: masks)(photo(), [[0, 0, 5, 5]])

def test_contracts_that_are_broken_are_seen():
    dice, seen = np.random.default_rng(0), []
    broken = [lambda img: found_boxes([[0, 0, *dice.uniform(5, 9, 2)]], ['x']), lambda img: found_boxes([[0, 0, 5, 5]], [str(dice.random())])]
    for find in broken:
        with pytest.raises(FabricError, match='contract'): check_detector(Detector('mine', find))
    encode = lambda img: seen.append(img.size) or img.size
    for decode in (lambda size, boxes: box_masks(size, boxes + 3*len(boxes)), lambda size, boxes: box_masks(seen[-1], boxes)):   # depends on the others; on the last photo
        with pytest.raises(FabricError, match="'mine' gave|'mine' gives"): check_segmenter(Segmenter('mine', encode, decode))

unknown = [(detector, 'retinanet', {}, 'unknown detector.*yolo, yolos'), (segmenter, 'sam', {}, 'unknown segmenter.*sam_vit_b'), (detector, None, {}, 'unknown detector'), (detector, 'whole', dict(pretrained=True), 'no arguments, not pretrained'), (segmenter, 'grabcut', dict(sise=3), 'takes size, steps, not sise'),
           (detector, 'yolox', dict(pretrained=False), 'no random one'), (detector, 'grounding_dino', dict(pretrained=False), 'no random one')]

@pytest.mark.parametrize('make, name, args, why', unknown, ids=range(len(unknown)))
def test_unknown_names(make, name, args, why):
    with pytest.raises(FabricError, match=why): make(name, **args)

# ---- imported late

def run(code, **env): return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=os.environ | env, timeout=120)

@pytest.mark.once
def test_nothing_heavy_is_imported():
    "In a process of its own: the library, and the adapters that need no weights"
    code = """import sys, numpy as np
from fabric_touch.detectors import *
print([m for m in ('supervision', 'ultralytics', 'transformers', 'segment_anything', 'onnxruntime') if m in sys.modules])
detector('whole')(np.zeros((9, 9, 3), np.uint8)); segmenter()(np.zeros((9, 9, 3), np.uint8), [[0, 0, 4, 4]]); segmenter('grabcut')
print([m for m in ('ultralytics', 'transformers', 'segment_anything', 'onnxruntime') if m in sys.modules])"""
    done = run(code)
    assert done.stdout.split('\n')[:2] == ['[]', '[]'], done.stdout + done.stderr

def test_ultralytics_is_offline_before_its_import_and_leaves_other_libraries_as_they_are(tmp_path):
    has_yolo()
    code = """import os, sys, warnings, numpy as np, torch
from PIL import Image
def look(): return Image.open, torch.save, np.get_printoptions(), list(warnings.filters), {k: v for k,v in os.environ.items() if not k.startswith('YOLO_')}
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == 'ultralytics': print(os.environ.get('YOLO_OFFLINE'), os.environ.get('YOLO_AUTOINSTALL'))
sys.meta_path.insert(0, Spy())
from fabric_touch.detectors import ultralytics
before = look()
u = ultralytics('.nn.tasks'); u = ultralytics()
print([a == b for a,b in zip(before, look())])
from ultralytics.utils import checks
print(u.settings['sync'], checks.ONLINE if hasattr(checks, 'ONLINE') else u.utils.ONLINE)"""
    env = {k: v for k, v in os.environ.items() if not k.startswith('YOLO_')} | dict(YOLO_CONFIG_DIR=str(tmp_path))
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=env, timeout=120)
    lines = done.stdout.strip().split('\n')
    assert (lines[0], lines[-2], lines[-1]) == ('1 false', str([True]*5), 'False False'), done.stdout + done.stderr

# ---- finding weights

def test_where_weights_are_found(here, monkeypatch):
    monkeypatch.setenv('FABRIC_TOUCH_DATA', str(here/'data'))
    row, cache, data = WEIGHTS['sam_vit_b'], here/'cache'/'fabric_touch'/'weights', here/'data'/'weights'
    with pytest.raises(FabricError) as e: find_weights('sam_vit_b')
    for word in (row.file, row.url, row.size, row.licence, str(cache), 'pretrained='): assert word in str(e.value)
    assert '\n' not in str(e.value)
    cache.mkdir(parents=True); (cache/row.file).write_bytes(b'1'); (cache/'my.pth').write_bytes(b'2'); (cache.parent/'secret.pth').write_bytes(b'3'); (here/'own.pth').write_bytes(b'4')
    assert find_weights('sam_vit_b') == cache/row.file and find_weights('sam_vit_b', 'my.pth') == cache/'my.pth'
    assert find_weights('sam_vit_b', 'own.pth') == Path('own.pth') and find_weights('sam_vit_b', here/'own.pth') == here/'own.pth' and find_weights('sam_vit_b', here) == here
    data.mkdir(parents=True); (data/row.file).write_bytes(b'5')
    assert find_weights('sam_vit_b') == data/row.file and find_weights('sam_vit_b', 'my.pth') == cache/'my.pth'   # the data folder first
    for name in ('../secret.pth', 'weights/my.pth', str(cache.parent/'nothing.pth'), '/etc/nothing.pth', 'no.pth', 'a\0b', 'x'*5000):
        with pytest.raises(FabricError, match='is not here.*pretrained='): find_weights('sam_vit_b', name)

@pytest.mark.parametrize('given', [None, 3, b'x', ['a'], ''], ids=repr)
@pytest.mark.parametrize('name', ['yolo', 'yolox', 'yolos', 'grounding_dino', 'sam_vit_b', 'mobile_sam'])
def test_what_are_no_weights(name, given, here):
    with pytest.raises(FabricError) as e: (detector if name in DETECTORS else segmenter)(name, pretrained=given)
    assert 'pretrained is' in str(e.value) and 'path' in str(e.value), str(e.value)

@pytest.mark.parametrize('name', ['yolo', *(n for n in SEGMENTERS if n in WEIGHTS)])
def test_published_weights_that_are_absent(name, here, monkeypatch):
    monkeypatch.setenv('FABRIC_TOUCH_DATA', str(here))
    with pytest.raises(FabricError, match=f'{WEIGHTS[name].file} is not here; fetch it from https://'): (detector if name == 'yolo' else segmenter)(name)
    assert not list(here.glob('*')), 'something was fetched or written'

# ---- SAM

@pytest.fixture(scope='module')
def vit_b(tmp_path_factory):
    "SAM vit_b at its real shape: random weights, saved by segment_anything's own names"
    sam = pytest.importorskip('segment_anything')
    path, net = tmp_path_factory.mktemp('sam')/'vit_b.pth', sam.sam_model_registry['vit_b']()
    torch.save(net.state_dict(), path)
    yield path, net
    path.unlink()

def test_sam_at_its_real_shape(vit_b):
    "Loaded whole, and three boxes decoded from an encoding of random numbers: encoding takes 20 to 40 seconds and is a stress test"
    path, net = vit_b
    s = segmenter('sam_vit_b', pretrained=path)
    assert s.n_params == 93_735_472 and s.source == path.name and not s.model.training
    for (n, a), (m, b) in zip(net.state_dict().items(), s.model.state_dict().items(), strict=True): assert n == m and torch.equal(a, b)
    s.model.image_encoder.forward = lambda x: torch.randn(1, 256, 64, 64, generator=torch.Generator().manual_seed(x.shape[-1]))
    state, boxes = s.encode(Image.fromarray(photo(120, 90))), np.array([[4, 4, 60, 60], [0, 0, 120, 90], [1, 1, 5, 5]], np.float32)
    masks = s.decode(state, boxes)
    assert masks.shape == (3, 90, 120) and masks.dtype == bool
    for b, m in zip(boxes, masks): assert (s.decode(state, b[None])[0] != m).mean() < 1e-3

@pytest.mark.stress
def test_sam_sees_a_photo(vit_b):
    s = segmenter('sam_vit_b', pretrained=vit_b[0])
    state = s.encode(Image.fromarray(photo(120, 90)))
    boxes = np.array([[4, 4, 60, 60], [0, 0, 120, 90], [1, 1, 5, 5]], np.float32)
    masks = s.decode(state, boxes)
    assert masks.shape == (3, 90, 120) and masks.dtype == bool
    for b, m in zip(boxes, masks): assert (s.decode(state, b[None])[0] != m).mean() < 1e-3

@pytest.mark.parametrize('size, names, params', [('vit_b', 314, 93_735_472), ('vit_l', 482, 312_342_832), ('vit_h', 594, 641_090_608)])
def test_the_sizes_of_sam(size, names, params):
    "Names and shapes without the numbers; the larger two differ in depth and width alone"
    sam = pytest.importorskip('segment_anything')
    with torch.device('meta'): net = sam.sam_model_registry[size]()
    s = Segmenter('x', None, None, net)
    assert len(net.state_dict()) == names and s.n_params == params
    width, depth = dict(vit_b=(768, 12), vit_l=(1024, 24), vit_h=(1280, 32))[size]
    assert net.state_dict()['image_encoder.pos_embed'].shape == (1, 64, 64, width) and f'image_encoder.blocks.{depth-1}.attn.rel_pos_h' in net.state_dict()

@pytest.mark.stress
def test_the_second_sam_is_loaded(here):
    sam = pytest.importorskip('segment_anything')
    net = sam.sam_model_registry['vit_l']()
    torch.save(net.state_dict(), 'l.pth')
    s = segmenter('sam_vit_l', pretrained='l.pth')
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), s.model.state_dict().values(), strict=True))
    with pytest.raises(CheckpointError, match='l.pth.*shape'): segmenter('sam_vit_b', pretrained='l.pth')
    os.remove('l.pth')

a_name = 'image_encoder.blocks.0.attn.rel_pos_h'
spoilt_sam = dict(missing=(lambda w: {k: v for k, v in w.items() if k != a_name}, f"missing.*{a_name}"), extra=(lambda w: w | dict(more=torch.ones(2)), "not in the model.*more"), shape=(lambda w: w | {a_name: torch.ones(3, 2)}, f'{a_name}.*shape'),
                  nan=(lambda w: w | {a_name: w[a_name]*float('nan')}, f'NaN.*{a_name}'), kind=(lambda w: w | {a_name: w[a_name].to(torch.int64)}, 'int64'), no_tensor=(lambda w: w | dict(epoch=3), 'epoch'), empty=(lambda w: {}, 'nothing'), list=(lambda w: [1], 'list'), thief=(lambda w: w | dict(x=Thief()), 'run'))

@pytest.mark.parametrize('what', spoilt_sam)
def test_spoilt_weights_of_sam(what, here):
    pytest.importorskip('segment_anything')
    spoil, why = spoilt_sam[what]
    torch.save(spoil(dict(tiny_sam().state_dict())), 'bad_sam.pth')
    net = tiny_sam(); before = [t.clone() for t in net.state_dict().values()]
    with pytest.raises(CheckpointError, match=why) as e: segmenter('sam_vit_b', pretrained='bad_sam.pth', net=net)
    assert 'bad_sam.pth' in str(e.value), f'the file is not named: {e.value}'
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values()))

@pytest.mark.parametrize('name', ['sam_vit_b', 'mobile_sam', 'yolo', 'yolox'])
def test_files_that_are_none(name, here):
    "Damaged files of every sort, a pickle and a web page; a file that is refused is left as it was"
    net = dict(net=tiny_sam()) if name == 'sam_vit_b' else {}
    torch.save(tiny_sam().state_dict(), 'good.pth')
    good = Path('good.pth').read_bytes()
    end = '.onnx' if name == 'yolox' else '.pt'
    for what, data in dict(cut=good[:len(good)//2], empty=b'', zeros=bytes(5000), page=b'<!DOCTYPE html><html>404</html>', pickle=pickle.dumps(Thief()), old=pickle.dumps(Thief(), protocol=0), zip=b'PK\x03\x04' + bytes(100)).items():
        path = Path(what + end); path.write_bytes(data)
        with pytest.raises(CheckpointError, match=what + end): (detector if name in DETECTORS else segmenter)(name, pretrained=path, **net)
        assert path.read_bytes() == data

# ---- YOLO

@pytest.fixture(scope='module')
def yolo(tmp_path_factory):
    "An ultralytics model, a folder with its file, and what it finds itself"
    has_yolo(); detectors.ultralytics()
    from ultralytics import YOLO
    torch.manual_seed(0)
    y, folder = YOLO('yolov8n.yaml'), tmp_path_factory.mktemp('yolo')
    y.save(folder/'saved.pt')
    torch.save(dict(epoch=3, best_fitness=.5, model=None, ema=y.model.half(), updates=10, optimizer=None, train_args=dict(data='mine.yaml', imgsz=64), date='2026-01-01', version='8.4.0'), folder/'trained.pt')
    own = y.predict(photo()[..., ::-1], imgsz=64, conf=1e-6, iou=.7, verbose=False, save=False, device='cpu')[0].boxes
    return y, folder, own

@pytest.mark.parametrize('file', ['saved.pt', 'trained.pt'])
def test_yolo_from_its_own_file(yolo, file, here):
    y, folder, own = yolo
    d = yolo_detector(folder/file, imgsz=64, floor=1e-6)
    found = d(photo())
    assert len(found) == len(own) > 0 and d.source == file and d.labels == tuple(y.names.values()) and len(d.labels) == 80
    assert np.allclose(found.xyxy, own.xyxy.numpy(), atol=.5) and np.allclose(found.confidence, own.conf.numpy(), rtol=.05)
    assert [d.labels.index(n) for n in found.data['class_name']] == own.cls.int().tolist()
    assert not [p for p in here.rglob('*') if p.is_file()] and not len(yolo_detector(folder/file, imgsz=64, floor=.999)(photo()))

@pytest.mark.parametrize('name', ["it's mine.pt", ' yolo.pt', 'yolov5n.pt', 'Größe 면.pt'])
def test_yolo_files_of_any_name(yolo, name, here):
    "ultralytics changes some names, and would fetch another file in place of this one"
    (here/'x').mkdir(); shutil.copy(yolo[1]/'saved.pt', here/'x'/name)
    for given in (here/'x'/name, f'x/{name}'): assert yolo_detector(given, imgsz=64).source == name

def test_a_damaged_file_is_not_removed(yolo, here):
    "ultralytics deletes a damaged file of a published name, to fetch it anew"
    Path('yolo11n.pt').write_bytes((yolo[1]/'saved.pt').read_bytes()[:3000] + bytes(50))
    with pytest.raises(CheckpointError, match='yolo11n.pt'): yolo_detector('yolo11n.pt')
    assert Path('yolo11n.pt').exists()

def thieves():
    from ultralytics.nn import tasks
    from ultralytics.nn.modules import TorchVision
    bad = dict(nc=1, activation="__import__('os').mkdir('stolen')", backbone=[[-1, 1, 'Conv', [8, 3, 2]]], head=[])
    return dict(system=Thief(os.system, 'mkdir stolen'), mkdir=Thief(), eval=Thief(eval, "__import__('os').mkdir('stolen')"), code=Thief(exec, "import os; os.mkdir('stolen')"), popen=Thief(subprocess.Popen, ['mkdir', 'stolen']), parse=Thief(tasks.parse_model, bad, 3),
                build=Thief(tasks.DetectionModel, bad), load=Thief(tasks.torch_safe_load, 'x.pt'), hook=Thief(torch.hub.load, 'x', 'y'), fetch=Thief(TorchVision, 'resnet18'), own=Thief)

@pytest.mark.parametrize('what', ['system', 'mkdir', 'eval', 'code', 'popen', 'parse', 'build', 'load', 'hook', 'fetch', 'own'])
def test_malicious_yolo_files(yolo, what, here, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(here/'torch'))
    tasks, thief = detectors.ultralytics('.nn.tasks'), thieves()[what]
    for i, data in enumerate([thief, dict(model=thief), dict(ema=thief, model=yolo[0].model)]):
        torch.save(data, f'{what}{i}.pt')
        with pytest.raises(CheckpointError, match=f'{what}{i}.pt.*nothing in it was run'): yolo_detector(f'{what}{i}.pt')
        assert not list(here.rglob('*.pth')) and not tasks.SAFE_LOAD

others = dict(segment='yolov8n-seg.yaml', pose='yolov8n-pose.yaml', classify='yolov8n-cls.yaml', rtdetr='rtdetr-l.yaml')

@pytest.mark.parametrize('what', others)
def test_models_that_are_no_detectors(yolo, what, here):
    "They would fail at the first photo, or find nonsense"
    from ultralytics.nn import tasks
    with pytest.raises(FabricError, match='detection'): yolo_detector(others[what])
    make = dict(segment=tasks.SegmentationModel, pose=tasks.PoseModel, classify=tasks.ClassificationModel, rtdetr=tasks.RTDETRDetectionModel)[what]
    torch.save(dict(model=make(others[what], verbose=False)), 'other.pt')
    with pytest.raises(CheckpointError, match='other.pt.*detection'): yolo_detector('other.pt')

def test_yolo_files_of_something_else(yolo, here):
    net = detectors.ultralytics('.nn.tasks').DetectionModel('yolov8n.yaml', verbose=False)
    net.model[0].conv.weight.data[0, 0, 0, 0] = float('nan')
    for data, why in [(dict(model=torch.nn.Linear(2, 2)), 'Linear'), (torch.nn.Linear(2, 2), ''), ([1], ''), ({}, ''), (dict(model=dict(net.state_dict())), ''), (dict(model=net), 'NaN.*conv.weight')]:
        torch.save(data, 'odd.pt')
        with pytest.raises(CheckpointError, match=f'odd.pt.*{why}'): yolo_detector('odd.pt')

yamls = {'nowhere.yaml': None, 'text.yaml': 'hello', 'empty.yaml': '', 'short.yaml': 'nc: 3\n', 'code.yaml': "nc: 3\nactivation: __import__('os').mkdir('stolen')\nbackbone:\n - [-1, 1, Conv, [8, 3, 2]]\nhead: []\n", 'tag.yaml': "!!python/object/apply:os.mkdir ['stolen']\n", 'https://example.com/a.yaml': None}

@pytest.mark.parametrize('name', yamls)
def test_bad_yamls(yolo, name, here):
    if yamls[name] is not None: Path(name).write_text(yamls[name])
    with pytest.raises(FabricError, match=Path(name).name): yolo_detector(name)
    assert not detectors.ultralytics('.nn.tasks').SAFE_LOAD

SMALL = dict(nc=2, backbone=[[-1, 1, 'Conv', [8, 3, 2]], [-1, 1, 'Conv', [16, 3, 2]], [-1, 1, 'Conv', [16, 3, 2]]], head=[[[2], 1, 'Detect', ['nc']]])

def tuned(folder, **changes):
    "A folder as `tune_detector` saves it"
    net = detectors.ultralytics('.nn.tasks').DetectionModel(json.loads(json.dumps(SMALL)), nc=2, verbose=False)
    card = dict(kind='detector', base='yolo', arch=SMALL, labels=['shirt', 'pants'], size=64) | changes
    return save_checkpoint(folder, net, {k: v for k, v in card.items() if v is not None})

def test_a_tuned_yolo(yolo, here):
    d = yolo_detector(tuned(here/'m'), floor=0.)
    assert is_tuned('m') and d.labels == ('shirt', 'pants') and len(d(photo())) and set(d(photo()).data['class_name']) <= {'shirt', 'pants'}
    check_detector(d)
    assert same(d(photo()), yolo_detector(here/'m', imgsz=64, floor=0.)(photo()))

def head(*layer): return dict(arch=SMALL | dict(head=[list(layer)]))
bad_cards = dict(activation=dict(arch=SMALL | dict(activation="__import__('os').mkdir('stolen')")), function=head(-1, 1, 'torch_safe_load', ['a.pt']), function2=head(-1, 1, 'yaml_model_load', ['a.yaml']), builtin=head(-1, 1, 'os', ['stolen']), dunder=head(-1, 1, '__import__', ['os']),
                 of_torch=head(-1, 1, 'nn.utils', []), of_vision=head(-1, 1, 'torchvision.ops.nms', []), fetch=dict(arch=SMALL | dict(backbone=[[-1, 1, 'TorchVision', [16, 'resnet18']]])), name=dict(arch='nowhere.yaml'), url=dict(arch='https://example.com/a.yaml'), number=dict(arch=3), labels=dict(labels=3),
                 no_labels=dict(labels=None), more_labels=dict(labels=['a', 'b', 'c']), no_texts=dict(labels=[1, 2]), size=dict(size='large'), negative=dict(size=-1), base=dict(base='yolos'), kind=dict(kind='touch'))

@pytest.mark.parametrize('what', bad_cards)
def test_bad_cards_of_yolo(yolo, what, here, monkeypatch):
    "A card names layers and labels; what else it may hold is refused, and not run"
    monkeypatch.setenv('TORCH_HOME', str(here/'torch'))
    tasks = detectors.ultralytics('.nn.tasks')
    act = tasks.Conv.default_act
    tuned(here/'m', **bad_cards[what])
    with pytest.raises(CheckpointError, match=str(here/'m')): yolo_detector(here/'m')
    assert not tasks.SAFE_LOAD and tasks.Conv.default_act is act

# ---- YOLOS and Grounding DINO

def copy(folder, to, **tensors):
    "A tiny network's folder, with some tensors replaced, or left out where they are None"
    from safetensors.torch import load_file, save_file
    shutil.copytree(folder, to)
    w = load_file(to/'model.safetensors') | tensors
    save_file({k: v for k, v in w.items() if v is not None}, to/'model.safetensors', metadata=dict(format='pt'))
    return to

both = pytest.mark.parametrize('name', ['yolos', 'grounding_dino'])

@both
@pytest.mark.parametrize('form', ['zip', 'plain'])
def test_pickles_of_transformers_are_not_run(name, form, folders, here):
    shutil.copytree(folders[name], 'f'); os.remove('f/model.safetensors')
    if form == 'zip': torch.save(dict(w=Thief()), 'f/pytorch_model.bin')
    else: Path('f/pytorch_model.bin').write_bytes(pickle.dumps(Thief()))
    with pytest.raises(CheckpointError, match='^f cannot be read'): detector(name, pretrained='f')

@both
def test_code_of_transformers_is_not_run(name, folders, here, monkeypatch):
    "A folder may bring code with it; nobody is asked whether to run it"
    asked = []
    monkeypatch.setattr('builtins.input', lambda *args: asked.append(args) or 'y')
    shutil.copytree(folders[name], 'f')
    config = json.loads(Path('f/config.json').read_text()) | dict(model_type='evil', auto_map=dict(AutoConfig='evil.C', AutoModelForObjectDetection='evil.C', AutoModelForZeroShotObjectDetection='evil.C'))
    Path('f/config.json').write_text(json.dumps(config)); Path('f/evil.py').write_text("import os; os.mkdir('stolen')\nclass C: pass\n")
    with pytest.raises(CheckpointError, match='^f cannot be read'): detector(name, pretrained='f')
    assert not asked

@both
@pytest.mark.parametrize('what', ['missing', 'shape', 'nan', 'other', 'cut'])
def test_spoilt_weights_of_transformers(name, what, folders, here):
    "transformers itself draws what is missing, with a warning only"
    from safetensors.torch import load_file
    w = load_file(folders[name]/'model.safetensors'); key = next(k for k in sorted(w) if w[k].dim() == 2)
    f = copy(folders[name], here/'f', **dict(missing={key: None}, shape={key: torch.ones(7)}, nan={key: w[key]*float('nan')}, other={k: None for k in w} | dict(x=torch.ones(2)), cut={})[what])
    if what == 'cut': (f/'model.safetensors').write_bytes((f/'model.safetensors').read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=f'{f}.*{dict(missing=key, nan=key).get(what, "")}'): detector(name, pretrained=f)

@both
def test_folders_of_something_else(name, folders, here):
    tf = pytest.importorskip('transformers')
    (here/'empty').mkdir()
    shutil.copytree(folders[name], 'bert')
    tf.BertModel(tf.BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, vocab_size=30)).save_pretrained('bert')
    other = folders['yolos' if name == 'grounding_dino' else 'grounding_dino']
    for f in ('empty', 'bert', other):
        with pytest.raises(CheckpointError, match=f'{f} cannot be read as a {name}.*config.json.*{HUB[name]}') as e: detector(name, pretrained=f)
        assert '\n' not in str(e.value)

@both
@pytest.mark.parametrize('given', [True, 'nobody/has-this', '/nowhere/folder', 'a b', 'x'*260], ids=['published', 'name', 'path', 'blank', 'long'])
def test_names_of_the_hub_without_a_network(name, given, here):
    start = time.monotonic()
    with pytest.raises(FabricError, match='connect once, or give a folder with config.json') as e: detector(name, pretrained=given)
    assert '\n' not in str(e.value) and time.monotonic() - start < 30

def test_yolos_at_its_published_shape():
    "yolos-small at 512 x 864 with Fashionpedia's 46 labels"
    pytest.importorskip('transformers')
    d = yolos_detector(False, floor=0)
    assert len(d.labels) == 46 and d.source == 'random' and d.n_params == 30_667_443
    w = d.model.state_dict()
    assert w['vit.embeddings.position_embeddings'].shape == (1, 1 + 32*54 + 100, 384) and w['class_labels_classifier.layers.2.weight'].shape == (47, 384)

@both
def test_nothing_found(name, folders): assert len(detector(name, pretrained=folders[name], floor=.9999)(photo(100, 64))) == 0

def test_grounding_dino_says_only_what_it_was_told(folders):
    "A box is one of the labels, whole, and with the score of that label, whatever the floor"
    d = grounding_dino_detector(folders['grounding_dino'], labels=('pants', 'long_skirt', 'shirt'), floor=0.)
    found = d(photo(100, 64))
    assert d.labels == ('pants', 'long skirt', 'shirt') and len(found) and set(found.data['class_name']) <= set(d.labels)
    less = grounding_dino_detector(folders['grounding_dino'], labels=('pants', 'long_skirt', 'shirt'), floor=float(np.median(found.confidence)))(photo(100, 64))
    assert same(less, found[found.confidence > np.median(found.confidence)])
    for labels in ((), 'pants', ('',), ('T-shirt. and', 'x'), (3,), ('shirt',)*200):
        with pytest.raises(FabricError, match='labels'): grounding_dino_detector(folders['grounding_dino'], labels=labels)

def test_the_scores_of_grounding_dino(folders):
    "[CLS] pants . shirt . [SEP]: a label's score is that of its token; the centre and size of a box are shares of the photo"
    d, outs = grounding_dino_detector(folders['grounding_dino'], labels=('pants', 'shirt'), floor=0.), []
    d.model.register_forward_hook(lambda net, args, out: outs.append(out))
    found, w, h = d(photo(100, 64)), 100, 64
    for i, (logits, (cx, cy, bw, bh)) in enumerate(zip(outs[0].logits[0], outs[0].pred_boxes[0].tolist(), strict=True)):
        pants, shirt = logits[[1, 3]].sigmoid().tolist()
        assert found.data['class_name'][i] == ('pants' if pants >= shirt else 'shirt') and abs(found.confidence[i] - max(pants, shirt)) < 1e-5
        assert np.allclose(found.xyxy[i], [(cx - bw/2)*w, (cy - bh/2)*h, (cx + bw/2)*w, (cy + bh/2)*h], atol=1e-2)

def test_a_long_photo_is_not_blown_up(folders):
    "A strip is filled up with grey, but not to a thousand times its pixels"
    import tracemalloc
    d = yolos_detector(folders['yolos'], floor=0)
    tracemalloc.start()
    found = d(photo(20_000, 2))
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert peak < 300e6 and found.xyxy[:, 2].max() > 5000 and found.xyxy[:, 2].max() < 20_500

def tuned_yolos(folder, yolos, **changes):
    tf = pytest.importorskip('transformers')
    net = tf.AutoModelForObjectDetection.from_pretrained(yolos)
    card = dict(kind='detector', base='yolos', arch=json.loads(net.config.to_json_string(use_diff=False)), processor=json.loads((yolos/'preprocessor_config.json').read_text()))
    return save_checkpoint(folder, net, {k: v for k, v in (card | {k: f(card) for k, f in changes.items()}).items() if v is not None})

def test_a_tuned_yolos(folders, here):
    d = yolos_detector(tuned_yolos(here/'m', folders['yolos']), floor=0)
    assert same(d(photo()), yolos_detector(folders['yolos'], floor=0)(photo())) and d.labels == ('shirt, blouse', 'pants', 'shoe')

def arch(**kw): return dict(arch=lambda c: c['arch'] | kw)
def kind(name): return dict(processor=lambda c: c['processor'] | dict(image_processor_type=name))
bad_yolos = dict(bert=arch(model_type='bert'), no_type=dict(arch=lambda c: {k: v for k, v in c['arch'].items() if k != 'model_type'}), number=dict(arch=lambda c: 3), wider=arch(hidden_size=64), no_processor=dict(processor=lambda c: None), processor=dict(processor=lambda c: 3), os=kind('os'), function=kind('pipeline'),
                 mixin=kind('GenerationMixin'), unknown=kind('NoSuchImageProcessor'), auto=kind('AutoImageProcessor'), fuyu=kind('FuyuImageProcessor'), type=kind(3))

@pytest.mark.parametrize('what', bad_yolos)
def test_bad_cards_of_yolos(what, folders, here):
    tuned_yolos(here/'m', folders['yolos'], **bad_yolos[what])
    with pytest.raises(CheckpointError, match=str(here/'m')): yolos_detector(here/'m')

# ---- YOLOX

def field(n, value):
    "A field of a protocol buffer, so that small ONNX files can be written without a library"
    def varint(k): return bytes([k]) if k < 128 else bytes([k & 127 | 128]) + varint(k >> 7)
    if isinstance(value, int): return varint(n << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(n << 3 | 2) + varint(len(value)) + value

def onnx(path, out, shape=(1, 3, 64, 96), kind=1, inputs=1):
    "An ONNX model that takes `shape` and always gives `out`"
    def info(name, shape, kind=1): return field(1, name) + field(2, field(1, field(1, kind) + field(2, b''.join(field(1, field(2, n) if isinstance(n, str) else field(1, n)) for n in shape))))
    out = np.asarray(out, np.float32)
    const = b''.join(field(1, n) for n in out.shape) + field(2, 1) + field(8, 'const') + field(9, out.tobytes())
    graph = field(1, field(1, 'const') + field(2, 'out') + field(4, 'Identity')) + field(2, 'g') + field(5, const) + (field(11, info('images', shape, kind)))*inputs + field(12, info('out', out.shape))
    Path(path).write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, '') + field(2, 13)))
    return path

def raw(n, w=96, h=64, seed=0):
    "What a YOLOX may say: offsets, logarithms of sizes, a score for something and one per class"
    rng, cells = np.random.default_rng(seed), sum((w//s)*(h//s) for s in (8, 16, 32))
    return np.concatenate([rng.normal(0, 1, (1, cells, 2)), rng.normal(.8, .4, (1, cells, 2)), rng.uniform(0, 1, (1, cells, 1 + n))], 2).astype(np.float32)

def by_hand(out, w, h, labels, floor):
    "Cell for cell: the grids of 8, 16 and 32 pixels, row after row"
    found, i = [], 0
    for stride in (8, 16, 32):
        for y in range(h//stride):
            for x in range(w//stride):
                dx, dy, lw, lh, something, *classes = out[0, i].tolist(); i += 1
                best = max(range(len(labels)), key=lambda k: classes[k])
                cx, cy, bw, bh = (dx + x)*stride, (dy + y)*stride, np.exp(lw)*stride, np.exp(lh)*stride
                if something*classes[best] > floor: found.append(([cx - bw/2, cy - bh/2, cx + bw/2, cy + bh/2], labels[best], something*classes[best]))
    return found

@pytest.mark.parametrize('size, scale', [((96, 64), 1), ((192, 128), .5), ((300, 20), .32), ((20, 300), 64/300), ((7, 5), 64/5)])
def test_the_grids_of_yolox(size, scale, here):
    pytest.importorskip('onnxruntime')
    labels, out = ('a', 'b', 'c'), raw(3)
    d = yolox_detector(onnx('x.onnx', out), labels=labels, floor=.1, overlap=1.)     # nothing overlaps more
    found, want = d(photo(*size)), by_hand(out, 96, 64, labels, .1)
    assert len(found) == len(want) > 20 and d.labels == labels
    order, wanted = np.argsort(found.confidence), np.argsort([s for *_, s in want])
    assert np.allclose(found.xyxy[order], np.array([want[i][0] for i in wanted])/scale, rtol=1e-3, atol=1e-2) and [found.data['class_name'][i] for i in order] == [want[i][1] for i in wanted]
    once = yolox_detector('x.onnx', labels=labels, floor=.1)(photo(*size))
    for l in labels:
        one = once[once.data['class_name'] == l]
        over = sv.box_iou_batch(one.xyxy, one.xyxy) - np.eye(len(one))
        assert over.max() <= .45 + 1e-4
    assert len(once) < len(found)                                                      # what overlaps more is one

def test_yolox_of_another_shape(here):
    pytest.importorskip('onnxruntime')
    good = raw(3)
    cases = [(good[:, :-1], {}, 'labels'), (good[..., :-1], {}, 'labels'), (good[0], {}, 'labels'), (good[..., None], {}, 'labels'), (good, dict(shape=(1, 3, 64, 64)), 'labels'), (good, dict(shape=(1, 3, 'h', 'w')), 'fixed size'), (good, dict(shape=(1, 1, 64, 96)), 'fixed size'), (good, dict(shape=(3, 64, 96)), 'fixed size'),
             (good, dict(kind=2), 'odd.onnx'), (good, dict(inputs=0), 'odd.onnx'), (good, dict(shape=(1, 3, 0, 0)), 'odd.onnx')]
    for out, kw, why in cases:
        onnx('odd.onnx', out, **kw)
        with pytest.raises(FabricError, match=why) as e: yolox_detector('odd.onnx', labels=('a', 'b', 'c'))(photo())
        assert 'odd.onnx' in str(e.value)
    for labels in (('a', 'b'), ('a', 'b', 'c', 'd'), None):
        with pytest.raises(FabricError, match='gives.*labels'): yolox_detector(onnx('x.onnx', good), labels=labels)(photo())
    assert not len(yolox_detector(onnx('x.onnx', good*0), labels=('a', 'b', 'c'))(photo()))

def test_damaged_onnx(here):
    "Cut anywhere or with a bit flipped in its head: refused, or read as what it is, and never a crash"
    pytest.importorskip('onnxruntime')
    data, through = Path(onnx('x.onnx', raw(3))).read_bytes(), 0
    flips = [data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i+1:] for i in range(0, 60, 2)]
    for b in [data[:k] for k in (1, 10, len(data)//2, len(data) - 1)] + flips:
        Path('bad.onnx').write_bytes(b)
        try: through += len(yolox_detector('bad.onnx', labels=('a', 'b', 'c'))(photo())) >= 0
        except FabricError as e: assert 'bad.onnx' in str(e)
    assert through < len(flips)

@needs('weights')
def test_cut_real_yolox(here):
    pytest.importorskip('onnxruntime')
    data = find_weights('yolox').read_bytes()
    for k in (100, len(data)//2, len(data) - 5):
        (here/'cut.onnx').write_bytes(data[:k])
        with pytest.raises(CheckpointError, match='cut.onnx'): yolox_detector(here/'cut.onnx')
    with pytest.raises(FabricError, match='name its classes with labels='): yolox_detector(labels=('person',))(photo())

def test_coco_labels():
    assert len(coco_labels()) == len(set(coco_labels())) == 80 and [coco_labels()[i] for i in (0, 24, 26, 27, 79)] == ['person', 'backpack', 'handbag', 'tie', 'toothbrush']

def people(d, img):
    found = d(img)
    return found[(found.data['class_name'] == 'person') & (found.confidence > .6)].xyxy

@needs('weights', 'coco_mini')
def test_boxes_lie_on_the_photo():
    "The same photo at half and double size, and filled up at any side, gives the same boxes"
    pytest.importorskip('onnxruntime')
    d, n, folder = yolox_detector(), 0, data_dir('coco_mini')
    for o in json.loads((folder/'coco_mini.json').read_text())['images'][:60]:
        large = [b for b in o['boxes'] if b['category'] == 'person' and not b['iscrowd'] and b['bbox'][2]*b['bbox'][3] > 150**2]
        if len(large) != 1 or n == 5: continue
        img = load_photo(folder/'images'/o['file']); w, h = img.size
        base = people(d, img)
        if len(base) != 1: continue
        wide, tall = Image.new('RGB', (round(1.3*w), h), (114,)*3), Image.new('RGB', (w, round(1.3*h)), (114,)*3)
        wide.paste(img, (wide.width - w, 0)); tall.paste(img, (0, tall.height - h))
        side = max(base[0, 2] - base[0, 0], base[0, 3] - base[0, 1])
        for other, scale, move in [(img.resize((2*w, 2*h)), 2, (0, 0)), (img.resize((w*2//3, h*2//3)), 2/3, (0, 0)), (wide, 1, (wide.width - w, 0)), (tall, 1, (0, tall.height - h))]:
            back = people(d, other)/scale - np.tile(move, 2)
            assert len(back) and np.abs(back - base).max(1).min() < .12*side, (o['file'], scale, move)
        n += 1
    assert n >= 3

# ---- GrabCut and boxes

def shirt(w=120, h=90):
    "A dark thing on a light ground, with some noise; and where it is"
    img, true = np.full((h, w, 3), 220, np.uint8), np.zeros((h, w), bool)
    true[20:70, 40:80] = True; true[20:35, 25:95] = True
    img[true] = (60, 30, 90)
    return np.clip(img + np.random.default_rng(0).integers(-10, 11, img.shape), 0, 255).astype(np.uint8), true

def test_grabcut_finds_the_thing():
    "At any size of the photo, the same each time, whatever was drawn before and whichever boxes come along"
    import cv2
    (img, true), box, s = shirt(), np.array([[20., 15, 100, 76]]), segmenter('grabcut')
    first = s(img, box)[0]
    assert (first & true).sum()/(first | true).sum() > .95
    for k in range(3):
        np.random.seed(k); cv2.setRNGSeed(k); torch.manual_seed(k)
        assert np.array_equal(s(img, np.concatenate([[[0, 0, 30*k+9, 50]], box]))[1], first)
    assert np.array_equal(segmenter('grabcut')(img, box)[0], first)
    large = s(np.asarray(Image.fromarray(img).resize((1200, 900), Image.Resampling.NEAREST)), box*10)[0]
    assert (large[5::10, 5::10] != first).mean() < .01 and large.shape == (900, 1200)

def timely(f, seconds=60):
    "What `f` gives; fails if it hangs"
    got = []
    thread = threading.Thread(target=lambda: got.append(f()), daemon=True)
    thread.start(); thread.join(seconds)
    assert got, f'no answer in {seconds} seconds'
    return got[0]

grounds = dict(one_colour=np.full((50, 40, 3), 77, np.uint8), white=np.full((50, 40, 3), 255, np.uint8), noise=photo(40, 50), two=np.repeat(np.array([[[0]*3, [255]*3]], np.uint8), 20, 1).repeat(50, 0), ramp=np.repeat(np.arange(40, dtype=np.uint8)[None, :, None], 50, 0).repeat(3, 2))
odd_boxes = dict(all=([0, 0, 40, 50], 1), beyond=([-9, -9, 90, 90], 1), huge=([-1e30, -1e30, 1e30, 1e30], 1), pixel=([5, 5, 6, 6], None), part=([5.2, 5.2, 5.4, 5.4], None), half=([0, 0, 20, 50], None), but_one=([0, 0, 39, 50], None), outside=([100, 100, 120, 120], 0), before=([-30, -30, -5, -5], 0))

@pytest.mark.parametrize('name', ['grabcut', 'box'])
@pytest.mark.parametrize('ground', grounds)
def test_odd_boxes(name, ground):
    s = segmenter(name)
    for box, share in odd_boxes.values():
        mask = timely(lambda: s(grounds[ground], [box]))
        inside = box_masks((40, 50), [box])
        assert mask.shape == (1, 50, 40) and not (mask & ~inside).any() and (share is None or mask.mean() == share)
        if name == 'box': assert np.array_equal(mask, inside)

def test_box_masks():
    for box, want in [([1, 2, 3, 4], 4), ([1.1, 2.9, 2.9, 3.1], 4), ([0, 0, 40, 50], 2000), ([-5, -5, 1, 1], 1)]: assert box_masks((40, 50), [box]).sum() == want
    m = box_masks((40, 50), [[3, 4, 10, 20]])[0]
    assert m[4:20, 3:10].all() and m.sum() == 7*16

@pytest.mark.parametrize('args', [dict(size=0), dict(size=-5), dict(size='x'), dict(steps=0), dict(steps=-1), dict(steps=1.5)], ids=str)
def test_bad_arguments_of_grabcut(args):
    with pytest.raises(FabricError, match=next(iter(args))): segmenter('grabcut', **args)

def test_yolos_in_the_form_of_2022(tmp_path):
    "As the published one lies on the hub: pytorch_model.bin, and the settings of a feature extractor"
    pytest.importorskip('transformers')
    folder = tiny_yolos(tmp_path/'now')
    want = yolos_detector(folder, floor=0)
    torch.save(want.model.state_dict(), folder/'pytorch_model.bin')
    for name in ('model.safetensors', *(p.name for p in folder.glob('*processor*'))): (folder/name).unlink()
    old = dict(do_normalize=True, do_resize=True, feature_extractor_type='YolosFeatureExtractor', format='coco_detection', image_mean=[.485, .456, .406], image_std=[.229, .224, .225], max_size=96, size=64)
    (folder/'preprocessor_config.json').write_text(json.dumps(old))
    photo = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
    assert np.allclose(yolos_detector(folder, floor=0)(photo).xyxy, want(photo).xyxy, atol=1e-3)
