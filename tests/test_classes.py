"Scores and pictures of one-of-many classes against scikit-learn and plain loops; degenerate, hostile and Unicode input"
import csv, os, stat, time, warnings
from pathlib import Path

import matplotlib, matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from PIL import Image
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import (accuracy_score, balanced_accuracy_score, classification_report, f1_score, log_loss, precision_recall_fscore_support,
                             top_k_accuracy_score)

from fabric_touch import classes
from fabric_touch.classes import (calibration_error, chance_error, class_report, class_score_table, class_scores, plot_class_confusion, plot_mistakes,
                                  plot_reliability, report_text, write_report)
from fabric_touch.core import FabricError

pytestmark = pytest.mark.once


def names(k): return tuple(f'c{i}' for i in range(k))

def draw(n=120, k=6, sharp=1.5, seed=0):
    "Labels and chances; the last class is rare"
    rng = np.random.default_rng(seed)
    y = np.minimum(rng.integers(0, k, n), rng.integers(0, k, n))
    return y, softmax(sharp*np.eye(k)[y] + rng.normal(size=(n, k)), axis=1)

def values(table, model='model'): return table[table.model == model].set_index('metric').value

@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close('all')


# --- scores ---

@pytest.mark.parametrize('n, k, seed', [(120, 6, 0), (40, 2, 1), (15, 10, 2), (300, 30, 3), (1, 4, 4)])
@pytest.mark.filterwarnings('ignore')
def test_scores_are_those_of_sklearn(n, k, seed):
    y, p = draw(n, k, seed=seed)
    v, said = values(class_scores(p, y, names(k), n_boot=20)), p.argmax(1)
    want = dict(accuracy=accuracy_score(y, said), balanced_accuracy=balanced_accuracy_score(y, said), macro_f1=f1_score(y, said, average='macro'),
                log_loss=log_loss(y, p, labels=range(k)))
    if k > 3: want['top3'] = top_k_accuracy_score(y, p, k=3, labels=range(k))
    assert ('top3' in v) == (k > 3)
    for m, x in want.items(): assert np.isclose(v[m], x, atol=1e-6), m

@pytest.mark.parametrize('clusters', [None, 3])
def test_intervals_are_those_of_copied_rows(clusters):
    from fabric_touch.metrics import resamples
    y, p = draw(60)
    groups = None if clusters is None else np.arange(60)//clusters
    table = class_scores(p, y, names(6), clusters=groups, n_boot=50, seed=4).set_index(['model', 'metric'])
    f1, ece = [], []
    for w in resamples(60, groups, 50, 4).astype(int):
        yy, pp = y.repeat(w), p.repeat(w, axis=0)
        f1.append(f1_score(yy, pp.argmax(1), average='macro')); ece.append(calibration_error(yy, pp))
    assert np.allclose(table.loc[('model', 'macro_f1'), ['lo', 'hi']].astype(float), np.quantile(f1, [.025, .975]), atol=1e-6)
    lo, hi = np.quantile(np.maximum(2*calibration_error(y, p) - np.array(ece), 0), [.025, .975])
    assert np.allclose(table.loc[('model', 'ece'), ['lo', 'hi']].astype(float), (lo, hi), atol=1e-6)

def test_the_table_is_as_other_tables():
    y, p = draw()
    table = class_scores(dict(a=p, b=p[:, ::-1]), y, names(6), train_y=y)
    assert list(table) == ['model', 'metric', 'value', 'lo', 'hi', 'n']
    assert list(table.model.unique()) == ['a', 'b', 'most_frequent', 'base_rate', 'chance']
    assert (table.n == 120).all() and ((table.lo <= table.hi) | table.lo.isna()).all()
    assert class_score_table(table).shape == (5, 6)
    assert list(class_scores(p, y, names(6)).model.unique()) == ['model', 'chance']

def test_baselines():
    y = np.array([0, 0, 1, 2, 3])
    table = class_scores(np.full((5, 5), .2), y, names(5), train_y=[2, 2, 2, 0, 1], n_boot=10)
    assert np.isclose(values(table, 'most_frequent').accuracy, .2)
    assert np.isclose(values(table, 'base_rate').log_loss, np.mean([-np.log(x) for x in (.2, .2, .2, .6, np.finfo(float).eps)]))
    assert np.isclose(values(table, 'chance').accuracy, .2) and np.isclose(values(table, 'chance').top3, .6)

def test_same_seed_same_table_and_n_boot_0():
    y, p = draw()
    a, b, c = (class_scores(p, y, names(6), n_boot=50, seed=s) for s in (1, 1, 2))
    pd.testing.assert_frame_equal(a, b)
    assert not a.equals(c)
    none = class_scores(p, y, names(6), n_boot=0)
    assert none.lo.isna().all() and np.allclose(none.value, a.value)

def test_versus_is_the_difference_on_the_same_resamples():
    y, p = draw()
    q = draw(sharp=.5)[1]
    both = class_scores(dict(p=p, q=q), y, names(6), n_boot=50)
    gap = class_scores(dict(p=p, q=q), y, names(6), versus='q', n_boot=50)
    assert np.allclose(values(gap, 'p'), values(both, 'p') - values(both, 'q'))
    assert 'q' not in set(gap.model)
    same = class_scores(dict(p=p, q=p), y, names(6), versus='q', n_boot=50)
    assert (same[same.model == 'p'][['value', 'lo', 'hi']] == 0).all(axis=None)
    with pytest.raises(FabricError, match="unknown model 'r'; choose from: p, q, chance"): class_scores(dict(p=p, q=q), y, names(6), versus='r')

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 30), st.integers(2, 8), st.integers(0, 10**6))
def test_scores_stay_within_their_bounds(n, k, seed):
    rng = np.random.default_rng(seed)
    y, p = rng.integers(k, size=n), rng.dirichlet([.3]*k, n)
    table = class_scores(p, y, names(k), train_y=y, n_boot=10)
    bounded = table[table.metric != 'log_loss']
    assert bounded.value.between(-1e-9, 1 + 1e-6).all() and (table.value >= -1e-9).all()
    order = rng.permutation(n)
    assert np.allclose(class_scores(p[order], y[order], names(k), train_y=y, n_boot=0).value, table.value, atol=1e-6)
    renamed = rng.permutation(k)                                     # the order of the classes says nothing
    other = class_scores(p[:, renamed], np.argsort(renamed)[y], names(k), n_boot=0)
    if len(np.unique(p)) == p.size: assert np.allclose(values(other), values(table), atol=1e-6)

def test_a_thousand_classes_take_seconds():
    y = np.random.default_rng(0).integers(0, 1000, 5000)
    p = softmax(3*np.eye(1000, dtype=np.float32)[y] + np.random.default_rng(1).normal(size=(5000, 1000)).astype(np.float32), axis=1)
    start = time.perf_counter()
    assert class_scores(p, y, names(1000), n_boot=100).value.notna().all()
    assert len(class_report(y, p, names(1000))) == 1000
    assert time.perf_counter() - start < 60


# --- calibration ---

def guo(y, p, bins):
    conf, hit, total = p.max(1), p.argmax(1) == y, 0
    for b in range(bins):
        at = (conf > b/bins) & (conf <= (b+1)/bins)
        if at.any(): total += at.mean()*abs(hit[at].mean() - conf[at].mean())
    return total

@pytest.mark.parametrize('bins', [1, 7, 15])
def test_calibration_error_is_the_papers(bins):
    y, p = draw(500)
    assert np.isclose(calibration_error(y, p, bins), guo(y, p, bins))

def test_calibration_error_is_torchmetrics():
    tm = pytest.importorskip('torchmetrics')
    import torch
    y, p = draw(500)
    own = tm.functional.calibration_error(torch.tensor(p), torch.tensor(y), task='multiclass', num_classes=6, n_bins=15)
    assert np.isclose(calibration_error(y, p), float(own), atol=1e-5)

def test_sure_and_right_sure_and_wrong():
    one = np.eye(3)[[0, 1, 2]]
    assert calibration_error([0, 1, 2], one) == 0 and calibration_error([1, 2, 0], one) == 1
    assert chance_error(one) == 0

def test_honest_models_stay_below_the_chance_error():
    below = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p = rng.dirichlet([.5]*5, 200)
        y = (rng.random(200)[:, None] > p.cumsum(1)).sum(1).clip(0, 4)
        below += calibration_error(y, p) < chance_error(p, n_draws=200)
    assert 50 <= below <= 60

@pytest.mark.parametrize('n_bins', [0, -1, 2.5, 'ten'])
def test_bins(n_bins):
    y, p = draw()
    for fn in (calibration_error, lambda y, p, b: chance_error(p, b)):
        with pytest.raises(FabricError, match='n_bins is'): fn(y, p, n_bins)


# --- report ---

@pytest.mark.parametrize('n, k', [(120, 6), (10, 20), (5, 2)])
def test_report_is_that_of_sklearn(n, k):
    y, p = draw(n, k)
    r = class_report(y, p, names(k))
    want = precision_recall_fscore_support(y, p.argmax(1), labels=range(k), zero_division=np.nan)
    for column, x in zip(('precision', 'recall', 'f1', 'support'), want): assert np.array_equal(r[column].to_numpy(float), x.astype(float), equal_nan=True)
    for i, row in r.iterrows():
        others = [(p.argmax(1)[y == i] == j).sum() if j != i else -1 for j in range(k)]
        assert row.times == max(others) and row.taken_for == ('' if not row.times else names(k)[np.argmax(others)])
        if row.support:
            ends = binomtest(round(row.recall*row.support), int(row.support)).proportion_ci(method='wilson')
            assert np.allclose((row.lo, row.hi), ends, atol=1e-6)
        else: assert np.isnan(row.lo) and np.isnan(row.hi)

def test_all_right_all_wrong():
    y = np.arange(4).repeat(5)
    right, wrong = np.eye(4)[y], np.eye(4)[(y+1) % 4]
    assert (class_report(y, right, names(4))[['precision', 'recall', 'f1', 'hi']] == 1).all(axis=None)
    r = class_report(y, wrong, names(4))
    assert (r[['precision', 'recall', 'f1', 'lo']] == 0).all(axis=None) and r.taken_for.tolist() == ['c1', 'c2', 'c3', 'c0']
    assert values(class_scores(right, y, names(4))).to_dict() == dict(accuracy=1, balanced_accuracy=1, macro_f1=1, top3=1, log_loss=0, ece=0)
    assert values(class_scores(wrong, y, names(4))).accuracy == 0

def test_text_is_the_form_of_sklearn():
    y, p = draw()
    text = report_text(y, p, names(6), title='a title')
    assert text.startswith('a title\n')
    assert classification_report(y, p.argmax(1), target_names=names(6), digits=3) in text
    assert 'accuracy' in text and 'chance' in text and '95 % intervals' in text

def test_classes_without_photo_and_answer_are_named_below():
    text = report_text([0, 1, 1], np.eye(4)[[0, 1, 0]], ('hat', 'dress', 'shoe\nlace', 'b'*90))
    assert 'No photo and no answer: shoe\\nlace, ' + 30*'b' + '…' + 9*'b' in text
    assert 'shoe\nlace' not in text

@pytest.mark.parametrize('y, p', [([0], [[.7, .3]]), ([1], [[.7, .3]]), ([1]*5, [[.5, .5]]*5)])
@pytest.mark.filterwarnings('error')
def test_one_photo_and_one_class(y, p, tmp_path):
    table = class_scores(p, y, names(2), train_y=y)
    assert table.value.notna().all()
    if len(y) == 1: assert table.lo.isna().all()
    assert '…' not in report_text(y, p, names(2))
    assert set(write_report(tmp_path, ['a.jpg']*len(y), y, p, names(2))) >= {'report.txt', 'mistakes.png'}

def test_one_cluster_has_no_interval():
    y, p = draw()
    assert class_scores(p, y, names(6), clusters=['all']*120).lo.isna().all()
    with pytest.raises(FabricError, match='3 clusters for 120 photos'): class_scores(p, y, names(6), clusters=[1, 2, 3])


# --- bad input ---

good_y, good_p = [0, 1, 2], np.full((3, 3), 1/3)
BAD = [
    ([], good_p[:0], names(3), 'labels are empty'),
    ([0, 1], good_p, names(3), r'probabilities have shape \(3, 3\); for 2 photos and 3 classes give \(2, 3\)'),
    (good_y, good_p[:, :2], names(3), r'have shape \(3, 2\)'),
    (good_y, good_p[0], names(3), r'have shape \(3,\)'),
    (good_y, good_p*np.nan, names(3), '3 of 3 rows of probabilities'),
    (good_y, good_p*2, names(3), 'are not chances'),
    (good_y, [[1.5, -.5, 0]]*3, names(3), 'number 0, begins'),
    (good_y, [['a']*3]*3, names(3), 'are not numbers but'),
    (good_y, [[.5, .5], [1]], names(3), 'not one array of numbers'),
    ([0, 1, 3], good_p, names(3), 'the first is 3, of photo number 2; 3 classes have the numbers 0 to 2'),
    ([0, -1, 2], good_p, names(3), 'the first is -1, of photo number 1'),
    ([0., 1, 2], good_p, names(3), 'type float64; give one whole number'),
    (['a', 'b', 'c'], good_p, names(3), 'labels are not numbers'),
    ([[0], [1], [2]], good_p, names(3), r'labels have shape \(3, 1\)'),
    (good_y, good_p, ('a', 'b', 'a'), "two classes are called 'a'"),
    (good_y, good_p, ('a', 'b', ''), 'give two names or more'),
    (good_y, good_p, ('a', 'b', 3), 'give two names or more'),
    (good_y, good_p, 'abc', 'give two names or more'),
    (good_y, good_p, 3, 'give two names or more'),
    (good_y[:1], [[1.]], ('a',), 'give two names or more'),
    (good_y, good_p, None, '')]

@pytest.mark.parametrize('y, p, c, says', BAD[:-1])
def test_bad_input_says_what_is_wrong(y, p, c, says, tmp_path):
    files = ['a']*len(y)
    for fn in (lambda: class_scores(p, y, c), lambda: class_report(y, p, c), lambda: report_text(y, p, c), lambda: plot_mistakes(files, y, p, c),
               lambda: write_report(tmp_path/'out', files, y, p, c)):
        with pytest.raises(FabricError, match=says.replace('probabilities', 'probabilities.*')): fn()
    assert not (tmp_path/'out').exists()

def test_bad_models():
    y, p = draw()
    for models, says in (({}, 'no model to score'), (dict(a=p, chance=p), "'chance' is the name of a baseline"), (dict(a=p, b=p[:5]), "probabilities of 'b' have shape")):
        with pytest.raises(FabricError, match=says): class_scores(models, y, names(6))
    with pytest.raises(FabricError, match='training labels are no class'): class_scores(p, y, names(6), train_y=[9])
    with pytest.raises(FabricError, match='training labels are empty'): class_scores(p, y, names(6), train_y=[])
    with pytest.raises(FabricError, match='some fabrics have no group|nan'): class_scores(p, y, names(6), clusters=[np.nan, *range(119)])

@pytest.mark.parametrize('kind', [np.uint8, np.int64, np.uint64, 'torch', 'list', 'series'])
def test_kinds_of_arrays(kind):
    import torch
    y, p = draw()
    a, b = dict(torch=lambda: (torch.tensor(y), torch.tensor(p)), list=lambda: (y.tolist(), p.tolist()), series=lambda: (pd.Series(y), pd.DataFrame(p))).get(
        kind, lambda: (y.astype(kind), p.astype(np.float32)))()
    assert np.allclose(class_scores(b, a, list(names(6)), n_boot=5).value, class_scores(p, y, np.array(names(6)), n_boot=5).value, atol=1e-6)


# --- pictures ---

@pytest.mark.parametrize('k', [2, 10, 100, pytest.param(300, marks=pytest.mark.stress)])
@pytest.mark.once
def test_confusion_at_any_size(k):
    rng = np.random.default_rng(0)
    y = rng.integers(k, size=1500)
    said = np.where(rng.random(1500) < .8, y, rng.integers(k, size=1500))
    ax = plot_class_confusion(y, said, [f'a class with quite a long name {i}' for i in range(k)])
    m = min(k, 100)
    assert len(ax.get_xticks()) == len(ax.get_yticks()) == m
    assert ('those with the most mistakes' in ax.get_title()) == (k > 200)
    ax.figure.canvas.draw()
    boxes = [t.get_window_extent() for t in ax.get_yticklabels()[:m]]                   # the rest stand on the right
    gaps = [a.y0 - b.y1 for a, b in zip(boxes, boxes[1:])]
    assert min(gaps) > -1, gaps                                                        # no name over another
    assert ax.get_window_extent().height/ax.figure.dpi/m > .17                        # inches a row

def test_mistakes_are_seen_and_counts_written():
    y = np.repeat([0, 1], 100)
    said = y.copy(); said[0] = 1
    ax = plot_class_confusion(y, said, ('a', 'b'))
    assert sorted(t.get_text() for t in ax.texts) == ['1', '100', '99']
    wrong, never = ax.images[0].get_array()[0, 1], ax.images[0].get_array()[1, 0]
    assert np.abs(wrong[:3]-1).max() > .2 and (never == 1).all()

def test_confusion_on_given_axes_leaves_out_what_has_no_room():
    _, ax = plt.subplots(figsize=(3, 3))
    assert plot_class_confusion(np.arange(100), np.arange(100), names(100), ax) is ax
    assert len(ax.get_yticks()) < 50 and not ax.texts
    with pytest.raises(FabricError, match='answers are no class'): plot_class_confusion([0, 1], [0, 2], names(2))

@pytest.mark.parametrize('name', ['$a$ $', '$\\frac{$', '{x}', 'a\tb', '%s', '_' * 300, '\\alpha'])
def test_names_are_not_formulas_of_matplotlib(name, tmp_path):
    y, p = draw(30, 2)
    ax = plot_class_confusion(y, p.argmax(1), ('plain', name), title=name)
    ax.figure.savefig(tmp_path/'a.png')
    plot_mistakes([np.zeros((8, 8, 3), np.uint8)]*30, y, p, ('plain', name)).savefig(tmp_path/'b.png')

def test_a_name_that_no_font_can_write_becomes_its_number(monkeypatch):
    monkeypatch.setattr(classes.fontManager, 'ttflist', [])
    with pytest.warns(UserWarning, match='no font on this machine can write 2 of 3 class names.*Install a font'):
        ax = plot_class_confusion([0, 1, 2], [0, 1, 1], ('skirt', '치마', '漢字'))
    assert [t.get_text() for t in ax.get_yticklabels()] == ['skirt', '#1 cima', '#2']
    assert 'report.csv' in ax.get_xlabel()

@pytest.mark.filterwarnings('ignore:no font')
def test_the_font_of_boxes_is_not_taken():
    for text in ('치마', 'ЖЩ', '漢字', '\U00013000', '😀'):
        labels, families = classes._labels(['a', text])
        assert not any('resort' in f.lower() or 'emoji' in f.lower() for f in families)
        have = set().union(*(classes._letters(f.fname) for f in classes.fontManager.ttflist if 'resort' not in f.name.lower() and 'emoji' not in f.name.lower()))
        assert (labels[1] == text) == (set(map(ord, text)) <= have), text

def test_letters_are_taken_from_another_font_that_has_them():
    with matplotlib.rc_context({'font.family': ['cmr10'], 'axes.formatter.use_mathtext': True}), warnings.catch_warnings():
        warnings.simplefilter('error')
        ax = plot_class_confusion([0, 1], [0, 1], ('Größe', 'ЖЩ'))
        ax.figure.canvas.draw()                                                     # a missing letter would warn
    assert [t.get_text() for t in ax.get_yticklabels()] == ['Größe', 'ЖЩ']

def test_decomposed_hangul_is_composed():
    import unicodedata
    assert classes._latin(classes._plain(unicodedata.normalize('NFD', '바지'))) == 'baji'

@pytest.mark.parametrize('n, k', [(1, 2), (19, 3), (25, 2), (500, 5)])
def test_reliability(n, k):
    y, p = draw(n, k)
    ax = plot_reliability(y, p)
    assert f'ECE {calibration_error(y, p):.3f}' in ax.get_title() and f'{n} photos' in ax.get_title()
    x, right = ax.lines[1].get_data()
    assert len(x) == max(1, min(10, n//20)) and (np.diff(x) > 0).all()
    assert np.isclose(right.mean(), (p.argmax(1) == y).mean(), atol=.02)             # bins of equal count
    _, own = plt.subplots()
    assert plot_reliability(y, p, own) is own

def test_reliability_of_a_model_that_is_always_sure():
    x, right = plot_reliability([0, 1, 1, 1]*20, np.eye(2)[[0, 1, 1, 0]*20]).lines[1].get_data()
    assert x.tolist() == [1] and right.tolist() == [.75]

def captions(fig): return [a.get_title() for a in fig.axes if a.get_title()]

def test_mistakes_are_the_surest_ones_first():
    p = np.array([[.9, .1], [.3, .7], [.8, .2], [.6, .4], [.01, .99]])
    fig = plot_mistakes([np.full((5, 9, 3), 50*i, np.uint8) for i in range(5)], [1, 0, 1, 0, 1], p, ('a', 'b'), n=2)
    assert captions(fig) == ['b\n→ a 0.90', 'b\n→ a 0.80']

def test_mistakes_of_files_pictures_and_what_cannot_be_read(tmp_path):
    Image.new('RGB', (900, 600), 'red').save(tmp_path/'a.jpg')
    (tmp_path/'broken.jpg').write_bytes(b'\xff\xd8 no picture')
    images = [tmp_path/'a.jpg', str(tmp_path/'a.jpg'), Image.new('L', (9, 9)), np.zeros((4, 4, 3), np.uint8), tmp_path/'broken.jpg', tmp_path/'gone.jpg', None]
    fig = plot_mistakes(images, [0]*7, [[0, 1]]*7, ('a', 'b'))
    said = [t.get_text() for a in fig.axes for t in a.texts]
    assert len(captions(fig)) == 7 and len(said) == 3 and all(t.startswith('not readable') for t in said)

def test_images_in_a_series_are_taken_in_their_order():
    images = pd.Series([np.zeros((4, 4, 3), np.uint8), 'gone.jpg'], index=[1, 0])
    fig = plot_mistakes(images, [0, 0], [[.1, .9], [0, 1]], ('a', 'b'))
    assert [bool(a.texts) for a in fig.axes] == [True, False]

def test_no_mistakes_is_said():
    fig = plot_mistakes(['a', 'b'], [0, 1], np.eye(2), ('a', 'b'))
    assert fig.axes[0].texts[0].get_text() == 'no mistakes among 2 photos'
    for n in (0, -3, 2.5):
        with pytest.raises(FabricError, match=f'n is {n}'): plot_mistakes(['a', 'b'], [0, 1], np.eye(2), ('a', 'b'), n=n)
    with pytest.raises(FabricError, match='1 images for 2 photos'): plot_mistakes(['a'], [0, 1], np.eye(2), ('a', 'b'))

def test_the_same_picture_twice():
    y, p = draw(60)
    for fn in (lambda: plot_class_confusion(y, p.argmax(1), names(6)), lambda: plot_reliability(y, p)):
        one, two = fn().figure, fn().figure
        for fig in (one, two): fig.canvas.draw()
        assert np.array_equal(one.canvas.buffer_rgba(), two.canvas.buffer_rgba())


# --- on disk ---

PARTS = {'report.txt', 'report.csv', 'scores.csv', 'predictions.csv', 'confusion.png', 'reliability.png', 'mistakes.png'}

def report_of(folder, k=6, files=None, **kwargs):
    y, p = draw(40, k)
    return write_report(folder, files or [f'{i}.jpg' for i in range(40)], y, p, kwargs.pop('c', names(k)), **kwargs)

def test_seven_files_and_nothing_else_is_touched(tmp_path):
    (tmp_path/'mine.txt').write_text('mine'); (tmp_path/'report.txt').write_text('old')
    made = report_of(tmp_path, train_y=[0, 1, 1], title='Garments')
    assert set(made) == PARTS and {p.name for p in tmp_path.iterdir()} == PARTS | {'mine.txt'}
    assert (tmp_path/'report.txt').read_text(encoding='utf-8').startswith('Garments\n')
    assert {Image.open(p).format for name, p in made.items() if name.endswith('png')} == {'PNG'}
    assert not plt.get_fignums()
    first = {name: p.read_bytes() for name, p in made.items()}
    again = report_of(tmp_path, train_y=[0, 1, 1], title='Garments')
    assert {name: p.read_bytes() for name, p in again.items()} == first

@pytest.mark.once
def test_tables_read_back(tmp_path):
    y, p = draw(40)
    made = report_of(tmp_path/'a'/'b', models=dict(zero_shot=p[:, ::-1]), train_y=y)
    got = pd.read_csv(made['predictions.csv'])
    assert list(got) == ['file', 'true', 'predicted', 'probability', *(f'p c{i}' for i in range(6))]
    assert np.allclose(got.iloc[:, 4:], p, atol=1e-5) and (got.true == [f'c{i}' for i in y]).all()
    assert list(pd.read_csv(made['scores.csv']).model.unique()) == ['model', 'zero_shot', 'most_frequent', 'base_rate', 'chance']
    assert np.allclose(pd.read_csv(made['report.csv'], index_col='number').f1, class_report(y, p, names(6)).f1, atol=1e-5, equal_nan=True)
    named = report_of(tmp_path, models=dict(hybrid=p))
    assert list(pd.read_csv(named['scores.csv']).model.unique()) == ['hybrid', 'chance']
    assert list(pd.read_csv(report_of(tmp_path/'many', 101)['predictions.csv'])) == ['file', 'true', 'predicted', 'probability']

HOSTILE = ['=1+1', '+1', '-1', '@a', "'a", '\t=1', '\r\n=1', '＝1', 'a,b"c\nd', '치마', '=cmd|"/c calc"!A1', 'ö', ' =1', '١']

@pytest.mark.filterwarnings('ignore:no font')
def test_no_cell_is_a_formula_and_all_names_come_back(tmp_path):
    y = np.arange(40) % len(HOSTILE)
    p = np.roll(np.eye(len(HOSTILE)), 1, 0)[y]
    made = write_report(tmp_path, [HOSTILE[i] + '.jpg' for i in y], y, p, tuple(HOSTILE), {'=model': p})
    for name in ('predictions.csv', 'report.csv', 'scores.csv'):
        with open(made[name], encoding='utf-8', newline='') as f: rows = list(csv.reader(f))
        assert not [c for row in rows for c in row if c[:1] in tuple('=+-@\t\r\n＝＋－＠')], name
        back = [row[1] for row in rows[1:]]
        if name == 'predictions.csv': assert [c.removeprefix("'") for c in back] == [HOSTILE[i] for i in y]
        if name == 'report.csv': assert [c.removeprefix("'") for c in back] == HOSTILE

def test_file_names_that_are_no_utf8(tmp_path):
    odd = os.fsdecode(b'caf\xe9.jpg')
    made = report_of(tmp_path, files=[odd, *map(str, range(39))], c=(os.fsdecode(b'm\xfctze'), *names(5)))
    assert pd.read_csv(made['predictions.csv']).file[0] == 'caf\\udce9.jpg'
    assert 'm\\udcfctze' in made['report.txt'].read_text(encoding='utf-8')

def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path/'file').write_text('mine')
    for place in (tmp_path/'file', tmp_path/'file'/'sub'):
        with pytest.raises(FabricError, match='the report cannot be written into'): report_of(place)
    (tmp_path/'out'/'scores.csv').mkdir(parents=True)
    with pytest.raises(FabricError, match='the report cannot be written into'): report_of(tmp_path/'out')
    assert (tmp_path/'file').read_text() == 'mine' and not [p for p in (tmp_path/'out').iterdir() if p.name.startswith('.')]
    assert not plt.get_fignums()

@pytest.mark.skipif(not hasattr(os, 'geteuid') or os.geteuid() == 0, reason='root may write anywhere')
def test_a_folder_that_is_read_only(tmp_path):
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(FabricError, match='no permission to write'): report_of(tmp_path)
    finally: tmp_path.chmod(stat.S_IRWXU)

def test_no_permission_is_told_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(classes.os, 'access', lambda *a, **kw: False)
    monkeypatch.setattr(classes, 'class_scores', None)
    with pytest.raises(FabricError, match='no permission to write'): report_of(tmp_path)

def test_no_space_left(tmp_path, monkeypatch):
    first = {name: p.read_bytes() for name, p in report_of(tmp_path).items()}
    def full(*a, **kw): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(classes, 'save_figure', full)
    with pytest.raises(FabricError, match='No space left on device'): report_of(tmp_path)
    assert {name: (tmp_path/name).read_bytes() for name in PARTS} == first

def test_wrong_number_of_files(tmp_path):
    with pytest.raises(FabricError, match='2 files for 40 photos'): report_of(tmp_path, files=['a', 'b'])
