"Files put into folders: whole or not there at any moment, none overwritten, none lost, none doubled, whatever their names; and a journal that says so."
import csv, errno, inspect, os, random, shutil, signal, subprocess, sys, tempfile
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings, strategies as st
from fabric_touch import filing
from fabric_touch.core import FabricError
from fabric_touch.filing import HOW, JOURNAL, Sorting, _cells, _line, _names, _odd, check_folder

pytestmark = pytest.mark.once

posix = pytest.mark.skipif(os.name != 'posix', reason='needs POSIX')
OWN = (JOURNAL, 'sorting.json', '.sorting.lock')

def fill(folder, n=24):
    "Photos of different sizes; most names come in three folders; some have the content of another, under its name or another one"
    for i in range(n):
        p = folder/f'd{i % 3}'/(f'u{i}.jpg' if i % 4 == 3 else f'{i//3}.jpg')
        p.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(i - {7: 3, 5: 1}.get(i % 8, 0))
        p.write_bytes(rng.randbytes(rng.randrange(1, 9000)))
        os.utime(p, ns=(10**18 + i, 10**18 + i*1000))
    return folder

def tree(folder): return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file() and not (p.parent == folder and p.name in OWN)}
def contents(*folders): return {sha256(b).hexdigest() for f in folders for b in tree(f).values()}
def photos(folder): return sorted(p for p in folder.rglob('*') if p.is_file())
def class_of(path): return f'class{sha256(str(path.name).encode("utf-8", "surrogateescape")).digest()[0] % 3}'
def lines(out): return list(csv.DictReader(open(out/JOURNAL, encoding='utf-8', newline='')))

def sort(source, out, how='copy', **kwargs):
    "Everything in `source`; the rows of this run"
    with Sorting(out, how, **kwargs) as s: return [s.put(p, class_of(p), label=class_of(p), probability=.5) for p in photos(source) if not s.done(p)]

# ---- killed at a line of the program

CHILD = '''
import os, signal, sys
from hashlib import sha256
from pathlib import Path
from fabric_touch import filing
from fabric_touch.filing import Sorting
source, out, how, stop, seen = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), 0
filing.BATCH = 5
def step(frame, event, arg):
    global seen
    if frame.f_code.co_filename != filing.__file__: return
    seen += event == 'line'
    if seen == stop: os.kill(os.getpid(), signal.SIGKILL)
    return step
''' + '\n'.join(map(inspect.getsource, (photos, class_of, sort))) + '''
sys.settrace(step)
sort(source, out, how)
sys.settrace(None)
print(seen)
'''

def child(source, out, how, stop=-1):
    return subprocess.Popen([sys.executable, '-c', CHILD, str(source), str(out), how, str(stop)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

def check_killed(tmp_path, how, share):
    "Sort, killed after a share of all lines; then again"
    source, out, plain = fill(tmp_path/'in'), tmp_path/'out', tmp_path/'plain'
    want, before = contents(source), tree(source)
    shutil.copytree(source, tmp_path/'in2')
    first = child(tmp_path/'in2', plain, how)
    total = int(first.communicate()[0])
    run = child(source, out, how, 1 + int(share*(total - 1)))
    run.wait()
    assert run.returncode == -signal.SIGKILL
    found = {k: v for k, v in tree(out).items() if not filing._tmp.fullmatch(Path(k).name)} if out.exists() else {}
    assert all(tree(plain)[k] == v for k, v in found.items())                        # whole, and where an undisturbed run puts it
    assert {sha256(v).hexdigest() for v in (*found.values(), *tree(source).values())} == want
    if how != 'move': assert tree(source) == before
    sort(source, out, how)
    assert tree(out) == tree(plain) and tree(source) == tree(tmp_path/'in2')
    rows = lines(out)
    assert len(rows) == len({r['file'] for r in rows}) == len(before)
    assert {r['target'] for r in rows} == set(tree(out))
    assert sort(source, out, how) == [] and len(lines(out)) == len(rows)

SHARES = [round(x, 4) for x in random.Random(9).choices([i/400 for i in range(400)], k=20)]

@posix
@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('share', [.3, .97])
def test_killed(tmp_path, how, share): check_killed(tmp_path, how, share)

@posix
@pytest.mark.stress
@pytest.mark.parametrize('how', HOW)
@pytest.mark.parametrize('share', SHARES)
def test_killed_at_many_moments(tmp_path, how, share): check_killed(tmp_path, how, share)

def test_journal_cut_anywhere(tmp_path):
    "A line that was cut off is dropped, and only that one"
    source, out = fill(tmp_path/'in', 5), tmp_path/'out'
    sort(source, out)
    data, before = (out/JOURNAL).read_bytes(), tree(out)
    for cut in range(len(data)):
        (out/JOURNAL).write_bytes(data[:cut])
        with Sorting(out) as s: assert len(s._rows) == max(0, data[:cut].count(b'\n') - 1)
        if cut % 40: continue
        sort(source, out)
        assert tree(out) == before and {r['file'] for r in lines(out)} == set(map(str, photos(source)))
        assert (out/JOURNAL).read_bytes().count(b'\n') == data.count(b'\n')

def test_sweeps_only_its_own(tmp_path):
    keep = [tmp_path/o for o in ('a/.sorting-xyz.tmp', 'a/.sorting-0123456789abcdef.tmp.jpg', 'a/b/.sorting-0123456789abcdef.tmp', 'a/x.tmp')]
    for p in (*keep, own := tmp_path/'a/.sorting-0123456789abcdef.tmp'):
        p.parent.mkdir(parents=True, exist_ok=True); p.touch()
    with Sorting(tmp_path, dry_run=True): assert own.exists()
    if filing.fcntl:
        with Sorting(tmp_path): own.touch(); Sorting(tmp_path).close(); assert own.exists()    # it may be another process's
    with Sorting(tmp_path): pass
    assert not own.exists() and all(p.exists() for p in keep)

def test_a_photo_named_like_an_unfinished_file_survives(tmp_path):
    (tmp_path/'in').mkdir(); (tmp_path/'in/.sorting-0123456789abcdef.tmp').write_text('x')
    sort(tmp_path/'in', tmp_path/'out')
    Sorting(tmp_path/'out').close()
    assert list(tree(tmp_path/'out').values()) == [b'x']

# ---- two at once: see test_two_at_once too

def sha_(b): return sha256(b).hexdigest()

@posix
def test_the_journal_is_written_by_one_at_a_time(tmp_path):
    (tmp_path/'a.jpg').write_text('a')
    with Sorting(tmp_path/'out') as s:
        s.put(tmp_path/'a.jpg', 'x')
        with s._journal():
            t = Thread(target=s.flush); t.start(); t.join(.3)
            assert t.is_alive()
        t.join(20)
        assert not t.is_alive() and len(lines(tmp_path/'out')) == 1

def test_another_takes_the_name_in_between(tmp_path, monkeypatch):
    (tmp_path/'a.jpg').write_text('mine')
    link = os.link
    for other in ('other', 'mine'):
        out = tmp_path/other
        def late(a, b, **kw):
            monkeypatch.setattr(os, 'link', link)
            Path(b).write_text(other)
            return link(a, b, **kw)
        with Sorting(out) as s:
            monkeypatch.setattr(os, 'link', late)
            row = s.put(tmp_path/'a.jpg', 'x')
        assert (out/'x/a.jpg').read_text() == other and (out/row['target']).read_text() == 'mine'
        assert len(tree(out)) == 1 + (other != 'mine') and not list(out.rglob('*.tmp'))

def test_what_another_has_moved_is_not_left_nor_gone(tmp_path):
    files, out = [tmp_path/f'{n}.jpg' for n in 'abcd'], tmp_path/'out'
    for p in files: p.write_text(p.name)
    a, b, c, d = files
    with Sorting(out, 'move') as late:
        late.leave(a, 'it cannot be read'); late.leave(d, 'it cannot be read')
        with Sorting(out, 'move') as s: rows = [s.put(p, 'x') for p in (a, b, c)]
        assert [late.put(b, 'y'), late.leave(c, 'no such file')] == rows[1:]
        (out/'x'/'b.jpg').unlink()                                                      # gone there too
        with pytest.raises(FabricError, match='it is gone from its place'): late.put(b, 'y')
        assert late.leave(b, 'no such file')['done'] == 'left'
    assert [(Path(l['file']).name, l['done']) for l in lines(out)] == [('a.jpg', 'moved'), ('b.jpg', 'moved'), ('c.jpg', 'moved'), ('d.jpg', 'left'), ('b.jpg', 'left')]
    with Sorting(out, 'move', dry_run=True) as dry, pytest.raises(FabricError, match='it is gone from its place'): dry.put(tmp_path/'z.jpg', 'x')

# ---- what a file is called

@given(st.lists(st.text(st.characters(codec='utf-8') | st.characters(min_codepoint=0xdc80, max_codepoint=0xdcff), max_size=40), min_size=2, max_size=6))
def test_line_round_trip(cells):
    line = _line(cells)
    line.encode()                                         # valid UTF-8
    assert line.count('\n') == 1 and len(line.splitlines()) == 1 and _cells(line[:-1]) == cells
    assert not any(c[:1] in '=@+\t\r' for c in next(csv.reader([line])) if c)

names = st.text(st.characters(blacklist_characters='/\0', blacklist_categories=['Cs']) | st.characters(min_codepoint=0xdc80, max_codepoint=0xdcff), min_size=1, max_size=90).filter(
    lambda s: s not in ('.', '..') and len(os.fsencode(s)) <= 255 and os.fsdecode(os.fsencode(s)) == s)

@posix
@settings(max_examples=60, deadline=None)
@given(st.lists(names, min_size=1, max_size=4, unique=True), st.sampled_from(list(HOW)))
def test_any_name(found, how):
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        (d/'in').mkdir(); (d/'more').mkdir()
        for i, n in enumerate(found): (d/'in'/n).write_text(f'{i}'); (d/'more'/n).write_text(f'more {i}')
        want, todo = {sha_(f'{o}{i}'.encode()) for i in range(len(found)) for o in ('', 'more ')}, photos(d/'in') + photos(d/'more')
        for again in range(2):
            with Sorting(d/'out', how) as s: rows = [s.put(p, 'x') for p in todo if p.exists() and not s.done(p)]
            assert len(rows) == (2*len(found) if not again else 0)
        assert contents(d/'out') == want and len(tree(d/'out')) == len(want)
        with Sorting(d/'out') as s: assert {*s._rows} == {*map(str, todo)} and {r['target'] for r in s._rows.values()} == {*tree(d/'out')}

@given(st.text(min_size=1, max_size=300).filter(lambda s: '/' not in s and '\0' not in s))
def test_names_fit_and_differ(name):
    try: os.fsencode(name)
    except UnicodeEncodeError: return
    got = _names(name, sha256(b'x').hexdigest())
    assert len({*got}) == len(got) >= 3 and all(len(os.fsencode(o)) <= 255 for o in got)
    suffix = os.path.splitext(name)[1]
    if len(suffix) < 8: assert all(o.endswith(suffix) for o in got)

@posix
def test_longest_names(tmp_path):
    for i, d in enumerate('ab'):
        (tmp_path/'in'/d).mkdir(parents=True)
        for n in ('x'*251 + '.jpg', '綿'*83 + '.jpg', '.' + 'y'*254): (tmp_path/'in'/d/n).write_text(d)
    sort(tmp_path/'in', tmp_path/'out')
    assert len(tree(tmp_path/'out')) == 6 and contents(tmp_path/'out') == contents(tmp_path/'in')
    assert sum(k.endswith('.jpg') for k in tree(tmp_path/'out')) == 4

@pytest.mark.parametrize('name', ['', '.', '..', '...', ' ', '../x', '../../x', '/etc', '/', 'a/b', 'a\\b', '..\\x', 'a\0', 'x'*256, '綿'*86, JOURNAL, JOURNAL.upper(), 'sorting.json', '.sorting.lock', '\ud800', None, 3, b'x', Path('x')])
def test_hostile_folders(tmp_path, name):
    (tmp_path/'a.jpg').write_text('a')
    with Sorting(tmp_path/'out') as s, pytest.raises(FabricError, match='not one plain name') as e: s.put(tmp_path/'a.jpg', name)
    assert str(name)[:20] in str(e.value) or repr(str(name)[:20])[1:-1] in str(e.value)
    assert not tree(tmp_path/'out') and sorted(p.name for p in tmp_path.iterdir()) == ['a.jpg', 'out']

@posix
@pytest.mark.parametrize('name', ['-rf', '.hidden', '=1+1', 'coat, red', 'a\nb', '綿', '~', '$HOME', '*', 'x'*255, '..a', 'con'])
def test_odd_folders_that_are_fine(tmp_path, name):
    (tmp_path/'a.jpg').write_text('a')
    with Sorting(tmp_path/'out') as s: s.put(tmp_path/'a.jpg', name)
    with Sorting(tmp_path/'out') as s: assert s.done(tmp_path/'a.jpg')['folder'] == name and tree(tmp_path/'out') == {f'{name}/a.jpg': b'a'}

# ---- the same names, the same contents

@pytest.mark.parametrize('how', HOW)
def test_same_name_and_same_content(tmp_path, how):
    for d, text in dict(a='red', b='blue', c='red', d='green').items():
        (tmp_path/'in'/d).mkdir(parents=True); (tmp_path/'in'/d/'1.jpg').write_text(text)
    rows = sort(tmp_path/'in', tmp_path/'out', how)
    digest = {t: sha_(t.encode())[:8] for t in ('blue', 'green')}
    home = class_of(Path('1.jpg'))
    assert tree(tmp_path/'out') == {f'{home}/1.jpg': b'red', f'{home}/1_{digest["blue"]}.jpg': b'blue', f'{home}/1_{digest["green"]}.jpg': b'green'}
    assert [r['done'] for r in rows] == [HOW[how], HOW[how], 'moved' if how == 'move' else 'there', HOW[how]]
    assert len(photos(tmp_path/'in')) == (0 if how == 'move' else 4)
    assert sort(tmp_path/'in', tmp_path/'out', how) == []

def test_more_digits_when_even_that_name_is_taken(tmp_path):
    (tmp_path/'a.jpg').write_text('new')
    digest, out = sha_(b'new'), tmp_path/'out'
    (out/'x').mkdir(parents=True)
    for k, n in enumerate(_names('a.jpg', digest)):
        with Sorting(out) as s: assert s.put(tmp_path/'a.jpg', 'x')['target'] == f'x/{n}'
        (out/'x'/n).write_text(f'other {k}')
    with Sorting(out) as s, pytest.raises(FabricError, match='all of its names'): s.put(tmp_path/'a.jpg', 'x')

def test_nothing_is_doubled_when_the_plain_name_is_free_again(tmp_path):
    for d in 'ab': (tmp_path/d).mkdir(); (tmp_path/d/'1.jpg').write_text(d)
    with Sorting(tmp_path/'out') as s: first, second = (s.put(tmp_path/d/'1.jpg', 'x')['target'] for d in 'ab')
    for o in (first, JOURNAL): (tmp_path/'out'/o).unlink()
    row = one(tmp_path/'out', tmp_path/'b/1.jpg')
    assert (row['target'], row['done']) == (second, 'there') and tree(tmp_path/'out') == {second: b'b'}

def test_what_is_done_again(tmp_path):
    a, out = tmp_path/'a.jpg', tmp_path/'out'
    a.write_text('a')
    def sort_a(): return one(out, a)
    assert sort_a()['done'] == 'copied' and sort_a() is None
    (out/'x/a.jpg').unlink()
    assert sort_a()['done'] == 'copied' and sort_a() is None
    os.utime(a, ns=(5, 5))
    assert sort_a()['done'] == 'there' and sort_a() is None
    a.write_text('b')
    assert sort_a()['target'] == f'x/a_{sha_(b"b")[:8]}.jpg' and len(tree(out)) == 2
    assert one(out, a, 'move')['done'] == 'moved' and not a.exists() and Sorting(out, dry_run=True).done(a)['done'] == 'moved'

def one(out, path, how='copy'):
    with Sorting(out, how) as s: return None if s.done(path) else s.put(path, 'x')

# ---- copy, move, link

def test_times_and_links(tmp_path):
    source = fill(tmp_path/'in')
    for how in ('copy', 'link'):
        for r in sort(source, tmp_path/how, how):
            a, b = os.stat(r['file']), os.stat(tmp_path/how/r['target'])
            assert a.st_mtime_ns == b.st_mtime_ns or r['done'] == 'there'
            assert (a.st_ino == b.st_ino) == (how == 'link') or r['done'] == 'there'

@posix
def test_symbolic_links(tmp_path):
    (tmp_path/'real.jpg').write_text('x'); (tmp_path/'link.jpg').symlink_to('real.jpg'); (tmp_path/'dead.jpg').symlink_to('none')
    for how, word in (('copy', 'copied'), ('link', 'linked'), ('move', 'left')):
        with Sorting(tmp_path/how, how) as s:
            row = s.put(tmp_path/'link.jpg', 'x')
            assert row['done'] == word and (tmp_path/'link.jpg').is_symlink()
            with pytest.raises(FabricError, match='no column for colour'): s.put(tmp_path/'real.jpg', 'y', colour='red')
            assert not (tmp_path/how/'y').exists()
            if how != 'move':
                assert (tmp_path/how/'x/link.jpg').read_text() == 'x' and not (tmp_path/how/'x/link.jpg').is_symlink()
                with pytest.raises(FabricError, match='dead.jpg'): s.put(tmp_path/'dead.jpg', 'x')
            s.leave(tmp_path/'dead.jpg', 'a dead link')

@posix
def test_a_target_that_is_a_link_to_the_source_is_no_copy(tmp_path):
    (tmp_path/'a.jpg').write_text('x'); (tmp_path/'out/x').mkdir(parents=True); (tmp_path/'out/x/a.jpg').symlink_to('../../a.jpg')
    row = one(tmp_path/'out', tmp_path/'a.jpg', 'move')
    assert (tmp_path/'out'/row['target']).read_text() == 'x' and row['target'] != 'x/a.jpg'

@pytest.mark.parametrize('how', HOW)
def test_a_file_that_lies_where_it_belongs_stays(tmp_path, how):
    "Sorted in place: the output folder is the input folder"
    (tmp_path/'x').mkdir(); (tmp_path/'x/a.jpg').write_text('a'); (tmp_path/'b.jpg').write_text('b')
    for _ in range(2):
        with Sorting(tmp_path, how) as s:
            for p in (tmp_path/'x/a.jpg', tmp_path/'b.jpg'):
                if p.exists() and not s.done(p): s.put(p, 'x')
        assert (tmp_path/'x/a.jpg').read_text() == 'a' and (tmp_path/'x/b.jpg').read_text() == 'b'
    assert len(tree(tmp_path)) == 2 + (how != 'move') and len(lines(tmp_path)) == 2

def test_two_files_that_change_places_are_not_both_removed(tmp_path):
    for d in 'xy': (tmp_path/d).mkdir(); (tmp_path/d/'a.jpg').write_text('same')
    with pytest.raises(FabricError, match='its target is gone again'), Sorting(tmp_path, 'move') as s: s.put(tmp_path/'x/a.jpg', 'y'); s.put(tmp_path/'y/a.jpg', 'x')
    assert list(tree(tmp_path).values()) == [b'same']

@contextmanager
def disk(folder, size):
    "A small disk of its own"
    folder.mkdir(exist_ok=True)
    if not shutil.which('mount') or subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'none', str(folder)], capture_output=True).returncode: pytest.skip('mounting is not permitted')
    try: yield folder
    finally: subprocess.run(['umount', '-l', str(folder)], check=True)

def test_across_disks(tmp_path):
    source = fill(tmp_path/'in')
    want = contents(source)
    with disk(tmp_path/'disk', '1m') as d:
        with pytest.raises(FabricError, match="take how='copy'"): sort(source, d/'linked', 'link')
        assert contents(source) == want
        sort(source, d/'out', 'move')
        assert contents(d/'out') == want and not photos(source) and all(r['done'] == 'moved' for r in lines(d/'out'))

def test_no_space_left(tmp_path):
    source = fill(tmp_path/'in')
    sort(source, tmp_path/'plain')
    with disk(tmp_path/'disk', '64k') as d:
        with pytest.raises(FabricError, match='no space is left') as e: sort(source, d/'out')
        assert str(source) in str(e.value) or 'out' in str(e.value)
        found = tree(d/'out')
        assert 0 < len(found) < 24 and all(tree(tmp_path/'plain')[k] == v for k, v in found.items())
        subprocess.run(['mount', '-o', 'remount,size=1m', str(d)], check=True)
        sort(source, d/'out')
        assert tree(d/'out') == tree(tmp_path/'plain') and len(lines(d/'out')) == 24

@pytest.mark.parametrize('no', ['ENOSPC', 'EDQUOT'])
def test_no_space_in_the_midst(tmp_path, monkeypatch, no):
    source, sync, calls = fill(tmp_path/'in'), os.fsync, []
    def full(fd):
        calls.append(fd)
        if len(calls) == 12: raise OSError(getattr(errno, no), 'full')
        return sync(fd)
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(FabricError, match=r'\.jpg: no space is left for it'): sort(source, tmp_path/'out')
    monkeypatch.undo()
    assert len(tree(tmp_path/'out')) <= len(lines(tmp_path/'out')) and not list(tmp_path.rglob('*.tmp'))   # what was done is noted
    sort(source, tmp_path/'out'); sort(source, tmp_path/'plain')
    assert tree(tmp_path/'out') == tree(tmp_path/'plain')

@pytest.mark.parametrize('how', ['copy', 'move'])
def test_without_hard_links(tmp_path, monkeypatch, how):
    source = fill(tmp_path/'in')
    shutil.copytree(source, tmp_path/'in2')
    sort(tmp_path/'in2', tmp_path/'plain')
    def none(*a, **kw): raise OSError(errno.EPERM, 'no links here')
    monkeypatch.setattr(os, 'link', none)
    with pytest.raises(FabricError, match="take how='copy'"): sort(source, tmp_path/'link', 'link')
    sort(source, tmp_path/'out', how)
    assert tree(tmp_path/'out') == tree(tmp_path/'plain') and bool(photos(source)) == (how == 'copy')

def test_a_source_that_cannot_be_removed(tmp_path, monkeypatch):
    source = fill(tmp_path/'in', 4)
    unlink = os.unlink
    def stuck(p, *a, **kw):
        if str(p).endswith('u3.jpg') and 'in' in Path(p).parts: raise PermissionError(errno.EACCES, 'read-only card')
        return unlink(p, *a, **kw)
    monkeypatch.setattr(os, 'unlink', stuck)
    with pytest.raises(FabricError, match='stay in their old places'): sort(source, tmp_path/'out', 'move')
    left = photos(source)
    assert left and all(p.name == 'u3.jpg' for p in left) and len(tree(tmp_path/'out')) == 4
    assert {r['file']: r['done'] for r in lines(tmp_path/'out')} == {r['file']: 'copied' if Path(r['file']) in left else 'moved' for r in lines(tmp_path/'out')}
    monkeypatch.undo()
    sort(source, tmp_path/'out', 'move')
    assert not photos(source) and len(tree(tmp_path/'out')) == 4

def test_a_source_that_changes_while_it_is_moved(tmp_path):
    a = tmp_path/'a.jpg'; a.write_text('old')
    with pytest.raises(FabricError, match='it changed while it was moved'):
        with Sorting(tmp_path/'out', 'move') as s:
            s.put(a, 'x')
            a.unlink(); a.write_text('newer')
    assert a.read_text() == 'newer' and (tmp_path/'out/x/a.jpg').read_text() == 'old'
    one(tmp_path/'out', a, 'move')
    assert sorted(tree(tmp_path/'out').values()) == [b'newer', b'old'] and not a.exists()

def test_a_source_that_changes_while_it_is_copied(tmp_path, monkeypatch):
    a, digest = tmp_path/'a.jpg', filing._digest
    a.write_text('old')
    def late(path, out=None):
        if out: a.write_text('new')
        return digest(path, out)
    monkeypatch.setattr(filing, '_digest', late)
    with Sorting(tmp_path/'out') as s, pytest.raises(FabricError, match='a.jpg: it changed while it was read'): s.put(a, 'x')
    assert not tree(tmp_path/'out')

# ---- the folder, the facts, the journal

def test_facts_of_a_sorting(tmp_path):
    about = dict(checkpoint='ab12', threshold=.5, classes=('a', 'b'))
    Sorting(tmp_path/'out', about=about).close()
    with Sorting(tmp_path/'out', about=about): pass
    for other, why in ((about | dict(threshold=.6), 'threshold is 0.5 there and 0.6 now'), (None, 'checkpoint'), (about | dict(more=1), 'more is None there and 1 now')):
        for dry in (False, True):
            with pytest.raises(FabricError, match=why): Sorting(tmp_path/'out', about=other, dry_run=dry)
    with pytest.raises(FabricError): Sorting(tmp_path/'new', about=dict(x={1}))
    with pytest.raises(FabricError): Sorting(tmp_path/'new2', about=dict(x=float('nan')))
    for bad in (b'{', b'[]', b'\xff'):
        (tmp_path/'out/sorting.json').write_bytes(bad)
        with pytest.raises(FabricError, match='cannot be read'): Sorting(tmp_path/'out', about=about)

def test_bad_journals(tmp_path):
    (tmp_path/'a.jpg').write_text('a')
    one(tmp_path/'out', tmp_path/'a.jpg')
    data = (tmp_path/'out'/JOURNAL).read_bytes()
    for bad in (b'file,other\n', b'\0\n', data + b'x,y\n', data + b'"\n', b'\xff' + data, data + b'"a,b,c\n' + data):
        (tmp_path/'out'/JOURNAL).write_bytes(bad)
        with pytest.raises(FabricError, match='is not a line with the columns file, folder'): Sorting(tmp_path/'out')
    (tmp_path/'out'/JOURNAL).write_bytes(data.replace(b'\n', b'\r\n'))       # a spreadsheet's line ends
    assert one(tmp_path/'out', tmp_path/'a.jpg') is None
    with pytest.raises(FabricError, match='columns'): Sorting(tmp_path/'out', facts=('label',))

def test_left_files_are_told_once(tmp_path):
    (tmp_path/'bad.jpg').touch()
    for _ in range(3):
        with Sorting(tmp_path/'out') as s:
            assert s.done(tmp_path/'bad.jpg') is None
            s.leave(tmp_path/'bad.jpg', 'the file is empty', label='coat'); s.leave(tmp_path/'none.jpg', 'no such file')
    assert [(Path(r['file']).name, r['done'], r['why'], r['label']) for r in lines(tmp_path/'out')] == [('bad.jpg', 'left', 'the file is empty', 'coat'), ('none.jpg', 'left', 'no such file', '')]
    assert s.summary() == dict(folders={}, done=dict(left=2)) and 'nothing; left 2' in repr(s)

@pytest.mark.parametrize('how', HOW)
def test_dry_run(tmp_path, how):
    source = fill(tmp_path/'in')
    def plain(rows): return [{k: v for k, v in r.items()} for r in rows]
    dry = plain(sort(source, tmp_path/'out', how, dry_run=True))
    assert not (tmp_path/'out').exists()
    assert dry == plain(sort(source, tmp_path/'out', how))
    stands = {p: p.stat().st_mtime_ns for p in (tmp_path/'out').rglob('*')}
    (source/'d0/new.jpg').parent.mkdir(exist_ok=True); (source/'d0/new.jpg').write_text('new')
    assert [r['file'] for r in sort(source, tmp_path/'out', how, dry_run=True)] == [str(source/'d0/new.jpg')]
    assert {p: p.stat().st_mtime_ns for p in (tmp_path/'out').rglob('*')} == stands

def test_rows_read_back_are_the_rows_given(tmp_path):
    rows = sort(fill(tmp_path/'in'), tmp_path/'out')
    with Sorting(tmp_path/'out') as s: assert [s.done(r['file']) for r in rows] == rows

@posix
@pytest.mark.skipif(not hasattr(os, 'seteuid') or os.geteuid() != 0, reason='needs root, to become somebody else')
def test_output_that_cannot_be_written():
    with tempfile.TemporaryDirectory(dir='/tmp') as d:       # which anybody may enter
        os.chmod(d, 0o755)
        fill(Path(d)/'in', 4); sort(Path(d)/'in', Path(d)/'out')
        os.seteuid(65534)
        try:
            for out in ('new', 'out'):
                with pytest.raises(FabricError, match='Permission denied'): Sorting(Path(d)/out)
            assert len(Sorting(Path(d)/'out', dry_run=True)._rows) == 4
        finally: os.seteuid(0)

def test_output_that_is_no_folder(tmp_path):
    (tmp_path/'f').touch()
    for dry in (False, True):
        with pytest.raises(FabricError, match='is not a folder'): Sorting(tmp_path/'f', dry_run=dry)
    for out in (tmp_path/'f/g', 'a\0b'):
        with pytest.raises(FabricError): Sorting(out)
    (tmp_path/'out').mkdir(); (tmp_path/'out/x').touch(); (tmp_path/'a.jpg').touch()
    with Sorting(tmp_path/'out') as s, pytest.raises(FabricError, match='a.jpg'): s.put(tmp_path/'a.jpg', 'x')

@posix
def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path/'pipe.jpg'); (tmp_path/'dir.jpg').mkdir()
    with Sorting(tmp_path/'out') as s:
        for n in ('pipe.jpg', 'dir.jpg'):
            with pytest.raises(FabricError, match=f'{n}: is not a plain file'): s.put(tmp_path/n, 'x')
        for n in ('gone.jpg', 'a\0b', 'x'*300):
            with pytest.raises(FabricError): s.put(tmp_path/n, 'x')

def test_an_error_keeps_what_was_done(tmp_path):
    source = fill(tmp_path/'in', 8)
    with pytest.raises(FabricError, match='gone.jpg: it is gone'), Sorting(tmp_path/'out') as s:
        for p in (*photos(source)[:5], source/'gone.jpg'): s.put(p, 'x')
    assert len(lines(tmp_path/'out')) == 5
