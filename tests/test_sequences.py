"Sequences: every network's cells are its places in order, Swin V2 is the same under both names, a text encoder that remembers says what a fresh one says."
import copy, json, pickle, sys
import numpy as np, pytest, timm, torch
from PIL import Image
from torch import nn

pytest.importorskip('transformers')
from transformers import Swinv2Config, Swinv2ForMaskedImageModeling, Swinv2Model, T5Config, T5EncoderModel, T5ForConditionalGeneration
from fabric_touch.checkpoints import CheckpointError, load_checkpoint, save_checkpoint
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.embeds import EmbeddingStore, embed, embed_all
from fabric_touch.encoders import ImageEncoder, image_encoder, last_blocks
from fabric_touch.sequences import SWIN_NAMES, T5_SIZES, CellEncoder, CellStore, FlatCells, cell_encoder, cells_card, cells_from_card, photo_cells, plot_cells, swin_state, t5_sizes, t5_state, text_encoder, text_from_card

pytestmark = pytest.mark.usefixtures('one_thread')
TINY = dict(img_size=64, embed_dim=16, depths=(2, 2, 2), num_heads=(2, 4, 8), window_size=4)
SIZES = dict(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=100)

def draw(model, seed=0):
    gen = torch.Generator().manual_seed(seed)
    for n, p in model.named_parameters(): p.data = (p.ndim == 1 and n.endswith('weight')) + torch.randn(p.shape, generator=gen)*(.3 if p.ndim < 2 else p[0].numel()**-.5)
    return model.eval().requires_grad_(False)

def off(a, b):
    assert b.std(0).mean() > .02*b.abs().mean(), 'nearly constant: this would pass with any weights'
    return ((a - b).abs().max()/b.std(0).mean()).item()

def theirs(make=Swinv2Model, **kwargs):
    "A tiny Swin V2 of transformers"
    return draw(make(Swinv2Config(**dict(image_size=64, embed_dim=16, depths=(2, 2, 2), num_heads=(2, 4, 8), window_size=4) | kwargs)))

def settled(enc, x):
    "The photos, after the BatchNorms have seen them: random deep CNNs say nearly the same of all photos"
    for m in enc.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 1.
    enc.train()(x); enc.eval()
    return x

def photos(n, side=70):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(n)]

@pytest.fixture(scope='module')
def swin(): return cell_encoder('swinv2_tiny_window8_256', theirs().state_dict(), **TINY)
@pytest.fixture(scope='module')
def whole(): return draw(T5ForConditionalGeneration(T5Config(**SIZES)), 1)
@pytest.fixture
def texts(whole): return text_encoder('mine', whole.state_dict())

# ---- cells

def test_class_tokens_belong_to_no_place():
    net = timm.create_model('vit_tiny_patch16_224', num_classes=0, img_size=64, depth=2, embed_dim=24, num_heads=2, reg_tokens=3, class_token=True).eval()
    enc = CellEncoder(ImageEncoder(net, 'vit', 64))
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad(): assert enc.grid == (4, 4) and torch.equal(enc(x), net.forward_features((x - .5)/.5)[:, 4:])

@pytest.mark.parametrize('name,kwargs', [('test_resnet', {}), ('mobilenetv2_100', dict(data=dict(img_size=64))), ('swin_tiny_patch4_window7_224', dict(img_size=56, embed_dim=16, depths=(1, 1), num_heads=(1, 2))),
                                         ('swinv2_tiny_window8_256', TINY), ('mobilenetv2_tf', dict(size=64))])
def test_cells_average_to_the_vector_the_network_pools(name, kwargs):
    enc = draw(cell_encoder(name, False, **kwargs))
    x = settled(enc, nn.functional.interpolate(torch.rand(2, 3, 4, 4), enc.size))   # noise in each pixel would have nearly one vector
    with torch.no_grad(): pooled = timm.create_model(enc.name, num_classes=0, **{k: v for k, v in kwargs.items() if k not in ('data', 'size')}, **({'pad_type': 'same'} if name.endswith('tf') else {})).eval()
    pooled.load_state_dict(enc.body.net.state_dict())
    with torch.no_grad(): assert off(enc(x).mean(1), pooled((x - enc.mean)/enc.std)) < 1e-4
    assert not enc.training and not any(p.requires_grad for p in enc.parameters()) and enc(x).is_contiguous()

@pytest.mark.parametrize('name', ['test_convnext', 'test_resnet', 'mobilenetv3_small_100', 'swatch'])
def test_cells_stand_in_raster_order(name):
    enc = cell_encoder(name, False)
    draw(enc)
    (h, w), s = enc.grid, enc.size
    x = torch.rand(1, 3, s, s)*.2 + .4
    for r, c in ((0, w-1), (h-1, 0)):
        y = x.clone()
        y[..., r*s//h:(r+1)*s//h, c*s//w:(c+1)*s//w] = torch.rand(3, s//h + (s % h > 0), s//w + (s % w > 0))[:, :y[..., r*s//h:(r+1)*s//h, 0].shape[-1], :y[0, 0, 0, c*s//w:(c+1)*s//w].shape[-1]]
        moved = (enc(y) - enc(x)).norm(dim=2)[0].view(h, w)
        other = {(0, w-1): (h-1, 0), (h-1, 0): (0, w-1)}[r, c]
        assert moved[r, c] > moved[other]

def test_a_map_as_wide_as_it_is_high_and_deep():
    "Three equal sides: the network's own word decides"
    class Net(nn.Module):
        def __init__(self, fmt): super().__init__(); self.w = nn.Linear(1, 1); self.output_fmt = fmt
        def forward_features(self, x): return x[:, :1, :2, :2].expand(-1, 2, -1, -1) * torch.tensor([1., 3.]).view(1, 2, 1, 1)
        def forward(self, x): return self.forward_features(x).mean((2, 3))
    x = torch.rand(1, 3, 8, 8)
    y = Net('').forward_features((x - .5)/.5)
    assert torch.equal(CellEncoder(ImageEncoder(Net('NCHW'), 'n', 8))(x), y.flatten(2).mT) and torch.equal(CellEncoder(ImageEncoder(Net('NHWC'), 'n', 8))(x), y.flatten(1, 2))

def test_real_mobilenet():
    if not has_data('weights'): pytest.skip('data set weights')
    file = data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth'
    plain, enc = image_encoder('mobilenetv2_tf', file, size=96), cell_encoder('mobilenetv2_tf', file, size=96)
    x = torch.rand(2, 3, 96, 96)
    assert (enc.n_cells, enc.width) == (9, 1280) and off(enc(x).mean(1), plain(x)[:, :1280]) < 1e-4 and enc.id != plain.id
    again = cells_from_card(json.loads(json.dumps(cells_card(enc))))
    again.load_state_dict(enc.state_dict())
    assert again.id == enc.id and torch.equal(again(x), enc(x))

def test_the_encoder_that_is_given_stays_whole():
    plain = image_encoder('mobilenetv3_small_100', False)
    plain.body.blocks.train()
    x = torch.rand(1, 3, 224, 224)
    modes, before = [m.training for m in plain.modules()], plain.state_dict().keys()
    enc = CellEncoder(plain)
    assert [m.training for m in plain.modules()] == modes and plain.state_dict().keys() == before and plain.body.conv_head.weight.numel()
    assert not any('conv_head' in n for n in enc.state_dict()) and plain.eval()(x).shape == (1, 1024)

@pytest.mark.parametrize('name,kwargs', [('mobilenetv3_small_100', dict(data=dict(img_size=64))), ('swinv2_tiny_window8_256', TINY), ('test_vit', {}), ('test_convnext', {})])
def test_every_weight_that_is_kept_learns(name, kwargs):
    "A weight without a gradient would stop several processes from training together"
    enc = cell_encoder(name, False, **kwargs).requires_grad_(True)
    draw(enc).requires_grad_(True)
    enc(torch.rand(2, 3, enc.size, enc.size)).square().sum().backward()
    assert [n for n, p in enc.named_parameters() if p.grad is None] == [] and len(last_blocks(enc, 1)) > 0

def test_what_has_no_cells():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    with pytest.raises(FabricError, match='no feature maps'): CellEncoder(ImageEncoder(flat, 'flat', 8))
    class Tokens(nn.Module):
        def __init__(self, n): super().__init__(); self.n = n; self.w = nn.Linear(1, 1)
        def forward_features(self, x): return x.new_zeros(len(x), self.n, 4) if self.n else (x, x)
        def forward(self, x): return x.flatten(1)
    with pytest.raises(FabricError, match='no square grid'): CellEncoder(ImageEncoder(Tokens(7), 'seven', 8))
    with pytest.raises(FabricError, match='take another network'): CellEncoder(ImageEncoder(Tokens(0), 'two', 8))
    for name in ('nonsense', None, 3):
        with pytest.raises(FabricError, match='unknown encoder'): cell_encoder(name, False)
    with pytest.raises(FabricError, match='data is'): cell_encoder('test_vit', False, data=dict(img_size=3), depth=2)
    with pytest.raises(FabricError, match='no such file'): cell_encoder('test_vit', 'nowhere.pth')
    with pytest.raises(FabricError, match='counted from 0'): plot_cells(cell_encoder('swatch', False), photos(1)[0], [(0, 0), (-1, 0)])
    with pytest.raises(FabricError, match='at least one'): plot_cells(cell_encoder('swatch', False), photos(1)[0], [])

def test_other_cards():
    card = cells_card(cell_encoder('test_vit', False))
    for bad in (dict(width=3), dict(grid=[1, 1]), dict(mean=[0, 0, 0]), dict(n_out=2)):
        with pytest.raises(FabricError, match='is not the one'): cells_from_card(card | bad)
    for bad in (dict(args=dict(pretrained=True)), dict(args=[3])):
        with pytest.raises(FabricError, match='not one that cells_card gave'): cells_from_card(card | bad)

# ---- Swin V2 of transformers

def test_names():
    known = timm.list_pretrained('swinv2*')
    assert len(SWIN_NAMES) == 12 and set(SWIN_NAMES.values()) <= set(known) and set(known) - set(SWIN_NAMES.values()) == {n for n in known if '_cr_' in n}

@pytest.mark.parametrize('kwargs', [{}, dict(window_size=8), dict(pretrained_window_sizes=(4, 4, 2)), dict(depths=(1, 3), num_heads=(4, 2)), dict(qkv_bias=False)], ids=str)
def test_transformers_and_timm_agree(kwargs):
    model = theirs(**kwargs)
    ours = cell_encoder('swinv2_tiny_window8_256', {f'model.{n}': t for n, t in model.state_dict().items()}, **TINY | kwargs)
    x = torch.rand(2, 3, 64, 64)
    assert off(ours(x), model((x - ours.mean)/ours.std).last_hidden_state) < 1e-4

def test_agreement_is_no_accident():
    "Each kind of weight, spoiled in turn, shows"
    model = theirs(); state = swin_state(model.state_dict()); x = torch.rand(2, 3, 64, 64)
    want = model((x - torch.tensor([.485, .456, .406]).view(3, 1, 1))/torch.tensor([.229, .224, .225]).view(3, 1, 1)).last_hidden_state
    enc = cell_encoder('swinv2_tiny_window8_256', state, **TINY)
    assert off(enc(x), want) < 1e-4
    for kind in ('patch_embed.proj', 'patch_embed.norm', 'norm1.weight', 'norm2.bias', 'q_bias', 'v_bias', 'logit_scale', 'cpb_mlp.2', 'attn.qkv', 'attn.proj', 'fc1', 'fc2', 'downsample.norm', 'downsample.reduction'):
        enc.body.net.load_state_dict({n: t.flip(0) + .1 if kind in n else t for n, t in state.items()})
        assert off(enc(x), want) > 1e-3, kind

def test_files_of_every_make(tmp_path, swin):
    model = theirs()
    x = torch.rand(1, 3, 64, 64)
    model.save_pretrained(tmp_path/'folder', max_shard_size='40kB')
    assert len([*(tmp_path/'folder').glob('*.safetensors')]) > 1
    masked = theirs(Swinv2ForMaskedImageModeling)                                    # with a mask token and a decoder
    masked.swinv2.load_state_dict(model.state_dict(), strict=False)
    state = swin_state(model.state_dict())                                           # as Microsoft's own files: halving at the end of a stage, tables inside
    own = {n.replace('layers.1.downsample', 'layers.0.downsample').replace('layers.2.downsample', 'layers.1.downsample'): t for n, t in state.items()} | {'layers.0.blocks.1.attn_mask': torch.ones(2), 'layers.0.blocks.0.attn.relative_position_index': torch.ones(2), 'head.weight': torch.ones(3, 64)}
    torch.save(dict(model=own), tmp_path/'swinv2.pth')
    torch.save(masked.state_dict(), tmp_path/'masked.pth')
    for given in (tmp_path/'folder', masked.state_dict(), tmp_path/'swinv2.pth', tmp_path/'masked.pth', state):
        assert torch.equal(cell_encoder('swinv2_tiny_window8_256', given, **TINY)(x), swin(x))
    (tmp_path/'empty').mkdir()
    with pytest.raises(FabricError, match='holds no'): cell_encoder('swinv2_tiny_window8_256', tmp_path/'empty')
    torch.save(model, tmp_path/'program.pth')
    with pytest.raises(CheckpointError, match='was not run'): cell_encoder('swinv2_tiny_window8_256', tmp_path/'program.pth')
    with pytest.raises(CheckpointError, match='qkv.weight'): cell_encoder('swinv2_tiny_window8_256', {n: t for n, t in model.state_dict().items() if 'key' not in n}, **TINY)

def test_how_photos_are_seen(swin):
    wide = np.zeros((40, 90, 3), np.uint8); wide[:, -5:] = 255
    seen = cell_encoder('microsoft/swinv2-tiny-patch4-window8-256', False, **TINY)
    assert seen.crop_mode == 'squash' and seen.prepare(wide)[..., -1].min() > .9 > .1 > swin.prepare(wide)[..., -1].max()
    assert cell_encoder('microsoft/swinv2-tiny-patch4-window8-256', False, data=dict(crop_mode='border'), **TINY).crop_mode == 'border'

# ---- computed once

def test_stores(tmp_path, swin):
    items = photos(5)
    Image.fromarray(items[0]).save(tmp_path/'a.png')
    items = [tmp_path/'a.png', *items[1:], items[1]]
    plain = image_encoder('swatch', False)
    both = embed_all([FlatCells(swin), plain], items, tmp_path/'store').vectors[0].view(6, *photo_cells(swin, items[:1]).shape[1:])
    lazy = CellStore(swin, items, tmp_path/'store', bs=2)
    assert len(lazy) == 6 and len(lazy.store) == 5 and torch.equal(both, photo_cells(swin, items)) and torch.equal(lazy[:], both)
    for rows in ([3, 0, -1], np.array([1, 5]), torch.tensor([2]), slice(4, None), np.array([True, False]*3), torch.tensor([False, True]*3), []):
        assert torch.equal(lazy[rows], both[rows]), rows
    assert lazy[np.int64(2)].shape == lazy[2].shape == (swin.n_cells, swin.width)
    for rows in ([6], 'a', [0.5, 'b'], torch.tensor([True]), -7):
        with pytest.raises(FabricError, match='give whole numbers below 6'): lazy[rows]
    assert torch.equal(CellStore(swin, items)[1:3], both[1:3])

def test_stores_that_go_wrong(tmp_path, swin):
    with pytest.raises(FabricError, match='give a list'): CellStore(swin, 'a.png')
    with pytest.raises(FabricError, match='no such file'): CellStore(swin, [tmp_path/'a.png'])
    (tmp_path/'bad.png').write_bytes(b'no picture')
    with pytest.raises(FabricError, match='bad.png'): CellStore(swin, [*photos(2), tmp_path/'bad.png'], tmp_path/'store')
    with pytest.raises(FabricError, match='open a store for it'): photo_cells(swin, photos(1), EmbeddingStore(None, 'other', swin.n_out))
    lazy = CellStore(swin, photos(3), tmp_path/'store')
    file = lazy.store.folder/'vectors.f32'
    data = bytearray(file.read_bytes()); data[7] ^= 1; file.write_bytes(data)
    with pytest.raises(FabricError, match='was damaged'): lazy[[0, 1, 2]]
    file.write_bytes(b''); (lazy.store.folder/'digests.bin').write_bytes(b'')
    with pytest.raises(FabricError, match='has lost 2 photos'): lazy[:2]

# ---- texts

def rows(lens, l, seed=0, left=()):
    gen = torch.Generator().manual_seed(seed)
    mask = torch.stack([(torch.arange(l) >= l-n) if i in left else (torch.arange(l) < n) for i, n in enumerate(lens)])
    return torch.randint(1, 100, (len(lens), l), generator=gen), mask

def test_the_memo_says_what_a_fresh_network_says(whole, texts):
    calls = []
    texts.net.register_forward_pre_hook(lambda m, a, k: calls.append(len(k['input_ids'])), with_kwargs=True)
    ids, mask = rows([9, 1, 4, 9, 7], 9, left={2})
    ids[3] = ids[0]; ids[~mask] = -100                                         # what stands in padding is of no matter
    alone = [whole.encoder(input_ids=r[m][None]).last_hidden_state[0] for r, m in zip(ids, mask)]
    for n in (1, 2):
        y = texts(ids, mask)
        for row, m, want in zip(y, mask, alone): assert (row[m] - want).abs().max() < 1e-5 and not row[~m].any()
    assert calls == [4] and y.dtype == torch.float32 and not y.requires_grad
    wider = texts(nn.functional.pad(ids, (0, 3)), nn.functional.pad(mask, (0, 3)))
    assert calls == [4] and torch.equal(wider[:, :9], y)
    more, mask2 = rows([9, 3], 9, seed=1); more[0] = ids[0]
    texts(more, mask2)
    assert calls == [4, 1] and texts(ids[:0], mask[:0]).shape == (0, 9, 32)
    y.zero_()
    assert texts(ids, mask).any()                                               # an answer may be changed in place

def test_bounds_of_the_memo(whole):
    ids, mask = rows([4]*5, 4)
    few = text_encoder('mine', whole.state_dict(), keep=3)
    fresh = few(ids, mask)
    assert len(few.memo) == 3 and few.memo.bytes == 3*4*32*4
    few(ids[2:3], mask[:1]); few(ids[:1], mask[:1])                             # 2 is asked for again, so 3 goes and not 2
    assert [np.frombuffer(k, np.int64).tolist() for k in few.memo.rows] == [ids[i].tolist() for i in (4, 2, 0)] and torch.allclose(few(ids, mask), fresh, atol=1e-5)
    small = text_encoder('mine', whole.state_dict(), max_bytes=1100)
    assert torch.allclose(small(ids, mask), fresh, atol=1e-5) and len(small.memo) == 2 and small.memo.bytes == 1024
    for kwargs in (dict(keep=0), dict(max_bytes=0)):
        none = text_encoder('mine', whole.state_dict(), **kwargs)
        assert torch.allclose(none(ids, mask), fresh, atol=1e-5) and len(none.memo) == none.memo.bytes == 0
    for bad in (dict(keep=-1), dict(keep=2.), dict(max_bytes=None)):
        with pytest.raises(FabricError, match='whole numbers, 0 for none'): text_encoder('mine', whole.state_dict(), **bad)

def test_the_memo_is_of_these_weights_alone(whole, texts):
    ids, mask = rows([5, 3], 5)
    a = texts(ids, mask)
    texts.load_state_dict({n: t*1.5 for n, t in texts.state_dict().items()})
    b = texts(ids, mask)
    assert (a - b).abs().max() > .01
    outer = nn.ModuleDict(dict(t=texts)); outer.load_state_dict({f't.{n}': t/1.5 for n, t in texts.state_dict().items()})
    assert torch.allclose(texts(ids, mask), a, atol=1e-4)
    texts.bfloat16()
    assert len(texts.memo) == 0 and 1e-4 < (texts(ids, mask) - a).abs().max() < .2 and texts(ids, mask).dtype == torch.float32
    for twin in (copy.deepcopy(texts), pickle.loads(pickle.dumps(texts))): assert torch.equal(twin(ids, mask), texts(ids, mask))

def test_frozen_whatever_happens(texts):
    ids, mask = rows([5, 3], 5)
    a = texts(ids, mask)
    model = nn.ModuleDict(dict(t=texts)).train()
    assert not any(m.training for m in texts.modules()) and not any(p.requires_grad for p in model.parameters())
    texts.memo.clear()
    with torch.autocast('cpu', dtype=torch.bfloat16): b = texts(ids, mask)
    assert torch.equal(a, b)
    model.requires_grad_(True)
    texts.memo.clear()
    assert not texts(ids, mask).requires_grad

@pytest.mark.parametrize('ids,mask,says', [(torch.ones(2, 3), torch.ones(2, 3).bool(), 'of torch.float32'), (torch.ones(2, 3).long(), torch.ones(3, 2).bool(), r'\(3, 2\)'), (torch.ones(3).long(), torch.ones(3).bool(), 'give both as'),
    (torch.full((1, 3), 100), torch.ones(1, 3).bool(), 'hold 100, and the text encoder knows 0 to 99'), (torch.full((1, 3), -1), torch.ones(1, 3).bool(), 'hold -1'), (torch.ones(2, 3).long(), torch.tensor([[1, 1, 0], [0, 0, 0]]).bool(), 'row 1 of the mask is empty'),
    (torch.ones(2, 3).long(), torch.tensor([[1, 1, 0], [1, 0, 1]]).bool(), 'row 1 of the mask has a gap'), (torch.ones(1, 0).long(), torch.ones(1, 0).bool(), 'is empty')])
def test_bad_texts(texts, ids, mask, says):
    with pytest.raises(FabricError, match=says): texts(ids, mask)
    assert len(texts.memo) == 0

@pytest.mark.parametrize('kind', ['relu', 'gated-gelu'])
def test_weights_of_every_make(kind, tmp_path, monkeypatch):
    net = draw(T5EncoderModel(T5Config(**SIZES, feed_forward_proj=kind)))
    ids, mask = rows([6, 2], 6)
    want = text_encoder('mine', net.state_dict())(ids, mask)
    state = {f'a.b.{n}': t for n, t in net.state_dict().items() if 'embed_tokens' not in n} | {'a.b.decoder.block.0.layer.0.SelfAttention.q.weight': torch.ones(2, 2), 'head.weight': torch.ones(2)}
    torch.save(state, tmp_path/'t5.bin')
    net.save_pretrained(tmp_path/'folder', max_shard_size='20kB')
    cache = tmp_path/'hub'/'models--someone--tiny-t5'                            # as huggingface_hub keeps what was fetched before
    (cache/'refs').mkdir(parents=True); (cache/'refs'/'main').write_text('abc')
    net.save_pretrained(cache/'snapshots'/'abc')
    import huggingface_hub.constants as constants
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path/'hub')); monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    for name, given in (('mine', tmp_path/'t5.bin'), ('mine', str(tmp_path/'folder')), ('someone/tiny-t5', True)):
        enc = text_encoder(name, given)
        assert torch.equal(enc(ids, mask), want) and enc.sizes['feed_forward_proj'] == kind and enc.width == 32 and enc.licence == ''

def test_sizes(whole, texts):
    ids, mask = rows([5, 3], 5)
    again = text_from_card(json.loads(json.dumps(texts.card)), keep=2)
    assert again.id != texts.id and again.memo.keep == 2
    again.load_state_dict(texts.state_dict())
    assert again.id == texts.id and torch.equal(again(ids, mask), texts(ids, mask))
    assert t5_sizes(t5_state(whole.state_dict())) == texts.sizes == text_encoder('t5-small', False, **SIZES).sizes
    assert text_encoder('t5-small', whole.state_dict(), **{k: v for k, v in SIZES.items()}).width == 32
    for name, sizes in (('t5-small', {}), ('mine', dict(num_layers=3)), ('google/t5-v1_1-small', SIZES)):
        with pytest.raises(FabricError, match='of another size'): text_encoder(name, whole.state_dict(), **sizes)
    for sizes in (dict(d_model='a'), dict(d_model=True), dict(heads=3), dict(feed_forward_proj='silu'), dict(num_layers=0)):
        with pytest.raises(FabricError, match='do not go with'): text_encoder('t5-small', False, **sizes)
    with pytest.raises(FabricError, match='or give all of: num_heads'): text_encoder('mine', False, **{k: v for k, v in texts.sizes.items() if k != 'num_heads'})
    with pytest.raises(FabricError, match='unknown text encoder'): text_encoder('mine', True)
    with pytest.raises(FabricError, match='missing or has not two sides'): text_encoder('mine', {n: t for n, t in whole.state_dict().items() if 'wi' not in n})
    with pytest.raises(CheckpointError, match='final_layer_norm'): text_encoder('mine', {n: t for n, t in whole.state_dict().items() if 'final_layer_norm' not in n})
    with pytest.raises(FabricError, match='not one that'): text_from_card(dict(name='x', sizes=3))

@pytest.mark.parametrize('name,n', [('t5-small', 35_330_816), ('google/t5-v1_1-base', 109_628_544), pytest.param('google-t5/t5-3b', 1_240_909_824, marks=pytest.mark.stress)])
def test_real_sizes(name, n):
    with torch.device('meta'):
        enc = text_encoder(name, False)
        assert sum(p.numel() for p in enc.parameters()) == n and enc(torch.zeros(2, 5).long(), torch.ones(2, 5).bool()).shape == (2, 5, T5_SIZES[enc.name]['d_model'])

def test_in_a_checkpoint(tmp_path, swin, texts):
    save_checkpoint(tmp_path/'ck', nn.ModuleDict(dict(cells=swin, texts=texts)), dict(cells=cells_card(swin), texts=texts.card))
    model, _ = load_checkpoint(tmp_path/'ck', lambda c: nn.ModuleDict(dict(cells=cells_from_card(c['cells']), texts=text_from_card(c['texts']))))
    assert (model['cells'].id, model['texts'].id) == (swin.id, texts.id)

def test_without_transformers(monkeypatch):
    monkeypatch.setitem(sys.modules, 'transformers', None)
    with pytest.raises(ImportError, match=r'pip install "fabric_touch\[multimodal\]"'): text_encoder('t5-small', False)
