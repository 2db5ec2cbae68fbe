"Attacks on files: what may stand in the place of a good one. Each is a function of (bytes, dice) and gives bytes; those of `PLACES` change what lies at a path."
import copy, csv, gzip, io, json, os, pickle, random, re, stat, struct, zipfile, zlib
from pathlib import Path

import numpy as np, torch
from PIL import Image
from safetensors.torch import load as tensors_of, save as bytes_of

from fabric_touch.checkpoints import _card_bytes, _card_sha256

# ---- attacks on the bytes of any file

class Dice(random.Random):
    "A source of chance that knows the room: where a thief leaves its mark, and what is none of a reader's business"
    def __init__(self, seed, room): super().__init__(seed); self.marker, self.secret = room/'STOLEN', room/'secret'

class Thief:
    "A pickle that writes a file when it is opened"
    def __init__(self, marker): self.marker = marker
    def __reduce__(self): return os.system, (f"touch '{self.marker}'",)

class Scribe(Thief):
    "The same by `open`"
    def __reduce__(self): return open, (str(self.marker), 'w')

class Runner(Thief):
    "The same by `exec`"
    def __reduce__(self): return exec, (f"open({str(self.marker)!r}, 'w')",)

def into(write, *args, **kwargs):
    "The bytes that a function writes into a file"
    f = io.BytesIO()
    write(*args, f, **kwargs)
    return f.getvalue()

def zipped(**files):
    "The bytes of a packed ZIP"
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

def _tensors(**claims):
    "A safetensors file with 16 bytes of data, whatever shapes and places its header claims"
    return header(json.dumps({k: dict(dtype='F32', shape=shape, data_offsets=at) for k,(shape,at) in claims.items()}).encode(), data=bytes(16))

def photo(kind='PNG', size=(40, 30)):
    "The bytes of a photo of noise"
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return into(Image.fromarray(pixels).save, format=kind)

def flip(b, dice):
    at = dice.randrange(len(b))
    return b[:at] + bytes([b[at] ^ 1 << dice.randrange(8)]) + b[at+1:]

def put(b, dice, what):
    at = dice.randrange(len(b) + 1)
    return b[:at] + what + b[at:]

# made once, since they take long to pack
ZEROS, GZIPPED, ZIPPED = zlib.compress(bytes(80_000_000), 1), gzip.compress(bytes(20_000_000), 1), zipped(**{'archive/data.pkl': bytes(20_000_000)})

WHOLE = {   # attacks on any file: what stands in its place
    'empty':                 lambda b, d: b'',
    'one byte':              lambda b, d: b'{',
    'blank':                 lambda b, d: b'\n \n\n',
    'zeros':                 lambda b, d: bytes(min(len(b), 4096)),
    'noise':                 lambda b, d: d.randbytes(2000),
    'cut':                   lambda b, d: b[:d.randrange(len(b))],
    'cut at the end':        lambda b, d: b[:-1],
    'longer':                lambda b, d: b + b'\n\0junk',
    'twice':                 lambda b, d: b + b,
    'flip':                  flip,
    'a photo':               lambda b, d: photo('JPEG'),
    'text':                  lambda b, d: b'this is no such file\n'*3,
    'a web page':            lambda b, d: b'<!DOCTYPE html><html><body>404 Not Found</body></html>',
    'JSON':                  lambda b, d: b'{"a": [1, 2, {"b": null}]}',
    'a JSON list':           lambda b, d: b'[]',
    'a JSON null':           lambda b, d: b'null',
    'a CSV':                 lambda b, d: b'a,b\n1,2\n',
    'a script':              lambda b, d: f"#!/bin/sh\ntouch '{d.marker}'\n".encode(),
    'a gzip':                lambda b, d: gzip.compress(b),
    'deep brackets':         lambda b, d: b'['*1_000_000,
    'deep objects':          lambda b, d: b'{"a":'*100_000 + b'1' + b'}'*100_000,
    'deep and good':         lambda b, d: b'{"a":' + b'['*5000 + b']'*5000 + b'}',
    'one long line':         lambda b, d: b'x'*1_000_000,
    'a thousand commas':     lambda b, d: b','*1000 + b'\n' + b'1,'*1000,
    'a bomb of gzip':        lambda b, d: GZIPPED,
    'a bomb of zip':         lambda b, d: ZIPPED,
    'a bomb of PNG':         lambda b, d: claims(20_000, 20_000),
    'a claim of terabytes':  lambda b, d: header(b'{}', 2**62),
    'a shape of terabytes':  lambda b, d: _tensors(w=([2**20, 2**20], [0, 2**42])),
    'an array of terabytes': lambda b, d: npy((2**20, 2**20)),
    'UTF-16':                lambda b, d: b.decode('utf-8', 'replace').encode('utf-16'),
    'a Git LFS pointer':     lambda b, d: b'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n',
}

def arrays(data):
    "An .npz with the same bytes under every name that is looked for"
    return zipped(**dict.fromkeys((f'{n}.npy' for n in 'preds history columns probs flattered y folds groups'.split()), data))

THIEVES = {   # pickles that would write a file
    'a pickle':            lambda b, d: pickle.dumps(Thief(d.marker)),
    'an old pickle':       lambda b, d: pickle.dumps(Scribe(d.marker), protocol=0),
    'a pickle of code':    lambda b, d: pickle.dumps(Runner(d.marker), protocol=2),
    'a torch file':        lambda b, d: into(torch.save, dict(state_dict=Thief(d.marker), w=Scribe(d.marker))),
    'an old torch file':   lambda b, d: into(torch.save, Thief(d.marker), _use_new_zipfile_serialization=False),
    'an array of objects': lambda b, d: npy((1,), '|O', pickle.dumps(np.array([Thief(d.marker)], object))),
    'arrays of objects':   lambda b, d: arrays(npy((1,), '|O', pickle.dumps([Thief(d.marker)]))),
    'a pickled table':     lambda b, d: gzip.compress(pickle.dumps(Thief(d.marker))),
}

# ---- attacks on texts, tables, JSON, cards and weights

def tricks(dice):
    "Texts to stand where a path or a word is expected"
    s = dice.secret
    return {
        'a parent':               '../secret/photo.png',
        'two parents':            '../../x/secret/photo.png',
        'an absolute path':       str(s/'photo.png'),
        'a decoy':                str(s/'decoy'),
        'home':                   '~/x.png',
        'a drive':                'C:\\x.png',
        'a share':                '\\\\host\\share\\x.png',
        'a URL':                  'http://127.0.0.1:9/x.png',
        'a file URL':             f'file://{s}/photo.png',
        'a line end':             'a\nb.png',
        'a mark of direction':    'a\u202egnp.b',
        'a NUL':                  'a\0b.png',
        'a long name':            'x'*5000,
        'an escape':              '\x1b[31mred\x1b[2J',
        'a shell':                f"$(touch '{dice.marker}')",
        'a formula':              f"=cmd|' /C touch {dice.marker}'!A0",
        'a format':               '{0.__class__}%s%n',
        'a number of 400 digits': '9'*400,
        'an infinite number':     '1e400',
        'no number':              'NaN',
        'a negative number':      '-1',
        'nothing':                '',
        'blanks':                 '  \t',
        'a replacement':          '\ufffd\U0010ffff',
        'an accent':              'e\u0301',
        'the folder':             '.',
        'a pipe':                 str(s/'pipe'),
    }

TRICKS = [*tricks(Dice(0, Path('.')))]

def _rows(b): return [*csv.reader(io.StringIO(b.decode(), newline=''))]

def csv_bytes(rows):
    "Rows as the bytes of a CSV"
    f = io.StringIO(newline='')
    csv.writer(f, lineterminator='\n').writerows(rows)
    return f.getvalue().encode('utf-8', 'surrogatepass')

def on_rows(change):
    "An attack on a table's rows, the first of them its head, as one on bytes"
    def f(b, dice):
        rows = _rows(b)
        return csv_bytes(change(rows, dice, dice.randrange(len(rows[0]))) or rows)
    return f

def _cell(rows, dice, column, value): rows[dice.randrange(1, len(rows))][column] = value

CSV = {
    'a column missing': on_rows(lambda r, d, k: [o[:k] + o[k+1:] for o in r]),
    'a column more':    on_rows(lambda r, d, k: [o + ['more'] for o in r]),
    'a column twice':   on_rows(lambda r, d, k: [o + [o[k]] for o in r]),
    'a column renamed': on_rows(lambda r, d, k: r[0].__setitem__(k, 'a\n\u202eb\x1b[2J')),
    'no rows':          on_rows(lambda r, d, k: r[:1]),
    'no head':          on_rows(lambda r, d, k: r[1:]),
    'a row twice':      on_rows(lambda r, d, k: r + [r[-1]]),
    'a row too long':   on_rows(lambda r, d, k: r + [r[-1]*3]),
    'a row too short':  on_rows(lambda r, d, k: r + [r[-1][:1]]),
    'semicolons':       lambda b, d: b.replace(b',', b';'),
    'an open quote':    lambda b, d: put(b, d, b'"'),
    **{f'a cell: {t}': on_rows(lambda r, d, k, t=t: _cell(r, d, k, tricks(d)[t])) for t in TRICKS},
}

class Raw(str): "What JSON is to hold as it stands"

ODD = {
    'null':              None,
    'true':              True,
    'a list':            [],
    'an object':         {},
    'minus one':         -1,
    'zero':              0,
    'a large number':    2**63,
    'a vast number':     10**18,
    'a fraction':        1.5,
    'a text':            'x',
    'a list of lists':   [[[]]],
    'a list of numbers': [1, 2],
    'an object in it':   dict(a=1),
}

RAW = {
    '1e400':            Raw('1e400'),
    'NaN':              Raw('NaN'),
    '400 digits':       Raw('9'*400),
    '9,000 digits':     Raw('9'*9000),
    'half a character': Raw('"\\ud800"'),
    'a deep one':       Raw('['*3000 + ']'*3000),
}

def places(x):
    "(container, key) of every value in a JSON value"
    for k,v in (x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()):
        yield x, k
        yield from places(v)

def _said(x):
    "JSON, with raw parts put in"
    raw = []
    def mark(v): raw.append(v); return f'@{len(raw) - 1}@'
    def walk(v):
        if isinstance(v, Raw): return mark(v)
        if isinstance(v, dict): return {k: walk(o) for k,o in v.items()}
        return [*map(walk, v)] if isinstance(v, list) else v
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

JSON = {
    'a key missing': on_value(_drop),
    'a key more':    on_value(_more),
    'a value twice': on_value(_again),
    **{f'a value: {n}': on_value(lambda o, k, d, v=v: o.__setitem__(k, copy.deepcopy(v))) for n,v in (ODD | RAW).items()},
    **{f'a value: {t}': on_value(lambda o, k, d, t=t: o.__setitem__(k, tricks(d)[t])) for t in TRICKS},
    'a key twice':   lambda b, d: re.sub(rb'\{(\s*"[^"]*"\s*:)', rb'{\1 1,\1', b, count=1),
}

def signed(card):
    "A card with a right digest"
    card = {k: v for k,v in card.items() if k != 'card_sha256'}
    return _card_bytes(card | dict(card_sha256=_card_sha256(card)))

def _signed(f): return lambda b, dice: f(b, dice, signed)

UNSIGNED = ('a key twice', *(f'a value: {r}' for r in RAW))       # what no card can hold
SIGNED = {f'signed: {k}': _signed(f) for k,f in JSON.items() if k not in UNSIGNED}

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

def _without(items, dice):
    i = dice.randrange(len(items))
    return items[:i] + items[i+1:]

LINES = {
    'a line missing': lambda b, d: b''.join(_without(b.splitlines(keepends=True), d)),
    'a line twice':   lambda b, d: b + b.splitlines(keepends=True)[-1],
    **{f'a word: {t}': on_words(lambda d, t=t: tricks(d)[t]) for t in TRICKS},
}

TEXT = {
    'a mark of bytes':           lambda b, d: b'\xef\xbb\xbf' + b,
    'Latin-1':                   lambda b, d: put(b, d, b'\xe9'),
    'a NUL in it':               lambda b, d: put(b, d, b'\0'),
    'a bell in it':              lambda b, d: put(b, d, b'\x07\x1b[2J'),
    'half a character':          lambda b, d: put(b, d, b'\xed\xa0\x80'),
    'a mark of direction in it': lambda b, d: put(b, d, '\u202e\u2066'.encode()),
    'Windows line ends':         lambda b, d: b.replace(b'\n', b'\r\n'),
    'old line ends':             lambda b, d: b.replace(b'\n', b'\r'),
}

def on_tensors(change):
    "An attack on named tensors, as one on a safetensors file"
    def f(b, dice):
        w = tensors_of(b)
        return bytes_of({n: t.contiguous() for n,t in change(w, dice.choice(sorted(w))).items()})
    return f

def _added(w, value): return {n: t + value if t.is_floating_point() else t for n,t in w.items()}
def _most(kind): return True if kind == torch.bool else (torch.finfo if kind.is_floating_point else torch.iinfo)(kind).max

TENSORS = {
    'signed: NaN':            on_tensors(lambda w, k: _added(w, float('nan'))),
    'signed: infinite':       on_tensors(lambda w, k: _added(w, float('inf'))),
    'signed: one missing':    on_tensors(lambda w, k: {n: t for n,t in w.items() if n != k}),
    'signed: one more':       on_tensors(lambda w, k: w | {'more': torch.ones(2)}),
    'signed: another shape':  on_tensors(lambda w, k: w | {k: torch.ones(3, 2, 5)}),
    'signed: another kind':   on_tensors(lambda w, k: w | {k: w[k].to(torch.int16)}),
    'signed: no numbers':     on_tensors(lambda w, k: w | {k: torch.empty(0)}),
    'signed: none':           lambda b, d: bytes_of({}),
    'signed: a strange name': on_tensors(lambda w, k: {('a\n\u202e\x1b[2J' if n == k else n): t for n,t in w.items()}),
    'signed: extreme':        on_tensors(lambda w, k: w | {k: torch.full_like(w[k], _most(w[k].dtype))}),
    'offsets beyond the end': lambda b, d: _tensors(w=([4], [0, 2**40])),
    'offsets that overlap':   lambda b, d: _tensors(a=([4], [0, 16]), b=([4], [0, 16])),
    'a header of brackets':   lambda b, d: header(b'{"a":' + b'['*100_000),
}

def on_torch(change):
    "An attack on what torch.save wrote, without anything that would be run"
    return lambda b, d: into(torch.save, change(torch.load(io.BytesIO(b), weights_only=True)))

def _deflated(b):
    with zipfile.ZipFile(io.BytesIO(b)) as z: return zipped(**{n: z.read(n) for n in z.namelist()})

class Hoard:
    "A pickle that asks for terabytes when it is opened"
    def __reduce__(self): return bytearray, (10**13,)

TORCH = {
    'a hoard':           lambda b, d: into(torch.save, dict(a=Hoard())),
    'an old hoard':      lambda b, d: into(torch.save, Hoard(), _use_new_zipfile_serialization=False),
    'a wide view':       lambda b, d: into(torch.save, dict(a=torch.zeros(1).expand(10**13))),
    'sparse':            lambda b, d: into(torch.save, dict(a=torch.ones(3).to_sparse())),
    'packed':            lambda b, d: _deflated(into(torch.save, dict(a=torch.zeros(4_000_000)))),
    'a list':            on_torch(lambda x: [x]),
    'a number':          on_torch(lambda x: 3),
    'nothing in it':     on_torch(lambda x: {}),
    'a strange name':    on_torch(lambda x: {'a\n\u202e\x1b[2J': x}),
    'numbers for names': on_torch(lambda x: {i: t for i,t in enumerate(x.values())}),
}

def _text_chunk(data):
    "A photo with a packed comment"
    body, whole = b'Comment\0\0' + data, photo()
    return whole[:33] + struct.pack('>I', len(body)) + b'zTXt' + body + struct.pack('>I', zlib.crc32(b'zTXt' + body)) + whole[33:]

BOMBS = {
    'a claim of 20,000 x 20,000': lambda b, d: claims(20_000, 20_000),
    'a GIF of 65,535 x 65,535':   lambda b, d: b'GIF89a\xff\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02\x04\x01\x00;',
    'a BMP of a million':         lambda b, d: b'BM' + struct.pack('<IHHIIiiHHIIiiII', 1078, 0, 0, 54, 40, 10**6, 10**6, 1, 24, 0, 0, 0, 0, 0, 0),
    'a PPM of a million':         lambda b, d: b'P6 1000000 1000000 255\n' + bytes(30),
    'just too large':             lambda b, d: claims(10_001, 10_000),
    'a large text chunk':         lambda b, d: _text_chunk(ZEROS),
    'strange EXIF':               lambda b, d: into(Image.new('RGB', (40, 30)).save, format='JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\xff\xff' + bytes(30)),
}

ARRAYS = {
    'terabytes':         lambda b, d: npy((2**20, 2**20)),
    'a negative shape':  lambda b, d: npy((-1, 4)),
    'another shape':     lambda b, d: npy((2, 2), data=bytes(16)),
    'text':              lambda b, d: npy((2,), '<U4', bytes(32)),
    'a strange header':  lambda b, d: npy('[' * 3000),
    'code for a header': lambda b, d: npy(f"(__import__('os').system(\"touch '{d.marker}'\"),)"),
    'NaN':               lambda b, d: npy((4,), data=struct.pack('<4f', *[float('nan')]*4)),
}

FORMS = {   # form of a file -> name -> function of (bytes, dice); what is tried on any file is added below
    'photo':       BOMBS,
    'csv':         TEXT | CSV,
    'json':        TEXT | JSON,
    'jsonl':       TEXT | {k: on_line(f) for k,f in JSON.items()},
    'card':        TEXT | SIGNED | {k: JSON[k] for k in ('a key missing', 'a value: a text', *UNSIGNED)},
    'txt':         TEXT | LINES,
    'safetensors': TENSORS,
    'torch':       TORCH,
    'npy':         ARRAYS,
    'npz':         {k: lambda b, d, f=f: arrays(f(b, d)) for k,f in ARRAYS.items()},
    'rows':        {},
}
ATTACKS = {form: WHOLE | THIEVES | own for form,own in FORMS.items()}

# these hit a place that the dice choose, so that more than one of them can be tried
DRAWN = {'flip', 'cut'} | {k for form in ('csv', 'json', 'jsonl', 'card', 'txt') for k in FORMS[form] if k not in ('semicolons', 'no rows', 'no head')}

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

BESIDE = {   # name of a file -> the thief in it
    'model.pth':         'a torch file',
    'model.pt':          'an old torch file',
    'model.bin':         'a torch file',
    'pytorch_model.bin': 'a torch file',
    'model.ckpt':        'a torch file',
    'model.pkl':         'a pickle',
    'card.pkl':          'a pickle of code',
    'export.pkl':        'an old pickle',
    'state.pkl':         'a pickle',
    'model.npy':         'an array of objects',
    'model.npz':         'arrays of objects',
}

def _beside(path, dice):
    "Put thieves under every name that a loader might take, and under the file's own with another ending; what is there stays"
    for name,thief in BESIDE.items():
        for p in (path.parent/name, path.with_suffix(Path(name).suffix)):
            if not p.exists(): p.write_bytes(THIEVES[thief](b'', dice))

def _instead(path, dice): path.unlink(); _beside(path, dice)

PLACES = {
    'missing':               lambda p, d: p.unlink(),
    'a folder':              _folder,
    'a pipe':                _pipe,
    'a link to itself':      _link(lambda d, p: p.name),
    'a link to nowhere':     _link(lambda d, p: 'nowhere'),
    'a link to a decoy':     _link(lambda d, p: d.secret/'decoy'),
    'a link out':            _link(lambda d, p: d.secret/'photo.png'),
    'a link to a folder':    _link(lambda d, p: d.secret),
    'a file without an end': _endless,
    'thieves beside it':     _beside,
    'thieves in its place':  _instead,
}
