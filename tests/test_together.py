"Fold models evaluated together: the same answers whatever the way, nothing shared that should not be, and errors that say what to do."
import copy, json, os, subprocess, sys
from functools import lru_cache
from pathlib import Path

import pytest, torch
from torch import nn
from fabric_touch.checkpoints import load_checkpoint, save_checkpoint
from fabric_touch.core import FabricError, seeded
from fabric_touch.together import AUTO, WAYS, Together, mean_probs, way_gaps, with_flip

pytestmark = pytest.mark.once

timm = pytest.importorskip('timm')
SKETCH = Path(__file__).resolve().parents[1]/'benchmarks'/'sketch.py'
ARCHS = dict(test_resnet={}, test_efficientnet={}, test_efficientnet_gn={}, test_convnext3={}, test_byobnet={}, test_nfnet={}, test_vit2=dict(img_size=64), test_mambaout={})

def models_of(arch, n=3, **kwargs): return copy.deepcopy(made(arch, n, **kwargs))

@lru_cache
@torch.no_grad()
def made(arch, n, seed=0, **kwargs):
    "Fold models as training would leave them: no branch switched off by a weight of 0, BatchNorms that have seen something"
    with seeded(seed):
        models = [timm.create_model(arch, num_classes=5, **kwargs) for _ in range(n)]
        for m in models:
            for p in m.parameters():
                if p.min() == p.max(): p.add_(.02*torch.randn_like(p))
            for o in m.modules():
                if isinstance(o, nn.BatchNorm2d): o.momentum = .5
            m.train()(torch.randn(4, 3, 64, 64))
    return [m.eval() for m in models]

def pictures(b=2, size=64, seed=1):
    with seeded(seed): return torch.randn(b, 3, size, size)

@torch.no_grad()
def plain(models, x): return torch.stack([m(x) for m in models])

def tiny(*logits): return Fixed(*logits).eval()

class Fixed(nn.Module):
    def __init__(self, *logits): super().__init__(); self.logits = nn.Parameter(torch.tensor(logits))
    def forward(self, x): return self.logits.expand(len(x), -1)


@pytest.mark.parametrize('arch', ARCHS)
def test_every_way_gives_what_the_plain_loop_gives(arch):
    models, x = models_of(arch, **ARCHS[arch]), pictures()
    gaps = way_gaps(models, x)
    assert set(gaps) == set(WAYS) and max(gaps.values()) <= 1e-5, gaps
    out = plain(models, x)
    assert out.std(1).mean() > 1e4*max(gaps.values()) and all((a - b).abs().max() > .01 for a, b in zip(out, out[1:]))     # what mixed up two pictures or models would be seen

@pytest.mark.parametrize('how', WAYS)
def test_trained_batchnorm_statistics_are_those_of_each_model(how):
    models, x = models_of('test_resnet', 2), pictures(3)
    for m, scale in zip(models, (1, 4)):
        for k, b in m.named_buffers():
            if k.endswith('running_var'): b.mul_(scale)
    assert torch.allclose(Together(copy.deepcopy(models), how)(x), plain(models, x), atol=1e-5)

@pytest.mark.parametrize('how', WAYS)
@pytest.mark.parametrize('b, n', [(1, 1), (1, 3), (5, 1)])
def test_one_picture_and_one_model_are_enough(how, b, n):
    models = models_of('test_efficientnet', n)
    x = pictures(b)
    assert torch.allclose(Together(copy.deepcopy(models), how)(x), plain(models, x), atol=1e-5)

@pytest.mark.parametrize('how', WAYS)
def test_what_is_said_of_a_picture_does_not_hang_on_its_neighbours(how):
    together, x = Together(models_of('test_resnet'), how), pictures(6)
    assert torch.allclose(together(x)[:, 4:5], together(x[4:5]), atol=1e-5)

@pytest.mark.parametrize('how', WAYS)
def test_an_answer_needs_no_gradient_and_draws_nothing(how):
    together, x = Together(models_of('test_resnet'), how), pictures()
    before = torch.random.get_rng_state()
    out = together(x)
    assert not out.requires_grad and torch.equal(before, torch.random.get_rng_state()) and torch.equal(out, together(x))

@pytest.mark.parametrize('how', WAYS)
def test_tied_weights_stay_tied(how):
    class Tied(nn.Module):
        def __init__(self): super().__init__(); self.a, self.b = nn.Linear(12, 12), nn.Linear(12, 12); self.b.weight = self.a.weight
        def forward(self, x): return self.b(self.a(x.flatten(1)))
    with seeded(0): models = [Tied().eval() for _ in range(3)]
    assert torch.allclose(Together(models, how)(x := pictures(2, 2)), plain(models, x), atol=1e-6)

@pytest.mark.parametrize('how', WAYS)
def test_other_types_of_numbers(how):
    models = [m.double() for m in models_of('test_resnet', 2)]
    x = pictures().double()
    assert (Together(models, how)(x) - plain(models, x)).abs().max() < 1e-10
    assert mean_probs(Together(models, how), x).dtype == torch.float32

def test_bf16_comes_back_as_probabilities_in_32_bits():
    models = [m.bfloat16() for m in models_of('test_resnet', 2)]
    probs = mean_probs(Together(models, 'loop'), pictures().bfloat16())
    assert probs.dtype == torch.float32 and torch.allclose(probs.sum(1), torch.ones(2), atol=1e-6)

def test_what_moves_moves_whole():
    for how in WAYS:
        together = Together(models_of('test_resnet', 2), how).double()
        assert {t.dtype for t in [*together.parameters(), *together.buffers()] if t.is_floating_point()} == {torch.float64}
        assert together(pictures().double()).dtype == torch.float64

def test_the_models_are_kept_by_vmap_as_they_were():
    models = models_of('test_resnet', 2)
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    together = Together(models, 'vmap')
    out = together(pictures())
    for m, was in zip(models, before):
        for k, v in m.state_dict().items(): assert torch.equal(v, was[k])
        m.fc.weight.data.zero_()
    assert torch.equal(together(pictures()), out)                             # it has a copy

def test_channels_last_changes_the_order_in_memory_only():
    models = models_of('test_resnet', 2)
    before = [{k: v.clone() for k, v in m.state_dict().items()} for m in models]
    Together(models, 'channels_last')(pictures())
    assert models[0].conv1[0].weight.is_contiguous(memory_format=torch.channels_last)
    for m, was in zip(models, before): assert all(torch.equal(v, was[k]) for k, v in m.state_dict().items())

def test_auto_is_a_way_that_was_measured(monkeypatch):
    assert set(AUTO.values()) <= set(WAYS)
    assert Together(models_of('test_resnet', 2)).how == AUTO['cpu']
    monkeypatch.delitem(AUTO, 'cpu')
    assert Together(models_of('test_resnet', 2)).how == 'loop'
    assert Together([nn.Flatten().eval()]).how == 'loop'                      # no weights, so no device

def test_a_new_way_is_a_row(monkeypatch):
    monkeypatch.setitem(WAYS, 'backwards', lambda models: WAYS['loop'](models[::-1]))
    models, x = models_of('test_resnet'), pictures()
    assert torch.allclose(Together(models, 'backwards')(x), plain(models, x).flip(0), atol=1e-6)


# ---- what cannot be evaluated together

def wrong_width(): return [*models_of('test_resnet', 2), timm.create_model('test_resnet', num_classes=6).eval()], 'model 2 is not built as model 0'
def wrong_arch(): return [*models_of('test_resnet', 1), *models_of('test_efficientnet', 1)], 'are members of their own'
def wrong_setting(): return [nn.Sequential(nn.BatchNorm2d(3, eps=e)).eval() for e in (1e-5, 1e-3)], 'eps=0.001'
def wrong_stride(): return [nn.Sequential(nn.Conv2d(3, 2, 3, stride=s)).eval() for s in (1, 2)], 'stride=(2, 2)'
def more_parts(): return [nn.Sequential(nn.Flatten()).eval(), nn.Sequential(nn.Flatten(), nn.Flatten()).eval()], 'model 1 is not built as model 0'
def other_numbers(): return [nn.Linear(2, 2).eval(), nn.Linear(2, 2).half().eval()], 'float16'
def other_device(): return [nn.Linear(2, 2).eval(), nn.Linear(2, 2, device='meta').eval()], 'on meta'
def in_training(): return [m.train() for m in models_of('test_resnet', 2)], 'model 0 is in training mode; call .eval() on it'
def one_part(): return [(m := models_of('test_resnet', 1)[0]), (lambda o: (o.layer2[0].bn1.train(), o)[1])(copy.deepcopy(m))], 'model 1 is in training mode in its part layer2.0.bn1'
def none(): return [], 'models are no list of networks'
def no_list(): return models_of('test_resnet', 1)[0], 'models are no list of networks'
def names(): return ['test_resnet'], 'models are no list of networks'
def nothing(): return None, 'models are no list of networks'

@pytest.mark.parametrize('case', [wrong_width, wrong_arch, wrong_setting, wrong_stride, more_parts, other_numbers, other_device, in_training, one_part, none, no_list, names, nothing])
@pytest.mark.parametrize('how', WAYS)
def test_what_cannot_stand_together(case, how):
    models, says = case()
    with pytest.raises(FabricError) as e: Together(models, how)
    assert says in str(e.value)

@pytest.mark.parametrize('how', ['', 'stack', None, 3, ['loop']])
def test_ways_that_are_none(how):
    with pytest.raises(FabricError, match='unknown way .* choose from: auto, loop, channels_last, vmap'): Together(models_of('test_resnet', 1), how)

@pytest.mark.parametrize('x', [torch.zeros(3, 8, 8), torch.zeros(1, 1, 3, 8, 8), torch.zeros(4), None, [1, 2], 'x.jpg'])
@pytest.mark.parametrize('how', WAYS)
def test_pictures_that_are_none(x, how):
    with pytest.raises(FabricError, match=r'give a tensor \(b, 3, h, w\)'): Together(models_of('test_resnet', 1), how)(x)

class Gives(nn.Module):
    "A model that gives something else than logits"
    def __init__(self, f): super().__init__(); self.f, self.w = f, nn.Parameter(torch.ones(1))
    def forward(self, x): return self.f(x*self.w)

@pytest.mark.parametrize('f, says', [(lambda x: (x.mean((2, 3)),), 'a model gave tuple for 2 pictures'), (lambda x: dict(logits=x), 'a model gave dict'), (lambda x: x.mean((1, 2, 3)), 'a model gave (2,)'),
                                     (lambda x: x, 'a model gave (2, 3, 64, 64)'), (lambda x: x.mean((2, 3))[:1], 'a model gave (1, 3)'), (lambda x: None, 'a model gave NoneType')])
@pytest.mark.parametrize('how', WAYS)
def test_models_that_give_no_logits(f, says, how):
    models = [Gives(f).eval(), Gives(f).eval()]
    with pytest.raises(FabricError) as e: Together(models, how)(pictures())
    assert says in str(e.value) and 'it must give logits (2, classes)' in str(e.value)

def test_mean_probs_refuses_what_is_no_logits():
    with pytest.raises(FabricError, match='it must give logits'): mean_probs(Gives(lambda x: x.mean((2, 3))[:1]).eval(), pictures())

@pytest.mark.parametrize('f', [lambda x: x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3)), lambda x: x.mean((2, 3))*x.max().item(), lambda x: x.mean((2, 3)) + torch.rand(3),
                               lambda x: torch.zeros(2, 3).add_(x.mean((2, 3))), lambda x: torch.zeros(2, 3).copy_(x.mean((2, 3)))])
def test_what_vmap_cannot_do_names_the_way_that_can(f):
    models = [Gives(f).eval(), Gives(f).eval()]
    with pytest.raises(FabricError, match="give how='loop'"): Together(models, 'vmap')(pictures())
    assert Together(models, 'loop')(pictures()).shape == (2, 2, 3)

@pytest.mark.parametrize('how', WAYS)
def test_other_faults_are_not_blamed_on_vmap(how):
    with pytest.raises(RuntimeError) as e: Together(models_of('test_resnet', 2), how)(torch.zeros(1, 4, 64, 64))
    assert not isinstance(e.value, FabricError)

def test_a_model_that_is_trained_on_is_noticed():
    models = models_of('test_resnet', 2)
    together = Together(models, 'loop')
    models[1].train()
    with pytest.raises(FabricError, match='model 1 is in training mode'): together(pictures())
    with pytest.raises(FabricError, match='only predict'): together.train()
    assert together.eval() is together


# ---- probabilities

@pytest.mark.parametrize('how', WAYS)
@pytest.mark.parametrize('tta', [False, True])
def test_mean_probs_is_the_mean_of_softmax(how, tta):
    models, x = models_of('test_resnet', 4), pictures(3)
    want = plain(models, x).softmax(-1).mean(0)
    if tta: want = (want + plain(models, x.flip(-1)).softmax(-1).mean(0))/2
    assert torch.allclose(mean_probs(Together(models, how), x, tta=tta), want, atol=1e-6)

def test_one_model_is_its_own_mean():
    model, x = models_of('test_resnet', 1)[0], pictures()
    assert torch.allclose(mean_probs(model, x), mean_probs(Together([model]), x), atol=1e-6)
    with pytest.raises(FabricError, match='the model is in training mode; call'): mean_probs(model.train(), x)

def test_with_flip_asks_about_both():
    seen = []
    x = pictures(1)
    with_flip(lambda o: seen.append(o) or o.mean((2, 3)), x)
    assert len(seen) == 2 and torch.equal(seen[0], x) and torch.equal(seen[1], x.flip(3))

@pytest.mark.parametrize('bad', [float('nan'), float('inf'), -float('inf')])
def test_answers_that_are_not_finite_are_named(bad):
    with pytest.raises(FabricError, match='model 2 gives logits that are not finite, for 3 of 3 pictures'): mean_probs(Together([tiny(1., 2.), tiny(0., 1.), tiny(bad, 1.)]), pictures(3))
    with pytest.raises(FabricError, match='model 0 gives logits that are not finite'): mean_probs(tiny(bad, 0.), pictures(1))

def test_large_logits_do_not_overflow():
    probs = mean_probs(Together([tiny(1e4, -1e4), tiny(-1e30, 1e30)]), pictures(1))
    assert torch.allclose(probs, torch.tensor([[.5, .5]]))

def test_fold_models_that_were_saved_after_channels_last(tmp_path):
    make = lambda *_: nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    model = make()
    out = Together([model], 'channels_last')(x := pictures())
    again, _ = load_checkpoint(save_checkpoint(tmp_path/'model', model, dict(kind='test')), make)
    assert torch.allclose(Together([again.eval()], 'loop')(x), out, atol=1e-6)


# ---- the benchmark

@pytest.mark.stress
@pytest.mark.skipif(not SKETCH.exists(), reason='benchmarks/ is not beside tests/: this is not a checkout')
def test_the_benchmark_tries_everything_on_little(tmp_path):
    env = os.environ | dict(FABRIC_TOUCH_DATA=str(tmp_path))                   # generated drawings
    r = subprocess.run([sys.executable, str(SKETCH), '--quick', '--json', str(tmp_path/'sketch.json')], capture_output=True, text=True, env=env, timeout=300)
    assert r.returncode == 0, r.stderr[-2000:]
    done = json.loads((tmp_path/'sketch.json').read_text())
    assert all(row['gap'] <= 1e-5 for row in done['together']['rows']) and done['together']['pictures'] == 'generated'
    assert {row['way'] for row in done['together']['rows']} == {'members', *WAYS}
    assert all(done[k]['rows'] for k in ('together', 'memory', 'decoding', 'workers'))
    assert done['gpu']['gpu'] == 'not measured' or done['gpu']['rows']
