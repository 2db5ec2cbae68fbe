"Tables in every form, photos in every mode, folds that split nothing, labels that leak nothing, users' files untouched."
import os

import numpy as np, pandas as pd, pytest, torch
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from fabric_touch.blends import FIBRES, blend_vector
from fabric_touch.core import TOUCHES, FabricError, data_dir, has_data
from fabric_touch.data import (MAX_PIXELS, Fabrics, Number, Target, as_targets, check_photos, load_photo, read_fabrics,
                               soft_labels, touch_dls, upright)
from fabric_touch.swatches import make_swatches

BLENDS = ['100% cotton', '60% cotton 40% polyester', '100% wool', '95% nylon 5% spandex', '100% linen', '80% acrylic 20% wool', '100% rayon', '50% modal 50% cotton']
quick = settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))

def table(n=16, seed=0):
    "n fabrics, one row each, without photos"
    dice = np.random.default_rng(seed)
    return pd.DataFrame(dict(fabric=[f'f{i}' for i in range(n)], blend=[BLENDS[i % len(BLENDS)] for i in range(n)],
                             **{t: dice.integers(1, 6, n) for t in TOUCHES}))

def noise(w=40, h=30, seed=0): return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8))

@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    "24 swatches as a user brings them, one row per rating"
    return make_swatches(24, size=48, seed=2, raters=4).write(tmp_path_factory.mktemp('data')/'swatches', kind='ratings').parent

@pytest.fixture(scope='module')
def fabrics(folder): return read_fabrics(folder/'fabrics.csv')

# ---- one table, many forms

def test_the_two_forms_that_swatches_write(tmp_path):
    sw = make_swatches(10, size=48, seed=1, raters=5)
    one = read_fabrics(sw.write(tmp_path/'a'))
    many = read_fabrics(sw.write(tmp_path/'b', kind='ratings'))
    for f in (one, many):
        assert isinstance(f, Fabrics) and len(f) == 10 and not len(f.left_out) and all(os.path.isfile(p) for p in f.images)
        assert f.blends.shape == (10, 12) and f.blends.dtype == np.float32
        np.testing.assert_allclose(f.blends, sw.blends, atol=1e-4)
    np.testing.assert_array_equal(many.counts(), sw.counts)
    np.testing.assert_array_equal(many.ratings(), sw.ratings)
    assert (one.counts().sum(-1) == 1).all()
    np.testing.assert_array_equal(one.counts().argmax(-1) + 1, sw.levels)

def test_twelve_columns_equal_texts():
    d = table()
    vectors = pd.DataFrame([blend_vector(b) for b in d.blend], columns=FIBRES)
    text, numbers = read_fabrics(d), read_fabrics(pd.concat([d.drop(columns='blend'), vectors], axis=1))
    np.testing.assert_array_equal(text.blends, numbers.blends)
    turned = read_fabrics(pd.concat([d.drop(columns='blend'), vectors[list(reversed(FIBRES))]], axis=1))
    np.testing.assert_array_equal(text.blends, turned.blends)     # columns are found by name, not by place

def test_csv_and_table_give_the_same(tmp_path):
    d = table()
    for name, how in dict(plain={}, bom=dict(encoding='utf-8-sig'), quoted=dict(quoting=1)).items():
        d.to_csv(tmp_path/f'{name}.csv', index=False, **how)
        a, b = read_fabrics(tmp_path/f'{name}.csv'), read_fabrics(d)
        pd.testing.assert_frame_equal(a.items, b.items, check_dtype=False)
        np.testing.assert_array_equal(a.counts(), b.counts())

def test_the_callers_table_is_left_as_it_is():
    d = table(); before = d.copy(deep=True)
    read_fabrics(d); touch_dls(read_fabrics(d), vectors=np.zeros((16, 3)), bs=4).one_batch()
    pd.testing.assert_frame_equal(d, before)

def test_rows_with_any_index():
    d = table()
    a = read_fabrics(d.set_index(pd.Index([7]*len(d))))
    np.testing.assert_array_equal(a.counts(), read_fabrics(d).counts())

def test_order_of_rows_does_not_matter(folder):
    d = pd.read_csv(folder/'fabrics.csv', dtype=dict(fabric=str))
    a, b = read_fabrics(d, root=folder), read_fabrics(d.sample(frac=1, random_state=0), root=folder)
    at = [list(b.items.fabric).index(f) for f in a.items.fabric]
    np.testing.assert_array_equal(a.counts(), b.counts()[at])
    np.testing.assert_array_equal(a.labels(), b.labels()[at])

def test_several_photos_of_one_fabric(folder):
    d = pd.read_csv(folder/'fabrics.csv', dtype=dict(fabric=str)).drop_duplicates('fabric').head(4)
    f = read_fabrics(pd.concat([d, d.assign(image=list(d.image)[::-1])]), root=folder)
    assert len(f) == 8 and len(set(f.groups('fabric'))) == 4
    for i in range(4): np.testing.assert_array_equal(*f.counts()[f.groups('fabric') == i])   # what was said of a fabric holds for all its photos

def test_missing_ratings_are_nan():
    d = table(8)
    d[list(TOUCHES)] = d[list(TOUCHES)].astype(float)
    d.loc[2, 'softness'] = np.nan; d.loc[5, list(TOUCHES)] = np.nan
    f = read_fabrics(d)
    y, rated = f.labels(), f.counts().sum(-1) > 0
    assert y.dtype == np.float32 and y.shape == (8, 4, 5)
    np.testing.assert_array_equal(rated, d[list(TOUCHES)].notna())
    np.testing.assert_array_equal(np.isnan(y).all(-1), ~rated)
    assert np.isfinite(y[rated]).all()

def test_numbers_and_levels_together():
    d = table(12).assign(gsm=np.linspace(80, 400, 12), shade=[1, 2, 3]*4)
    f = read_fabrics(d, [Number('gsm'), 'softness', Target('shade', 3)])
    y = f.labels()
    assert y.shape == (12, 3, 5)
    np.testing.assert_allclose(y[:, 0, 0], d.gsm, rtol=1e-6)
    np.testing.assert_allclose(y[:, 1].sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(y[:, 2, :3].sum(-1), 1, rtol=1e-5)
    assert not y[:, 2, 3:].any()
    gsm = f.fit_targets(range(6))[0]
    np.testing.assert_allclose((gsm.mean, gsm.std), (d.gsm[:6].mean(), d.gsm[:6].std(ddof=0)))    # of these rows and no others
    assert f.fit_targets([0])[0].std == 1                                                         # one fabric has no spread; nothing is divided by 0

def test_raters_of_a_number_are_averaged():
    d = pd.DataFrame(dict(fabric=['a', 'a', 'b'], rater=[1, 2, 1], blend='100% cotton', gsm=[100, 200, np.nan]))
    np.testing.assert_array_equal(read_fabrics(d, [Number('gsm')]).labels()[:, 0, 0], [150, np.nan])

@pytest.mark.parametrize('name', ['NA', 'None', 'null', 'nan', '007', '1e5', ' a '])
def test_names_of_fabrics_are_only_names(tmp_path, name):
    d = table(6).assign(fabric=[name, *'bcdef'])
    d.to_csv(tmp_path/'t.csv', index=False)
    f = read_fabrics(tmp_path/'t.csv')
    assert f.items.fabric[0] == name and (f.counts().sum(-1) == 1).all()

def test_a_fabric_without_a_name_keeps_its_ratings_or_is_refused():
    d = table(6).assign(fabric=['a', None, None, 'd', 'e', 'f'])
    try: f = read_fabrics(d)
    except FabricError as e: assert 'fabric' in str(e)
    else: assert (f.counts().sum(-1) == 1).all()

def test_targets_from_names():
    assert as_targets('softness') == (Target('softness'),) and as_targets(TOUCHES)[3].name == 'flexibility'
    assert Number('gsm').levels == 0 and Target('x', 7).levels == 7
    for bad in ([], ['a', 'a'], ['a', Number('a')]):
        with pytest.raises(FabricError, match='targets must be'): as_targets(bad)

# ---- folds

@quick
@given(kinds=st.lists(st.integers(0, 7), min_size=3, max_size=60), photos=st.integers(1, 3), n=st.integers(2, 5), seed=st.integers(0, 9))
def test_folds_split_no_fabric_and_no_blend(kinds, photos, n, seed):
    rows = [dict(fabric=f'f{i}', image=f'{i}_{p}.png', blend=BLENDS[k], softness=1 + i % 5) for p in range(photos) for i,k in enumerate(kinds)]
    f = read_fabrics(pd.DataFrame(rows), 'softness', check=False)
    assert len(f) == photos*len(kinds)
    blend, fabric = f.blends.round(4).tolist(), list(f.items.fabric)
    for by, key in dict(blend=[tuple(b) for b in blend], fabric=fabric).items():
        if len(set(key)) < n:
            with pytest.raises(FabricError, match=f'{len(set(key))} different {by}s cannot be split into {n} folds'): f.folds(n, by, seed)
            continue
        folds = f.folds(n, by, seed)
        assert len(folds) == n and sorted(i for _,v in folds for i in v) == list(range(len(f)))    # every row is left out once
        for train, valid in folds:
            assert len(valid) and not {key[i] for i in train} & {key[i] for i in valid}
            assert not {fabric[i] for i in train} & {fabric[i] for i in valid}
            assert sorted([*train, *valid]) == list(range(len(f)))
        for a,b in zip(folds, f.folds(n, by, seed)): np.testing.assert_array_equal(a[1], b[1])

def test_blends_written_differently_are_one_group():
    f = read_fabrics(table(4).assign(blend=['60% cotton 40% polyester', '40% poliéster 60% algodón', '면 60 폴리에스터 40', '100% wool']))
    assert len(set(f.groups()[:3])) == 1 and f.groups()[3] != f.groups()[0]

@pytest.mark.parametrize('n', [1, 0, -1, 2.5])
def test_impossible_numbers_of_folds(n):
    with pytest.raises(FabricError, match='folds'): read_fabrics(table()).folds(n)

# ---- labels

counts = st.lists(st.lists(st.integers(0, 30), min_size=5, max_size=5), min_size=1, max_size=20)

@quick
@given(counts, st.sampled_from([.2, .5, 1., 3.]), st.booleans())
def test_soft_labels_are_distributions(c, b, given_prior):
    c = np.array(c)
    prior = (c.sum(0) + 1)/(c.sum() + 5) if given_prior else None
    y, rated = soft_labels(c, prior, b), c.sum(-1) > 0
    np.testing.assert_allclose(y[rated].sum(-1), 1)
    assert (y[rated] > 0).all() and np.isnan(y[~rated]).all()
    np.testing.assert_allclose(soft_labels(c[..., ::-1], None if prior is None else prior[::-1], b), y[..., ::-1])   # the scale has no preferred end

def test_more_raters_are_believed_more():
    one, ten, thousand = (soft_labels(np.array([0, 0, 0, k, 0]))[3] for k in (1, 10, 1000))
    assert one < ten < thousand < 1
    near, far = soft_labels(np.array([0, 0, 0, 1, 0]))[[2, 0]]
    assert near > far                                                     # a 4 says more of 3 than of 1

def test_labels_know_the_training_rows_only():
    d = table(16); train = np.arange(8)
    changed = d.copy(); changed.loc[8:, list(TOUCHES)] = 6 - changed.loc[8:, list(TOUCHES)]
    a, b = read_fabrics(d).labels(train), read_fabrics(changed).labels(train)
    np.testing.assert_array_equal(a[:8], b[:8])
    assert not np.allclose(read_fabrics(d).labels()[:8], a[:8])           # with all rows the prior is another
    assert not np.allclose(a[8:], b[8:])

# ---- photos

def lab(img):
    from PIL import ImageCms
    return ImageCms.applyTransform(img, ImageCms.buildTransform(ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'), 'RGB', 'LAB'))

FLAT = Image.new('RGB', (12, 8), (200, 60, 40))
GREY = np.full((8, 12), 100, np.uint8)
modes = {  # name -> (picture, file, colour that a person sees)
    'RGB': (FLAT, 'png', (200, 60, 40)), 'jpeg': (FLAT, 'jpg', (200, 60, 40)), 'webp': (FLAT, 'webp', (200, 60, 40)), 'bmp': (FLAT, 'bmp', (200, 60, 40)),
    'gif': (FLAT, 'gif', (200, 60, 40)), 'L': (Image.fromarray(GREY), 'png', (100,)*3), '1': (Image.new('1', (12, 8), 1), 'png', (255,)*3),
    'LA': (Image.merge('LA', [Image.fromarray(GREY), Image.new('L', (12, 8), 255)]), 'png', (100,)*3),
    'LA clear': (Image.merge('LA', [Image.fromarray(GREY), Image.new('L', (12, 8), 0)]), 'png', (255,)*3),
    'P': (FLAT.quantize(4), 'png', (200, 60, 40)), 'RGBA': (FLAT.convert('RGBA'), 'png', (200, 60, 40)),
    'RGBA half': (Image.new('RGBA', (12, 8), (0, 0, 0, 128)), 'png', (127,)*3), 'CMYK jpeg': (FLAT.convert('CMYK'), 'jpg', (200, 60, 40)),
    'CMYK': (FLAT.convert('CMYK'), 'tiff', (200, 60, 40)), 'YCbCr': (FLAT.convert('YCbCr'), 'tiff', (200, 60, 40)), 'LAB': (lab(FLAT), 'tiff', (200, 60, 40)),
    'I;16': (Image.fromarray(GREY.astype(np.uint16)*257), 'png', (100,)*3), 'I;16 tiff': (Image.fromarray(GREY.astype(np.uint16)*257), 'tiff', (100,)*3),
    'I': (Image.fromarray(GREY.astype(np.int32)*257), 'tiff', (100,)*3), 'F': (Image.fromarray(GREY.astype(np.float32)), 'tiff', (100,)*3)}

@pytest.mark.parametrize('name', modes)
def test_every_mode_is_seen_as_a_person_does(tmp_path, name):
    img, kind, colour = modes[name]
    img.save(tmp_path/f'a.{kind}', **(dict(quality=100) if kind in ('jpg', 'webp') else {}))
    got = load_photo(tmp_path/f'a.{kind}')
    assert got.mode == 'RGB' and got.size == (12, 8)
    np.testing.assert_allclose(np.asarray(got).reshape(-1, 3).astype(int), np.tile(colour, (96, 1)), atol=4)

@pytest.mark.parametrize('alpha, seen', [(255, 100), (128, 177), (0, 255)])
def test_grey_that_was_multiplied_by_its_alpha(alpha, seen):
    img = Image.merge('LA', [Image.fromarray(GREY), Image.new('L', (12, 8), alpha)]).convert('La')
    assert abs(np.asarray(upright(img)).astype(int) - seen).max() <= 2

def test_sixteen_bits_keep_their_order(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path/'ramp.png')
    got = np.asarray(load_photo(tmp_path/'ramp.png'))[0, :, 0].astype(int)
    assert got[0] == 0 and got[-1] == 255 and (np.diff(got) >= 0).all() and len(set(got)) > 250

def test_transparent_colour_of_a_palette(tmp_path):
    p = Image.new('P', (4, 2), 1); p.putpalette([9, 9, 9, 10, 200, 30]); p.putpixel((0, 0), 0)
    p.save(tmp_path/'p.png', transparency=0); p.save(tmp_path/'p.gif', transparency=0)
    for name in ('p.png', 'p.gif'): assert np.asarray(load_photo(tmp_path/name))[0, :2].tolist() == [[255]*3, [10, 200, 30]]

@pytest.mark.parametrize('flag', range(1, 9))
def test_every_rotation_flag(tmp_path, flag):
    upright = noise(16, 8)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[flag]       # the transposition that the flag asks for, inverted
    stored = upright if undo is None else upright.transpose(Image.Transpose({0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}[undo]))
    exif = Image.Exif(); exif[274] = flag
    stored.save(tmp_path/'a.png', exif=exif)
    np.testing.assert_array_equal(np.asarray(load_photo(tmp_path/'a.png')), np.asarray(upright))

def test_animations_give_their_first_picture(tmp_path):
    Image.new('RGB', (6, 6), 'red').save(tmp_path/'a.gif', save_all=True, append_images=[Image.new('RGB', (6, 6), 'blue')])
    assert np.asarray(load_photo(tmp_path/'a.gif'))[0, 0].tolist() == [255, 0, 0] or np.asarray(load_photo(tmp_path/'a.gif'))[0, 0].tolist() == [254, 0, 0]

def claims(tmp_path, w, h):
    "A PNG of 12 x 8 pixels whose header claims w x h"
    import struct, zlib
    FLAT.save(tmp_path/'a.png')
    data = bytearray((tmp_path/'a.png').read_bytes())
    data[16:24] = struct.pack('>II', w, h); data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    (tmp_path/f'bomb_{w}.png').write_bytes(data)
    return tmp_path/f'bomb_{w}.png'

@pytest.mark.parametrize('size', [(20_000, 20_000), (12_000, 9_000), (2**31 - 1, 2**31 - 1), (MAX_PIXELS + 1, 1)])
def test_bombs_are_named_before_they_are_decoded(tmp_path, size):
    bomb = claims(tmp_path, *size)
    with pytest.raises(FabricError, match=bomb.name): load_photo(bomb)
    assert list(check_photos([bomb]).path) == [str(bomb)]

def test_a_strip_is_not_blown_up(tmp_path, monkeypatch):
    "The short side of a photo becomes the encoder's size; of a photo that is nearly a line, the long side must not follow"
    from fabric_touch.encoders import image_encoder
    encoder, real = image_encoder('swatch', pretrained=False), Image.Image.resize
    def spy(self, size, *args, **kwargs):
        assert size[0]*size[1] <= MAX_PIXELS, f'a photo of {self.size} is made {size}, {size[0]*size[1]:,} pixels'
        return real(self, size, *args, **kwargs)
    monkeypatch.setattr(Image.Image, 'resize', spy)
    Image.new('RGB', (1_200_000, 1)).save(tmp_path/'strip.png')
    assert encoder.prepare(load_photo(tmp_path/'strip.png')).shape == (3, 96, 96)

@pytest.fixture
def broken(tmp_path):
    "Good and broken photos in one folder"
    noise().save(tmp_path/'good.jpg'); noise().save(tmp_path/'good.png')
    jpg = (tmp_path/'good.jpg').read_bytes()
    (tmp_path/'empty.jpg').write_bytes(b''); (tmp_path/'cut.jpg').write_bytes(jpg[:len(jpg)//2]); (tmp_path/'text.png').write_text('hello'); (tmp_path/'zero.png').write_bytes(bytes(500))
    (tmp_path/'cut.png').write_bytes((tmp_path/'good.png').read_bytes()[:-200]); (tmp_path/'folder.jpg').mkdir()
    claims(tmp_path, 20_000, 20_000); (tmp_path/'a.png').unlink()
    return tmp_path

BAD = ['bomb_20000.png', 'cut.jpg', 'cut.png', 'empty.jpg', 'folder.jpg', 'lost.jpg', 'text.png', 'zero.png']

def test_check_names_and_counts_every_bad_photo(broken):
    paths = [*sorted(broken.iterdir()), broken/'lost.jpg']
    bad = check_photos(paths*2, n_workers=3)
    assert sorted(os.path.basename(p) for p in bad.path) == BAD           # each once
    for path, why in bad.itertuples(index=False): assert path in why
    assert not len(check_photos([broken/'good.jpg'])) and not len(check_photos([]))

def test_skip_bad_lists_what_it_leaves_out(broken):
    names = ['good.jpg', *BAD, 'good.png', 'good.jpg']
    d = table(len(names)).assign(image=names)
    d.loc[len(names)-1, 'blend'] = '92% nylon 28% elastane'
    with pytest.raises(FabricError) as e: read_fabrics(d, root=broken)
    assert f'{len(BAD) + 1} of {len(names)} rows cannot be used' in str(e.value) and 'skip_bad=True' in str(e.value)
    for name in BAD: assert name in str(e.value)
    f = read_fabrics(d, root=broken, skip_bad=True)
    assert [os.path.basename(p) for p in f.images] == ['good.jpg', 'good.png'] and sorted(f.left_out.row) == [*range(1, len(BAD)+1), len(names)-1]
    assert len(f.values) == 2 and '120' in f.left_out.set_index('row').why[len(names)-1]
    with pytest.raises(FabricError, match='9 of 9 rows'): read_fabrics(d.iloc[[1]*9], root=broken, skip_bad=True)     # nothing would be left

def test_a_row_without_a_photo_is_told_apart_from_a_lost_file(broken):
    with pytest.raises(FabricError) as e: read_fabrics(table(2).assign(image=['good.jpg', None]), root=broken)
    assert 'row 1' in str(e.value) and '.: no such file' not in str(e.value)

def test_users_files_are_never_modified(broken):
    from fabric_touch.touch import embed_fabrics
    d = table(len(BAD) + 2).assign(image=['good.jpg', 'good.png', *BAD])
    d.to_csv(broken/'fabrics.csv', index=False)
    look = lambda: {p.name: (p.stat().st_mtime_ns, p.stat().st_size, p.read_bytes() if p.is_file() else b'') for p in broken.iterdir()}
    before = look()
    with pytest.raises(FabricError): read_fabrics(broken/'fabrics.csv')
    f = read_fabrics(broken/'fabrics.csv', skip_bad=True)
    touch_dls(f, ([0, 1], [0, 1]), bs=1, size=32).one_batch()
    embed_fabrics(f)
    assert look() == before

# ---- DataLoaders

@pytest.mark.parametrize('vectors', [False, True])
def test_both_kinds_of_dataloaders(fabrics, vectors):
    v = np.arange(24*3, dtype=np.float32).reshape(24, 3) if vectors else None
    fold = fabrics.folds(4)[1]
    dls = touch_dls(fabrics, fold, v, bs=4, size=32)
    seen = 0
    for x, blend, y in dls.valid:
        k = len(x); rows = fold[1][seen:seen+k]; seen += k
        assert x.shape[1:] == ((3,) if vectors else (3, 32, 32)) and y.shape == (k, 4, 5)
        np.testing.assert_allclose(blend.cpu(), fabrics.blends[rows])
        np.testing.assert_allclose(y.cpu(), fabrics.labels(fold[0])[rows])
        if vectors: np.testing.assert_array_equal(x.cpu(), v[rows])
        else: assert 0 <= x.min() and x.max() <= 1
    assert seen == len(fold[1]) and dls.targets == fabrics.fit_targets(fold[0])

@pytest.mark.parametrize('vectors', [False, True])
@pytest.mark.parametrize('n', [3, 20])
def test_few_fabrics_still_make_a_batch(fabrics, vectors, n):
    few = fabrics.take(range(n))
    dls = touch_dls(few, (np.arange(n - 1), np.array([n - 1])), np.zeros((n, 3)) if vectors else None, size=32)
    assert len(dls.train) >= 1 and sum(len(b[0]) for b in dls.train) >= 2

def test_shuffle_reaches_every_row(fabrics):
    dls = touch_dls(fabrics, (np.arange(20), np.arange(20, 24)), np.arange(24, dtype=np.float32)[:, None], bs=5)
    first, second = ([int(i) for x,_,_ in dls.train for i in x[:, 0]] for _ in range(2))
    assert sorted(first) == sorted(second) == list(range(20)) and first != second

def test_photos_or_vectors_are_needed(fabrics):
    with pytest.raises(FabricError, match='3 vectors for 24 fabrics'): touch_dls(fabrics, vectors=np.zeros((3, 2)))
    with pytest.raises(FabricError, match='no photos'): touch_dls(read_fabrics(table()))

# ---- data sets

def test_data_sets_are_found_by_one_rule(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache')); monkeypatch.setenv('FABRIC_TOUCH_DATA', str(tmp_path/'mine'))
    assert not has_data('ccp')
    with pytest.raises(FileNotFoundError, match='(?s)ccp.*FABRIC_TOUCH_DATA'): data_dir('ccp')
    (tmp_path/'cache'/'fabric_touch'/'ccp').mkdir(parents=True); assert data_dir('ccp') == tmp_path/'cache'/'fabric_touch'/'ccp'
    (tmp_path/'mine'/'ccp').mkdir(parents=True); assert data_dir('ccp') == tmp_path/'mine'/'ccp'
    monkeypatch.delenv('FABRIC_TOUCH_DATA'); assert data_dir('ccp') == tmp_path/'cache'/'fabric_touch'/'ccp'
    with pytest.raises(FabricError, match='choose from'): has_data('wardrobe')

def test_articles(tmp_path):
    "Variants of one article stay in one fold; names stay names, and where there is none a fabric is its own article"
    rows = table().assign(article=[f'0{i//4}' if i < 12 else '' for i in range(16)])
    rows.to_csv(tmp_path/'t.csv', index=False)
    fabrics = read_fabrics(tmp_path/'t.csv')
    assert list(fabrics.items.article) == ['00']*4 + ['01']*4 + ['02']*4 + ['f12', 'f13', 'f14', 'f15']
    g = fabrics.groups('article')
    assert len(set(g)) == 7 and all(not set(g[tr]) & set(g[va]) for tr,va in fabrics.folds(3, 'article'))
    assert (table().pipe(read_fabrics).groups('article') == table().pipe(read_fabrics).groups('fabric')).all()
    with pytest.raises(FabricError, match='different articles'): read_fabrics(pd.concat([rows, rows[:1].assign(article='x', softness=1)]))
    with pytest.raises(FabricError, match='blend, article, fabric'): fabrics.groups('maker')
