#!/usr/bin/env python3
"""Check the notebooks as documentation, without Quarto.

    python .ci/docs.py

Says every fault it finds and exits 1 if there is one:
- a saved notebook with an error output, a cell option that is no YAML, never executed, above 400 kB, with a figure that has no `#| fig-alt:` or `alt`, or with an absolute
  path of somebody's machine in an output;
- a relative link, a picture or a section (`x.ipynb#the-weave`) that leads nowhere, in a notebook, in a table that it prints, or in README, CONTRIBUTING, CHANGELOG and SECURITY;
- a first cell that says more than title and summary, of which nbdev makes the page's head and drops the rest;
- two notebooks that make one page: nbdev leaves numbers out, so 34_cloth and 55_cloth are both cloth.html, and one would be lost;
- a notebook that the sidebar of _quarto.yml does not list, an entry there without a notebook, or a file that it names and that is not there;
- a notebook that nbdev cannot process for the site (its exported cells and imports are run for the API tables), or that mixes imports with
  other code, which would run then too;
- anything of this that changes the checkout.
"""
import functools, json, os, re, subprocess, sys, traceback, warnings
from collections import Counter
import yaml
import readme

ROOT = readme.ROOT
NBS = ROOT/'nbs'
PAGES = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'SECURITY.md')
MAX_BYTES = 400_000
BARE = re.compile(r'<(?:matplotlib|Axes|Figure|function|built-in)\b|<[\w.]+ (?:object )?at 0x')
HOME_PATH = re.compile(r'(?<![\w.:/~-])(?:file://)?(?:/(?:work|tmp|root|home|Users|mnt|opt|var|workspace|content)/[\w.-]|[A-Z]:\\+Users\\)')


def notebooks():
    "Every notebook of the project, in order"
    return sorted(p for p in NBS.rglob('*.ipynb') if not any(part[0] in '._' for part in p.relative_to(NBS).parts))

def cells(nb, kind):
    "Cells of one kind with their source as text"
    return [dict(c, source=readme.text(c['source'])) for c in nb['cells'] if c['cell_type'] == kind]

def said(output):
    "What an output says in text, data of pictures left out"
    texts = [readme.text(output.get('text'))] + [readme.text(v) for k, v in output.get('data', {}).items() if k.startswith('text/')]
    return re.sub(r'data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+', '', '\n'.join(texts))

def is_lesson(cell):
    "Is this a cell that shows something, rather than an export, an import or a hidden one?"
    f = readme.flags(cell['source'])
    lines = [s for s in cell['source'].splitlines() if s.strip() and not s.lstrip().startswith('#')]
    only_imports = all(re.match(r'\s*(from|import)\b', s) for s in lines)
    return bool(lines) and not only_imports and not f.keys() & {'export', 'exports', 'exporti', 'default-exp', 'hide'}

def output_faults(cell):
    "What is wrong with one code cell's saved outputs"
    for o in cell.get('outputs', []):
        if o['output_type'] == 'error': yield f"error output {o.get('ename')}: {o.get('evalue')}"
        if 'Traceback (most recent call last)' in said(o): yield 'a traceback in an output'
        if m := HOME_PATH.search(said(o)): yield f'an absolute path in an output: …{said(o)[m.start():m.end() + 40].splitlines()[0]}…'
        figure = any(k.startswith('image/') for k in o.get('data', {}))
        if figure and not readme.flags(cell['source']).get('fig-alt'): yield 'a figure without a "#| fig-alt:" line'
        if BARE.match(said(o)) and len(o.get('data', {})) == 1: yield f'an output that only names an object, end its line with a semicolon or pass: {said(o)[:60]}'

def option_faults(cell):
    "What is wrong with a cell's `#| name: value` lines, which Quarto reads as YAML"
    for line in re.findall(r'^#\s*\|\s*([\w-]+\s*:.*)$', cell['source'], re.M):
        try: ok = isinstance(yaml.safe_load(line), dict)
        except yaml.YAMLError: ok = False
        if not ok: yield f'not YAML, put the value in quotes: #| {line}'

def notebook_faults(path):
    "What is wrong with one saved notebook, links aside"
    nb = json.loads(path.read_text(encoding='utf-8'))
    yield from head_faults(nb)
    code = cells(nb, 'code')
    for c in code: yield from (f'{f}, in the cell that begins {first_line(c)!r}' for f in [*output_faults(c), *option_faults(c)])
    lessons = [c for c in code if is_lesson(c)]
    if lessons and not any(c.get('outputs') for c in lessons): yield f'not executed: none of its {len(lessons)} lesson cells has a saved output'
    if path.stat().st_size > MAX_BYTES: yield f'{path.stat().st_size / 1000:.0f} kB, more than {MAX_BYTES / 1000:.0f} kB: draw fewer or smaller figures'

def head_faults(nb):
    "What is wrong with the first cell, of which nbdev makes the head of the page; nothing else of it gets there"
    first = nb['cells'][0] if nb['cells'] else dict(cell_type='', source='')
    lines = [s for s in readme.text(first['source']).splitlines() if s.strip()]
    if first['cell_type'] != 'markdown' or not lines or not lines[0].startswith('# '): yield 'the first cell must be "# title" and "> summary"'
    elif len(lines) < 2 or not lines[1].startswith('> '): yield 'no "> summary" below the title: it is what searches and shared links show'
    elif more := [s for s in lines[2:] if not re.match(r'- [\w-]+:', s)]: yield f'lost on the site, give it a cell of its own: {more[0][:60]}'

def first_line(cell):
    "The first line of code of a cell"
    return next((s for s in cell['source'].splitlines() if s.strip() and not s.startswith('#')), '')[:60]

def page_of(path): return re.sub(r'^\d+[a-z0-9]*_', '', path.stem.lower()) + '.html'   # as nbdev names pages

@functools.cache
def pages():
    "Page of the site to its notebooks: one each, or they overwrite each other"
    found = {}
    for p in notebooks(): found.setdefault(page_of(p), []).append(p)
    return found

def on_site(target):
    "The page of the project's own site that an address means, or None"
    cfg = readme.settings()
    m = re.match(re.escape(cfg['doc_host'] + cfg['doc_baseurl']) + r'/([\w.-]+\.html)', target)
    return m and m[1]

def place(target, folder):
    "The file of the project that an address means; None if it is elsewhere. A page of the site is the notebook it is made from"
    path = target.split('#')[0].split('?')[0]
    if page := on_site(target): return pages().get(page, [NBS/page])[0]
    if inside := readme.in_repo(path): return ROOT/inside
    if not readme.is_local(target): return None
    return pages()[path][0] if folder == NBS and path in pages() else folder/path

def leads_somewhere(target, folder):
    "Does an address reach a file of the project, one inside nbs/ if it is relative and stands there?"
    where = place(target, folder)
    if where is None: return True
    if readme.is_local(target) and folder != ROOT and not where.resolve().is_relative_to(NBS): return False
    return where.exists()

def slug(heading):
    "The id that Quarto (pandoc's auto_identifiers) gives a heading"
    bare = re.sub(r'!?\[([^\]]*)\]\([^)]*\)|<[^>]*>|[`*$]', r'\1', heading).strip()
    kept = re.sub(r'\s+', '-', re.sub(r'[^\w\s.-]', '', bare.lower()))
    return re.sub(r'^[^a-z]+', '', kept) or 'section'

@functools.cache
def anchors(path):
    "The ids that a page has: its headings, and the names that its notebook exports"
    if path.suffix == '.md': md, code = path.read_text(encoding='utf-8'), ''
    else:
        nb = json.loads(path.read_text(encoding='utf-8'))
        md = '\n\n'.join(c['source'] for c in cells(nb, 'markdown'))
        code = '\n'.join(c['source'] for c in cells(nb, 'code'))
    found, at = set(re.findall(r'\{#([\w.-]+)|\bid=["\']([\w.-]+)', md)), Counter()
    ids = {a or b for a, b in found} | {n.lower() for n in re.findall(r'^(?:def|class) (\w+)', code, re.M)}
    for h in re.findall(r'^#{1,6}[ \t]+(.+?)[ \t]*#*[ \t]*$', readme.CODE.sub(lambda m: m['t'] and m[0] or '', md), re.M):
        h = slug(re.sub(r'\{[^}]*\}$', '', h)); ids.add(f'{h}-{at[h]}' if at[h] else h); at[h] += 1
    return ids

def dead_section(target, folder, here):
    "The section that an address names and that is not on its page, or None. `here` is the page that the address stands on"
    path, _, section = target.partition('#')
    where = (here if not path else place(target, folder)) if section else None
    if where is None or where.suffix not in ('.ipynb', '.md') or not where.is_file(): return None
    ids = anchors(where)
    method = where.suffix == '.ipynb' and section.partition('.')[0] in ids and section.count('.') == 1
    return None if section in ids or method else section

def link_faults(md, folder, attachments=(), here=None):
    "What is wrong with the links and pictures of a markdown text"
    for t in readme.targets(md):
        if t.startswith('attachment:'):
            if t[11:] not in attachments: yield f'no attachment {t[11:]!r}'
        elif not leads_somewhere(t, folder):
            out = folder != ROOT and (folder/t.split('#')[0]).exists()
            yield f'link out of nbs/: {t} (give the full address, so that the site finds it)' if out else f'dead link: {t}'
        elif gone := dead_section(t, folder, here): yield f'no section {gone!r}: {t}'
    no_alt = []
    readme.outside_code(lambda s: no_alt.extend(re.findall(r'!\[\s*\]\(([^)]+)\)', s) +
                        re.findall(r'<img(?![^>]*\balt=["\'][^"\'])[^>]*>', s)) or s, md)
    yield from (f'a picture without alternative text: {t}' for t in no_alt)
    yield from (f'a link around a name that nbdev links itself: {t} (write the name, and the link beside it)' for t in re.findall(r'\[`[^`\n]+`\]\([^)]*\)', md))

def all_link_faults():
    "Faults of links, by page"
    for p in notebooks():
        nb = json.loads(p.read_text(encoding='utf-8'))
        for c in cells(nb, 'markdown'): yield from ((p, f) for f in link_faults(c['source'], p.parent, c.get('attachments', ()), p))
        printed = [readme.text(o.get('data', {}).get('text/markdown')) for c in cells(nb, 'code') for o in c.get('outputs', [])]
        yield from ((p, f) for f in link_faults('\n\n'.join(printed), p.parent, here=p))
    for p in (ROOT/name for name in PAGES):
        if p.exists(): yield from ((p, f) for f in link_faults(p.read_text(encoding='utf-8'), ROOT, here=p))
        else: yield p, 'is not there'

def entries(contents):
    "The files that a sidebar lists, sections opened"
    for e in contents if isinstance(contents, list) else [contents]:
        if isinstance(e, str): yield e
        else:
            if e.get('href') or e.get('file'): yield e.get('href') or e['file']
            yield from entries(e.get('contents', []))

def hrefs(footer):
    "The pages that a footer leads to"
    return [e['href'] for part in footer.values() if isinstance(part, list) for e in part if e.get('href')]

def site_faults():
    "What is wrong with the site's configuration"
    cfg, top = readme.settings(), ROOT/'_quarto.yml'
    site = yaml.safe_load(top.read_text(encoding='utf-8'))
    listed = list(entries(site['website']['sidebar']['contents']))
    there = [p.relative_to(NBS).as_posix() for p in notebooks()]
    for t in there:
        if t not in listed: yield top, f'the sidebar does not list {t}: add it to the section of its number'
    for t in listed:
        if readme.is_local(t) and t not in there: yield top, f'the sidebar lists {t}, which is not in nbs/'
    yield from ((top, f'the sidebar lists {t} twice') for t in sorted(set(listed)) if listed.count(t) > 1)
    for page, made_by in pages().items():
        if len(made_by) > 1: yield made_by[-1], f"makes the page {page}, which {made_by[0].name} makes too: give it a name of its own after the number"
    for t in (site['format']['html'].get('css'), *(site['website'].get(k) for k in ('favicon', 'image')), *hrefs(site['website'].get('page-footer', {}))):
        if t and readme.is_local(t) and not (NBS/t).exists(): yield top, f'names nbs/{t}, which is not there'
    if cfg['git_url'] not in [b.get('href') for b in site['website']['navbar'].get('right', [])]: yield top, f"no link to {cfg['git_url']} in the navbar"
    if cfg['custom_sidebar'] != 'True': yield ROOT/'settings.ini', 'custom_sidebar must be True, or nbdev writes a second sidebar'
    if yaml.safe_load((NBS/'_quarto.yml').read_text(encoding='utf-8')) != {'metadata-files': ['../_quarto.yml', 'nbdev.yml', 'sidebar.yml']}:
        yield NBS/'_quarto.yml', 'must hold only metadata-files: [../_quarto.yml, nbdev.yml, sidebar.yml]'

def process_faults():
    "Process every notebook as `nbdev_docs` would before it calls Quarto"
    from nbdev.quarto import refresh_quarto_yml
    from nbdev.serve import proc_nbs
    refresh_quarto_yml()
    with warnings.catch_warnings(record=True) as said_by_nbdev:
        warnings.simplefilter('always')
        try: cache = proc_nbs(n_workers=0, force=True)
        except Exception as e:
            traceback.print_exc()
            yield NBS, f'nbdev could not process the notebooks: {e}'
            return
    for w in said_by_nbdev:
        if 'imports and other code' in str(w.message): yield NBS, f'give imports a cell of their own:\n{w.message}'
    for p in notebooks():
        made = cache/p.relative_to(NBS)
        if not made.exists(): yield p, 'nbdev made no page of it'; continue
        nb = json.loads(made.read_text(encoding='utf-8'))
        errors = [o for c in cells(nb, 'code') for o in c.get('outputs', []) if o['output_type'] == 'error']
        yield from ((p, f"error while its page was made: {o.get('ename')}: {o.get('evalue')}") for o in errors)

def git_state():
    "What git sees as changed or new, or None outside a checkout"
    r = subprocess.run(['git', 'status', '--porcelain'], cwd=ROOT, capture_output=True, text=True)
    diff = subprocess.run(['git', 'diff'], cwd=ROOT, capture_output=True, text=True)
    return r.stdout + diff.stdout if r.returncode == 0 else None

def main():
    "All checks; the faults are printed, and their number decides the exit status"
    os.chdir(ROOT)
    before = git_state()
    faults = [(p, f) for p in notebooks() for f in notebook_faults(p)]
    faults += [*all_link_faults(), *site_faults(), *process_faults()]
    if git_state() != before: faults.append((ROOT, 'the checkout was changed by processing the docs'))
    for p, f in faults: print(f"{p.relative_to(ROOT).as_posix() if p != ROOT else 'checkout'}: {f}")
    print(f'{len(notebooks())} notebooks, {len(faults)} faults')
    sys.exit(bool(faults))

if __name__ == '__main__': main()
