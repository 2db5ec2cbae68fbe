"Bad input, as a table: what is given, and the words that the error must hold. Every error is ours, and nothing is left behind. Damaged and hostile files are offered to every reader in test_hostile.py."
import copy, math, os
from pathlib import Path
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest, torch
from PIL import Image

from fabric_touch.blends import FIBRES, blend_vector
from fabric_touch.checkpoints import read_card, read_weights, save_checkpoint
from fabric_touch.core import TOUCHES, FabricError
from fabric_touch.data import Number, Target, load_photo, read_fabrics, touch_dls
from fabric_touch.touch import Recipe, load_touch, predict_touch, save_touch, touch_folds, touch_learner, touch_model

@pytest.fixture(scope='module')
def given(tmp_path_factory):
    "A folder with good and bad files, and a good model"
    place = tmp_path_factory.mktemp('bad')
    g = SimpleNamespace(place=place, photo=place/'cloth.jpg')
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (110, 130, 3), dtype=np.uint8)).save(g.photo)
    jpg = g.photo.read_bytes()
    for name, data in dict(empty=b'', cut=jpg[:2000]).items(): (place/f'{name}.jpg').write_bytes(data)
    for name, data in dict(empty=b'', head=b'blend,softness\n', latin='blend,softness\n100% algodón,3\n'.encode('latin-1'),
                           semi=b'blend;softness\n100% cotton;3\n', ragged=b'blend,softness\n100% cotton,3\na,b,c,d\n').items(): (place/f'{name}.csv').write_bytes(data)
    g.model = touch_model('mlb', 'swatch', pretrained=False).eval()
    g.saved = save_touch(g.model, place/'model')
    g.card, g.weights = read_card(g.saved), read_weights(g.saved)
    (place/'folder').mkdir()
    return g

@pytest.fixture(autouse=True)
def nothing_changes(given):
    "Whatever a test did, the folder is as it was"
    look = lambda: {str(p.relative_to(given.place)): p.stat().st_mtime_ns for p in given.place.rglob('*') if p.is_file()}
    before = look()
    yield
    assert look() == before

def refused(fn, *words):
    "The message of a `FabricError` that must hold these words"
    with pytest.raises(Exception) as e: fn()
    assert isinstance(e.value, FabricError), f'{type(e.value).__name__} is not one of ours: {e.value}'
    text = str(e.value)
    for w in words: assert str(w) in text, f'{w!r} is missing in: {text}'
    assert 15 < len(text) < 3000 and 'object at 0x' not in text, text
    return text

# ---- blends, through every door that takes one

V = lambda **shares: np.array([shares.get(f, 0.) for f in FIBRES], np.float32)
bad_blends = {
    'unknown fibre': ('60% unobtainium 40% wool', ['unobtainium']), 'unknown in a dict': (dict(unobtainium=1.), ['unobtainium', 'cotton']), 'over 100': ('92% NYLON / 28% ELASTANO', ['120', '100']),
    'under 100': ('50% cotton 20% wool', ['70', '100']), 'over 1': (dict(cotton=.9, wool=.4), ['1.3', '1']), 'under 1': (dict(cotton=.4), ['0.4']), 'percent in a dict': (dict(cotton=95, spandex=5), ['100']),
    'negative text': ('110% cotton -10% wool', []), 'negative': (dict(cotton=1.1, wool=-.1), ['wool', '-0.1']), 'negative vector': (V(cotton=1.1, wool=-.1), ['wool', '-0.1']),
    'nan': (dict(cotton=math.nan), ['cotton', 'nan']), 'nan vector': (V(cotton=math.nan), ['cotton', 'nan']), 'infinite': (dict(cotton=math.inf), ['cotton', 'inf']), 'nan alone': (math.nan, ['empty']), 'none': (None, ['empty']),
    'empty': ('', ['empty']), 'spaces': (' \n ', ['empty']), 'empty dict': ({}, ['no shares']), 'zeros': (np.zeros(12), ['no shares']), 'no fibre': ('100%', ['fibre']), 'no share': ('cotton', ['share']),
    'twice': ('50% cotton 50% cotton', ['cotton', 'twice']), 'twice in two languages': ('50% cotton 50% algodón', ['cotton', 'twice']), 'eleven numbers': ([1.] + [0.]*10, ['12', '11']),
    'two rows': (np.eye(12)[:2], ['12']), 'a table of text': (['cotton']*12, ['12 numbers']), 'a number': (3, ['text']), 'bytes': (b'100% cotton', ['text']), 'text share': (dict(cotton='all'), ['cotton', 'all'])}

@pytest.mark.parametrize('name', bad_blends)
def test_blend(given, name):
    blend, words = bad_blends[name]
    refused(lambda: blend_vector(blend), *words)
    refused(lambda: predict_touch(given.photo, blend, given.model), *(['no blend is given'] if blend is None else words))

@pytest.mark.parametrize('name', [k for k,(b,_) in bad_blends.items() if b is None or isinstance(b, str)])
def test_blend_in_a_table(name):
    blend, words = bad_blends[name]
    refused(lambda: read_fabrics(table().assign(blend=['100% cotton', '100% wool', blend]), 'softness'), '1 of 3 rows', 'row 2', *words)

@pytest.mark.parametrize('blend', [{'cotton': 1.}, [1.] + [0.]*11, V(cotton=1.), 7, b'100% cotton'], ids=['dict', 'list', 'array', 'number', 'bytes'])
def test_a_blend_that_is_no_text_in_a_table(blend):
    "Read for what it is, or refused for what it is"
    d = table(); d['blend'] = pd.Series([blend]*3, dtype=object)
    try: f = read_fabrics(d, 'softness')
    except FabricError as e: assert 'empty' not in str(e)
    else: np.testing.assert_array_equal(f.blends, [V(cotton=1.)]*3)

@pytest.mark.parametrize('shares, words', [(dict(cotton=[.9, 1, 1]), ['0.9']), (dict(cotton=[1, 1, 1.1], wool=[0, 0, -.1]), ['wool', '-0.1']), (dict(cotton=[1, np.nan, 1]), ['nan']), (dict(cotton=['all', 1, 1]), [])], ids=['under', 'negative', 'nan', 'text'])
def test_shares_in_twelve_columns(shares, words):
    d = table().drop(columns='blend').assign(**{f: shares.get(f, [0.]*3) for f in FIBRES})
    refused(lambda: read_fabrics(d, 'softness'), '1 of 3 rows cannot be used', *words)

# ---- tables

def table(): return pd.DataFrame(dict(fabric=list('abc'), blend=['100% cotton', '100% wool', '50% cotton 50% wool'], softness=[1, 3, 5], gsm=[100., 200., 300.]))

def soft(values): return read_fabrics(table().assign(softness=pd.Series(values, dtype=object)), 'softness')

tables = {
    'no such column': (lambda g: read_fabrics(table()), ["'smoothness'", 'softness', 'targets=']), 'no blend column': (lambda g: read_fabrics(table().drop(columns='blend'), 'softness'), ['blend', 'softness', 'cotton']),
    'eleven fibre columns': (lambda g: read_fabrics(table().drop(columns='blend').assign(**{f: 0. for f in FIBRES[:11]}), 'softness'), ['blend', FIBRES[11]]),
    'level 0': (lambda g: soft([1, 0, 5]), ['softness', '0', 'row 1', '1 to 5']), 'level 6': (lambda g: soft([1, 2, 6]), ['softness', '6', 'row 2', '1 to 5']), 'level 2.5': (lambda g: soft([2.5, 2, 3]), ['2.5', 'row 0', 'whole']),
    'level as text': (lambda g: soft(['soft', 2, 3]), ['soft', 'row 0', '1 to 5']), 'infinite level': (lambda g: soft([1, 2, np.inf]), ['inf', 'row 2']), 'negative level': (lambda g: soft([-1, 2, 3]), ['-1', 'row 0']), 'two wrong levels': (lambda g: soft([0, 9, 3]), ['row 0', '1 more']),
    'level of three': (lambda g: read_fabrics(table().assign(shade=[1, 2, 4]), Target('shade', 3)), ['shade', '4', '1 to 3']), 'a number that is text': (lambda g: read_fabrics(table().assign(gsm=['heavy', 1, 2]), Number('gsm')), ['gsm', 'heavy', 'number']),
    'an infinite number': (lambda g: read_fabrics(table().assign(gsm=[1, -np.inf, 2]), Number('gsm')), ['gsm', '-inf', 'row 1']), 'no rows': (lambda g: read_fabrics(table()[:0], 'softness'), ['no rows']), 'no targets': (lambda g: read_fabrics(table(), []), ['targets']),
    'a target twice': (lambda g: read_fabrics(table(), ['softness']*2), ['targets', 'softness']), 'two blends for one fabric': (lambda g: read_fabrics(table().assign(fabric='a'), 'softness'), ["'a'", 'different blends']),
    'one fabric': (lambda g: touch_dls(read_fabrics(table()[:1], 'softness'), vectors=np.zeros((1, 3))), ['1', 'folds', 'more fabrics']), 'one blend': (lambda g: read_fabrics(table().assign(blend='100% cotton'), 'softness').folds(2), ['1 different blends', '2 folds']),
    'unknown grouping': (lambda g: read_fabrics(table(), 'softness').folds(2, by='colour'), ['colour', 'blend, article, fabric']), 'missing file': (lambda g: read_fabrics(g.place/'lost.csv'), ['lost.csv', 'no such file']), 'a folder': (lambda g: read_fabrics(g.place/'folder'), ['folder']),
    'empty csv': (lambda g: read_fabrics(g.place/'empty.csv'), ['empty.csv']), 
    'another encoding': (lambda g: read_fabrics(g.place/'latin.csv'), ['latin.csv', 'utf-8']), 'semicolons': (lambda g: read_fabrics(g.place/'semi.csv', 'softness'), ['blend;softness']), 'ragged csv': (lambda g: read_fabrics(g.place/'ragged.csv', 'softness'), ['ragged.csv', 'line 3']),
    'only a header': (lambda g: read_fabrics(g.place/'head.csv', 'softness'), ['no rows']), 'no table at all': (lambda g: read_fabrics(None), ['None']), 'a column twice': (lambda g: read_fabrics(pd.concat([table(), table()[['softness']]], axis=1), 'softness'), ['softness']),
    'lost photo': (lambda g: read_fabrics(table().assign(image='lost.jpg'), 'softness', root=g.place), ['3 of 3 rows', 'lost.jpg', 'skip_bad']), 'nobody rated a number': (lambda g: touch_learner(touch_dls(read_fabrics(table().assign(gsm=np.nan), Number('gsm')), ([0, 1], [2]), np.zeros((3, 4))), 'mlb', 4), ['gsm'])}

@pytest.mark.parametrize('name', tables)
def test_table(given, name):
    call, words = tables[name]
    refused(lambda: call(given), *words)

# ---- photos

photos = {'empty.jpg': ['empty'], 'cut.jpg': ['cannot be read'], 'lost.jpg': ['no such file'], 'folder': ['no such file']}

@pytest.mark.parametrize('name', photos)
def test_photo(given, name):
    refused(lambda: load_photo(given.place/name), given.place/name, *photos[name])
    refused(lambda: predict_touch(given.place/name, '100% cotton', given.model), name, *photos[name])
    refused(lambda: predict_touch(str(given.place/name), '100% cotton', given.saved), name)

pictures = {'none': None, 'a number': 3, 'floats': np.zeros((20, 20, 3)), 'four channels first': np.zeros((4, 20, 30), np.uint8), 'a batch': np.zeros((1, 20, 20, 3), np.uint8), 'no pixels': np.zeros((0, 0, 3), np.uint8),
            'a vector': np.zeros(20, np.uint8), 'a tensor': torch.zeros(3, 96, 96), 'bytes': b'\xff\xd8', 'a list': [[0, 0, 0]]}

@pytest.mark.parametrize('name', pictures)
def test_what_is_no_picture(given, name): refused(lambda: predict_touch(pictures[name], '100% cotton', given.model))

@pytest.mark.parametrize('path', ['', 'a\0b', 'x'*300], ids=['nothing', 'a nul', 'too long'])
def test_paths_that_cannot_be(path):
    refused(lambda: load_photo(path))

# ---- models

def card(**changes): return lambda g: {**{k: v for k,v in g.card.items() if k not in ('format', 'versions', 'weights_sha256', 'card_sha256')}, **changes}

def drop(*keys): return lambda g: {k: v for k,v in card()(g).items() if k not in keys}

def turned(names): return [names[1], names[0], *names[2:]]

cards = {
    'another kind': (card(kind='garment'), ['kind', 'garment', 'touch']), 'fibres in another order': (card(fibres=turned(list(FIBRES))), ['fibres', FIBRES[1], FIBRES[0]]), 'eleven fibres': (card(fibres=list(FIBRES[:-1])), ['fibres', FIBRES[-1]]),
    'no fibres': (drop('fibres'), ['fibres']), 'a recipe made of other parts': (card(parts=dict(blend='raw', fusion='mlb', head='mlp')), ['mlb', 'raw']), 'a part that is not known': (card(recipe='own', parts=dict(blend='tea_leaves', fusion='mlb', head='mlp')), ['tea_leaves', 'choose from']),
    'parts missing': (drop('parts'), ['parts']), 'parts of another form': (card(recipe='own', parts=dict(blend='raw')), ['parts']), 'parts as text': (card(recipe='own', parts='mlb'), ['parts']), 'another encoder': (card(encoder=dict(name='swotch', size=96, n_out=128)), ['swotch', 'choose from']),
    'encoder missing': (drop('encoder'), ['encoder']), 'stored vectors of another width': (card(encoder=dict(name='vectors', size=None, n_out=64)), ['not loaded']), 'a width that is no number': (card(encoder=dict(name='vectors', size=None, n_out='wide')), ['wide']),
    'one target fewer': (card(targets=[[t, 5, 0., 1.] for t in TOUCHES[:3]]), ['head', 'shape']), 'seven levels': (card(targets=[[t, 7, 0., 1.] for t in TOUCHES]), ['head', 'shape']), 'targets missing': (drop('targets'), ['targets']),
    'targets of another form': (card(targets=[['softness', 5, 0., 1., 9, 9]]), ['targets']), 'targets as text': (card(targets='softness'), ['targets']), 'no targets': (card(targets=[]), ['targets']), 'recipe missing': (drop('recipe'), ['recipe'])}

@pytest.mark.parametrize('name', cards)
def test_wrong_card(given, tmp_path, name):
    "A card that is whole and signed, and says something else than the weights beside it"
    change, words = cards[name]
    folder = save_checkpoint(tmp_path/'m', given.weights, change(given))
    refused(lambda: load_touch(folder), *words)
    refused(lambda: predict_touch(given.photo, '100% cotton', folder), *words)

@pytest.mark.parametrize('expect, words', [(dict(recipe='venezia'), ['recipe', 'mlb', 'venezia']), (dict(targets=[['weight', 0, 0., 1.]]), ['targets', 'softness', 'weight']), (dict(encoder=dict(name='clip')), ['encoder', 'clip', 'swatch'])], ids=['recipe', 'targets', 'encoder'])
def test_not_the_model_that_was_expected(given, expect, words): refused(lambda: load_touch(given.saved, **expect), *words)

def reshaped(w):
    k = next(k for k in w if k.startswith('head') and w[k].ndim == 2)
    return w | {k: w[k][:, :-1].contiguous()}

def renamed(w):
    k = next(k for k in w if k.startswith('head'))
    return {('tail' + n[4:] if n == k else n): t for n,t in w.items()}

wrong_weights = {'another shape': (reshaped, ['head', 'shape']), 'another name': (renamed, ['tail', 'missing']), 'one too few': (lambda w: dict(list(w.items())[1:]), ['missing']), 'one too many': (lambda w: w | dict(extra=torch.ones(3)), ['extra'])}

@pytest.mark.parametrize('name', wrong_weights)
def test_wrong_weights(given, tmp_path, name):
    change, words = wrong_weights[name]
    folder = save_checkpoint(tmp_path/'m', change(given.weights), card()(given))
    refused(lambda: load_touch(folder), folder.name, *words)

names = {
    'recipe': (lambda g: touch_model('constantinopolis', 8), ['constantinopolis', 'venezia', 'kostantiniyye']), 'encoder': (lambda g: touch_model('mlb', 'swotch'), ['swotch', 'swatch']), 'loss': (lambda g: touch_learner(dls(), 'mlb', 4, loss='hinge'), ['hinge', 'soft_ce']),
    'vectors of another width': (lambda g: touch_learner(dls(), 'mlb', 'swatch'), ['4', '128', 'encoder=4']), 'vectors of a width that was named': (lambda g: touch_learner(dls(), 'mlb', 7), ['4', '7']), 'too few vectors': (lambda g: touch_dls(read_fabrics(table(), 'softness'), ([0, 1], [2]), np.zeros((2, 4))), ['2 vectors', '3 fabrics']),
    'a head for maps': (lambda g: touch_model(Recipe('raw', 'mlb', 'mobilenet'), 8), ['mobilenet', "'mlp'"]), 'a head for vectors': (lambda g: touch_model(Recipe('raw', 'outer_attention', 'mlp'), 8), []), 'a photo for stored vectors': (lambda g: predict_touch(g.photo, '100% cotton', touch_model('mlb', 8)), ['no encoder', '8']),
    'a model that is nowhere': (lambda g: predict_touch(g.photo, '100% cotton', g.place/'lost'), ['lost', 'no such folder']), 'vectors that are not numbers': (lambda g: touch_learner(touch_dls(read_fabrics(table(), 'softness'), ([0, 1], [2]), np.full((3, 4), np.nan)), 'mlb', 4), ['vectors']),
    'folds of no vectors': (lambda g: touch_folds(read_fabrics(table(), 'softness'), np.zeros((3, 4)), 'mlb'), ['folds'])}

def dls(): return touch_dls(read_fabrics(table(), 'softness'), ([0, 1], [2]), np.zeros((3, 4)))

@pytest.mark.parametrize('name', names)
def test_what_does_not_fit(given, name):
    call, words = names[name]
    refused(lambda: call(given), *words)

def test_nothing_half_written_when_saving_fails(given, tmp_path):
    m = copy.deepcopy(given.model); m.head[1].weight.data[0, 0] = math.nan
    refused(lambda: save_touch(m, tmp_path/'m'), 'NaN', 'head.1.weight')
    refused(lambda: save_touch(given.model, tmp_path/'m', scores=dict(softness=math.inf)), 'softness', 'inf')
    refused(lambda: save_touch(given.model, tmp_path/'m', made=lambda: 0), 'made')
    assert not os.listdir(tmp_path)
    (tmp_path/'m').mkdir(); (tmp_path/'m'/'thesis.txt').write_text('mine')
    refused(lambda: save_touch(given.model, tmp_path/'m'), 'thesis.txt')
    assert os.listdir(tmp_path/'m') == ['thesis.txt']

def test_a_file_is_not_half_written(tmp_path):
    from fabric_touch.plots import plot_touch, save_figure
    fig = plot_touch(np.full((4, 5), .2)).figure
    refused(lambda: save_figure(fig, tmp_path/'a.xyz'), 'xyz', 'png')
    (tmp_path/'a.png').write_bytes(b'old')
    def fails(*args, **kwargs): Path(args[0]).write_bytes(b'half'); raise OSError('disk full')
    fig.savefig = fails
    with pytest.raises(OSError): save_figure(fig, tmp_path/'a.png')
    assert os.listdir(tmp_path) == ['a.png'] and (tmp_path/'a.png').read_bytes() == b'old'
