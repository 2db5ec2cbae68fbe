"Text scores against sacreBLEU, plain loops and published numbers; ragged, hostile and Unicode input"
import math
from collections import Counter

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st

pytest.importorskip('sacrebleu')
import sacrebleu

from fabric_touch.core import FabricError
from fabric_touch.texts import (bleu, caption_scores, caption_table, central_caption, cider, commonest, exact_match, human_scores, perplexity, plot_captions,
                                plot_text_scores, unigram_perplexity, bare_words)

pytestmark = pytest.mark.once
VOCAB = 'a the red blue dog cat horse rides sits on in park beach two'.split()

def made_up(n=30, most=4, seed=0):
    "Texts and ragged references of few words, so that n-grams are shared"
    rng = np.random.default_rng(seed)
    def text(): return ' '.join(rng.choice(VOCAB, rng.integers(1, 9)))
    return [text() for _ in range(n)], [[text() for _ in range(rng.integers(1, most+1))] for _ in range(n)]

def loop_cider(preds, refs, cider_d=True):
    "The formulas of the paper, photo by photo"
    def grams(t, n): return Counter(zip(*(bare_words(t)[i:] for i in range(n))))
    def vector(t, n): return {g: k*math.log(len(refs)/max(1, seen[n][g])) for g, k in grams(t, n).items()}
    def size(v): return math.sqrt(sum(x*x for x in v.values()))
    seen = {n: Counter(g for r in refs for g in set().union(*(grams(t, n) for t in r))) for n in range(1, 5)}
    def pair(p, r, n):
        a, b = vector(p, n), vector(r, n)
        dot = sum((min(a[g], b.get(g, 0)) if cider_d else a[g])*b.get(g, 0) for g in a)
        gap = sum(grams(p, 2).values()) - sum(grams(r, 2).values())
        return (dot/(size(a)*size(b)) if size(a)*size(b) else 0)*(math.exp(-gap**2/72) if cider_d else 1)
    return [10*np.mean([pair(p, r, n) for r in rs for n in range(1, 5)]) for p, rs in zip(preds, refs)]


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('cider_d', (True, False))
def test_cider_is_the_formula(seed, cider_d):
    preds, refs = made_up(seed=seed)
    preds[3] = ''
    np.testing.assert_allclose(cider(preds, refs, cider_d), loop_cider(preds, refs, cider_d), atol=1e-12)

def test_cider_weighs_by_the_corpus():
    preds, refs = made_up()
    np.testing.assert_allclose(cider(preds[:1], refs[:1], corpus=refs), cider(preds, refs)[:1], atol=1e-12)
    assert cider(preds[:2], refs[:2])[0] != cider(preds, refs)[0]

def test_cider_of_a_copy_is_ten():
    refs = ['a red dog sits on the beach', 'two cats in the blue park']
    np.testing.assert_allclose(cider(refs, refs), 10)
    np.testing.assert_allclose(cider([r.upper() + '!' for r in refs], refs), 10)

@pytest.mark.parametrize('seed', range(3))
def test_bleu_is_sacrebleus(seed):
    preds, refs = made_up(seed=seed)
    columns = [[r[k] if k < len(r) else None for r in refs] for k in range(4)]
    assert bleu(preds, refs) == pytest.approx(sacrebleu.BLEU(lowercase=True).corpus_score(preds, columns).score, abs=1e-9)

def test_bleu_of_nothing_is_zero(): assert bleu(['', ''], ['a dog', 'a cat']) == 0

@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=2, max_size=6))
def test_any_text_can_be_scored(preds):
    refs = [f'a dog number {i}' for i in range(len(preds))]
    assert np.isfinite(cider(preds, refs)).all() and 0 <= bleu(preds, refs) <= 100.0001
    assert exact_match(preds + ['é'], refs + ['e\u0301']).tolist()[-1]

def test_exact_match_of_its_own_target(): assert exact_match(['İstanbul', 'ǰ x', '  한글 '], ['İSTANBUL', 'J̌  X', '한글']).all()

@pytest.mark.parametrize('preds, refs, why', [
    (['a', 'b'], ['a'], '2 predictions for 1 photos'), ([], [], 'predictions are empty'), ('a', ['a'], 'give a list'), (['a', None], ['a', 'b'], 'number 1 is None'),
    (['a', math.nan], ['a', 'b'], 'number 1 is nan'), (['a', b'b'], ['a', 'b'], 'number 1 is b'), (['a', 'b'], ['a', []], 'photo number 1 has no text'),
    (['a', 'b'], ['a', None], 'photo number 1 has no text'), (['a', 'b'], ['a', ['b', 3]], 'number 1 is 3'), (['a', 'b'], ['a', ' ... '], 'one without a word'),
    (['a', 'b'], None, 'references|targets'), (['a', 'b'], 'ab', 'for each photo')])
@pytest.mark.parametrize('score', (exact_match, bleu, cider))
def test_bad_texts_are_told(score, preds, refs, why):
    with pytest.raises(FabricError, match=why): score(preds, refs)

def test_series_and_arrays_are_lists():
    preds, refs = made_up(5)
    np.testing.assert_array_equal(cider(pd.Series(preds, index=range(9, 4, -1)), np.array(refs, dtype=object)), cider(preds, refs))

def test_central_is_the_highest_mean_cider():
    _, refs = made_up(7, 3, seed=2)
    texts = [t for r in refs for t in r]
    mean = [np.mean([cider([t], [other], cider_d=False, corpus=refs)[0] for k, other in enumerate(texts) if k != i]) for i, t in enumerate(texts)]
    assert central_caption(refs) == texts[int(np.argmax(mean))]
    assert central_caption(['one alone']) == 'one alone'
    assert central_caption(['same here', 'same here']) == 'same here'

def test_commonest_keeps_the_first_spelling(): assert commonest(['b', ['A  x', 'a x'], 'c']) == 'A  x'

def test_perplexity_of_the_frequencies_themselves():
    ids = np.repeat(np.arange(4), [8, 4, 2, 2])
    entropy = -sum(p*math.log(p) for p in (.5, .25, .125, .125))
    assert unigram_perplexity(np.repeat(ids, 10_000), ids) == pytest.approx(math.exp(entropy), rel=1e-3)
    assert unigram_perplexity([[1, 2], [3]], [5], n_vocab=7) == pytest.approx(10)              # (0 + 1)/(3 + 7)
    assert perplexity(0, 1) == 1

@pytest.mark.parametrize('given_, why', [(([], [1]), 'train_ids are empty'), (([1.5], [1]), 'float64'), (([1], [[]]), 'ids are empty'), (([1], [-1]), 'from -1')])
def test_bad_ids_are_told(given_, why):
    with pytest.raises(FabricError, match=why): unigram_perplexity(*given_)

@pytest.mark.parametrize('loss, n', [(-1, 2), (math.inf, 2), (math.nan, 2), (1, 0), (1, math.nan)])
def test_no_perplexity_of_nonsense(loss, n):
    with pytest.raises(FabricError): perplexity(loss, n)

def test_the_table_holds_the_plain_scores():
    preds, refs = made_up(20, 3)
    refs = [r + r[:1] for r in refs]
    table = caption_scores(dict(m=preds), refs, refs, n_boot=50)
    value = table.set_index(['model', 'metric'])
    assert list(table.model.unique()) == ['m', 'commonest', 'central', 'human'] and set(table.n) == {20}
    assert value.value['m', 'bleu'] == pytest.approx(bleu(preds, refs)) and value.value['m', 'cider'] == pytest.approx(cider(preds, refs).mean())
    assert value.lo['m', 'cider'] < value.value['m', 'cider'] < value.hi['m', 'cider']
    pd.testing.assert_frame_equal(table, caption_scores(dict(m=preds), refs, refs, n_boot=50))
    pd.testing.assert_frame_equal(human_scores(refs, n_boot=50), table[table.model == 'human'].reset_index(drop=True))
    assert caption_table(table).shape == (4, 3)
    plt.close(plot_text_scores(table, ('exact', 'bleu', 'cider')))
    with pytest.raises(FabricError, match='unknown metric'): plot_text_scores(table, ('rouge',))

def test_people_are_left_out_where_one_stands_alone():
    preds, refs = made_up(5)
    refs[2] = refs[2][:1]
    assert 'human' not in set(caption_scores(dict(m=preds), refs, n_boot=5).model)
    with pytest.raises(FabricError, match='single reference'): human_scores(refs)
    with pytest.raises(FabricError, match='one photo'): caption_scores(dict(m=preds[:1]), refs[:1])

def test_captions_of_any_letters_and_lost_photos_are_drawn():
    photo = np.full((40, 60, 3), 128, np.uint8)
    fig = plot_captions([photo, 'gone.jpg', photo, photo], dict(a=['', 'x'*300, '$\\alpha', '한글\n一\x00'], b=['y']*4), [['one', 'two', 'three']]*4, n=9, ncols=2)
    assert len(fig.axes) == 4 and '(nothing)' not in fig.axes[0].get_title() and fig.axes[0].get_title() == 'a:\nb: y' and 'three' not in fig.axes[0].get_xlabel()
    fig.canvas.draw(); plt.close(fig)
    fig = plot_captions([photo], [''])
    assert fig.axes[0].get_title() == '(nothing)'
    plt.close(fig)
