"Checkpoints of the reference, written by plain torch modules at full shapes, give the same predictions here; and Galata joins four models."
import copy

import numpy as np, pytest, torch
from PIL import Image
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_small

from fabric_touch.checkpoints import CheckpointError, load_weights
from fabric_touch.core import TOUCHES, FabricError
from fabric_touch.data import Target
from fabric_touch.encoders import image_encoder
from fabric_touch.fusion import OuterAttention
from fabric_touch.galata import Galata, load_reference, reference_state
from fabric_touch.swatches import make_blends
from fabric_touch.touch import TouchModel, VectorsOnly, load_touch, predict_touch, save_touch, touch_model

pytestmark = pytest.mark.once

# ---- the reference's models, from the facts alone

def mobilenet(n_out=5):
    net = mobilenet_v3_small()
    net.classifier[3] = nn.Linear(1024, n_out)
    return net

class Classifier(nn.Module):
    def __init__(self): super().__init__(); self.mobilenet = mobilenet()
    def forward(self, x): return self.mobilenet(x)

def portion(norm): return nn.Sequential(nn.Linear(12, 1024), norm(1024), nn.GELU(), nn.Linear(1024, 512), norm(512), nn.GELU())

class Branch(nn.Module):
    "What one touch has of its own in kostantiniyye and galata"
    def __init__(self):
        super().__init__()
        self.attention, self.normalize, self.classifier = nn.MultiheadAttention(512, 8), nn.LayerNorm(512), Classifier()
    def read(self, outer):                                                    # (b, 512, 512) -> (b, 5)
        rows = outer.transpose(0, 1)                                          # (rows, b, 512): the attention is over rows
        x = self.normalize(self.attention(rows, rows, rows)[0].transpose(0, 1))
        return self.classifier(x[:, None].repeat(1, 3, 1, 1))

class Trunk(nn.Module):
    def outer(self, v, blend): return torch.einsum('bi,bj->bij', v, self.encoder_normalize(self.portion_encoder(blend)))
    def make(self): self.portion_encoder, self.encoder_normalize = portion(nn.LayerNorm), nn.LayerNorm(512)

class Kostantiniyye(Branch, Trunk):
    def __init__(self): super().__init__(); self.make()
    def forward(self, v, blend): return self.read(self.outer(v, blend))[:, None]

class GalataReference(Trunk):
    def __init__(self):
        super().__init__()
        self.make()
        for t in TOUCHES: setattr(self, t, Branch())
    def forward(self, v, blend):
        outer = self.outer(v, blend)
        return torch.stack([getattr(self, t).read(outer) for t in TOUCHES], 1)

class Venezia(nn.Module):
    def __init__(self):
        super().__init__()
        self.polling, self.linear, self.classifier_ = nn.Bilinear(512, 12, 512), nn.Linear(512, 1024), Classifier()
        self.midprocessor = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    def forward(self, v, blend):
        x = self.linear(self.polling(v, blend)).view(-1, 1, 32, 32)
        return self.classifier_(self.midprocessor(x))[:, None]

class Constantinople(nn.Module):
    def __init__(self):
        super().__init__()
        self.portion_encoder, self.polling = portion(nn.BatchNorm1d), nn.Bilinear(512, 512, 512)
        self.touch_decoder = nn.Sequential(nn.Linear(512, 1024), nn.BatchNorm1d(1024), nn.GELU(), nn.Linear(1024, 4), nn.BatchNorm1d(4), nn.ReLU())
    def mid(self, x): return x
    def forward(self, v, blend): return self.touch_decoder(self.mid(self.polling(v, self.portion_encoder(blend))))

class ConstantinopleV2(Constantinople):
    def __init__(self):
        super().__init__()
        self.midprocess = nn.Sequential(nn.Dropout(.5), nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU())
    def mid(self, x): return self.midprocess(x)

MODELS = dict(kostantiniyye=Kostantiniyye, galata=GalataReference, venezia=Venezia, constantinople=Constantinople, constantinople_v2=ConstantinopleV2)
ONE_TOUCH = ('kostantiniyye', 'venezia')

# ---- encoders, from the facts alone

class QuickGELU(nn.Module):
    def forward(self, x): return x*torch.sigmoid(1.702*x)

class Block(nn.Module):
    "A pre-norm block under OpenAI's names"
    def __init__(self, width, heads):
        super().__init__()
        self.attn, self.ln_1, self.ln_2 = nn.MultiheadAttention(width, heads), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        for k,m in dict(c_fc=nn.Linear(width, 4*width), gelu=QuickGELU(), c_proj=nn.Linear(4*width, width)).items(): self.mlp.add_module(k, m)
    def forward(self, x):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))

class Clip(nn.Module):
    "CLIP's ViT-B/32 image tower under OpenAI's names"
    def __init__(self, width=768, layers=12, heads=12, patch=32, size=224, n_out=512):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width)*width**-.5)
        self.positional_embedding = nn.Parameter(torch.randn((size//patch)**2+1, width)*width**-.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(*[Block(width, heads) for _ in range(layers)])
        self.proj = nn.Parameter(torch.randn(width, n_out)*width**-.5)
    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer.resblocks(self.ln_pre(x).transpose(0, 1)).transpose(0, 1)
        return self.ln_post(x[:, 0]) @ self.proj

MEAN, STD = torch.tensor([.48145466, .4578275, .40821073]).view(3, 1, 1), torch.tensor([.26862954, .26130258, .27577711]).view(3, 1, 1)

# ---- weights that make a wrong map visible

BATCHNORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

def lively(net, *batch):
    "Wide weights, random biases and norms, BatchNorm statistics from one batch"
    for m in net.modules():
        for k,w in m.named_parameters(recurse=False):
            if w.ndim > 1: nn.init.kaiming_normal_(w)
            else: nn.init.normal_(w, 1. if isinstance(m, (nn.LayerNorm, *BATCHNORMS)) and k == 'weight' else 0., .2)
        if isinstance(m, BATCHNORMS): m.momentum = 1.
    with torch.no_grad(): net.train()(*batch)
    return net.eval()

def vectors(b=6, seed=0):
    dice = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(b, 512, generator=dice), dim=1)*10, torch.from_numpy(make_blends(b, seed))

@pytest.fixture(scope='module', params=MODELS)
def saved(request, tmp_path_factory):
    "(model's name, plain module, file)"
    torch.manual_seed(0)
    net = lively(MODELS[request.param](), *vectors())
    file = tmp_path_factory.mktemp('reference')/f'{request.param}.pth'
    torch.save(net.state_dict(), file)
    yield request.param, net, file
    file.unlink()

def same(theirs, ours):
    "Equal to a thousandth of how much the outputs vary over the fabrics"
    spread = theirs.std(0).mean()
    assert theirs.shape == ours.shape and spread > 1e-3 and (theirs.std(0) > 0).float().mean() >= .5, 'the outputs hardly vary, so a wrong map would pass'
    assert (theirs-ours).abs().max() < 1e-3*spread, f'{(theirs-ours).abs().max():.2g} of {spread:.2g}'

def touch_of(name): return 'smoothness' if name in ONE_TOUCH else None

# ---- reading

@pytest.mark.once
def test_same_predictions_from_vectors(saved, tmp_path):
    name, net, file = saved
    ours, (v, blend) = load_reference(file, encoder=512, touch=touch_of(name)), vectors(seed=1)
    assert ours.recipe == name and not ours.training
    with torch.no_grad():
        theirs, out = net(v, blend), ours.from_vectors(v, blend)
        same(theirs, out)
        assert out.shape == ((6, 4) if name.startswith('constantinople') else (6, 1, 5) if name in ONE_TOUCH else (6, 4, 5))
        again = load_touch(save_touch(ours, tmp_path/'model', data='random'))
        assert torch.equal(again.from_vectors(v, blend), out)

def test_the_arguments_that_the_file_does_not_hold(saved):
    name, _, file = saved
    with pytest.raises(FabricError, match="encoder='clip'.*encoder='imagebind'"): load_reference(file, touch=touch_of(name))
    with pytest.raises(FabricError, match="gives 100"): load_reference(file, encoder=100, touch=touch_of(name))
    with pytest.raises(FabricError, match="choose from: clip, imagebind"): load_reference(file, encoder='resnet18', touch=touch_of(name))
    if name in ONE_TOUCH:
        with pytest.raises(FabricError, match="touch='softness'"): load_reference(file, encoder=512)
        with pytest.raises(FabricError, match='choose from: softness'): load_reference(file, encoder=512, touch='warmth')
    else:
        with pytest.raises(FabricError, match='leave touch='): load_reference(file, encoder=512, touch='softness')

@pytest.mark.parametrize('name', ['kostantiniyye', 'venezia'])
@pytest.mark.parametrize('wrap', [lambda s: dict(epoch=3, state_dict=s), lambda s: dict(model=s), lambda s: {f'module.{k}': w for k,w in s.items()}, lambda s: dict(net=s), lambda s: {f'model._orig_mod.{k}': w for k,w in s.items()},
                                  lambda s: {k: w for k,w in s.items() if 'num_batches' not in k}, lambda s: {k: w.half() if w.is_floating_point() else w for k,w in s.items()}],
                         ids=['state_dict', 'model', 'DataParallel', 'net', 'Lightning, compiled', 'no counters', 'half'])
def test_wrapped(name, wrap, tmp_path):
    net = lively(MODELS[name](), *vectors())
    torch.save(wrap(net.state_dict()), tmp_path/'w.pth')
    if wrap(dict(a=torch.zeros(1))).get('a', torch.zeros(1)).dtype == torch.half: net = net.half().float()
    with torch.no_grad(): same(net(*vectors(seed=1)), load_reference(tmp_path/'w.pth', 512, 'softness').from_vectors(*vectors(seed=1)))

def test_damaged_files(tmp_path):
    state, file = Venezia().state_dict(), tmp_path/'venezia.pth'
    def read(s): torch.save(s, file); return load_reference(file, 512, 'softness')
    with pytest.raises(CheckpointError, match='venezia.*missing: .fusion.linear.bias'): read({k: w for k,w in state.items() if k != 'linear.bias'})
    with pytest.raises(CheckpointError, match="not in the model: 'spare.weight'"): read(state | {'spare.weight': torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r'shape \(512, 512, 11\)'): read(state | {'polling.weight': torch.zeros(512, 512, 11)})
    with pytest.raises(CheckpointError, match='NaN'): read(state | {'linear.bias': torch.full((1024,), float('nan'))})
    with pytest.raises(CheckpointError, match='not a reference checkpoint.*its names begin with classifier, features'): read(mobilenet().state_dict())
    with pytest.raises(CheckpointError, match='no such file|No such file'): load_reference(tmp_path/'lost.pth', 512, 'softness')

# ---- with the encoder in the file, or beside it

@pytest.fixture(scope='module')
def clip():
    torch.manual_seed(1)
    tower = Clip()
    with torch.no_grad():
        for k,w in tower.named_parameters():
            if w.ndim == 1: w.add_(torch.randn_like(w)*.1)
    return tower.eval()

def photos(b=5):
    dice = np.random.default_rng(0)
    return [Image.fromarray(dice.integers(0, 255, (224, 224, 3), dtype=np.uint8)//(k+1)) for k in range(b)]

def pixels(imgs): return torch.stack([torch.from_numpy(np.array(i)).permute(2, 0, 1)/255 for i in imgs])

@pytest.mark.parametrize('prefix', ['image_encoder.', 'image_encoder.visual.', 'image_encoder.model.visual.'])
@pytest.mark.once
def test_clip_in_the_file(clip, prefix, tmp_path):
    x, (_, blend) = pixels(photos()), vectors(5, seed=2)
    with torch.no_grad(): v = clip((x-MEAN)/STD)
    net = lively(Venezia(), v, blend)
    text = {'image_encoder.logit_scale': torch.tensor(4.6)} | ({prefix[:-7] + 'text_projection': torch.zeros(512, 512), prefix[:-7] + 'positional_embedding': torch.zeros(77, 512)} if 'visual' in prefix else {})
    torch.save(net.state_dict() | {prefix + k: w for k,w in clip.state_dict().items()} | text, tmp_path/'venezia.pth')
    ours = load_reference(tmp_path/'venezia.pth', touch='softness')
    assert ours.encoder.name == 'clip'
    with torch.no_grad():
        theirs = net(v, blend)
        same(theirs, ours(x, blend))
        pred = predict_touch(photos()[1], blend[1].numpy(), ours)
        np.testing.assert_allclose(pred.probs[0], theirs[1, 0].softmax(0), atol=1e-3)
        assert pred.indices == (int(theirs[1, 0].argmax()),)
    for other in ('imagebind', ours.encoder):
        with pytest.raises(FabricError, match="an image encoder of its own, 'clip'.*leave it out, or give encoder=512"): load_reference(tmp_path/'venezia.pth', other, 'softness')
    assert isinstance(load_reference(tmp_path/'venezia.pth', 512, 'softness').encoder, VectorsOnly)

@pytest.mark.once
def test_clip_beside_the_file(clip, tmp_path):
    x, (_, blend) = pixels(photos()), vectors(5, seed=2)
    tower = copy.deepcopy(clip).half()
    torch.save({f'visual.{k}': w for k,w in tower.state_dict().items()}, tmp_path/'clip.pth')
    with torch.no_grad(): v = tower.float()((x-MEAN)/STD)
    net = lively(Kostantiniyye(), v, blend)
    torch.save(net.state_dict(), tmp_path/'k.pth')
    ours = load_reference(tmp_path/'k.pth', image_encoder('clip', pretrained=tmp_path/'clip.pth'), 'thickness')
    with torch.no_grad(): same(net(v, blend), b := ours(x, blend))
    again = load_touch(save_touch(ours, tmp_path/'model'))
    with torch.no_grad(): assert torch.equal(again(x, blend), b)

def test_an_encoder_by_name_is_fetched_when_it_is_needed(clip, tmp_path, monkeypatch):
    "Vectors need none; a photo does, and so does saving"
    x, blend = pixels(photos()), vectors(5, seed=2)[1]
    with torch.no_grad(): v = clip((x-MEAN)/STD)
    net = lively(Venezia(), v, blend)
    torch.save(net.state_dict(), tmp_path/'v.pth')
    monkeypatch.setattr('fabric_touch.encoders._published', lambda row, tag: (_ for _ in ()).throw(FabricError('could not be fetched')))
    ours = load_reference(tmp_path/'v.pth', 'clip', 'softness')
    with torch.no_grad(): same(net(v, blend), ours.from_vectors(v, blend))
    for call in (lambda: predict_touch(photos()[0], '100% cotton', ours), lambda: save_touch(ours, tmp_path/'m'), lambda: ours(torch.rand(1, 3, 224, 224), torch.eye(12)[:1])):
        with pytest.raises(FabricError, match='could not be fetched'): call()
    assert ours.encoder.name == 'clip' and not (tmp_path/'m').exists()
    monkeypatch.setattr('fabric_touch.encoders._published', lambda row, tag: clip.state_dict())
    with torch.no_grad(): same(net(v, blend), ours(x, blend))
    assert load_touch(save_touch(ours, tmp_path/'m')).encoder.licence == 'MIT'

class Stem(nn.Module):
    def __init__(self, width, patch): super().__init__(); self.proj = nn.Sequential(nn.Identity(), nn.Conv3d(3, width, (2, patch, patch), (2, patch, patch), bias=False))
    def forward(self, x): return self.proj(x)

class ImageBindBlock(nn.Module):
    "A pre-norm block under ImageBind's names"
    def __init__(self, width, heads):
        super().__init__()
        self.attn, self.norm_1, self.norm_2 = nn.MultiheadAttention(width, heads, batch_first=True), nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, 4*width), nn.Linear(4*width, width)
    def forward(self, x):
        h = self.norm_1(x)
        x = x + self.attn(h, h, h, need_weights=False)[0]
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm_2(x))))

class ImageBindTower(nn.Module):
    "ImageBind's vision tower cut out, under its names without `.vision`"
    def __init__(self, width=1280, layers=32, heads=16, patch=14, size=224, n_out=512):
        super().__init__()
        self.modality_preprocessors, self.modality_trunks = nn.Module(), nn.Module()
        pre, n = self.modality_preprocessors, (size//patch)**2
        pre.cls_token, pre.pos_embedding_helper, pre.rgbt_stem = nn.Parameter(torch.randn(1, 1, width)*.1), nn.Module(), Stem(width, patch)
        pre.pos_embedding_helper.pos_embed = nn.Parameter(torch.randn(1, 1+n, width)*.1)
        self.modality_trunks.pre_transformer_layer = nn.Sequential(nn.LayerNorm(width, eps=1e-6))
        self.modality_trunks.blocks = nn.Sequential(*[ImageBindBlock(width, heads) for _ in range(layers)])
        self.modality_heads = nn.Sequential(nn.LayerNorm(width, eps=1e-6), nn.Identity(), nn.Linear(width, n_out, bias=False))
    def forward(self, x):
        pre = self.modality_preprocessors
        x = pre.rgbt_stem(torch.stack([x, x], 2)).flatten(2).transpose(1, 2)                    # (b, 3, 2, h, w): the frame twice in time
        x = torch.cat([pre.cls_token.expand(len(x), -1, -1), x], 1) + pre.pos_embedding_helper.pos_embed
        x = self.modality_trunks.blocks(self.modality_trunks.pre_transformer_layer(x))
        return F.normalize(self.modality_heads(x[:, 0]), dim=1)

def imagebind_in_the_file(tmp_path, model, vision, b=5, **sizes):
    torch.manual_seed(2)
    size = sizes.get('size', 224)
    tower = ImageBindTower(**sizes).eval()
    with torch.no_grad():
        for k,w in tower.named_parameters():
            if w.ndim == 1: w.add_(torch.randn_like(w)*.1)
        x, blend = torch.rand(b, 3, size, size), vectors(b, seed=2)[1]
        v = tower((x-MEAN)/STD)
        v = v[:, :512]
        net = lively(MODELS[model](), v*22, blend)                                             # as long as other vectors, so that BatchNorm has something to see
        theirs = net(v, blend)
    torch.save(net.state_dict() | {f'image_encoder.{k}': w for k,w in tower.state_dict().items()}, tmp_path/'m.pth')
    del tower
    ours = load_reference(tmp_path/'m.pth', touch=touch_of(model))
    assert ours.encoder.name == 'imagebind' and ours.encoder.args['vision'] == vision and ours.encoder.licence == 'CC-BY-NC-SA-4.0'
    with torch.no_grad(): same(theirs, ours(x, blend))
    return ours, x, blend

@pytest.mark.parametrize('model', MODELS)
@pytest.mark.once
def test_a_small_imagebind_in_the_file(model, tmp_path):
    vision = dict(image_size=28, patch_size=14, width=160, layers=3, heads=2)
    ours, x, blend = imagebind_in_the_file(tmp_path, model, vision, width=160, layers=3, heads=2, size=28)
    again = load_touch(save_touch(ours, tmp_path/'model'))
    with torch.no_grad(): assert torch.equal(again(x, blend), ours(x, blend))
    assert again.encoder.licence == ours.encoder.licence and again.encoder.id == ours.encoder.id
    if model.startswith('constantinople'): return                          # half a gigabyte each: what follows is shown by the others
    with pytest.raises(FabricError, match="read as 'imagebind'.*missing.*encoder=512 leaves it out"):
        state = {k: w for k,w in torch.load(tmp_path/'m.pth').items() if not k.startswith('image_encoder.modality_heads')}
        torch.save(state, tmp_path/'n.pth'); load_reference(tmp_path/'n.pth', touch=touch_of(model))

def test_an_imagebind_of_another_width(tmp_path):
    with pytest.raises(FabricError, match='takes? image vectors of 512 numbers.*gives 1024'):
        imagebind_in_the_file(tmp_path, 'kostantiniyye', None, width=160, layers=1, heads=2, size=28, n_out=1024)

@pytest.mark.parametrize('encoder', [512., [], {'conv1.weight': torch.zeros(3)}, nn.Linear(3, 512), 'resnet10t'], ids=['float', 'list', 'dict', 'module', 'resnet10t'])
def test_an_encoder_that_it_cannot_be(encoder, tmp_path):
    torch.save(Venezia().state_dict(), tmp_path/'v.pth')
    if encoder == 'resnet10t': encoder = image_encoder(encoder, pretrained=False)
    with pytest.raises(FabricError, match='an encoder is a name|was trained on clip or imagebind, not on .resnet10t'): load_reference(tmp_path/'v.pth', encoder, 'softness')

@pytest.mark.stress
def test_the_whole_imagebind_in_the_file(tmp_path):
    imagebind_in_the_file(tmp_path, 'galata', dict(image_size=224, patch_size=14, width=1280, layers=32, heads=16), b=3)

# ---- four models, one trunk

@pytest.fixture(scope='module')
def four():
    torch.manual_seed(0)
    return {t: touch_model('kostantiniyye', 24, t).eval() for t in TOUCHES}

def lively_model(m, n=24):
    v, blend = torch.randn(8, n), torch.from_numpy(make_blends(8, 3))
    for b in m.modules():
        if isinstance(b, BATCHNORMS): b.train(); b.momentum = 1.
    with torch.no_grad(): m.from_vectors(v, blend)
    return m.eval()

def exactly(*models):
    "Without tables in the outer attention"
    for m in models:
        for a in m.modules():
            if isinstance(a, OuterAttention): a.exact = True
    return models[0]

@pytest.mark.parametrize('recipe', ['kostantiniyye', 'kostantiniyye_as_ran', 'mlb', 'venezia', 'constantinople', 'constantinople_levels'])
def test_joined_models_say_what_they_said(recipe, tmp_path):
    torch.manual_seed(0)
    models = {t: lively_model(touch_model(recipe, 24, t)) for t in TOUCHES}
    v, blend = torch.randn(5, 24), torch.from_numpy(make_blends(5, 4))
    exactly(*models.values())                                                                  # four tables of s and one for all four differ in rounding
    galata = Galata.from_models(**dict(reversed(models.items())))                              # in any order
    with torch.no_grad():
        want = torch.cat([m.from_vectors(v, blend) for m in models.values()], 1)
        assert torch.equal(galata.from_vectors(v, blend), want) and [t.name for t in galata.targets] == list(TOUCHES)
        again = load_touch(save_touch(galata, tmp_path/'g'))
        torch.testing.assert_close(again.from_vectors(v, blend), want, rtol=1e-5, atol=1e-6)   # with its table
        assert torch.equal(exactly(again).from_vectors(v, blend), want) and again.recipe == ('galata' if 'kostan' in recipe else 'own')
    with torch.no_grad():
        for p in models['softness'].parameters(): p.zero_()
        assert torch.equal(galata.from_vectors(v, blend), want)                                # it has weights of its own

def test_dropout_or_not_may_be_joined(four):
    torch.manual_seed(0)
    m = touch_model('kostantiniyye_as_meant', 24, 'thickness').eval()
    assert Galata.from_models(**four | dict(thickness=m)).recipe == 'galata'

def test_from_folders_and_temperatures(four, tmp_path):
    models = {t: copy.deepcopy(m) for t,m in four.items()}
    models['smoothness'].temperature = [1.5]
    folders = {t: save_touch(m, tmp_path/t) for t,m in models.items()}
    galata = Galata.from_models(**folders)
    assert galata.temperature == [1., 1.5, 1., 1.]
    assert len(Galata.from_models(softness=four['softness'], warmth=touch_model('kostantiniyye', 24, 'warmth')).targets) == 2

def test_galata_does_not_train(four):
    galata = Galata.from_models(**four)
    assert not any(m.training for m in galata.modules())
    for call in (galata.train, lambda: galata.train(True)):
        with pytest.raises(FabricError, match=r"touch_learner\(dls, 'galata'\)"): call()
    assert galata.eval() is galata and not any(m.training for m in galata.modules())

def test_galata_in_a_learner_says_what_to_do(four):
    from fastai.learner import Learner
    from fabric_touch.data import array_dls
    from fabric_touch.train import TouchLoss, fit_learner
    galata, dice = Galata.from_models(**four), np.random.default_rng(0)
    dls = array_dls([dice.normal(size=(8, 24)), make_blends(8, 0), dice.dirichlet(np.ones(5), (8, 4))], (np.arange(6), np.arange(6, 8)), bs=3)
    for make in (Learner, fit_learner):
        learn = make(dls, galata, TouchLoss(TOUCHES))
        with learn.no_bar(), pytest.raises(FabricError, match=r"touch_learner\(dls, 'galata'\)"): learn.fit(1)

@pytest.mark.parametrize('levels', [3, 6, 7, 0])
def test_other_numbers_of_levels_are_not_joined(levels):
    models = dict(softness=touch_model('mlb', 8, 'softness'), warmth=touch_model('mlb', 8, Target('warmth', levels)))
    with pytest.raises(FabricError, match=f'warmth has {levels} levels and softness has 5'): Galata.from_models(**models)

def other(four, **changes):
    m = copy.deepcopy(four['thickness'])
    with torch.no_grad(): m.get_parameter('blend_encoder.encoder.3.bias')[7] += 1e-4
    return m

def test_trunks_that_differ(four):
    swatch, again = image_encoder('swatch'), image_encoder('swatch', pretrained=False)
    cases = {"blend_encoders differ in 'encoder.3.bias'": other(four), 'encoders differ in name vectors and swatch|encoders differ in name swatch and vectors': touch_model('kostantiniyye', swatch, 'thickness'),
             'encoders differ in n_out': touch_model('kostantiniyye', 25, 'thickness'), 'only models of one recipe': touch_model('mlb', 24, 'thickness'),
             'learned stand-ins': touch_model('mlb_either', 24, 'thickness'), 'thickness is given a model that predicts softness': four['softness'], 'thickness is a Linear': nn.Linear(3, 2)}
    for words, m in cases.items():
        with pytest.raises(FabricError, match=words): Galata.from_models(**four | dict(thickness=m))
    with pytest.raises(FabricError, match='different trunks: their encoders differ in .body'):
        Galata.from_models(softness=touch_model('kostantiniyye', swatch, 'softness'), thickness=touch_model('kostantiniyye', again, 'thickness'))
    with pytest.raises(FabricError, match='no models are given'): Galata.from_models()
    with pytest.raises(FabricError, match='warmth'): Galata.from_models(warmth=four['softness'])
