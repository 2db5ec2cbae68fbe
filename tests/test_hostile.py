"Hostile input, as tables: every reader and command of hostile.py is offered every attack of attacks.py; what comes back is right or one of our errors, nothing is run, nothing elsewhere is touched."
import importlib, json, os, pickle, pkgutil, re, shutil, signal
from pathlib import Path

import pytest

from attacks import ATTACKS, Dice, csv_bytes
from hostile import COCO, COMMANDS, READERS, Reader, command_attempts, command_fault, fault, full_attempts, full_fault, make_shop, outcomes, put, put_photos
from watched import Attempt, attempt, attempts
import fabric_touch
from fabric_touch import cli
from fabric_touch.blends import parse_blend
from fabric_touch.captions import read_coco
from fabric_touch.catalogs import read_pages
from fabric_touch.checkpoints import read_card, save_checkpoint
from fabric_touch.core import FabricError
from fabric_touch.data import read_fabrics
from fabric_touch.deepfashion import read_deepfashion

hypothesis = pytest.importorskip('hypothesis')
given, settings, st = hypothesis.given, hypothesis.settings, hypothesis.strategies
pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread'), pytest.mark.filterwarnings('ignore:.*fork'),
              pytest.mark.skipif(not Path('/proc/self/clear_refs').exists(), reason='memory is watched as Linux tells it')]

@pytest.fixture(scope='module')
def room(tmp_path_factory): return tmp_path_factory.mktemp('hostile')

# ---- the guard itself

def escape(path): return lambda: open(path, 'w')

GUARDED = {   # what is done -> (how, what comes of it, what is seen)
    'fine':   (lambda: 1, 'fine', ''),
    'error':  (lambda: json.loads('{'), 'refused', ''),
    'crash':  (lambda: os.kill(os.getpid(), signal.SIGSEGV), 'crash', ''),
    'hang':   (lambda: signal.pause(), 'timeout', ''),
    'memory': (lambda: bytearray(10**9), 'memory', ''),
    'system': (lambda: os.system('true'), 'refused', 'os.system'),
    'write':  (escape('/nowhere/of/ours'), 'refused', 'wrote'),
    'remove': (lambda: os.remove('/nowhere/of/ours'), 'refused', 'os.remove'),
    'rename': (lambda: os.rename('/nowhere/a', '/nowhere/b'), 'refused', 'os.rename'),
}

@pytest.mark.parametrize('f, kind, saw', GUARDED.values(), ids=GUARDED)
def test_the_guard_sees_it(f, kind, saw):
    o = attempt(f, seconds=1, memory=300)
    assert o.kind == kind and (any(saw in s for s in o.saw) if saw else not o.saw), o

def test_the_guard_stops_what_goes_through_a_link(tmp_path):
    "A reader that follows a link out of its folder is told of, and what the link leads to is as it was"
    (tmp_path/'in').mkdir(); (tmp_path/'outside').write_text('whole'); (tmp_path/'in'/'link').symlink_to('../outside')
    o = attempt(escape(tmp_path/'in'/'link'), may_write=(tmp_path/'in',))
    assert o.saw and (tmp_path/'outside').read_text() == 'whole'
    assert not attempt(escape(tmp_path/'in'/'file'), may_write=(tmp_path/'in',)).saw

def test_the_next_attempt_goes_on_behind_one_that_kills():
    do = [lambda: 1, lambda: os.abort(), lambda: 2]
    assert [o.kind for o in attempts([Attempt((i,), lambda: None, f) for i,f in enumerate(do)])] == ['fine', 'crash', 'fine']

def unpickle(f): return [pickle.loads(p.read_bytes()) for p in f.glob('*.pkl')]

AT_FAULT = {   # what a reader does wrong -> (its read, what is said of it)
    'unpickles what lies beside': (unpickle, 'did what no reader does'),
    'reads something else':       (lambda f: (f/'a.txt').read_bytes(), 'read as something else than it was'),
    'leaves a file':              (lambda f: (f/'b.txt').write_text('b'), 'left behind or changed'),
    'reads a folder of secrets':  (lambda f: (f.parent/'secret'/'decoy').read_text(), 'did what no reader does'),
    'writes to a folder outside': (lambda f: (f.parent/'secret'/'decoy').write_text(''), 'did what no reader does'),
    'raises what is not ours':    (lambda f: json.loads((f/'a.txt').read_text()), 'not an error of ours'),
}

@pytest.mark.parametrize('name', AT_FAULT)
def test_a_reader_at_fault_is_found(name, tmp_path, monkeypatch):
    read, said = AT_FAULT[name]
    monkeypatch.setitem(READERS, 'at fault', Reader(lambda f: put(f, {'a.txt': '[1, 2]\n'}), read, 'a.txt', same=True))
    assert any(said in fault(o) for o in outcomes('at fault', tmp_path, 2))

# ---- readers

@pytest.mark.parametrize('name', READERS)
def test_reader(name, room, request):
    for n in READERS[name].needs: pytest.importorskip(n)
    stress = request.config.getoption('--stress')
    bad = [(o.name[1:], why) for o in outcomes(name, room, 1000 if stress else 20, not stress) if (why := fault(o))]
    assert not bad, f'{len(bad)} of them: {bad[:5]}'

ELSEWHERE = dict(   # public readers without a row of their own -> why
    read_datasets='calls the readers of captions and pairs by name', read_folders='decodes with as_photo, see photos', read_hybrid='decodes with as_photo, see photos', load_old="'an old hybrid model' reads all of the file",
    read_output='one of read_outputs', read_oof='one of read_oofs', read_arrays="'folds' and 'a member' read with it", read_weights='the half of load_checkpoint', read_both='the two halves of load_checkpoint',
    load_weights='takes tensors, no file', open_clip_encoder="reads with read_state, see 'a torch file'", read_title='takes a text')

def test_every_reader_has_a_row():
    rows = Path(__file__).with_name('hostile.py').read_text()
    public = {n for m in pkgutil.iter_modules(fabric_touch.__path__) if m.name != '_modidx' for n in importlib.import_module(f'fabric_touch.{m.name}').__all__ if re.match('(read|load|open)_', n)}
    lacks = {n for n in public if not re.search(rf'\b{n}\b', rows)}
    assert lacks == {*ELSEWHERE}, f'write a row for {lacks - {*ELSEWHERE}}; {({*ELSEWHERE}) - lacks} have one or are gone'

# ---- commands

@pytest.fixture(scope='module')
def shop(room):
    make_shop(room/'shop')
    return room

def test_every_command_has_a_row(): assert {*COMMANDS} == {n for n in cli.__all__ if n.startswith('ft_')}

@pytest.mark.parametrize('name', COMMANDS)
def test_command(name, shop, request):
    if name == 'ft_multimodal': pytest.importorskip('transformers'); pytest.importorskip('tokenizers')
    if name == 'ft_embed': pytest.importorskip('pyarrow')
    todo = command_attempts(name, shop, 99 if request.config.getoption('--stress') else 2)
    bad = [(o.name[1:3], why) for o in attempts(todo, 20, 1500) if (why := command_fault(o))]
    assert not bad, f'{len(bad)} of them: {bad[:5]}'

# ---- full disks

def test_full_disk(room):
    (room/'full').mkdir()
    bad = [(o.name[0], o.name[2], why) for o in attempts(full_attempts(room/'full'), 20) if (why := full_fault(o))]
    assert not bad, f'{len(bad)} of them: {bad[:5]}'

# ---- whatever is given, by hypothesis

FREE = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[*hypothesis.HealthCheck])
names = st.text(st.sampled_from('aé,;"\'\n\0\u202e\x1b/.=-{0}%'), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-2**70, 2**70) | st.floats() | names
values = st.recursive(leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(names, v, max_size=3), max_leaves=8)

def said(e): assert isinstance(e, FabricError) and 15 < len(str(e)) < 2000 and all(c.isprintable() or c in '\n\t' for c in str(e)), repr(str(e))

words = ['95', '% ', '5%', 'cotton', ' elastane', '/', ',', '\n', 'wool', '١٠٠', '½', '-', '1e400', 'NaN', '\0', '\u202e', ':', '100', '.', '%', 'körper', 'main', '；']

@given(st.lists(st.sampled_from(words)).map(''.join) | st.text(max_size=40))
@FREE
def test_blends(text):
    try: b = parse_blend(text)
    except FabricError as e: said(e)
    else: assert abs(sum(getattr(b, 'shares', b).values()) - 1) < .011 or abs(sum(getattr(b, 'shares', b).values()) - 100) < 1.1

@given(st.dictionaries(names, values, max_size=4))
@FREE
def test_cards(tmp_path_factory, card):
    folder = tmp_path_factory.mktemp('card')/'m'
    try: found = read_card(save_checkpoint(folder, {}, card))
    except FabricError as e: said(e); assert not list(folder.parent.iterdir())
    else: assert {k: found[k] for k in card if k not in ('format', 'versions', 'weights_sha256', 'card_sha256')} == card
    shutil.rmtree(folder.parent)

tables = st.lists(st.lists(names | st.sampled_from(['a', '100% cotton', '1', '5', 'x.png', '1e400', 'nan']), min_size=1, max_size=6), min_size=1, max_size=5)
heads = st.lists(st.sampled_from(['fabric', 'blend', 'softness', 'id', 'title', 'label', 'photos', '\u202e']), min_size=1, max_size=5)

@given(heads, tables)
@FREE
def test_tables(tmp_path_factory, head, rows):
    file = tmp_path_factory.mktemp('tables')/'t.csv'
    file.write_bytes(csv_bytes([head, *rows]))
    for read in (lambda p: read_fabrics(p, 'softness'), read_pages):
        try: assert len(read(file))
        except FabricError as e: said(e)
    shutil.rmtree(file.parent)

def mutated(make, read, form):
    "A test in which hypothesis chooses the attacks, one on top of the other, and the places they hit"
    @given(st.lists(st.tuples(st.sampled_from(sorted(ATTACKS[form])), st.integers(0, 999)), min_size=1, max_size=3), st.data())
    @FREE
    def test(tmp_path_factory, how, data):
        place = tmp_path_factory.mktemp('mutated'); f = place/'given'; f.mkdir(); make(f)
        file = data.draw(st.sampled_from(sorted(p for p in f.rglob('*') if p.suffix in ('.json', '.txt'))))
        old = raw = file.read_bytes()
        for attack, seed in how:
            try: raw = ATTACKS[form][attack](raw, Dice(seed, place))
            except Exception: raw = raw or old           # an attack on what another left
        file.write_bytes(raw)
        try: assert len(read(f).items)
        except FabricError as e: said(e)
        assert not (place/'STOLEN').exists()
        shutil.rmtree(place)
    return test

def small_coco(f):
    put_photos(f, 'images/a.png images/b.png')
    put(f, {'coco.json': json.dumps(COCO | dict(annotations=[dict(id=1, image_id=1, caption='a cloth')]))})

def small_deepfashion(f):
    put(f, {'list_attr_cloth.txt': '2\nattribute_name attribute_type\nstriped 1\ncotton 2\n', 'list_attr_img.txt': '2\nimage_name attribute_labels\nimg/a.jpg 1 -1\nimg/b.jpg -1 1\n',
            'list_bbox.txt': '2\nimage_name x_1 y_1 x_2 y_2\nimg/a.jpg 1 1 9 9\nimg/b.jpg 2 2 9 9\n'})

test_coco = mutated(small_coco, lambda f: read_coco(f/'coco.json', f/'images'), 'json')
test_deepfashion_files = mutated(small_deepfashion, read_deepfashion, 'txt')
