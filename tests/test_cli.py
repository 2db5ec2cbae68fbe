"The commands as a user runs them: what they write, what they print, and that an error is one line and leaves nothing behind."
import json, os, re, shutil, subprocess, sys
from pathlib import Path

import numpy as np, pytest
from PIL import Image

import fabric_touch
from conftest import DRIVER
from fabric_touch.core import TOUCHES, FabricError

BIN = Path(sys.executable).parent
MODELS = ('fused', 'blend', 'photo', 'most_frequent', 'ceiling')

def run(*args, cwd=None, **kwargs):
    "A command of the package, in a process of its own"
    return subprocess.run([BIN/args[0], *map(str, args[1:])], capture_output=True, text=True, cwd=cwd, env=dict(os.environ, OMP_NUM_THREADS='1', COLUMNS='200'), **{**dict(timeout=300), **kwargs})

def listing(folder): return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob('*'))

def one_line(stderr, command):
    "The single line of an error, without what other packages warn of"
    assert 'Traceback' not in stderr, stderr
    lines = [l for l in stderr.splitlines() if l.startswith(f'{command}: ')]
    assert len(lines) == 1 and stderr.rstrip().endswith(lines[0]) and len(lines[0]) < 1000, stderr
    return lines[0]

@pytest.fixture(scope='session')
def demo(request, tmp_path_factory):
    "(folder, finished process) of one `ft_demo --quick`, a minute's work"
    if 'site-packages' not in fabric_touch.__file__ and not request.config.getoption('--stress'): pytest.skip('ft_demo is run as users have it, from the wheel; --stress runs it here too')
    out = tmp_path_factory.mktemp('demo')/'new'/'out'
    return out, run('ft_demo', '--quick', '--out', out)

@pytest.fixture(scope='session')
def report(demo):
    assert demo[1].returncode == 0, demo[1].stdout + demo[1].stderr
    return json.loads((demo[0]/'report.json').read_text())

@pytest.fixture(scope='session')
def model(tmp_path_factory):
    "A model folder that needs no demo: nothing here depends on what it knows"
    from fabric_touch.touch import save_touch, touch_model
    return save_touch(touch_model('mlb', 'swatch'), tmp_path_factory.mktemp('model')/'model')

@pytest.fixture
def place(tmp_path):
    "A folder with a photo, good and bad"
    img = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8))
    img.save(tmp_path/'cloth.jpg'); (tmp_path/'cut.jpg').write_bytes((tmp_path/'cloth.jpg').read_bytes()[:3000]); (tmp_path/'empty.png').write_bytes(b'')
    return tmp_path

# ---- ft_demo

def test_demo_ends_well(demo):
    assert demo[1].returncode == 0, demo[1].stdout + demo[1].stderr
    out = demo[1].stdout
    assert 'Traceback' not in demo[1].stderr and str(demo[0]) in out
    assert len(re.findall(r'^ *\d+\.\d s  ', out, re.M)) >= 4                    # progress, with the time
    for t in TOUCHES: assert re.search(rf'^{t} +level [1-5] of 5', out, re.M), out
    for m in MODELS: assert m in out

def test_report_has_the_stated_form(report):
    assert set(report['touches']) == set(TOUCHES) and 0 < report['seconds'] < 600
    for touch in [*report['touches'].values(), report['mean']]:
        assert set(MODELS) <= set(touch)
        for name in MODELS:
            m = touch[name]
            assert {'spearman', 'rps', 'qwk', 'mae', 'exact', 'within_one'} <= set(m)
            for k in ('rps', 'mae', 'exact', 'within_one'):
                low, high = m[f'{k}_interval']
                assert m[k] >= 0 and low <= m[k] + 1e-9 and m[k] <= high + 1e-9 and np.isfinite([low, high]).all(), (name, k, m)
            if name != 'most_frequent': assert -1 <= m['spearman'] <= 1
    assert 'swatches' in report['data']                                           # what was measured on generated swatches says so

def test_report_is_strict_json(demo, report):
    def no(word): raise AssertionError(f'{word} is not JSON')
    json.loads((demo[0]/'report.json').read_text(), parse_constant=no)

@pytest.mark.parametrize('touch', TOUCHES)
@pytest.mark.parametrize('other', ['blend', 'photo'])
def test_both_together_beat_each_alone(report, touch, other):
    t = report['touches'][touch]
    assert t['fused']['spearman'] > t[other]['spearman']

@pytest.mark.parametrize('other', ['blend', 'photo'])
def test_on_the_mean_the_intervals_do_not_overlap(report, other):
    m = report['mean']
    assert m['fused']['spearman'] > m[other]['spearman'] and m['fused']['spearman_interval'][0] > m[other]['spearman_interval'][1], m

def test_no_model_beats_the_ceiling(report):
    for t in TOUCHES:
        m = report['touches'][t]
        assert m['fused']['spearman'] < m['ceiling']['spearman'] and m['fused']['rps'] > m['ceiling']['rps']

def test_what_the_demo_leaves(demo, report):
    out = demo[0]
    assert sorted(p.name for p in (out/'model').iterdir()) == ['card.json', 'model.safetensors']
    with Image.open(out/'report.png') as img: img.load(); assert min(img.size) > 400 and len(img.convert('L').getcolors(256)) > 50
    assert not [p for p in listing(out) if '.tmp' in p or '.old' in p]
    card = json.loads((out/'model'/'card.json').read_text())
    assert card['kind'] == 'touch' and [t[0] for t in card['targets']] == list(TOUCHES) and 'swatches' in card['data']

def test_demo_then_predict(demo, report, tmp_path):
    out = demo[0]
    photo = sorted((out/'swatches'/'images').iterdir())[0]
    before = listing(out)
    p = run('ft_predict', '--model', out/'model', '--image', photo, '--blend', '면 95% 폴리우레탄 5%', '--json', tmp_path/'a'/'said.json', '--png', tmp_path/'a'/'said.png')
    assert p.returncode == 0, p.stderr
    for t in TOUCHES: assert len(re.findall(rf'^{t} +level [1-5] of 5', p.stdout, re.M)) == 1, p.stdout
    said = json.loads((tmp_path/'a'/'said.json').read_text())
    assert said['image'] == str(photo) and said['blend'] == {'cotton': .95, 'polyurethane': .05} and list(said['touches']) == list(TOUCHES)
    for t, v in said['touches'].items():
        assert f"{t:12s} level {v['level']}" in p.stdout and abs(sum(v['probs']) - 1) < 1e-3
    with Image.open(tmp_path/'a'/'said.png') as img: img.load(); assert img.format == 'PNG' and min(img.size) > 200
    assert listing(tmp_path) == ['a', 'a/said.json', 'a/said.png'] and listing(out) == before

def test_demo_keeps_what_is_the_users(tmp_path):
    "A folder that happens to be called swatches is not the demo's to replace"
    from fabric_touch.demo import demo_fabrics
    (tmp_path/'swatches').mkdir(); (tmp_path/'swatches'/'my_thesis.txt').write_text('years of work')
    try: demo_fabrics(tmp_path, 4)
    except FabricError as e: assert 'swatches' in str(e)
    assert (tmp_path/'swatches'/'my_thesis.txt').exists()

# ---- errors: many in one process, since loading torch is what takes the time

def cases(place, model):
    "name -> (arguments after the good ones, words of the message)"
    copy = lambda name: Path(shutil.copytree(model, place/name))
    bad = copy('no_card'); (bad/'card.json').unlink()
    bad = copy('cut'); (bad/'model.safetensors').write_bytes((bad/'model.safetensors').read_bytes()[:5000])
    bad = copy('edited'); (bad/'card.json').write_text((bad/'card.json').read_text().replace('"mlb"', '"photo"'))
    (place/'folder').mkdir()
    return {
        'over 100': (['--blend', '92% NYLON / 28% ELASTANO'], ['120', 'not 100']), 'unknown fibre': (['--blend', '100% unobtainium'], ['unobtainium']),
        'layers': (['--blend', '100% POLIESTER + TPU + 100% POLIESTER'], ['layers']), 'no blend': (['--blend', ''], ['empty']), 'two lines': (['--blend', '50% cotton\n50% hay'], ['hay']),
        'lost photo': (['--image', 'lost.jpg'], ['lost.jpg', 'no such file']), 'cut photo': (['--image', 'cut.jpg'], ['cut.jpg', 'cannot be read']),
        'empty photo': (['--image', 'empty.png'], ['empty.png', 'empty']), 'a folder as photo': (['--image', 'folder'], ['folder']), 'no photo': (['--image', ''], []),
        'lost model': (['--model', 'nowhere'], ['nowhere', 'no such folder']), 'no card': (['--model', 'no_card'], ['no card.json']),
        'cut weights': (['--model', 'cut'], ['model.safetensors', 'cut off']), 'edited card': (['--model', 'edited'], ['card.json', 'changed']),
        'photo as model': (['--model', 'cloth.jpg'], ['cloth.jpg']), 'png of no kind': (['--png', 'said.xyz'], ['said.xyz']),
        'png without ending': (['--png', 'said'], ['said']), 'json in place of a folder': (['--json', 'folder'], ['folder']), 'png in place of a folder': (['--png', 'folder.png'], ['folder.png']),
        'json below a file': (['--json', 'cloth.jpg/said.json'], ['cloth.jpg'])}

@pytest.fixture(scope='session')
def failures(tmp_path_factory, model):
    "name -> (words, exit code, stdout, stderr, listing before, listing after)"
    place = tmp_path_factory.mktemp('errors')
    img = Image.fromarray(np.random.default_rng(0).integers(0, 256, (120, 140, 3), dtype=np.uint8))
    img.save(place/'cloth.jpg'); (place/'cut.jpg').write_bytes((place/'cloth.jpg').read_bytes()[:3000]); (place/'empty.png').write_bytes(b'')
    (place/'folder.png').mkdir()
    table, good, places = cases(place, model), dict(image='cloth.jpg', blend='95% cotton 5% spandex', model=model), {}
    todo = []
    for i, (name, (args, _)) in enumerate(table.items()):
        out = place/f'out_{i}'; out.mkdir()
        options = {f'--{k}': str(v) for k,v in good.items()} | {'--json': f'out_{i}/said.json', '--png': f'out_{i}/said.png'}
        options |= {args[0]: args[1]}
        if args[1].startswith('said'): options[args[0]] = f'out_{i}/{args[1]}'
        todo.append([str(BIN/'ft_predict'), *[o for pair in options.items() for o in pair]])
    before = listing(place)
    p = subprocess.run([sys.executable, '-W', 'ignore', '-c', DRIVER], input=json.dumps(todo), capture_output=True, text=True, cwd=place, timeout=200, env=dict(os.environ, OMP_NUM_THREADS='1'))
    assert p.returncode == 0, p.stderr
    found = json.loads(p.stdout.splitlines()[-1])
    return {name: (words, *f, [o for o in listing(place) if o not in before and o.startswith(f'out_{i}/')]) for i, ((name, (_, words)), f) in enumerate(zip(table.items(), found))} | {
        'everything': ([], 0, '', '', [o for o in listing(place) if o not in before and not o.startswith('out_')])}

NAMES = ['over 100', 'unknown fibre', 'layers', 'no blend', 'two lines', 'lost photo', 'cut photo', 'empty photo', 'a folder as photo', 'no photo', 'lost model', 'no card', 'cut weights',
         'edited card', 'photo as model', 'png of no kind', 'png without ending', 'json in place of a folder', 'png in place of a folder', 'json below a file']

@pytest.mark.parametrize('name', NAMES)
def test_an_error_is_one_line(failures, name):
    words, code, out, err, _ = failures[name]
    assert code == 1, (code, out, err)
    line = one_line(err, 'ft_predict')
    for w in words: assert w in line, line

@pytest.mark.parametrize('name', [*NAMES, 'everything'])
def test_an_error_leaves_nothing(failures, name): assert not failures[name][-1]

@pytest.mark.parametrize('name', NAMES)
def test_an_error_is_not_beside_a_prediction(failures, name):
    "Nothing on stdout that a script could take for an answer, when the answer was refused"
    if not name.startswith(('png', 'json')): assert 'level' not in failures[name][2]

@pytest.mark.once
def test_an_error_of_the_real_process(place, model):
    before = listing(place)
    p = run('ft_predict', '--model', model, '--image', 'cut.jpg', '--blend', '100% cotton', '--json', 'said.json', '--png', 'said.png', cwd=place)
    assert p.returncode == 1 and 'cut.jpg' in one_line(p.stderr, 'ft_predict') and not p.stdout.strip()
    assert listing(place) == before

def test_demo_into_a_file(place):
    before = listing(place)
    p = run('ft_demo', '--quick', '--out', 'cloth.jpg', cwd=place)
    assert p.returncode == 1 and 'cloth.jpg' in one_line(p.stderr, 'ft_demo')
    assert listing(place) == before

@pytest.mark.parametrize('args', [['--model', 'a'], ['--image', 'a', '--blend', 'b'], ['--nonsense']])
def test_what_is_missing_is_said(args, tmp_path):
    p = run('ft_predict', *args, cwd=tmp_path, timeout=60)
    assert p.returncode == 2 and 'usage' in p.stderr and 'Traceback' not in p.stderr and not listing(tmp_path)

# ---- the real thing, longer

@pytest.mark.stress
def test_the_full_demo(tmp_path):
    p = run('ft_demo', '--out', tmp_path/'out', timeout=900)
    assert p.returncode == 0, p.stderr
    mean = json.loads((tmp_path/'out'/'report.json').read_text())['mean']
    for other in ('blend', 'photo'): assert mean['fused']['spearman_interval'][0] > mean[other]['spearman_interval'][1]

@pytest.mark.stress
def test_demo_twice_gives_the_same(demo, report, tmp_path):
    p = run('ft_demo', '--quick', '--out', tmp_path/'out')
    assert p.returncode == 0, p.stderr
    again = json.loads((tmp_path/'out'/'report.json').read_text())
    assert again['touches'] == report['touches'] and again['mean'] == report['mean'] and again['example'] == report['example']
    p = run('ft_demo', '--quick', '--out', tmp_path/'out')                  # once more into the same folder
    assert p.returncode == 0, p.stderr

def test_demo_keeps_fabrics_in_its_own_form(tmp_path):
    "A user's fabrics.csv and images look like the demo's folder, but for the names of the pictures"
    from fabric_touch.demo import demo_fabrics
    (tmp_path/'swatches'/'images').mkdir(parents=True)
    (tmp_path/'swatches'/'images'/'linen_shirt.png').write_bytes(b'mine'); (tmp_path/'swatches'/'fabrics.csv').write_text('image,blend\n')
    with pytest.raises(FabricError, match='not what an earlier demo wrote'): demo_fabrics(tmp_path, 4)
    assert (tmp_path/'swatches'/'images'/'linen_shirt.png').read_bytes() == b'mine'
