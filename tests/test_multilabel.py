"Scores of many yes-or-no labels against plain loops and scikit-learn, ties, groups, thresholds, and hostile input"
import itertools, time, tracemalloc

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, balanced_accuracy_score, f1_score, precision_recall_fscore_support

from fabric_touch import multilabel
from fabric_touch.core import FabricError
from fabric_touch.metrics import resamples, score_dict
from fabric_touch.multilabel import (PUBLISHED, attribute_scores, exclusive_scores, frequency, group_recall, plot_attribute_scores, summary, table_of,
                                     top_k_recall, tune_thresholds)

pytestmark = pytest.mark.once


def draw(n=60, k=12, seed=0, digits=None):
    "Scores and labels; with digits, many equal scores"
    rng = np.random.default_rng(seed)
    y = (rng.random((n, k)) < rng.uniform(.05, .5, k)).astype(np.uint8)
    scores = rng.random((n, k)) + .5*y
    return scores if digits is None else scores.round(digits), y

def names(k): return [f'a{i}' for i in range(k)]
def in_groups(*sizes): return {f'{"ghij"[g]}{i}': 'ghij'[g] for g, m in enumerate(sizes) for i in range(m)}

def classes(n=80, sizes=(3, 4), seed=0, unlabelled=.1):
    "Scores and labels of exclusive groups, and the groups"
    rng, parts = np.random.default_rng(seed), []
    for m in sizes:
        y = np.eye(m, dtype=np.uint8)[rng.choice(m, n, p=rng.dirichlet([2]*m))]
        y[rng.random(n) < unlabelled] = 0
        parts.append(y)
    y = np.hstack(parts)
    return rng.normal(size=y.shape) + y, y, in_groups(*sizes)


# --- top-k recall ---

def recall_by_all_orders(s, t, k):
    "Expected matches of one photo: the mean over all ways to order equal scores"
    orders = [o for o in itertools.permutations(range(len(s))) if all(s[a] >= s[b] for a, b in zip(o, o[1:]))]
    return np.mean([sum(t[i] for i in o[:k]) for o in orders])

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('k', [1, 3, 4])
def test_ties_are_worth_the_mean_over_all_orders(seed, k):
    rng = np.random.default_rng(seed)
    s, t = rng.integers(0, 3, (6, 5)), rng.integers(0, 2, (6, 5))
    t[0] = 0
    hits = np.array([recall_by_all_orders(a, b, k) for a, b in zip(s, t)])
    assert np.isclose(top_k_recall(s, t, k), hits.sum()/t.sum())
    has = t.any(1)
    assert np.isclose(top_k_recall(s, t, k, 'samples'), (hits[has]/t[has].sum(1)).mean())

@pytest.mark.parametrize('seed', range(4))
def test_top_k_is_a_plain_loop(seed):
    s, y = draw(seed=seed)
    matched = sum(len(set(np.argsort(a)[-3:]) & set(np.flatnonzero(b))) for a, b in zip(s, y))
    assert np.isclose(top_k_recall(s, y, 3), matched/y.sum())

@pytest.mark.parametrize('value', [-1e30, 0, .3, 7])
def test_the_same_score_for_all_gets_chance_in_any_order_of_columns(value):
    y = np.sort(draw()[1], axis=1)
    for labels in (y, y[:, ::-1]): assert np.isclose(top_k_recall(np.full(y.shape, value), labels, 3), 3/12)

@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), k=st.integers(1, 11))
def test_monotone_transforms_and_column_order_change_nothing(seed, k):
    s, y = draw(n=15, seed=seed, digits=1)
    if not y.any(): return
    base, at = top_k_recall(s, y, k), np.random.default_rng(seed).permutation(12)
    assert np.isclose(top_k_recall(np.exp(3*s), y, k), base)
    assert np.isclose(top_k_recall(s[:, at], y[:, at], k), base)
    ap = attribute_scores(s, y, names(12)).ap
    np.testing.assert_allclose(attribute_scores(s**3 - 5, y, names(12)).ap, ap)
    np.testing.assert_allclose(attribute_scores(s[::-1], y[::-1], names(12)).ap, ap)

def test_blocks_of_photos_do_not_matter(monkeypatch):
    s, y = draw(digits=1)
    w = resamples(len(y), n_boot=5)
    whole, counts = multilabel._matches(s, y.astype(bool), [3, 5]), multilabel._counts(s > .5, y, w)
    blocks = lambda n, size=None: [slice(i, i+7) for i in range(0, n, 7)]
    monkeypatch.setattr(multilabel, '_blocks', blocks)
    np.testing.assert_array_equal(multilabel._matches(s, y.astype(bool), [3, 5]), whole)
    np.testing.assert_array_equal(multilabel._counts(s > .5, y, w), counts)

@pytest.mark.parametrize('k', [0, -1, 12, 13, 2.5, None, '3'])
def test_k_must_leave_something_out(k):
    with pytest.raises(FabricError, match='give a whole number from 1 to 11'): top_k_recall(*draw(), k=k)


# --- groups ---

def test_each_group_is_ranked_within_itself():
    s, y = draw()
    groups = in_groups(6, 4, 2)
    t = group_recall(s, y, groups).set_index(['group', 'k'])
    for g, c in dict(g=slice(0, 6), h=slice(6, 10), all=slice(None)).items():
        assert np.isclose(t.recall[g, 3], top_k_recall(s[:, c], y[:, c], 3))
        assert np.isclose(t.chance[g, 3], top_k_recall(0*s[:, c], y[:, c], 3))
        assert np.isclose(t.ceiling[g, 3], top_k_recall(y[:, c], y[:, c], 3))
        assert t.lo[g, 3] <= t.recall[g, 3] <= t.hi[g, 3]
        assert t.n[g, 3] == y[:, c].any(1).sum()
    assert t.loc['i'][['recall', 'lo', 'hi', 'chance', 'ceiling']].isna().all(axis=None)     # two attributes: the top 3 is all of them
    assert np.isnan(t.recall['h', 5]) and not np.isnan(t.recall['all', 5])

def test_a_group_without_labels_is_undefined_and_says_so():
    s, y = draw()
    y[:, 6:] = 0
    t = group_recall(s, y, in_groups(6, 6)).set_index(['group', 'k'])
    assert np.isnan(t.recall['h', 3]) and np.isnan(t.ceiling['h', 3]) and t.n['h', 3] == 0
    assert t.recall['all', 3] > 0

def test_groups_need_not_lie_together():
    s, y = draw(k=6)
    mixed = dict(a='x', b='y', c='x', d='y', e='x', f='x')
    t = group_recall(s, y, mixed, ks=(1,)).set_index('group')
    assert np.isclose(t.recall['y'], top_k_recall(s[:, [1, 3]], y[:, [1, 3]], 1))

def test_group_intervals_are_those_of_copied_photos():
    s, y = draw()
    t = group_recall(s, y, in_groups(12), ks=(3,), clusters=np.arange(60)//3, n_boot=50, seed=4)
    w = resamples(60, np.arange(60)//3, 50, 4).astype(int)
    by_hand = np.quantile([top_k_recall(s.repeat(i, 0), y.repeat(i, 0), 3) for i in w], [.025, .975])
    np.testing.assert_allclose(t.loc[0, ['lo', 'hi']].astype(float), by_hand)

@pytest.mark.parametrize('groups, message', [
    (in_groups(5), 'groups names 5 attributes but scores and labels have 12 columns'), (in_groups(13), 'groups names 13 attributes'),
    (list('abcdefghijkl'), 'groups must be a dict'), ({**in_groups(11), 'x': 'all'}, "no group may be called 'all'")])
def test_groups_that_do_not_fit(groups, message):
    with pytest.raises(FabricError, match=message): group_recall(*draw(), groups)

@pytest.mark.parametrize('ks', [(0,), (3, 2.5), (-1,), ('a',)])
def test_ks_are_whole_numbers(ks):
    with pytest.raises(FabricError, match='ks holds'): group_recall(*draw(), in_groups(12), ks)

def test_published_figures_are_those_of_the_papers():
    t = PUBLISHED.set_index(['model', 'group', 'k']).recall.sort_index()
    assert t['FashionNet', 'all'].tolist() == [.455, .546] and t['FashionNet', 'fabric'].tolist() == [.393, .498] and t['FashionNet', 'part'].tolist() == [.441, .54]
    assert t['Liu & Lu', 'all'].tolist() == [.547, .637] and t['Liu & Lu', 'fabric'].tolist() == [.432, .535] and t['Liu & Lu', 'part'].tolist() == [.47, .574]
    assert t['Liu & Lu', 'category'].tolist() == [.912, .961] and len(PUBLISHED) == 14 and PUBLISHED.source.notna().all()


# --- attribute by attribute ---

@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('digits', [None, 1])
def test_attributes_as_in_sklearn(seed, digits):
    s, y = draw(seed=seed, digits=digits)
    y[:, 3] = 0; s[:, 4] = 0; y[:, 5] = 0; s[:, 5] = 0              # no support; nothing said; neither
    cut = np.random.default_rng(seed).uniform(.3, 1, 12)
    t = attribute_scores(s, y, names(12), cut)
    p, r, f, support = precision_recall_fscore_support(y, s >= cut, zero_division=np.nan)
    for mine, theirs in ((t.precision, p), (t.recall, r), (t.f1, f), (t.support, support)): np.testing.assert_allclose(mine, theirs, atol=1e-9)
    has = y.any(0)
    np.testing.assert_allclose(t.ap[has], average_precision_score(y[:, has], s[:, has], average=None), atol=1e-9)
    assert t.ap[~has].isna().all()
    np.testing.assert_array_equal(t.threshold, cut)

@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, np.int64, np.uint8, bool])
def test_any_numbers_will_do(dtype):
    s, y = draw()
    s = (s*4).astype(dtype)
    t = attribute_scores(s, y, names(12), 2.)
    np.testing.assert_allclose(t.ap, attribute_scores(s.astype(float), y.astype(float), names(12), 2.).ap)
    assert np.isclose(top_k_recall(s, y), top_k_recall(s.astype(float), y.astype(bool)))
    assert np.isfinite(tune_thresholds(s, y)).all()

def test_narrow_scores_stay_narrow():
    s, y = draw()
    s = s.astype(np.float32)
    assert multilabel._checked(s, y)[0] is s


# --- thresholds ---

def best_f1_by_trying(s, y):
    cuts = np.r_[np.unique(s), np.inf]
    return max(f1_score(y, s >= c, zero_division=0) for c in cuts)

@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(-4, 4), st.booleans()), min_size=1, max_size=14), st.sampled_from([np.float32, np.float64]))
def test_no_threshold_beats_the_tuned_one(pairs, dtype):
    s, y = (np.array(x)[:, None] for x in zip(*pairs))
    s = (s/3).astype(dtype)
    if not y.any(): return
    cut = tune_thresholds(s, y, min_support=1)
    f1 = f1_score(y[:, 0], (s >= cut)[:, 0])
    assert np.isclose(f1, best_f1_by_trying(s[:, 0], y[:, 0]))
    lower, upper = s[s < cut], s[s >= cut]
    if len(lower): assert np.isclose(cut[0], (float(lower.max()) + float(upper.min()))/2)
    else: assert cut[0] == s.min()

def test_the_higher_of_two_equal_cuts():
    s, y = np.array([.9, .8, .7, .6])[:, None], np.array([1, 0, 0, 1])[:, None]      # 1 of 1: .67; 2 of 4: .67
    np.testing.assert_allclose(tune_thresholds(s, y, min_support=1), [.85])

def test_neighbouring_floats_have_no_middle():
    for dtype in (np.float32, np.float64):
        high = np.nextafter(dtype(.5), dtype(1))
        s, y = np.array([[high], [.5]], dtype=dtype), [[1], [0]]
        assert attribute_scores(s, y, ['a'], tune_thresholds(s, y, 1)).f1[0] == 1

@pytest.mark.parametrize('support, tuned', [(0, False), (4, False), (5, True)])
def test_few_photos_keep_the_default(support, tuned):
    s = np.linspace(1, 0, 40)[:, None].repeat(2, 1)
    y = np.zeros((40, 2)); y[:20, 0] = 1; y[:support, 1] = 1
    cut = tune_thresholds(s, y, default=.123)
    assert (cut[1] != .123) == tuned and cut[0] != .123
    assert tune_thresholds(s, y, min_support=0, default=.123)[1] == (.123 if support == 0 else tune_thresholds(s, y, 1)[1])

def test_blocks_of_attributes_do_not_matter():
    s, y = draw(k=70, n=50)
    cut, t = tune_thresholds(s, y), attribute_scores(s, y, names(70))
    for i in (0, 31, 32, 69):
        assert tune_thresholds(s[:, [i]], y[:, [i]])[0] == cut[i]
        assert attribute_scores(s[:, [i]], y[:, [i]], ['a']).ap[0] == t.ap[i]


# --- one line per model ---

def summary_by_sklearn(s, y, cut):
    "The same figures from scikit-learn, over attributes with support"
    has, said = y.any(0), s >= cut
    return dict(macro_f1=f1_score(y[:, has], said[:, has], average='macro', zero_division=0), micro_f1=f1_score(y, said, average='micro', zero_division=0),
                mAP=average_precision_score(y[:, has], s[:, has], average='macro'), top3_recall=top_k_recall(s, y, 3), top5_recall=top_k_recall(s, y, 5),
                plain_accuracy=(said == y).mean())

@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('digits', [None, 1])
def test_summary_as_in_sklearn(seed, digits):
    s, y = draw(n=150, seed=seed, digits=digits)
    y[:, 3] = 0
    cut, rates = np.linspace(.4, .9, 12), y[:70].mean(0)
    found = score_dict(summary(dict(m=s), y, y[:70], cut, n_boot=3).rename(columns=dict(group='touch')))['all']
    for model, scores, at in (('m', s, cut), ('nothing', 0*s, .5), ('everything', 0*s+1, .5), ('frequency', 0*s+rates, .5)):
        for metric, value in summary_by_sklearn(scores, y, at).items(): assert np.isclose(found[model][metric], value, atol=1e-9), (model, metric)

@pytest.mark.parametrize('digits', [None, 1])
def test_summary_intervals_are_those_of_copied_photos(digits):
    s, y = draw(n=50, seed=3, digits=digits)
    products = np.arange(50)//2
    t = summary(s, y, y[:20], .8, clusters=products, n_boot=40, seed=9).set_index(['model', 'metric'])
    w = resamples(50, products, 40, 9).astype(int)
    for model, scores, cut in (('model', s, .8), ('frequency', 0*s + y[:20].mean(0), .5)):
        draws = pd.DataFrame([summary_by_sklearn(scores.repeat(i, 0), y.repeat(i, 0), cut) for i in w])
        for metric in draws: np.testing.assert_allclose(t.loc[(model, metric), ['lo', 'hi']].astype(float), draws[metric].quantile([.025, .975]), rtol=1e-6, atol=1e-9)

def test_versus_is_the_difference_on_the_same_resamples():
    (a, y), b = draw(seed=1), draw(seed=2)[0]
    alone, gap = (summary(dict(a=a, b=b), y, n_boot=30, versus=v).set_index(['model', 'metric']) for v in (None, 'b'))
    np.testing.assert_allclose(gap.value['a'], alone.value['a'] - alone.value['b'])
    assert 'b' not in gap.index and {'a', 'nothing', 'everything'} == set(gap.index.get_level_values(0))
    same = summary(dict(a=a, b=a), y, n_boot=30, versus='b').query('model == "a"')
    assert (same[['value', 'lo', 'hi']] == 0).all(axis=None)

def test_nothing_has_high_plain_accuracy_and_no_more():
    y = (np.random.default_rng(0).random((500, 200)) < .02).astype(np.uint8)
    v = summary(y*.9, y, n_boot=2).set_index(['model', 'metric']).value
    assert v['nothing', 'plain_accuracy'] > .97 and v['nothing', 'macro_f1'] == v['nothing', 'micro_f1'] == 0
    assert np.isclose(v['nothing', 'top5_recall'], 5/200) and np.isclose(v['nothing', 'mAP'], y.mean())
    assert v['model', 'macro_f1'] == v['model', 'mAP'] == v['model', 'plain_accuracy'] == 1

def test_summary_of_few_attributes_leaves_the_top_undefined():
    s, y = draw(k=4)
    v = summary(s, y, n_boot=2).set_index(['model', 'metric']).value
    assert np.isnan(v['model', 'top5_recall']) and v['model', 'top3_recall'] > 0
    assert table_of(summary(s, y, n_boot=2)).loc[('all', 'model'), 'top5_recall'] == '-'

def test_thresholds_by_model():
    s, y = draw()
    t = summary(dict(a=s, b=s), y, thresholds=dict(a=.9), n_boot=2).set_index(['model', 'metric']).value
    assert np.isclose(t['a', 'micro_f1'], f1_score(y, s >= .9, average='micro')) and np.isclose(t['b', 'micro_f1'], f1_score(y, s >= .5, average='micro'))
    for bad, message in ((dict(c=.5), "unknown model 'c'"), (dict(nothing=.5), "unknown model 'nothing'"), ([.5]*3, 'one for each of the 12'), (np.nan, 'hold a nan'), ('half', 'thresholds are not numbers')):
        with pytest.raises(FabricError, match=message): summary(dict(a=s), y, thresholds=bad)

def test_same_seed_same_table():
    s, y = draw()
    pd.testing.assert_frame_equal(summary(s, y, y), summary(s, y, y, seed=0))
    assert not summary(s, y, n_boot=20).equals(summary(s, y, n_boot=20, seed=1))

def test_frequency_needs_no_memory_per_photo():
    f = frequency([[1, 0], [1, 1]], 10**9)
    assert f.shape == (10**9, 2) and f[5].tolist() == [1, .5]


@pytest.mark.stress
def test_the_official_test_part_fits():
    "40,000 photos x 1,000 attributes: seconds, and little memory beside the scores"
    rng, rates = np.random.default_rng(0), np.geomspace(.05, .0002, 1000)
    y = (rng.random((40_000, 1000), dtype=np.float32) < rates).astype(np.uint8)
    s = rng.standard_normal((40_000, 1000), dtype=np.float32)
    s += 2*y
    tracemalloc.start()
    start = time.perf_counter()
    cut = tune_thresholds(s, y)
    t = summary(s, y, y, cut)
    peak, seconds = tracemalloc.get_traced_memory()[1]/1e9, time.perf_counter()-start
    tracemalloc.stop()
    print(f'{seconds:.0f} s, {peak:.2f} GB beside the scores')
    assert peak < .5 and seconds < 300 and len(t) == 4*6


# --- exclusive groups ---

@pytest.mark.parametrize('seed', range(5))
def test_choices_as_in_sklearn(seed):
    s, y, groups = classes(seed=seed, sizes=(3, 6), n=30)           # small: some class is never true, or never said
    train = classes(seed=seed+100, sizes=(3, 6))[1]
    t = exclusive_scores(s, y, groups, ('g', 'h'), train, n_boot=2).set_index(['group', 'model', 'metric'])
    for g, c in (('g', slice(0, 3)), ('h', slice(3, 9))):
        rows = y[:, c].any(1)
        true, said, common = y[rows][:, c].argmax(1), s[rows][:, c].argmax(1), train[:, c].sum(0).argmax()
        for m, pred in (('model', said), ('most_frequent', np.full(len(said), common))):
            assert np.isclose(t.value[g, m, 'accuracy'], accuracy_score(true, pred), atol=1e-9)
            assert np.isclose(t.value[g, m, 'macro_f1'], f1_score(true, pred, average='macro', zero_division=0), atol=1e-9)
            recalls = [(pred[true == i] == i).mean() for i in np.unique(true)]
            assert np.isclose(t.value[g, m, 'balanced_accuracy'], np.mean(recalls), atol=1e-9)
            if set(pred) <= set(true): assert np.isclose(t.value[g, m, 'balanced_accuracy'], balanced_accuracy_score(true, pred), atol=1e-9)
        assert (t.n[g] == rows.sum()).all() and (t.left_out[g] == 30-rows.sum()).all() and (t.n_classes[g] == c.stop-c.start).all()

def test_chance_is_what_guessing_gets():
    _, y, groups = classes(n=400, sizes=(4,), unlabelled=0)
    t = exclusive_scores(0*y, y, groups, ['g'], n_boot=2).set_index(['model', 'metric']).value
    rng, true = np.random.default_rng(0), y.argmax(1)
    guesses = [rng.integers(4, size=400) for _ in range(300)]
    assert np.isclose(t['chance', 'accuracy'], .25) and np.isclose(t['chance', 'balanced_accuracy'], .25)
    assert np.isclose(t['chance', 'macro_f1'], np.mean([f1_score(true, p, average='macro') for p in guesses]), atol=.005)
    pd.testing.assert_series_equal(t['model'], t['chance'], check_names=False)          # the same score for all

def test_choice_intervals_are_those_of_copied_photos():
    s, y, groups = classes(n=40)
    t = exclusive_scores(s, y, groups, ('g', 'h'), n_boot=30, seed=2).set_index(['group', 'model', 'metric'])
    draws = {g: [] for g in 'gh'}
    for i in resamples(40, None, 30, 2).astype(int):
        for g, c in (('g', slice(0, 3)), ('h', slice(3, 7))):
            rows = np.repeat(np.arange(40), i)
            rows = rows[y[rows, c].any(1)]
            draws[g].append(f1_score(y[rows, c].argmax(1), s[rows, c].argmax(1), average='macro', zero_division=0))
    draws['mean'] = np.mean([draws['g'], draws['h']], axis=0)
    for g, d in draws.items(): np.testing.assert_allclose(t.loc[(g, 'model', 'macro_f1'), ['lo', 'hi']].astype(float), np.quantile(d, [.025, .975]))
    assert t.n['mean', 'model', 'accuracy'] == y.any(1).sum()

def test_choices_versus_a_baseline():
    s, y, groups = classes()
    plain, gap = (exclusive_scores(dict(a=s), y, groups, ['g'], y, versus=v, n_boot=20).set_index(['model', 'metric']).value for v in (None, 'most_frequent'))
    np.testing.assert_allclose(gap['a'], plain['a'] - plain['most_frequent'])
    assert 'most_frequent' not in gap and 'chance' in gap

def test_one_group_has_no_mean_row():
    s, y, groups = classes()
    assert set(exclusive_scores(s, y, groups, ['h'], n_boot=2).group) == {'h'}
    assert set(table_of(exclusive_scores(s, y, groups, ['g', 'h'], n_boot=2), 'accuracy').columns) == {'g', 'h', 'mean'}

def test_bad_choices():
    s, y, groups = classes()
    two = y.copy(); two[4, :3] = 1
    with pytest.raises(FabricError, match="photo number 4 has 3 labels of the exclusive group 'g': g0, g1, g2"): exclusive_scores(s, two, groups, ['g'])
    exclusive_scores(s, two, groups, ['h'], n_boot=2)               # the group that is not named may hold several
    with pytest.raises(FabricError, match="photo number 4 has 3 labels"): exclusive_scores(s, y, groups, ['g'], two)
    none = y.copy(); none[:, 3:] = 0
    with pytest.raises(FabricError, match="no photo has a label of the group 'h'; leave it out"): exclusive_scores(s, none, groups, ['g', 'h'])
    with pytest.raises(FabricError, match="no photo has a label of the group 'h'"): exclusive_scores(s, y, groups, ['g', 'h'], none)
    with pytest.raises(FabricError, match="unknown group 'z'; choose from: g, h"): exclusive_scores(s, y, groups, ['z'])
    with pytest.raises(FabricError, match='names no group; choose from: g, h'): exclusive_scores(s, y, groups, [])
    with pytest.raises(FabricError, match='train_y has 6 columns'): exclusive_scores(s, y, groups, ['g'], y[:, 1:])
    with pytest.raises(FabricError, match="'chance' is the name of a baseline"): exclusive_scores(dict(chance=s), y, groups, ['g'])
    with pytest.raises(FabricError, match="unknown model 'b'; choose from: model, chance"): exclusive_scores(s, y, groups, ['g'], versus='b')


# --- hostile input, everywhere ---

TAKES = dict(top_k_recall=lambda s, y: top_k_recall(s, y), group_recall=lambda s, y: group_recall(s, y, in_groups(12)), attribute_scores=lambda s, y: attribute_scores(s, y, names(12)),
             tune_thresholds=lambda s, y: tune_thresholds(s, y), summary=lambda s, y: summary(s, y, n_boot=2), exclusive_scores=lambda s, y: exclusive_scores(s, y, in_groups(12), ['g'], n_boot=2))

def spoilt(change):
    s, y = draw()
    y = np.eye(12, dtype=np.uint8)[y.argmax(1)]
    return change(s, y)

def put(x, value):
    x = x.astype(float)
    x[7, 2] = value
    return x

BAD = {
    'one score is nan': (lambda s, y: (put(s, np.nan), y), '1 scores are nan or infinite, the first of photo number 7'),
    'one score is infinite': (lambda s, y: (put(s, -np.inf), y), '1 scores are nan or infinite'),
    'scores are words': (lambda s, y: (s.astype(str), y), 'scores are not numbers'),
    'scores are complex': (lambda s, y: (s + 1j, y), 'scores are not numbers'),
    'scores are ragged': (lambda s, y: ([[1], [1, 2]], y), 'scores are not one array'),
    'a column is missing': (lambda s, y: (s[:, 1:], y), r'scores have shape \(60, 11\) but labels have shape \(60, 12\)'),
    'a photo is missing': (lambda s, y: (s[1:], y), r'scores have shape \(59, 12\)'),
    'labels are -1 and 1': (lambda s, y: (s, np.where(y, 1, -1)), 'labels are not 0 or 1: the first is -1'),
    'a label is nan': (lambda s, y: (s, put(y, np.nan)), '1 labels are not 0 or 1: the first is nan, of photo number 7 in column 2'),
    'a label is a half': (lambda s, y: (s, put(y, .5)), 'the first is 0.5'),
    'labels are words': (lambda s, y: (s, y.astype(str)), 'labels are not numbers'),
    'labels are one list': (lambda s, y: (s[:, 0], y[:, 0]), r'labels have shape \(60,\)'),
    'no photo': (lambda s, y: (s[:0], y[:0]), r'labels have shape \(0, 12\)'),
    'no label at all': (lambda s, y: (s, 0*y), 'none of the 60 photos has a label'),
}

@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('name', TAKES)
def test_bad_input_is_named(name, bad):
    change, message = BAD[bad]
    with pytest.raises(FabricError, match=message): TAKES[name](*spoilt(change))

@pytest.mark.parametrize('name', TAKES)
def test_input_is_left_as_it_was(name):
    s, y = spoilt(lambda s, y: (s, y))
    before = s.copy(), y.copy()
    s.flags.writeable = y.flags.writeable = False
    TAKES[name](s, y)
    np.testing.assert_array_equal(s, before[0]); np.testing.assert_array_equal(y, before[1])

def test_other_bad_input():
    s, y = draw()
    with pytest.raises(FabricError, match='11 names for 12 attributes'): attribute_scores(s, y, names(11))
    with pytest.raises(FabricError, match='no model to score'): summary({}, y)
    with pytest.raises(FabricError, match="'frequency' is the name of a baseline"): summary(dict(frequency=s), y)
    with pytest.raises(FabricError, match=r'scores have shape \(60, 11\)'): summary(s, y, y[:, 1:])
    with pytest.raises(FabricError, match='3 groups for 60 fabrics'): summary(s, y, clusters=[1, 2, 3])


# --- figures ---

@pytest.mark.parametrize('n_names', [0, 1, 3, 40])
def test_the_figure_names_the_ends(n_names):
    import matplotlib.pyplot as plt
    s, y = draw()
    y[:, 0] = 0                                                     # no support: not drawn
    t = attribute_scores(s, y, names(12), .8)
    ax = plot_attribute_scores(pd.concat([t, t.iloc[:0]]), 'ap', n_names=n_names)
    shown = [a.get_text() for a in ax.texts]
    assert len(shown) == min(2*n_names, 11) and 'a0' not in shown
    if n_names == 1: assert shown == [t.attribute[t.ap.idxmin()], t.attribute[t.ap.idxmax()]]
    plt.close('all')

def test_nothing_to_draw():
    t = attribute_scores(*draw(), names(12))
    with pytest.raises(FabricError, match='ap is nan for every attribute'): plot_attribute_scores(t.assign(ap=np.nan), 'ap')
