#!/usr/bin/env python3
"""Make README.md from nbs/index.ipynb. Only the standard library is used.

    python .ci/readme.py            write README.md
    python .ci/readme.py --check    compare it with what would be written; the difference and exit 1 if they differ
    python .ci/readme.py --command  print the README's test command

Markdown cells are taken as they are, with relative addresses turned round to the top folder (a file outside nbs/ is named in the notebook
by its full address, so that the docs site finds it, and becomes relative here). Code cells become python fences without
their `#|` lines, text outputs plain fences. Left out: cells flagged `hide` or `include: false`, the source under `echo: false`, the outputs
under `output: false`, and figures that cells draw: a picture for the README is a file, linked from a markdown cell.
"""
import difflib, json, posixpath, re, sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTE = '<!-- Made from nbs/index.ipynb by .ci/readme.py. Edit the notebook, not this file. -->'
CODE = re.compile(r'(^(?P<f>```+|~~~+).*?^(?P=f)[ \t]*$|(?P<t>`+)(?!`).+?(?<!`)(?P=t)(?!`))', re.M | re.S)  # fences and code spans
LINK = re.compile(r'(\]\(\s*<?)([^)\s>]+)|(<(?:img|a|source)\b[^>]*?\b(?:src|href|srcset)=["\'])([^"\']+)|(^ {0,3}\[[^\]]+\]:\s*<?)([^\s>]+)', re.M)


def text(x): return ''.join(x) if isinstance(x, list) else x or ''

def flags(source):
    "The `#| name: value` lines of a code cell, as a dict"
    found = re.findall(r'^#[ \t]*\|[ \t]*([\w-]+)[ \t]*:?[ \t]*(.*?)[ \t]*$', source, re.M)
    return {k.replace('_', '-').lower(): v.lower() for k, v in found}

def outside_code(fn, md):
    "Apply `fn` to what is neither in a fence nor in a code span"
    out, at = [], 0
    for m in CODE.finditer(md): out += [fn(md[at:m.start()]), m[0]]; at = m.end()
    return ''.join(out) + fn(md[at:])

def is_local(target): return not re.match(r'([a-zA-Z][\w+.-]*:|//|/|#)', target)

def targets(md):
    "The addresses that a markdown text links to, code left out"
    found = []
    outside_code(lambda s: found.extend(next(t for t in (m[2], m[4], m[6]) if t) for m in LINK.finditer(s)) or s, md)
    return found

def settings():
    "The table of settings.ini"
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    return ini['DEFAULT']

def in_repo(target):
    "The path in the repository that a link to the project's own pages on its host stands for, or None"
    cfg = settings()
    m = re.match(re.escape(cfg['git_url']) + r'/(?:blob|tree)/' + re.escape(cfg['branch']) + r'/(.+)', target)
    return m and m[1]

def from_top(md, folder='nbs'):
    "Relative addresses as seen from the top folder; full addresses of the project's own files made relative"
    def sub(m):
        lead, target = (m[1], m[2]) if m[2] else (m[3], m[4]) if m[4] else (m[5], m[6])
        return lead + (posixpath.normpath(posixpath.join(folder, target)) if is_local(target) else in_repo(target) or target)
    return outside_code(lambda s: LINK.sub(sub, s), md)

def fence(body, lang=''):
    "`body` in a fence that is longer than any inside it"
    ticks = '`' * max(3, 1 + max((len(t) for t in re.findall(r'^`+', body, re.M)), default=0))
    return f'{ticks}{lang}\n{body}\n{ticks}'

def plain(s):
    "Text as a terminal would leave it: no colours, and of a rewritten line its last state"
    s = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]', '', s)
    lines = (line.rstrip('\r').rsplit('\r', 1)[-1].rstrip() for line in s.split('\n'))
    return '\n'.join(lines).strip('\n')

def outputs(cell):
    "A code cell's outputs as markdown blocks; neighbouring text in one fence"
    said, blocks = [], []
    def flush():
        body = plain(''.join(said)); said.clear()
        if body: blocks.append(fence(body))
    for o in cell.get('outputs', []):
        kind, data = o['output_type'], o.get('data', {})
        if kind == 'error': raise SystemExit(f"nbs/index.ipynb holds an error output: {o.get('ename')}: {o.get('evalue')}")
        if kind == 'stream': said.append(text(o['text']) if o.get('name') == 'stdout' else '')
        elif 'text/markdown' in data: flush(); blocks.append(from_top(text(data['text/markdown']).strip('\n')))
        elif any(k.startswith('image/') for k in data): flush()
        elif 'text/plain' in data and not re.match(r'<IPython\.core\.display\.\w+ object>', text(data['text/plain'])):
            said.append(text(data['text/plain']) + '\n')
    flush()
    return blocks

def code_blocks(cell):
    "A code cell as markdown blocks"
    source = text(cell['source'])
    f = flags(source)
    if 'hide' in f or f.get('include') == 'false': return []
    source = re.sub(r'^#\s*\|.*\n?', '', source, flags=re.M).strip('\n')
    hidden = f.get('echo') == 'false' or 'hide-input' in f
    blocks = [fence(source, 'python')] if source.strip() and not hidden else []
    return blocks + ([] if f.get('output') == 'false' or 'hide-output' in f else outputs(cell))

def readme(
    nb_path, # The index notebook
)->str: # The README's text
    "README text made from a notebook"
    blocks = [NOTE]
    for cell in json.loads(Path(nb_path).read_text(encoding='utf-8'))['cells']:
        if cell['cell_type'] == 'markdown': blocks.append(from_top(text(cell['source']).strip('\n')))
        elif cell['cell_type'] == 'code': blocks += code_blocks(cell)
    return '\n\n'.join(b for b in blocks if b.strip()) + '\n'

def command(
    md, # The README's text
)->str: # The line to run
    "The test command of the README: the one line in a fence that holds nbdev_test"
    found = [line.strip() for m in CODE.finditer(md) if m['f'] for line in m[0].splitlines()[1:-1] if 'nbdev_test' in line]
    if len(found) == 1 and found[0].startswith('pip install '): return found[0]
    raise SystemExit(f'README.md must hold exactly one fenced line "pip install … && nbdev_test && …"; found: {found}')

def main(argv):
    "The three uses named at the top of this file"
    path, nb = ROOT/'README.md', ROOT/'nbs'/'index.ipynb'
    if argv == ['--command']: return print(command(path.read_text(encoding='utf-8')))
    if argv not in ([], ['--check']): raise SystemExit(__doc__)
    if not nb.exists(): raise SystemExit('nbs/index.ipynb, from which README.md is made, is not there')
    new = readme(nb)
    if not argv: path.write_text(new, encoding='utf-8', newline='\n'); return print(f'README.md written, {len(new.splitlines())} lines')
    old = path.read_text(encoding='utf-8') if path.exists() else ''
    diff = list(difflib.unified_diff(old.splitlines(), new.splitlines(), 'README.md', 'made from nbs/index.ipynb', lineterm=''))
    if old != new: raise SystemExit('\n'.join(diff + ['README.md is not in step with nbs/index.ipynb: run python .ci/readme.py']))
    print('README.md is in step with nbs/index.ipynb')

if __name__ == '__main__': main(sys.argv[1:])
