"The vocabulary and the tasks: layout, round trips, hostile files, boxes, tries; hidden words and hidden cells."
import base64, copy, json, os, pickle, subprocess, sys, zlib
from types import SimpleNamespace

import numpy as np, pandas as pd, pytest
pytest.importorskip('tokenizers')
from hypothesis import given, settings, strategies as st
from PIL import Image
from fabric_touch import tokens as mod
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.tasks import (TASKS, Item, corrupt_spans, hidden_codes, locate_items, restore_items, restore_spans,
                                unmask_items, words)
from fabric_touch.tokens import (SENTINELS, SPECIAL, Tokens, Trie, box_locs, box_text, label_trie, load_tokens, locs_boxes, pad_ids, t5_tokens, text_boxes,
                                 tokens_from, train_tokens)

TEXTS = ["A brown dog sleeps on the sofa.", "Two people ride bikes down the street", "A woman's red hat, size 18.", "the cat and the dog", "a photo of a hat"]*3
HEAD = [['<pad>', 0.], ['</s>', 0.], ['<unk>', 0.], ['▁', -2.]]
MARKS = [[f'<extra_id_{k}>', 0.] for k in range(99, -1, -1)]
LETTERS = [[c, -4.] for c in 'abcdefghijklmnopqrstuvwxyz.']

def t5_json(pieces=HEAD + LETTERS, marks=MARKS, **kwargs):
    "A small tokenizer in the layout of T5's own file"
    space = dict(type='Metaspace', replacement='▁', prepend_scheme='always', split=True)
    n = len(pieces)
    added = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True) for i,c in [*enumerate(['<pad>', '</s>', '<unk>']), *((n + k, m) for k,(m,_) in enumerate(marks))]]
    return dict(version='1.0', added_tokens=added, normalizer=None, pre_tokenizer=dict(type='Sequence', pretokenizers=[dict(type='WhitespaceSplit'), space]),
                post_processor=None, decoder=space, model=dict(type='Unigram', unk_id=2, vocab=pieces + marks)) | kwargs

@pytest.fixture(scope='module')
def tokens():
    with pytest.warns(UserWarning, match='pieces, not 200'): return train_tokens(TEXTS, 200, 1000, 512)

# ---- layout

def test_t5_at_its_real_size(tmp_path):
    pieces = HEAD + [[f'▁w{k}', -9.] for k in range(32_000 - len(HEAD))]
    (tmp_path/'tokenizer.json').write_text(json.dumps(t5_json(pieces)))
    t = t5_tokens(tmp_path)
    assert (t.n_text, t.n_loc, t.n_img, len(t)) == (32_128, 1000, 16_384, 49_512)
    assert [t.sentinel(0), t.sentinel(99), t.loc(0), t.loc(999), t.img(0), t.img(16_383)] == [32_099, 32_000, 32_128, 33_127, 33_128, 49_511]
    assert t.ids(['w5 <extra_id_0><extra_id_99> <loc_0><img_16383>w7']) == [[9, 32_099, 32_000, 32_128, 49_511, 11, 1]]
    assert t.text([32_127, 32_100, 9, 0, 0]) == '<unused 27><unused 0> w5'
    assert {*range(32_128)} > {i for r in t.ids(['<unused 3>', '<unused', 'unused 27']) for i in r} and not {*range(32_000, 32_128)} & {i for r in t.ids(['<unused 3>', 'a <unused 27>']) for i in r}
    assert load_tokens(t.save(tmp_path/'ours.json')).digest == t.digest == tokens_from(t.state()).digest
    assert len({t.digest, t5_tokens(tmp_path, loc_vocab_size=999).digest}) == 2

def test_sentinels_may_be_added_tokens_only(tmp_path):
    d = t5_json()
    d['model']['vocab'] = HEAD + LETTERS
    assert Tokens(d, multiple=128).digest == Tokens(t5_json(), multiple=128).digest

def test_spiece_model_alone_is_told_how_to_convert(tmp_path):
    (tmp_path/'spiece.model').write_bytes(b'\x0a\x05')
    for name in (tmp_path, tmp_path/'spiece.model'):
        with pytest.raises(FabricError, match='writes tokenizer.json out of spiece.model'): t5_tokens(name)

@given(data=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_told(data):
    with pytest.raises(FabricError): Tokens(mod._parse(data, 'tokenizer.json'))

def test_t5_from_the_hub(tmp_path, monkeypatch):
    import huggingface_hub
    with pytest.raises(FabricError, match="'t5-nobody' could not be fetched .* train_tokens"): t5_tokens('t5-nobody')
    (tmp_path/'f.json').write_text(json.dumps(t5_json()))
    asked = []
    monkeypatch.setattr(huggingface_hub, 'hf_hub_download', lambda *a, **k: asked.append(a) or str(tmp_path/'f.json'))
    assert t5_tokens('t5-large').n_text == 256 and asked == [('t5-large', 'tokenizer.json')]

def test_another_process_learns_the_same_and_the_extra_is_asked_for(tokens):
    code = ("import sys, warnings; sys.modules['tokenizers'] = None; import fabric_touch.tokens as t, fabric_touch.tasks; assert 'torch' not in sys.modules\n"
            "try: t.train_tokens(['a b'])\nexcept ImportError as e: assert 'fabric_touch[multimodal]' in str(e)\nelse: raise SystemExit(1)\n"
            f"del sys.modules['tokenizers']; warnings.simplefilter('ignore'); print(t.train_tokens({TEXTS!r}, 200, 1000, 512).digest)")
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, env=os.environ | dict(PYTHONHASHSEED='5')).stdout.strip() == tokens.digest

def test_numbers_are_checked(tokens):
    assert tokens.sentinel(np.arange(100)).tolist() == [*range(tokens.sentinel(0), tokens.sentinel(99) - 1, -1)]
    for call in (tokens.loc, tokens.img, tokens.sentinel):
        for bad in (-1, 10**6, 1.5, '3', [0, -1], True, None):
            with pytest.raises(FabricError): call(bad)
    assert tokens.locs([[0, tokens.loc(3)], [tokens.img(4), tokens.loc(999)]]).tolist() == [[-1, 3], [-1, 999]]
    assert tokens.codes([tokens.img(0), tokens.loc(999), len(tokens), -1]).tolist() == [0, -1, -1, -1]

def test_copies(tokens):
    for other in (pickle.loads(pickle.dumps(tokens)), copy.deepcopy(tokens)): assert other.ids(TEXTS) == tokens.ids(TEXTS) and other.digest == tokens.digest

# ---- texts

@given(text=st.text(st.sampled_from('abz AZ.,!?\'"#&<>_()09\t\n\u00a0'), min_size=1, max_size=40).filter(str.strip))
@settings(max_examples=150, deadline=None)
def test_ascii_comes_back(tokens, text): assert tokens.text(tokens.ids([text])[0]) == ' '.join(text.split())

@given(parts=st.lists(st.sampled_from(['dog', 'the cat', '.', '<extra_id_0>', '<extra_id_99>', '<loc_0>', '<loc_999>', '<img_7>', '<img_511>']), min_size=1, max_size=12), blanks=st.booleans())
@settings(max_examples=80, deadline=None)
def test_specials_are_one_id_each(tokens, parts, blanks):
    row = tokens.ids([(' ' if blanks else '').join(parts)])[0]
    special = [p for p in parts if p[0] == '<']
    assert [tokens.tokenizer.id_to_token(i) for i in row if i >= tokens.n_pieces] == special and row[-1] == tokens.eos and row.count(tokens.eos) == 1
    if blanks: assert tokens.text(row) == ' '.join(parts) and tokens.text(row, special=False) == ' '.join(p for p in parts if p[0] != '<')

@given(text=st.text(max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_text_is_read_or_told(tokens, text):
    try: row = tokens.ids([text], empty=True)[0]
    except FabricError: return
    assert row[-1] == 1 and all(1 < i < len(tokens) for i in row[:-1]) and isinstance(tokens.text(row), str)

def test_limits(tokens):
    text = 'dog ' * 20
    n = len(tokens.ids([text])[0])
    assert len(tokens.ids([text], max_length=n)[0]) == n
    with pytest.raises(FabricError, match=f"text 1, 'dog dog .*… has {n} .*limit is {n-1}; give truncate=True" if len(text) < 60 else f'has {n} ids'): tokens.ids(['a', text], max_length=n-1)
    cut = tokens.ids([text], max_length=n-1, truncate=True)[0]
    assert len(cut) == n-1 and cut[-1] == 1 and cut[:-1] == tokens.ids([text])[0][:n-2]
    for bad in ('', ' \n', '\u200b' if not tokens.tokenizer.encode('\u200b').ids else ''):
        with pytest.raises(FabricError, match='is empty'): tokens.ids([bad])
        assert tokens.ids([bad], empty=True) == [[1]]
    assert tokens.ids([]) == [] and tokens.text([]) == '' and tokens.text([[1], [0, 0]]) == ['', '']
    for bad in ([None], [3], 'dog', [float('nan')], ['a', '\ud800']):
        with pytest.raises(FabricError): tokens.ids(bad)
    for bad in ('</s>', 'a <pad> b', '<img_512>', '<extra_id_100>', '<loc_007>', f'<loc_{"9"*5000}>'):
        with pytest.raises(FabricError): tokens.ids([bad])

def test_text_reads_arrays_and_refuses_others(tokens):
    rows = tokens.ids(TEXTS[:3])
    ids, mask = pad_ids(rows)
    assert tokens.text(ids) == tokens.text(rows) == TEXTS[:3] and ids.dtype == np.int64 and [r[m].tolist() for r,m in zip(ids, mask)] == rows
    for bad in ([-100], [len(tokens)], [1.5], ['a'], [None]):
        with pytest.raises(FabricError, match='not of this vocabulary'): tokens.text(bad)
    with pytest.raises(FabricError, match='no rows'): pad_ids([])

@pytest.mark.skipif(not has_data('coco_mini'), reason='needs coco_mini')
def test_coco_comes_back():
    captions = [c for p in json.loads((data_dir('coco_mini')/'coco_mini.json').read_text())['images'] for c in p['captions']]
    t = train_tokens(captions, 500, 10, 10)
    assert t.text(t.ids(captions)) == [' '.join(c.split()) for c in captions] and len(captions) == 505

# ---- files

def change(**kwargs): return lambda d: d | kwargs
def model(**kwargs): return lambda d: d | dict(model=d['model'] | kwargs)
def vocab(f): return lambda d: model(vocab=f(d['model']['vocab']))(d)
def deep(n): return json.loads('{"type":"Sequence","normalizers":['*n + '{"type":"NFC"}' + ']}'*n)

HOSTILE = dict(list=lambda d: [], none=lambda d: None, no_model=lambda d: {}, bpe=model(type='BPE'), number=model(vocab=3), rows=vocab(lambda v: v + [['x']]), nan=vocab(lambda v: v[:40] + [['q', float('nan')]] + v[40:]),
    inf=vocab(lambda v: v[:40] + [['q', 1e999]] + v[40:]), text=vocab(lambda v: v[:40] + [['q', '1']] + v[40:]), empty=vocab(lambda v: [*v[:4], ['', -1.], *v[4:]]), twice=vocab(lambda v: v[:4] + [['a', -1.]] + v[4:]), special=vocab(lambda v: v[:4] + [['<loc_3>', -1.]] + v[4:]), surrogate=vocab(lambda v: v[:4] + [['\ud800', -1.]] + v[4:]),
    upward=vocab(lambda v: v[:-100] + v[:-101:-1]), few=vocab(lambda v: v[:-1]), none_first=vocab(lambda v: v[1:]), unk=model(unk_id=5), bytes=model(byte_fallback=True), regex=change(normalizer=dict(type='Replace', pattern=dict(Regex='(a+)+$'), content='b')),
    script=change(normalizer=dict(type='Prepend', prepend='x')), deep=change(normalizer=deep(30)), table=change(normalizer=dict(type='Precompiled', precompiled_charsmap=base64.b64encode(b'\xff'*40).decode())), no_base=change(normalizer=dict(type='Precompiled', precompiled_charsmap='%%%')),
    split=change(pre_tokenizer=dict(type='Split', pattern=dict(Regex='(a+)+$'), behavior='Removed', invert=False)), own=lambda d: change(added_tokens=d['added_tokens'] + [dict(id=999, content='hello', special=True)])(d), added=change(added_tokens=[3]))

@pytest.mark.parametrize('name', HOSTILE)
def test_hostile_json(name, tmp_path):
    file = tmp_path/'tokenizer.json'
    file.write_text(json.dumps(HOSTILE[name](t5_json())))
    for read in (t5_tokens, load_tokens):
        with pytest.raises(FabricError): read(file)

@pytest.mark.parametrize('data', [b'', b'{', b'\xff\xfe', b'['*200_000, b'1'*10_000, b'"' + b'a'*100, b'{"model": 1e999}', b'null'])
def test_hostile_bytes(data, tmp_path):
    (tmp_path/'tokenizer.json').write_bytes(data)
    with pytest.raises(FabricError): t5_tokens(tmp_path)
    with pytest.raises(FabricError): load_tokens(tmp_path)

def test_saved_file_is_checked(tokens, tmp_path):
    file = tokens.save(tmp_path/'a')
    assert load_tokens(tmp_path/'a').ids(TEXTS) == tokens.ids(TEXTS) and [p.name for p in (tmp_path/'a').iterdir()] == ['tokenizer.json']
    d = json.loads(file.read_text())
    for added in (d['added_tokens'][:-1], d['added_tokens'][::-1], d['added_tokens'][:-2] + d['added_tokens'][-1:], d['added_tokens'] + [dict(d['added_tokens'][-1], content='<loc_5>')]):
        file.write_text(json.dumps(d | dict(added_tokens=added)))
        if len(added) < len(d['added_tokens']) and added == d['added_tokens'][:-1]: assert len(load_tokens(file)) == len(tokens) - 1     # a vocabulary with one code less
        else:
            with pytest.raises(FabricError): load_tokens(file)
    file.write_text(json.dumps(t5_json() | dict(added_tokens=[dict(id=10**9, content='<loc_0>'), dict(id=-5, content='<img_0>')])))
    with pytest.raises(FabricError, match='not in the order'): load_tokens(file)
    for missing in (tmp_path/'b.json', tmp_path, tmp_path/('x'*300)):
        with pytest.raises(FabricError): load_tokens(missing)

def test_other_programs_read_the_file(tokens, tmp_path):
    import tokenizers
    theirs = tokenizers.Tokenizer.from_file(str(tokens.save(tmp_path/'a')))
    assert [e.ids + [1] for e in theirs.encode_batch(TEXTS)] == tokens.ids(TEXTS)

def test_state_is_checked(tokens, monkeypatch):
    state = tokens.state()
    assert state.dtype == np.uint8 and tokens_from(state.tolist()).digest == tokens.digest
    broken = state.copy(); broken[len(state)//2] ^= 255
    for bad in (state[:-20], state[:0], broken, np.zeros(100), 'abc', None, np.frombuffer(zlib.compress(b'null'), np.uint8)):
        with pytest.raises(FabricError): tokens_from(bad)
    monkeypatch.setattr(mod, 'MAX_BYTES', 1000)
    with pytest.raises(FabricError, match='cut off, or too large'): tokens_from(state)

def test_large_files_are_not_opened(tmp_path):
    with open(tmp_path/'tokenizer.json', 'wb') as f: f.truncate(mod.MAX_BYTES + 1)
    with pytest.raises(FabricError, match='larger than 64 MB'): load_tokens(tmp_path)

# ---- boxes

sides = st.floats(1, 5000, allow_nan=False)
@given(size=st.tuples(sides, sides), at=st.lists(st.tuples(*[st.floats(0, 1)]*4), min_size=1, max_size=8), n=st.integers(1, 2000))
@settings(max_examples=150, deadline=None)
def test_boxes_come_back_to_half_a_bin(size, at, n):
    a = np.sort(np.array(at).reshape(-1, 2, 2), 1).reshape(-1, 4)*[*size, *size]
    bins = box_locs(a, size, n)
    half = np.array([*size, *size])/(2*n)
    assert bins.min() >= 0 and bins.max() < n and (abs(locs_boxes(bins, size, n) - a) <= half*(1 + 1e-9) + 1e-9).all()
    assert (text_boxes(' and '.join(box_text(a, size, n)), size, n) == locs_boxes(bins, size, n)).all()

@pytest.mark.parametrize('boxes', [[[0, 0, 11.1, 5]], [[-1.1, 0, 5, 5]], [[5, 0, 4, 5]], [[0, 5, 5, 4]], [[0, 0, np.nan, 5]], [[0, 0, np.inf, 5]], [0, 0, 1, 1], [[0, 0, 1]]])
def test_boxes_that_are_none(boxes):
    with pytest.raises(FabricError): box_locs(boxes, (10, 10))

def test_sizes(tokens):
    assert box_locs([[0, 0, 10.4, 10], [0, 0, 50, 20]], [(10, 10), (50, 20)]).tolist() == [[0, 0, 999, 999]]*2
    assert box_locs(np.zeros((0, 4)), (10, 10)).shape == (0, 4)
    for bad in ((0, 5), (5,), (np.nan, 5), [(5, 5)]*3, None, 'ab'):
        with pytest.raises((FabricError, ValueError, TypeError)): box_locs([[0, 0, 1, 1]]*2, bad)

# ---- tries

def test_tries(tokens):
    labels = ['hat', 'cat', 'cat and dog', 'dog', 'a hat']
    trie, rows = label_trie(tokens, labels)
    assert len(trie) == 5 and tokens.text(rows) == [f'a photo of {l}' for l in labels]
    for row in rows:
        assert all(row[k] in trie.next(row[:k]) for k in range(len(row))) and trie.next(row) == []
    for bad in (['hat', 'hat'], ['a ☂', 'a ♞'], ['hat', ''], ['hat', None], [], 'hat', ['hat <loc_1000>']):
        with pytest.raises(FabricError): label_trie(tokens, bad)
    for bad in ([[5, 6]], [[5, 1, 6, 1]], [[5, 1], [5, 1]], [], [[]]):
        with pytest.raises(FabricError): Trie(bad)
    assert Trie([np.array([5, 1])]).next(np.array([5])) == [1]

# ---- hidden words

some_text = st.lists(st.sampled_from(["I'm", 'dog', '3.5', '.', '?', 'T-shirt', 'naïve', '犬', '(', '&', 'हिन्दी']), min_size=1, max_size=60).map(' '.join)

@given(text=some_text, rate=st.floats(.01, 1), seed=st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_spans_come_back(text, rate, seed):
    source, target = corrupt_spans(text, rate, seed)
    all_words, marks = words(text), SPECIAL.findall(target)
    assert restore_spans(source, target) == ' '.join(all_words) == text
    assert len(target.split()) - len(marks) == int(np.ceil(rate*len(all_words) - 1e-9)) and SPECIAL.findall(source) == marks[:-1]
    assert [int(k) for _,k in marks] == [*range(len(marks))]
    assert not any(a[0] == b[0] == '<' and len(b) > 1 < len(a) for a,b in zip(source.split(), source.split()[1:]))

@given(text=st.text(max_size=60))
@settings(max_examples=150, deadline=None)
def test_words_lose_only_blanks(text): assert ''.join(words(text)) == ''.join(text.split())

def test_long_texts_keep_their_share():
    text = ' '.join(f'w{k}' for k in range(3000))
    for rate,seed in ((.15, 0), (.5, 1), (.9, 2), (.04, 3)):
        source, target = corrupt_spans(text, rate, seed)
        marks = SPECIAL.findall(target)
        assert len(marks) <= SENTINELS and len(target.split()) - len(marks) == 3000*rate and restore_spans(source, target) == text
    with pytest.raises(FabricError, match='more than 99 gaps'): corrupt_spans(text, hide=range(0, 400, 2))

def test_spans_of_a_model_are_read():
    assert restore_spans('a <extra_id_0> b <extra_id_1>', 'rubbish') == 'a <extra_id_0> b <extra_id_1>'
    assert restore_spans('a <extra_id_0> b', '<extra_id_0> x <extra_id_0> y <extra_id_7>') == 'a x b'
    assert corrupt_spans('a b', hide=[]) == ('a b', '<extra_id_0>') and corrupt_spans('a') == ('<extra_id_0>', '<extra_id_0> a <extra_id_1>')
    for bad in (dict(rate=0), dict(rate=1.1), dict(rate=True), dict(rate='a'), dict(rate=float('nan')), dict(hide=[1.5]), dict(hide=[-1])):
        with pytest.raises(FabricError): corrupt_spans('a b c', **bad)

# ---- tasks

@pytest.fixture
def table(): return pd.DataFrame(dict(image=[f'{k//2}.jpg' for k in range(20)], text=[f'the dog {k} sleeps on a long red sofa near the cat' for k in range(20)], label=['dog', 'cat']*10, width=100, height=50, x0=10, y0=5, x1=60, y1=45))

def same(a, b): return [i[:3] for i in a] == [i[:3] for i in b] and all((i.hidden == j.hidden).all() if i.hidden is not None else j.hidden is None for i,j in zip(a, b))

@pytest.mark.parametrize('name', TASKS)
def test_every_task_gives_items_that_the_vocabulary_reads(name, table, tokens):
    make = (lambda d: unmask_items(d, np.full((10, 256), 511))) if name == 'unmask' else TASKS[name]
    items = make(table)
    assert items and all(isinstance(i, Item) and isinstance(i.image, str) for i in items) and same(items, make(table)) and same(items, make(SimpleNamespace(items=table)))
    for part in ('source', 'target'): tokens.ids([getattr(i, part) for i in items])
    for bad in (table.drop(columns='image'), table.iloc[:0], table.assign(image=None), table.assign(text=None, label=3), table.assign(text='<img_0>', label='<loc_0>'), None, [table], 'table.csv', table[['image', *table.columns]]):
        with pytest.raises(FabricError): make(bad)

def test_draws_depend_on_seed_epoch_and_row_alone(table):
    codes = np.arange(20*16).reshape(20, 16)
    for make in (lambda d, **k: restore_items(d, **k), lambda d, **k: unmask_items(d, codes[d.index], **k)):
        whole, some = make(table), make(table.iloc[[13, 2, 5]])
        assert same(some, [whole[13], whole[2], whole[5]]) and not same(whole, make(table, epoch=1)) and not same(whole, make(table, seed=1)) and same(make(table, epoch=1), make(table, epoch=1))
        for bad in (dict(seed=-1), dict(epoch=.5)):
            with pytest.raises(FabricError): make(table, **bad)
    with pytest.raises(FabricError, match='index'): restore_items(table.set_index('label', drop=False))

@pytest.mark.parametrize('ratio,cells', [(.75, (8, 8)), (.1, (7, 5)), (1, (2, 2)), (.5, (1, 3))])
def test_hidden_cells_are_counted(ratio, cells, table):
    items = unmask_items(table, np.zeros((20, 4), int), ratio, cells)
    assert {(i.hidden.size, int(i.hidden.sum())) for i in items} == {(cells[0]*cells[1], round(ratio*cells[0]*cells[1]))}
    assert {i.hidden.dtype for i in items} == {np.dtype(bool)} and items[3].source == table.text[3] and items[3].target == '<img_0> <img_0> <img_0> <img_0>'

def test_codes_go_with_their_photo(table):
    codes = np.arange(10)[:, None]*[1, 1]
    assert [i.target for i in unmask_items(table, codes)] == [f'<img_{k//2}> <img_{k//2}>' for k in range(20)] == [i.target for i in unmask_items(table, np.repeat(codes, 2, 0))]
    for bad in (codes[:3], codes*.5, codes - 1, codes[:, :0], codes[0]):
        with pytest.raises(FabricError): unmask_items(table, bad)

@given(cells=st.tuples(st.integers(1, 9), st.integers(1, 9)), shape=st.tuples(st.integers(1, 20), st.integers(1, 20)), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_hidden_codes_lie_in_hidden_cells(cells, shape, seed):
    hidden = np.random.default_rng(seed).random((2, *cells)) < .5
    want = [[h[int((y + .5)*cells[0]/shape[0]), int((x + .5)*cells[1]/shape[1])] for y in range(shape[0]) for x in range(shape[1])] for h in hidden]
    assert hidden_codes(hidden.reshape(2, -1), cells, shape).tolist() == want

def test_boxes_of_one_label_are_one_item(tmp_path, table):
    img = Image.new('RGB', (100, 50)); exif = img.getexif(); exif[274] = 6
    img.save(tmp_path/'a.jpg'); img.save(tmp_path/'turned.jpg', exif=exif)
    d = pd.DataFrame([('a.jpg', 'dog', 0, 0, 50, 25), ('turned.jpg', 'dog', 0, 0, 25, 50), ('a.jpg', 'cat', 0, 0, 100, 50), ('a.jpg', 'dog', 50, 25, 100, 50)], columns='image label x0 y0 x1 y1'.split())
    d['image'] = [str(tmp_path/i) for i in d.image]
    half, rest = '<loc_0> <loc_0> <loc_500> <loc_500> dog', '<loc_500> <loc_500> <loc_999> <loc_999> dog'
    assert [i.target for i in locate_items(d)] == [f'{half} {rest}', half, '<loc_0> <loc_0> <loc_999> <loc_999> cat'] and locate_items(d)[2].source == 'Where is the cat ?'
    assert locate_items(d.assign(width=[100, 50, 100, 100], height=[50, 100, 50, 50], image='none.jpg')[:2])[0].target == f'{half} {half}'
    (tmp_path/'a.jpg').write_bytes(b'no photo')
    with pytest.raises(FabricError, match='a.jpg: its size cannot be read'): locate_items(d)
    with pytest.raises(FabricError, match='once'): locate_items(table, form='Where ?')
