"What is exported answers as its model does, with any runtime; what is no export, or plays tricks, is refused by name."
import json, logging, math, os, random, re, shutil, struct, warnings, zlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pytest, torch
from fastai.learner import Learner
from PIL import Image
from torch import nn

os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')       # onnxruntime reports its use otherwise
for library in ('onnx', 'onnxscript', 'onnxruntime'): pytest.importorskip(library)
import onnx
from onnx import TensorProto, helper

from fabric_touch.blends import FIBRES
from fabric_touch.checkpoints import CheckpointError, _card_bytes, _signed
from fabric_touch.core import TOUCHES, FabricError
from fabric_touch.data import CROP_MODES, Target, array_dls, load_photo, square
from fabric_touch.encoders import image_encoder
from fabric_touch.galata import Galata
from fabric_touch.serving import KINDS, _examples, _graph, _preprocessing, _program, export_touch, load_exported
from fabric_touch.swatches import make_blends
from fabric_touch.touch import RECIPES, Recipe, load_touch, predict_touch, save_touch, touch_model, touch_probs

WIDTH = 16
TOWER = dict(n_out=24, vision=dict(image_size=28, patch_size=14, width=16, layers=1, heads=2))   # a small tower
CHEAP = ('compact',)    # mlb, mlb_either and kostantiniyye_factors are tested below; the others, dearer or of the same parts, with --stress
ENCODERS = dict(clip=TOWER, imagebind=TOWER, swatch={}, mobilenetv2_tf=dict(size=64), resnet10t=dict(data=dict(img_size=64, crop_pct=.8)), test_vit={}, test_convnext=dict(data=dict(crop_mode='border')))

def rows(names, cheap): return [pytest.param(n, marks=() if n in cheap else pytest.mark.stress, id=n) for n in names]

def batch(b, width=WIDTH, seed=0): return np.random.default_rng(seed).standard_normal((b, width)).astype(np.float32), make_blends(b, seed=seed).astype(np.float32)

def lively(model, v, blends):
    "Random weights, their BatchNorms having seen a batch, whose logits, times 10 at most, differ by 2 between fabrics: flat answers would hide a difference"
    v, blends = torch.as_tensor(v), torch.as_tensor(blends)
    for m in model.modules():
        if hasattr(m, 'momentum'): m.momentum = None
    with torch.no_grad():
        model.train().from_vectors(v, blends)
        if not model.eval().numbers: model.temperature = (model.from_vectors(v, blends).std(0).mean(-1)/2).clamp(min=.1).tolist()
    return model

def small(recipe='mlb', targets=TOUCHES, seed=0, encoder=WIDTH):
    torch.manual_seed(seed)
    args = dict(train='all') if recipe in RECIPES and 'mobilenet' in RECIPES[recipe].head else {}
    return lively(touch_model(recipe, encoder, targets, **args), *batch(32, encoder if isinstance(encoder, int) else encoder.n_out))

def program(folder): return load_exported(folder, program=torch.export.load(folder/'model.pt2'))   # a file of our own

def refused(part, f, *args, error=FabricError, **kwargs):
    with pytest.raises(error) as e: f(*args, **kwargs)
    assert part in str(e.value), e.value

@pytest.fixture(scope='module')
def model(): return small()

@pytest.fixture(scope='module')
def folder(model, tmp_path_factory): return export_touch(model, 'onnx', tmp_path_factory.mktemp('serving')/'mlb', vectors=True)

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    "Pictures of awkward shapes and modes"
    dice, folder = np.random.default_rng(0), tmp_path_factory.mktemp('photos')
    img = lambda h, w, c=3: Image.fromarray(dice.integers(0, 255, (h//8+1, w//8+1, c), np.uint8).squeeze()).resize((w, h), Image.BICUBIC)
    turned = Image.Exif(); turned[274] = 6
    made = {'wide.png': (img(60, 200), {}), 'strip.png': (img(20, 300), {}), 'clear.png': (img(90, 70, 4), {}), 'grey.png': (img(64, 64, 1), {}), 'turned.jpg': (img(50, 90), dict(exif=turned))}
    for name,(i,how) in made.items(): i.save(folder/name, **how)
    return [folder/name for name in made]


# the words of the card

NEAREST = r', where round\(x\) is the whole number nearest to x, of two the even one'
WORDS = dict(    # what a step says, to the letter, its numbers left open
    center=r'of the longer side keep the middle, kept = min\(longer, 4\*shorter\) pixels from floor\(\(longer-kept\)/2\); resize the shorter side to (\d+) pixels '
           r'and the longer to floor\(kept\*\((\d+)/shorter\)\), the quotient first, in double precision',
    border=r'resize the longer side to (\d+) pixels and the shorter to side = round\(\(shorter/longer\)\*(\d+)\), the quotient first, in double precision; '
           r'lay it on (\d+) x (\d+) pixels of the colour \[(\d+), (\d+), (\d+)\], from round\(\((\d+)-side\)/2\) along the shorter side' + NEAREST,
    squash=r'resize to (\d+) x (\d+) pixels, whatever the proportions')
CUT = r'cut out the middle (\d+) x (\d+), from left = round\(\(width-(\d+)\)/2\), top = round\(\(height-(\d+)\)/2\)' + NEAREST

def nearest(x):
    "The whole number nearest to x, of two the even one"
    low = math.floor(x)
    return low + (x-low > .5 or x-low == .5 and low % 2 == 1)

def along(a, i): return a if i == 0 else a[::-1]          # (longer, shorter) as (width, height)

def center(img, s, again):
    assert s == again
    tall = int(img.height > img.width)
    longer, shorter = along(img.size, tall)
    kept = min(longer, 4*shorter)
    start = math.floor((longer-kept)/2)
    img = img.crop((*along((start, 0), tall), *along((start+kept, shorter), tall)))
    return img.resize(along((math.floor(kept*(s/shorter)), s), tall), Image.Resampling.BICUBIC)

def border(img, s, *more):
    *sides, r, g, b, last = more
    assert {*sides, last} == {s}
    tall = int(img.height > img.width)
    longer, shorter = along(img.size, tall)
    side = nearest((shorter/longer)*s)
    out = Image.new('RGB', (s, s), (r, g, b))
    out.paste(img.resize(along((s, side), tall), Image.Resampling.BICUBIC), along((0, nearest((s-side)/2)), tall))
    return out

def squash(img, w, h): return img.resize((w, h), Image.Resampling.BICUBIC)

def by_words(img, steps):
    "(3, size, size) of an RGB photo, by the words of a card's steps alone, which must be the words that are known here"
    found = [(f, m) for f in (center, border, squash) if (m := re.fullmatch(WORDS[f.__name__], steps[1]))]
    (resized, m), cut = found[0], [int(x) for x in re.fullmatch(CUT, steps[2]).groups()]
    img = resized(img, *map(int, m.groups()))
    assert len(set(cut)) == 1 and steps[3] == 'divide by 255; float32; channels first (3, height, width)'
    left, top = (nearest((n-cut[0])/2) for n in img.size)
    return (np.asarray(img.crop((left, top, left+cut[0], top+cut[0])), np.float64)/255).astype(np.float32).transpose(2, 0, 1)

@cache
def grain(w, h): return Image.fromarray(np.random.default_rng(w).integers(0, 256, (h, w, 3), np.uint8))

@pytest.mark.parametrize('crop', [1., .8])
@pytest.mark.parametrize('mode', CROP_MODES)
def test_the_words_of_the_steps(mode, crop):
    "A server that follows them has the pixels of `square`: 110 x 88 shows the order of the sums, the others halves that are rounded to the even number, and strips"
    fill = (124, 116, 104)
    for size in (96, 97):
        e = SimpleNamespace(size=size, crop=crop, crop_mode=mode, fill=fill, mean=torch.zeros(3), std=torch.ones(3))
        for w,h in ((110, 88), (88, 110), (205, 200), (207, 200), (200, 207), (1420, 710), (2000, 100), (401, 100), (100, 403), (96, 96)):
            img = grain(w, h)
            want = np.asarray(square(img, size, crop, mode, fill), np.float32).transpose(2, 0, 1)/255
            np.testing.assert_array_equal(by_words(img, _preprocessing(e)['steps']), want, err_msg=f'{w} x {h} at {size}')

def test_the_words_of_decoding(tmp_path):
    "16 bits"
    deep = np.random.default_rng(0).integers(0, 65536, (8, 8, 3)).astype('>u2')
    part = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    head = part(b'IHDR', struct.pack('>IIBBBBB', 8, 8, 16, 2, 0, 0, 0))                       # Pillow writes no 16-bit colour
    (tmp_path/'colour.png').write_bytes(b'\x89PNG\r\n\x1a\n' + head + part(b'IDAT', zlib.compress(b''.join(b'\0' + row.tobytes() for row in deep))) + part(b'IEND', b''))
    Image.fromarray(deep[..., 0].astype(np.uint16)).save(tmp_path/'grey.png')
    assert 'of plain 16-bit grey floor(value/257), of other 16 bits floor(value/256)' in _preprocessing(image_encoder('swatch', False))['steps'][0]
    assert (np.asarray(load_photo(tmp_path/'grey.png')) == deep[..., :1]//257).all() and (np.asarray(load_photo(tmp_path/'colour.png')) == deep//256).all()


# answers as the model

@pytest.mark.parametrize('recipe', rows(RECIPES, CHEAP))
def test_parity(recipe, tmp_path):
    model, (v, blends) = small(recipe), batch(17, seed=1)
    if model.absent: v[3], blends[5] = np.nan, np.nan
    want = touch_probs(model, v, blends)
    assert want.std(0).max() > .005
    there = load_exported(export_touch(model, 'onnx', tmp_path/'there', vectors=True))
    assert there.card['parity'] < 1e-4
    for b in (1, 2, 17): np.testing.assert_allclose(there.probs(v[:b], blends[:b]), want[:b], atol=1e-4, rtol=0)

@pytest.mark.parametrize('encoder', rows(ENCODERS, ('clip',)))
def test_photos(encoder, photos, tmp_path):
    e = image_encoder(encoder, encoder == 'swatch', **ENCODERS[encoder])
    model = small(encoder=e)
    there = load_exported(export_touch(model, 'onnx', tmp_path/'there'))
    for photo in photos:
        np.testing.assert_array_equal(there._seen(photo)[0], e.prepare(photo).numpy())
        np.testing.assert_allclose(there.predict(photo, '70% cotton 30% wool').probs, predict_touch(photo, '70% cotton 30% wool', model).probs, atol=1e-4)
    look = there.card['preprocessing']
    np.testing.assert_array_equal(by_words(Image.open(photos[0]), look['steps']), there._seen(photos[0])[0])

def test_one_side(photos, tmp_path):
    "Missing sides are NaN; a network that makes numbers of NaN does not matter"
    class Stubborn(nn.Module):
        n_out, size, crop, crop_mode, name = 6, 8, 1., 'center', 'stubborn'
        mean, std = torch.zeros(3), torch.ones(3)
        def forward(self, x): return x.nan_to_num(.5).flatten(1)[:, ::33] + 0.
        def prepare(self, img): return torch.full((3, 8, 8), .25)
    torch.manual_seed(0)
    x, blends = np.random.default_rng(0).random((17, 3, 8, 8), np.float32), make_blends(17, seed=0).astype(np.float32)
    model = touch_model('mlb_either', Stubborn())
    model = lively(model, model.encoder(torch.from_numpy(x)), blends)
    there = load_exported(export_touch(model, 'onnx', tmp_path/'there'))
    x[0], blends[2] = np.nan, np.nan
    v = model.encoder(torch.from_numpy(x)).numpy()
    v[0] = np.nan
    want = touch_probs(model, v, blends)
    assert want.std(0).max() > .005
    for b in (1, 3, 17): np.testing.assert_allclose(there.probs(x[:b], blends[:b]), want[:b], atol=1e-5)
    np.testing.assert_allclose(there.predict(None, '100% wool').probs, predict_touch(None, '100% wool', model).probs, atol=1e-5)
    refused('neither photo nor blend', there.predict, None, None)
    x[1, 0, 0, 0] = np.nan
    refused('image 1 holds NaN', there.probs, x, blends)

def test_numbers_and_uneven_levels(tmp_path):
    targets = [Target('softness'), Target('gsm', 0, 210., 80.), Target('drape', 3)]
    model, (v, blends) = touch_model('mlb', WIDTH, targets).eval(), batch(9)
    model.temperature = [.2, 1., .3]
    there = program(export_touch(model, 'torch_export', tmp_path/'there', vectors=True))
    want = touch_probs(model, v, blends)
    np.testing.assert_allclose(there.probs(v, blends), want, rtol=1e-5, atol=1e-5)
    assert abs(want[:, 1, 0] - 210).max() < 200 and (there.probs(v, blends)[:, 2, 3:] == 0).all()
    assert there.predict(v[0], blends[0]).to_dict()['gsm']['value'] == pytest.approx(float(want[0, 1, 0]), abs=.01)

def test_numbers_for_levels(tmp_path):
    "A bilinear fusion and a decoder that answers with a level's index"
    model, (v, blends) = small(Recipe('log', 'bilinear', 'decoder')), batch(9)
    there = program(export_touch(model, 'torch_export', tmp_path/'there', vectors=True))
    np.testing.assert_allclose(there.probs(v, blends), touch_probs(model, v, blends), atol=1e-4)
    refused('no distribution', there.predict(v[0], blends[0]).interval)

@pytest.mark.stress
def test_joined_galata(tmp_path):
    torch.manual_seed(0)
    blender, members = None, {}
    for t in TOUCHES:
        m = touch_model('kostantiniyye', WIDTH, t)
        m.blend_encoder, m.temperature = blender or m.blend_encoder, [.05]
        members[t], blender = m.eval(), m.blend_encoder
    galata, (v, blends) = Galata.from_models(**members), batch(4)
    there = load_exported(export_touch(galata, 'onnx', tmp_path/'there', vectors=True))
    np.testing.assert_allclose(there.probs(v, blends), touch_probs(galata, v, blends), atol=1e-4)

@pytest.mark.parametrize('recipe', rows(RECIPES, ('mlb_either', 'mlb_ensemble')))
def test_exported_program(recipe, tmp_path):
    model, (v, blends) = small(recipe), batch(5)
    folder = export_touch(model, 'torch_export', tmp_path/'there', vectors=True)
    refused('opening it runs what it holds', load_exported, folder, error=CheckpointError)
    there = program(folder)
    for b in (1, 5): np.testing.assert_allclose(there.probs(v[:b], blends[:b]), touch_probs(model, v, blends)[:b], atol=1e-4)


# what is written

def without_paths(path): return not any(part in path.read_bytes() for part in (b'fabric_touch', b'.py', b'site-packages'))

def test_nothing_of_the_machine(folder, model, tmp_path):
    "No paths of who exported it; equal bytes from equal models"
    assert sorted(p.name for p in folder.iterdir()) == ['card.json', 'model.onnx']
    again = export_touch(model, 'onnx', tmp_path/'again', vectors=True)
    assert (again/'model.onnx').read_bytes() == (folder/'model.onnx').read_bytes()
    assert without_paths(again/'model.onnx')

def test_card(folder, tmp_path):
    card = json.loads((folder/'card.json').read_text())
    assert card['kind'] == 'touch_onnx' and card['fibres'] == list(FIBRES) and [t[0] for t in card['targets']] == list(TOUCHES)
    assert list(card['inputs']) == ['vector', 'blend'] and card['inputs']['vector']['shape'] == ['batch', WIDTH] and card['outputs']['probs']['shape'] == ['batch', 4, 5]
    refused("kind differs", load_touch, folder)
    saved = save_touch(small(), tmp_path/'saved')
    there = export_touch(saved, 'torch_export', tmp_path/'there', vectors=True, note='x')
    made = json.loads((there/'card.json').read_text())
    assert without_paths(there/'model.pt2')
    assert made['made_from'] == json.loads((saved/'card.json').read_text())['card_sha256'] and made['note'] == 'x'

def test_process_and_model_are_as_before(tmp_path, capfd):
    model, (v, blends) = touch_model('kostantiniyye_factors', WIDTH, 'softness'), batch(2)
    model.train()
    state, want = {k: w.clone() for k,w in model.state_dict().items()}, touch_probs(model, v, blends)
    seen = lambda: (list(warnings.filters), [logging.getLogger(k).level for k in ('torch.onnx', 'torch.export', 'onnxscript', 'onnx_ir')], torch.is_grad_enabled(), torch.random.get_rng_state().tolist())
    before = seen()
    export_touch(model, 'onnx', tmp_path/'there', vectors=True)
    assert seen() == before and capfd.readouterr() == ('', '')
    assert model.training and not model.fusion.attention.exact and model.recipe == 'kostantiniyye_factors'
    assert all(torch.equal(w, state[k]) for k,w in model.state_dict().items()) and (touch_probs(model, v, blends) == want).all()

def test_whole_or_not_at_all(folder, model, tmp_path):
    there = Path(shutil.copytree(folder, tmp_path/'there'))
    before = {p.name: p.read_bytes() for p in there.iterdir()}
    class Choosy(nn.Linear):
        def forward(self, x): return super().forward(x) if x.sum() > 0 else x
    odd = small()
    odd.head[1] = Choosy(192, 128)
    refused("recipe 'mlb' with encoder 'vectors' cannot be exported as onnx", export_touch, odd, 'onnx', there, vectors=True)
    refused('differs from the model', export_touch, small().bfloat16(), 'torch_export', there, vectors=True)
    refused("'note' is a set", export_touch, model, 'torch_export', there, vectors=True, note={1})
    assert {p.name: p.read_bytes() for p in there.iterdir()} == before and [p.name for p in tmp_path.iterdir()] == ['there']
    export_touch(model, 'torch_export', there, vectors=True)                # the other kind takes its place
    assert sorted(p.name for p in there.iterdir()) == ['card.json', 'model.pt2']

def test_refused_before_it_is_written(model, tmp_path):
    (tmp_path/'mine').mkdir(); (tmp_path/'mine'/'letter.txt').write_text('dear')
    (tmp_path/'file').write_text('x')
    refused('choose from: onnx, torch_export', export_touch, model, 'tflite', tmp_path/'new')
    refused('letter.txt, which would be lost', export_touch, model, 'onnx', tmp_path/'mine', vectors=True)
    refused('is not a folder', export_touch, model, 'onnx', tmp_path/'file', vectors=True)
    refused('export with vectors=True', export_touch, model, 'onnx', tmp_path/'new')
    refused('not a Linear', export_touch, nn.Linear(1, 1), 'onnx', tmp_path/'new')
    refused('there is no such folder', export_touch, tmp_path/'lost', 'onnx', tmp_path/'new')

@pytest.mark.parametrize('key', ['missing', 'temperature', 'inside', 'recipe', 'targets', 'fibres', 'inputs', 'outputs', 'preprocessing', 'numbers', 'encoder', 'made_from',
                                 'file', 'parity', 'format', 'versions', 'weights_sha256', 'card_sha256'])
def test_the_card_is_not_overwritten(key, folder, model, tmp_path):
    "What a server goes by is written by the export alone; one that is there stays as it is"
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    for there in (folder, tmp_path/'new'):
        refused(f'{key} of the card is written by export_touch; choose another name', export_touch, model, 'onnx', there, vectors=True, note='x', **{key: True})
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before and not list(tmp_path.iterdir())

def test_the_card_is_not_overwritten_by_several(model, tmp_path):
    refused('fibres, missing of the card are written', export_touch, model, 'onnx', tmp_path/'new', vectors=True, missing=True, fibres=[])

def test_a_learner(model, tmp_path):
    learn = Learner(array_dls([*batch(4), np.zeros((4, 4, 5))], ([0, 1], [2, 3])), model, loss_func=nn.MSELoss())
    refused('not a Learner; of a Learner give learn.model', export_touch, learn, 'onnx', tmp_path/'new', vectors=True)

def test_too_large_for_one_file(model, tmp_path, monkeypatch):
    monkeypatch.setattr('fabric_touch.serving.MAX_ONNX', 10_000)
    refused('one ONNX file holds 2; leave the image encoder out', export_touch, model, 'onnx', tmp_path/'new', vectors=True)


# what is read

def forged(folder, out, change=lambda m: None, data=None, **facts):
    "An export with another graph, bytes or card, and digests that fit"
    out.mkdir(exist_ok=True)
    card = json.loads((folder/'card.json').read_text()) | facts
    m = onnx.load(folder/'model.onnx')
    change(m)
    (out/'model.onnx').write_bytes(m.SerializeToString() if data is None else data)
    (out/'card.json').write_bytes(_card_bytes(_signed({k: v for k,v in card.items() if v is not ...}, out/'model.onnx')))
    return out

def external(t):
    t.ClearField('raw_data'); t.data_location = TensorProto.EXTERNAL
    t.external_data.add(key='location', value='secret.bin')
def inside_a_node(m): external(m.graph.node[0].attribute.add(name='value', type=onnx.AttributeProto.TENSOR).t)
def inside_a_branch(m):
    t = TensorProto(name='hidden', dims=[1], data_type=1)
    external(t)
    m.graph.node[0].attribute.add(name='then_branch', type=onnx.AttributeProto.GRAPH).g.initializer.append(t)
def functions(m): m.functions.append(helper.make_function('evil', 'f', [], [], [], []))
def operator(m): m.graph.node[0].domain = 'com.microsoft'
def opset(m): m.opset_import.add(domain='ai.onnx.contrib', version=1)
def other_name(m): m.graph.input[0].name = 'photo'
def other_type(m): m.graph.input[0].type.tensor_type.elem_type = 11
def one_more(m): m.graph.output.append(m.graph.input[0])

TRICKS = {external: 'other files', inside_a_node: 'other files', inside_a_branch: 'other files', functions: 'of functions', operator: 'of com.microsoft', opset: 'of ai.onnx.contrib',
          other_name: 'its card says', other_type: 'its card says', one_more: 'its card says'}

@pytest.mark.parametrize('trick', TRICKS, ids=lambda f: f.__name__)
def test_tricks_in_a_graph(trick, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path/'secret.bin').write_bytes(bytes(10**5))
    change = trick if trick is not external else lambda m: external(m.graph.initializer[0])
    refused(TRICKS[trick], load_exported, forged(folder, tmp_path/'there', change), error=CheckpointError)

@pytest.mark.parametrize('data', [b'x'*64, b'\x08', b'PK\x03\x04' + b'x'*64, b'\x80\x02cos\nsystem\n'], ids=['text', 'cut', 'zip', 'pickle'])
def test_no_onnx(data, folder, tmp_path):
    refused('model.onnx', load_exported, forged(folder, tmp_path/'there', data=data), error=CheckpointError)

def flips(folder, out, n, seed):
    "Each of n files has one bit turned: refused, or run to numbers; never anything else"
    raw, dice, said = (folder/'model.onnx').read_bytes(), random.Random(seed), {'refused': 0, 'run': 0}
    for _ in range(n):
        data = bytearray(raw)
        data[dice.randrange(len(raw) if dice.random() < .5 else 4000)] ^= 1 << dice.randrange(8)     # half of them where the names are
        try: there = load_exported(forged(folder, out, data=bytes(data)))
        except CheckpointError: said['refused'] += 1; continue
        assert there.takes == 'vector'
        said['run'] += 1
    return said

def test_flipped_bits(folder, tmp_path): assert flips(folder, tmp_path/'there', 20, 0)['refused']

@pytest.mark.stress
def test_a_thousand_flipped_bits(folder, tmp_path): assert sum(flips(folder, tmp_path/'there', 1000, 1).values()) == 1000

def test_bits_flipped_by_accident(folder, tmp_path):
    "The digest sees what nobody signed"
    there = forged(folder, tmp_path/'there')
    data = bytearray((there/'model.onnx').read_bytes())
    data[-7] ^= 4
    (there/'model.onnx').write_bytes(data)
    refused('not the file that was saved', load_exported, there, error=CheckpointError)
    (there/'model.onnx').unlink()
    refused('there holds no model.onnx; an export is a folder with card.json and model.onnx or model.pt2', load_exported, there, error=CheckpointError)
    (there/'card.json').unlink()
    refused('there holds no card.json; an export is', load_exported, there, error=CheckpointError)

def test_no_folder(folder, tmp_path):
    refused('give the folder that it stands in', load_exported, folder/'model.onnx', error=CheckpointError)
    refused('give the folder that it stands in', load_exported, str(folder/'card.json'), error=CheckpointError)
    for there in (tmp_path/'lost', '', 'a\0b', None, 3): refused('', load_exported, there, error=CheckpointError)
    (tmp_path/'link').symlink_to(folder)
    assert load_exported(str(tmp_path/'link')).takes == 'vector'

@pytest.mark.parametrize('threads', [0, -1, 'a', 1.5, True, 10**12, [1]], ids=repr)
def test_threads(threads, folder):
    with pytest.raises(FabricError, match='threads is .*; give a whole number from 1 to') as e: load_exported(folder, threads=threads)
    assert not isinstance(e.value, CheckpointError)

FACTS = dict(targets=[['softness']], inputs=dict(vector=dict(shape=['batch', 10**12]), blend=dict(shape=['batch', 12])), outputs={}, missing='no', numbers=None,
             preprocessing=dict(size=28, crop=1e-9, crop_mode='center', fill=[0, 0, 0]), fibres=list(FIBRES)[::-1], kind='touch')

@pytest.mark.parametrize('key', ['inputs', 'outputs', 'targets', 'missing', 'numbers', 'preprocessing', 'recipe', 'fibres', 'kind'])
def test_cards(key, folder, tmp_path):
    "A key that is gone, of another type, or claims something else"
    for value in (..., 3, None, [], {'x': 1}, *([FACTS[key]] if key in FACTS else [])):
        if (key, value) in (('preprocessing', None), ('recipe', None)): continue
        if key == 'recipe': continue                                        # said in messages alone
        refused('', load_exported, forged(folder, tmp_path/'there', **{key: value}), error=CheckpointError)

@pytest.fixture
def closed(folder, tmp_path):
    "What says that it is a program, and is a pickle that would make a file"
    (tmp_path/'there').mkdir()
    (tmp_path/'there'/'model.pt2').write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path/'ran').encode() + b"'\ntR.")
    card = json.loads((folder/'card.json').read_text()) | dict(kind='touch_torch_export')
    (tmp_path/'there'/'card.json').write_bytes(_card_bytes(_signed(card, tmp_path/'there'/'model.pt2')))
    yield tmp_path/'there'
    assert not (tmp_path/'ran').exists()

def test_a_program_is_not_opened(closed): refused('is not opened here', load_exported, closed, error=CheckpointError)

@pytest.mark.parametrize('width', [10**12, 2**20+1, 0, 'x', 16., True, None], ids=repr)
def test_width_of_vectors(width, closed, model):
    "No card makes arrays as large as it likes"
    card = json.loads((closed/'card.json').read_text())
    card['inputs']['vector']['shape'] = ['batch', width]
    (closed/'card.json').write_bytes(_card_bytes(_signed(card, closed/'model.pt2')))
    refused('do not belong together', load_exported, closed, program=3, error=CheckpointError)

def captured(model):
    graph = _graph(model, vectors=True)
    return _program(graph, _examples(graph, 2))

class Other(nn.Module):
    def forward(self, vector, blend): return vector[:, :5, None] + blend[:, :1, None]

def test_whose_program(closed, folder, model):
    "What is no program, or of another model, is refused as it is loaded"
    mine, how = captured(model), "if you trust where the file comes from: load_exported(folder, program=torch.export.load(folder/'model.pt2'))"
    np.testing.assert_allclose(load_exported(closed, program=mine).probs(*batch(3)), load_exported(folder).probs(*batch(3)), atol=1e-5)
    refused('leave `program` out', load_exported, folder, program=mine)
    for wrong in ('model.pt2', closed/'model.pt2', mine.module(), 3): refused(f'not an opened one; {how}', load_exported, closed, program=wrong)
    odd = torch.export.export(Other(), (), dict(zip(('vector', 'blend'), map(torch.from_numpy, batch(2)))))
    refused('about two fabrics it gives (2, 5, 1), by the card it is (2, 4, 5)', load_exported, closed, program=odd, error=CheckpointError)
    refused('program is of another model than', load_exported, closed, program=captured(small('blend', encoder=2*WIDTH)), error=CheckpointError)

def test_inputs(folder, model):
    there, (v, blends) = load_exported(folder, threads=1), batch(3)
    np.testing.assert_allclose(there.probs(v, blends), touch_probs(model, v, blends), atol=1e-4)
    np.testing.assert_allclose(there.probs(v.astype(float).tolist(), blends.astype(float)), there.probs(v, blends), atol=1e-6)
    refused('takes (b, 16)', there.probs, v[:, :5], blends)
    refused('takes (b, 16)', there.probs, v[:0], blends[:0])
    refused('takes (b, 12)', there.probs, v, blends[:, :11])
    refused('3 of vector and 2 blends', there.probs, v, blends[:2])
    refused('no array of numbers', there.probs, 'photo', blends)
    refused('was not trained to do without', there.probs, v*np.nan, blends)
    refused('vector 0 holds NaN or infinite', there.probs, np.where(v == v[0, 0], np.inf, v), blends)
    refused('sums to 1.5', there.probs, v, blends*1.5)
    refused('no photo is given', there.predict, None, '100% cotton')
    for photo in ('photo.jpg', Path('photo.jpg'), Image.new('RGB', (8, 8)), np.zeros((8, 8, 3), np.uint8)):
        refused("takes vectors of 'vectors', 16 numbers each, not photos; embed the photo", there.predict, photo, '100% cotton')
    for odd in ([[1], [1, 2]], {}, [torch.ones(16, requires_grad=True)]*2): refused('no array of numbers', there.probs, odd, blends)
    refused('no array of numbers', there.predict, ['a']*16, '100% cotton')
    learnt = torch.from_numpy(v).requires_grad_()
    for x in (learnt, learnt.double()): np.testing.assert_array_equal(there.probs(x, torch.from_numpy(blends).requires_grad_()), there.probs(v, blends))
    np.testing.assert_array_equal(there.predict(learnt[0], '100% cotton').probs, there.predict(v[0], '100% cotton').probs)
    assert there.probs(learnt.bfloat16(), blends).shape == (3, 4, 5)
    assert KINDS.keys() == {'onnx', 'torch_export'} and "recipe 'mlb'" in repr(there)
