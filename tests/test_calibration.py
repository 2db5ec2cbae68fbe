"Intervals against brute force, temperatures against a general minimiser, and the conformal promises against many draws"
import subprocess, sys

import numpy as np, pytest
from scipy.optimize import minimize_scalar

from fabric_touch.core import FabricError, TOUCHES
from fabric_touch.calibration import (TEMPERATURES, _entry, calibrate_folds, conformal_folds, conformal_mass, coverage_table, fit_temperature, level_interval, number_coverage,
                                      number_margin, plot_coverage, temper)
from fabric_touch.swatches import blend_part, draw_structures, level_probs, make_blends, photo_part, true_feel

pytestmark = pytest.mark.once

MASSES = (.05, .3, .5, .8, .9, .95, .999, 1)


def draw(n=60, T=4, raters=9, seed=0):
    "Predictions with any number of peaks, and answers that follow them exactly"
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([.7]*5, size=(n, T))
    return p, rng.multinomial(raters, p)

def five_folds(n): return [(np.flatnonzero(np.arange(n) % 5 != k), np.flatnonzero(np.arange(n) % 5 == k)) for k in range(5)]

def nll(p, c): return -(c/c.sum(-1, keepdims=True)*np.log(p)).sum(-1).mean()


# --- intervals ---

@pytest.mark.parametrize('mass', MASSES)
def test_interval_is_the_shortest_and_of_these_the_fullest(mass):
    p, _ = draw()
    for row, low, high in zip(p.reshape(-1, 5), *(x.ravel() for x in level_interval(p, mass))):
        runs = [(b-a, -row[a:b+1].sum()) for a in range(5) for b in range(a, 5) if row[a:b+1].sum() >= mass - 1e-6]
        assert np.allclose(min(runs), (high-low, -row[low-1:high].sum()))

@pytest.mark.parametrize('mass', MASSES)
def test_without_an_end_an_interval_holds_too_little(mass):
    p, _ = draw(seed=1)
    for row, low, high in zip(p.reshape(-1, 5), *(x.ravel() for x in level_interval(p, mass))):
        assert row[low-1:high].sum() >= mass - 1e-6
        if high > low: assert max(row[low:high].sum(), row[low-1:high-1].sum()) < mass

def test_intervals_of_one_peak_nest():
    truth = level_probs(true_feel(photo_part(draw_structures(500)), blend_part(make_blends(500))))
    ends = [level_interval(truth, m) for m in np.linspace(.02, 1, 50)]
    for (a, b), (c, d) in zip(ends, ends[1:]): assert (c <= a).all() and (b <= d).all()

def test_intervals_of_two_peaks_need_not_nest():
    p = np.array([[.35, .05, .3, .3, 0]])
    assert [(int(a[0]), int(b[0])) for a, b in (level_interval(p, .35), level_interval(p, .6))] == [(1, 1), (3, 4)]

def test_float32_chances_reach_the_mass_they_were_written_with():
    p = np.array([[.05, .9, .05, 0, 0]], np.float32)
    assert float(p[0, 1]) < .9 and [int(x[0]) for x in level_interval(p, .9)] == [2, 2]

def test_one_mass_per_touch_or_per_fabric_and_touch():
    p, _ = draw()
    m = np.array([.3, .5, .8, .95])
    for per in (m, np.tile(m, (len(p), 1))):
        for t in range(4): assert all((x[:, t] == y).all() for x, y in zip(level_interval(p, per), level_interval(p[:, t], m[t])))

@pytest.mark.parametrize('mass', [0, -.1, 1.01, 80, np.nan, [.8, .8], 'most'])
def test_impossible_masses(mass):
    with pytest.raises(FabricError, match='mass'): level_interval(draw()[0], mass)

@pytest.mark.parametrize('probs', [[.2]*5, np.full((3, 5), .3), np.full((3, 5), np.nan), 'soft'])
def test_predictions_that_are_no_chances(probs):
    for f in (level_interval, lambda p: temper(p, 2)):
        with pytest.raises(FabricError, match='predictions'): f(probs)


# --- temperature ---

def test_tempering_with_one_changes_nothing():
    p, _ = draw()
    np.testing.assert_allclose(temper(p, 1), p, rtol=1e-12)

@pytest.mark.parametrize('t', [*TEMPERATURES, .3, 1.7])
def test_tempering_keeps_order_and_divides_logits(t):
    p, _ = draw()
    q = temper(p, t)
    assert np.isfinite(q).all() and np.allclose(q.sum(-1), 1)
    assert (np.diff(np.take_along_axis(q, p.argsort(-1), -1)) >= 0).all()
    e = np.exp(np.log(p)/t - (np.log(p)/t).max(-1, keepdims=True))
    np.testing.assert_allclose(q, e/e.sum(-1, keepdims=True), rtol=1e-8, atol=1e-300)

def test_tempering_extremes():
    p = np.array([[0, 1e-30, .2, .3, .5], [0, 0, 0, 0, 1]])
    for t in (1e-3, .05, 20, 1e6): assert np.isfinite(temper(p, t)).all() and (temper(p, t)[p == 0] == 0).all()
    np.testing.assert_allclose(temper(p[:1], 1e-3), [[0, 0, 0, 0, 1]], atol=1e-9)
    np.testing.assert_allclose(temper(p[:1, 2:], 1e6), [[1/3]*3], atol=1e-5)

@pytest.mark.parametrize('t', [0, -1, np.nan, np.inf, [1, 2], 'warm'])
def test_impossible_temperatures(t):
    with pytest.raises(FabricError, match='temperature'): temper(draw()[0], t)

@pytest.mark.parametrize('t', [.3, .5, 1, 2, 4])
@pytest.mark.parametrize('seed', range(3))
def test_fit_finds_what_was_put_in(t, seed):
    p, c = draw(n=3000, seed=seed)
    np.testing.assert_allclose(fit_temperature(temper(p, t), c)*t, np.ones(4), atol=.06)

@pytest.mark.parametrize('seed', range(5))
def test_fit_is_the_minimum_of_the_negative_log_likelihood(seed):
    p, c = draw(seed=seed)
    q = temper(p, np.random.default_rng(seed).uniform(.4, 3, 4))
    for t, found in enumerate(fit_temperature(q, c)):
        best = minimize_scalar(lambda b: nll(temper(q[:, t], np.exp(b)), c[:, t]), bounds=np.log(TEMPERATURES), method='bounded', options=dict(xatol=1e-8))
        assert np.isclose(found, np.exp(best.x), rtol=1e-4)

def test_fit_weighs_each_fabric_the_same_and_leaves_out_the_unrated():
    p, c = draw()
    base = fit_temperature(p, c)
    np.testing.assert_allclose(fit_temperature(p, c*np.arange(1, 61)[:, None, None]), base)
    np.testing.assert_allclose(fit_temperature(p[::-1], c[::-1]), base)
    np.testing.assert_allclose(fit_temperature(p.astype(np.float32), c), base, rtol=1e-4)
    none = np.concatenate([c, 0*c])
    np.testing.assert_allclose(fit_temperature(np.concatenate([p, p[:, :, ::-1]]), none), base)

def test_fit_at_its_bounds_and_where_nothing_depends_on_it():
    _, c = draw()
    sharp = np.eye(5)[c.argmax(-1)]
    assert (fit_temperature(np.full(c.shape, .2), c) == 1).all()
    assert (fit_temperature(sharp, sharp) == 1).all()
    assert np.allclose(fit_temperature(sharp*.9 + .02, sharp), TEMPERATURES[0])
    assert (fit_temperature(sharp*.9 + .02, (1-sharp)) == TEMPERATURES[1]).all()
    assert np.isfinite(fit_temperature(sharp, c)).all()          # chances of 0 where people answered

def test_levels_that_a_touch_does_not_have_change_nothing():
    p, c = draw()
    p = temper(p, .1)                                            # needs a high temperature, which would lift a chance that is only nearly 0
    wide = [np.concatenate([x, np.zeros((60, 4, 2))], -1) for x in (p, c)]
    np.testing.assert_allclose(fit_temperature(*wide), fit_temperature(p, c))
    np.testing.assert_allclose(temper(wide[0], 3)[..., :5], temper(p, 3))

@pytest.mark.parametrize('probs,counts', [(np.full((3, 5), .2), np.ones((3, 5))), (np.full((3, 4, 5), .2), np.ones((2, 4, 5))), (np.full((3, 4, 5), .2), -np.ones((3, 4, 5))),
                                          (np.full((3, 4, 5), .2), np.zeros((3, 4, 5))), (np.full((3, 4, 5), np.nan), np.ones((3, 4, 5)))])
def test_what_cannot_be_fitted(probs, counts):
    for f in (fit_temperature, conformal_mass, lambda p, c: calibrate_folds(p, c, five_folds(3)), lambda p, c: conformal_folds(p, c, five_folds(3)), coverage_table):
        with pytest.raises(FabricError): f(probs, counts)


# --- folds ---

@pytest.mark.parametrize('fold', range(5))
@pytest.mark.parametrize('which', ['temperature', 'conformal'])
def test_no_fabric_takes_part_in_its_own_calibration(fold, which):
    p, c = draw(n=100)
    def run(c): return calibrate_folds(temper(p, .5), c, five_folds(100))[0] if which == 'temperature' else conformal_folds(p, c, five_folds(100))
    rows, poison = five_folds(100)[fold][1], c.copy()
    poison[rows] = poison[rows][:, :, ::-1]*7
    clean, other = run(c), run(poison)
    assert (clean[rows] == other[rows]).all()
    rest = np.setdiff1d(np.arange(100), rows)
    assert (clean[rest] != other[rest]).any()

def test_each_fold_gets_the_temperature_of_its_training_rows():
    p, c = draw(n=50)
    tempered, keep = calibrate_folds(p, c, five_folds(50))
    np.testing.assert_array_equal(keep, fit_temperature(p, c))
    for train, valid in five_folds(50): np.testing.assert_allclose(tempered[valid], temper(p[valid], fit_temperature(p[train], c[train])))

@pytest.mark.parametrize('folds', [[], five_folds(50)[1:], five_folds(50) + five_folds(50)[:1], five_folds(51), [(range(50), range(50))], [(range(25, 51), range(25)), (range(25), range(25, 50))],
                                   [(range(25), range(-25, 0)), (range(25, 50), range(25))]])
def test_folds_that_leak_or_leave_out(folds):
    p, c = draw(n=50)
    with pytest.raises(FabricError, match='fold'): calibrate_folds(p, c, folds)
    with pytest.raises(FabricError, match='fold'): conformal_folds(p, c, folds)


# --- the table ---

def test_table_by_hand():
    p = np.array([[[.1, .6, .3, 0, 0]], [[0, 0, .2, .3, .5]], [[.2, .2, .2, .2, .2]]])
    c = np.array([[[1, 2, 1, 0, 0]], [[4, 0, 0, 4, 0]], [[0]*5]])
    row, mean = coverage_table(p, c, (.8,), touches=['softness'], n_boot=20).to_dict('records')
    assert (row['touch'], mean['touch'], row['n']) == ('softness', 'mean', 2)      # nobody rated the third
    assert np.isclose(row['said'], (.9 + .8)/2) and np.isclose(row['observed'], (3/4 + 1/2)/2) and row['width'] == 2

def test_table_of_answers_that_follow_the_predictions():
    p, c = draw(n=4000)
    t = coverage_table(p, c, MASSES[:-1], n_boot=50)
    assert abs(t.said - t.observed).max() < .02 and (t.said >= t.asked - 1e-6).all() and (t.lo <= t.observed).all() and (t.observed <= t.hi).all()
    assert list(t.touch.unique()) == [*TOUCHES, 'mean'] and (np.diff(t[t.touch == 'mean'].observed) > 0).all()

def test_table_weighs_each_fabric_the_same_and_is_repeatable():
    p, c = draw()
    one = coverage_table(p, c, n_boot=50)
    assert one.equals(coverage_table(p, c, n_boot=50))
    np.testing.assert_allclose(coverage_table(p, c*np.arange(1, 61)[:, None, None], n_boot=50).drop(columns='touch'), one.drop(columns='touch'))

def test_table_draws_whole_groups():
    p, c = (x.repeat(2, 0) for x in draw(n=40))
    alone, whole = coverage_table(p, c, .8, seed=1), coverage_table(p, c, .8, np.arange(80)//2, seed=1)
    assert ((whole.hi - whole.lo) > (alone.hi - alone.lo)).mean() > .7
    with pytest.raises(FabricError, match='groups'): coverage_table(p, c, .8, ['one']*80)

def test_plot_refuses_unknown_words():
    p, c = draw()
    t = dict(model=coverage_table(p, c, n_boot=20))
    assert plot_coverage(t).get_xlabel() != plot_coverage(t, 'asked', 'softness').get_xlabel()
    with pytest.raises(FabricError, match='axis'): plot_coverage(t, 'hoped')
    with pytest.raises(FabricError, match='touch'): plot_coverage(t, touch='warmth')


# --- conformal ---

def test_above_its_entry_a_level_is_always_inside():
    p = draw(T=1, n=300)[0][:, 0]
    entry = _entry(p)
    for m in np.linspace(.01, 1, 100):
        low, high = level_interval(p, m)
        inside = (low[:, None] <= np.arange(1, 6)) & (np.arange(1, 6) <= high[:, None])
        assert inside[entry < m - 2e-6].all()
    assert (entry >= 0).all() and (entry < 1).all()

@pytest.mark.parametrize('n,mass', [(9, .8), (20, .8), (20, .5), (20, .95)])
@pytest.mark.parametrize('model', ['too sure', 'unrelated'])
def test_promise_holds_on_average_over_calibrations(n, mass, model):
    "Small calibration sets, a bad model with several peaks, answers of one fabric that agree with each other"
    rng = np.random.default_rng(n)
    truth = rng.dirichlet([.5]*5, size=4000)
    probs = temper(truth, .4) if model == 'too sure' else rng.dirichlet([1.]*5, size=4000)
    probs = .98*probs + .004
    counts = rng.multinomial(3, truth)
    share, entry, seen = counts/3, np.arange(1, 6), []
    for _ in range(600):
        rows = rng.choice(4000, n + 50, replace=False)
        m = conformal_mass(probs[rows[:n], None], counts[rows[:n], None], mass)
        low, high = level_interval(probs[rows[n:]], m[0])
        seen.append((share[rows[n:]]*((low[:, None] <= entry) & (entry <= high[:, None]))).sum(1).mean())
    assert np.mean(seen) > mass - 3*np.std(seen)/600**.5
    assert np.mean(seen) < mass + 2.5/n + .03                     # and promises are not kept by holding everything

def test_promise_counts_groups_not_fabrics():
    p, c = draw(n=40)
    p = .98*p + .004
    np.testing.assert_allclose(conformal_mass(p.repeat(3, 0), c.repeat(3, 0), .8, np.arange(40).repeat(3)), conformal_mass(p, c, .8))
    assert (conformal_mass(p.repeat(3, 0), c.repeat(3, 0), .8) <= conformal_mass(p, c, .8) + 1e-12).all()       # more units, less caution
    np.testing.assert_array_equal(conformal_mass(p, c, .8, [str(k) for k in range(40)]), conformal_mass(p, c, .8))
    with pytest.raises(FabricError, match='groups have shape'): conformal_mass(p, c, .8, range(39))
    with pytest.raises(FabricError, match='groups have shape'): conformal_folds(p, c, five_folds(40), .8, range(39))

@pytest.mark.parametrize('mass,fewest', [(.5, 1), (.8, 4), (.9, 9), (.95, 19)])
def test_fewest_units_that_can_promise(mass, fewest):
    p, c = draw(n=30, seed=2)
    p = .98*p + .004
    assert (conformal_mass(p[:fewest], c[:fewest], mass) <= 1).all()
    if fewest > 1:
        with pytest.raises(FabricError, match=f'bring {fewest} at least'): conformal_mass(p[:fewest-1], c[:fewest-1], mass)

@pytest.mark.parametrize('mass', [0, 1, -1, 80, np.nan])
def test_promises_nobody_can_keep(mass):
    with pytest.raises(FabricError, match='promised'): conformal_mass(*draw(), mass)


# --- numbers ---

def draw_numbers(n=100, seed=0):
    "Predictions, truths that scatter by a spread of their own, and the spreads"
    rng = np.random.default_rng(seed)
    pred, spread = rng.normal(5, .5, n), rng.uniform(.1, .4, n)
    return pred, pred + spread*rng.standard_t(4, n), spread

@pytest.mark.parametrize('n,mass,k', [(4, .8, 4), (9, .8, 8), (10, .8, 9), (19, .95, 19), (20, .95, 20), (99, .9, 90), (3, .5, 2), (1, .5, 1), (1, .3, 1)])
def test_margin_is_the_kth_smallest_error(n, mass, k):
    pred, true, spread = draw_numbers(n)
    assert number_margin(pred, true, mass) == sorted(abs(pred-true))[k-1]
    assert number_margin(pred, true, mass, spread) == sorted(abs(pred-true)/spread)[k-1]

@pytest.mark.parametrize('n,mass', [(9, .8), (12, .8), (30, .5), (25, .95)])
@pytest.mark.parametrize('stated', [False, True])
def test_margin_holds_on_average_over_draws(n, mass, stated):
    "For exchangeable fabrics and errors without ties a new one is inside with chance k/(n+1), from mass to mass + 1/(n+1)"
    seen = []
    for seed in range(200):
        pred, true, spread = draw_numbers(n + 500, seed)
        spread = spread**2 if stated else np.ones(n + 500)          # what is stated need not be right
        seen.append((abs(pred-true)[n:] <= spread[n:]*number_margin(pred[:n], true[:n], mass, spread[:n])).mean())
    error = np.std(seen)/200**.5
    assert mass - 3*error < np.mean(seen) < mass + 1/(n+1) + 3*error

def test_coverage_over_folds_holds_on_average_over_draws():
    seen = [[number_coverage(p, t, five_folds(50), (.8,), spread=s, n_boot=2).observed.item() for s in (None, spread)] for p, t, spread in (draw_numbers(50, k) for k in range(200))]
    assert (np.mean(seen, 0) > .8 - 3*np.std(seen, 0)/200**.5).all() and (np.mean(seen, 0) < .85).all()

@pytest.mark.parametrize('stated', [False, True])
def test_margins_do_not_care_for_place_and_follow_the_unit(stated):
    pred, true, spread = draw_numbers()
    margin = lambda a, b: number_margin(a*pred + b, a*true + b, .8, abs(a)*spread if stated else None)
    for a, b in ((1, 1000), (1, -3), (-1, 0), (1000, 0), (.01, 2)): assert np.isclose(margin(a, b), margin(1, 0)*(1 if stated else abs(a)), rtol=1e-8)
    order = np.random.default_rng(0).permutation(100)
    assert number_margin(pred[order], true[order]) == number_margin(pred, true)
    assert np.isclose(number_margin(pred, true, spread=7)*7, number_margin(pred, true))                      # one spread for all says nothing
    assert np.isclose(number_margin(pred, true, spread=spread*7)*7, number_margin(pred, true, spread=spread))
    margins = [number_margin(pred, true, m) for m in np.linspace(.01, .99, 50)]
    assert margins == sorted(margins)

@pytest.mark.parametrize('fold', range(5))
@pytest.mark.parametrize('stated', [False, True])
def test_no_fabric_takes_part_in_its_own_margin(fold, stated):
    "Move the truths of one fold far away: its own margins stay, so all of it falls outside, and those of the others grow until they hold everything"
    pred, true, spread = draw_numbers()
    true[five_folds(100)[fold][1]] += 50
    assert np.isclose(number_coverage(pred, true, five_folds(100), (.8,), spread=spread if stated else None, n_boot=2).observed.item(), .8)
    assert number_margin(pred, true, .8) > 40                                         # a margin from all fabrics would have held some

def test_each_fold_gets_the_margin_of_its_training_rows():
    pred, true, spread = draw_numbers()
    half = np.empty(100)
    for train, valid in five_folds(100): half[valid] = spread[valid]*number_margin(pred[train], true[train], .9, spread[train])
    row, = number_coverage(pred, true, five_folds(100), (.9,), spread=spread, n_boot=2).to_dict('records')
    assert np.isclose(row['width'], 2*half.mean()) and np.isclose(row['observed'], (abs(pred-true) <= half).mean())

def test_numbers_by_hand():
    pred, true, spread = np.zeros(6), np.array([1, -2, 3, np.nan, 1.5, 9]), np.array([1, 1, 1, np.nan, 2, 2])
    row, = number_coverage(pred, true, None, (.6827,), spread=spread, n_boot=20).to_dict('records')
    assert (row['touch'], row['asked'], row['n']) == ('number', .6827, 5)
    assert np.isclose(row['said'], .6827) and np.isclose(row['observed'], 2/5) and np.isclose(row['width'], 2*(1+1+1+2+2)/5, atol=1e-3)
    halves = [(range(3), range(3, 6)), (range(3, 6), range(3))]                       # margins 2 (of 1, 2, 3) and 9 (of 1.5 and 9)
    row, = number_coverage(pred, true, halves, (.5,), n_boot=20).to_dict('records')
    assert np.isclose(row['observed'], 4/5) and np.isclose(row['width'], 2*(9*3 + 2*2)/5)

def test_an_error_as_large_as_the_margin_is_inside():
    table = number_coverage(np.zeros(50), np.resize([1, -1], 50), five_folds(50), (.5,), n_boot=2)
    assert (table.observed.item(), table.width.item()) == (1, 2)

def test_a_spread_too_small_by_half_holds_too_little_before_and_enough_after():
    pred, _, spread = draw_numbers(4000)
    true = pred + spread*np.random.default_rng(1).normal(size=4000)
    before, after, right = (number_coverage(pred, true, f, spread=s, n_boot=100) for f, s in ((None, spread/2), (five_folds(4000), spread/2), (None, spread)))
    np.testing.assert_allclose(before.observed, [.264, .478, .589, .673], atol=.025)     # what a normal distribution holds within half of its quantile
    np.testing.assert_allclose(after.observed, after.asked, atol=.02)
    np.testing.assert_allclose(after.width, right.width, rtol=.05)
    assert number_coverage(pred, true, five_folds(4000), (.95,), n_boot=2).width.item() > 1.05*after.width.iloc[-1]

def test_number_table_leaves_out_the_unmeasured_and_is_repeatable():
    pred, true, spread = draw_numbers()
    more, none = np.concatenate([pred, pred*np.nan]), np.concatenate([true, true*np.nan])
    folds = [(np.concatenate([t, t+100]), np.concatenate([v, v+100])) for t, v in five_folds(100)]
    assert number_margin(more, none) == number_margin(pred, true)
    one = number_coverage(pred, true, five_folds(100))
    assert one.equals(number_coverage(list(pred), list(true), five_folds(100)))
    np.testing.assert_allclose(number_coverage(more, none, folds)[['observed', 'width', 'n']], one[['observed', 'width', 'n']])
    assert list(one.columns) == list(coverage_table(*draw(), n_boot=2).columns) and (one.lo <= one.observed).all() and (one.observed <= one.hi).all()
    alone, whole = (number_coverage(pred.repeat(4), true.repeat(4), None, groups=g, spread=.3) for g in (None, np.arange(400)//4))
    assert ((whole.hi - whole.lo) > 1.3*(alone.hi - alone.lo)).all()

def test_plot_takes_numbers():
    pred, true, spread = draw_numbers()
    table = number_coverage(pred, true, five_folds(100), n_boot=20)
    assert len(plot_coverage(dict(one=table), touch='number').lines) == 2
    with pytest.raises(FabricError, match='number'): plot_coverage(dict(one=table))

@pytest.mark.parametrize('args,match', [((0, ), 'promised'), ((1,), 'promised'), ((80,), 'promised'), ((np.nan,), 'promised'), ((.995,), 'bring 199 at least'), ((.8, [1, 2]), 'one per fabric'), ((.8, 0), 'above 0'),
                                        ((.8, -1), 'above 0'), ((.8, np.nan), 'above 0'), ((.8, np.inf), 'above 0'), ((.8, 'wide'), 'spreads are not')])
def test_what_has_no_margin(args, match):
    pred, true, _ = draw_numbers()
    with pytest.raises(FabricError, match=match): number_margin(pred, true, *args)
    with pytest.raises(FabricError, match=match): number_coverage(pred, true, five_folds(100), *args[:1], None, *args[1:])

def test_numbers_that_do_not_fit():
    pred, true, _ = draw_numbers()
    for f in (number_margin, lambda p, t: number_coverage(p, t, five_folds(100)), lambda p, t: number_coverage(p, t, spread=1)):
        for p, t, match in ((pred[:9], true, 'shape'), (pred[:, None], true[:, None], 'shape'), (pred, true*np.nan, 'none of the 100'), (pred*np.nan, true, 'predictions are nan'), (pred, true + np.inf, 'infinite truth'),
                            ('heavy', true, 'not one array')):
            with pytest.raises(FabricError, match=match): f(p, t)
    with pytest.raises(FabricError, match='states no interval'): number_coverage(pred, true)
    with pytest.raises(FabricError, match='promised'): number_coverage(pred, true, spread=1, masses=(1,))
    with pytest.raises(FabricError, match='just once'): number_coverage(pred, true, five_folds(100)[1:])
    with pytest.raises(FabricError, match='groups'): number_coverage(pred, true, five_folds(100), groups=range(9))


# --- the module ---

def test_needs_no_torch():
    said = subprocess.run([sys.executable, '-c', 'import sys, fabric_touch.calibration; print("torch" in sys.modules)'], capture_output=True, text=True, timeout=120)
    assert said.stdout.strip() == 'False', said.stderr
