"Encoders: each keeps one contract; CLIP's and ImageBind's towers are the networks they claim to be, whatever their weights are called."
import json, os, pickle, socket, time
from unittest.mock import patch

import numpy as np, open_clip, pytest, timm, torch, torchvision
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms as T
from fabric_touch import encoders
from fabric_touch.checkpoints import CheckpointError
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.data import read_fabrics, square, touch_dls
from fabric_touch.embeds import EmbeddingStore, embed
from fabric_touch.encoders import ENCODERS, TOWERS, ImageEncoder, encoder_card, encoder_from_card, image_encoder, last_blocks, tower_body, tower_sizes, tower_state, transformers_state

SMALL = dict(image_size=32, patch_size=8, width=48, layers=3, heads=4)
WIDE = 40   # numbers that a replica's weights give

def photos(n, size=70, seed=0):
    "Pictures with structure on all scales, none square"
    rng = np.random.default_rng(seed)
    noise = [sum(np.asarray(Image.fromarray(rng.integers(0, 255, (k, k, 3), dtype=np.uint8)).resize((size + 31, size), Image.Resampling.BICUBIC), float) for k in (3, 9, 27))/3 for _ in range(n)]
    return [o.clip(0, 255).astype(np.uint8) for o in noise]

def draw(shapes, seed=0):
    "Weights as large as their inputs ask for, with random biases and norms: the nets are far from constant"
    gen = torch.Generator().manual_seed(seed)
    size = lambda s: .3 if len(s) == 1 else (2/np.prod(s[1:]))**.5
    return {n: (n.endswith('weight') and len(s) == 1) + size(s)*torch.randn(s, generator=gen) for n, s in shapes.items()}

def shapes(tensors): return {n: tuple(t.shape) for n, t in tensors.items()}

def tower_weights(name='clip', n_out=WIDE, seed=0): return draw(shapes(tower_body(TOWERS[name], SMALL, n_out).state_dict()), seed)

def imagebind_shapes(width, layers, patch, tokens, n_out):
    "The vision tower under ImageBind's names, from the facts: kernels (2, p, p), one class token, pre-norm blocks, MLP ratio 4, a bias-free head"
    d, pre, trunk, top = width, 'modality_preprocessors.vision.', 'modality_trunks.vision.', 'modality_heads.vision.'
    res = {pre + 'cls_token': (1, 1, d), pre + 'rgbt_stem.proj.1.weight': (d, 3, 2, patch, patch), pre + 'pos_embedding_helper.pos_embed': (1, tokens, d)}
    norms = [trunk + 'pre_transformer_layer.0', top + '0'] + [f'{trunk}blocks.{i}.norm_{k}' for i in range(layers) for k in (1, 2)]
    for n in norms: res |= {n + '.weight': (d,), n + '.bias': (d,)}
    for i in range(layers):
        b = f'{trunk}blocks.{i}.'
        res |= {b + 'attn.in_proj_weight': (3*d, d), b + 'attn.in_proj_bias': (3*d,)}
        for n, (o, k) in dict([('attn.out_proj', (d, d)), ('mlp.fc1', (4*d, d)), ('mlp.fc2', (d, 4*d))]).items(): res |= {f'{b}{n}.weight': (o, k), f'{b}{n}.bias': (o,)}
    return res | {top + '2.weight': (n_out, d)}

def imagebind_weights(seed=0): return draw(imagebind_shapes(48, 3, 8, 17, WIDE), seed)

class Dense:
    "A Vision Transformer from its weights, every product by hand, in double precision; `n` gives the names"
    def __init__(self, w, act, eps): self.w, self.act, self.eps = {k: v.double() for k, v in w.items()}, act, eps
    def norm(self, x, n):
        x = x - x.mean(-1, keepdim=True)
        return x/(x.square().mean(-1, keepdim=True) + self.eps).sqrt()*self.w[n + '.weight'] + self.w[n + '.bias']
    def linear(self, x, n): return x @ self.w[n + '.weight'].T + self.w[n + '.bias']
    def block(self, x, heads, norm1, attn, norm2, up, down):
        y = self.norm(x, norm1)
        q, k, v = (y @ self.w[attn + '.in_proj_weight'].T + self.w[attn + '.in_proj_bias']).chunk(3, -1)
        d = q.shape[-1]//heads
        each = [((q[..., s:s+d] @ k[..., s:s+d].mT)/d**.5).softmax(-1) @ v[..., s:s+d] for s in range(0, q.shape[-1], d)]
        x = x + self.linear(torch.cat(each, -1), attn + '.out_proj')
        return x + self.linear(self.act(self.linear(self.norm(x, norm2), up)), down)

def patches(x, p): return F.unfold(x, p, stride=p).mT   # (b, n, 3*p*p), in the order of a kernel's weights

def clip_by_hand(w, x, heads=4, act=lambda t: t*torch.sigmoid(1.702*t), eps=1e-5):
    net, x = Dense(w, act, eps), x.double()
    w, kernel = net.w, net.w['conv1.weight']
    x = patches(x, kernel.shape[-1]) @ kernel.flatten(1).T
    x = net.norm(torch.cat([w['class_embedding'].expand(len(x), 1, -1), x], 1) + w['positional_embedding'], 'ln_pre')
    for i in range(sum(n.endswith('ln_1.weight') for n in w)):
        b = f'transformer.resblocks.{i}.'
        x = net.block(x, heads, b + 'ln_1', b + 'attn', b + 'ln_2', b + 'mlp.c_fc', b + 'mlp.c_proj')
    return net.norm(x[:, 0], 'ln_post') @ w['proj']

def imagebind_by_hand(w, x, heads=4, eps=1e-6):
    net, x = Dense(w, F.gelu, eps), x.double()
    w, pre, trunk, top = net.w, 'modality_preprocessors.vision.', 'modality_trunks.vision.', 'modality_heads.vision.'
    kernel = w[pre + 'rgbt_stem.proj.1.weight']
    x = F.conv3d(torch.stack([x, x], 2), kernel, stride=kernel.shape[2:])[:, :, 0].flatten(2).mT     # the frame twice
    x = net.norm(torch.cat([w[pre + 'cls_token'].expand(len(x), 1, -1), x], 1) + w[pre + 'pos_embedding_helper.pos_embed'], trunk + 'pre_transformer_layer.0')
    for i in range(sum(n.endswith('norm_1.weight') for n in w)):
        b = f'{trunk}blocks.{i}.'
        x = net.block(x, heads, b + 'norm_1', b + 'attn', b + 'norm_2', b + 'mlp.fc1', b + 'mlp.fc2')
    return F.normalize(net.norm(x[:, 0], top + '0') @ w[top + '2.weight'].T, dim=1)

def off(a, b):
    "Largest difference, relative to how much b varies over samples"
    spread = b.double().std(0)
    assert spread.mean() > .02*b.double().abs().mean(), 'nearly constant: this would pass with any weights'
    return ((a.double() - b.double()).abs().max()/spread.mean()).item()

@pytest.fixture(scope='module')
def x(): return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(5))

def normalised(x): return (x - torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1))/torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)   # CLIP's published figures

# ---- one contract

kinds = dict(swatch=('swatch', {}), clip=('clip', dict(vision=SMALL)), imagebind=('imagebind', dict(vision=SMALL)), projected=('imagebind', dict(vision=SMALL, n_out=24, reduce='project')), test_vit=('test_vit', {}), full_clip=('clip', {}),
             mobilenet=('mobilenet_v3_large', {}), tensorflow=('mobilenetv2_tf', dict(size=64)), vit_s=('ViT-S-16', {}), resnet=('RN50', dict(tag='openai')), siglip=('ViT-B-16-SigLIP', {}))

def encoder(kind, pretrained=False, **kwargs): name, args = kinds[kind]; return image_encoder(name, pretrained, **args | kwargs)

def test_every_encoder_has_its_contract(): assert set(ENCODERS) <= {n for n, _ in kinds.values()}

SLOW = ('resnet', 'siglip')       # open_clip's towers at full size

@pytest.mark.parametrize('kind', [pytest.param(k, marks=pytest.mark.stress) if k in SLOW else k for k in kinds])
def test_contract(kind):
    e = encoder(kind)
    x = torch.stack([e.prepare(p) for p in photos(3)])
    assert x.shape == (3, 3, e.size, e.size) and x.dtype == torch.float32 and 0 <= x.min() < x.max() <= 1
    v = e(x)
    assert v.shape == (3, e.n_out) and v.dtype == torch.float32 and v.isfinite().all() and not v.requires_grad
    assert torch.allclose(v[:1], e(x[:1]), atol=1e-4) and not torch.equal(v[0], v[1])
    assert not e.training and not any(m.training for m in e.modules()) and not any(p.requires_grad for p in e.parameters())
    assert e.licence == '' and 0 < e.crop <= 1 and e.mean.shape == e.std.shape == (3, 1, 1)
    again = image_encoder(e.name, pretrained=False, **json.loads(json.dumps(e.args)))       # as a card builds it
    assert again.id != e.id and (again.n_out, again.size, again.crop, again.args) == (e.n_out, e.size, e.crop, e.args)
    again.load_state_dict(e.state_dict())
    assert again.id == e.id and torch.equal(again(x), v)
    if kind not in ('full_clip', 'mobilenet'):            # a random MobileNetV3 says some 1e-9, which is zero in half precision
        half = e.half()(x)
        assert half.dtype == torch.float32 and (half - v).abs().max() < .05*v.abs().max()

def test_clip_is_clip():
    e = encoder('full_clip')
    assert (e.size, e.n_out, e.crop) == (224, 512, 1) and e.args == dict(n_out=512, reduce='truncate', vision=dict(image_size=224, patch_size=32, width=768, layers=12, heads=12))
    assert torch.equal(e.mean.flatten(), torch.tensor(open_clip.OPENAI_DATASET_MEAN)) and torch.equal(e.std.flatten(), torch.tensor(open_clip.OPENAI_DATASET_STD))
    assert (encoder('imagebind').mean == e.mean).all() and TOWERS['imagebind'].sizes == dict(image_size=224, patch_size=14, width=1280, layers=32, heads=16)

def test_swatch_is_ours():
    e = image_encoder()
    assert e.licence == 'Apache-2.0' and e.id == image_encoder('swatch').id and e.args == {}

def test_weights_with_a_classifier(tmp_path):
    "The classifier is left out; what is missing is not"
    whole = timm.create_model('test_vit', num_classes=7).eval()
    save_file(whole.state_dict(), tmp_path/'w.safetensors')
    x = torch.rand(2, 3, 160, 160)
    e = image_encoder('test_vit', tmp_path/'w.safetensors')
    assert torch.allclose(e(x), whole.forward_head(whole.forward_features((x - e.mean)/e.std), pre_logits=True), atol=1e-5) and e.licence == ''
    with pytest.raises(CheckpointError, match='missing.*norm.weight'): image_encoder('test_vit', {n: t for n, t in whole.state_dict().items() if n != 'norm.weight'})

def test_timm_tells_its_own(monkeypatch):
    monkeypatch.setattr(encoders, 'fetched', lambda get, what: timm.create_model('test_vit.r160_in1k', num_classes=0))
    e = image_encoder('test_vit.r160_in1k')
    cfg = timm.get_pretrained_cfg('test_vit.r160_in1k')
    assert (e.name, e.size, e.crop, e.licence) == ('test_vit.r160_in1k', cfg.input_size[1], cfg.crop_pct, 'apache-2.0') and e.mean.flatten().tolist() == pytest.approx(cfg.mean)

# ---- names of encoders

def test_id_names_all_that_vectors_depend_on():
    w = tower_weights()
    def make(name='clip', vision=SMALL, **kwargs): return image_encoder(name, w, n_out=WIDE, vision=vision, **kwargs)
    ids = [make().id, make('imagebind').id, make(vision=SMALL | dict(heads=2)).id, image_encoder('clip', w | dict(proj=w['proj'] + 1e-3), n_out=WIDE, vision=SMALL).id, image_encoder('clip', w, n_out=20, vision=SMALL).id,
           image_encoder('clip', w, n_out=20, reduce='project', vision=SMALL).id, make().half().id]
    for name, value in dict(crop=.9, mean=torch.zeros(3, 1, 1), std=torch.ones(3, 1, 1)).items():
        e = make(); setattr(e, name, value); ids.append(e.id)
    swapped = tower_weights(); swapped['ln_pre.bias'], swapped['ln_post.bias'] = swapped['ln_post.bias'], swapped['ln_pre.bias']
    ids.append(image_encoder('clip', swapped, n_out=WIDE, vision=SMALL).id)
    assert len(set(ids)) == len(ids)
    assert make().id == ids[0] == make(reduce='project').id == image_encoder('clip', dict(reversed(w.items())), n_out=WIDE, vision=SMALL).id
    e = make(); e.train().requires_grad_(True)
    assert e.id == ids[0]

@pytest.mark.parametrize('kind', ['swatch', 'clip', 'projected', 'test_vit'])
def test_the_store_serves_it(kind, tmp_path, monkeypatch):
    e, prepared, real = encoder(kind), [], ImageEncoder.prepare
    monkeypatch.setattr(ImageEncoder, 'prepare', lambda self, img: prepared.append(1) or real(self, img))
    def run(e): prepared.clear(); return embed(e, photos(5), EmbeddingStore(tmp_path, e.id, e.n_out), bs=2), len(prepared)
    v, n = run(e)
    assert n == 5 and v.shape == (5, e.n_out) and torch.allclose(v, e(torch.stack([real(e, p) for p in photos(5)])), atol=1e-5)
    assert run(e)[1] == 0
    same = encoder(kind, {k: t.clone() for k, t in e.body.state_dict().items()})
    assert run(same)[1] == 0 and torch.equal(run(same)[0], v) and len(list(tmp_path.iterdir())) == 1
    other = encoder(kind)
    assert run(other)[1] == 5 and len(list(tmp_path.iterdir())) == 2 and torch.equal(run(e)[0], v)

# ---- how much of a photo

def test_crop_is_what_timm_means_by_it():
    "Resize the short side to size/crop, then cut out the middle"
    e = image_encoder('test_vit', pretrained=False)
    assert e.crop == .95
    img = Image.fromarray(photos(1, size=400)[0])
    want = T.Compose([T.Resize(round(e.size/e.crop), T.InterpolationMode.BICUBIC), T.CenterCrop(e.size), T.ToTensor()])(img)
    assert (e.prepare(img) - want).abs().mean() < .01
    e.crop = 1.
    assert (e.prepare(img) - want).abs().mean() > .02

@pytest.mark.parametrize('crop', [0, -1, 1.01, float('nan')])
def test_bad_crops(crop):
    with pytest.raises(FabricError, match='crop is'): square(Image.new('RGB', (9, 9)), 4, crop)

@pytest.mark.parametrize('shape', [(240, 320), (320, 240), (301, 457), (224, 224), (90, 350), (700, 511), (33, 40)])
def test_photos_are_prepared_as_torchvision_and_timm_do_it(shape):
    "Resize the shorter side, then cut the middle: the pixels that published weights were trained on"
    img = Image.fromarray(np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8))
    chain = T.Compose([T.Resize(224, T.InterpolationMode.BICUBIC), T.CenterCrop(224), T.ToTensor()])
    assert torch.equal(torch.from_numpy(np.array(square(img, 224))).permute(2, 0, 1)/255, chain(img))
    for crop in (.875, .95):
        theirs = timm.data.create_transform((3, 96, 96), crop_pct=crop, interpolation='bicubic', mean=(0,)*3, std=(1,)*3)(img)
        assert torch.equal(torch.from_numpy(np.array(square(img, 96, crop))).permute(2, 0, 1)/255, theirs)

def test_a_strip_is_not_resized_whole():
    with patch.object(Image.Image, 'resize', autospec=True, side_effect=Image.Image.resize) as resized: assert square(Image.new('RGB', (20_000, 3)), 224).size == (224, 224)
    assert resized.call_args.args[1][0] < 1000

def test_training_and_prediction_see_the_same(tmp_path):
    for i, p in enumerate(photos(6, 90)): Image.fromarray(p).save(tmp_path/f'{i}.png')
    rows = 'image,blend,softness\n' + ''.join(f'{i}.png,{100 - i}% cotton {i}% wool,{1 + i % 5}\n' for i in range(6))
    (tmp_path/'f.csv').write_text(rows)
    fabrics, e = read_fabrics(tmp_path/'f.csv', 'softness'), image_encoder('test_vit', pretrained=False)
    dls = touch_dls(fabrics, (range(4), range(4, 6)), size=e.size, crop=e.crop, bs=4)
    assert dls.crop == e.crop
    got = dls.valid.one_batch()[0].cpu()
    assert torch.allclose(torch.as_tensor(got), torch.stack([e.prepare(p) for p in fabrics.images[4:]]), atol=1e-6)
    assert not hasattr(touch_dls(fabrics, (range(4), range(4, 6)), vectors=np.zeros((6, 3))), 'crop')
    assert touch_dls(fabrics, (range(4), range(4, 6)), bs=4, size=32).crop == 1

# ---- CLIP

def test_clip_by_hand(x):
    w = tower_weights()
    e, want = image_encoder('clip', w, n_out=WIDE, vision=SMALL), clip_by_hand(w, normalised(x))
    assert off(e(x), want) < 1e-5
    assert off(clip_by_hand(w, normalised(x), act=F.gelu), want) > .01, 'GELU in place of QuickGELU would not be seen'
    assert off(clip_by_hand(w, normalised(x), heads=2), want) > .1
    assert sum(isinstance(m, open_clip.transformer.QuickGELU) for m in e.modules()) == 3 and not any(isinstance(m, nn.GELU) for m in e.modules())
    assert not any(isinstance(m, open_clip.transformer.QuickGELU) for m in encoder('imagebind').modules())

def whole_clip(seed=0):
    "A whole small CLIP, text side and all, and its weights"
    model = open_clip.CLIP(WIDE, dict(image_size=32, patch_size=8, width=48, layers=3, head_width=12), dict(context_length=8, vocab_size=50, width=16, heads=2, layers=3), quick_gelu=True)
    model.load_state_dict(draw(shapes(model.state_dict()), seed))
    return model.eval()

def test_the_image_tower_of_a_whole_clip(x, tmp_path):
    "OpenAI's half precision with text side, open_clip's safetensors, the bare tower: one encoder"
    model = whole_clip()
    whole = model.state_dict() | dict(input_resolution=torch.tensor(32), context_length=torch.tensor(8), vocab_size=torch.tensor(50))
    torch.save({n: t.half() for n, t in whole.items()}, tmp_path/'openai.pth')
    torch.save(dict(epoch=3, state_dict=model.state_dict()), tmp_path/'trained.pt')
    save_file(model.state_dict(), tmp_path/'open_clip.safetensors')
    save_file(model.visual.state_dict(), tmp_path/'tower.safetensors')
    def load(w): return image_encoder('clip', w, n_out=WIDE, vision=SMALL)
    want = model.encode_image(normalised(x))
    for name in ('trained.pt', 'open_clip.safetensors', 'tower.safetensors'): assert off(load(tmp_path/name)(x), want) < 1e-5 and load(str(tmp_path/name)).licence == ''
    half = load(tmp_path/'openai.pth')
    assert half(x).dtype == torch.float32 and {p.dtype for p in half.parameters()} == {torch.float32}
    assert 1e-5 < off(half(x), want) < .05 and off(half(x), clip_by_hand({n[7:]: t.half() for n, t in whole.items() if n.startswith('visual.')}, normalised(x))) < 1e-5
    kept = whole['visual.proj'].clone()
    load(whole).body.proj.data.zero_()
    assert torch.equal(whole['visual.proj'], kept), 'the encoder writes into tensors that were lent to it'

def test_full_clip_is_what_open_clip_builds():
    with torch.device('meta'): ours, theirs = tower_body(TOWERS['clip'], TOWERS['clip'].sizes, 512), open_clip.CLIP(**open_clip.get_model_config('ViT-B-32-quickgelu')).visual
    assert str(ours) == str(theirs) and shapes(ours.state_dict()) == shapes(theirs.state_dict())

def test_only_the_image_tower_is_built():
    assert sum(p.numel() for p in encoder('full_clip').parameters()) == 87_849_216   # ViT-B/32: 7,680 position and class, 2,359,296 stem, 12 blocks, three norms, 393,216 projection

def test_a_torchscript_archive(x, tmp_path):
    "OpenAI's own file: refused with the line that converts it, and the line works"
    model = whole_clip()
    class Holder(nn.Module):
        def __init__(self): super().__init__(); self.visual = model.visual
        def forward(self, x): return x
    with pytest.warns(Warning): torch.jit.save(torch.jit.trace(Holder(), torch.zeros(1)), str(tmp_path/'ViT-B-32.pt'))
    def load(p): return image_encoder('clip', tmp_path/p, n_out=WIDE, vision=SMALL)
    with pytest.raises(CheckpointError, match='TorchScript archive.*convert') as e: load('ViT-B-32.pt')
    line = str(e.value).split('convert it once: ')[1]
    old = os.getcwd(); os.chdir(tmp_path)
    try:
        with pytest.warns(Warning): exec(line)
    finally: os.chdir(old)
    assert off(load('weights.pth')(x), model.encode_image(normalised(x))) < 1e-5

# ---- ImageBind

def others(seed=9):
    "Weights of other modalities, some under the very names of the vision tower"
    names = [n.replace('.vision.', f'.{m}.') for n in imagebind_shapes(4, 1, 2, 5, 6) for m in ('audio', 'text', 'thermal', 'depth', 'imu')]
    return draw({n: (2, 3) for n in [*names, 'modality_postprocessors.text.1.log_logit_scale', 'modality_trunks.audio.blocks.0.attn.bias_k']}, seed)

def forms():
    "One tower under all the names it comes with"
    w = imagebind_weights()
    bare = image_encoder('imagebind', w, n_out=WIDE, vision=SMALL).body.state_dict()
    text = {n: torch.ones(2) for n in ('logit_scale', 'token_embedding.weight', 'positional_embedding', 'transformer.resblocks.0.ln_1.weight', 'text_projection')}
    return dict(whole=others() | w, whole_first=w | others(), cut={n.replace('.vision.', '.'): t for n, t in w.items()}, bare=bare, visual={f'visual.{n}': t for n, t in bare.items()}, clip=text | {f'visual.{n}': t for n, t in bare.items()})

def test_imagebind_by_hand(x):
    w = imagebind_weights()
    e, want = image_encoder('imagebind', w, n_out=WIDE, vision=SMALL), imagebind_by_hand(w, normalised(x))
    assert off(e(x), want) < 1e-5
    assert torch.allclose(e(x).norm(dim=1), torch.ones(8))
    assert off(imagebind_by_hand(w, normalised(x), eps=1e-5), want) > 1e-4, 'eps 1e-5 would not be seen'

def test_the_stem_is_summed_over_time(x):
    w, stem = imagebind_weights(), 'modality_preprocessors.vision.rgbt_stem.proj.1.weight'
    def load(w): return image_encoder('imagebind', w, n_out=WIDE, vision=SMALL)
    late = w | {stem: torch.stack([torch.zeros_like(w[stem][:, :, 0]), w[stem].sum(2)], 2)}       # all in the second moment
    assert off(load(late)(x), load(w)(x)) < 1e-5
    assert off(load(w | {stem: w[stem]/2})(x), load(w)(x)) > .01, 'a mean over time would not be seen'

@pytest.mark.parametrize('form', ['whole', 'whole_first', 'cut', 'bare', 'visual', 'clip'])
def test_names_of_the_tower(form, x, tmp_path):
    tensors, want = forms()[form], imagebind_by_hand(imagebind_weights(), normalised(x))
    torch.save(tensors, tmp_path/'w.pth')
    for given in (tensors, tmp_path/'w.pth'):
        e = image_encoder('imagebind', given, n_out=WIDE, vision=SMALL)
        assert off(e(x), want) < 1e-5
        assert e.licence == ('CC-BY-NC-SA-4.0' if form in ('whole', 'whole_first', 'cut') else '')
    larger = {f'image_encoder.{n}': t for n, t in tensors.items()} | dict(proj=torch.ones(3), attention=torch.ones(2))
    state = tower_state(larger, 'image_encoder.')
    assert set(state) == set(e.body.state_dict())
    e.body.load_state_dict(state)
    assert off(e(x), want) < 1e-5

def test_the_real_shapes_of_imagebind():
    "All 392 weights have their place in the tower, by name and shape; checked without the numbers"
    row = TOWERS['imagebind']
    with torch.device('meta'):
        theirs = {n: torch.empty(s) for n, s in imagebind_shapes(1280, 32, 14, 257, 1024).items()}
        body = tower_body(row, row.sizes, 1024)
    assert len(theirs) == 392 and shapes(tower_state(theirs)) == shapes(body.state_dict())
    assert shapes(tower_state({n.replace('.vision.', '.'): t for n, t in theirs.items()})) == shapes(body.state_dict())
    assert {m.eps for m in body.modules() if isinstance(m, nn.LayerNorm)} == {1e-6} and body.transformer.resblocks[0].attn.num_heads == 16
    assert sum(p.numel() for p in body.parameters()) == 632_076_800

def gone(name): return lambda w: {n: t for n, t in w.items() if n != name}
trunk = 'modality_trunks.vision.'
spoilt = dict(
    no_block=(gone(trunk + 'blocks.1.mlp.fc2.weight'), ['missing', 'transformer.resblocks.1.mlp.c_proj.weight']), no_token=(gone('modality_preprocessors.vision.cls_token'), ['missing', 'class_embedding']), no_head=(gone('modality_heads.vision.2.weight'), ['missing', "'proj'"]),
    extra=(lambda w: w | {trunk + 'blocks.0.gamma': torch.ones(3)}, ['not in the model', 'modality_trunks.blocks.0.gamma']), deeper=(lambda w: w | {trunk + 'blocks.3.norm_1.bias': torch.ones(48)}, ['not in the model', 'transformer.resblocks.3.ln_1.bias']),
    shape=(lambda w: w | {trunk + 'blocks.0.norm_1.bias': torch.ones(47)}, ['transformer.resblocks.0.ln_1.bias', '(47,)', '(48,)']), nan=(lambda w: w | {'modality_heads.vision.0.bias': torch.full((48,), float('nan'))}, ['NaN', 'ln_post.bias']),
    text_only=(lambda w: {n: t for n, t in whole_clip().state_dict().items() if 'visual' not in n}, ['missing', 'class_embedding', 'not in the model']), nothing=(lambda w: {}, ['missing']), number_as_name=(lambda w: {3: torch.ones(2)}, ['missing']),
    flat_head=(lambda w: w | {'modality_heads.vision.2.weight': torch.ones(48)}, ['proj', '(48,)']), flat_stem=(lambda w: w | {'modality_preprocessors.vision.rgbt_stem.proj.1.weight': torch.ones(48)}, ['conv1.weight']))

@pytest.mark.parametrize('what', spoilt)
def test_spoilt_towers_are_named(what):
    spoil, words = spoilt[what]
    with pytest.raises(CheckpointError) as e: image_encoder('imagebind', spoil(imagebind_weights()), n_out=WIDE, vision=SMALL)
    for word in words: assert word in str(e.value)

# ---- width

def test_truncated_and_projected(x):
    w = tower_weights('imagebind')
    full = clip_by_hand(w, normalised(x), act=F.gelu, eps=1e-6)
    def load(n, **kwargs): return image_encoder('imagebind', w, n_out=n, vision=SMALL, **kwargs)
    assert off(load(16)(x), F.normalize(full[:, :16])) < 1e-5
    assert off(load(WIDE, reduce='project')(x), F.normalize(full)) < 1e-5                   # the same width is taken as it is
    before = torch.random.get_rng_state()
    a = load(16, reduce='project'); torch.manual_seed(7); b = load(16, reduce='project')
    assert a.id == b.id and a.args['reduce'] == 'project' and off(a(x), load(16)(x)) > .1
    encoders._project(torch.eye(3), 2)
    torch.random.set_rng_state(before); one = torch.rand(1); torch.random.set_rng_state(before); encoders._project(torch.eye(3), 2)
    assert torch.equal(torch.rand(1), one), "drawing the projection moved the user's random numbers"
    with pytest.raises(CheckpointError, match=f'give {WIDE} numbers and n_out is {WIDE + 1}.*n_out={WIDE}'): load(WIDE + 1)

def test_the_projection_keeps_lengths_and_angles():
    q = encoders._project(torch.eye(1024), 512)
    a = torch.randn(1024, 512, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert ((q.double().T @ a).diagonal() > 0).all(), 'the signs are left to the machine'
    assert torch.allclose(q.T @ q, torch.eye(512), atol=1e-5) and torch.equal(q, encoders._project(torch.eye(1024), 512))
    v = torch.randn(40, 1024, generator=torch.Generator().manual_seed(1))
    v[20:] = v[:20] + .5*v[20:]                                                             # pairs that are close
    cos = lambda v: F.cosine_similarity(v[:20], v[20:])
    assert (cos(v) - cos(v @ q)).abs().max() < .08 and ((v @ q).norm(dim=1)/v.norm(dim=1) - .5**.5).abs().max() < .06

# ---- published weights

@pytest.fixture
def hub(tmp_path, monkeypatch):
    "open_clip's download gives a small whole CLIP; what was asked for"
    asked = []
    save_file(whole_clip().state_dict(), tmp_path/'hub.safetensors')
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda cfg, **kwargs: asked.append(cfg) or str(tmp_path/'hub.safetensors'))
    return asked

published = [('clip', True, 'vit_base_patch32_clip_224.openai', 'MIT'), ('clip', 'openai', 'vit_base_patch32_clip_224.openai', 'MIT'), ('clip', 'LAION400M-e32', 'laion400m_e32', 'MIT'), ('clip', 'metaclip_400m', 'metaclip_400m', 'CC-BY-NC-4.0'),
             ('imagebind', True, 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K', 'MIT'), ('imagebind', 'laion2b_s32b_b79k', 'laion/CLIP-ViT-H-14', 'MIT'), ('imagebind', 'metaclip_altogether', 'metaclip_altogether', 'CC-BY-NC-4.0')]

@pytest.mark.parametrize('name, pretrained, where, licence', published)
def test_published_weights(hub, x, name, pretrained, where, licence):
    e = image_encoder(name, pretrained, n_out=20, vision=SMALL)
    assert where in hub[0]['hf_hub'] and len(hub) == 1 and e.licence == licence
    assert off(e(x), image_encoder(name, whole_clip().state_dict(), n_out=20, vision=SMALL)(x)) < 1e-6

@pytest.mark.parametrize('name, tag, words', [('clip', 'laion2b_s34b_b79k', ['trained with GELU', 'has QuickGELU', 'openai']), ('clip', 'datacomp_xl_s13b_b90k', ['QuickGELU']), ('imagebind', 'dfn5b', ['trained with QuickGELU', 'has GELU', 'laion2b_s32b_b79k']),
                                              ('imagebind', 'openai', ['no such file', 'laion2b_s32b_b79k']), ('clip', 'opnai', ['no such file', 'openai'])])
def test_weights_of_another_activation_are_refused(hub, name, tag, words):
    with pytest.raises(FabricError) as e: image_encoder(name, tag)
    assert not hub
    for word in (tag, *words): assert word in str(e.value)

@pytest.mark.parametrize('name', ['clip', 'imagebind', 'test_vit', 'mobilenet_v3_large', 'ViT-B-16'])
def test_offline(name):
    "The hub's own retries take most of a minute"
    start = time.monotonic()
    with pytest.raises(FabricError, match='could not be fetched.*pretrained='): image_encoder(name)
    assert time.monotonic() - start < 30

def test_a_host_that_does_not_answer(monkeypatch):
    import huggingface_hub
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', False)
    with socket.socket() as server:                                                         # takes the call and says nothing
        server.bind(('127.0.0.1', 0)); server.listen(8)
        start = time.monotonic()
        assert 'time' in encoders._silence(f'http://127.0.0.1:{server.getsockname()[1]}', .3).lower()
        assert time.monotonic() - start < 30
    assert 'refused' in encoders._silence('http://127.0.0.1:9', .3)                         # nobody there
    class Hanging:
        def head(self, url, timeout): time.sleep(40)
    monkeypatch.setattr(huggingface_hub, 'get_session', Hanging)
    start = time.monotonic()
    assert encoders._silence('http://nowhere.example', .1) == 'no answer in 0.1 seconds' and time.monotonic() - start < 30

def test_without_a_network_the_cache_serves(monkeypatch):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', False)
    monkeypatch.setattr(encoders, '_silence', lambda url: 'no route')
    assert encoders.fetched(lambda: constants.HF_HUB_OFFLINE, 'x') is True and constants.HF_HUB_OFFLINE is False
    def fail(): raise OSError('nothing cached')
    with pytest.raises(FabricError, match='no route'): encoders.fetched(fail, 'of x')
    assert constants.HF_HUB_OFFLINE is False
    monkeypatch.setattr(encoders, '_silence', lambda url: '')
    assert encoders.fetched(lambda: constants.HF_HUB_OFFLINE, 'x') is False

# ---- bad input

class Thief:
    def __reduce__(self): return os.mkdir, ('stolen',)

bad = [(dict(pretrained=None), 'pretrained is None'), (dict(pretrained=3), 'pretrained is 3'), (dict(pretrained=dict(a=1)), 'dict of name to tensor'), (dict(pretrained='nowhere.safetensors'), 'nowhere.safetensors: there is no such file'), (dict(pretrained=b'x'), 'pretrained is')]
bad_towers = [(dict(n_out=0), 'n_out is 0'), (dict(n_out=5.), 'n_out is 5.0'), (dict(reduce='pca'), "'pca'.*truncate"), (dict(vision=dict(depth=3)), 'depth.*image_size, patch_size'), (dict(vision=dict(width=0)), 'at least 1'), (dict(vision=dict(heads=True)), 'whole numbers'),
              (dict(vision=3), 'give a dict'), (dict(vision=SMALL | dict(heads=5)), 'width is 48 and heads is 5'), (dict(vision=SMALL | dict(image_size=33)), 'image_size is 33'), (dict(size=3), 'takes n_out, reduce, vision, not size')]

@pytest.mark.parametrize('name', ['swatch', 'clip', 'imagebind', 'test_vit', 'mobilenet_v3_large', 'mobilenetv2_tf', 'ViT-S-16'])
@pytest.mark.parametrize('args, why', bad, ids=range(len(bad)))
def test_bad_weights(name, args, why):
    with pytest.raises(FabricError, match=why): image_encoder(name, **args)

@pytest.mark.parametrize('args, why', bad_towers, ids=range(len(bad_towers)))
def test_bad_sizes(args, why):
    with pytest.raises(FabricError, match=why): image_encoder('imagebind', False, **args)

@pytest.mark.parametrize('name, takes', dict(swatch='no further arguments', mobilenet_v3_large='no further arguments', mobilenetv2_tf='size', test_vit='data, out_indices, pooled, pad_type', RN50='tag').items())
def test_no_arguments_for_others(name, takes):
    with pytest.raises(FabricError, match=f'takes {takes}, not n_out'): image_encoder(name, False, n_out=5)

@pytest.mark.parametrize('name', ['swatch', 'clip', 'imagebind', 'test_vit', 'mobilenet_v3_large', 'mobilenetv2_tf', 'ViT-S-16'])
def test_pickles_are_not_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(dict(w=Thief()), 'a.pth'); (tmp_path/'b.pth').write_bytes(pickle.dumps(Thief())); (tmp_path/'folder').mkdir(); (tmp_path/'c.safetensors').write_bytes(b'<html>')
    for given in ('a.pth', 'b.pth', 'folder', 'c.safetensors'):
        with pytest.raises(FabricError, match=given): image_encoder(name, given)
    assert not (tmp_path/'stolen').exists()

# ---- feature maps as texture

@pytest.mark.parametrize('name, maps', [('test_vit', (0, 2)), ('test_convnext', (0, 1)), ('test_resnet', (1,)), ('test_efficientnet', (0, 2, 3))])
def test_texture_of_any_network(name, maps, tmp_path):
    "Means and spreads of the maps that the whole network has, weights from the whole network's file, channels first"
    import timm
    torch.manual_seed(0)
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path/'whole.safetensors')
    e = image_encoder(name, tmp_path/'whole.safetensors', out_indices=maps)
    x = torch.rand(2, 3, e.size, e.size)
    with torch.no_grad(): want = whole.forward_intermediates((x - e.mean)/e.std, indices=list(maps), output_fmt='NCHW', intermediates_only=True)
    torch.testing.assert_close(e(x), torch.cat([s for m in want for s in (m.mean((2, 3)), m.flatten(2).std(2, correction=0))], 1))
    assert len(e.state_dict()) < len(whole.state_dict()) and e.id != image_encoder(name, tmp_path/'whole.safetensors').id

odd = [(dict(out_indices=x), 'in rising order') for x in (5, True, [], (3, 1), (1, 1), (-1,), (1.5,), 'ab')] + [(dict(pad_type=x), "give 'same'") for x in (['x'], 10**6, 'valid', '')] + \
      [(dict(data=x), 'data is') for x in ([], 'x', dict(size=3), dict(mean=[True]*3), dict(mean={.1, .2, .3}), dict(mean=[float('nan')]*3), dict(std=(0, 1, 1)), dict(img_size=True), dict(img_size=10**6), dict(crop_pct=0))] + \
      [(dict(out_indices=(9,)), 'cannot be built with'), (dict(data=dict(img_size=77)), 'cannot be built with')]

@pytest.mark.parametrize('args, why', odd, ids=range(len(odd)))
def test_odd_arguments_of_timm(args, why):
    with pytest.raises(FabricError, match=why): image_encoder('test_vit', False, **args)

def test_arguments_in_either_form_are_one():
    one, two = [image_encoder('test_resnet', dict(timm_state), data=dict(mean=f((.5,)*3)), out_indices=f((1, 2))) for timm_state in [image_encoder('test_resnet', False).body.state_dict()] for f in (tuple, list)]
    assert one.args == two.args and one.id == two.id

# ---- MobileNets

@pytest.fixture(scope='module')
def large():
    net = torchvision.models.mobilenet_v3_large()
    net.load_state_dict(net.state_dict() | draw({n: tuple(p.shape) for n, p in net.named_parameters() if p.ndim > 1}))
    return net.eval()

@torch.no_grad()
def test_mobilenet_is_torchvisions(large, tmp_path):
    "All of it up to the pooled numbers, from every kind of file"
    state, x = large.state_dict(), torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    save_file(state, tmp_path/'whole.safetensors')
    torch.save(dict(state_dict={f'mobilenet.{n}': t for n, t in state.items()} | {'classifier.0.weight': torch.ones(3), 'clip.logit_scale': torch.ones(())}, epoch=3, mode='hybrid'), tmp_path/'old.pth.tar')
    for given in (state, tmp_path/'whole.safetensors', str(tmp_path/'old.pth.tar'), {n: t for n, t in state.items() if not n.startswith('classifier')}):
        e = image_encoder('mobilenet_v3_large', given)
        want = large.avgpool(large.features((x - torch.tensor([.485, .456, .406]).view(3, 1, 1))/torch.tensor([.229, .224, .225]).view(3, 1, 1))).flatten(1)
        assert (e.n_out, e.size, e.licence, e.args) == (960, 224, '', {}) and off(e(x), want) < 1e-5
    half = image_encoder('mobilenet_v3_large', {n: t.half() if t.is_floating_point() else t for n, t in state.items()})
    assert torch.equal(half.body.features[7].block[1][0].weight, state['features.7.block.1.0.weight'].half().float())
    with pytest.raises(CheckpointError, match='missing.*features.7.block.1.0.weight'): image_encoder('mobilenet_v3_large', {n: t for n, t in state.items() if n != 'features.7.block.1.0.weight'})
    with pytest.raises(CheckpointError, match='shape'): image_encoder('mobilenet_v3_large', torchvision.models.mobilenet_v3_small().state_dict())

def test_mobilenet_sees_photos_as_its_weights_did():
    "The published weights' own account, but for the filter"
    e, theirs = image_encoder('mobilenet_v3_large', False), torchvision.models.MobileNet_V3_Large_Weights.IMAGENET1K_V2.transforms()
    assert e.mean.flatten().tolist() == pytest.approx(theirs.mean) and e.std.flatten().tolist() == pytest.approx(theirs.std)
    img = Image.fromarray(photos(1, size=400)[0])
    want = T.Compose([T.Resize(theirs.resize_size, T.InterpolationMode.BICUBIC), T.CenterCrop(theirs.crop_size), T.ToTensor()])(img)
    assert torch.equal(e.prepare(img), want)

def test_torchvision_weights_are_fetched_with_care(large, monkeypatch):
    kind, asked = torchvision.models.MobileNet_V3_Large_Weights, []
    def get(self, **kwargs): asked.append((self.name, socket.getdefaulttimeout(), kwargs)); return large.state_dict()
    monkeypatch.setattr(kind, 'get_state_dict', get)
    e, before = image_encoder('mobilenet_v3_large'), socket.getdefaulttimeout()
    assert asked == [('IMAGENET1K_V2', 10, dict(progress=True, check_hash=True, weights_only=True))] and e.licence == 'BSD-3-Clause' and socket.getdefaulttimeout() == before
    def fail(self, **kwargs): raise RuntimeError('invalid hash value')
    monkeypatch.setattr(kind, 'get_state_dict', fail)
    with pytest.raises(FabricError, match=r'mobilenet_v3_large weights could not be fetched \(invalid hash value\).*give a file'): image_encoder('mobilenet_v3_large')
    assert socket.getdefaulttimeout() == before

def test_mobilenet_of_tensorflow():
    "A row for a timm network with arguments: cards and stored vectors of either spelling serve both"
    with pytest.raises(FabricError, match='mobilenetv2_100_tfptq_fp16.pth'): image_encoder('mobilenetv2_tf')
    e = image_encoder('mobilenetv2_tf', False, size=96)
    spelt = image_encoder('mobilenetv2_100', e.body.net.state_dict(), pad_type='same', out_indices=(2, 3, 4), pooled=True, data=dict(img_size=96, mean=(.5,)*3, std=(.5,)*3, crop_pct=1., crop_mode='squash'))
    assert spelt.id == e.id and encoder_card(e) == encoder_card(spelt) == encoder_card(encoder_from_card(encoder_card(e))) and (e.n_out, e.crop_mode) == (2176, 'squash')
    for size in (8, 96., True):
        with pytest.raises(FabricError, match='img_size'): image_encoder('mobilenetv2_tf', False, size=size)

def test_real_mobilenet_of_tensorflow():
    if not has_data('weights'): pytest.skip('weights is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
    e = image_encoder('mobilenetv2_tf', data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth')
    assert (e.size, e.n_out, e.name) == (320, 2176, 'mobilenetv2_100') and e(torch.rand(1, 3, 320, 320)).isfinite().all()

# ---- ids that vectors are stored under

def test_ids_stay():
    "Stored vectors and cards of users are found by them"
    sizes = dict(image_size=32, patch_size=8, width=48, layers=2, heads=4)
    w = {n: (torch.arange(t.numel()) % 17).reshape(t.shape)/16 - .5 for n, t in tower_body(TOWERS['clip'], sizes, 16).state_dict().items()}
    def ids(name): return [image_encoder(name, w, n_out=n, vision=sizes).id for n in (16, 8)]
    assert ids('clip') == ['clip-32-5d02933242b2', 'clip-32-94949b7b0e4e'] and ids('imagebind') == ['imagebind-32-5d02933242b2', 'imagebind-32-94949b7b0e4e']

# ---- transformers' CLIP

def small_transformers(seed=0):
    pytest.importorskip('transformers')
    from transformers import CLIPConfig, CLIPModel
    model = CLIPModel(CLIPConfig(projection_dim=WIDE, text_config=dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=50, max_position_embeddings=8, bos_token_id=0, eos_token_id=49),
                                 vision_config=dict(hidden_size=48, intermediate_size=192, num_hidden_layers=3, num_attention_heads=4, image_size=32, patch_size=8)))
    model.load_state_dict(draw(shapes(model.state_dict()), seed))
    return model.eval()

@torch.no_grad()
@pytest.mark.parametrize('form', ['whole', 'old', 'prefix', 'vision', 'half', 'bare_last'])
def test_the_tower_of_transformers(form, x, tmp_path):
    "Current files, those of transformers before 4.31 with position_ids, inside a larger model, the image side alone"
    model = small_transformers()
    state, want = model.state_dict(), model.get_image_features(normalised(x)).pooler_output
    vision = {n: t for n, t in state.items() if n.startswith('vis')}
    larger = {'mobilenet.features.0.0.weight': torch.ones(3), 'classifier.0.weight': torch.ones(2)}
    old = {'text_model.embeddings.position_ids': torch.arange(8)[None], 'vision_model.embeddings.position_ids': torch.arange(17)[None]}
    tensors = dict(whole=state, old=old | state, prefix=larger | {f'clip.{n}': t for n, t in (old | state).items()}, vision=vision, half={n: t.half() for n, t in state.items()}, bare_last=dict(reversed(state.items())))[form]
    torch.save(dict(state_dict=tensors), tmp_path/'w.pth')
    e = image_encoder('clip', tmp_path/'w.pth', n_out=WIDE, vision=SMALL)
    assert off(e(x), want) < (.05 if form == 'half' else 1e-5) and e.licence == ''
    assert tower_sizes('clip', tensors)['n_out'] == WIDE and tower_sizes('clip', tensors)['vision'] | dict(heads=4) == SMALL
    assert form == 'half' or image_encoder('clip', {f'visual.{n}': t for n, t in tower_state(tensors).items()}, n_out=WIDE, vision=SMALL).id == e.id, 'another kind of names, another id'

def test_the_real_shapes_of_transformers(x):
    "ViT-B/32 in full, vectors and names"
    pytest.importorskip('transformers')
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    model = CLIPVisionModelWithProjection(CLIPVisionConfig()).eval()
    for n, p in model.named_parameters(): p.data = (p.ndim == 1 and n.endswith('weight')) + torch.randn_like(p)*(.3 if p.ndim == 1 else p[0].numel()**-.5)
    e, x = image_encoder('clip', model.state_dict()), torch.rand(3, 3, 224, 224)
    with torch.no_grad(): assert off(e(x), model(normalised(x)).image_embeds) < 1e-4

q = 'vision_model.encoder.layers.1.self_attn.{}'.format
spoilt_names = dict(no_keys=(gone(q('k_proj.weight')), ['missing', 'transformer.resblocks.1.attn.in_proj_weight']), no_bias=(gone(q('v_proj.bias')), ['missing', 'resblocks.1.attn.in_proj_bias']), no_head=(gone('visual_projection.weight'), ['missing', "'proj'"]),
    short=(lambda w: w | {q('q_proj.weight'): torch.ones(47, 48)}, ['in_proj_weight', '(143, 48)', '(144, 48)']), narrow=(lambda w: w | {q('q_proj.weight'): torch.ones(48, 47)}, ['missing', 'in_proj_weight']), flat=(lambda w: w | {q('q_proj.weight'): torch.ones(48)}, ['missing', 'in_proj_weight']),
    extra=(lambda w: w | {'vision_model.gamma': torch.ones(3)}, ['not in the model', 'gamma']), flat_head=(lambda w: w | {'visual_projection.weight': torch.ones(48)}, ['proj', '(48,)']), text_only=(lambda w: {n: t for n, t in w.items() if not n.startswith('vis')}, ['missing', 'class_embedding']))

@pytest.mark.parametrize('what', spoilt_names)
def test_spoilt_transformers_are_named(what):
    spoil, words = spoilt_names[what]
    with pytest.raises(CheckpointError) as e: image_encoder('clip', spoil(small_transformers().state_dict()), n_out=WIDE, vision=SMALL)
    for word in words: assert word in str(e.value)

def test_either_tower_of_transformers():
    state = small_transformers().state_dict()
    text, image = transformers_state(state, 'text'), transformers_state(state)
    assert shapes(text)['text_projection'] == (16, WIDE) and shapes(image)['proj'] == (48, WIDE) and not {'logit_scale', 'proj'} & {*text} and not {'logit_scale', 'text_projection', 'token_embedding.weight'} & {*image}
    assert torch.equal(text['transformer.resblocks.1.attn.in_proj_bias'], torch.cat([state[f'text_model.encoder.layers.1.self_attn.{k}_proj.bias'] for k in 'qkv']))
    assert transformers_state({'visual_projection.weight': torch.ones(2, 2)}) == {}
    with pytest.raises(FabricError, match="unknown tower 'audio'"): transformers_state(state, 'audio')

# ---- any CLIP of open_clip

archs = dict(tiny_vit=dict(image_size=32, patch_size=8, width=48, layers=3, head_width=12), tiny_resnet=dict(image_size=64, layers=[1, 1, 1, 1], width=16, patch_size=None, head_width=32),
             tiny_trunk=dict(image_size=160, timm_model_name='test_vit', timm_pool='', timm_proj='linear', timm_model_pretrained=True), tiny_coca=dict(image_size=32, patch_size=8, width=48, layers=2, head_width=12, attentional_pool=True, attn_pooler_heads=4, output_tokens=True))
text_cfg = dict(context_length=8, vocab_size=50, width=16, heads=2, layers=3)

@pytest.fixture
def tiny(tmp_path, monkeypatch):
    "Small architectures among open_clip's, with published weights; gives the whole model of a name"
    from open_clip import factory, pretrained
    look = dict(mean=(.5,)*3, std=(.25,)*3, resize_mode='squash', hf_hub='there/')
    def whole(name, quick=False):
        cfg = {k: v for k, v in archs[name].items() if k != 'timm_model_pretrained'}
        torch.manual_seed(4)
        model = open_clip.CLIP(WIDE, cfg, text_cfg, quick)
        model.load_state_dict(model.state_dict() | draw({n: tuple(p.shape) for n, p in model.named_parameters()}))
        return model.eval()
    for name in archs:
        monkeypatch.setitem(factory._MODEL_CONFIGS, name, dict(embed_dim=WIDE, vision_cfg=archs[name], text_cfg=text_cfg))
        monkeypatch.setitem(pretrained._PRETRAINED, name, dict(openai=look | dict(quick_gelu=True), laion_x=dict(hf_hub='here/')))
        save_file(whole(name).state_dict(), tmp_path/f'{name}.safetensors')
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda cfg, **kwargs: str(tmp_path/f'{whole.asked}.safetensors'))
    return whole

@torch.no_grad()
@pytest.mark.parametrize('name', archs)
def test_towers_of_open_clip(name, tiny):
    tiny.asked, x = name, torch.rand(3, 3, *[archs[name]['image_size']]*2, generator=torch.Generator().manual_seed(2))
    for pretrained, quick in ((True, False), ('laion-x', False), ('openai', True), (tiny(name).state_dict(), False)):
        e = image_encoder(name, pretrained)
        want = tiny(name, quick).visual((x - e.mean)/e.std)
        want = want[0] if isinstance(want, tuple) else want
        assert off(e(x), want) < 1e-4 and e.n_out == WIDE and e.size == archs[name]['image_size']
        assert e.args == dict(tag='openai' if quick else 'laion_x') and e.crop_mode == ('squash' if quick else 'center') and e.mean[0].item() == pytest.approx(.5 if quick else .48145466)
        assert e.licence == ('' if isinstance(pretrained, dict) else 'MIT')
        again = encoder_from_card(json.loads(json.dumps(encoder_card(e))))
        again.load_state_dict(e.state_dict())
        assert again.id == e.id and torch.equal(again(x), e(x)) and again.licence == e.licence

@torch.no_grad()
def test_whose_weights_a_file_holds(tiny, x):
    "A file does not tell its activation; the tag does"
    quick, e = tiny('tiny_vit', True), image_encoder('tiny_vit', tiny('tiny_vit').state_dict(), tag='openai')
    assert off(e(x), quick.visual((x - .5)/.25)) < 1e-5 and off(image_encoder('tiny_vit', quick.state_dict())(x), e(x)) > .01
    named = image_encoder('tiny_vit', {f'image.visual.{n}'.removeprefix('image.'): t for n, t in quick.visual.state_dict().items()}, tag='openai')
    assert named.id == e.id

def test_what_open_clip_cannot_give(tiny):
    tiny.asked = 'tiny_resnet'
    with pytest.raises(CheckpointError, match='do not fit'): image_encoder('tiny_vit')
    for args, why in ((('ViT-S-16',), 'lists no published weights'), (('ViT-B-16', False, 'opnai'), "has no weights 'opnai'; choose from: openai"), (('ViT-B-16', 'opnai'), 'no such file of weights, nor published'), (('ViT-S-16', False, 'openai'), 'none are published'), (('tiny_vit', 'openai', 'laion_x'), "are not 'laion_x'")):
        with pytest.raises(FabricError, match=why): image_encoder(*args[:2], **dict(zip(['tag'], args[2:])))
    with pytest.raises(FabricError, match='has no weights'): encoder_from_card(dict(name='ViT-B-16', args=dict(tag=['x'])))

def test_names_that_both_know_are_timms():
    assert image_encoder('convnext_tiny', False).args == {} and image_encoder('convnext_tiny', False).n_out == 768
    with pytest.raises(FabricError, match='for instance RN50x4'): image_encoder('RN50x')

# ---- the last blocks

def names(e, n=2): ids = {id(p): k for k, p in e.body.named_parameters()}; return {ids[id(p)] for p in last_blocks(e, n)}
def starting(e, *begin): return {k for k, _ in e.body.named_parameters() if k.startswith(begin)}

ends = dict(clip=dict(vision=SMALL), swatch={}, mobilenet_v3_large={}, test_vit={}, resnet18={}, mobilenetv2_tf=dict(size=64), caformer_s18={}, convnext_tiny={}, tiny_resnet={}, tiny_trunk={})
blocks_of = dict(clip=('transformer.resblocks.1', 'transformer.resblocks.2', 'ln_post', 'proj'), swatch=('0.blocks.4.2', '0.blocks.5', '0.conv_head', '0.bn2', '1.'), mobilenet_v3_large=('features.15', 'features.16'), test_vit=None, resnet18=('layer4',), mobilenetv2_tf=('net.blocks.5.2', 'net.blocks.6', 'net.conv_head', 'net.bn2'),
                 caformer_s18=('stages.3.blocks.1', 'stages.3.blocks.2', 'head'), convnext_tiny=('stages.3.blocks.1', 'stages.3.blocks.2', 'head'), tiny_resnet=('layer3.0', 'layer4', 'attnpool'), tiny_trunk=None)

@pytest.mark.parametrize('name', ends)
def test_last_blocks(name, tiny):
    e = image_encoder(name, False, **ends[name])
    if blocks_of[name]: assert names(e) == starting(e, *blocks_of[name])
    else:
        trunk = 'trunk.' if name == 'tiny_trunk' else ''
        depth = max(int(k.removeprefix(trunk).split('.')[1]) for k in starting(e, trunk + 'blocks.'))
        assert names(e) == starting(e, f'{trunk}blocks.{depth - 1}.', f'{trunk}blocks.{depth}.', trunk + 'norm', trunk + 'fc_norm', 'head')
    assert len(last_blocks(e)) == len(names(e)) and names(e, 1) < names(e) and not any(p.requires_grad for p in e.parameters())
    for n in (0, -1, 1.5, True, 99):
        with pytest.raises(FabricError, match='blocks, give a whole number from 1'): last_blocks(e, n)

def test_last_blocks_are_what_open_clip_unlocks():
    e = encoder('clip')
    e.body.lock(unlocked_groups=3)                                                # the projection, the last block with its norm, one more
    assert names(e) == {k for k, p in e.body.named_parameters() if p.requires_grad}

def test_no_blocks():
    with pytest.raises(FabricError, match='has no blocks'): last_blocks(ImageEncoder(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)), 'flat', 4))
    class Vectors(nn.Module): name = 'vectors'
    with pytest.raises(FabricError, match="'vectors' has no blocks"): last_blocks(Vectors())
