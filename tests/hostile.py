"Hostile input: what may stand in the place of a good file, and a child process in which it is offered and watched."
import copy, csv, faulthandler, gzip, io, json, os, pickle, random, re, resource, select, shutil, signal, stat, struct, sys, tempfile, time, unittest.mock, warnings, zipfile, zlib
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np, pandas as pd, torch
from PIL import Image
from safetensors.torch import load as tensors_of, save as bytes_of

from fabric_touch.checkpoints import CARD, _card_bytes, _card_sha256, file_sha256
from fabric_touch.core import FabricError

DECOY = 'root:x:0:0:root:/root:/bin/sh\n'*20     # stands for a file of the system
SECONDS, MEMORY = 10, 500          # of one attempt; MB above what the process had before

# ---- a child in which attempts are made

@dataclass
class Attempt:
    "What is tried: `prepare()`, then `run()`, which is timed, limited and watched; `check(result)` says what is wrong with what came back"
    name:tuple
    prepare:object
    run:object
    check:object = lambda result: ''
    may_write:tuple = ()   # Folders
    secret:object = None   # A folder in which nothing may be opened
    may_warn:bool = False

@dataclass
class Outcome:
    "What came of an attempt"
    name:tuple
    kind:str           # fine, refused, crash, timeout, memory, or broken, where the attempt itself cannot be made
    error:str = ''     # Type of what was raised
    ours:bool = False  # A `FabricError`?
    text:str = ''      # What it says
    saw:list = field(default_factory=list) # What was done that no reader does
    check:str = ''
    mb:float = 0.      # Memory above what there was before, at most
    seconds:float = 0.

_LEAVES = {'os.remove', 'os.rename', 'os.rmdir', 'os.mkdir', 'os.link', 'os.symlink', 'os.truncate', 'os.chmod', 'os.chown', 'shutil.rmtree'}
_RUNS = {'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.Popen', 'pickle.find_class', 'socket.connect', 'socket.getaddrinfo', 'webbrowser.open'}

class Watch:
    "An audit hook: what is written, removed or renamed elsewhere, what is run, sockets and secrets are told of, and stopped, so that no fault of a reader reaches the machine"
    def __init__(self, own): self.on, self.saw, self.own, self.may_write, self.secret = False, [], own, (), None
    def inside(self, path, folders):
        real = os.path.join(os.path.realpath(path), '')
        return any(real.startswith(os.path.join(os.path.realpath(o), '')) for o in folders)
    def stop(self, what): self.saw.append(what[:300]); raise PermissionError(f'watched: {what[:200]}')
    def __call__(self, event, args):
        if not self.on: return
        self.on = False
        try: self.look(event, args)
        except (TypeError, ValueError): pass      # of a path that is none
        finally: self.on = True
    def look(self, event, args):
        paths = [os.fsdecode(p) for p in args[:2 if event in ('os.rename', 'os.link', 'os.symlink') else 1] if isinstance(p, (str, bytes, os.PathLike))]
        below = event in ('os.remove', 'os.rmdir') and args[-1] not in (-1, None)      # a folder that shutil.rmtree was allowed
        if event == 'open' and paths: self.look_file(paths[0], args[2])
        elif event in _LEAVES and not below:
            for p in paths[event == 'os.symlink':]:
                if not any(self.inside(o, self.may_write + self.own) for o in (p, os.path.dirname(p) or '.')): self.stop(f'{event} {p}')
        elif event in _RUNS: self.stop(f'{event} {args!r}')
        elif event in ('ctypes.dlopen', 'exec'):
            file = args[0] if event == 'ctypes.dlopen' else getattr(args[0], 'co_filename', None)
            if isinstance(file, str) and os.path.isabs(file) and self.inside(file, self.may_write + self.own): self.stop(f'{event} {file}')
    def look_file(self, path, flags):
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes and path != os.devnull and not self.inside(path, self.may_write + self.own): self.stop(f'wrote {path}')
        if not writes and self.secret and self.inside(path, [self.secret]): self.stop(f'read {path}')

def _memory(what='VmRSS'):
    return next(int(l.split()[1])/1024 for l in Path('/proc/self/status').read_text().splitlines() if l.startswith(what))

def _child_limits(memory):
    "One arena, so that threads reserve nothing; no more address space than `memory` MB above what there is"
    import ctypes
    ctypes.CDLL(None).mallopt(-8, 1)       # M_ARENA_MAX
    most = int((_memory('VmSize') + memory)*2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def _no_memory(e):
    "Was memory asked for that was not there, whatever it was turned into?"
    while e is not None:
        if isinstance(e, MemoryError) or re.search(r"MemoryError|can't allocate memory|Unable to allocate|bad_alloc|bad allocation|Cannot allocate memory", str(e)): return True
        e = e.__cause__ or e.__context__

def _tried(a, watch):
    "The outcome of one attempt, as a dict"
    try: a.prepare()
    except Exception as e: return dict(kind='broken', error=type(e).__name__, text=str(e))
    Path('/proc/self/clear_refs').write_text('5')
    before, start, res = _memory(), time.perf_counter(), dict(kind='fine')
    watch.saw, watch.may_write, watch.secret = [], a.may_write, a.secret
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        watch.on = True
        try: found = a.run()
        except MemoryError as e: res = dict(kind='memory', text=str(e))
        except (Exception, SystemExit) as e: res = dict(kind='memory' if _no_memory(e) else 'refused', error=type(e).__name__, ours=isinstance(e, FabricError), text=str(e))
        finally: watch.on = False
    res |= dict(seconds=time.perf_counter() - start, mb=max(0, _memory('VmHWM') - before), saw=watch.saw)
    try: res['check'] = a.check(found if res['kind'] == 'fine' else None)
    except Exception as e: res['check'] = f'what came back is no good: {type(e).__name__}: {e}'
    told = [str(w.message) for w in warned if f'{os.sep}fabric_touch{os.sep}' in w.filename and issubclass(w.category, UserWarning)]
    return res | (dict(check=f'only a warning: {told[0]}') if told and res['kind'] == 'fine' and not res['check'] and not a.may_warn else {})

def _child(todo, pipe, memory, home):
    "Make the attempts one after the other; a line of JSON for each"
    try:
        watch, sys.dont_write_bytecode = Watch((home,)), True
        os.environ.update(HOME=home, XDG_CACHE_HOME=home, TMPDIR=home); tempfile.tempdir = home
        os.chdir(home); faulthandler.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(quiet, fd)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
        sys.addaudithook(watch)
        _child_limits(memory)
        for a in todo: os.write(pipe, json.dumps(_tried(a, watch), ensure_ascii=True, default=str).encode() + b'\n')
    finally: os._exit(0)

def _lines(pipe, seconds):
    "Lines out of a pipe; None where one takes too long, and an end where it closes"
    waiting = b''
    while True:
        while b'\n' not in waiting:
            if not select.select([pipe], [], [], seconds)[0]: yield None; return
            if not (more := os.read(pipe, 1 << 16)): return
            waiting += more
        line, _, waiting = waiting.partition(b'\n')
        yield json.loads(line)

def attempts(todo, seconds=SECONDS, memory=MEMORY):
    "The outcome of each attempt; many are made in one child, and if it dies the next one goes on behind the attempt that killed it"
    with tempfile.TemporaryDirectory() as home: yield from _attempts(list(todo), seconds, memory, home)

def _attempts(todo, seconds, memory, home):
    while todo:
        sys.stdout.flush(); sys.stderr.flush()
        read, write = os.pipe()
        if not (pid := os.fork()): os.close(read); _child(todo, write, memory, home)
        os.close(write)
        late, n = False, 0
        for line in _lines(read, seconds):
            if line is None: late = True; os.kill(pid, signal.SIGKILL); break
            yield Outcome(todo[n].name, **line); n += 1
        os.close(read)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if n < len(todo): yield Outcome(todo[n].name, 'timeout' if late else 'crash', text=f'longer than {seconds} s' if late else f'signal {-code}'); n += 1
        todo = todo[n:]

def attempt(f, seconds=SECONDS, memory=MEMORY, may_write=()):
    "The outcome of one call, in a child of its own"
    return next(attempts([Attempt(('one',), lambda: None, f, may_write=may_write)], seconds, memory))

# ---- attacks on the bytes of a file

class Dice(random.Random):
    "A source of chance that knows the room: where a thief leaves its mark, and what is none of a reader's business"
    def __init__(self, seed, room): super().__init__(seed); self.marker, self.secret = room/'STOLEN', room/'secret'

class Thief:
    "A pickle that writes a file when it is opened"
    def __init__(self, marker): self.marker = marker
    def __reduce__(self): return os.system, (f"touch '{self.marker}'",)

class Scribe(Thief):
    def __reduce__(self): return open, (str(self.marker), 'w')

class Runner(Thief):
    def __reduce__(self): return exec, (f"open({str(self.marker)!r}, 'w')",)

def _into(write, *args, **kwargs):
    "The bytes that a function writes into a file"
    f = io.BytesIO()
    write(*args, f, **kwargs)
    return f.getvalue()

def _zip(**files):
    f = io.BytesIO()
    with zipfile.ZipFile(f, 'w', zipfile.ZIP_DEFLATED) as z:
        for name,data in files.items(): z.writestr(name, data)
    return f.getvalue()

def claims(w, h):
    "A PNG that claims w x h pixels and holds none"
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', w, h, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')

def npy(shape, kind='<f4', data=b''):
    "An .npy that claims a shape"
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(head)) + head + data

def header(text, n=None, data=b''):
    "A safetensors file with this header, of the length that it claims"
    return struct.pack('<Q', len(text) if n is None else n) + text + data

def _tensor(shape, offsets, kind='F32'): return header(json.dumps(dict(w=dict(dtype=kind, shape=shape, data_offsets=offsets))).encode(), data=bytes(16))

def _photo(kind='PNG', size=(40, 30)): return _into(Image.fromarray(np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save, format=kind)

def flip(b, dice):
    at = dice.randrange(len(b))
    return b[:at] + bytes([b[at] ^ 1 << dice.randrange(8)]) + b[at+1:]

def _put(b, dice, what): at = dice.randrange(len(b) + 1); return b[:at] + what + b[at:]

WHOLE = {   # attacks on any file: what stands in its place
    'empty': lambda b, d: b'', 'one byte': lambda b, d: b'{', 'blank': lambda b, d: b'\n \n\n', 'zeros': lambda b, d: bytes(min(len(b), 4096)), 'noise': lambda b, d: d.randbytes(2000),
    'cut': lambda b, d: b[:d.randrange(len(b))], 'cut at the end': lambda b, d: b[:-1], 'longer': lambda b, d: b + b'\n\0junk', 'twice': lambda b, d: b + b, 'flip': flip,
    'a photo': lambda b, d: _photo('JPEG'), 'text': lambda b, d: b'this is no such file\n'*3, 'a web page': lambda b, d: b'<!DOCTYPE html><html><body>404 Not Found</body></html>', 'JSON': lambda b, d: b'{"a": [1, 2, {"b": null}]}',
    'a JSON list': lambda b, d: b'[]', 'a JSON null': lambda b, d: b'null', 'a CSV': lambda b, d: b'a,b\n1,2\n', 'a script': lambda b, d: f"#!/bin/sh\ntouch '{d.marker}'\n".encode(), 'a gzip': lambda b, d: gzip.compress(b),
    'deep brackets': lambda b, d: b'['*1_000_000, 'deep objects': lambda b, d: b'{"a":'*100_000 + b'1' + b'}'*100_000, 'deep and good': lambda b, d: b'{"a":' + b'['*5000 + b']'*5000 + b'}', 'one long line': lambda b, d: b'x'*1_000_000, 'a thousand commas': lambda b, d: b','*1000 + b'\n' + b'1,'*1000,
    'a bomb of gzip': lambda b, d: gzip.compress(bytes(20_000_000)), 'a bomb of zip': lambda b, d: _zip(**{'archive/data.pkl': bytes(20_000_000)}), 'a bomb of PNG': lambda b, d: claims(20_000, 20_000),
    'a claim of terabytes': lambda b, d: header(b'{}', 2**62), 'a shape of terabytes': lambda b, d: _tensor([2**20, 2**20], [0, 2**42]), 'an array of terabytes': lambda b, d: npy((2**20, 2**20)),
    'UTF-16': lambda b, d: b.decode('utf-8', 'replace').encode('utf-16'), 'a Git LFS pointer': lambda b, d: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n'}

THIEVES = {   # pickles that would write a file
    'a pickle': lambda b, d: pickle.dumps(Thief(d.marker)), 'an old pickle': lambda b, d: pickle.dumps(Scribe(d.marker), protocol=0), 'a pickle of code': lambda b, d: pickle.dumps(Runner(d.marker), protocol=2),
    'a torch file': lambda b, d: _into(torch.save, dict(state_dict=Thief(d.marker), w=Scribe(d.marker))), 'an old torch file': lambda b, d: _into(torch.save, Thief(d.marker), _use_new_zipfile_serialization=False),
    'an array of objects': lambda b, d: npy((1,), '|O', pickle.dumps(np.array([Thief(d.marker)], object))), 'arrays of objects': lambda b, d: _zip(**{f'{k}.npy': npy((1,), '|O', pickle.dumps([Thief(d.marker)])) for k in 'preds history columns probs flattered y folds groups'.split()}),
    'a pickled table': lambda b, d: gzip.compress(pickle.dumps(Thief(d.marker)))}

# ---- attacks on texts, tables, JSON, cards and weights

def tricks(dice):
    "Texts to stand where a path or a word is expected"
    s = dice.secret
    return {'a parent': '../secret/photo.png', 'two parents': '../../x/secret/photo.png', 'an absolute path': str(s/'photo.png'), 'a decoy': str(s/'decoy'), 'home': '~/x.png', 'a drive': 'C:\\x.png', 'a share': '\\\\host\\share\\x.png',
            'a URL': 'http://127.0.0.1:9/x.png', 'a file URL': f'file://{s}/photo.png', 'a line end': 'a\nb.png', 'a mark of direction': 'a\u202egnp.b', 'a NUL': 'a\0b.png', 'a long name': 'x'*5000, 'an escape': '\x1b[31mred\x1b[2J', 'a shell': f"$(touch '{dice.marker}')",
            'a formula': f"=cmd|' /C touch {dice.marker}'!A0", 'a format': '{0.__class__}%s%n', 'a number of 400 digits': '9'*400, 'an infinite number': '1e400', 'no number': 'NaN', 'a negative number': '-1', 'nothing': '', 'blanks': '  \t', 'a replacement': '\ufffd\U0010ffff', 'an accent': 'e\u0301', 'the folder': '.', 'a pipe': str(s/'pipe')}

TRICKS = list(tricks(Dice(0, Path('.'))))

def _rows(b): return [*csv.reader(io.StringIO(b.decode(), newline=''))]
def _csv(rows, sep=','): f = io.StringIO(newline=''); csv.writer(f, lineterminator='\n', delimiter=sep).writerows(rows); return f.getvalue().encode('utf-8', 'surrogatepass')

def on_rows(change):
    "An attack on a table's rows, the first of them its head, as one on bytes"
    def f(b, dice): rows = _rows(b); return _csv(change(rows, dice, dice.randrange(len(rows[0]))) or rows)
    return f

def _cell(rows, dice, column, value): rows[dice.randrange(1, len(rows))][column] = value

CSV = {'a column missing': on_rows(lambda r, d, k: [o[:k] + o[k+1:] for o in r]), 'a column more': on_rows(lambda r, d, k: [o + ['more'] for o in r]), 'a column twice': on_rows(lambda r, d, k: [o + [o[k]] for o in r]), 'a column renamed': on_rows(lambda r, d, k: r[0].__setitem__(k, 'a\n\u202eb\x1b[2J')),
       'no rows': on_rows(lambda r, d, k: r[:1]), 'no head': on_rows(lambda r, d, k: r[1:]), 'a row twice': on_rows(lambda r, d, k: r + [r[-1]]), 'a row too long': on_rows(lambda r, d, k: r + [r[-1]*3]), 'a row too short': on_rows(lambda r, d, k: r + [r[-1][:1]]), 'semicolons': lambda b, d: b.replace(b',', b';'),
       'an open quote': lambda b, d: _put(b, d, b'"'), **{f'a cell: {t}': on_rows(lambda r, d, k, t=t: _cell(r, d, k, tricks(d)[t])) for t in TRICKS}}

class Raw(str): "What JSON is to hold as it stands"

ODD = {'null': None, 'true': True, 'a list': [], 'an object': {}, 'minus one': -1, 'zero': 0, 'a large number': 2**63, 'a vast number': 10**18, 'a fraction': 1.5, 'a text': 'x', 'a list of lists': [[[]]], 'a list of numbers': [1, 2], 'an object in it': dict(a=1)}
RAW = {'1e400': Raw('1e400'), 'NaN': Raw('NaN'), '400 digits': Raw('9'*400), '9,000 digits': Raw('9'*9000), 'half a character': Raw('"\\ud800"'), 'a deep one': Raw('['*3000 + ']'*3000)}

def places(x):
    "(container, key) of every value in a JSON value"
    for k,v in (x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()):
        yield x, k
        yield from places(v)

def _said(x):
    "JSON, with raw parts put in"
    raw = []
    def mark(v): raw.append(v); return f'@{len(raw) - 1}@'
    def walk(v): return mark(v) if isinstance(v, Raw) else {k: walk(o) for k,o in v.items()} if isinstance(v, dict) else [*map(walk, v)] if isinstance(v, list) else v
    return re.sub(r'"@(\d+)@"', lambda m: raw[int(m[1])], json.dumps(walk(x))).encode()

def on_value(change):
    "An attack on one value of a JSON, drawn by kind of place, so that a long list is not all that is hit"
    def f(b, dice, say=_said):
        x = json.loads(b)
        there = {}
        for o,k in places(x): there.setdefault(k if isinstance(k, str) else '#', []).append((o, k))
        if there: change(*dice.choice(there[dice.choice(sorted(there))]), dice)
        return say(x)
    return f

def _drop(o, k, dice): del o[k]
def _more(o, k, dice): o.update(more=1) if isinstance(o, dict) else o.append(1)
def _again(o, k, dice): o.append(o[k]) if isinstance(o, list) else o.__setitem__('again', o[k])

JSON = {'a key missing': on_value(_drop), 'a key more': on_value(_more), 'a value twice': on_value(_again), **{f'a value: {n}': on_value(lambda o, k, d, v=v: o.__setitem__(k, copy.deepcopy(v))) for n,v in (ODD | RAW).items()},
        **{f'a value: {t}': on_value(lambda o, k, d, t=t: o.__setitem__(k, tricks(d)[t])) for t in TRICKS}, 'a key twice': lambda b, d: re.sub(rb'\{(\s*"[^"]*"\s*:)', rb'{\1 1,\1', b, count=1)}

def signed(card):
    "A card with a right digest"
    card = {k: v for k,v in card.items() if k != 'card_sha256'}
    return _card_bytes(card | dict(card_sha256=_card_sha256(card)))

def _signed(f): return lambda b, dice: f(b, dice, signed)

SIGNED = {f'signed: {n}': _signed(JSON[n]) for n in JSON if n != 'a key twice' and n not in {f'a value: {r}' for r in RAW}}   # what no card can hold is offered unsigned

def on_line(f):
    "An attack on JSON as one on a line of it"
    def g(b, dice):
        lines = b.splitlines(keepends=True); i = dice.randrange(len(lines))
        return b''.join([*lines[:i], f(lines[i].rstrip(b'\n'), dice) + b'\n', *lines[i+1:]])
    return g

def on_words(change):
    "An attack on a word of a text of lines"
    def f(b, dice):
        words = re.split(r'(\s+)', b.decode()); at = [i for i,w in enumerate(words) if w.strip()]
        words[dice.choice(at)] = change(dice)
        return ''.join(words).encode('utf-8', 'surrogatepass')
    return f

LINES = {'a line missing': lambda b, d: b''.join(_without(b.splitlines(keepends=True), d)), 'a line twice': lambda b, d: b + b.splitlines(keepends=True)[-1], **{f'a word: {t}': on_words(lambda d, t=t: tricks(d)[t]) for t in TRICKS}}

def _without(items, dice): i = dice.randrange(len(items)); return items[:i] + items[i+1:]

TEXT = {'a mark of bytes': lambda b, d: b'\xef\xbb\xbf' + b, 'Latin-1': lambda b, d: _put(b, d, b'\xe9'), 'a NUL in it': lambda b, d: _put(b, d, b'\0'), 'a bell in it': lambda b, d: _put(b, d, b'\x07\x1b[2J'), 'half a character': lambda b, d: _put(b, d, b'\xed\xa0\x80'),
        'a mark of direction in it': lambda b, d: _put(b, d, '\u202e\u2066'.encode()), 'Windows line ends': lambda b, d: b.replace(b'\n', b'\r\n'), 'old line ends': lambda b, d: b.replace(b'\n', b'\r')}

def on_tensors(change):
    "An attack on named tensors, as one on a safetensors file"
    def f(b, dice): w = tensors_of(b); k = dice.choice(sorted(w)); return bytes_of({n: t.contiguous() for n,t in change(w, k).items()})
    return f

def _filled(w, k, value): t = w[k].clone(); t.view(-1)[-1:] = value; return w | {k: t}

TENSORS = {'signed: NaN': on_tensors(lambda w, k: {n: t*float('nan') if t.is_floating_point() else t for n,t in w.items()}), 'signed: infinite': on_tensors(lambda w, k: {n: t + float('inf') if t.is_floating_point() else t for n,t in w.items()}), 'signed: one missing': on_tensors(lambda w, k: {n: t for n,t in w.items() if n != k}),
           'signed: one more': on_tensors(lambda w, k: w | {'more': torch.ones(2)}), 'signed: another shape': on_tensors(lambda w, k: w | {k: torch.ones(3, 2, 5)}), 'signed: another kind': on_tensors(lambda w, k: w | {k: w[k].to(torch.int16)}), 'signed: no numbers': on_tensors(lambda w, k: w | {k: torch.empty(0)}),
           'signed: none': lambda b, d: bytes_of({}), 'signed: a strange name': on_tensors(lambda w, k: {('a\n\u202e\x1b[2J' if n == k else n): t for n,t in w.items()}),
           'signed: extreme': on_tensors(lambda w, k: w | {k: torch.full_like(w[k], torch.finfo(w[k].dtype).max if w[k].is_floating_point() else torch.iinfo(w[k].dtype).max if w[k].dtype != torch.bool else True)}),
           'offsets beyond the end': lambda b, d: _tensor([4], [0, 2**40]), 'offsets that overlap': lambda b, d: header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', data=bytes(16)), 'a header of brackets': lambda b, d: header(b'{"a":' + b'['*100_000)}

def on_torch(change):
    "An attack on what torch.save wrote, without anything that would be run"
    return lambda b, d: _into(torch.save, change(torch.load(io.BytesIO(b), weights_only=True)))

def _deflated(b):
    with zipfile.ZipFile(io.BytesIO(b)) as z: return _zip(**{n: z.read(n) for n in z.namelist()})

class Hoard:
    def __reduce__(self): return bytearray, (10**13,)

TORCH = {'a hoard': lambda b, d: _into(torch.save, dict(a=Hoard())), 'an old hoard': lambda b, d: _into(torch.save, Hoard(), _use_new_zipfile_serialization=False), 'a wide view': lambda b, d: _into(torch.save, dict(a=torch.zeros(1).expand(10**13))), 'sparse': lambda b, d: _into(torch.save, dict(a=torch.ones(3).to_sparse())),
         'packed': lambda b, d: _deflated(_into(torch.save, dict(a=torch.zeros(4_000_000)))), 'a list': on_torch(lambda x: [x]), 'a number': on_torch(lambda x: 3), 'nothing in it': on_torch(lambda x: {}), 'a strange name': on_torch(lambda x: {'a\n\u202e\x1b[2J': x}), 'numbers for names': on_torch(lambda x: {i: t for i,t in enumerate(x.values())})}

BOMBS = {'a claim of 20,000 x 20,000': lambda b, d: claims(20_000, 20_000), 'a GIF of 65,535 x 65,535': lambda b, d: b'GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x04\x01\x00;',
         'a BMP of a million': lambda b, d: b'BM' + struct.pack('<IHHIIiiHHIIiiII', 1078, 0, 0, 54, 40, 10**6, 10**6, 1, 24, 0, 0, 0, 0, 0, 0), 'a PPM of a million': lambda b, d: b'P6 1000000 1000000 255\n' + bytes(30), 'just too large': lambda b, d: claims(10_001, 10_000),
         'a large text chunk': lambda b, d: _text_chunk(zlib.compress(bytes(80_000_000), 9)), 'strange EXIF': lambda b, d: _into(Image.new('RGB', (40, 30)).save, format='JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + bytes(30))}

def _text_chunk(data):
    body = b'Comment\0\0' + data
    return _photo()[:33] + struct.pack('>I', len(body)) + b'zTXt' + body + struct.pack('>I', zlib.crc32(b'zTXt' + body)) + _photo()[33:]

ARRAYS = {'terabytes': lambda b, d: npy((2**20, 2**20)), 'a negative shape': lambda b, d: npy((-1, 4)), 'another shape': lambda b, d: npy((2, 2), data=bytes(16)), 'text': lambda b, d: npy((2,), '<U4', bytes(32)), 'a strange header': lambda b, d: npy('[' * 3000), 'code for a header': lambda b, d: npy(f"(__import__('os').system(\"touch '{d.marker}'\"),)"),
          'NaN': lambda b, d: npy((4,), data=struct.pack('<4f', *[float('nan')]*4))}

FORMS = dict(photo=BOMBS, csv=TEXT | CSV, json=TEXT | JSON, jsonl=TEXT | {k: on_line(f) for k,f in JSON.items()}, card=TEXT | {k: JSON[k] for k in ('a key missing', 'a value: a text', 'a key twice', *(f'a value: {r}' for r in RAW))} | SIGNED, txt=TEXT | LINES,
             safetensors=TENSORS, torch=TORCH, npy=ARRAYS, npz={k: lambda b, d, f=f: _zip(**dict.fromkeys((f'{n}.npy' for n in 'preds history columns probs flattered y folds groups'.split()), f(b, d))) for k,f in ARRAYS.items()}, parquet={}, onnx={}, rows={})
DRAWN = {'flip', 'cut'} | {k for form in ('csv', 'json', 'jsonl', 'card', 'txt') for k in FORMS[form] if k not in ('semicolons', 'no rows', 'no head')}      # these hit a place that the dice choose
ATTACKS = {form: WHOLE | THIEVES | own for form,own in FORMS.items()}     # form of a file -> name -> function of (bytes, dice)

# ---- attacks on a file's place: a link leads to a decoy of ours and never to a file of the machine, since a reader that is at fault writes to it

def _link(to):
    def f(path, dice): path.unlink(); path.symlink_to(to(dice, path))
    return f

def _folder(path, dice): path.unlink(); path.mkdir()
def _pipe(path, dice): path.unlink(); os.mkfifo(path)

def _endless(path, dice):
    path.unlink()
    try: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))      # one of our own that gives zeros, as /dev/zero does
    except OSError: os.mkfifo(path)                                  # only root makes devices

PLACES = {'missing': lambda p, d: p.unlink(), 'a folder': _folder, 'a pipe': _pipe, 'a link to itself': _link(lambda d, p: p.name), 'a link to nowhere': _link(lambda d, p: 'nowhere'), 'a link to a decoy': _link(lambda d, p: d.secret/'decoy'),
          'a link out': _link(lambda d, p: d.secret/'photo.png'), 'a link to a folder out': _link(lambda d, p: d.secret), 'a file without an end': _endless}

# ---- the readers

@dataclass
class Reader:
    "One who reads files: how good ones are made, how they are read, and what kind each is"
    make:object        # folder -> None
    read:object        # folder -> what was read, and all of it
    files:dict         # Name in the folder -> a name of `FORMS`
    same:bool=False    # Is what is read guarded, so that it is refused or as it was?
    says:tuple=()      # One of these, or the name of the file or of a folder that it lies in, stands in each error
    stays:bool=True    # Does it open nothing outside the folder?
    writes:tuple=()    # Names in the folder that it may change
    needs:tuple=()     # Modules of an extra
    dear:int=1         # In a short run so many times fewer are tried

def look(x):
    "What was read, as text that is equal where it is"
    if isinstance(x, torch.nn.Module): return look(x.state_dict())
    if isinstance(x, Mapping): return str({str(k): look(v) for k,v in x.items()})
    if isinstance(x, torch.Tensor): return f'{x.dtype} {tuple(x.shape)} {zlib.crc32(x.detach().contiguous().flatten().view(torch.uint8).numpy().tobytes()) if x.numel() else 0}'
    if isinstance(x, np.ndarray): return f'{x.dtype} {x.shape} {zlib.crc32(np.ascontiguousarray(x).tobytes())}'
    if isinstance(x, pd.DataFrame): return x.to_csv()
    if isinstance(x, (list, tuple)): return str([look(o) for o in x])
    return re.sub(r' at 0x[0-9a-f]+', '', repr(x))

def _write(folder, **files):
    for name,data in files.items():
        path = folder/name.replace('__', '.'); path.parent.mkdir(parents=True, exist_ok=True); path.write_bytes(data if isinstance(data, bytes) else data.encode())

def _photos(folder, names):
    for i,n in enumerate(names):
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder/n)

def _json(x): return json.dumps(x)

def _photo_reader(kind): return Reader(lambda f: _write(f, **{f'a__{kind.lower()}': _photo(kind)}), lambda f: _load_photo(f/f'a.{kind.lower()}'), {f'a.{kind.lower()}': 'photo'})

def _load_photo(path):
    from fabric_touch.data import load_photo
    img = load_photo(path)
    assert img.mode == 'RGB' and img.width*img.height <= 10**8
    return img.size

def _fabrics(f):
    _photos(f, ['a.png', 'b.png', 'c.png'])
    (f/'fabrics.csv').write_text('fabric,article,image,blend,softness,smoothness,thickness,flexibility\na,x,a.png,100% cotton,1,2,3,4\nb,y,b.png,95% cotton 5% elastane,2,3,4,5\nc,z,c.png,50% wool 50% polyester,5,4,3,2\n')

def _read_fabrics(f):
    from fabric_touch.data import read_fabrics
    t = read_fabrics(f/'fabrics.csv')
    np.testing.assert_allclose(t.blends.sum(1), 1, atol=1e-5)
    assert len(t) and np.isfinite(t.blends).all() and (t.blends >= 0).all()
    return t.items

def _survey(f):
    (f/'blends.csv').write_text('fabric,blend\na,100% cotton\nb,100% wool\n'); (f/'folds.csv').write_text('fabric,fold\na,0\nb,1\n')
    (f/'ratings.csv').write_text('fabric,rater,softness,smoothness,thickness,flexibility\na,1,1,2,3,4\nb,1,5,4,3,2\n')

def _by(module, name, *path, **kwargs):
    "A reader by name, imported where it is used, of a file or folder in the folder"
    def read(f): return getattr(__import__(f'fabric_touch.{module}', fromlist=[name]), name)(f.joinpath(*path), **kwargs)
    return read

def _table(read):
    "What a reader of tables gives, as what can be compared; each path leads to a photo in the folder, or is one that was given"
    def f(folder):
        t = read(folder)
        assert all(isinstance(p, str) for p in t.items.image)
        return t.items
    return f

def _deepfashion(fine):
    def make(f):
        from fabric_touch.deepfashion import make_deepfashion
        shutil.rmtree(f); make_deepfashion(f, 8, size=32, fine=fine)
    return make

def _fine_csv(f):
    _write(f, labels__csv='image,category1,category2,category3,category4,category5,category6\nimg/a.jpg,0,0,0,0,0,0\nimg/b.jpg,1,1,0,1,0,0\n')
    from fabric_touch.deepfashion import FINE
    rows = [f'{g}_{i}   {k}' for k,g in enumerate(FINE, 1) for i in range(2)]
    (f/'list_attr_cloth.txt').write_text(f'{len(rows)}\nattribute_name attribute_type\n' + '\n'.join(rows) + '\n')

_COCO = dict(images=[dict(id=1, file_name='a.png', width=40, height=32, license=1), dict(id=2, file_name='b.png', width=40, height=32)], licenses=[dict(id=1, name='CC BY')])
_NAMES = ['a.png', 'b.png', 'c.png', 'd.png']

def _captions(f):
    _photos(f, [f'images/{n}' for n in _NAMES] + ['images/knit/a.jpg', 'images/knit/b.jpg', 'classes/x/a.png', 'classes/x/b.png', 'classes/y/a.png', 'classes/y/b.png', 'sun/a/abbey/a.png', 'sun/b/bar/indoor/b.png'])
    (f/'coco.json').write_text(_json(_COCO | dict(annotations=[dict(id=i, image_id=1 + i % 2, caption=f'a cloth number {i}') for i in range(3)])))
    (f/'short.json').write_text(_json(dict(images=[dict(id=i, file=n, captions=['a cloth', 'some cloth'], split='train') for i,n in enumerate(_NAMES)])))
    (f/'red.json').write_text(_json(dict(annotations=[dict(image_id=n, subreddit='knit', caption='my cloth', raw_caption='My cloth!', author='me', url='u') for n in 'ab'])))
    (f/'pairs.csv').write_text('image,text,photo,group,x0,y0,x1,y1\nimages/a.png,a cloth,1,g,0,0,9,9\nimages/b.png,more cloth,2,h,,,,\n')
    (f/'labels.csv').write_text('image,label\nimages/a.png,knit\nimages/b.png,woven\n'); (f/'names.txt').write_text('x knit cloth\ny woven cloth, a kind\n'); (f/'sun'/'ClassName.txt').write_text('/a/abbey\n/b/bar/indoor\n')

def _captions_reader(file, form, read): return Reader(_captions, _table(read), {file: form})

def _redcaps(f):
    from fabric_touch.captions import read_redcaps
    return read_redcaps(f/'red.json', f/'images')

def _of(module, name, *paths, **kwargs):
    "As `_by`, with several paths"
    def read(f): return getattr(__import__(f'fabric_touch.{module}', fromlist=[name]), name)(*(f/p for p in paths), **{k: f/v if isinstance(v, Path) else v for k,v in kwargs.items()})
    return read

def _sketches(f):
    from fabric_touch.sketches import make_sketches
    shutil.rmtree(f); make_sketches(f, n=2, classes=('dress', 'shoe'), size=32)

def _outputs(f):
    (f/'test.csv').write_text('id,image_path\n0,a.png\n1,b.png\n2,c.png\n')
    for m,p in dict(one=.7, two=.6).items(): (f/f'output_{m}.csv').write_text('id,image_path,target,p_knit,p_woven\n' + ''.join(f'{i},{n}.png,knit,{p},{1-p:.1f}\n' for i,n in enumerate('abc')))
    for m,p in dict(one=.7, two=.6).items(): (f/f'oof_{m}.csv').write_text('image_path,target,fold,predicted,p_knit,p_woven\n' + ''.join(f'{n}.png,{"knit woven"[5*(i % 2):][:5].strip()},{i % 2},knit,{p},{1-p:.1f}\n' for i,n in enumerate('abcd')))

def _read_outputs(f):
    from fabric_touch.ensembles import read_outputs
    o = read_outputs(f, pd.read_csv(f/'test.csv', dtype=str))
    for p in o.probs.values(): np.testing.assert_allclose(p.sum(1), 1, atol=2e-3)
    return o.table()

def _read_oofs(f):
    from fabric_touch.ensembles import read_oofs
    o = read_oofs(f)
    for p in o.probs.values(): np.testing.assert_allclose(p.sum(1), 1, atol=2e-3)
    return o.table(), o.y

_PAGES = [dict(id=f'p{i}', title=f'cotton dress {i}', photos='a.png|b.png', label='100% cotton', fabric_photos='c.png') for i in range(4)]

def _pages(f):
    _photos(f, _NAMES)
    t = pd.DataFrame(_PAGES)
    t.to_csv(f/'pages.csv', index=False); t.to_csv(f/'pages.tsv', index=False, sep='\t'); t.to_json(f/'pages.jsonl', orient='records', lines=True)
    if _has('pyarrow'): t.to_parquet(f/'pages.parquet', engine='pyarrow', index=False)
    (f/'page.json').write_text(_json(dict(title='cotton dress', photos=['a.png'], label='100% cotton', fabric_photos=['b.png'])))

def _has(module):
    import importlib.util
    return importlib.util.find_spec(module) is not None

def _read_pages(name):
    def read(f):
        from fabric_touch.catalogs import COLUMNS, read_pages
        t = read_pages(f/name)
        assert list(t) == list(COLUMNS) and len(t) and t.id.is_unique and all(isinstance(v, list) for v in t.photos)
        return t
    return read

def _product(f):
    from fabric_touch.product import describe_product
    _photos(f, ['a.png'])
    p = describe_product('cotton dress', [f/'a.png'], '95% cotton 5% elastane')
    (f/'product.json').write_text(json.dumps(p.record if hasattr(p, 'record') else dict(p)))

def _catalog(f):
    from fabric_touch.catalogs import describe_products
    _pages(f); describe_products(f/'pages.csv', f/'out', progress=False)

def _go_on_with_catalog(f):
    from fabric_touch.catalogs import describe_products
    t = describe_products(f/'pages.csv', f/'out', progress=False)
    assert len(t) >= 4
    return len(t)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        gen = torch.Generator().manual_seed(0)
        self.a, self.b = torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)
        for p in self.parameters(): p.data = torch.randn(p.shape, generator=gen)

def _checkpoint(f):
    from fabric_touch.checkpoints import save_checkpoint
    save_checkpoint(f/'m', Net(), dict(kind='net', classes=['knit', 'woven'], sizes=[6, 4], deep=dict(a=[1, dict(b=None)], lr=.001)))

def _weights(f):
    torch.save(dict(epoch=3, state_dict=Net().state_dict()), f/'m.pth'); torch.save(Net().state_dict(), f/'old.pth', _use_new_zipfile_serialization=False)
    (f/'m.safetensors').write_bytes(bytes_of({k: v.clone() for k,v in Net().state_dict().items()}))

_CHECKPOINT = {'m/card.json': 'card', 'm/model.safetensors': 'safetensors'}

def _touch(f):
    from fabric_touch.touch import save_touch, touch_model
    save_touch(touch_model('mlb', 8, pretrained=False).eval(), f/'m', data='nothing')

def _touch_encoder(f):
    from fabric_touch.touch import save_touch, touch_model
    save_touch(touch_model('mlb', 'swatch', pretrained=False).eval(), f/'m')

def _reference(f):
    from fabric_touch.galata import REFERENCES
    from fabric_touch.touch import touch_model
    parts, back = touch_model('venezia', 512, ('softness',), pretrained=False), sorted(((o, t) for t,o in REFERENCES['venezia'].items()), reverse=True)
    torch.save({next((t + k[len(o):] for o,t in back if k.startswith(o + '.')), k): v.half() if v.is_floating_point() else v for k,v in parts.state_dict().items()}, f/'venezia.pth')

def _attributes(f):
    from fabric_touch.attributes import attribute_model, save_attributes
    from fabric_touch.deepfashion import attribute_table
    table = attribute_table(pd.DataFrame(dict(image=['a.png', 'b.png'], labels=[['striped', 'cotton'], ['plain', 'wool']])), dict(striped='pattern', plain='pattern', cotton='fabric', wool='fabric'), ('pattern',))
    m = attribute_model(table, 'swatch').eval(); m.thresholds = dict.fromkeys(table.groups, .5)
    save_attributes(m, f/'m')

def _hybrid(f):
    from fabric_touch.encoders import image_encoder
    from fabric_touch.hybrid import HybridModel, save_hybrid
    m = HybridModel(dict(mobilenet=image_encoder('swatch')), ('knit', 'woven'), 'mobilenet')
    m.seen = torch.zeros(2, 16, dtype=torch.uint8); m.looks = torch.zeros(2, 100, dtype=torch.uint8)
    save_hybrid(m.eval(), f/'m')

def _old_hybrid(f):
    "As the earlier version wrote it, with a tower of MobileNetV3 cut to halves, which is not loaded whole but is all looked at"
    from fabric_touch.hybrid import HybridHead
    torch.save(dict(state_dict={'mobilenet.a': torch.ones(2), **{f'classifier.{k}': v for k,v in HybridHead(960, 2).state_dict().items()}}, classes=['knit', 'woven'], mode='mobilenet', epoch=3), f/'m.pth.tar')

def _read_old_hybrid(f):
    from fabric_touch.hybrid import _old_parts
    return _old_parts(f/'m.pth.tar')

def _member(f):
    from fabric_touch.sketch import fit_folds
    from fabric_touch.sketches import make_sketches
    with tempfile.TemporaryDirectory() as d:
        t = make_sketches(Path(d)/'data', n=6, classes=('dress', 'shoe'), size=32)
        fit_folds(t, 'test_resnet', folder=f/'m', pretrained=False, recipe='scratch', n_folds=2, size=32, epochs=1, lr=.01, bs=8, augment='none', store=Path(d)/'pixels')
    for p in f.rglob('*'):
        if p.is_file() and (p.name.startswith('.') or 'said' in p.parts): p.unlink()

def _multimodal(f):
    from fabric_touch.multimodal import MultimodalConfig, build_multimodal
    from fabric_touch.sequences import text_encoder
    sizes = dict(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2)
    words = text_encoder('mine', False, feed_forward_proj='relu', relative_attention_num_buckets=32, vocab_size=1000, **sizes)
    c = MultimodalConfig(image_model_name='test_convnext3', image_weights='random', language_model_name='tiny', tokenizer='train', vocab_size=200, ffn=True, loc_vocab_size=10, image_vocab_size=32, d_model=16, num_layers=1, num_heads=2, d_ff=32, language_weights=str(f/'t5.safetensors'), datasets='folders:cloth')
    (f/'t5.safetensors').write_bytes(bytes_of({k: v.clone() for k,v in words.net.state_dict().items()}))
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); build_multimodal(c, ['a photo of knit', 'a photo of woven cloth']).save(f/'m')

def _tokens(f):
    from fabric_touch.tokens import train_tokens
    with warnings.catch_warnings(): warnings.simplefilter('ignore'); t = train_tokens(['a photo of knit cloth', 'woven cotton and wool'], 140, 4, 4)
    t.save(f); d = json.loads((f/'tokenizer.json').read_text())
    (f/'t5.json').write_text(json.dumps(d | dict(added_tokens=[])))

def _read_tokens(f):
    from fabric_touch.tokens import load_tokens
    t = load_tokens(f)
    return t.ids(['a photo of knit cloth']), t.digest

def _t5(f):
    from fabric_touch.sequences import text_encoder
    (f/'t5.safetensors').write_bytes(bytes_of({k: v.clone() for k,v in text_encoder('mine', False, feed_forward_proj='relu', relative_attention_num_buckets=8, vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).net.state_dict().items()}))

def _vqgan(f):
    from fabric_touch.vqgan import tiny_vqgan
    (f/'vqgan.safetensors').write_bytes(bytes_of({k: v.contiguous().clone() for k,v in tiny_vqgan().body.model.state_dict().items()}))

def _read_vqgan(f):
    from fabric_touch.vqgan import load_vqgan
    return load_vqgan(f/'vqgan.safetensors', None)

def _yolox(f):
    from test_detectors import onnx, raw
    onnx(f/'x.onnx', raw(3))

def _read_yolox(f):
    from fabric_touch.detectors import yolox_detector
    found = yolox_detector(f/'x.onnx', labels=('a', 'b', 'c'))(Image.new('RGB', (96, 64)))
    assert np.isfinite(found.xyxy).all()
    return len(found)

def _yolos(f):
    from fabric_touch.checkpoints import save_checkpoint
    from fabric_touch.detectors import tiny_yolos
    import transformers as tf
    p = tiny_yolos(f/'hub')
    net = tf.AutoModelForObjectDetection.from_pretrained(p)
    save_checkpoint(f/'m', net, dict(kind='detector', base='yolos', arch=json.loads(net.config.to_json_string(use_diff=False)), processor=json.loads((p/'preprocessor_config.json').read_text())))

def _read_yolos(folder): return lambda f: getattr(__import__('fabric_touch.detectors', fromlist=['']), 'yolos_detector')(f/folder).labels

def _sam(f):
    from fabric_touch.detectors import tiny_sam
    torch.save(tiny_sam().state_dict(), f/'sam.pth')

def _read_sam(f):
    from fabric_touch.detectors import segmenter, tiny_sam
    return segmenter('sam_vit_b', pretrained=f/'sam.pth', net=tiny_sam()).name

def _store(f):
    from fabric_touch.embeds import EmbeddingStore
    s = EmbeddingStore(f, 'toy', 4)
    s.add([f'{i:032x}' for i in range(20)], np.random.default_rng(0).random((20, 4), np.float32))
    s.folder.rename(f/'store'); (f/s.folder.name).symlink_to('store')

def _read_store(f):
    from fabric_touch.embeds import EmbeddingStore
    s = EmbeddingStore(f, 'toy', 4)
    known, vectors = s.get([f'{i:032x}' for i in range(20)])
    true = np.random.default_rng(0).random((20, 4), np.float32)
    assert np.array_equal(vectors, true[known]) or np.array_equal(vectors[known], true[known]), 'another vector than was stored'
    s.add([f'{99:032x}'], np.ones((1, 4), np.float32))
    assert np.array_equal(EmbeddingStore(f, 'toy', 4).get([f'{99:032x}'])[1], np.ones((1, 4))), 'a vector that was added is not there'

def _pixels(f):
    from fabric_touch.pixels import read_pixels
    _photos(f, _NAMES); (f/'e.png').write_bytes(b'no photo')
    read_pixels([f/n for n in (*_NAMES, 'e.png')], 16, f).file.replace(f/'pixels.npy')

def _read_pixels(f):
    from fabric_touch.pixels import open_pixels
    p = open_pixels(f/'pixels.npy')
    assert all(p[i].shape == (p.size, p.size, 3) for i in range(len(p)))
    return len(p)

def _learner():
    from fastai.basics import DataLoaders
    from fabric_touch.core import seeded
    from fabric_touch.train import fit_learner
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(3)); y = x[:, :2].argmax(1)
    with seeded(7): net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    return fit_learner(DataLoaders.from_dsets([*zip(x[:30], y[:30])], [*zip(x[30:], y[30:])], bs=10, shuffle=True, drop_last=True, num_workers=0), net, torch.nn.functional.cross_entropy)

class _Halt(Exception): "The end of a fit that is to be gone on with"

def _fit(f, halt=None):
    "Fit two epochs, or stop after the first"
    from fastai.basics import Callback
    from fabric_touch.core import seeded
    from fabric_touch.train import KeepState
    class Halt(Callback):
        order = 99
        def after_epoch(self):
            if self.epoch == halt: raise _Halt('enough')
    with seeded(0):
        random.seed(0); torch.manual_seed(0)
        learn = _learner()
        try:
            with learn.no_bar(), learn.no_logging(): learn.fit(2, .01, cbs=[KeepState(f/'m'), Halt()])
        except _Halt: pass
    return learn.model

def _items(n):
    g = torch.Generator().manual_seed(5); x = torch.randn(n, 6, generator=g)
    return [*zip(x, x[:, :2].argmax(1))]

class _Loss:
    def __call__(self, pred, y): return torch.nn.functional.cross_entropy(pred, y)
    def count(self, y): return len(y)

def _steps(f, halt=None):
    from fastai.basics import Callback, Learner
    from fabric_touch.core import seeded
    from fabric_touch.steps import Run, fit_steps, step_dls
    class Halt(Callback):
        order = 99
        def after_batch(self):
            if self.training and self.train_iter == halt: raise _Halt('enough')
    run = Run(batch_size=5, num_epochs=2)
    with seeded(7): net = torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    learn = Learner(step_dls(_items(20), _items(6), run), net, _Loss())
    try:
        with learn.no_bar(), learn.no_logging(): fit_steps(learn, run, f/'m', halt is None, cbs=Halt())
    except _Halt: pass
    return net

def _folds(f):
    from fabric_touch.train import fit_folds
    def make(fold): return _learner()
    def fit(learn):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    return fit_folds(make, fit, [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))], f/'m')

def _sorted(f):
    from fabric_touch.filing import Sorting
    _photos(f, [f'in/{n}' for n in _NAMES])
    with Sorting(f/'m', about=dict(model='toy', classes=['knit'])) as s:
        for n in _NAMES[:3]: s.put(f/'in'/n, 'knit', label='knit', probability=.9)

def _sort_on(f):
    from fabric_touch.filing import Sorting
    with Sorting(f/'m', about=dict(model='toy', classes=['knit'])) as s:
        for n in _NAMES:
            if not s.done(f/'in'/n): s.put(f/'in'/n, 'knit', label='knit', probability=.9)
    assert {p.read_bytes() for p in (f/'m'/'knit').iterdir()} == {(f/'in'/n).read_bytes() for n in _NAMES}, 'a photo is lost or doubled'

def _blend_weights(f):
    from fabric_touch.mixture import autoencoder
    ae = autoencoder('simple_gelu_ae')
    torch.save(ae.state_dict(), f/'ae.pth'); (f/'ae.safetensors').write_bytes(bytes_of({k: v.clone() for k,v in ae.state_dict().items()}))

def _encoder_weights(f):
    from fabric_touch.encoders import image_encoder
    torch.save(image_encoder('test_resnet', False).body.state_dict(), f/'e.pth')

def _tuning(f):
    _photos(f, ['a.png', 'b.png'])
    (f/'coco.json').write_text(_json(_COCO | dict(categories=[dict(id=7, name='shirt'), dict(id=8, name='skirt')], attributes=[dict(id=3, name='plain')],
        annotations=[dict(id=i, image_id=1 + i % 2, category_id=7, bbox=[1, 2, 10, 12.5], iscrowd=0, area=50, attribute_ids=[3], segmentation=[[1, 2, 11, 2, 11, 14]]) for i in range(3)])))

def _labels_picture(f): Image.fromarray(np.random.default_rng(0).integers(0, 2, (30, 40), dtype=np.uint8)).save(f/'labels.png')

def _options(f):
    from fabric_touch.hybrid import TrainOptions, _config
    config, mine = _config(TrainOptions(str(f), output_dir=str(f)))
    config.write_text(json.dumps(mine))

def _check_options(f):
    from fabric_touch.hybrid import TrainOptions, _check_same
    return _check_same(TrainOptions(str(f), output_dir=str(f), resume=True))

_TF, _TOK = ('transformers',), ('transformers', 'tokenizers')

READERS = {   # name -> Reader
    **{f'photo.{k.lower()}': _photo_reader(k) for k in ('PNG', 'JPEG', 'GIF', 'TIFF', 'WEBP', 'BMP')},
    'a cut photo': Reader(lambda f: _photos(f, ['a.png', 'mask.png']), lambda f: _of('photos', 'read_cut', 'a.png', size=16, cut='box', box=(1, 1, 20, 20))(f).size, {'a.png': 'photo'}),
    'a mask': Reader(lambda f: _photos(f, ['a.png', 'mask.png']), lambda f: __import__('fabric_touch.photos', fromlist=['']).read_cut(f/'a.png', 16, 'mask', mask=f/'mask.png').size, {'mask.png': 'photo'}),
    'a digest': Reader(lambda f: _photos(f, ['a.png']), _by('embeds', 'picture_digest', 'a.png'), {'a.png': 'rows'}),
    'a picture of labels': Reader(_labels_picture, lambda f: __import__('fabric_touch.garments', fromlist=['']).label_masks(f/'labels.png', ['shirt', 'skirt'] + ['skin']*254), {'labels.png': 'photo'}),
    'fabrics': Reader(_fabrics, _read_fabrics, {'fabrics.csv': 'csv', 'a.png': 'photo'}, says=('row ',), stays=False),
    'the survey': Reader(_survey, lambda f: _by('data', 'read_survey')(f)[0].items, {'ratings.csv': 'csv', 'blends.csv': 'csv', 'folds.csv': 'csv'}),
    'DeepFashion': Reader(_deepfashion(False), _table(_by('deepfashion', 'read_deepfashion')), {**{f'Anno/{n}': 'txt' for n in ('list_attr_cloth.txt', 'list_attr_img.txt', 'list_category_cloth.txt', 'list_category_img.txt', 'list_bbox.txt')}, 'Eval/list_eval_partition.txt': 'txt', 'colours.csv': 'csv'}, says=('colours.csv',)),
    'DeepFashion, fine': Reader(_deepfashion(True), _table(_by('deepfashion', 'read_fine')), {f'Anno_fine/{n}': 'txt' for n in ('list_attr_cloth.txt', 'list_category_cloth.txt', 'train.txt', 'train_attr.txt', 'train_bbox.txt', 'train_cate.txt')}, says=('colours.csv', 'bbox.txt', 'cate.txt')),
    'DeepFashion, labels.csv': Reader(_fine_csv, _table(_by('deepfashion', 'read_fine')), {'labels.csv': 'csv'}, says=('DeepFashion_labels_csv',)),
    'an attribute table': Reader(lambda f: _write(f, t__csv='image,labels,part\na.png,striped; cotton,train\nb.png,plain;wool,val\n'), _table(_by('deepfashion', 'attribute_table', 't.csv', groups=dict(striped='p', plain='p', cotton='f', wool='f'), exclusive=('p',))), {'t.csv': 'csv'}, says=('row ',)),
    "COCO's captions": _captions_reader('coco.json', 'json', _of('captions', 'read_coco', 'coco.json', 'images')), 'captions in short': _captions_reader('short.json', 'json', _of('captions', 'read_coco', 'short.json', 'images')),
    'RedCaps': _captions_reader('red.json', 'json', _redcaps), 'pairs with texts': _captions_reader('pairs.csv', 'csv', _of('captions', 'read_pairs', 'pairs.csv')), 'pairs with labels': _captions_reader('labels.csv', 'csv', _of('captions', 'read_pairs', 'labels.csv')),
    'names of classes': _captions_reader('names.txt', 'txt', _of('captions', 'read_classes', 'classes', names=Path('names.txt'))), "SUN397's list": _captions_reader('sun/ClassName.txt', 'txt', _of('captions', 'read_classes', 'sun')),
    'folders': Reader(lambda f: _photos(f, ['x/a.png', 'x/b.png', 'y/c.png', 'y/d.png']), lambda f: __import__('fabric_touch.captions', fromlist=['']).read_classes(f, check='decode').items, {'x/a.png': 'photo'}),
    'a class table': Reader(lambda f: _write(f, t__csv='image,label\na.png,knit\nb.png,woven\nc.png,knit\n'), _table(_by('folders', 'class_table', 't.csv')), {'t.csv': 'csv'}),
    'sketches': Reader(_sketches, _table(_by('sketches', 'read_sketches', 'train.csv')), {'train.csv': 'csv'}), 'sketches to test': Reader(_sketches, _by('sketches', 'read_test', 'test.csv'), {'test.csv': 'csv'}),
    'outputs': Reader(_outputs, _read_outputs, {'output_one.csv': 'csv', 'output_two.csv': 'csv'}, says=('output_',)), 'out of fold': Reader(_outputs, _read_oofs, {'oof_one.csv': 'csv'}, says=('oof_',)),
    'pages.csv': Reader(_pages, _read_pages('pages.csv'), {'pages.csv': 'csv'}), 'pages.tsv': Reader(_pages, _read_pages('pages.tsv'), {'pages.tsv': 'txt'}), 'pages.jsonl': Reader(_pages, _read_pages('pages.jsonl'), {'pages.jsonl': 'jsonl'}),
    'pages.parquet': Reader(_pages, _read_pages('pages.parquet'), {'pages.parquet': 'parquet'}, needs=('pyarrow',)),
    'a page': Reader(_pages, _by('product', 'read_page', 'page.json'), {'page.json': 'json'}), 'a product': Reader(_product, lambda f: dict(_by('product', 'read_product', 'product.json')(f)), {'product.json': 'json'}),
    'a catalog': Reader(_catalog, _go_on_with_catalog, {'out/products.jsonl': 'jsonl', 'out/about.json': 'json'}, writes=('out',), dear=3),
    'a card': Reader(_checkpoint, _by('checkpoints', 'read_card', 'm'), {'m/card.json': 'card'}), 'a checkpoint': Reader(_checkpoint, lambda f: __import__('fabric_touch.checkpoints', fromlist=['']).load_checkpoint(f/'m', lambda card: Net(), kind='net')[0], {'m/model.safetensors': 'safetensors'}, same=True),
    'tensors': Reader(_weights, _by('checkpoints', 'read_tensors', 'm.safetensors'), {'m.safetensors': 'safetensors'}), 'a torch file': Reader(_weights, _by('checkpoints', 'safe_torch_load', 'm.pth'), {'m.pth': 'torch'}), 'an old torch file': Reader(_weights, _by('checkpoints', 'read_state', 'old.pth'), {'old.pth': 'torch'}),
    'a touch model': Reader(_touch, _by('touch', 'load_touch', 'm'), _CHECKPOINT, same=True, dear=2), 'a touch model that sees': Reader(_touch_encoder, _by('touch', 'load_touch', 'm'), {'m/card.json': 'card'}, same=True, dear=4), 'a reference': Reader(_reference, _by('galata', 'load_reference', 'venezia.pth', encoder=512, touch='softness'), {'venezia.pth': 'torch'}, dear=8),
    'an attribute model': Reader(_attributes, _by('attributes', 'load_attributes', 'm'), _CHECKPOINT, same=True, dear=2), 'a hybrid model': Reader(_hybrid, _by('hybrid', 'load_hybrid', 'm'), _CHECKPOINT, same=True, dear=2), 'an old hybrid model': Reader(_old_hybrid, _read_old_hybrid, {'m.pth.tar': 'torch'}),
    'options of a training': Reader(_options, _check_options, {'config_hybrid.json': 'json'}),
    'a member': Reader(_member, lambda f: __import__('fabric_touch.sketch', fromlist=['']).load_member(f/'m').model, {'m/member.json': 'json', 'm/history.csv': 'csv', 'm/oof.npz': 'npz'}, dear=2),
    'a multimodal model': Reader(_multimodal, _by('multimodal', 'load_multimodal', 'm'), {'m/tokens.json': 'json', 'm/best/card.json': 'card', 'm/best/model.safetensors': 'safetensors', 'm/frozen/card.json': 'card', 'm/frozen/model.safetensors': 'safetensors'}, needs=_TOK, same=True, dear=5),
    'tokens': Reader(_tokens, _read_tokens, {'tokenizer.json': 'json'}, needs=_TOK), 'weights of a T5': Reader(_t5, lambda f: __import__('fabric_touch.sequences', fromlist=['']).text_encoder('mine', f/'t5.safetensors').sizes, {'t5.safetensors': 'safetensors'}, needs=_TF), 'a VQGAN': Reader(_vqgan, _read_vqgan, {'vqgan.safetensors': 'safetensors'}, needs=('diffusers',), dear=3),
    'a YOLOX': Reader(_yolox, _read_yolox, {'x.onnx': 'onnx'}, needs=('onnxruntime', 'supervision')), 'a YOLOS': Reader(_yolos, _read_yolos('hub'), {'hub/config.json': 'json', 'hub/preprocessor_config.json': 'json', 'hub/model.safetensors': 'safetensors'}, needs=(*_TF, 'supervision'), dear=6),
    'a tuned YOLOS': Reader(_yolos, _read_yolos('m'), _CHECKPOINT, needs=(*_TF, 'supervision'), dear=6), 'a SAM': Reader(_sam, _read_sam, {'sam.pth': 'torch'}, needs=('segment_anything', 'supervision')),
    'a store of vectors': Reader(_store, _read_store, {'store/store.json': 'json', 'store/vectors.f32': 'rows', 'store/digests.bin': 'rows'}, writes=('store',)), 'pixels': Reader(_pixels, _read_pixels, {'pixels.npy': 'npy'}),
    'a state of training': Reader(lambda f: _fit(f, 0), _fit, _CHECKPOINT, writes=('m',), same=True, dear=4), 'a state of steps': Reader(lambda f: _steps(f, halt=6), _steps, {'m/state/card.json': 'card', 'm/state/model.safetensors': 'safetensors'}, writes=('m',), same=True, dear=4),
    'folds': Reader(_folds, lambda f: _folds(f).preds, {'m/folds.json': 'json', 'm/fold_0.npz': 'npz'}, writes=('m',), dear=2), 'a journal of sorting': Reader(_sorted, _sort_on, {'m/sorted.csv': 'csv', 'm/sorting.json': 'json'}, writes=('m',), stays=False),
    'weights of a blend encoder': Reader(_blend_weights, lambda f: __import__('fabric_touch.mixture', fromlist=['']).blend_encoder('simple_gelu_ae', pretrained=f/'ae.safetensors'), {'ae.safetensors': 'safetensors'}),
    'weights of an encoder': Reader(_encoder_weights, lambda f: __import__('fabric_touch.encoders', fromlist=['']).image_encoder('test_resnet', pretrained=f/'e.pth').n_out, {'e.pth': 'torch'}, dear=3),
    'annotations': Reader(_tuning, _by('tuning', 'read_coco', 'coco.json'), {'coco.json': 'json'})}

# ---- readers and attacks

def _tree(folder):
    "Name -> what is there: the bytes of a file, where a link leads, None of a folder, or True of a pipe"
    return {str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None if p.is_dir() else True for p in sorted(folder.rglob('*'))}

def _restore(folder, tree, facts=None):
    "Put back what a tree holds, if the folder is not as it was then"
    if facts is not None and _facts(folder) == facts: return
    shutil.rmtree(folder, ignore_errors=True); folder.mkdir()
    for name,what in tree.items():
        p = folder/name
        if what is None: p.mkdir()
        elif what is True: os.mkfifo(p)
        elif isinstance(what, str): p.symlink_to(what)
        else: p.write_bytes(what)

def _facts(folder): return {str(p.relative_to(folder)): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.rglob('*')}

def seat(name, room):
    "The good input of a reader, made once in a child: (its folder, its tree); a reason where it cannot be"
    place = room/re.sub(r'\W+', '_', name)
    (place/'given').mkdir(parents=True); (place/'secret').mkdir(); (place/'secret'/'photo.png').write_bytes(_photo()); (place/'secret'/'decoy').write_text(DECOY); os.mkfifo(place/'secret'/'pipe')
    done = attempt(lambda: READERS[name].make(place/'given'), 120, 8000, (room,))
    assert done.kind == 'fine', f'{name}: {done}'
    return place, _tree(place/'given')

def _resign(folder, file):
    "Where weights were exchanged, the card beside them with their digest"
    card = (folder/file).parent/CARD
    if not card.exists(): return
    d = json.loads(card.read_bytes())
    card.write_bytes(signed(d | dict(weights_sha256=file_sha256(folder/file))))

def tried(name, place, tree, file, attack, k, clean):
    "The attempt to read what an attack made of a good file; `clean` are the facts of the good folder, which all attempts share"
    r, given = READERS[name], place/'given'
    dice, state, secrets = Dice(f'{name} {file} {attack} {k}', place), {}, _tree(place/'secret')
    def prepare():
        _restore(given, tree, clean.get('facts')); clean['facts'] = _facts(given)
        if attack in PLACES: PLACES[attack](given/file, dice)
        elif file:
            data = ATTACKS[r.files[file]][attack](tree[file], dice)
            (given/file).write_bytes(data); state['unchanged'] = data == tree[file]
            if attack.startswith('signed: ') and r.files[file] == 'safetensors': _resign(given, file)
        state['before'] = _facts(given)
    def run(): return r.read(given)
    def check(found):
        if dice.marker.exists(): dice.marker.unlink(); return 'the thief was let in'
        if _tree(place/'secret') != secrets: _restore(place/'secret', secrets); return 'a file outside the folder was changed'
        if found is not None and r.same and state.get('good') not in (None, look(found)): return 'read as something else than it was'
        now = _facts(given)
        left = {k for k,v in now.items() if state['before'].get(k) != v} | ({*state['before']} - {*now})
        if file and not left and attack not in PLACES: (given/file).write_bytes(tree[file]); clean['facts'] = _facts(given)      # all else is as it was
        left = {k for k in left if not any(k == w or k.startswith(w + '/') for w in r.writes) and not (given/k).is_dir() and not k.endswith('lock')}
        return f'left behind or changed: {sorted(left)[:3]}' if left else ''
    return Attempt((name, file, attack, k), prepare, run, check, (given,), place/'secret' if r.stays and attack not in PLACES else None)

def plan(name, flips, short=True):
    "(file, attack, number) of each attempt on a reader"
    r, n = READERS[name], max(1, flips//20)
    for file,form in r.files.items():
        all = [(file, a, k) for a in (*ATTACKS[form], *PLACES) if a not in ('flip', *(THIEVES if short else ())) for k in range(n if a in DRAWN else 1)]
        if short: all = sorted(random.Random(f'{name} {file}').sample(all, min(len(all), max(10, 36//len(r.files))//r.dear)))
        thieves = [(file, a, 0) for a in THIEVES][:len(THIEVES)//(2 if r.dear > 3 else 1)] if short else []
        yield from all + thieves
    files = list(r.files)
    yield from ((files[k % len(files)], 'flip', k) for k in range(-(-flips//r.dear) if short else flips))

def outcomes(name, room, flips=20, short=True, seconds=SECONDS, memory=MEMORY):
    "What came of all that was tried on a reader; first of what is good, which has to be read"
    place, tree = seat(name, room)
    clean, todo = {}, [(None, 'nothing', 0), *plan(name, flips, short)]
    yield from attempts([tried(name, place, tree, *t, clean) for t in todo], seconds, memory)
    shutil.rmtree(place, ignore_errors=True)

def fault(o, memory=MEMORY):
    "What is wrong with an outcome; nothing if it is what was promised"
    name, file, attack, _ = o.name
    if attack == 'nothing' and o.kind != 'fine': return f'what is good was not read: {o.kind} {o.error}: {o.text[-300:]}'
    if o.kind not in ('fine', 'refused'): return f'{o.kind}: {o.error} {o.text[:300]}'
    if o.check: return o.check
    if o.saw: return f'did what no reader does: {o.saw[:3]}'
    if o.mb > memory: return f'took {o.mb:.0f} MB'
    return told_badly(o, (Path(file or '').name, *Path(file or '').parts[:-1], *READERS[name].says, *['card']*(Path(file or '').name == CARD))) if o.kind == 'refused' else ''

def told_badly(o, names):
    "What is wrong with an error"
    if not o.ours: return f'not an error of ours: {o.error}: {o.text[:300]}'
    odd = sorted({c for c in o.text if c not in '\n\t' and not c.isprintable()})
    if odd: return f'holds {odd}: {o.text[:300]!r}'
    if len(o.text) > 2000: return f'has {len(o.text)} letters: {o.text[:200]}'
    return '' if any(n in o.text for n in names) else f'names none of {names}: {o.text[:300]}'

def try_all(flips=20, short=True, names=None, room=None):
    "A table of what was tried: reader, attack, tried, fine, refused, faults, and the most memory (MB) and time (seconds) of one attempt"
    with tempfile.TemporaryDirectory() as d:
        here = [n for n in names or READERS if all(map(_has, READERS[n].needs))]
        rows = [dict(reader=n, attack=o.name[2], tried=1, fine=o.kind == 'fine', refused=o.kind == 'refused', faults=bool(fault(o)), memory_mb=o.mb, seconds=o.seconds) for n in here for o in outcomes(n, Path(room or d), flips, short)]
    how = dict(tried='sum', fine='sum', refused='sum', faults='sum', memory_mb='max', seconds='max')
    return pd.DataFrame(rows).groupby(['reader', 'attack'], sort=False).agg(how).reset_index()

# ---- commands

def run_command(name, args):
    "(exit code, what it says on the error stream) of a command, in this process"
    import contextlib
    from fabric_touch import cli
    err, code = io.StringIO(), 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()), unittest.mock.patch.object(sys, 'argv', [name, *map(str, args)]):
        try: getattr(cli, name)()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
    return code, err.getvalue()

def _shop(f):
    "What commands are given: photos in classes, models, pages"
    for place, make in dict(touch=_touch_encoder, attributes=_attributes, hybrid=_hybrid).items(): (f/place).mkdir(); make(f/place)
    _photos(f, ['a.png'] + [f'classes/{c}/{n}' for c in ('knit', 'woven') for n in _NAMES])
    (f/'empty').mkdir()
    _weights(f); (f/'pages').mkdir(); _pages(f/'pages')

COMMANDS = {   # name -> what it is given, rightly; options, or places, whose values are files or folders that it reads, and those it writes
    'ft_demo': (dict(out='new/out'), [], ['out']),
    'ft_predict': (dict(model='touch/m', image='a.png', blend='100% cotton', json='new.json', png='new.png'), ['model', 'image'], ['json', 'png']),
    'ft_train': (dict(data_dir='classes', mode='mobilenet', mobilenet='swatch', mobilenet_weights='random', epochs=1, output_dir='new', store='vectors'), ['data_dir', 'mobilenet_weights'], ['output_dir', 'store']),
    'ft_evaluate': (dict(data_dir='classes', checkpoint='hybrid/m', output_dir='new', store='vectors'), ['data_dir', 'checkpoint'], ['output_dir', 'store']),
    'ft_sort': (dict(input_dir='classes', checkpoint='hybrid/m', output_dir='new'), ['input_dir', 'checkpoint'], ['output_dir']),
    'ft_multimodal': (dict(root_dir='.', datasets='folders:classes', num_steps=1, image_model_name='test_convnext3', image_weights='random', language_model_name='mine', language_weights='m.safetensors', tokenizer='train', result_dir='new', store='vectors'),
                      ['root_dir', 'language_weights', 'tokenizer', 'image_weights', 'checkpoint'], []),
    'ft_product': (dict(page='pages/page.json', out='new'), ['page', 'touch', 'attributes', 'detect_weights'], ['out']),
    'ft_embed': (dict(photos='classes', out='new', workers=0), ['photos', 'weights'], ['out'])}
POSITIONAL = {'page', 'photos'}

def _sham(path, dice, end=''):
    "Files and folders to stand in the place of what a command reads: what -> path"
    path.mkdir(exist_ok=True)
    for what,data in dict(empty=b'', photo=_photo(), noise=dice.randbytes(999), text=b'no such thing\n', pickle=pickle.dumps(Thief(dice.marker)), brackets=b'['*100_000, torch=THIEVES['a torch file'](b'', dice)).items(): (path/f'{what}{end}').write_bytes(data)
    (path/f'folder{end}').mkdir(); (path/f'loop{end}').symlink_to(f'loop{end}'); os.mkfifo(path/f'pipe{end}'); (path/f'a\u202eb\x1b[2J{end}').write_bytes(b'x')
    return {p.name[:40]: p for p in [*sorted(path.iterdir()), path/f'nowhere{end}', path/('x'*5000 + end)]}

def command_attempts(name, room, most=4):
    "Attempts to have a command read and write what it should not"
    good, reads, writes = COMMANDS[name]
    f, dice = room/'shop', Dice(name, room)
    ends = dict(page=('.json', '.csv', '.parquet'), photos=('', '.csv'))
    given = lambda option, value: [v for k,v in (good | {option: value} | (dict(detect='yolox') if option == 'detect_weights' else {})).items() for v in ([v] if k in POSITIONAL else [f'--{k}', v])]
    for option in reads:
        for end in ends.get(option, ('',)):
            shams = _sham(room/f'sham_{name}_{option}{end}', dice, end)
            allowed = {('ft_predict', 'image', 'photo'), ('ft_sort', 'input_dir', 'folder')}       # a photo is a photo, and of no photos none is sorted
            drawn = {*dice.sample(sorted(shams), min(most, len(shams))), f'pickle{end}', f'torch{end}'}
            yield from (_command(name, option, what, given(option, p), f, room, p) for what,p in shams.items() if what in drawn and (name, option, what) not in allowed)
    for option in writes:
        place = room/f'out_{name}_{option}'; place.mkdir(); (place/'file').write_bytes(b'mine'); (place/'loop').symlink_to('loop'); (place/'full').mkdir(); (place/'full'/'thesis.txt').write_text('mine')
        there = {'a file in the way': 'full' if option in ('json', 'png') else 'file', 'below a file': 'file/new', 'below a loop': 'loop/new', 'a name too long': 'x'*5000, 'a long name below a folder': f'full/{"x"*300}'}
        yield from (_command(name, option, what, given(option, place/to), f, room, place/to, place) for what,to in there.items())

def _command(name, option, what, args, cwd, room, path, kept=None):
    before = {}
    def prepare(): os.chdir(cwd); before.update(new=_facts(cwd), kept=kept and _tree(kept)); os.environ['COLUMNS'] = '200'
    def check(found):
        if (room/'STOLEN').exists(): (room/'STOLEN').unlink(); return 'the thief was let in'
        if found is None: return ''
        code, err = found
        lines = [l for l in err.splitlines() if l.startswith(f'{name}: ')]
        if kept and _tree(kept) != before['kept']: return f'changed {[k for k,v in _tree(kept).items() if before["kept"].get(k) != v][:3]}'
        new = {k for k in _facts(cwd) if k not in before['new'] and k.split('/')[0] not in ('vectors',)}
        for p in ('new', 'new.json', 'new.png', 'vectors'): shutil.rmtree(cwd/p, ignore_errors=True); (cwd/p).unlink(missing_ok=True) if not (cwd/p).is_dir() else None
        if code not in (1, 2) or 'Traceback' in err: return f'exit code {code}: {err[-300:]}'
        if code == 1 and (len(lines) != 1 or not err.rstrip().endswith(lines[0])): return f'not one line: {err[-400:]!r}'
        return told_badly(Outcome((), 'refused', ours=True, text=lines[0]), (path.name[:60], path.parent.name)) if code == 1 else '' or (f'left {sorted(new)[:3]}' if new else '')
    return Attempt((name, option, what, 0), prepare, lambda: run_command(name, args), check, (room,), may_warn=True)

# ---- a full disk

@contextmanager
def full_disk(n):
    "Files end at n bytes: what is more fails as on a full disk"
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, old[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)

def _save_output(f):
    from fabric_touch.ensembles import write_output
    write_output(f/'out.csv', pd.DataFrame(dict(id=range(300), image_path=[f'{i}.png' for i in range(300)])), ('knit', 'woven'), np.full((300, 2), .5))

def _save_figure(f):
    from fabric_touch.plots import plot_touch, save_figure
    save_figure(plot_touch(np.full((4, 5), .2)).figure, f/'out.png')

def _add_rows(f):
    from fabric_touch.embeds import EmbeddingStore
    s = EmbeddingStore(f, 'toy', 4)
    s.add([f'{i:032x}' for i in range(len(s), len(s) + 500)], np.ones((500, 4), np.float32))

def _some_photos(f):
    (f/'in').mkdir()
    for n in 'ab': (f/'in'/n).write_bytes(bytes(5000))

def _sort_photos(f):
    from fabric_touch.filing import Sorting
    with Sorting(f/'out') as s:
        for n in 'ab': s.put(f/'in'/n, 'knit')

def _describe(f):
    from fabric_touch.catalogs import describe_products
    describe_products(pd.DataFrame(dict(title=['cotton dress']*3)), f/'out', progress=False)

def _keep_pixels(f):
    from fabric_touch.pixels import read_pixels
    read_pixels([f/n for n in _NAMES], 64, f/'out')

def _save_tokens(f):
    from fabric_touch.tokens import load_tokens
    load_tokens(f/'tokenizer.json').save(f/'out')

WRITERS = {   # name -> what is there before, what is written, and files that may grow before the disk is full
    'a checkpoint': (_checkpoint, _checkpoint, ()), 'a touch model': (_touch, _touch, ()), 'an attribute model': (_attributes, _attributes, ()), 'an output': (lambda f: None, _save_output, ()), 'a figure': (lambda f: (f/'out.png').write_bytes(b'mine'), _save_figure, ()),
    'a store of vectors': (_add_rows, _add_rows, ('toy',)), 'a sorting': (_some_photos, _sort_photos, ('out',)), 'a catalog': (lambda f: None, _describe, ('out',)), 'pixels': (lambda f: _photos(f, _NAMES), _keep_pixels, ('out',)),
    'captions': (lambda f: None, lambda f: _of('captions', 'make_captions', 'out')(f), ()), 'folders': (lambda f: None, lambda f: __import__('fabric_touch.folders', fromlist=['']).make_folders(f/'out', 2), ())}

def full_attempts(room):
    "Attempts to write where the disk is full, from the first byte on or a little later"
    for name,(make, write, grows) in WRITERS.items():
        f = room/re.sub(r'\W+', '_', name)
        f.mkdir()
        for n in (0, 100, 1500): yield _full(name, make, write, grows, f, n)

def _full(name, make, write, grows, f, n):
    before = {}
    def prepare(): shutil.rmtree(f); f.mkdir(); make(f); before.update(_tree(f))
    def run():
        with full_disk(n): write(f)
        return True
    def check(found):
        now = _tree(f)
        changed = [k for k in {*now, *before} if now.get(k, '') != before.get(k, '') and not k.startswith(grows or ('\0',)) and not (k not in before and now[k] is None)]
        half = [k for k in now if '.tmp' in k]
        return f'changed: {changed[:3]}' if changed and found is not True else f'half written: {half[:3]}' if half else ''
    return Attempt((name, 'full disk', f'{n} bytes', n), prepare, run, check, (f,))

def full_fault(o):
    "What is wrong with what came of writing to a full disk"
    if o.kind not in ('refused', 'fine') or o.check or o.saw: return f'{o.kind} {o.error}: {o.text[:200]} {o.check} {o.saw}'
    if o.kind == 'fine': return ''                # it was small enough
    if not o.ours and o.error != 'OSError': return f'not an error of ours, nor of the system: {o.error}: {o.text[:200]}'
    return '' if re.sub(r'\W+', '_', o.name[0]) in o.text else f'names no file: {o.error}: {o.text[:200]}'
