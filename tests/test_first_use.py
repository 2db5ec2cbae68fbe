"The first hour with an installed package: the README as it stands, each command's help, and each command with a real input. Photos that are absent are skipped by name."
import ast, importlib.metadata as md, inspect, json, os, re, shutil, subprocess, sys
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

import pandas as pd, pytest
from PIL import Image

from conftest import DRIVER
from fabric_touch import cli
from fabric_touch.core import TOUCHES, data_dir, has_data
from fabric_touch.options import MultimodalConfig

BIN, README = Path(sys.executable).parent, Path(__file__).resolve().parents[1]/'README.md'
COMMANDS = sorted(e.name for e in md.distribution('fabric_touch').entry_points if e.group == 'console_scripts')
NEEDS = dict(find_garments='the weights of YOLOS and SAM')             # what the README shows and no test can run: name called -> what is not here
ALL_GIVEN = ('ft_demo', 'ft_multimodal')                              # each option has a default: these begin at once
MULTIMODAL = all(find_spec(n) for n in ('transformers', 'tokenizers', 'sacrebleu'))
readme = pytest.mark.skipif(not README.exists(), reason='README.md is not beside tests/')

def drive(lines, place, *after):
    "Command lines in one fresh process: (exit code, output, errors) of each, and what the program lines `after` them print"
    lines = [[*map(str, (BIN/c if c in COMMANDS else c, *args))] for c, *args in lines]
    p = subprocess.run([sys.executable, '-W', 'ignore', '-c', '\n'.join([DRIVER, *after])], input=json.dumps(lines), capture_output=True, text=True, cwd=place, timeout=300,
                       env=dict(os.environ, OMP_NUM_THREADS='1', COLUMNS='200', TOKENIZERS_PARALLELISM='false'))
    assert p.returncode == 0, p.stderr
    found, *rest = p.stdout.splitlines()
    return json.loads(found), rest

def one_line(err, command):
    "The single line of an error, without what other packages warn of"
    lines = [l for l in err.splitlines() if l.startswith(f'{command}: ')]
    assert 'Traceback' not in err and len(lines) == 1 and err.rstrip().endswith(lines[0]) and len(lines[0]) < 1000, err
    return lines[0]

# ---- the commands there are

def test_every_command_is_installed():
    "A new ft_ function without its entry point, or the other way round"
    assert COMMANDS == sorted(n for n in cli.__all__ if n.startswith('ft_')), 'settings.ini and 41_cli differ, or the package was not installed again: pip install -e .'

@pytest.fixture(scope='module')
def told(tmp_path_factory):
    "name -> --help, (exit code, output, errors); the same for no argument at all, where some are needed; whether torch was loaded, and what was written"
    place = tmp_path_factory.mktemp('told')
    run = lambda names, *args: drive([[c, *args] for c in names], place, "print('torch' in sys.modules)")
    helps, torch = run(COMMANDS, '--help')
    needy = [c for c, h in zip(COMMANDS, helps) if '(required' in h[1]]
    bare, torch_too = run(needy)
    return dict(zip(COMMANDS, helps)), dict(zip(needy, bare)), torch + torch_too, list(place.iterdir())

def options(text):
    "Option, or argument without a name, in order -> the words beside or below it"
    lines = re.findall(r'^  (--)?(\w+)(?: [A-Z]\w*(?: \[.*?\])?)?\s+(\S.*)', text.partition('arguments:' if 'arguments:' in text else 'options:')[2], re.M)
    return {name: words for _, name, words in lines}

@pytest.mark.parametrize('name', COMMANDS)
def test_help_names_every_option(told, name):
    code, out, err = told[0][name]
    assert code == 0 and out.startswith(f'usage: {name} ') and not err, out + err
    takes, said = inspect.signature(getattr(cli, name)).parameters.values(), options(out)
    stated = [p.name for p in takes if p.kind is not p.VAR_KEYWORD] or [f.name for f in fields(MultimodalConfig)]
    assert list(said) == stated                                        # in the order of the function or of the table of settings
    assert all(len(v) >= 10 and v[0] != '-' for v in said.values()), said
    assert (getattr(cli, name).__doc__ or '?') in ' '.join(out.split())

def test_help_is_quick(told):
    "Neither help nor a refusal waits for torch, and neither leaves anything"
    assert told[2:] == (['False', 'False'], [])

@pytest.mark.parametrize('name', [c for c in COMMANDS if c not in ALL_GIVEN])
def test_no_argument_at_all(told, name):
    code, out, err = told[1][name]
    needed = [o for o, v in options(told[0][name][1]).items() if '(required)' in v]
    assert code == 2 and not out and 'Traceback' not in err and f'usage: {name} ' in err and needed and all(o in err.upper() for o in map(str.upper, needed)), err

# ---- the README

def blocks():
    "(language, content, the plain fence right after it or '') of each block of code in the README"
    text = README.read_text(encoding='utf-8') if README.exists() else ''
    found = re.findall(r'^```(\w*)\n(.*?)^```$', text, re.M | re.S)
    after = [(t if not k else '') for k, t in found[1:]] + ['']
    return [(k, t, a) for (k, t), a in zip(found, after) if k]

def runs(block): return not any(n in block for n in NEEDS)

def program(texts):
    "Blocks as one program that shows the last value of each, as a notebook does"
    tree = ast.parse('')
    for b in map(ast.parse, texts):
        if isinstance(b.body[-1], ast.Expr): b.body[-1].value = ast.Call(ast.Name('print'), [ast.Call(ast.Name('repr'), [b.body[-1].value], [])], [])
        tree.body += b.body
    return ast.unparse(ast.fix_missing_locations(tree))

def form(text):
    "What is printed without its numbers and how sure it is"
    return [re.sub(r'\d+', 'N', l.replace('(not sure)', '')).split() for l in text.strip().splitlines()]

@readme
def test_readme_example(first):
    out = good(first.said['readme'])
    stated = [a for k, b, a in blocks() if k == 'python' and runs(b) and a]
    assert len(stated) == 1 and form(out) == form(stated[0]), out
    for line, touch in zip(out.splitlines(), TOUCHES):
        level, shares = re.fullmatch(rf'{touch} +level (\d) of 5((?: +\(not sure\))?(?: +\d+%){{5}})', line).groups()
        assert 1 <= int(level) <= 5 and abs(sum(map(int, re.findall(r'(\d+)%', shares))) - 100) <= 2
    assert sorted(p.name for p in (first.place/'swatches').iterdir()) == ['fabrics.csv', 'images']

@readme
def test_readme_commands_are_those_there_are(told):
    text = README.read_text(encoding='utf-8')
    lines = [l for k, b, _ in blocks() if k == 'sh' for l in b.splitlines()] + re.findall(r'`(ft_[^`\n]*)`', text)
    used = [(m[1], re.findall(r'--(\w+)', m[2])) for l in lines for m in re.finditer(r'\b(ft_\w+)((?: +(?!&&)[^ ]+)*)', l) if m[1] not in ('ft_demo_out',)]
    assert used
    for page in re.findall(r"echo '(.*)' > page\.json", text): assert {*json.loads(page)} <= {'title', 'photos', 'label', 'fabric_photos'}
    for name, given in used: assert name in COMMANDS and {*given} <= {'help', *options(told[0][name][1])}, (name, given)

def shown():
    "Code that is shown and not run: blocks that need published weights, and calls within the text"
    text = README.read_text(encoding='utf-8') if README.exists() else ''
    return [b for k, b, _ in blocks() if k == 'python' and not runs(b)] + re.findall(r'`(\w+\([^`\n]+\))`', text)

@readme
def test_readme_calls_what_there_is(first):
    "What is shown and not run: it is imported from where it says, and its calls fit the signatures"
    assert shown() and good(first.said['fits']).split() == ['fits']*len(shown())

@readme
@pytest.mark.skipif(not find_spec('supervision'), reason='fabric_touch[garments] is not installed')
@pytest.mark.skipif(not has_data('clothing_small'), reason='clothing_small is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
def test_readme_garments_with_stand_ins(first):
    "The line on garments as it stands, with something small under the names of its detector and its segmenter"
    assert good(first.said['garments']).split() == ['1', 'pants']

# ---- each command with a real input: one process for all, since loading torch is what takes the time, and the README first, which so has it fresh

CLASSES, FILE = ('hat', 'pants', 'shoes'), 'mobilenetv2_100_tfptq_fp16.pth'
PARTS = """
from safetensors.torch import save_file
from fabric_touch.core import seeded
from fabric_touch.touch import save_touch, touch_model
with seeded(0): save_touch(touch_model('mlb', 'swatch'), '../model')
"""
WORDS = """
from fabric_touch.sequences import text_encoder
with seeded(0): net = text_encoder('tiny', False, d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2, vocab_size=1000, feed_forward_proj='relu').net
save_file({k: v.contiguous().clone() for k, v in net.state_dict().items()}, '../t5.safetensors')
"""
FITS = """
import ast, importlib, inspect, json, sys
from fabric_touch._modidx import d
WHERE = {k.removeprefix(m + '.'): m for m, names in d['syms'].items() for k in names}
for text in json.loads(open(sys.argv[1], encoding='utf-8').read()):
    tree = ast.parse(text)
    exec('\\n'.join(ast.unparse(n) for n in tree.body if isinstance(n, (ast.Import, ast.ImportFrom))), {})
    for c in ast.walk(tree):
        if isinstance(c, ast.Call) and isinstance(c.func, ast.Name):
            called = getattr(importlib.import_module(WHERE[c.func.id]), c.func.id)
            inspect.signature(called).bind(*c.args, **{k.arg: k.value for k in c.keywords})
    print('fits')
"""
GARMENTS = """
import json, os, sys
from unittest.mock import patch
from fabric_touch.detectors import DETECTORS, SEGMENTERS, Detector, box_segmenter, found_boxes
from fabric_touch.garments import find_garments
from fabric_touch.titles import read_title
line, = [b for b in json.loads(open(sys.argv[1], encoding='utf-8').read()) if 'find_garments' in b]
yolos = lambda: Detector('stand-in', lambda img: found_boxes([[20, 30, img.width - 20, img.height - 30]], ['pants'], [.9]))
assert 'yolos' in DETECTORS and 'sam_vit_b' in SEGMENTERS
here = os.getcwd()
os.chdir(sys.argv[2])
try:
    with patch.dict(DETECTORS, yolos=yolos), patch.dict(SEGMENTERS, sam_vit_b=box_segmenter): found = eval(line)
finally: os.chdir(here)
print(len(found), found[0].category)
"""

def few(folder, n, start=0):
    "Some photos of a real data set"
    name, *rest = Path(folder).parts
    return sorted(p for p in data_dir(name).joinpath(*rest).iterdir() if p.is_file())[start:start + n]

def telas():
    "A fabric whose label can be, and one whose label cannot"
    d = pd.read_csv(data_dir('telas_luciana')/'fabrics.csv')
    d = d.assign(photo=[str(data_dir('telas_luciana')/'images'/f) for f in d.file])
    return d[d.composition.str.fullmatch(r'\d+% POLIESTER */ *\d+% ELASTANO', na=False)].iloc[0], d[d.composition == '92% NYLON / 28% ELASTANO'].iloc[0]

def predict_lines(d):
    good, bad = telas()
    return [['ft_predict', '--model', d/'model', '--image', r.photo, '--blend', r.composition, '--json', d/f'{n}.json', '--png', d/f'{n}.png'] for n, r in dict(good=good, bad=bad).items()]

def train_lines(d):
    for c in CLASSES:
        for part, at, n in (('cloth', 0, 8), ('new', 8, 2)):
            (d/part/c).mkdir(parents=True)
            for p in few(f'clothing_small/{c}', n, at): shutil.copy(p, d/part/c)
    return [['ft_train', '--data_dir', d/'cloth', '--mode', 'mobilenet', '--mobilenet', 'mobilenetv2_tf', '--mobilenet_weights', data_dir('weights')/FILE, '--epochs', 8, '--batch_size', 8, '--store', d/'store', '--output_dir', d/'trained']]

def readme_lines(d):
    if not README.exists(): return {}
    (d/'garments').mkdir(); (d/'shown.json').write_text(json.dumps(shown())); (d/'fits.py').write_text(FITS); (d/'garments.py').write_text(GARMENTS)
    if not find_spec('supervision') or not has_data('clothing_small'): return dict(fits=[[d/'fits.py', d/'shown.json']])
    shutil.copy(few('clothing_small/pants', 1)[0], d/'garments'/'photo.jpg')
    return dict(fits=[[d/'fits.py', d/'shown.json']], garments=[[d/'garments.py', d/'shown.json', d/'garments']])

def evaluate_lines(d): return [['ft_evaluate', '--data-dir', d/'cloth', '--checkpoint', d/'trained'/'checkpoint_mobilenet_best', '--store', d/'store', '--output_dir', d/'judged']]
def sort_lines(d): return [['ft_sort', '--input_dir', d/'new', '--output_dir', d/'sorted', '--checkpoint', d/'trained'/'checkpoint_mobilenet_best']]

def multimodal_lines(d):
    (d/'coco'/'images').mkdir(parents=True)
    known = json.loads((data_dir('coco_mini')/'coco_mini.json').read_text())
    known['images'] = known['images'][:10]
    for r in known['images']: shutil.copy(data_dir('coco_mini')/'images'/r['file'], d/'coco'/'images')
    (d/'coco'/'coco_mini.json').write_text(json.dumps(known))
    given = dict(datasets='coco', root_dir=d, result_dir=d/'written', image_model_name='mobilenetv2_tf', image_weights=data_dir('weights')/FILE, language_model_name='tiny', language_weights=d/'t5.safetensors', tokenizer='train',
                 vocab_size=200, loc_vocab_size=10, image_vocab_size=32, d_model=16, num_layers=1, num_heads=2, d_ff=32, max_target_length=60, num_steps=4, batch_size=8, valid=.2, test=.2, store=d/'store')
    return [['ft_multimodal', '--ffn', '--truncate', *(o for k, v in given.items() for o in (f'--{k}', v))], ['ft_multimodal']]

def product_page(d):
    "A shop's page of real photos and a real label; its files beside it"
    cloth = telas()[0]
    (d/'page').mkdir()
    shutil.copy(few('clothing_small/pants', 1)[0], d/'page'/'worn.jpg'); shutil.copy(cloth.photo, d/'page'/'cloth.jpg')
    (d/'page'/'page.json').write_text(json.dumps(dict(title='남자 면바지', photos=['worn.jpg'], label=cloth.composition, fabric_photos=['cloth.jpg']), ensure_ascii=False), encoding='utf-8')
    return d/'page'/'page.json'

def product_lines(d): return [['ft_product', product_page(d), '--out', d/'product', '--touch', d/'model']]

def embed_lines(d):
    (d/'look').mkdir()
    for p in few('clothing_small/pants', 3): shutil.copy(p, d/'look')
    (d/'look'/'half.jpg').write_bytes(few('clothing_small/pants', 1)[0].read_bytes()[:500])
    return [['ft_embed', d/'look', '--out', d/'vectors', '--batch-size', 2]]

# command -> its lines for a folder, and the data sets that they are made of; ft_demo makes its own, in tests/test_cli.py
REAL = dict(ft_predict=(predict_lines, 'telas_luciana'), ft_train=(train_lines, 'clothing_small', 'weights'), ft_evaluate=(evaluate_lines, 'clothing_small', 'weights'),
            ft_sort=(sort_lines, 'clothing_small', 'weights'), ft_multimodal=(multimodal_lines, 'coco_mini', 'weights'), ft_product=(product_lines, 'clothing_small', 'telas_luciana'),
            ft_embed=(embed_lines, 'clothing_small'))

def absent(name): return [n for n in REAL[name][1:] if not has_data(n)]
def real(name): return pytest.mark.skipif(bool(absent(name)), reason=f"{', '.join(absent(name))} not here; set FABRIC_TOUCH_DATA to the folder that holds it")

def test_every_command_has_a_real_input(): assert {*COMMANDS} == {'ft_demo', *REAL}

@dataclass
class First:
    place:Path                                                         # the folder, empty at first, that all ran in
    folder:Path                                                        # beside it, where the commands read and write
    said:dict                                                          # name -> (exit code, output, errors) of each of its lines

@pytest.fixture(scope='module')
def first(tmp_path_factory):
    "The README's example, then every command with its real input, in one process"
    d = tmp_path_factory.mktemp('first')
    (d/'empty').mkdir()
    lines = dict(readme=[[d/'readme.py']] if README.exists() else [], parts=[[d/'parts.py']]) | {c: f(d) for c, (f, *_) in REAL.items() if c in COMMANDS and not absent(c)} | readme_lines(d)
    (d/'readme.py').write_text(program([b for k, b, _ in blocks() if k == 'python' and runs(b)]), encoding='utf-8'); (d/'parts.py').write_text(PARTS + WORDS*MULTIMODAL)
    found = iter(drive([l for ls in lines.values() for l in ls], d/'empty')[0])
    said = {c: [next(found) for _ in ls] for c, ls in lines.items()}
    good(said['parts'])
    return First(d/'empty', d, said)

def good(said, n=0):
    code, out, err = said[n]
    assert code == 0 and 'Traceback' not in err, out + err
    return out

@real('ft_predict')
def test_predict(first):
    "A photo of real cloth with its Spanish label; and a label that cannot be, beside it"
    out = good(first.said['ft_predict'])
    assert [l.split()[0] for l in out.splitlines() if l.split()[0] in TOUCHES] == [*TOUCHES] and '92% polyester, 8% spandex' in out
    assert [*json.loads((first.folder/'good.json').read_text())['touches']] == [*TOUCHES]
    with Image.open(first.folder/'good.png') as img: assert min(img.size) > 200
    code, out, err = first.said['ft_predict'][1]
    line = one_line(err, 'ft_predict')
    assert code == 1 and not out and '92% NYLON / 28% ELASTANO' in line and '120' in line
    assert not [*first.folder.glob('bad.*')]

@real('ft_train')
def test_train(first):
    out = good(first.said['ft_train'])
    assert 'most_frequent' in out and str(first.folder/'trained'/'checkpoint_mobilenet_best') in out
    assert {'checkpoint_mobilenet_best', 'checkpoint_mobilenet_last', 'history.csv', 'history.png', 'validation.csv'} <= {p.name for p in (first.folder/'trained').iterdir()}

@real('ft_evaluate')
def test_evaluate(first):
    out = good(first.said['ft_evaluate'])
    valid = pd.read_csv(first.folder/'trained'/'validation.csv')
    assert f'{len(valid)} photos are scored' in out and 0 < len(valid) < 24
    d = pd.read_csv(first.folder/'judged'/'predictions.csv')
    assert len(d) == len(valid) and {*d['true'], *d.predicted} <= {*CLASSES}
    for name in ('confusion.png', 'reliability.png'):
        with Image.open(first.folder/'judged'/name) as img: assert min(img.size) > 100

@real('ft_sort')
def test_sort(first):
    "Photos that no one trained on: each in one folder, more right than by chance, and the originals where they were"
    good(first.said['ft_sort'])
    new, put = ({p.read_bytes(): p.parent.name for p in (first.folder/f).rglob('*.jpg')} for f in ('new', 'sorted'))
    assert put.keys() == new.keys() and len(new) == 6 and {*put.values()} <= {*CLASSES}
    assert sum(new[k] == put[k] for k in new) >= 4

@real('ft_multimodal')
def test_multimodal(first):
    "A few steps on a few captions; where the extra is absent, one line that says how to get it"
    (code, out, err), bare = first.said['ft_multimodal']
    assert bare[0] == 1 and one_line(bare[2], 'ft_multimodal') and not bare[1]
    if MULTIMODAL: assert code == 0 and 'coco: 50 captions of 10 photos' in out and f"wrote {first.folder/'written'}" in out and (first.folder/'written'/'scores.csv').exists(), out + err
    else: assert code == 1 and 'fabric_touch[multimodal]' in one_line(err, 'ft_multimodal')

# LEAD: ft_product's place. What it is given stands in product_page and product_lines; say here what it is to leave

@real('ft_product')
def test_product(first):
    "A shop's page, written by hand: a title, a photo, a label, a close photo of the cloth"
    out, found = good(first.said['ft_product']), json.loads((first.folder/'product'/'product.json').read_text())
    assert f"wrote {first.folder/'product'}" in out and found['categories'] == ['pants'] and found['failures'] == [] and {p['role'] for p in found['photos']} == {'product', 'fabric'}
    assert found['blend']['shares'] == {'polyester': .92, 'spandex': .08} and set(found['touches']) == {*TOUCHES}
    assert (first.folder/'product'/'index.html').stat().st_size > 1000
    with Image.open(first.folder/'product'/'report.png') as img: assert min(img.size) > 200

@real('ft_embed')
def test_embed(first):
    "Photos as a shop has them, one of them cut off: vectors, and a row that says why; where the extra is absent, one line that says how to get it"
    code, out, err = first.said['ft_embed'][0]
    if not find_spec('pyarrow'): assert code == 1 and 'fabric_touch[scale]' in one_line(err, 'ft_embed'); return
    d = pd.concat(map(pd.read_parquet, (first.folder/'vectors'/'shards').rglob('*.parquet')))
    assert code == 0 and '4 rows in 1 shards' in out and '1 rows of these failed' in out, out + err
    assert len(d) == 4 and {*d.path[d.error.notna()]} == {*d.path[d.vector.isna()]} == {'half.jpg'} and {len(v) for v in d.vector.dropna()} == {128}

# ---- the folder that all of it ran in

def test_nothing_else_is_left(first):
    "Commands write where they are told to"
    assert sorted(p.name for p in first.place.iterdir()) == (['swatches'] if README.exists() else [])
