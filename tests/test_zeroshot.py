"Zero-shot: the text tower is CLIP's under every name it comes with; classes by name are scored as CLIP itself scores them."
import numpy as np, open_clip, pytest, torch
import torch.nn.functional as F
from safetensors.torch import save_file
from fabric_touch.checkpoints import CheckpointError
from fabric_touch.core import FabricError
from fabric_touch.encoders import image_encoder
from fabric_touch.zeroshot import PROMPTS, class_vectors, clip_tensors, text_tower, zero_shot

pytestmark = pytest.mark.once

VISION = dict(image_size=32, patch_size=8, width=64, layers=2, heads=4)
CLASSES = ['dress', 'long_sleeve', 'hat', 'T-shirt']

def draw(model, seed=0):
    "Weights as large as their inputs ask for, with random biases and norms"
    gen = torch.Generator().manual_seed(seed)
    for n, p in model.named_parameters(): p.data = (p.ndim == 1 and n.endswith('weight')) + torch.randn(p.shape, generator=gen)*(.3 if p.ndim < 2 else p[0].numel()**-.5)
    model.logit_scale.data.fill_(1.3)
    return model.eval().requires_grad_(False)

def whole(quick=True, width=128, heads=2, seed=0, **text):
    return draw(open_clip.CLIP(16, dict(image_size=32, patch_size=8, width=64, layers=2, head_width=16), dict(width=width, heads=heads, layers=3) | text, quick_gelu=quick), seed)

def transformers_clip():
    pytest.importorskip('transformers')
    from transformers import CLIPConfig, CLIPModel
    return draw(CLIPModel(CLIPConfig(projection_dim=16, text_config=dict(hidden_size=128, intermediate_size=512, num_hidden_layers=3, num_attention_heads=2), vision_config=dict(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8))))

@pytest.fixture(scope='module')
def clip(): return whole()
@pytest.fixture(scope='module')
def theirs(): return transformers_clip()
def tokens(*texts): return open_clip.get_tokenizer('ViT-B-32')(list(texts))
words = tokens('a dress', 'a photo of a long sleeve, worn out!', 'x')

def off(a, b):
    assert b.std(0).mean() > .02*b.abs().mean(), 'nearly constant: this would pass with any weights'
    return ((a - b).abs().max()/b.std(0).mean()).item()

# ---- the tower

def custom(clip): return {n if n.startswith(('visual', 'logit')) else f'text.{n}': t for n, t in clip.state_dict().items()}
forms = dict(open_clip=lambda c: c.state_dict(), custom=custom, openai=lambda c: c.state_dict() | dict(input_resolution=torch.tensor(32), context_length=torch.tensor(77), vocab_size=torch.tensor(49408)),
             text_only=lambda c: {n: t for n, t in c.state_dict().items() if 'visual' not in n}, inside=lambda c: {f'clip.{n}': t for n, t in c.state_dict().items()} | {'classifier.0.weight': torch.ones(2), 'mobilenet.features.0.0.weight': torch.ones(3)})

@pytest.mark.parametrize('form', forms)
def test_the_text_tower_is_the_models(form, clip, tmp_path):
    torch.save(dict(state_dict=forms[form](clip)), tmp_path/'clip.pth')
    for given in (forms[form](clip), clip_tensors(tmp_path/'clip.pth')):
        tower = text_tower(given)
        assert off(tower(words), clip.encode_text(words)) < 1e-5 and not tower.training and not any(p.requires_grad for p in tower.parameters())

def test_half_precision(clip):
    tower = text_tower({n: t.half() for n, t in clip.state_dict().items()})
    assert {p.dtype for p in tower.parameters()} == {torch.float32} and 1e-6 < off(tower(words), clip.encode_text(words)) < .05

@pytest.mark.parametrize('old', [False, True])
@pytest.mark.parametrize('prefix', ['', 'clip.'])
def test_the_text_tower_of_transformers(old, prefix, theirs, tmp_path):
    "Files of transformers before 4.31 hold position_ids too"
    tensors = theirs.state_dict() | ({'text_model.embeddings.position_ids': torch.arange(77)[None], 'vision_model.embeddings.position_ids': torch.arange(17)[None]} if old else {})
    save_file({prefix + n: t for n, t in tensors.items()}, tmp_path/'clip.safetensors')
    want = theirs.get_text_features(words).pooler_output
    assert off(text_tower(clip_tensors(tmp_path/'clip.safetensors'))(words), want) < 1e-5

def test_what_the_weights_do_not_tell(clip):
    assert off(text_tower(clip.state_dict(), quick_gelu=False)(words), clip.encode_text(words)) > .01
    plain = whole(quick=False)
    assert off(text_tower(plain.state_dict(), quick_gelu=False)(words), plain.encode_text(words)) < 1e-5
    four = whole(heads=4)
    assert off(text_tower(four.state_dict(), heads=4)(words), four.encode_text(words)) < 1e-5 < off(text_tower(four.state_dict())(words), four.encode_text(words))
    for heads in (0, 3, 2., 'x'):
        with pytest.raises(FabricError, match='divides the width 128'): text_tower(clip.state_dict(), heads=heads)

def test_shorter_texts_are_the_same(clip):
    tower = text_tower(clip.state_dict())
    long = int(words.argmax(1).max()) + 1
    assert long < 20 and off(tower(words[:, :long]), tower(words)) < 1e-5

def test_real_shapes():
    "ViT-B/32's text side in full: 63 million weights"
    model = draw(open_clip.CLIP(512, dict(image_size=32, patch_size=8, width=64, layers=1, head_width=16), dict(width=512, heads=8, layers=12), quick_gelu=True))
    tower = text_tower(model.state_dict())
    assert sum(p.numel() for p in tower.parameters()) == 63_428_096 and off(tower(words), model.encode_text(words)) < 1e-4

def gone(*names): return lambda w: {n: t for n, t in w.items() if n not in names}
spoilt = dict(no_norm=(gone('ln_final.bias'), CheckpointError, ['missing', 'ln_final.bias']), no_block=(gone('transformer.resblocks.1.mlp.c_fc.weight'), CheckpointError, ['resblocks.1.mlp.c_fc.weight']), no_projection=(gone('text_projection'), FabricError, ['text_projection', '()']),
              cls=(lambda w: w | dict(cls_emb=torch.ones(128)), CheckpointError, ['not in the model', 'cls_emb']), image_only=(lambda w: {n: t for n, t in w.items() if 'visual' in n}, FabricError, ['no text tower', 'whole CLIP']), nothing=(lambda w: {}, FabricError, ['no text tower']),
              shape=(lambda w: w | {'ln_final.weight': torch.ones(3)}, CheckpointError, ['ln_final.weight', '(3,)', '(128,)']), flat=(lambda w: w | {'text_projection': torch.ones(3)}, FabricError, ['(3,)', 'two sides']), nan=(lambda w: w | {'ln_final.weight': torch.full((128,), float('nan'))}, CheckpointError, ['NaN']))

@pytest.mark.parametrize('what', spoilt)
def test_spoilt_text_towers(what, clip):
    spoil, kind, parts = spoilt[what]
    with pytest.raises(kind) as e: text_tower(spoil(clip.state_dict()))
    for part in parts: assert part in str(e.value)

def test_where_weights_come_from(clip, tmp_path, monkeypatch):
    for given, why in ((False, 'names nothing'), (3, 'pretrained is 3'), ('opnai', 'choose from: openai'), ('laion2b_s34b_b79k', 'trained with GELU'), (clip.visual.state_dict(), 'no text tower')):
        with pytest.raises(FabricError, match=why): clip_tensors(given)
    with pytest.raises(FabricError, match='could not be fetched'): clip_tensors()
    save_file(clip.state_dict(), tmp_path/'hub.safetensors')
    monkeypatch.setattr(open_clip, 'download_pretrained', lambda cfg, **kwargs: str(tmp_path/'hub.safetensors'))
    assert clip_tensors().keys() == clip_tensors('openai').keys() == clip.state_dict().keys()

# ---- classes

def by_hand(clip, names, prompts=PROMPTS):
    v = torch.stack([F.normalize(clip.encode_text(tokens(*[p.format(n.replace('_', ' ')) for p in prompts])), dim=1).mean(0) for n in names])
    return v/v.norm(dim=1, keepdim=True)

@pytest.mark.once
def test_class_vectors(clip):
    want, tensors = by_hand(clip, CLASSES), clip.state_dict()
    got = class_vectors(CLASSES, tensors)
    assert got.shape == (4, 16) and got.dtype == torch.float32 and off(got, want) < 1e-5 and torch.allclose(got.norm(dim=1), torch.ones(4))
    tower = text_tower(tensors)
    assert torch.equal(class_vectors(tuple(CLASSES), tower), got) and off(class_vectors(['dress', 'hat'], tower, ['{}']), by_hand(clip, ['dress', 'hat'], ['{}'])) < 1e-5
    many = [f'thing {i}' for i in range(60)]
    assert off(class_vectors(many, tower), by_hand(clip, many)) < 1e-5
    assert off(class_vectors(['{}', 'Kleid', '\u2603 \uc6d0\ud53c\uc2a4'], tower, ['a {}!']), by_hand(clip, ['{}', 'Kleid', '\u2603 \uc6d0\ud53c\uc2a4'], ['a {}!'])) < 1e-5
    assert off(class_vectors(CLASSES[::-1], tower).flip(0), got) < 1e-5

def test_prompts():
    assert 'a photo of a {}.' in PROMPTS and len({*PROMPTS}) == len(PROMPTS) >= 3 and all(p.count('{}') == 1 for p in PROMPTS)

bad = [(dict(classes=c), 'classes are') for c in ('dress', [], ['a', 'a'], ['a', ' '], ['a', 3], [None])] + [(dict(prompts=p), 'prompts are') for p in ('a {}', [], ['a'], ['{} {}'], ['a {}', 'a {}'], [3])] + [(dict(classes=['very '*80]), 'has 8. tokens|has 9. tokens')]

@pytest.mark.parametrize('args, why', bad, ids=range(len(bad)))
def test_bad_texts(args, why, clip):
    with pytest.raises(FabricError, match=why): class_vectors(**dict(classes=CLASSES, tensors=clip.state_dict()) | args)

def test_another_tokenizer():
    small = whole(vocab_size=50, context_length=8)
    with pytest.raises(FabricError, match='knows 50 tokens'): class_vectors(CLASSES, small.state_dict())

# ---- probabilities

@torch.no_grad()
def test_probabilities_are_open_clips(clip):
    x, tensors = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3)), clip.state_dict()
    e = image_encoder('clip', tensors, n_out=16, vision=VISION)
    want = (clip.logit_scale.exp()*clip.encode_image((x - e.mean)/e.std, normalize=True) @ clip.encode_text(tokens(*[f'a photo of a {c}.' for c in ('dress', 'hat')]), normalize=True).T).softmax(1)
    got = zero_shot(e(x), class_vectors(['dress', 'hat'], tensors, ['a photo of a {}.']), clip.logit_scale.exp())
    assert torch.allclose(got, want, atol=1e-5) and want.std(0).mean() > 1e-3

@torch.no_grad()
def test_probabilities_are_transformers(theirs):
    x, tensors = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(3)), theirs.state_dict()
    e = image_encoder('clip', tensors, n_out=16, vision=VISION)
    want = theirs(input_ids=tokens(*[f'a photo of a {c}.' for c in ('dress', 'hat')]), pixel_values=(x - e.mean)/e.std).logits_per_image.softmax(1)
    got = zero_shot(e(x), class_vectors(['dress', 'hat'], tensors, ['a photo of a {}.']), theirs.logit_scale.exp())
    assert torch.allclose(got, want, atol=1e-5) and want.std(0).mean() > 1e-3

def test_zero_shot_takes_arrays_of_any_length():
    a, b = np.random.default_rng(0).normal(size=(6, 8)), np.random.default_rng(1).normal(size=(3, 8)).astype(np.float16)
    p = zero_shot(a, b, 10)
    assert p.shape == (6, 3) and torch.allclose(p.sum(1), torch.ones(6)) and torch.allclose(zero_shot(7*a, b/2, 10), p, atol=1e-3) and zero_shot(a[:0], b).shape == (0, 3)
    assert zero_shot(b, b).argmax(1).tolist() == [0, 1, 2] and zero_shot(b, b).diagonal().min() > .99

@pytest.mark.parametrize('args, why', [((np.ones((2, 960)), np.ones((3, 512))), 'two towers of one CLIP'), ((np.ones(4), np.ones((3, 4))), 'two towers'), ((np.full((2, 4), np.nan), np.ones((3, 4))), 'NaN'), ((np.ones((2, 4)), np.full((3, 4), np.inf)), 'infinite'),
                                       ((np.ones((2, 4)), np.ones((3, 4)), 0), 'scale=0'), ((np.ones((2, 4)), np.ones((3, 4)), float('nan')), 'scale=nan')])
def test_bad_vectors(args, why):
    with pytest.raises(FabricError, match=why): zero_shot(*args)
