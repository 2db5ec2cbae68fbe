"The public contract of fabric_touch.swatches"
import numpy as np, pandas as pd, pytest
from PIL import Image
from fabric_touch.blends import FIBRES, blend_vector, format_blend, blend_from_vector
from fabric_touch.core import TOUCHES, FabricError
from fabric_touch.swatches import (FIBRE_TABLE, STRUCTURES, TOUCH_RULES, Swatches, blend_part, draw_structures, level_probs, make_blends, make_swatches,
                                   photo_part, rate, true_feel)

@pytest.fixture(scope='module')
def sw(): return make_swatches(24, size=48, seed=3, raters=5)

@pytest.fixture(scope='module')
def parts():
    "The two parts of 4000 fabrics, and their ratings; nothing is drawn"
    p, q = photo_part(draw_structures(4000, 11)), blend_part(make_blends(4000, 11))
    return p, q, rate(true_feel(p, q), seed=11)

def icc21(x):
    n, k = x.shape; x = np.asarray(x, float); r, c, m = x.mean(1), x.mean(0), x.mean()
    b, j = k*((r - m)**2).sum()/(n - 1), n*((c - m)**2).sum()/(k - 1)
    e = ((x - r[:, None] - c + m)**2).sum()/((n - 1)*(k - 1))
    return (b - e)/(b + (k - 1)*e + k*(j - e)/n)

def same(a, b):
    for name in ('images', 'blends', 'ratings', 'photo_part', 'blend_part', 'truth', 'probs'): np.testing.assert_array_equal(getattr(a, name), getattr(b, name), name)
    pd.testing.assert_frame_equal(a.structure, b.structure)

def test_shapes_and_ranges(sw):
    n = len(sw)
    assert isinstance(sw, Swatches) and n == 24
    assert sw.images.shape == (n, 48, 48, 3) and sw.images.dtype == np.uint8
    assert sw.blends.shape == (n, len(FIBRES)) and sw.blends.dtype == np.float32
    np.testing.assert_allclose(sw.blends.sum(1), 1, atol=1e-6)
    assert sw.blends.min() >= 0 and ((sw.blends > 0).sum(1) <= 4).all()
    assert sw.ratings.shape == (n, 5, 4) and sw.ratings.dtype == np.int8 and sw.ratings.min() >= 1 and sw.ratings.max() <= 5
    assert sw.photo_part.shape == sw.blend_part.shape == sw.truth.shape == (n, 4)
    assert sw.probs.shape == (n, 4, 5) and sw.probs.dtype == np.float32
    np.testing.assert_allclose(sw.probs.sum(-1), 1, atol=1e-5)
    assert sw.counts.shape == (n, 4, 5) and (sw.counts.sum(-1) == 5).all()
    assert sw.levels.shape == (n, 4) and sw.levels.min() >= 1 and sw.levels.max() <= 5
    assert len(sw.structure) == n and sw.structure.fabric.is_unique and not sw.structure.isna().any(axis=None)

def test_same_seed_same_everything(sw): same(make_swatches(24, size=48, seed=3, raters=5), sw)

def test_other_seed_other_cloth(sw):
    other = make_swatches(24, size=48, seed=4, raters=5)
    assert (other.images != sw.images).any(axis=(1, 2, 3)).all() and (other.blends != sw.blends).any()
    assert not set(other.structure.fabric) & set(sw.structure.fabric)

def test_a_swatch_does_not_depend_on_company(sw):
    same(make_swatches(5, size=48, seed=3, raters=5), sw[:5])
    same(make_swatches(4, size=48, seed=3, raters=5, start=20), sw[20:])

def test_the_callers_random_state_is_left_alone():
    np.random.seed(5); before = np.random.get_state()[1].copy()
    make_swatches(2, size=32)
    np.testing.assert_array_equal(np.random.get_state()[1], before)

def test_parts_of_swatches(sw):
    same(sw[[3]], sw[3])
    assert len(sw[np.arange(24) % 2 == 0]) == 12 and len(sw[[1, 5]]) == 2

def test_size_changes_the_photo_not_the_fabric(sw):
    big = make_swatches(3, size=96, seed=3, raters=5)
    assert big.images.shape[1:3] == (96, 96)
    np.testing.assert_array_equal(big.truth, sw.truth[:3])

@pytest.mark.parametrize('name', STRUCTURES)
def test_every_structure_gives_a_lively_photo(name):
    d = draw_structures(200, 2)
    from fabric_touch.swatches import draw_swatch
    for s in list(d[d.structure == name].itertuples())[:3]:
        x = draw_swatch(s, 64, 2).astype(float)
        assert x.std((0, 1)).max() > 3 and 5 < x.mean() < 253      # neither blank, nor black, nor burnt out

def test_structures_occur_as_often_as_stated():
    share = draw_structures(4000, 5).structure.value_counts(normalize=True)
    for name, row in STRUCTURES.items(): assert abs(share[name] - row.chance) < .03

def test_blends_are_plausible_and_recur():
    b = make_blends(1000)
    kinds = np.unique(b, axis=0)
    assert 250 <= len(kinds) <= 450
    assert (b > 0).any(0).all()                                             # every fibre occurs
    percent = b*100
    np.testing.assert_allclose(percent, np.rint(percent), atol=1e-4)        # whole per cent
    assert b[b > 0].min() > .009
    assert set(np.unique((b > 0).sum(1))) == {1, 2, 3, 4}

def test_tables_cover_fibres_and_touches():
    assert tuple(FIBRE_TABLE) == FIBRES and tuple(TOUCH_RULES) == TOUCHES
    assert abs(sum(s.chance for s in STRUCTURES.values()) - 1) < 1e-9

def test_parts_are_standardised_and_independent(parts):
    p, q, _ = parts
    for x in (p, q):
        np.testing.assert_allclose(x.mean(0), 0, atol=.07)
        np.testing.assert_allclose(x.std(0), 1, atol=.07)
    assert abs(np.corrcoef(p.T, q.T)[:4, 4:]).max() < .06

def test_variance_shares(parts):
    p, q, _ = parts
    truth = true_feel(p, q)
    for k, (t, rule) in enumerate(TOUCH_RULES.items()):
        assert abs(np.corrcoef(p[:, k], truth[:, k])[0, 1]**2 - rule.photo) < .04, t
        assert abs(np.corrcoef(q[:, k], truth[:, k])[0, 1]**2 - (1 - rule.photo)) < .04, t

def test_raters_agree_as_in_the_survey(parts):
    r = parts[2]
    for k, expected in enumerate((.33, .45, .68, .63)): assert abs(icc21(r[..., k]) - expected) < .04, TOUCHES[k]
    assert all((r[..., k] == level).mean() > .03 for k in range(4) for level in range(1, 6))

def test_probs_are_the_raters_own_chances(parts):
    p, q, r = parts
    for k in range(4):
        seen = np.array([(r[..., k] == level).mean() for level in range(1, 6)])
        np.testing.assert_allclose(level_probs(true_feel(p, q)).mean(0)[k], seen, atol=.01)

def test_rules_point_the_right_way():
    touch = lambda text: dict(zip(TOUCHES, blend_part(blend_vector(text)[None])[0]))
    pes, stretch, linen, wool, nylon = (touch(t) for t in ('100% polyester', '90% polyester 10% spandex', '100% linen', '100% wool', '100% nylon'))
    assert stretch['flexibility'] > pes['flexibility'] and linen['softness'] < pes['softness']
    assert wool['thickness'] > pes['thickness'] and nylon['smoothness'] > wool['smoothness']
    d = draw_structures(3000, 6)
    mean = pd.DataFrame(photo_part(d), columns=TOUCHES).groupby(d.structure).mean()
    assert mean.flexibility.idxmax() == 'rib' and mean.smoothness.idxmax() == 'satin' and mean.softness.idxmax() == 'fleece'
    assert mean.thickness.nlargest(3).index.isin(['fleece', 'corduroy', 'terry']).all()

@pytest.mark.parametrize('kind,rows', [('fabric', 24), ('ratings', 120)])
def test_table(sw, kind, rows):
    t = sw.table(kind)
    assert len(t) == rows and list(t.columns) == ['fabric', 'image', 'blend'] + ['rater']*(kind == 'ratings') + list(TOUCHES)
    assert t[list(TOUCHES)].isin(range(1, 6)).all(axis=None)
    if kind == 'ratings':
        one = t[t.fabric == sw.structure.fabric[7]]
        np.testing.assert_array_equal(one.sort_values('rater')[list(TOUCHES)], sw.ratings[7])
    else: np.testing.assert_array_equal(t[list(TOUCHES)], sw.levels)

def test_blend_texts_read_back(sw):
    for text, v in zip(sw.blend_texts, sw.blends):
        np.testing.assert_allclose(blend_vector(text), v, atol=1e-6)
        assert text == format_blend(blend_from_vector(v))

@pytest.mark.parametrize('kind', ['fabric', 'ratings'])
def test_write_and_read_back(sw, tmp_path, kind):
    csv = sw.write(tmp_path/'out', kind=kind)
    assert csv == tmp_path/'out'/'fabrics.csv'
    pd.testing.assert_frame_equal(pd.read_csv(csv), sw.table(kind), check_dtype=False)
    names = pd.read_csv(csv).image.unique()
    assert len(list((csv.parent/'images').iterdir())) == len(names) == 24
    np.testing.assert_array_equal(np.array(Image.open(csv.parent/names[9])), sw.images[9])

def test_write_spares_what_is_there(sw, tmp_path):
    mine = tmp_path/'mine'; mine.mkdir(); (mine/'thesis.txt').write_text('precious')
    with pytest.raises(FabricError, match='overwrite=True'): sw[:2].write(mine)
    assert (mine/'thesis.txt').read_text() == 'precious' and len(list(mine.iterdir())) == 1
    with pytest.raises(FabricError, match='choose from: fabric, ratings'): sw[:2].write(mine, kind='rating', overwrite=True)
    assert (mine/'thesis.txt').exists()
    sw[:2].write(mine, overwrite=True)
    assert sorted(p.name for p in mine.iterdir()) == ['fabrics.csv', 'images'] and [p.name for p in tmp_path.iterdir()] == ['mine']

@pytest.mark.parametrize('bad', [dict(n=0), dict(n=-3), dict(n=2.5), dict(n='ten'), dict(n=True), dict(n=None), dict(size=31), dict(size=1025), dict(size=96.),
                                 dict(raters=0), dict(raters=-1), dict(seed=-1), dict(seed=.5), dict(start=-1)])
def test_bad_input_is_refused_by_name(bad):
    (name, value), = bad.items()
    with pytest.raises(FabricError, match=f'{name}={value!r}.*whole number'): make_swatches(**(dict(n=1, size=32) | bad))

@pytest.mark.parametrize('make', [make_blends, draw_structures])
def test_bad_numbers_are_refused_everywhere(make):
    with pytest.raises(FabricError, match='n=0'): make(0)
    with pytest.raises(FabricError, match='seed=-2'): make(1, -2)
