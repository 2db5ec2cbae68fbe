"""Galata against what it was joined from: equal outputs, medians and the ratio.

    python benchmarks/galata.py [--json FILE] [--reps 9]

`dense` is the reference's way, in PyTorch's and torchvision's own layers: the outer product, nn.MultiheadAttention, nn.LayerNorm, three equal channels, MobileNetV3-small. `four` are four kostantiniyye, `galata` the same
four on one trunk, `fused` its copy for evaluation. `map_224` and `factors` are the rows of ours that shrink the map or skip it, with weights of their own. From photos, CLIP's tower stands before all of them, at its real
size with random weights: the time does not depend on them.
"""
import torch
from torch import nn
from fastcore.script import call_parse
from torchvision.models import mobilenet_v3_small
from fabric_touch.core import TOUCHES
from fabric_touch.encoders import image_encoder
from fabric_touch.galata import Galata
from fabric_touch.swatches import make_blends
from fabric_touch.touch import Recipe, touch_model
from fusion import seconds, write

class Dense(nn.Module):
    "A kostantiniyye after its encoders, densely"
    def __init__(self, model):
        super().__init__()
        self.blend_encoder, self.attention = model.blend_encoder, nn.MultiheadAttention(512, 8, batch_first=True)
        self.normalize, self.mobilenet = nn.LayerNorm(512), mobilenet_v3_small()
        self.mobilenet.classifier[3] = nn.Linear(1024, 5)
        for mine, theirs in ((self.attention, model.fusion.attention), (self.normalize, model.fusion.normalize), (self.mobilenet, model.head.mobilenet)): mine.load_state_dict(theirs.state_dict())
    def forward(self, v, blend):
        x = v[:, :, None]*self.blend_encoder(blend)[:, None]                                 # (b, 512, 512)
        x = self.normalize(self.attention(x, x, x, need_weights=False)[0])
        return self.mobilenet(x[:, None].expand(-1, 3, -1, -1))[:, None]                     # (b, 1, 5)

def lively(model, v, blend):
    "BatchNorm statistics of the map itself, as training would leave them: a fresh MobileNet answers nearly the same to everything"
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d): m.train(); m.momentum = 1.
    with torch.no_grad(): model.head(model.fusion(v, model.blend_encoder(blend)))
    return model.eval()

def models(n=16):
    "All of them, by name"
    encoder = image_encoder('clip', pretrained=False)
    v, blend = torch.randn(n, 512)*.44, torch.from_numpy(make_blends(n, seed=1))
    four = {t: lively(touch_model('kostantiniyye', encoder, t), v, blend) for t in TOUCHES}
    galata = Galata.from_models(**four)
    small = touch_model(Recipe('simple_gelu_ae', 'outer_attention_224', 'mobilenet', each=True), encoder).eval()
    return dict(dense=[Dense(m).eval() for m in four.values()], four=list(four.values()), galata=galata, fused=galata.fuse(), map_224=small.fuse(), factors=touch_model('galata_factors', encoder).eval())

def says(model, x, blend): return torch.cat([m(x, blend) for m in model], 1) if isinstance(model, list) else model(x, blend)

def row(which, x, blend, reps):
    "Times, and how far the logits of the same four models are apart"
    with torch.no_grad():
        out = {k: says(m, x, blend) for k,m in which.items()}
        ms = {k: round(1e3*seconds(lambda m=m: says(m, x, blend), reps), 1) for k,m in which.items()}
    same = [k for k in out if k in ('dense', 'four', 'galata', 'fused')]
    first = out[same[0]]
    return dict(ms=ms, ratio={k: round(ms[same[0]]/t, 1) for k,t in ms.items()}, logits_apart=max((out[k]-first).abs().max().item() for k in same), spread_of_logits=first.std().item(),
                same_levels=all(torch.equal(out[k].argmax(-1), first.argmax(-1)) for k in same))

@call_parse
def main(
    json:str=None, # Write the table here
    reps:int=9, # Repetitions; the median counts
):
    "Time Galata against the models it was joined from"
    torch.manual_seed(0)
    every, rows = models(), []
    for what, shape, names in (('stored vectors', (512,), [*every]), ('photos', (3, 224, 224), ['four', 'galata', 'fused'])):
        for b in (1, 8):
            x = torch.randn(b, *shape)*.44 if what == 'stored vectors' else torch.rand(b, *shape)
            rows.append(dict(what=what, batch=b) | row({k: every[k] for k in names}, x, torch.from_numpy(make_blends(b, seed=0)), reps))
            print('{what}, batch {batch}: {ms}  ratio {ratio}  logits {logits_apart:.0e} apart of {spread_of_logits:.1e}, same levels: {same_levels}'.format(**rows[-1]), flush=True)
    write(json, rows)
