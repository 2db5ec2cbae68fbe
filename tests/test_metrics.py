"Scores against scipy and scikit-learn, hostile input, and the touch survey's published figures"
import os
from pathlib import Path

import numpy as np, pandas as pd, pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, r2_score

from fabric_touch.core import FabricError, TOUCHES
from fabric_touch.metrics import (METRICS, NUMBER_METRICS, base_rate, bootstrap, ceiling, compare, consensus, consensus_level, counts_from_levels, exact, expected_level,
                                  icc, most_frequent, number_scores, one_person, over_touches, predicted_level, qwk, ratings_array, resamples,
                                  rps, score_dict, score_table, spearman, touch_scores)

pytestmark = pytest.mark.once

SURVEY = Path(os.environ.get('FABRIC_TOUCH_DATA', 'not set'))/'touch_survey'
needs_survey = pytest.mark.skipif(not (SURVEY/'ratings.csv').exists(), reason='touch_survey is not here: FABRIC_TOUCH_DATA does not name a folder that holds it')


def draw(n=50, T=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet([1]*5, size=(n, T)), rng.multinomial(9, rng.dirichlet([1]*5, size=(n, T)))


# --- the numbers ---

def test_rps_is_the_mean_over_the_people_who_rated():
    probs, counts = draw(T=1)
    p, c = probs[:, 0], counts[:, 0]
    by_hand = [np.mean([((row.cumsum() - (np.arange(1, 6) >= level))**2).sum() for level in np.repeat(np.arange(1, 6), k)]) for row, k in zip(p, c)]
    assert np.isclose(rps(p, c), np.mean(by_hand))


def test_rps_is_proper_and_in_levels():
    truth = np.array([[.1, .2, .3, .3, .1]])
    best = rps(truth, truth*1000)
    for seed in range(50): assert rps(np.random.default_rng(seed).dirichlet([1]*5, 1), truth*1000) >= best
    for said in range(1, 6):
        for meant in range(1, 6): assert rps(counts_from_levels([said]), counts_from_levels([meant])) == abs(said-meant)


@pytest.mark.parametrize('seed', range(5))
@pytest.mark.parametrize('name', METRICS)
def test_weights_are_exactly_copied_rows(name, seed):
    probs, counts = draw(T=1, seed=seed)
    p, c, fn = probs[:, 0].round(1), counts[:, 0], METRICS[name].fn       # rounding makes ties
    p /= p.sum(1, keepdims=True)
    c[:3] = 0                                                             # not rated
    w = resamples(len(p), groups=np.arange(len(p))//2, n_boot=20, seed=seed)
    one_by_one = [fn(p.repeat(k, 0), c.repeat(k, 0)) for k in w.astype(int)]
    np.testing.assert_allclose(fn(p, c, w), one_by_one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('seed', range(5))
def test_same_as_scipy_and_sklearn(seed):
    probs, counts = draw(T=1, seed=seed)
    p, c = probs[:, 0], counts[:, 0]
    assert np.isclose(spearman(p, c), spearmanr(expected_level(p), consensus(c))[0])
    assert np.isclose(qwk(p, c), cohen_kappa_score(predicted_level(p), consensus_level(c), weights='quadratic', labels=range(1, 6)))
    x, y = np.random.default_rng(seed).normal(5e3, 1, (2, 30))
    assert np.isclose(NUMBER_METRICS['r2'].fn(x, y), r2_score(y, x))
    assert np.isclose(NUMBER_METRICS['spearman'].fn(x, y), spearmanr(x, y)[0])


def test_a_constant_prediction_has_no_order():
    _, counts = draw()
    scores = touch_scores(dict(base_rate=base_rate(counts, 50)), counts, n_boot=50)
    order = scores[scores.metric == 'spearman']
    assert order[['value', 'lo', 'hi']].isna().all(axis=None) and (score_table(scores, 'spearman') == '-').all(axis=None)
    assert score_dict(scores)['mean']['base_rate']['spearman'] is None
    noise = base_rate(counts, 50)[:, 0] + 1e-9*np.random.default_rng(0).normal(size=(50, 5))   # as a float32 softmax would give
    assert np.isnan(spearman(noise, counts[:, 0]))


def test_half_precision_and_torch_predictions():
    torch = pytest.importorskip('torch')
    probs, counts = draw(T=1)
    p, c = probs[:, 0], counts[:, 0]
    assert np.isclose(rps(p.astype(np.float16), c), rps(p, c), atol=1e-3)
    assert np.isclose(rps(torch.tensor(p), torch.tensor(c)), rps(p, c))


@pytest.mark.parametrize('k', [2, 3, 7])
def test_scales_of_another_length(k):
    rng = np.random.default_rng(k)
    levels = rng.integers(1, k+1, (40, 6, 2))
    counts = counts_from_levels(levels, k)
    models = dict(m=rng.dirichlet([1]*k, size=(40, 2)), most_frequent=most_frequent(counts, 40), base_rate=base_rate(counts, 40),
                  one_person=one_person(levels, n_levels=k), ceiling=ceiling(counts))
    scores = touch_scores(models, counts, ('warmth', 'drape'), n_boot=20)
    p, c = models['m'][:, 0], counts[:, 0]
    assert np.isclose(qwk(p, c), cohen_kappa_score(predicted_level(p), consensus_level(c), weights='quadratic', labels=range(1, k+1)))
    assert scores[scores.metric == 'rps'].value.notna().all()


# --- intervals and tables ---

def test_same_seed_same_table_and_column_order():
    probs, counts = draw()
    a, b = (touch_scores(dict(m=probs), counts, n_boot=50, seed=3) for _ in range(2))
    pd.testing.assert_frame_equal(a, b)
    assert list(a.columns) == ['touch', 'model', 'metric', 'value', 'lo', 'hi', 'n']
    assert len(a) == len(METRICS)*(len(TOUCHES)+1)
    assert not touch_scores(dict(m=probs), counts, n_boot=50, seed=4).equals(a)


def test_table_agrees_with_bootstrap_of_the_mean():
    probs, counts = draw()
    blends = np.arange(50)//3
    row = touch_scores(dict(m=probs), counts, groups=blends, n_boot=200).query("touch == 'mean' and metric == 'rps'").iloc[0]
    assert np.allclose(bootstrap(over_touches(rps), probs, counts, groups=blends, n_boot=200), row[['value', 'lo', 'hi']].astype(float))


def test_interval_covers_the_truth():
    "Of 200 samples, the 95 % interval of a mean holds the true mean in most"
    rng = np.random.default_rng(0)
    def mean(x, weights=None): return x.mean() if weights is None else weights @ x / weights.sum(-1)
    hits = sum(lo <= 0 <= hi for _, lo, hi in (bootstrap(mean, rng.normal(size=60), n_boot=300, seed=i) for i in range(200)))
    assert 180 <= hits <= 199


def test_interval_of_any_function():
    x = np.random.default_rng(0).normal(size=40)
    value, lo, hi = bootstrap(np.median, x, n_boot=200)
    assert lo < value < hi and value == np.median(x)


def test_compare_sees_what_overlap_hides():
    _, counts = draw(n=200)
    noise = np.random.default_rng(1).dirichlet([1]*5, size=(200, 4))
    truth = counts/counts.sum(-1, keepdims=True)
    a, b = .27*truth + .73*noise, .25*truth + .75*noise
    scores = touch_scores(dict(a=a, b=b), counts, n_boot=200).query("touch == 'mean' and metric == 'rps'").set_index('model')
    assert scores.hi.a > scores.lo.b                                # the two intervals overlap
    assert compare(a, b, counts, 'rps', n_boot=200)[1] > 0          # and yet the first is better on the same fabrics
    assert np.allclose(compare(a, b, counts, n_boot=50), -np.array(compare(b, a, counts, n_boot=50))[[0, 2, 1]])


def test_numbers_without_truth_are_left_out():
    y = np.array([1., 2, np.nan, 4, 5])
    scores = number_scores(dict(m=[1, 2, 3, 4, 5]), y, 'weight', n_boot=20)
    assert set(scores.n) == {4} and (scores.touch == 'weight').all()
    assert scores.set_index('metric').value.to_dict() == dict(spearman=1, mae=0, r2=1)


def test_a_rater_who_left_out_a_touch():
    levels = np.random.default_rng(0).integers(1, 6, (30, 5, 4)).astype(float)
    levels[:, 0, 1] = np.nan
    counts = counts_from_levels(levels)
    scores = touch_scores(dict(one_person=one_person(levels)), counts, n_boot=20)
    assert scores.value.notna().all()


# --- hostile input ---

P, C = (a[:, 0] for a in draw(T=1))
BAD = dict(
    shapes=(lambda: rps(P[:9], C), r'\(9, 5\).*\(50, 5\)'),
    a_column=(lambda: rps(P[:, :1], C), r'the chance of each level'),
    four_levels=(lambda: rps(P[:, :4]/P[:, :4].sum(1, keepdims=True), C), r'\(50, 4\).*\(50, 5\)'),
    logits=(lambda: rps(P*7, C), 'sum to 1'),
    nan=(lambda: spearman(np.where(P == P[3], np.nan, P), C), '1 of 50 predictions are not chances'),
    negative=(lambda: exact(np.array([[1.5, -.5, 0, 0, 0]]), C[:1]), 'at least 0'),
    negative_counts=(lambda: qwk(P, C-9), 'negative number'),
    words=(lambda: counts_from_levels(['soft']), 'not one array of numbers'),
    ragged=(lambda: counts_from_levels([[1, 2], [3]]), 'not one array of numbers'),
    level_0=(lambda: counts_from_levels([3, 0]), 'the first is 0, of fabric number 1'),
    level_6=(lambda: counts_from_levels([[6.]]), 'the first is 6'),
    unrated=(lambda: rps(P, C*0), 'none of the 50 fabrics is rated'),
    empty=(lambda: rps(P[:0], C[:0]), 'none of the 0 fabrics'),
    all_touches_at_once=(lambda: rps(P[:, None], C[:, None]), 'one touch at a time'),
    weights=(lambda: rps(P, C, np.ones(3)), r'weights have shape \(3,\)'),
    one_fabric=(lambda: bootstrap(rps, P[:1], C[:1]), 'two groups at least'),
    no_fabric=(lambda: resamples(0), 'two groups at least'),
    short_groups=(lambda: bootstrap(rps, P, C, groups=[1, 2]), '2 groups for 50 fabrics'),
    nan_groups=(lambda: resamples(2, groups=['a', None]), 'have no group'),
    arrays_of_two_lengths=(lambda: bootstrap(rps, P, C[:9]), r'\[50, 9\] rows'),
    metric=(lambda: compare(P, P, C, 'accuracy'), 'choose from: rps'),
    touch_unrated=(lambda: touch_scores(dict(m=draw()[0]), draw()[1]*np.array([1, 0, 1, 1])[:, None]), "rated on 'smoothness'"),
    touches=(lambda: touch_scores(dict(m=P), C), 'for 4 touches'),
    model=(lambda: touch_scores(dict(short=draw(9)[0]), draw()[1]), "model 'short'"),
    half_answers=(lambda: ceiling(C/2), 'whole numbers'),
    table=(lambda: score_table(touch_scores(dict(m=draw()[0]), draw()[1], n_boot=2), 'auc'), "unknown metric 'auc'"),
    flat_icc=(lambda: icc([1, 2, 3]), 'one touch'),
    truth_nan=(lambda: number_scores(dict(m=[1, 2]), [np.nan]*2), 'all are nan'),
    pred_nan=(lambda: number_scores(dict(m=[1, np.nan]), [1, 2]), 'fabric number 1'),
)

@pytest.mark.parametrize('case', BAD)
def test_bad_input_is_named(case):
    call, words = BAD[case]
    with pytest.raises(FabricError, match=words): call()


# --- the survey ---

@pytest.fixture(scope='module')
def survey():
    frame = pd.read_csv(SURVEY/'ratings.csv')
    groups = pd.read_csv(SURVEY/'folds.csv').set_index('fabric').blend_group[sorted(frame.fabric.unique())].to_numpy()
    stable = ratings_array(frame[frame.rater <= 15])           # the response slots that behave like people
    return counts_from_levels(ratings_array(frame)), stable, groups


def published(**rows): return pd.DataFrame(rows, index=TOUCHES)

def check(name, got, want, tol):
    table = pd.DataFrame({('got', k): got[k] for k in want} | {('published', k): want[k] for k in want}).round(3)
    print(f'\n{name}, 69 fabrics against the 86 of the survey README (tolerance {tol})\n{table.to_string()}')
    assert (abs(got[list(want)] - want) <= tol).all(axis=None), f'{name} is off by {abs(got[list(want)]-want).max(axis=None):.3f}, more than {tol}'

def values(scores, model): return scores[(scores.model == model) & (scores.touch != 'mean')].pivot(index='touch', columns='metric', values='value').loc[list(TOUCHES)]


@needs_survey
def test_survey_agreement(survey):
    _, stable, _ = survey
    got = pd.DataFrame(dict(icc=[icc(stable[..., t]) for t in range(4)]), index=TOUCHES)
    check('one rater with another', got, published(icc=[.33, .45, .68, .63]), .02)


@needs_survey
def test_survey_yardsticks(survey):
    counts, stable, groups = survey
    n = len(counts)
    models = dict(most_frequent=most_frequent(counts, n), base_rate=base_rate(counts, n), one_person=one_person(stable),
                  ceiling=ceiling(counts), unshrunk=ceiling(counts, shrink=0))
    scores = touch_scores(models, counts, groups=groups, n_boot=200)
    print('\n' + score_table(scores).to_string())
    check('most frequent level', values(scores, 'most_frequent'), published(exact=[.49, .38, .40, .29]), .02)
    check('one person', values(scores, 'one_person'),
          published(spearman=[.56, .67, .83, .79], qwk=[.46, .56, .78, .73], exact=[.35, .40, .52, .45]), .05)
    perfect = published(spearman=[.95, .97, .99, .98], qwk=[.88, .89, .95, .94], mae=[.17, .16, .12, .15])
    check('ceiling, unshrunk', values(scores, 'unshrunk'), perfect, .02)
    check('ceiling', values(scores, 'ceiling'), perfect, .03)
    rps_of = scores[(scores.metric == 'rps') & (scores.touch != 'mean')].pivot(index='touch', columns='model', values='value')
    assert (rps_of.ceiling < rps_of.base_rate).all() and (rps_of.base_rate < rps_of.most_frequent).all()


@needs_survey
def test_survey_level_is_the_rounded_mean(survey):
    "What a perfect model names: the rounded mean meets the consensus level more often than the median or the most likely level"
    counts, *_ = survey
    draws = ceiling(counts, n_draws=40)
    median = lambda p: (p.cumsum(-1) < .5).sum(-1) + 1
    rules = dict(rounded=predicted_level, median=median, most_likely=lambda p: p.argmax(-1) + 1)
    share = {name: np.mean([(rule(p) == consensus_level(c)).mean(0) for p, c in draws], 0) for name, rule in rules.items()}
    print('\n', pd.DataFrame(share, index=TOUCHES).round(2))
    assert (share['rounded'] > share['median']).all() and (share['median'] > share['most_likely']).all()
    assert share['rounded'].min() > .79 and share['most_likely'].max() < .68
