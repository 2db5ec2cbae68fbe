"The repository's own contracts: README in step, modules in step with notebooks, packaging, imports, no pickles."
import ast, importlib.metadata as md, importlib.util as util, json, os, re, socket, subprocess, sys
from configparser import ConfigParser
from pathlib import Path

import pytest

import fabric_touch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(fabric_touch.__file__).parent
MODULES = sorted(p for p in PACKAGE.rglob('*.py'))
checkout = pytest.mark.skipif(not (ROOT/'nbs').is_dir(), reason='nbs/ is not beside tests/: this is not a checkout')
LATE = ('open_clip', 'albumentations', 'transformers', 'ultralytics', 'segment_anything', 'supervision', 'onnxruntime', 'ray')


def load_ci(name):
    "A module of .ci, with its neighbours at hand"
    spec = util.spec_from_file_location(name, ROOT/'.ci'/f'{name}.py')
    module = util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT/'.ci')
        spec.loader.exec_module(module)
    return module

def load_readme(): return load_ci('readme')

def notebooks():
    return sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not any(s[0] in '._' for s in p.relative_to(ROOT).parts))

def code(path):
    "Sources of a notebook's code cells"
    return [''.join(c['source']) for c in json.loads(path.read_text(encoding='utf-8'))['cells'] if c['cell_type'] == 'code']

def settings():
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def python(program, *args):
    "Run a program text in a fresh interpreter, away from the checkout; what it printed"
    r = subprocess.run([sys.executable, '-c', program, *args], capture_output=True, text=True, cwd=PACKAGE.parent, timeout=300)
    assert r.returncode == 0, r.stderr
    return r.stdout.strip()


@checkout
def test_readme_is_made_from_the_index():
    assert (ROOT/'README.md').read_text(encoding='utf-8') == load_readme().readme(ROOT/'nbs'/'index.ipynb'), 'run python .ci/readme.py'

@checkout
def test_readme_holds_both_commands_within_100_lines():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    assert 'pip install . && ft_demo' in text.splitlines()
    assert load_readme().command(text) == "pip install -e '.[dev]' && nbdev_test && pytest -n auto --dist loadfile tests"
    assert len(text.splitlines()) <= 100

@checkout
def test_readme_maker_on_a_small_index(tmp_path):
    def cell(kind, source, *outputs): return dict(cell_type=kind, source=source, outputs=list(outputs))
    def result(**data): return dict(output_type='execute_result', data={k.replace('_', '/'): v for k, v in data.items()})
    nb = dict(cells=[
        cell('markdown', '# cloth\n![a weave](images/weave.png) [blends](01_blends.ipynb#x) [site](https://example.org/a) `[no](link)`'),
        cell('code', '#| hide\nsecret = 1'),
        cell('code', '#| echo: false\nprint("seen")', dict(output_type='stream', name='stdout', text='10%\r100%\nseen\n')),
        cell('code', '#| fig-alt: nothing\nx = 1\nx', result(text_plain='1')),
        cell('code', 'plot()', result(text_plain='<Figure size 10x10>', image_png='iVBO')),
        cell('code', 'frame', result(text_plain='a table', text_html='<table>'))], metadata={}, nbformat=4, nbformat_minor=5)
    path = tmp_path/'index.ipynb'
    path.write_text(json.dumps(nb))
    made = load_readme().readme(path)
    assert '![a weave](nbs/images/weave.png) [blends](nbs/01_blends.ipynb#x) [site](https://example.org/a) `[no](link)`' in made
    assert made.endswith('```\n100%\nseen\n```\n\n```python\nx = 1\nx\n```\n\n```\n1\n```\n\n```python\nplot()\n```\n\n```python\nframe\n```\n\n```\na table\n```\n')
    assert 'secret' not in made and 'Figure' not in made and '<table>' not in made

@pytest.fixture
def small_site(tmp_path, monkeypatch):
    "The module .ci/docs.py, looking at a site of three pages"
    docs = load_ci('docs')
    monkeypatch.setattr(docs, 'NBS', tmp_path)
    def cell(kind, source, **data): return dict(cell_type=kind, source=source, outputs=[dict(output_type='execute_result', data=data)] if data else [])
    for name, cells in {
        '00_cloth.ipynb': [cell('markdown', '# cloth\n> What it is.'), cell('markdown', '## The `plain` weave (*of two*)\n\n## Twice\n\n## Twice\n\n```sh\n# no heading\n```'),
                           cell('code', '#| export\ndef weave(n): return n\nclass Loom: pass')],
        '10_yarn.ipynb': [cell('markdown', '# yarn\n> Spun.')],
        '50_cloth.ipynb': [cell('markdown', '# cloth, measured\n> How much.')]}.items():
        (tmp_path/name).write_text(json.dumps(dict(cells=cells, metadata={}, nbformat=4, nbformat_minor=5)))
    return docs

@checkout
def test_docs_finds_dead_links_and_sections(small_site, tmp_path):
    cloth, yarn = tmp_path/'00_cloth.ipynb', tmp_path/'10_yarn.ipynb'
    good = '#the-plain-weave-of-two #twice-1 00_cloth.ipynb 10_yarn.ipynb yarn.html 00_cloth.ipynb#loom.warp 00_cloth.ipynb#weave https://example.org/a#b'
    bad = {'#no-heading': "no section 'no-heading'", '10_yarn.ipynb#twice': "no section 'twice'", '00_cloth.ipynb#weft': "no section 'weft'", '00_yarn.ipynb': 'dead link',
           '10_yarn.html': 'dead link', 'https://fabric-touch.github.io/fabric_touch/wool.html': 'dead link', 'https://github.com/fabric-touch/fabric_touch/blob/main/WOOL.md': 'dead link'}
    def faults(target): return list(small_site.link_faults(f'[x]({target})', tmp_path, here=cloth))
    assert {t: faults(t) for t in good.split() if faults(t)} == {}
    for t, said in bad.items(): assert len(faults(t)) == 1 and faults(t)[0].startswith(said), (t, faults(t))
    assert list(small_site.link_faults('![](https://example.org/a.png)', tmp_path, here=yarn)) == ['a picture without alternative text: https://example.org/a.png']
    assert list(small_site.link_faults('[`spin`](https://example.org)', tmp_path, here=yarn)) == ['a link around a name that nbdev links itself: [`spin`](https://example.org) (write the name, and the link beside it)']

@checkout
def test_docs_finds_pages_that_would_be_lost(small_site):
    assert [p.name for p in small_site.pages()['cloth.html']] == ['00_cloth.ipynb', '50_cloth.ipynb'] and len(small_site.pages()['yarn.html']) == 1
    def head(text): return list(small_site.head_faults(dict(cells=[dict(cell_type='markdown', source=text)])))
    assert head('# yarn\n\n> Spun.\n\n- image: a.png') == []
    assert head('# yarn\n> Spun.\n\n![lost](a.png)') == ['lost on the site, give it a cell of its own: ![lost](a.png)']
    assert len(head('# yarn')) == len(head('yarn')) == 1

@checkout
def test_every_module_comes_from_one_notebook():
    exports = [m[1] for p in notebooks() for c in code(p) for m in re.finditer(r'^#\s*\|\s*default_exp\s+(\S+)', c, re.M)]
    assert len(exports) == len(set(exports)), 'two notebooks make one module'
    folder = ROOT/'fabric_touch'
    there = {p.relative_to(folder).with_suffix('').as_posix().replace('/', '.') for p in folder.rglob('*.py') if p.name not in ('__init__.py', '_modidx.py')}
    assert there == set(exports), 'a module without its notebook, or a notebook that was not exported'

@checkout
def test_notebooks_really_run():
    "Nothing is switched off: nbdev_test would report it as passing"
    off = [(p.name, m[0]) for p in notebooks() for m in re.finditer(r'skip_exec:\s*true|#\s*\|\s*eval:\s*false|#\s*\|\s*notest', p.read_text(encoding='utf-8'))]
    assert not [o for o in off if not re.match(r'[5-8]\d_', o[0])], off

@checkout
def test_contributing_names_commands_that_exist():
    text = (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8')
    named = set(re.findall(r'\b(nbdev_\w+|exec_nb|ft_\w+)\b', text))
    pytest.importorskip('nbdev', reason='nbdev is a development tool')
    scripts = {e.name for e in md.entry_points(group='console_scripts')}
    assert named and named <= scripts, named - scripts
    assert not {'nbdev_prepare', 'nbdev_docs', 'nbdev_readme'} & named, 'these need the quarto program'

@checkout
def test_requirements_are_open_and_permissive():
    cfg = settings()
    core = cfg['requirements'].split()
    assert {'torch', 'torchvision'} <= set(core), 'torch is never pinned'
    assert not any(r.startswith(('ultralytics', 'nbdev', 'ray')) for r in core)
    assert not any('==' in r for r in core)

@checkout
def test_version_is_the_same_everywhere():
    version = settings()['version']
    assert fabric_touch.__version__ == version
    assert f'## {version}' in (ROOT/'CHANGELOG.md').read_text(encoding='utf-8')

def test_installed_version_is_the_package_version():
    assert md.version('fabric_touch') == fabric_touch.__version__

@pytest.mark.parametrize('name', ['ft_demo', 'ft_predict'])
def test_command_is_installed(name):
    found = [e for e in md.entry_points(group='console_scripts') if e.name == name]
    assert len(found) == 1 and callable(found[0].load())

@pytest.mark.once
def test_import_is_late_where_it_is_heavy():
    "No module of ours brings in an optional or slow library by being imported"
    program = '''import importlib, pkgutil, sys, fabric_touch
for m in pkgutil.walk_packages(fabric_touch.__path__, "fabric_touch."):
    if not m.name.endswith("_modidx"): importlib.import_module(m.name)
print(*[n for n in sys.argv[1:] if n in sys.modules])'''
    assert python(program, *LATE) == ''

@pytest.mark.once
@pytest.mark.parametrize('module', ['albumentations', 'onnxruntime'])
def test_nothing_calls_home(tmp_path, monkeypatch, module):
    "Libraries that ask for news or report their use as they are imported are kept from it, where the user's environment says nothing"
    pytest.importorskip(module)
    for k in ('NO_ALBUMENTATIONS_UPDATE', 'ORT_DISABLE_TELEMETRY'): monkeypatch.delenv(k, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    asked = python(f"""import sys
sys.addaudithook(lambda what, args: print(what, args) if what in ('socket.connect', 'socket.getaddrinfo') else None)
from fabric_touch.core import need
need('{module}')""")
    assert not asked and not list(tmp_path.rglob('*onnx*'))

@pytest.mark.parametrize('module', ['core', 'blends'])
def test_ground_needs_no_torch(module):
    assert python(f'import sys, fabric_touch.{module}; print("torch" in sys.modules)') == 'False'

@pytest.mark.parametrize('path', MODULES, ids=lambda p: p.stem)
def test_nothing_unpickles(path):
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module] if isinstance(node, ast.ImportFrom) else []
        assert not {'pickle', 'dill', 'joblib', 'cloudpickle', 'shelve'} & {str(n).split('.')[0] for n in names}, f'line {node.lineno}'
        if not isinstance(node, ast.Call): continue
        called = ast.unparse(node.func)
        given = {k.arg: ast.unparse(k.value) for k in node.keywords}
        if called == 'torch.load': assert given.get('weights_only') == 'True', f'line {node.lineno}: torch.load without weights_only=True'
        if called == 'np.load': assert given.get('allow_pickle', 'False') == 'False', f'line {node.lineno}'
        assert called.split('.')[-1] not in ('load_learner', 'read_pickle', 'to_pickle'), f'line {node.lineno}: {called}'

def test_tests_use_no_network():
    with socket.socket() as s, pytest.raises(RuntimeError, match='no network'): s.connect(('192.0.2.1', 80))
    with pytest.raises(RuntimeError, match='no network'): socket.getaddrinfo('fabric.example', 443)
    with socket.socket() as server, socket.socket() as client:
        server.bind(('127.0.0.1', 0)); server.listen()
        client.connect(server.getsockname())
    assert os.environ['HF_HUB_OFFLINE'] == '1'
