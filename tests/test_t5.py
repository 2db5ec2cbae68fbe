"The T5 that reads photos and texts: what is frozen stays so, padding changes nothing, labels share out all probability, and what is refused is said."
import copy

import numpy as np, pytest, torch
import torch.nn.functional as F

pytest.importorskip('transformers')
from fabric_touch.core import FabricError, seeded
from fabric_touch.sequences import cell_encoder, text_encoder
from fabric_touch.t5 import EOS, IGNORED, PAD, LabelTree, MultimodalT5, TokenLoss, labels_of, shifted, t5_transformer
from fabric_touch.tokens import Trie

pytestmark = pytest.mark.usefixtures('one_thread')
SIZES = dict(d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=2, dropout_rate=0.)
V, CELLS, WIDTH = 60, 5, 12

def make(seed=0, sharp=8., image=None, **kw):
    "A tiny model; its weights are spread, so that scores differ"
    with seeded(seed):
        words = text_encoder('mine', False, feed_forward_proj='relu', relative_attention_num_buckets=32, d_model=20, d_kv=4, d_ff=24, num_layers=1, num_heads=2, vocab_size=40)
        model = MultimodalT5(t5_transformer(V, **SIZES), words, image, **(dict(image_width=WIDTH) if image is None else {}), ffn=True, **kw)
        with torch.no_grad():
            for p in model.transformer.parameters():
                if p.ndim == 2: p.mul_(sharp if p.shape[0] != V else 1.)
    return model.eval()

@pytest.fixture(scope='module')
def model(): return make()

@pytest.fixture(scope='module')
def swin():
    with seeded(1): return cell_encoder('test_vit.r160_in1k', pretrained=False, img_size=32)

def batch(seed=0, n=5, longest=7):
    "Cells, sources with their mask, targets: all of different lengths"
    g = torch.Generator().manual_seed(seed)
    ids = lambda low, high, k: torch.randint(low, high, (k,), generator=g)
    def rows(high): return [torch.cat([ids(2, high, int(ids(0, longest, 1))), torch.tensor([EOS])]) for _ in range(n)]
    pad = lambda r: torch.nn.utils.rnn.pad_sequence(r, batch_first=True, padding_value=PAD)
    source, target = pad(rows(40)), pad(rows(V))
    return torch.randn(n, CELLS, WIDTH, generator=g), source, source != PAD, target

# ---- padding

@pytest.mark.parametrize('sees', ['both', 'image', 'text'])
def test_padding_on_either_side_changes_nothing(model, sees):
    model.sees = sees
    try:
        cells, source, mask, target = batch()
        scores = model(cells, source, mask, shifted(target))
        assert scores.std(1).mean() > .1
        for i in range(len(cells)):
            s, t = mask[i].sum(), (target[i] != PAD).sum()
            one = model(cells[i:i+1], source[i:i+1, :s], mask[i:i+1, :s], shifted(target[i:i+1, :t]))
            torch.testing.assert_close(scores[i, :t], one[0], atol=1e-4, rtol=1e-4)
        junk = source.masked_fill(~mask, 33)                               # what stands in padding is not read
        torch.testing.assert_close(model(cells, junk, mask, shifted(target)), scores, atol=1e-5, rtol=1e-5)
    finally: model.sees = 'both'

def test_sees_leaves_out(model):
    cells, source, mask, target = batch()
    def said(c, s, what):
        model.sees = what
        try: return model(c, s, mask, shifted(target))
        finally: model.sees = 'both'
    other, words = cells + 1, source.masked_fill(mask & (source > 1), 7)
    assert torch.equal(said(cells, source, 'image'), said(cells, words, 'image')) and not torch.allclose(said(cells, source, 'both'), said(cells, words, 'both'))
    assert torch.equal(said(cells, source, 'text'), said(other, source, 'text')) and torch.equal(said(cells, source, 'text'), said(None, source, 'text'))
    assert not torch.allclose(said(cells, source, 'both'), said(other, source, 'both'))

def test_the_decoder_looks_back_alone(model):
    cells, source, mask, target = batch(n=2)
    a = model(cells, source, mask, shifted(target))
    later = shifted(target).clone(); later[:, 3:] = 9
    torch.testing.assert_close(model(cells, source, mask, later)[:, :3], a[:, :3])

# ---- what is frozen

def names(model): return {n.partition('.')[0] for n in model.state_dict()}

def test_frozen_parts_are_no_part_of_the_state(swin):
    m = make(image=swin)
    assert names(m) == {'transformer', 'image_ffn', 'text_ffn'} and {n.partition('.')[0] for n,_ in m.named_parameters()} == names(m)
    assert not [n for n,_ in m.named_buffers() if 'image_model' in n or 'language' in n]
    m.train(); assert not any(x.training for f in (m.language_model, m.image_model) for x in f.modules())
    m.requires_grad_(True); assert not any(p.requires_grad for f in (m.language_model, m.image_model) for p in f.parameters())
    m(torch.rand(5, 3, 32, 32), *batch()[1:3], shifted(batch()[3])).sum().backward()
    assert all(p.grad is None for f in (m.language_model, m.image_model) for p in f.parameters()) and all(p.grad is not None for p in m.parameters())

def test_frozen_parts_follow(swin):
    m = make(image=copy.deepcopy(swin)).double()
    assert {t.dtype for f in (m.language_model, m.image_model) for t in [*f.parameters(), f.mean if hasattr(f, 'mean') else next(f.parameters())]} == {torch.float64}
    twin = copy.deepcopy(m).float()
    assert next(m.language_model.parameters()).dtype == torch.float64 and next(twin.language_model.parameters()).dtype == torch.float32      # a copy has its own

def test_a_trained_image_model_is_a_child(swin):
    m = make(image=copy.deepcopy(swin), image_model_train=True).train()
    assert 'own_image_model' in names(m) and m.image_model.training and not m.language_model.training
    assert make(image=copy.deepcopy(swin), image_model_train=True).load_state_dict(m.state_dict())

def test_photos_and_their_cells_say_the_same(swin):
    m, (_, source, mask, target) = make(image=swin), batch()
    x = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        a = m(x, source, mask, shifted(target))
        for other in (x.float()/255, swin(x.float()/255)): torch.testing.assert_close(m(other, source, mask, shifted(target)), a, atol=1e-5, rtol=1e-5)

@pytest.mark.parametrize('image', [torch.zeros(5, CELLS, WIDTH + 1), torch.zeros(5, WIDTH)])
def test_other_shapes_are_told(model, image):
    with pytest.raises(FabricError, match='cells'): model(image, *batch()[1:3], shifted(batch()[3]))

# ---- the loss

def test_loss_is_pytorchs_over_real_tokens():
    *_, target = batch(4)
    labels, scores = labels_of(target), torch.randn(*target.shape, V, requires_grad=True)
    want = F.cross_entropy(scores.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(TokenLoss()(scores, labels), want)
    torch.testing.assert_close(TokenLoss()(scores[labels != IGNORED], labels), want)
    got, = torch.autograd.grad(TokenLoss('focal')(scores, labels), scores)
    assert (got[labels == IGNORED] == 0).all() and got[labels != IGNORED].abs().sum() > 0
    logp = scores.log_softmax(-1).gather(-1, target[..., None])[..., 0][labels != IGNORED]
    torch.testing.assert_close(TokenLoss('focal', gamma=2.)(scores, labels), (-(1 - logp.exp())**2*logp).mean())
    assert TokenLoss().count(labels) == (target != PAD).sum() == (labels != IGNORED).sum()

@pytest.mark.parametrize('kind', ['cross_entropy', 'focal'])
def test_loss_at_the_edges(kind):
    sure = torch.full((2, V), -1e4); sure[:, 3] = 1e4
    for y in (3, 4):
        x = sure.clone().requires_grad_()
        loss = TokenLoss(kind)(x, torch.tensor([[y, y]])); loss.backward()
        assert loss.isfinite() and x.grad.isfinite().all()
    none = torch.full((2, 3), IGNORED)
    x = torch.randn(0, V, requires_grad=True)
    loss = TokenLoss(kind)(x, none); loss.backward()
    assert loss == 0 and TokenLoss(kind)(torch.randn(2, 3, V).bfloat16(), none) == 0

def test_labels_of_hidden_codes():
    t = torch.tensor([[5, 6, 7, EOS], [8, 9, EOS, PAD]])
    c = torch.tensor([[True, False, True, False], [False, True, False, False]])
    assert labels_of(t, c).tolist() == [[5, IGNORED, 7, IGNORED], [IGNORED, 9, IGNORED, IGNORED]]

# ---- labels

def sets(seed):
    "Rows with shared beginnings, and rows that go on where others end"
    rng = np.random.default_rng(seed)
    rows = {tuple(rng.integers(10, 13, rng.integers(0, 5)).tolist()) + (EOS,) for _ in range(int(rng.integers(2, 15)))}
    return [*rows | {(10, EOS), (11, EOS)}]

@pytest.mark.parametrize('seed', range(4))
def test_label_probs_are_the_long_way(model, seed):
    rows, (cells, source, mask, _) = sets(seed), batch(seed, n=3)
    p = model.label_probs(cells, source, mask, LabelTree(rows))
    want = torch.zeros(3, len(rows))
    for k,row in enumerate(rows):
        with torch.no_grad(): logits = model(cells, source, mask, shifted(torch.tensor([row])).expand(3, -1))
        for i,t in enumerate(row):
            ways = sorted({r[i] for r in rows if len(r) > i and r[:i] == row[:i]})
            want[:, k] += logits[:, i, ways].log_softmax(-1)[:, ways.index(t)]
    torch.testing.assert_close(p, want.exp(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(p.sum(1), torch.ones(3))
    order = np.random.default_rng(seed).permutation(len(rows))
    torch.testing.assert_close(model.label_probs(cells, source, mask, LabelTree([rows[k] for k in order]), n_rows=2), p[:, order], atol=1e-5, rtol=1e-4)

@pytest.mark.parametrize('rows', [[], [[5, EOS]], [[5, EOS], [5, EOS]], [[5, EOS], [6]], [[5, EOS], []], [[5, EOS], [EOS, 5, EOS]]])
def test_strange_rows_are_told(rows):
    with pytest.raises(FabricError): LabelTree(rows)

# ---- writing

@torch.no_grad()
def by_hand(model, cells, source, mask, n):
    ids = torch.full((len(cells), 1), PAD)
    for _ in range(n): ids = torch.cat([ids, model(cells, source, mask, ids)[:, -1:].argmax(-1)], 1)
    ids = ids[:, 1:]
    return [r[:r.index(EOS)+1] if EOS in r else r for r in ids.tolist()]

def test_greedy_is_the_most_likely_next(model):
    cells, source, mask, _ = batch(n=4)
    written = model.write(cells, source, mask, max_new_tokens=6)
    trimmed = [r[:r.index(EOS)+1] if EOS in r else r for r in written.tolist()]
    assert trimmed == [r[:6] for r in by_hand(model, cells, source, mask, 6)]
    for k in range(4):                                                     # a batch writes what each alone does
        one = model.write(cells[k:k+1], source[k:k+1, :mask[k].sum()], mask[k:k+1, :mask[k].sum()], max_new_tokens=6)[0].tolist()
        assert [t for t in one if t] == [t for t in trimmed[k] if t]

@pytest.mark.parametrize('how', [dict(), dict(num_beams=3), dict(do_sample=True, temperature=5.), dict(num_beams=2, do_sample=True)])
def test_a_trie_is_never_left(model, how):
    rows, (cells, source, mask, _) = sets(7), batch(n=4)
    out = model.write(cells, source, mask, trie=Trie(rows), max_new_tokens=8, **how).tolist()
    assert all(tuple(r[:r.index(EOS)+1]) in rows and not any(r[r.index(EOS)+1:]) for r in out)

def test_sampling_hangs_on_the_seed_and_leaves_the_dice(model):
    cells, source, mask, _ = batch(n=4)
    torch.manual_seed(5); before = torch.get_rng_state()
    a, b, c = (model.write(cells, source, mask, do_sample=True, temperature=9., max_new_tokens=6, seed=s).tolist() for s in (1, 1, 2))
    assert a == b != c and torch.equal(before, torch.get_rng_state())

@pytest.mark.parametrize('bad', [dict(warmth=3), dict(num_beams=0), dict(max_new_tokens=0), dict(do_sample=True, temperature=-1.), dict(num_beams=1.5), dict(do_sample=True, num_return_sequences=2)])
def test_strange_settings_are_told_and_the_mode_is_kept(bad):
    m = make().train()
    with pytest.raises(FabricError): m.write(*batch(n=2)[:3], **bad)
    assert m.training and m.transformer.training and not m.language_model.training

def test_the_mode_is_kept():
    m = make().train()
    m.write(*batch(n=2)[:3], max_new_tokens=2); m.label_probs(*batch(n=2)[:3], LabelTree(sets(0)))
    assert m.training and m.transformer.encoder.training
    m.eval().write(*batch(n=2)[:3], max_new_tokens=2); assert not m.training
