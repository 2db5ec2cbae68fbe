"Checkpoints under attack: damage, disguise, wrong models; the plug is pulled in test_unplugged."
import json, os, pickle, random, struct, time, zipfile

import numpy as np, pandas as pd, pytest, torch
from torch import nn
from fabric_touch.checkpoints import (CARD, MAX_CARD, WEIGHTS, CheckpointError, _card_bytes, _card_sha256, data_digest, load_checkpoint, load_weights, read_card, read_state,
                                      read_tensors, read_weights, safe_torch_load, save_checkpoint)
from fabric_touch.core import FabricError

pytestmark = pytest.mark.once

FIBRES = ['cotton', 'wool', 'linen']
FACTS = dict(kind='touch', recipe='mlb', fibres=FIBRES, size=[96, 96], scores=dict(softness=.61, smoothness=1e-7), note='Größe, 면 95 %')

def make(card=None): return nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 5))

@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    return save_checkpoint(tmp_path/'model', make(), FACTS)

@pytest.fixture
def trap(tmp_path):
    "A pickle that would write a file if it were run; the file must not be there afterwards"
    class Thief:
        def __reduce__(self): return os.system, (f"touch '{tmp_path}/stolen'",)
    yield Thief()
    assert not (tmp_path/'stolen').exists()

def refused(folder, why='', **expect):
    "The message with which a checkpoint is refused, which must hold `why` and name the place"
    with pytest.raises(CheckpointError) as e: load_checkpoint(folder, make, **expect)
    assert why in str(e.value) and folder.name in str(e.value) and len(str(e.value)) < 2000, str(e.value)
    return str(e.value)

# ---- what is saved comes back

def test_round_trip(folder):
    model, card = load_checkpoint(folder, make, kind='touch', fibres=tuple(FIBRES))
    torch.manual_seed(0)
    for a,b in zip(model.state_dict().values(), make().state_dict().values()): assert torch.equal(a, b)
    assert {k: card[k] for k in FACTS} == FACTS
    again = save_checkpoint(folder, model, card)           # a card that was read may be saved again
    assert read_card(again)['weights_sha256'] == card['weights_sha256']
    assert sorted(p.name for p in folder.iterdir()) == [CARD, WEIGHTS]
    assert [p.name for p in folder.parent.iterdir()] == ['model']   # nothing left beside it

def test_same_model_same_bytes(folder, tmp_path):
    torch.manual_seed(0)
    other = save_checkpoint(tmp_path/'other', make(), FACTS)
    for name in (CARD, WEIGHTS): assert (folder/name).read_bytes() == (other/name).read_bytes()

@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool, torch.complex64, torch.uint8])
def test_types_and_views(tmp_path, dtype):
    t = torch.arange(24).reshape(4, 6).to(dtype)
    state = dict(t=t, turned=t.T, part=t[1:2], empty=torch.zeros(0, 3), scalar=torch.tensor(2.5), tied=t)
    back = read_weights(save_checkpoint(tmp_path/'m', state, {}))
    assert set(back) == set(state)
    for k,v in state.items(): assert torch.equal(back[k], v) and back[k].dtype == v.dtype

def test_tied_weights_are_stored_once(tmp_path):
    m = nn.ModuleDict(dict(a=nn.Embedding(500, 64), b=nn.Linear(64, 500, bias=False)))
    m['a'].weight = m['b'].weight
    f = save_checkpoint(tmp_path/'m', m, {})
    assert (f/WEIGHTS).stat().st_size < 1.1*500*64*4
    back, _ = load_checkpoint(f, lambda card: nn.ModuleDict(dict(a=nn.Embedding(500, 64), b=nn.Linear(64, 500, bias=False))))
    assert torch.equal(back['a'].weight, m['a'].weight) and torch.equal(back['b'].weight, m['a'].weight)

# ---- what may not be saved

bad_cards = [(dict(a={1, 2}), "'a' is a set"), (dict(a=dict(b=float('inf'))), "'a.b' is inf"), (dict(a=[1, object()]), "'a[1]' is a object"), ({1: 2}, 'the key 1'),
             (dict(a=torch.ones(1)), "'a' is a Tensor"), (dict(a='\ud800'), 'lone surrogate'), (dict(a=os), "'a' is a module"), (['no', 'dict'], 'a card is a dict'),
             (dict(a='x'*MAX_CARD), 'at most')]

@pytest.mark.parametrize('card, why', bad_cards, ids=[w for _,w in bad_cards])
def test_bad_cards_are_not_saved(tmp_path, card, why):
    with pytest.raises(CheckpointError) as e: save_checkpoint(tmp_path/'m', make(), card)
    assert why in str(e.value)
    assert not list(tmp_path.iterdir())

def test_bad_weights_are_not_saved(folder):
    old = (folder/WEIGHTS).read_bytes()
    for state, why in [({'w': torch.tensor([1., float('nan')])}, "'w'"), ({'w': 3}, "'w' is a int"), ({'w': torch.ones(2, 2).to_sparse()}, 'sparse'),
                       ({'w': torch.ones(2, device='meta')}, 'meta'), ('text', 'a str'), ({3: torch.ones(1)}, '3 is a')]:
        with pytest.raises(CheckpointError) as e: save_checkpoint(folder, state, {})
        assert why in str(e.value)
    assert (folder/WEIGHTS).read_bytes() == old

def test_nothing_of_the_users_is_replaced(tmp_path):
    (tmp_path/'photos').mkdir(); (tmp_path/'photos'/'a.jpg').write_bytes(b'photo'); (tmp_path/'file').write_bytes(b'text')
    (tmp_path/'loop').symlink_to(tmp_path/'loop')
    for name, why in [('photos', 'a.jpg'), ('file', 'not a folder'), ('loop', 'not a folder'), ('file/under', 'could not be saved')]:
        with pytest.raises(CheckpointError) as e: save_checkpoint(tmp_path/name, make(), {})
        assert why in str(e.value)
    assert (tmp_path/'photos'/'a.jpg').read_bytes() == b'photo' and (tmp_path/'file').read_bytes() == b'text'
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'loop', 'photos']

def test_link_to_a_checkpoint_stays_a_link(folder, tmp_path):
    (tmp_path/'link').symlink_to(folder)
    save_checkpoint(tmp_path/'link', make(), dict(FACTS, recipe='new'))
    assert (tmp_path/'link').is_symlink() and read_card(folder)['recipe'] == 'new'

@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='no /dev/full here')
def test_full_disk(folder, monkeypatch):
    from fabric_touch import checkpoints
    def full(*args, **kwargs): open('/dev/full', 'wb', buffering=0).write(b'1')
    monkeypatch.setattr(checkpoints, 'save_file', full)
    with pytest.raises(CheckpointError, match='could not be saved.*No space left'): save_checkpoint(folder, make(), {})
    assert load_checkpoint(folder, make)[1]['recipe'] == 'mlb'

# ---- damage

def flip_all(folder, n, seed=0):
    dice, through = random.Random(seed), []
    for i in range(n):
        path = folder/(CARD, WEIGHTS)[i % 2]
        old = path.read_bytes(); at, bit = dice.randrange(len(old)), dice.randrange(8)
        path.write_bytes(old[:at] + bytes([old[at] ^ 1 << bit]) + old[at+1:])
        try: load_checkpoint(folder, make)
        except CheckpointError: pass
        else: through.append((path.name, at, bit))
        path.write_bytes(old)
    assert not through
    load_checkpoint(folder, make)

def test_bit_flips(folder): flip_all(folder, 20)

@pytest.mark.stress
def test_a_thousand_bit_flips(folder): flip_all(folder, 1000, seed=1)

@pytest.mark.parametrize('name', [CARD, WEIGHTS])
def test_truncated_and_lengthened(folder, name):
    old = (folder/name).read_bytes()
    for k in (0, 1, 7, 8, 9, 40, len(old)//2, len(old)-1):
        (folder/name).write_bytes(old[:k])
        refused(folder, 'is empty' if not k else '')
    (folder/name).write_bytes(old + b'\n'); refused(folder)
    (folder/name).write_bytes(bytes(len(old))); refused(folder)

def header(text, n=None, data=b''): return struct.pack('<Q', len(text) if n is None else n) + text + data

bad_weights = dict(
    terabytes=(header(b'{"a":', 1 << 44), 'claims 17,592,186,044,416 bytes'), most=(header(b'{', 2**64-1), 'claims'), nothing=(b'\0'*8, 'not a safetensors'),
    deep=(header(b'{"a":' + b'['*200_000), 'damaged'), overflow=(header(b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]}}', data=b'1234'), 'damaged'),
    negative=(header(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', data=b'1234'), 'damaged'),
    web_page=(b'<!DOCTYPE html><html>404</html>', 'web page'), lfs=(b'version https://git-lfs.github.com/spec/v1\noid', 'Git LFS'), json=(b'{"a": 1}', ''),
    png=(b'\x89PNG\r\n\x1a\n' + b'0'*50, 'picture'), gzip=(b'\x1f\x8b' + b'0'*50, 'archive'))

@pytest.mark.parametrize('what', bad_weights)
def test_disguised_weights(folder, what):
    data, why = bad_weights[what]
    (folder/WEIGHTS).write_bytes(data)
    refused(folder, why)
    with pytest.raises(CheckpointError): read_tensors(folder/WEIGHTS)
    with pytest.raises(CheckpointError): safe_torch_load(folder/WEIGHTS)

@pytest.mark.parametrize('protocol', range(6))
def test_pickle_in_place_of_weights(folder, trap, protocol):
    (folder/WEIGHTS).write_bytes(pickle.dumps(trap, protocol=protocol))
    refused(folder, 'a pickle, which can run code; it was not opened')

def test_torch_file_in_place_of_weights(folder, trap):
    torch.save(dict(w=trap), folder/WEIGHTS)
    refused(folder, 'a zip file as torch.save writes it')

def test_nan_weights_by_name(folder, tmp_path):
    from safetensors.torch import save_file
    state = make().state_dict(); state['2.weight'][3, 3] = float('nan'); state['0.bias'][0] = float('inf')
    save_file(state, tmp_path/'w.safetensors')
    with pytest.raises(CheckpointError, match="NaN or infinite: '0.bias', '2.weight'"): read_tensors(tmp_path/'w.safetensors')
    model = make(); before = {k: v.clone() for k,v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match='NaN'): load_weights(model, state)
    for k,v in model.state_dict().items(): assert torch.equal(v, before[k])

bad_texts = {'empty object': '{}', 'list': '[]', 'text': '"card"', 'number': '3', 'nan': '{"a": NaN}', 'inf': '{"format": "fabric_touch/1", "a": 1e999}', 'not utf-8': b'\xff\xfe{}',
             'surrogate': '{"a": "\\ud800"}', 'nested lists': '['*500_000, 'nested dicts': '{"a":'*150_000, 'closed nest': '['*5000 + ']'*5000, 'big': ' '*(MAX_CARD+1), 'escapes': '"' + '\\"'*400_000,
             'long number': '{"a": ' + '9'*100_000 + '}', 'twice': '{"a": 1, "a": 2}', 'nul': '\0'*100}

@pytest.mark.parametrize('what', bad_texts)
def test_bad_card_texts(folder, what):
    text = bad_texts[what]
    (folder/CARD).write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.time()
    refused(folder, CARD)
    assert time.time() - start < 10   # a hang guard

def test_edited_card(folder):
    text = (folder/CARD).read_text()
    for old, new in [('0.61', '0.91'), ('"mlb"', '"MLB"'), ('"kind"', '"kin"'), ('1e-07', '1.0e-07'), ('\n', '\r\n'), ('ö', '\\u00f6'), ('fabric_touch/1', 'fabric_touch/2')]:
        assert old in text
        (folder/CARD).write_text(text.replace(old, new, 1), newline='')
        refused(folder, 'another version' if '/2' in new else 'was changed after it was saved')
    card = json.loads(text)
    for key in ('format', 'versions', 'weights_sha256', 'card_sha256'):
        (folder/CARD).write_text(json.dumps({k: v for k,v in card.items() if k != key}))
        refused(folder, key)

def test_message_is_printable(folder):
    (folder/CARD).write_text(json.dumps({'format': 'fabric_touch/1', 'kind': '\x1b[2J\x07' + 'x'*5000}))
    assert refused(folder, 'kind differs', kind='touch').isprintable()

# ---- places

def test_paths(folder, tmp_path):
    (tmp_path/'loop').symlink_to(tmp_path/'loop')
    (tmp_path/'empty').mkdir()
    for path, why in [(tmp_path/'nowhere', 'no such folder'), (tmp_path/'empty', 'holds no card.json'), (folder/CARD, 'is a file'), (tmp_path/'loop', ''), (folder/CARD/'x', ''), ('a\0b', ''), (tmp_path/('x'*5000), '')]:
        for read in (read_card, lambda f: load_checkpoint(f, make), read_state):
            if read is read_state and path == folder/CARD: continue
            with pytest.raises(CheckpointError) as e: read(path)
            assert why in str(e.value) or read is read_state
    (folder/WEIGHTS).unlink(); refused(folder, f'holds no {WEIGHTS}')
    (folder/WEIGHTS).symlink_to(folder/WEIGHTS); refused(folder, WEIGHTS)
    (folder/WEIGHTS).unlink(); (folder/WEIGHTS).mkdir(); refused(folder, 'not a plain file')

@pytest.mark.skipif(not hasattr(os, 'mkfifo'), reason='no named pipes here')
def test_named_pipe_does_not_hang(folder):
    (folder/CARD).unlink(); os.mkfifo(folder/CARD)
    refused(folder, 'not a plain file')

# ---- another model

def test_expectations_by_name(folder):
    assert "fibres differ: the checkpoint has 'linen' at place 3, expected 'nylon'" in refused(folder, fibres=['cotton', 'wool', 'nylon'])
    assert "'nothing'" not in refused(folder, "the checkpoint has nothing at place 4, expected 'silk'", fibres=FIBRES + ['silk'])
    refused(folder, "the checkpoint has 'linen' at place 3, expected nothing", fibres=FIBRES[:2])
    refused(folder, "recipe differs: the checkpoint has 'mlb', expected 'venezia'", recipe='venezia')
    refused(folder, 'scores.softness differs: the checkpoint has 0.61, expected 0.5', scores=dict(softness=.5, smoothness=1e-7))
    both = refused(folder, kind='garment', width=512)
    assert 'kind differs' in both and 'width differs: the checkpoint has nothing, expected 512' in both

def test_expectation_is_told_before_the_digest(folder):
    (folder/CARD).write_text((folder/CARD).read_text().replace('linen', 'nylon'))
    refused(folder, "the checkpoint has 'nylon' at place 3, expected 'linen'", fibres=FIBRES)
    refused(folder, 'was changed after it was saved', kind='touch')

def test_shapes_by_name(folder):
    def wide(card): return nn.Sequential(nn.Linear(12, 9), nn.BatchNorm1d(9), nn.Linear(9, 5), nn.Linear(5, 1))
    with pytest.raises(CheckpointError) as e: load_checkpoint(folder, wide)
    for why in ("'0.weight' has shape (8, 12), the model has (9, 12)", "'2.weight' has shape (5, 8), the model has (5, 9)", "missing: '3.weight', '3.bias'"): assert why in str(e.value)
    with pytest.raises(CheckpointError, match="not in the model: '1.bias'"): load_checkpoint(folder, lambda card: nn.Sequential(nn.Linear(12, 8)))
    other = save_checkpoint(folder.parent/'other', nn.Sequential(nn.Linear(3, 3)), {})
    os.replace(other/WEIGHTS, folder/WEIGHTS)              # the weights of another model under this card: names first, then the digest
    why = refused(folder, "'0.weight' has shape (3, 3)")
    assert why.index('shape') < why.index('is not the file that was saved')

def test_all_or_nothing():
    model, tensors = make(), make().state_dict()
    before = {k: v.clone() for k,v in model.state_dict().items()}
    for strict in (True, False):
        with pytest.raises(CheckpointError, match='has shape'): load_weights(model, tensors | {'2.bias': torch.ones(6)}, strict)
    with pytest.raises(CheckpointError, match='int64'): load_weights(model, tensors | {'2.bias': torch.ones(5, dtype=torch.int64)})
    with pytest.raises(CheckpointError, match='none of the 9 names'): load_weights(model, {'module.0.weight': tensors['0.weight']}, strict=False)
    with pytest.raises(CheckpointError, match="not tensors: 'epoch'"): load_weights(model, tensors | dict(epoch=3))
    for k,v in model.state_dict().items(): assert torch.equal(v, before[k])
    report = load_weights(model, {'0.weight': tensors['0.weight'], 'head': torch.ones(1)}, strict=False)
    assert (report.taken, report.unexpected, len(report.missing)) == (['0.weight'], ['head'], 8)
    assert torch.equal(model[0].weight, tensors['0.weight']) and torch.equal(model[2].weight, before['2.weight'])

# ---- other people's files

@pytest.mark.parametrize('how', ['zip', 'legacy', 'module', 'plain 0', 'plain 2', 'plain 4', 'nested'])
def test_malicious_torch_files(tmp_path, trap, how):
    path = tmp_path/'model.pth.tar'
    if how.startswith('plain'): path.write_bytes(pickle.dumps(trap, protocol=int(how[-1])))
    elif how == 'module': torch.save(nn.Linear(2, 2), path)
    else: torch.save([dict(a=[trap])] if how == 'nested' else dict(w=trap), path, _use_new_zipfile_serialization=how != 'legacy')
    for read in (safe_torch_load, read_state):
        with pytest.raises(CheckpointError, match='was not run.*numbers alone are read here' if how not in ('plain 0', 'plain 4') else 'model.pth.tar'): read(path)
    with pytest.raises(CheckpointError): read_tensors(path)

@pytest.mark.parametrize('legacy', [False, True])
def test_what_others_call_safe_is_not_safe_here(tmp_path, legacy):
    path = tmp_path/'net.pth'
    torch.save(dict(net=nn.Linear(2, 2)), path, _use_new_zipfile_serialization=not legacy)
    with torch.serialization.safe_globals([nn.Linear, (set, 'builtins.set')]):
        before = set(torch.serialization.get_safe_globals())
        with pytest.raises(CheckpointError, match='was not run'): safe_torch_load(path)
        assert set(torch.serialization.get_safe_globals()) == before     # left as it was

def test_torch_bombs(tmp_path):
    class Hoard:
        def __reduce__(self): return bytearray, (10**13,)
    for legacy in (False, True):
        torch.save(Hoard(), tmp_path/'hoard.pth', _use_new_zipfile_serialization=not legacy)
        with pytest.raises(CheckpointError, match='bytearray'): safe_torch_load(tmp_path/'hoard.pth')
    torch.save(dict(a=[torch.zeros(1).expand(10**13)]), tmp_path/'wide.pth')
    with pytest.raises(CheckpointError, match='larger than the file'): safe_torch_load(tmp_path/'wide.pth')
    torch.save(dict(a=torch.ones(3).to_sparse()), tmp_path/'sparse.pth')
    with pytest.raises(CheckpointError): safe_torch_load(tmp_path/'sparse.pth')
    torch.save(dict(a=torch.zeros(4_000_000)), tmp_path/'z.pth')
    with zipfile.ZipFile(tmp_path/'z.pth') as old, zipfile.ZipFile(tmp_path/'small.pth', 'w', zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist(): new.writestr(name, old.read(name))
    assert (tmp_path/'small.pth').stat().st_size < 100_000
    with pytest.raises(CheckpointError, match='unpacks to'): safe_torch_load(tmp_path/'small.pth')

def test_circular_containers(tmp_path):
    loop = dict(w=torch.ones(2)); loop['self'] = loop
    torch.save(loop, tmp_path/'loop.pth')
    found = safe_torch_load(tmp_path/'loop.pth')
    assert torch.equal(found['self']['w'], torch.ones(2))

def test_torch_files_damaged(tmp_path):
    path = tmp_path/'m.pth'
    torch.save(make().state_dict(), path)
    old, dice = path.read_bytes(), random.Random(0)
    for k in (0, 1, 5, 100, len(old)//2, len(old)-1):
        path.write_bytes(old[:k])
        with pytest.raises(CheckpointError, match='m.pth'): safe_torch_load(path)
    for _ in range(20):                                    # no digest guards such a file, so some flips pass; none may escape as another error
        at = dice.randrange(len(old))
        path.write_bytes(old[:at] + bytes([old[at] ^ 1 << dice.randrange(8)]) + old[at+1:])
        try: read_state(path)
        except CheckpointError: pass

def test_good_torch_files(tmp_path):
    model = make()
    for zipped in (True, False):
        torch.save(dict(epoch=3, lr=.1, state_dict=model.state_dict(), names=('a', 'b')), tmp_path/'m.pth.tar', _use_new_zipfile_serialization=zipped)
        assert safe_torch_load(tmp_path/'m.pth.tar')['names'] == ('a', 'b')
        state = read_state(tmp_path/'m.pth.tar')
        assert all(torch.equal(state[k], v) for k,v in model.state_dict().items())
    for path, why in [(tmp_path, 'plain file'), (tmp_path/'none.pth', 'No such file')]:
        with pytest.raises(CheckpointError, match=why): safe_torch_load(path)

def test_errors_are_fabric_errors(): assert issubclass(CheckpointError, FabricError)

# ---- what a card asks for, and says

def test_a_model_is_built_within_what_its_weights_allow(folder):
    "Of any kind of asking: made of nothing, spread out of something small, in one piece or in many"
    x = torch.zeros(1000)
    asks = [lambda c: nn.Linear(10**6, 10**6), lambda c: nn.Sequential(*[nn.Linear(1000, 10_000) for _ in range(10**6)]), lambda c: x.repeat(10**9), lambda c: torch.outer(x.repeat(100), x.repeat(100)), lambda c: torch.zeros(10**12), lambda c: torch.ones(10**6, 10**6), lambda c: torch.arange(10**12)]
    for make_it in asks:
        start = time.monotonic()
        with pytest.raises(CheckpointError, match='asks for'): load_checkpoint(folder, make_it)
        assert time.monotonic() - start < 10
    assert load_checkpoint(folder, make)[1]['kind'] == 'touch'

@pytest.mark.parametrize('cut', [1, 40, 100])
def test_cut_off_is_said(folder, cut):
    data = (folder/WEIGHTS).read_bytes()
    (folder/WEIGHTS).write_bytes(data[:-cut])
    with pytest.raises(CheckpointError, match=f'cut off: by its header it has {len(data):,} bytes, the file has {len(data)-cut:,}'): read_weights(folder)

def test_same_tied_model_same_bytes(tmp_path):
    "safetensors' own notes come in another order each time"
    t = torch.ones(9)
    folders = [save_checkpoint(tmp_path/str(k), {name: t for name in 'acegikmoqsuwy'}, {}) for k in range(4)]
    assert len({(f/WEIGHTS).read_bytes() for f in folders}) == 1 and len(read_weights(folders[0])) == 13

def test_a_card_of_an_older_version_is_read(folder):
    "Without `training`, and with fewer versions"
    card = {k: v for k,v in read_card(folder).items() if k != 'card_sha256'} | dict(versions=dict(fabric_touch='0.0.1', torch='2.0', python='3.10'))
    (folder/CARD).write_bytes(_card_bytes(card | dict(card_sha256=_card_sha256(card))))
    assert 'training' not in load_checkpoint(folder, make)[1]

def test_digest_of_data_tells_all_apart():
    values = ['', 'a', b'a', 1, 1., True, None, [], [[]], {}, ['a'], [['a']], dict(a=1), dict(a='1'), np.zeros(2), np.zeros((2, 1)), np.zeros(2, 'f4'), np.zeros(2, '?'), np.int64(1), torch.zeros(2, dtype=torch.int32), float('nan'), 'ㄱ', '\ud800']
    assert len({data_digest(v) for v in values} | {data_digest(*values), data_digest()}) == len(values) + 2
    assert data_digest(np.zeros((4, 4))[::2]) == data_digest(torch.zeros(2, 4, dtype=torch.float64)) and data_digest((1, 2)) == data_digest([1, 2])
    for bad in ({1}, object(), np.array(['a']), np.array([None]), pd.DataFrame()):
        with pytest.raises(CheckpointError, match='has no digest'): data_digest(bad)

@pytest.mark.skipif(os.name == 'nt', reason='modes are of POSIX')
def test_others_may_read_what_the_umask_lets_them(tmp_path):
    "safetensors makes its files for their owner alone"
    from fabric_touch.core import whole_file
    old = os.umask(0o027)
    try:
        save_checkpoint(tmp_path/'m', torch.nn.Linear(2, 1), dict(kind='x'))
        assert {oct(p.stat().st_mode & 0o777) for p in (tmp_path/'m').iterdir()} == {'0o640'}
        (tmp_path/'mine').write_text('secret'); (tmp_path/'mine').chmod(0o600)
        with whole_file(tmp_path/'mine') as tmp: tmp.write_text('still')
        assert oct((tmp_path/'mine').stat().st_mode & 0o777) == '0o600'
    finally: os.umask(old)
