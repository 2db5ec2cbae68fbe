"Nearest fabrics against all pairs; ties, copies, groups, one side missing, new fabrics, large and hostile input"
import warnings
import matplotlib.pyplot as plt, numpy as np, pytest
from hypothesis import given, settings, strategies as st
from scipy.spatial.distance import cdist
from scipy.stats import energy_distance

from fabric_touch.core import FabricError
from fabric_touch.data import Number, Target, read_fabrics
from fabric_touch.embeds import EmbeddingStore
from fabric_touch.encoders import image_encoder
from fabric_touch.neighbours import WAYS, Neighbours, fabric_neighbours, look_points, plot_nearest, touch_distances
from fabric_touch.swatches import make_swatches
from fabric_touch.touch import TouchPrediction, embed_fabrics, touch_model, touch_probs

pytestmark = pytest.mark.once


def table(n=50, seed=0, width=8):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(5), (n, 4)), rng.normal(size=(n, width))

def by_hand(p, v, near, share):
    "All distances by the formula"
    touch = np.sqrt(((p.cumsum(-1)[:, None] - p.cumsum(-1)[None])**2).sum(-1).mean(-1))
    u = v/np.linalg.norm(v, axis=1, keepdims=True)
    look = np.sqrt(np.clip(2 - 2*u @ u.T, 0, None))
    return np.sqrt(share*(touch/near.scales['touch'])**2 + (1-share)*(look/near.scales['look'])**2)

@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close('all')

@pytest.fixture(scope='module')
def fabrics(tmp_path_factory): return read_fabrics(make_swatches(12, seed=3).write(tmp_path_factory.mktemp('near')/'swatches', kind='ratings'))


# --- distances ---

@pytest.mark.parametrize('k', [2, 3, 5, 9])
def test_touch_distance_is_the_energy_distance(k):
    a, b = np.random.default_rng(k).dirichlet(np.ones(k), 2)
    assert np.isclose(np.sqrt(2)*touch_distances([[a]], [[b]], Target('x', k)).item(), energy_distance(range(k), range(k), a, b))

def test_the_number_of_touches_does_not_matter():
    p, _ = table(6)
    one = touch_distances(p[:, :1], p[:, :1], 'softness')
    assert np.allclose(touch_distances(p[:, [0]*4], p[:, [0]*4]), one)

def test_targets_of_different_widths_and_numbers():
    p = np.zeros((2, 3, 5))
    p[0, 0, 0] = p[1, 0, 2] = p[:, 1, 1] = 1
    p[:, 2, 0] = 100, 130
    p[:, 1, 3:] = 77                                             # beyond the target's levels: not read
    d = touch_distances(p, p, (Target('a', 3), Target('b', 2), Target('g', 0, 100, 10)))
    assert np.isclose(d[0, 1], np.sqrt((2 + 0 + 9)/3))

def test_numbers_are_standardised_by_the_table():
    x = np.array([100., 200, 300, 500])
    a, b = (Neighbours(y[:, None, None], targets=Number('gsm')) for y in (x, 1000*x + 7))
    assert np.isclose(a.targets[0].std, x.std()) and np.allclose(a.points['touch'], b.points['touch'])
    assert np.allclose(a.nearest(0, 3).touch, (x[1:] - 100)/x.std())
    assert np.allclose(a.nearest(([[230.]], None), 1).touch, 30/x.std())

@settings(max_examples=30, deadline=None)
@given(st.floats(1e-150, 1e150), st.integers(0, 99))
def test_look_forgets_length(scale, seed):
    v = np.random.default_rng(seed).normal(size=(4, 3))
    assert np.allclose(look_points(v*scale), look_points(v), atol=1e-6)


# --- the nearest ---

@pytest.mark.parametrize('by, share', [*WAYS.items(), (.3, .3), (0, 0), (1, 1), (np.float32(.5), .5)])
def test_nearest_are_those_of_all_pairs(by, share):
    p, v = table()
    near = Neighbours(p, v)
    d = by_hand(p, v, near, share)
    np.fill_diagonal(d, np.inf)
    for i in range(0, 50, 7):
        found = near.nearest(i, 10, by)
        assert [*found.row] == [*d[i].argsort()[:10]] and np.allclose(found.distance, np.sort(d[i])[:10], atol=1e-5)
        assert list(found.columns) == ['row', 'name', 'distance', 'touch', 'look'] and found.index.name == 'rank'

@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 999))
def test_groups_and_ties_against_all_pairs(n, kinds, seed):
    rng = np.random.default_rng(seed)
    v, groups = rng.normal(size=(kinds + 1, 4))[rng.integers(kinds + 1, size=n)], rng.integers(max(2, n//3), size=n)
    if len({*groups}) < 2 or len(np.unique(v, axis=0)) < 2: return
    near, most = Neighbours(vectors=v, groups=groups), len({*groups}) - 1
    d = cdist(near.points['look'], near.points['look'])[0]
    best = sorted((d[groups == g].min(), np.flatnonzero((groups == g) & (d < d[groups == g].min() + 1e-9))[0]) for g in {*groups} - {groups[0]})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for k in {1, (most + 1)//2, most}:
            found = near.nearest(0, k)
            assert np.allclose(found.look, [x for x,_ in best[:k]], atol=1e-6)
            assert len({*groups[found.row]}) == k and groups[0] not in groups[found.row]
            assert [*found.row] == [r for _,r in sorted(((round(x, 6), r) for x,r in best))[:k]]

def test_many_copies_are_told_and_do_not_hide_the_rest():
    p, v = table(4)
    rows = [0]*300 + [1, 2, 3]
    near = Neighbours(p[rows], v[rows])
    with pytest.warns(UserWarning, match='294 more are as near as number 5: 6, 7, 8, 9, 10, … '): found = near.nearest(0, 5)
    assert [*found.row] == [1, 2, 3, 4, 5] and [*found.index] == [1]*5 and not found.distance.any()
    assert '299 are just like an earlier one' in repr(near)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert sorted(Neighbours(p[rows], v[rows], groups=rows).nearest(0, 3).row) == [300, 301, 302]

def test_a_large_table_is_scaled_by_a_seeded_draw():
    p, v = table(2000)
    a, b = Neighbours(p, v), Neighbours(p, v)
    assert a.scales == b.scales and a.nearest(5).equals(b.nearest(5))
    assert np.isclose(a.scales['look'], np.median(cdist(look_points(v[:300]), look_points(v[:300]))[np.triu_indices(300, 1)]), rtol=.03)

def test_a_usual_pair_is_one_apart():
    p, v = table(100)
    near = Neighbours(p, v)
    far = np.concatenate([near.nearest(i, 99, 'look').distance for i in range(100)])
    assert np.isclose(np.median(far), 1, atol=.01)

def test_only_three_indexes_are_kept():
    near = Neighbours(*table())
    for share in np.linspace(0, 1, 9): near.nearest(0, by=share)
    assert len(near._indexes) == 3

def test_a_new_fabric():
    p, v = table()
    near = Neighbours(p, v, names=[f'cloth {i}' for i in range(50)])
    for by in (*WAYS, .2): assert near.nearest((p[9], v[9]), 1, by).iloc[0]['name'] == 'cloth 9'
    found = near.nearest((p[9], None), 3, 'touch')
    assert 'look' not in found and np.isclose(found.distance.iloc[0], 0)
    assert len(Neighbours(p, v).nearest((p[9], v[9]), 50)) == 50
    said = TouchPrediction(p[9], near.targets, None)
    assert near.nearest((said.probs, v[9])).equals(near.nearest((p[9], v[9])))

def test_one_side_is_enough():
    p, v = table()
    assert 'look' not in Neighbours(p).nearest(0) and 'touch' not in Neighbours(vectors=v).nearest(0)
    for near, by in ((Neighbours(p), 'look'), (Neighbours(p), .5), (Neighbours(vectors=v), 'touch')):
        with pytest.raises(FabricError, match='this table has none'): near.nearest(0, by=by)


# --- refused ---

P, V = table(6)
@pytest.mark.parametrize('args, said', [
    (dict(), 'neither probs nor vectors'),
    (dict(probs=P, vectors=V[:5]), 'touch 6, look 5'),
    (dict(probs=P, names='abc'), 'names 3'),
    (dict(probs=P, groups=[1]), 'groups 1'),
    (dict(vectors=V[:, 0]), 'have shape'),
    (dict(vectors=V[:0]), 'have shape'),
    (dict(vectors=[[1, 2], [3]]), 'not one array'),
    (dict(vectors=[['a', 'b']]), 'not one array'),
    (dict(vectors=np.where(np.arange(6)[:, None] == 4, np.inf, V)), 'row 4 hold NaN or infinite'),
    (dict(vectors=V*(np.arange(6)[:, None] != 2)), 'row 2 is all zeros'),
    (dict(probs=P*np.nan), 'row 0, 1, 2, 3, 4, … (6 in all)'),
    (dict(probs=P*2), 'is no distribution'),
    (dict(probs=P[:, :3]), 'or name their targets'),
    (dict(probs=P[..., :4]), 'or name their targets'),
    (dict(probs=P[0]), 'have shape (4, 5)'),
    (dict(probs=P, targets='warmth'), "for ['warmth']"),
    (dict(probs=P[[0]*6]), 'all 6 fabrics are the same by touch'),
    (dict(vectors=V[:1]), 'all 1 fabrics are the same by look'),
    (dict(vectors=V, groups=[1, 2, np.nan, 4, 5, 6]), 'row 2 has no group')])
def test_tables_that_are_refused(args, said):
    with pytest.raises(FabricError) as e: Neighbours(**args)
    assert said in str(e.value)

@pytest.mark.parametrize('args, said', [
    (dict(query=6), 'rows 0 to 5'), (dict(query=-1), 'rows 0 to 5'), (dict(query=True), 'a row number, or a pair'), (dict(query=1.), 'a row number, or a pair'),
    (dict(query=(P[0],)), 'a row number, or a pair'), (dict(query=None), 'a row number, or a pair'), (dict(query=P[0]), 'a row number, or a pair'),
    (dict(query=(P[0], None)), 'no image vector'), (dict(query=(None, V[0])), 'no prediction'), (dict(query=(None, None)), 'the new fabric has no'),
    (dict(query=(P[0], V[0, :3])), '3 numbers'), (dict(query=(P, V[0])), 'have shape'), (dict(query=(P[0], V)), 'have shape'),
    (dict(query=(P[0]*np.nan, V[0])), 'NaN'), (dict(query=(P[0], V[0]*0)), 'all zeros'),
    (dict(query=0, n=6), 'there are 5 other'), (dict(query=0, n=0), 'from 1 to 5'), (dict(query=0, n=True), 'from 1 to 5'), (dict(query=0, n=2.), 'from 1 to 5'),
    (dict(query=0, by='feel'), 'choose from: touch, look, both'), (dict(query=0, by=-.1), 'from 0 (look alone)'), (dict(query=0, by=np.nan), 'from 0 (look alone)'),
    (dict(query=0, by=True), 'unknown way'), (dict(query=0, by=['touch']), 'unknown way')])
def test_questions_that_are_refused(args, said):
    with pytest.raises(FabricError) as e: Neighbours(P, V).nearest(**args)
    assert said in str(e.value)


# --- from fabrics, and the figure ---

def test_from_fabrics_nothing_is_encoded_twice(fabrics, monkeypatch):
    model, encoder = touch_model('mlb'), image_encoder('swatch')
    store = EmbeddingStore(None, encoder.id, encoder.n_out)
    vectors = embed_fabrics(fabrics, encoder, store)
    monkeypatch.setattr(type(model.encoder), 'forward', lambda *_: pytest.fail('a photo was encoded again'))
    near = fabric_neighbours(fabrics, model, store=store)
    assert [*near.names] == [*fabrics.items.fabric] and len(near) == 12
    assert near.nearest(0).equals(fabric_neighbours(fabrics, model, vectors).nearest(0))
    assert [*fabric_neighbours(fabrics, vectors=vectors).points] == ['look']
    other = fabric_neighbours(fabrics, model, vectors, look=V[[0, 1, 2, 3, 4, 5]*2])
    assert other.points['look'].shape == (12, 8) and np.allclose(other.points['touch'], near.points['touch'])
    np.testing.assert_allclose(near.probs, touch_probs(model, vectors, fabrics.blends))

def test_articles_are_one_cloth(fabrics):
    some = fabrics.take(np.arange(12))
    some.items['article'] = ['a']*6 + [*'bcdefg']
    near = fabric_neighbours(some, vectors=np.random.default_rng(0).normal(size=(12, 5)))
    assert near.nearest(0, 6).row.min() == 6
    with pytest.raises(FabricError, match='there are 6 other'): near.nearest(0, 7)

def test_fabrics_without_photos_are_named(fabrics):
    some, model = fabrics.take(np.arange(4)), touch_model('mlb')
    some.items['image'] = [some.images[0], None, some.images[2], '']
    with pytest.raises(FabricError, match='row 1, 3 has no photo'): fabric_neighbours(some, model)
    gone = np.random.default_rng(0).normal(size=(4, model.encoder.n_out))
    gone[1] = np.nan
    with pytest.raises(FabricError, match='photo 1 is missing'): fabric_neighbours(some, model, gone)
    with pytest.raises(FabricError, match='row 1 hold NaN'): fabric_neighbours(some, touch_model('mlb_either'), gone)
    assert len(fabric_neighbours(some, touch_model('mlb_either'), gone, look=V[:4])) == 4     # its look is known from elsewhere
    with pytest.raises(FabricError, match='choose from'): fabric_neighbours(some, vectors=V[:4], group='colour')

def test_the_figure_in_all_its_forms():
    p, v = table(8)
    photos = [np.full((20 + i, 30, 3), 9*i, np.uint8) for i in range(8)]
    near = Neighbours(p, v)
    count = lambda fig: len([ax for ax in fig.axes if ax.images])
    assert count(plot_nearest(near, 0, photos, n=2)) == 2*(1 + 3*2)
    assert count(plot_nearest(near, 0, n=2)) == 1 + 3*2
    assert count(plot_nearest(Neighbours(vectors=v), (None, v[3]), photos, n=2, photo=photos[3])) == 1 + 2
    assert count(plot_nearest(near, (p[0], v[0]), photos, n=1, ways=[.2, 'touch'])) == 1 + 2*2
    grams = Neighbours(np.arange(8.)[:, None, None] + 100, targets=Number('gsm'))
    assert {'100', '101'} <= {t.get_text() for ax in plot_nearest(grams, 0, n=1).axes for t in ax.texts}
    with pytest.raises(FabricError, match='3 photos for 8 fabrics'): plot_nearest(near, 0, photos[:3])
    with pytest.raises(FabricError, match='nothing to draw'): plot_nearest(Neighbours(vectors=v), 0)
    with pytest.raises(FabricError, match='of a new fabric its photo'): plot_nearest(Neighbours(vectors=v), (None, v[3]), photos)
    with pytest.raises(FabricError, match='ways is empty'): plot_nearest(near, 0, photos, ways=[])
    assert count(plot_nearest(near, 0, photos, n=1, ways='look')) == 4
    with pytest.raises(FabricError, match='there are 7 other'): plot_nearest(near, 0, photos, n=8)
