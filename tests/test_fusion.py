"Fusions: the tabulated attention against the dense layer, maps from their terms, low-rank forms, fused heads."
import copy

import pytest, torch, torch.nn.functional as F
from torch import nn

from fabric_touch.core import TOUCHES, FabricError
from fabric_touch.fusion import (FUSIONS, NODES, CompactBilinear, EachFusion, Mutan, OuterAttention, OuterAttentionMap, OuterFactors, fusion, row_signal,
                                 tilted_mean, _panels)
from fabric_touch.galata import Galata
from fabric_touch.heads import HEADS, MobileNetHead, fuse, head
from fabric_touch.touch import save_touch, touch_model

pytestmark = pytest.mark.once

def relative(a, b): return ((a-b).abs().max()/b.abs().max().clamp(min=1e-30)).item()

def lively(module, std=.3, seed=0):
    "All parameters drawn anew: biases begin at 0, which would hide theirs"
    torch.manual_seed(seed)
    for w in module.parameters(): nn.init.normal_(w, std=std)
    return module

# ---- s(t)

def plainly(v, t): return ((t[..., None]*v[:, None]).softmax(-1) @ v[..., None])[..., 0]

@pytest.mark.parametrize('b, n, m', [(1, 1, 1), (2, 1, 5), (3, 7, 1), (2, 40, 30)])
@pytest.mark.parametrize('scale', [0., 1., 30.])
def test_tilted_mean_is_a_mean_under_softmax_weights(b, n, m, scale):
    torch.manual_seed(n)
    v, t = torch.randn(b, n).double(), torch.randn(b, m).double()*scale
    torch.testing.assert_close(tilted_mean(v, t), plainly(v, t), rtol=1e-12, atol=1e-12)

def test_gradients_of_the_tilted_mean_are_right_without_a_table():
    torch.manual_seed(0)
    v, t = (torch.randn(2, n, dtype=torch.float64, requires_grad=True) for n in (6, 5))
    assert torch.autograd.gradcheck(tilted_mean, (v, t))

VECTORS = dict(
    long=lambda: F.normalize(torch.randn(4, 512))*10, unit=lambda: F.normalize(torch.randn(4, 512)), outlier=lambda: torch.cat([torch.randn(4, 511)*.4, torch.full((4, 1), 8.)], 1),
    lumps=lambda: torch.tensor([-1., 1]).repeat(4, 256), positive=lambda: torch.rand(4, 512)*3 + 2, heavy=lambda: torch.randn(4, 512).pow(3)*.2, constant=lambda: torch.full((4, 512), .7),
    offset=lambda: torch.randn(4, 512)*.1 + 50, tiny=lambda: torch.randn(4, 512)*1e-12, few=lambda: torch.randn(4, 3))

@pytest.mark.parametrize('name', VECTORS)
@pytest.mark.parametrize('reach', [0., 1e-3, 1., 20.])
def test_the_table_is_as_good_as_float32_can_be(name, reach):
    "Against float64, `reach` being the range of t times the range of v; in value, and in both gradients"
    torch.manual_seed(1)
    v = VECTORS[name]()
    span = (v.amax(1)-v.amin(1)).amax().clamp(min=1e-6)
    t = (torch.rand(4, 4096)-.3)*reach/span
    g, got = torch.randn(4, 4096), []
    assert _panels(v, t) > 0 and _panels(v.double(), t.double()) == 0
    for dtype in (torch.float64, torch.float32):
        a, b = v.to(dtype).requires_grad_(), t.to(dtype).requires_grad_()
        s = tilted_mean(a, b)
        got.append([s.detach(), *torch.autograd.grad(s, (a, b), g.to(dtype))])
    (s, dv, dt), (s32, dv32, dt32) = got
    assert ((s32-s).abs().amax(1) <= 1e-5*s.abs().amax(1).clamp(min=.2*v.abs().max())).all()                  # of each row; two lumps lay bare the rounding of e^x in the kernel
    assert (dv32-dv).abs().max() <= 1e-5*max(dv.abs().max(), g.abs().sum()/512/100)
    if name != 'constant': assert ((dt32-dt).abs().amax(1) <= (1e-5 if name != 'offset' else 1e-3)*dt.abs().amax(1)).all()   # an offset of 50 has lost its digits before

def test_the_table_follows_the_fused_kernel_where_panels_meet():
    torch.manual_seed(0)
    v = torch.randn(1, 512)
    t = torch.linspace(-4, 4, 100_000)[None]
    s = tilted_mean(v, t)
    assert _panels(v, t) > 5 and (s.diff() > -2e-6).all() and relative(s, tilted_mean(v, t, exact=True)) < 1e-5   # s rises

@pytest.mark.parametrize('t', [1e4, 1e8, 1e30])
def test_large_tilts_pick_out_an_end_of_the_vector(t):
    v = torch.randn(2, 512)
    s = tilted_mean(v, torch.tensor([[-t, t]]).repeat(2, 2048).contiguous())
    torch.testing.assert_close(s[:, :2], torch.stack([v.amin(1), v.amax(1)], 1))
    far = tilted_mean(v, t + torch.rand(2, 4096))                                            # a narrow range, far out
    assert relative(far, v.amax(1, keepdim=True).expand_as(far)) < 1e-3

def test_no_number_stays_no_number_in_its_own_row():
    v, t = torch.randn(3, 512), torch.randn(3, 4096)
    v[1, 5] = float('nan')
    s = tilted_mean(v, t*3)
    assert s[1].isnan().all() and relative(s[[0, 2]], plainly(v[[0, 2]].double(), 3*t[[0, 2]].double())) < 1e-5

def test_no_photos_no_tilts(): assert tilted_mean(torch.zeros(0, 512), torch.zeros(0, 4096)).shape == (0, 4096)

def test_a_table_is_only_where_it_pays():
    v = torch.randn(2, 512)
    assert _panels(v, torch.randn(2, 4096)*.1) and not _panels(v, torch.randn(2, 4096)*100) and not _panels(v, torch.randn(2, 20))
    assert not _panels(v.to('meta'), torch.zeros(2, 4096, device='meta')) and not _panels(v, torch.zeros(2, 4*NODES)) and _panels(v, torch.zeros(2, 4*NODES+1)) == 1

# ---- the layer

def dense_and_ours(dim=64, heads=8, std=.1, **kwargs):
    dense = lively(nn.MultiheadAttention(dim, heads, batch_first=True), std)
    ours = OuterAttention(dim, heads, **kwargs)
    ours.load_state_dict(dense.state_dict())
    return dense, ours

def outer(v, p): return v[:, :, None]*p[:, None]

def both_sides(net, v, p, g):
    "The map and every gradient"
    v, p = v.clone().requires_grad_(), p.clone().requires_grad_()
    out = net(v, p) if isinstance(net, OuterAttention) else net(*[outer(v, p)]*3, need_weights=False)[0]
    net.zero_grad(); out.backward(g)
    return [out.detach(), v.grad, p.grad, *(w.grad for w in net.parameters())]

@pytest.mark.parametrize('length, outlier', [(1, 0), (10, 0), (10, 8)])
@pytest.mark.parametrize('exact', [False, True])
@pytest.mark.parametrize('strength', [.3, 1])
def test_float32_is_as_near_to_float64_as_asked(length, outlier, exact, strength):
    "Map and gradients at full size, with v of ImageBind's length and of CLIP's, from the table and without"
    torch.manual_seed(2)
    dense, ours = nn.MultiheadAttention(512, 8, batch_first=True), OuterAttention(512, 8, exact=exact)
    with torch.no_grad(): dense.in_proj_weight.mul_(strength); dense.in_proj_bias.normal_(std=.1); dense.out_proj.bias.normal_(std=.1)
    ours.load_state_dict(dense.state_dict())
    v, p, g = F.normalize(torch.randn(2, 512))*length, F.layer_norm(torch.randn(2, 512), (512,)), torch.randn(2, 512, 512)
    v[:, 133] += outlier
    want, got = both_sides(dense.double(), v.double(), p.double(), g.double()), both_sides(ours, v, p, g)
    assert _panels(v, ours.tilts(v, p)[0])
    for a, b in zip(got, want): assert relative(a, b) < 1e-5

def test_the_key_bias_has_no_gradient():
    _, ours = dense_and_ours()
    ours(torch.randn(2, 40), torch.randn(2, 64)).square().sum().backward()
    assert ours.in_proj_bias.grad.chunk(3)[1].abs().max() == 0 and ours.in_proj_bias.grad.chunk(3)[0].abs().max() > 0

def saved_bytes(f):
    "What a forward pass keeps for the backward one, parameters aside"
    seen = {}
    def pack(x):
        if not isinstance(x, nn.Parameter): seen[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x): f()
    return sum(seen.values())

@pytest.mark.parametrize('exact', [False, True])
def test_little_is_kept_for_the_backward_pass(exact):
    dense, ours = dense_and_ours(512, 8, exact=exact)
    v, p = torch.randn(4, 512)*.4, torch.randn(4, 512)
    plain, mine = saved_bytes(lambda: dense(*[outer(v, p)]*3, need_weights=False)), saved_bytes(lambda: ours(v, p))
    assert mine < plain/5 and mine < 4*512*512*4                                             # less than the map itself

def test_meta_tensors_go_through(): assert fusion('outer_attention', 64, 32).to('meta')(torch.zeros(2, 64, device='meta'), torch.zeros(2, 32, device='meta')).shape == (2, 1, 64, 32)

@pytest.mark.parametrize('name', [k for k in FUSIONS if k.startswith(('outer', 'compact'))])
def test_never_below_float32(name):
    f = fusion(name, 48, 32).eval()
    v, p = torch.randn(4, 48).bfloat16(), torch.randn(4, 32).bfloat16()
    with torch.no_grad():
        want = f(v.float(), p.float())
        with torch.autocast('cpu', torch.bfloat16): assert torch.equal(f(v.float(), p.float()), want)
        assert f.bfloat16()(v, p).dtype == torch.bfloat16

@pytest.mark.parametrize('std', [.3, 3.])                                                     # from the table, and by the kernel
def test_several_fusions_are_not_below_float32_either(std):
    four = EachFusion([OuterAttentionMap(64, 32) for _ in range(4)])
    v, p = torch.randn(4, 64)*std, torch.randn(4, 32)
    with torch.no_grad():
        want = four(v, p)
        with torch.autocast('cpu', torch.bfloat16): got = four(v, p)
        for a, b in zip(got, want): assert a.dtype == torch.float32 and torch.equal(a, b)
        assert four.bfloat16()(v.bfloat16(), p.bfloat16())[0].dtype == torch.bfloat16

def test_it_is_exported_and_traced_for_any_batch():
    f, v, p = OuterAttention(16, 4), torch.randn(3, 200), torch.randn(3, 16)
    program = torch.export.export(f, (v, p), dynamic_shapes=({0: torch.export.Dim('b', min=2)},)*2).module()
    traced = torch.jit.trace(f, (v, p), check_trace=False)
    v, p = torch.randn(5, 200)*4, torch.randn(5, 16)
    with torch.no_grad():
        for g in (program, traced): torch.testing.assert_close(g(v, p), f(v, p), rtol=1e-4, atol=1e-5)

def test_heads_must_share_the_width():
    with pytest.raises(FabricError, match='8 heads cannot share 12 numbers'): OuterAttention(12)

# ---- the map from its terms

@pytest.mark.parametrize('dtype, eps', [(torch.float64, 1e-11), (torch.float32, 2e-5)])
@pytest.mark.parametrize('length', [.01, 1., 10.])
def test_the_map_is_layer_norm_of_the_attention(dtype, eps, length):
    f = lively(OuterAttentionMap(96, 64)).to(dtype)
    norm = nn.LayerNorm(64).to(dtype)
    norm.load_state_dict(f.normalize.state_dict())
    torch.manual_seed(3)
    v, p, g = (F.normalize(torch.randn(3, 96)).to(dtype)*length).requires_grad_(), torch.randn(3, 64).to(dtype).requires_grad_(), torch.randn(3, 96, 64).to(dtype)
    sides = []
    for make in (lambda: f(v, p)[:, 0], lambda: norm(f.attention(v, p))):
        for x in (f, norm): x.zero_grad()
        v.grad = p.grad = None
        out = make(); out.backward(g)
        own = f.normalize if f.normalize.weight.grad is not None else norm
        sides.append([out.detach(), v.grad, p.grad, *(w.grad.clone() for w in f.attention.parameters()), own.weight.grad, own.bias.grad])
    for a, b in zip(*sides): assert relative(a, b) < eps

def test_a_map_of_another_size_is_the_resized_map():
    big, small = OuterAttentionMap(50, 64), OuterAttentionMap(50, 64, size=24)
    lively(big)
    small.load_state_dict(big.state_dict())                                                  # no weights of its own
    v, p = torch.randn(3, 50), torch.randn(3, 64)
    torch.testing.assert_close(small(v, p), F.interpolate(big(v, p), (24, 24), mode='bilinear', antialias=True), rtol=1e-4, atol=1e-4)

def test_a_scaled_map_does_not_see_the_vectors_length():
    f = fusion('outer_attention_scaled', 40, 16)
    v, p = torch.randn(3, 40), torch.randn(3, 16)
    torch.testing.assert_close(f(v*30, p), f(v, p), rtol=1e-3, atol=1e-3)
    assert 'scale' in dict(f.named_parameters()) and f.scale.item() == 1
    f(v, p).square().mul(torch.randn(3, 1, 40, 16)).sum().backward()
    assert f.scale.grad.abs() > 0

def test_terms_make_the_map():
    f = lively(OuterFactors(40, 16))
    v, p = torch.randn(3, 40), torch.randn(3, 16)
    x, g = f.factors(v, p)
    drawn = OuterAttentionMap(40, 16)
    drawn.load_state_dict({k: w for k,w in f.state_dict().items() if not k.startswith('norm.')})
    torch.testing.assert_close(x @ g + f.normalize.bias, drawn(v, p)[:, 0], rtol=1e-4, atol=1e-4)
    assert x.shape == (3, 40, 9) and g.shape == (3, 9, 16) and f(v, p).shape == (3, f.n_out) == (3, 9*56)

def test_row_signal():
    rows = torch.randn(2, 1, 8).expand(-1, 5, -1)
    other = torch.randn(2, 5, 8)
    assert row_signal(rows).max() < 1e-6 and (row_signal(other - other.mean(1, keepdim=True)) - 1).abs().max() < 1e-6

def test_short_vectors_lose_their_signal_and_scaling_brings_it_back():
    torch.manual_seed(0)
    f, v, p = OuterAttentionMap(512, 64), F.normalize(torch.randn(4, 512)), torch.randn(4, 64)
    for b in (f.attention.in_proj_bias, f.attention.out_proj.bias): nn.init.normal_(b, std=.1)
    scaled = OuterAttentionMap(512, 64, scaled=True)
    scaled.load_state_dict(f.state_dict() | dict(scale=torch.ones(())))
    plain, long, mended = (row_signal(m(x, p)[:, 0].detach()).mean() for m,x in ((f, v), (f, v*10), (scaled, v)))
    assert plain < .01 < long < mended

# ---- one table for several

def test_fusions_of_one_photo_share_a_table():
    four = EachFusion([lively(OuterAttentionMap(64, 32), seed=k) for k in range(4)])
    v, p, calls = torch.randn(3, 64), torch.randn(3, 32), []
    together, alone = four(v, p), [f(v, p) for f in four]
    for a, b in zip(together, alone): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    hook = torch.overrides.TorchFunctionMode
    class Count(hook):
        def __torch_function__(self, f, types, args=(), kwargs=None):
            if f is F.scaled_dot_product_attention: calls.append(1)
            return f(*args, **(kwargs or {}))
    with Count(): four(v, p)
    shared = len(calls); calls.clear()
    with Count(): [f(v, p) for f in four]
    assert shared*4 == len(calls)

def test_fusions_with_other_numbers_of_heads_share_it_too():
    two = EachFusion([OuterAttentionMap(64, 32, heads) for heads in (4, 8)])
    v, p = torch.randn(3, 64), torch.randn(3, 32)
    for a, f in zip(two(v, p), two): torch.testing.assert_close(a, f(v, p), rtol=1e-4, atol=1e-4)

@pytest.mark.parametrize('name', FUSIONS)
def test_each_of_any_fusion(name):
    fusions = [fusion(name, 48, 32).eval() for _ in range(3)]
    v, p = torch.randn(4, 48), torch.randn(4, 32)
    with torch.no_grad():
        for a, f in zip(EachFusion(fusions)(v, p), fusions): torch.testing.assert_close(a, f(v, p), rtol=1e-4, atol=1e-4)

# ---- low rank

def test_mutan_is_a_tucker_decomposition():
    f = lively(Mutan(10, 12, n_out=6, dim=4, rank=3)).eval()
    v, p = torch.randn(5, 10), torch.randn(5, 12)
    a, b = (m(norm(x)).tanh() for m,norm,x in zip((f.img, f.blend), f.norms, (v, p)))
    a, b = (torch.cat([x, torch.ones(5, 1)], 1) for x in (a, b))                              # biases as a further number
    left, right = (torch.cat([c.weight, c.bias[:, None]], 1).view(3, 6, 5) for c in f.cores)
    core = torch.einsum('roi,roj->oij', left, right)                                          # (6, 5, 5), each slice of rank 3
    torch.testing.assert_close(f(v, p), torch.einsum('bi,oij,bj->bo', a, core, b), rtol=1e-4, atol=1e-5)
    assert (torch.linalg.matrix_rank(core) <= 3).all()

def test_a_count_sketch_is_of_the_outer_product():
    f = CompactBilinear(5, 7, 32)
    v, p = torch.randn(3, 5), torch.randn(3, 7)
    want = torch.zeros(3, 32)
    for i in range(5):
        for j in range(7): want[:, (f.place0[i]+f.place1[j]) % 32] += f.sign0[i]*f.sign1[j]*v[:, i]*p[:, j]
    torch.testing.assert_close(f.pooled(v, p), want, rtol=1e-5, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(f.state_dict().values(), CompactBilinear(5, 7, 32).state_dict().values())) and 'place1' in f.state_dict()

# ---- heads

def trained(head):
    "With BatchNorm statistics as training leaves them"
    torch.manual_seed(0)
    for m in head.modules():
        if isinstance(m, nn.BatchNorm2d): m.running_mean.normal_(std=.2); m.running_var.uniform_(.3, 2); nn.init.normal_(m.weight, 1, .2); nn.init.normal_(m.bias, std=.2)
    return head.eval()

def test_one_channel_does_for_three_equal_ones():
    h = trained(MobileNetHead((1, 64, 64), 5, train='all'))
    x, sides = torch.randn(2, 1, 64, 64), []
    for y in (x, x.expand(-1, 3, -1, -1)):
        h.zero_grad(); y = y.clone().requires_grad_()
        out = h(y); out.sum().backward()
        sides.append([out, y.grad.sum(1), h.mobilenet.features[0][0].weight.grad])
    for a, b in zip(*sides): torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)

@pytest.mark.parametrize('name', HEADS)
def test_a_fused_head_answers_the_same(name):
    n_in = (1, 64, 64) if 'mobilenet' in name else 24
    h = trained(head(name, n_in, 7))
    before, x = copy.deepcopy(h.state_dict()), torch.randn(3, *([n_in] if isinstance(n_in, int) else n_in))
    quick = fuse(h.train())
    assert h.training and not quick.training and not any(w.requires_grad for w in quick.parameters())
    with torch.no_grad(): torch.testing.assert_close(quick(x), h.eval()(x), rtol=1e-4, atol=1e-5)
    assert list(before) == list(h.state_dict()) and all(torch.equal(before[k], w) for k,w in h.state_dict().items())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in quick.modules())

def test_three_channels_still_go_through_a_fused_head():
    h = trained(MobileNetHead((3, 64, 64), 5))
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad(): torch.testing.assert_close(fuse(h)(x), h(x), rtol=1e-4, atol=1e-5)

def test_a_fused_galata_says_the_same_and_is_not_saved(tmp_path):
    four = {t: trained(touch_model('kostantiniyye', 64, t)) for t in TOUCHES}
    galata = Galata.from_models(**four)
    galata.temperature = [1., 2, 1, 1]
    quick, v, blend = galata.fuse(), torch.randn(4, 64), torch.eye(12)[:4]
    with torch.no_grad(): want, got = galata(v, blend), quick(v, blend)
    assert (got-want).abs().max() < 1e-3 and torch.equal(got.argmax(-1), want.argmax(-1)) and quick.temperature == galata.temperature and quick.encoder is galata.encoder
    with pytest.raises(FabricError, match='save the one that it was fused from'): save_touch(quick, tmp_path/'g')
    assert not (tmp_path/'g').exists()

def test_fusing_leaves_the_model_in_training():
    m = touch_model('venezia', 'swatch')
    m.encoder.requires_grad_(True)
    m.train()
    modes = [x.training for x in m.modules()]
    quick = m.fuse()
    assert modes == [x.training for x in m.modules()] and m.encoder.training and not quick.training and not quick.head.training
    assert not any(w.requires_grad for k,w in quick.named_parameters() if not k.startswith('encoder.'))
