"Image codes: shapes, bounds, stores, foreign files; parity with transformers' relatives is in the notebook"
import numpy as np, pytest, torch
from PIL import Image

pytest.importorskip('diffusers')

from fabric_touch.checkpoints import CheckpointError
from fabric_touch.core import FabricError
from fabric_touch.embeds import EmbeddingStore, embed_all
from fabric_touch.vqgan import TINY, VQGAN, VQGANSizes, load_vqgan, photo_codes, random_vqgan, taming_state, tiny_vqgan, vqgan_sizes

SMALL = VQGANSizes(size=32, n_codes=8, n_dims=4, latent=8, channels=(32, 64), n_blocks=2)

@pytest.fixture(scope='module')
def vq(): return tiny_vqgan()

@pytest.fixture(scope='module')
def photos(): return [Image.fromarray(np.random.default_rng(i).integers(0, 256, (50 + 10*i, 90, 3), np.uint8)) for i in range(5)]

def to_taming(state, levels):
    "diffusers' names -> taming's, the other way round and by hand"
    out = {}
    for k, t in state.items():
        part = k.split('.')
        if 'attentions' in k:
            part[-2 if part[-2] != '0' else -3:-1] = [{'group_norm': 'norm', 'to_q': 'q', 'to_k': 'k', 'to_v': 'v'}.get(part[-2], 'proj_out')]
            if t.ndim == 2: t = t[:, :, None, None]
        if part[1] == 'mid_block': part[1:4] = ['mid', dict(resnets=['block_1', 'block_2'], attentions=['attn_1'])[part[2]][int(part[3])]]
        if part[1] in ('down_blocks', 'up_blocks'):
            level = int(part[2]) if part[1] == 'down_blocks' else levels-1-int(part[2])
            kind = dict(resnets=['block', part[4]], attentions=['attn', part[4]], downsamplers=['downsample'], upsamplers=['upsample'])[part[3]]
            part[1:5] = [part[1].split('_')[0], str(level), *kind]
        out['.'.join(part).replace('conv_shortcut', 'nin_shortcut').replace('conv_norm_out', 'norm_out')] = t
    return out


@pytest.mark.parametrize('sizes', (VQGANSizes(), TINY, SMALL))
def test_every_name_and_shape_maps_both_ways(sizes):
    with torch.device('meta'): state = VQGAN(sizes).body.model.state_dict()
    theirs = to_taming(state, len(sizes.channels))
    back, left_out = taming_state(theirs)
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in state.items()} and not left_out
    assert len(theirs) == len(state) and not any('blocks' in k or 'resnets' in k for k in theirs)
    assert vqgan_sizes(back, sizes.size) == sizes == vqgan_sizes(state, sizes.size)

def test_the_published_model_is_76_million_numbers():
    with torch.device('meta'): vq = VQGAN()
    assert (vq.n_out, vq.size, sum(p.numel() for p in vq.parameters())) == (256, 256, 76_073_859)

@pytest.mark.parametrize('names', ('taming', 'diffusers'))
def test_a_saved_model_comes_back(vq, photos, tmp_path, names):
    state = vq.body.model.state_dict()
    if names == 'taming': state = to_taming(state, 5) | {'loss.perceptual_loss.net.0.weight': torch.zeros(2)}
    torch.save(dict(state_dict=state), tmp_path/'vqgan.ckpt')
    other = load_vqgan(tmp_path/'vqgan.ckpt', TINY)
    x = torch.stack([vq.prepare(p) for p in photos])
    assert torch.equal(other.encode(x), vq.encode(x)) and torch.equal(other.decode(vq.encode(x)), vq.decode(vq.encode(x)))
    assert other.id != vq.id and other.id.rsplit('-')[-1] == vq.id.rsplit('-')[-1]                # the same weights under another name
    assert not any(p.requires_grad for p in other.parameters()) and not other.training

@pytest.mark.parametrize('change, why', [
    (dict(n_codes=64), 'n_codes is 32, expected 64'), (dict(channels=(32, 32, 64, 64, 64)), r'channels is \(32, 32, 32, 64, 64\)'), (dict(n_blocks=2), 'n_blocks is 1'),
    (dict(latent=16, n_dims=8), 'n_dims is 16, expected 8; latent is 32, expected 16')])
def test_other_sizes_are_told(vq, tmp_path, change, why):
    from dataclasses import asdict
    torch.save(vq.body.model.state_dict(), tmp_path/'v.pt')
    with pytest.raises(CheckpointError, match=why): load_vqgan(tmp_path/'v.pt', VQGANSizes(**asdict(TINY) | change))

@pytest.mark.parametrize('spoil, why', [
    (lambda s: {'x': torch.zeros(1)}, 'no VQGAN'), (lambda s: s | {'colorize': torch.zeros(1)}, 'not in the model'),
    (lambda s: {k: v for k, v in s.items() if k != 'decoder.conv_out.bias'}, "missing"), (lambda s: s | {'quant_conv.bias': torch.full((16,), torch.inf)}, 'quant_conv.bias'),
    (lambda s: s | {'decoder.conv_out.bias': torch.zeros(4)}, r'\(4,\)')])
def test_spoilt_files_are_refused(vq, tmp_path, spoil, why):
    torch.save(spoil(to_taming(vq.body.model.state_dict(), 5)), tmp_path/'v.pt')
    with pytest.raises(CheckpointError, match=why): load_vqgan(tmp_path/'v.pt', TINY)

def test_no_file_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match='checkpoints'): load_vqgan()

def test_codes_do_not_depend_on_the_batch(vq, photos):
    x = torch.stack([vq.prepare(p) for p in photos])
    assert torch.equal(vq.encode(x), torch.cat([vq.encode(o[None]) for o in x]))

def test_codes_are_kept_beside_other_encoders(vq, photos, tmp_path):
    small = random_vqgan(SMALL)
    found = embed_all([vq, small], photos, tmp_path, n_workers=0)
    store = EmbeddingStore(tmp_path, vq.id, vq.n_out)
    before = len(store)
    kept = photo_codes(vq, photos, store, n_workers=0)
    assert len(store) == before == 5 and kept.dtype == np.int64 and np.array_equal(kept, found.vectors[0].numpy())
    assert found.vectors[1].shape == (5, 256) and photo_codes(vq, []).shape == (0, 16)

def test_any_whole_numbers_decode(vq):
    codes = np.arange(32).reshape(2, 16)
    want = vq.decode(torch.from_numpy(codes))
    assert want.shape == (2, 3, 64, 64) and want.min() >= 0 and want.max() <= 1
    for dtype in (np.int16, np.int32, np.uint8): assert torch.equal(vq.decode(codes.astype(dtype)), want)
    assert vq.decode(codes[:, :9]).shape == (2, 3, 48, 48)

@pytest.mark.parametrize('codes, why', [([[-1]], 'from -1 to -1'), ([[32]], '0 to 31'), ([1, 2], 'shape'), ([[1, 2]], 'square'), ([[True]], 'torch.bool'), ([[float('nan')]], 'float'), (np.empty((0, 4), int), 'shape')])
def test_no_codes_are_told(vq, codes, why):
    with pytest.raises(FabricError, match=why): vq.decode(codes)

@pytest.mark.parametrize('shape', ((3, 64, 64), (1, 1, 64, 64), (1, 3, 64, 48), (1, 3, 0, 0), (1, 3, 8, 8), (0, 3, 64, 64)))
def test_other_shapes_are_told(vq, shape):
    with pytest.raises(FabricError, match='multiple of 16'): vq.encode(torch.zeros(shape))
