"Members' CSVs written and read without a change, every fault in them named; combining against plain loops; no row scored by weights that saw it"
import os

import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from scipy.special import softmax
from sklearn.metrics import cohen_kappa_score

from fabric_touch import ensembles
from fabric_touch.core import FabricError
from fabric_touch.ensembles import (COMBINERS, added, agreement, ensemble_scores, fit_combiner, nested_probs, plot_agreement, plot_models,
                                    read_oof, read_oofs, read_output, read_outputs, write_oof, write_output)

pytestmark = pytest.mark.once

CLASSES = ('dress', 'hat', 'sock')

def draw(n=60, k=3, m=3, sharp=1.5, seed=0):
    "Labels and members of falling skill"
    rng = np.random.default_rng(seed)
    y = rng.integers(k, size=n)
    return y, {f'm{i}': softmax(sharp/(1+.3*i)*np.eye(k)[y] + rng.normal(size=(n, k)), axis=1).astype(np.float32) for i in range(m)}

def table(n=60): return pd.DataFrame(dict(image_path=[f'{i:03}.png' for i in range(n)]))

@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close('all')


# --- files ---

@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=12), min_size=2, max_size=6, unique=True),
       st.lists(st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=9), min_size=2, max_size=4, unique=True), st.integers(0, 99))
def test_what_is_read_is_what_was_written(tmp_path, paths, names, seed):
    test = pd.DataFrame(dict(image_path=paths, id=range(len(paths))))
    probs = softmax(np.random.default_rng(seed).normal(size=(len(paths), len(names)), scale=20), axis=1).astype(np.float32)
    f = tmp_path/'output_x.csv'
    write_output(f, test, names, probs)
    o = read_output(f, test, names)
    assert np.array_equal(o.probs, probs) and o.rows.image_path.tolist() == paths and o.labels.tolist() == [names[i] for i in probs.argmax(1)]

@pytest.mark.parametrize('odd', ['a,b.png', 'say "hi".png', 'two\nlines.png', ' blank .png', 'naïve 스케치.png', 'NA', 'nan', '007', '1e3', "'", '#x', '=1+1'])
def test_odd_names_of_photos_and_classes(tmp_path, odd):
    test, names = pd.DataFrame(dict(image_path=['x.png', odd])), ['hat', odd]
    o = read_output(write_output(tmp_path/'output_x.csv', test, names, np.array([[.2, .8], [.9, .1]])), test, names)
    assert o.rows.image_path[1] == odd and o.labels.tolist() == [odd, 'hat']

def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    y, oof = draw()
    f = write_output(tmp_path/'output_m.csv', table(), CLASSES, oof['m0'])
    before = f.read_bytes()
    with pytest.raises(FabricError, match='stands in line 2 too') as e: write_output(f, table().assign(image_path='same'), CLASSES, oof['m1'])
    assert str(f) in str(e.value) and '.tmp' not in str(e.value)
    monkeypatch.setattr(ensembles, '_save_rows', lambda *a: 1/0)
    with pytest.raises(ZeroDivisionError): write_output(f, table(), CLASSES, oof['m1'])
    assert f.read_bytes() == before and os.listdir(tmp_path) == ['output_m.csv']

def test_helper_columns_stay_out_and_columns_may_be_chosen(tmp_path):
    y, oof = draw()
    test = table().assign(image='/somewhere', id=range(60), target='?')
    f = write_output(tmp_path/'output_m.csv', test, CLASSES, oof['m0'], probs_too=False)
    assert f.read_text().splitlines()[0] == 'image_path,id,target'
    assert read_output(f, test, CLASSES).labels[0] in CLASSES
    g = write_output(tmp_path/'output_n.csv', test, CLASSES, oof['m0'], columns=['id'])
    assert read_output(g, test, columns=['id']).rows.columns.tolist() == ['id']
    with pytest.raises(FabricError, match="lacks the column 'image_path'"): read_output(g, test)
    with pytest.raises(FabricError, match='without target'): write_output(g, test, CLASSES, oof['m0'], columns=['target'])

def test_a_column_of_the_test_table_may_begin_like_a_chance(tmp_path):
    y, oof = draw()
    test = table().assign(p_price=range(60))
    f = write_output(tmp_path/'output_m.csv', test, CLASSES, oof['m0'])
    for o in (read_output(f), read_output(f, test), read_output(f, test, CLASSES)): assert o.classes == CLASSES and o.rows.p_price[3] == '3'
    d = pd.read_csv(f, dtype=str)
    d[['image_path', 'target', 'p_price', *(f'p_{c}' for c in CLASSES)]].to_csv(f, index=False)           # after target: told by the test table
    assert read_output(f, test, CLASSES).classes == CLASSES
    with pytest.raises(FabricError, match='not among the classes: price'): read_output(f, classes=CLASSES)

def text(tmp_path, content, name='output_x.csv'):
    (tmp_path/name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path/name

GOOD = 'image_path,target,p_hat,p_sock\na,hat,.9,.1\nb,sock,.25,.75\n'

@pytest.mark.parametrize('content, match', [
    ('', 'is empty'), ('\n\n', 'is empty|no column'), (GOOD.split('\n')[0], 'no row below'), ('a;target;p\n1;2;3\n', "no column 'target'"),
    (GOOD + '\n', 'line 4: target is empty|line 4.*none of the classes'), (GOOD + 'c,hat,1,0,0\n', 'no CSV in UTF-8'), (GOOD + 'c,hat,1\n', "line 4: the chance of 'sock' is no number"),
    ('image_path,target,p_hat,p_sock\na,hat,.9,.1,1\nb,sock,.2,.8,1\n', 'lines with more cells than the 4 names'), (GOOD.encode('utf-16'), 'no CSV in UTF-8'), (GOOD.replace('a,', 'é,').encode('latin-1'), 'no CSV in UTF-8'),
    (GOOD.replace('.9,.1', 'inf,.1'), "line 2: the chance of 'hat' is inf"), (GOOD.replace('.9,.1', '.9,.2'), 'line 2: the chances sum to 1.1'),
    (GOOD.replace('.9,.1', '1.5,-.5'), "line 2: the chance of 'sock' is -0.5"), (GOOD.replace('.9,.1', 'true,.1'), "line 2: 'p_hat' is 'true'"), (GOOD.replace('b,sock', 'b,hat'), "line 3: target is 'hat'"),
    (GOOD.replace('b,sock', 'a,sock'), "line 3: image_path 'a' stands in line 2 too"), (GOOD.replace('b,sock', 'b,Sock'), "line 3: target 'Sock' is none of the classes"),
    (GOOD.replace('p_sock', 'p_hat'), "two columns 'p_hat'"), ('image_path,target,p_hat\na,hat,1\nb,hat,1\n', 'give two names or more'), ('target\nhat\n', 'no column beside target'),
    ('image_path,target\na,hat\nb,\n', 'line 3: target is empty'), ('"a\nb",target\n"c\nd",hat\n"c\nd",hat\n', 'line 5: a\n.* stands in line 3 too'), (b'\x00\x01\x02', 'no column|no CSV')])
def test_every_fault_of_a_file_is_named(tmp_path, content, match):
    with pytest.raises(FabricError, match=match) as e: read_output(text(tmp_path, content))
    assert 'output_x.csv' in str(e.value) or 'two names or more' in str(e.value)

def test_harmless_differences_are_read(tmp_path):
    want = read_output(text(tmp_path, GOOD))
    for content in ('\ufeff' + GOOD, GOOD.replace('\n', '\r\n'), GOOD.rstrip('\n'), 'target,image_path,p_sock,p_hat\n"hat",a,1e-1,.9\nsock,"b",7.5E-1, .25\n'):
        o = read_output(text(tmp_path, content), classes=('hat', 'sock'))
        assert np.allclose(o.probs, want.probs) and o.labels.tolist() == ['hat', 'sock'] and o.name == 'x'
    with pytest.raises(FabricError, match='cannot be read'): read_output(tmp_path)
    assert read_output(text(tmp_path, 'image_path,target,p_hat,p_sock\na,sock,.5,.5\n')).labels[0] == 'sock'          # of equal chances, either

def test_answers_alone_need_classes_to_be_numbers(tmp_path):
    o = read_output(text(tmp_path, 'image_path,target\na,hat\nb,sock\n'))
    with pytest.raises(FabricError, match='read it with classes='): o.said()
    assert read_outputs([tmp_path/'output_x.csv']).probs['x'].tolist() == [0, 1]
    text(tmp_path, 'image_path,target\na,hat\nb,hat\n')
    with pytest.raises(FabricError, match='give two names or more'): read_outputs(tmp_path)
    assert read_outputs(tmp_path, classes=['sock', 'hat']).probs['x'].tolist() == [1, 1]

def test_members_are_merged_whatever_the_order_of_their_classes(tmp_path):
    y, oof = draw()
    write_output(tmp_path/'output_a.csv', table(), CLASSES, oof['m0'])
    write_output(tmp_path/'output_b.csv', table(), CLASSES[::-1], oof['m1'][:, ::-1])
    write_output(tmp_path/'output_c.csv', table(), CLASSES, oof['m2'], probs_too=False)
    o = read_outputs(tmp_path)
    assert o.classes == CLASSES and np.array_equal(o.probs['b'], oof['m1']) and np.array_equal(o.probs['c'], oof['m2'].argmax(1))
    assert o.table().columns.tolist() == ['image_path', 'a', 'b', 'c'] and 'hard labels only: c' in repr(o)
    write_output(tmp_path/'output_d.csv', table(), ('dress', 'hat', 'cape'), oof['m1'])
    with pytest.raises(FabricError, match='output_d.csv has the chances of other classes'): read_outputs(tmp_path)
    write_output(tmp_path/'output_d.csv', table(59), CLASSES, oof['m1'][:59])
    with pytest.raises(FabricError, match='output_d.csv has 59 rows where 60 are expected; missing: 059.png'): read_outputs(tmp_path)

def test_out_of_fold_files(tmp_path):
    y, oof = draw()
    train, folds = table().assign(target=np.array(CLASSES)[y]), np.arange(60) % 3
    for m, p in oof.items(): write_oof(tmp_path/f'oof_{m}.csv', train, CLASSES, p, folds, probs_too=m != 'm2')
    o = read_oofs(tmp_path)
    assert np.array_equal(o.y, y) and np.array_equal(o.folds, folds) and o.probs['m2'].shape == (60,)
    assert np.array_equal(read_oof(tmp_path/'oof_m2.csv').y, y)
    d = pd.read_csv(tmp_path/'oof_m1.csv', dtype=str)
    for column, value, match in (('fold', '-1', "line 9: fold is '-1'"), ('fold', '1.0', "fold is '1.0'"), ('target', 'cape', "line 9: target 'cape'"), ('predicted', '', 'line 9: predicted')):
        d.assign(**{column: [*d[column][:7], value, *d[column][8:]]}).to_csv(tmp_path/'oof_bad.csv', index=False)
        with pytest.raises(FabricError, match=match): read_oof(tmp_path/'oof_bad.csv')
    other = CLASSES[(y[7] + 1) % 3]
    d.assign(target=[*d.target[:7], other, *d.target[8:]]).to_csv(tmp_path/'oof_bad.csv', index=False)
    with pytest.raises(FabricError, match=f"line 9: 'target' is '{other}'"): read_oofs(tmp_path, train)
    d.drop(columns='fold').to_csv(tmp_path/'oof_bad.csv', index=False)
    with pytest.raises(FabricError, match="no column 'fold'"): read_oof(tmp_path/'oof_bad.csv')

def test_numbers_as_classes(tmp_path):
    train = table(4).assign(target=[10, 2, 2, 10])
    f = write_oof(tmp_path/'oof_x.csv', train, ('2', '10'), [1, 0, 0, 0], [0, 1, 0, 1])
    assert read_oof(f, train).classes == ('2', '10') and read_oof(f, train).labels.tolist() == ['10', '2', '2', '2']


# --- combining ---

@pytest.mark.parametrize('m, k, seed', [(2, 3, 0), (5, 4, 1), (12, 2, 2)])
def test_weights_have_the_least_log_loss(m, k, seed):
    y, oof = draw(80, k, m, seed=seed)
    c = fit_combiner('weighted', oof, y)
    loss = lambda w: -np.log(sum(x*p[np.arange(80), y].astype(float) for x, p in zip(w, oof.values()))).mean()
    assert np.isclose(c.weights.sum(), 1) and (c.weights >= 0).all()
    rng = np.random.default_rng(seed)
    assert all(loss(w) > loss(c.weights) - 2e-5 for w in [*rng.dirichlet(np.ones(m), 2000), *np.eye(m)])

def plain_greedy(oof, y, metric, steps):
    "Caruana et al. 2004 without any shortcut"
    members, rows = list(oof.values()), np.arange(len(y))
    def loss(picked):
        p = np.mean([members[j].astype(float) for j in picked], axis=0)
        log = -np.log(p[rows, y]).mean()
        return log if metric == 'log_loss' else (p.argmax(1) != y).mean() + 1e-6*log
    order = sorted(range(len(members)), key=lambda j: loss([j]))
    tried = [order[:i+1] for i in range(len(order))]
    picked = min(tried, key=loss)
    for _ in range(steps):
        picked = min((picked + [j] for j in range(len(members))), key=loss)
        tried.append(picked)
    return np.bincount(min(tried, key=loss), minlength=len(members))

@pytest.mark.parametrize('metric', ['log_loss', 'accuracy'])
@pytest.mark.parametrize('seed', [0, 1])
def test_greedy_is_that_of_the_paper(metric, seed):
    y, oof = draw(70, 4, 5, seed=seed)
    n = plain_greedy(oof, y, metric, 15)
    assert np.allclose(fit_combiner('greedy', oof, y, metric=metric, steps=15).weights, n/n.sum())

def test_bags_are_drawn_with_the_seed():
    y, oof = draw(70, 4, 6)
    a, b, c = (fit_combiner('greedy', oof, y, bags=8, seed=s, steps=10).weights for s in (0, 0, 1))
    assert np.array_equal(a, b) and not np.array_equal(a, c) and np.isclose(a.sum(), 1)
    for bad in (dict(bags=-1), dict(steps=1.5), dict(metric='auc')):
        with pytest.raises(FabricError): fit_combiner('greedy', oof, y, **bad)

@pytest.mark.parametrize('hard', [False, True])
@pytest.mark.parametrize('m', [2, 3, 4])
def test_majority_is_votes_then_chances_then_the_better_member(hard, m):
    y, oof = draw(150, 4, m, sharp=1)
    members = {n: p.argmax(1) if hard else p for n, p in oof.items()}
    got = fit_combiner('majority', members, y, k=4)(members).argmax(1)
    rank = sorted(range(m), key=lambda j: -(list(oof.values())[j].argmax(1) == y).mean())
    ballots = [np.where(np.arange(4) == p.argmax(1)[:, None], r, (1-r)/3) for p in oof.values() for r in [((p.argmax(1) == y).sum() + 1)/152]]
    for i in range(150):
        said = [p[i].argmax() for p in oof.values()]
        votes, chances = np.bincount(said, minlength=4), sum(p[i].astype(float) for p in (ballots if hard else oof.values()))
        top = [c for c in range(4) if votes[c] == votes.max()]
        top = [c for c in top if np.isclose(chances[c], max(chances[t] for t in top), rtol=0, atol=1e-6)]
        assert got[i] == next(said[j] for j in rank if said[j] in top)

@pytest.mark.parametrize('how', COMBINERS)
def test_every_way_gives_chances_and_changes_nothing(how):
    y, oof = draw(50, 5, 4)
    oof['hard'] = oof['m0'].argmax(1)
    before = {m: p.copy() for m, p in oof.items()}
    c = fit_combiner(how, oof, y)
    p = c(dict(reversed(oof.items())))
    assert p.shape == (50, 5) and p.dtype == np.float32 and np.allclose(p.sum(1), 1, atol=1e-5) and (p >= 0).all()
    assert np.array_equal(p, c(oof)) and all(np.array_equal(oof[m], before[m]) for m in oof) and how in repr(c)
    assert c({m: p.astype(float) if p.ndim == 2 else p for m, p in oof.items()}).dtype == float
    assert fit_combiner(how, dict(only=oof['m0']), y)(dict(only=oof['m0'])).shape == (50, 5)

@pytest.mark.parametrize('how', COMBINERS)
def test_blocks_do_not_show(how, monkeypatch):
    y, oof = draw(50, 5, 4)
    want = fit_combiner(how, oof, y)(oof)
    monkeypatch.setattr(ensembles, '_blocks', lambda n, size=0: [slice(i, i+7) for i in range(0, n, 7)])
    assert np.allclose(fit_combiner(how, oof, y)(oof), want, atol=1e-6)
    assert np.allclose(agreement(oof)['correlation'].to_numpy(), np.corrcoef([p.ravel() for p in oof.values()]), atol=1e-5)

@pytest.mark.parametrize('probs, match', [({}, 'give a dict'), ([1], 'give a dict'), (dict(a=np.ones((3, 2))), 'not chances'), (dict(a=[[.5, .5]], b=[[.2, .3, .5]]), 'give \\(1, 2\\)'),
                                          (dict(a=[[.5, .5]], b=[2]), 'are no class'), (dict(a=['x']), 'say with k='), (dict(a=[[.5, .5]], b=[[np.nan, 1]]), "'b' are not chances")])
def test_members_that_are_none(probs, match):
    with pytest.raises(FabricError, match=match): fit_combiner('mean')(probs)


# --- scoring ---

@pytest.mark.parametrize('how', COMBINERS)
def test_no_row_is_scored_by_weights_that_saw_its_label(how):
    y, oof = draw(90, 3, 4)
    oof['hard'] = oof['m3'].argmax(1)
    folds = np.arange(90) % 3
    p = nested_probs(how, oof, y, folds)
    for f in range(3):
        turned = np.where(folds == f, (y + 1) % 3, y)                             # other labels in the fold: its own predictions stay
        assert np.array_equal(nested_probs(how, oof, turned, folds)[folds == f], p[folds == f])
        keep = folds != f
        c = fit_combiner(how, {m: q[keep] for m, q in oof.items()}, y[keep])
        assert np.allclose(c({m: q[~keep] for m, q in oof.items()}), p[~keep], atol=1e-6)

def test_fresh_folds_keep_clusters_together():
    clusters = np.array([f'c{i//4}' for i in range(60)])
    parts = ensembles._parts(None, 60, clusters)
    assert sorted(np.concatenate(parts)) == list(range(60)) and len(parts) == 5
    assert all(len({*clusters[a]} & {*clusters[b]}) == 0 for i, a in enumerate(parts) for b in parts[:i])
    assert len(ensembles._parts(None, 3, None)) == 3
    with pytest.raises(FabricError, match='cannot be parted'): ensembles._parts(None, 4, np.zeros(4))
    with pytest.raises(FabricError, match='reach across folds'): nested_probs('mean', draw()[1], draw()[0], np.arange(60) % 2, clusters)
    for bad in (np.arange(60) % 2 - 1, np.ones(60), np.zeros((60, 1), int)):
        with pytest.raises(FabricError, match='fold'): nested_probs('mean', draw()[1], draw()[0], bad)

def test_scores_of_members_ensembles_and_yardsticks():
    y, oof = draw(120, 4, 3)
    s = ensemble_scores(oof, y, list('abcd'), np.arange(120) % 4, how=('mean', 'majority', 'best member'), clusters=np.arange(120) % 60, train_y=y, n_boot=50)
    v = s.set_index(['model', 'metric']).value
    assert v['oracle', 'accuracy'] == np.mean([any(p[i].argmax() == y[i] for p in oof.values()) for i in range(120)]) and ('oracle', 'log_loss') not in v
    assert np.isclose(v['mean', 'accuracy'], (sum(oof.values()).argmax(1) == y).mean())
    assert dict(zip(s.model, s.kind)) == dict(m0='member', m1='member', m2='member', mean='ensemble', majority='ensemble', oracle='yardstick', most_frequent='baseline',
                                              base_rate='baseline', chance='baseline') | {'best member': 'yardstick'}
    d = ensemble_scores(oof, y, list('abcd'), how='mean', versus='m0', n_boot=50)
    assert np.isclose(d[(d.model == 'mean') & (d.metric == 'accuracy')].value.iloc[0], v['mean', 'accuracy'] - v['m0', 'accuracy'])
    with pytest.raises(FabricError, match="'oracle' is the name"): ensemble_scores(dict(oracle=oof['m0']), y, list('abcd'))

def test_the_best_member_in_hindsight_is_flattered():
    gaps = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        y, oof = rng.integers(3, size=60), {f'm{i}': rng.integers(3, size=60) for i in range(10)}            # nothing but luck
        folds = np.arange(60) % 5
        gaps.append([max((p == y).mean() for p in oof.values()), (nested_probs('best member', oof, y, folds, k=3).argmax(1) == y).mean()])
    hindsight, honest = np.mean(gaps, 0)
    assert hindsight > .4 and honest < .38

def test_what_a_member_adds():
    y, oof = draw(100, 3, 3)
    t = added(oof, y, n_boot=100).set_index('member')
    right = {m: p.argmax(1) == y for m, p in oof.items()}
    whole, less = (sum(oof.values()).argmax(1) == y), ((oof['m0'] + oof['m2']).argmax(1) == y)
    assert (t.mends['m1'], t.spoils['m1']) == ((whole & ~less).sum(), (less & ~whole).sum()) and np.isclose(t.gain['m1'], whole.mean() - less.mean())
    assert t.only_right['m1'] == (right['m1'] & ~right['m0'] & ~right['m2']).sum() and (t.lo <= t.gain + 1e-9).all() and (t.gain <= t.hi + 1e-9).all()
    one, four = ([np.repeat(a, r, axis=0) for a in (y, *oof.values())] for r in (1, 4))
    wide = added(dict(zip(oof, four[1:])), four[0], clusters=np.arange(400)//4)
    assert np.allclose(wide.hi - wide.lo, added(dict(zip(oof, one[1:])), one[0]).eval('hi - lo'), atol=.03)     # copies make nothing surer
    for how in COMBINERS: assert len(added(oof, y, how, n_boot=10)) == 3


# --- agreement and pictures ---

def test_agreement_is_that_of_numpy_and_sklearn():
    y, oof = draw(80, 4, 3)
    oof['hard'] = oof['m0'].argmax(1)
    t = agreement(oof, y)
    flat = [(p if p.ndim == 2 else np.eye(4)[p]).ravel() for p in oof.values()]
    assert np.allclose(t['correlation'], np.corrcoef(flat), atol=1e-5)
    said = {m: p if p.ndim == 1 else p.argmax(1) for m, p in oof.items()}
    for a in oof:
        for b in oof:
            assert np.isclose(t['kappa'].loc[a, b], cohen_kappa_score(said[a], said[b]))
            wa, wb = said[a] != y, said[b] != y
            assert np.isclose(t['one wrong'].loc[a, b], (wa ^ wb).mean()) and np.isclose(t['both wrong'].loc[a, b], (wa & wb).mean())

@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('m', [1, 2, 12])
def test_pictures_from_one_to_twelve_models(m):
    y, oof = draw(60, 3, m)
    oof = {f'{name} with a long name of its architecture': p for name, p in oof.items()}
    oof['one answer'] = np.zeros(60, int)
    oof['even'] = np.full((60, 3), 1/3)
    t = agreement(oof, y)
    assert np.isnan(t['correlation'].loc['even', 'one answer']) and t['kappa'].loc['one answer', 'one answer'] == 1
    for which in (None, 'kappa', ['correlation', 'one wrong'])[m == 12:][:1 + (m == 2)]: plot_agreement(t, which).canvas.draw()
    s = ensemble_scores(oof, y, CLASSES, how=('mean', 'best member'), train_y=y, n_boot=20)
    for metric in ('accuracy', 'log_loss'): plot_models(s, metric).canvas.draw()
    left, right = plot_models(s).axes
    assert left.get_xlim()[0] == 0 and len(left.patches) == m + 4 and 'does not begin at 0' in right.get_xlabel()
    plot_models(ensemble_scores(oof, y, CLASSES, how='mean', versus='even', n_boot=20)).canvas.draw()
    with pytest.raises(FabricError, match='no measure to draw'): plot_agreement(t, [])
