"Real photos, real labels, real ratings: what comes through, what is refused and why. Skipped by name where the data is absent."
import json, os
from collections import Counter
from functools import partial

import numpy as np, pandas as pd, pytest
from fabric_touch.blends import BlendError
from fabric_touch.core import TOUCHES, FabricError, data_dir, has_data
from fabric_touch.data import MAX_PIXELS, Number, check_photos, load_photo, read_fabrics, read_survey, touch_dls
from fabric_touch.encoders import image_encoder
from fabric_touch.touch import embed_fabrics, fit_touch, load_touch, predict_touch, save_touch, touch_folds, touch_model, touch_refit

def needs(name): return pytest.mark.skipif(not has_data(name), reason=f'{name} is not here; set FABRIC_TOUCH_DATA to the folder that holds it')

# ---- telas_luciana: 252 photos with Spanish labels

@pytest.fixture(scope='module')
def telas():
    if not has_data('telas_luciana'): pytest.skip('telas_luciana is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
    folder = data_dir('telas_luciana')
    return pd.read_csv(folder/'fabrics.csv').assign(photo=lambda d: [str(folder/'images'/f) for f in d.file])

@pytest.fixture(scope='module')
def model(): return touch_model('mlb', 'swatch').eval()

def test_every_photo_is_healthy(telas):
    before = [(os.stat(p).st_mtime_ns, os.stat(p).st_size) for p in telas.photo]
    bad = check_photos(telas.photo)
    assert len(telas) == 252 and not len(bad), bad
    assert before == [(os.stat(p).st_mtime_ns, os.stat(p).st_size) for p in telas.photo]

@pytest.mark.once
def test_every_photo_with_its_label(telas, model, capsys):
    "Those whose shares are possible come through; the others are refused with the reason"
    said, why = {}, {}
    for r in telas.itertuples():
        try: said[r.file] = predict_touch(r.photo, r.composition, model)
        except BlendError as e: why[r.file] = e
    reasons = Counter(e.reason for e in why.values())
    with capsys.disabled(): print(f"\n  telas_luciana: {len(telas)} photos, {len(said)} come through; refused: {', '.join(f'{n} {r}' for r,n in reasons.most_common())}")
    assert len(said) == 198 and reasons == dict(empty=29, layers=22, sum=3)
    probs = np.stack([p.probs for p in said.values()])
    assert np.isfinite(probs).all() and probs.min() >= 0
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)
    assert len({p.round(5).tobytes() for p in probs}) > 150                        # different cloth, different answer
    for p in said.values():
        assert abs(sum(p.blend.values()) - 1) < 1e-6
        json.dumps(p.to_dict(), allow_nan=False)
    for file, e in why.items():
        text = telas.set_index('file').composition[file]
        assert str(e) and (not isinstance(text, str) or text[:10] in str(e)), e
    assert any('120' in str(e) and 'NYLON' in str(e) for e in why.values())

def test_as_a_table(telas):
    "The same 252 as one table: refused whole with the reasons, or read with what was left out"
    d = pd.DataFrame(dict(image=telas.photo, blend=telas.composition, gsm=telas.gsm))
    with pytest.raises(FabricError, match='54 of 252 rows cannot be used'): read_fabrics(d, Number('gsm'), check=False)
    f = read_fabrics(d, Number('gsm'), skip_bad=True, check=False)
    assert len(f) == 198 and len(f.left_out) == 54 and f.left_out.why.str.len().min() > 10
    for train, valid in f.folds(): assert not {tuple(b) for b in f.blends[train]} & {tuple(b) for b in f.blends[valid]}
    x, blend, y = touch_dls(f.take(range(12)), (range(8), range(8, 12)), bs=4, size=96).one_batch()
    assert x.shape == (4, 3, 96, 96) and y.shape == (4, 1, 1)

# ---- touch_survey: ratings without photos

@needs('weights')
@pytest.mark.once
def test_weight_from_photo_and_blend(telas, tmp_path):
    "A small form of 51_learning's real task: better than the mean weight, saved and loaded, the photo prepared as it was learned"
    weighed = telas[telas.gsm < 1500]
    table = pd.DataFrame(dict(image=weighed.photo, fabric=weighed.file, blend=weighed.composition, article=weighed.name.str.lower().str.replace(r'[-\s]\d+$', '', regex=True), log_weight=np.log(weighed.gsm)))
    cloth = read_fabrics(table, Number('log_weight'), skip_bad=True, check=False)
    assert len(cloth) == 197 and len(set(cloth.groups('article'))) == 179 and len(cloth.left_out) == 24
    cloth = cloth.take(np.arange(0, 197, 2))
    encoder = image_encoder('mobilenetv2_100', data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth', data=dict(img_size=160, mean=(.5,)*3, std=(.5,)*3, crop_pct=1.), out_indices=(2, 3, 4), pad_type='same')
    vectors, folds, fit = embed_fabrics(cloth, encoder), cloth.folds(3, 'article'), partial(fit_touch, steps=60, lr=2e-3)
    y = cloth.counts()[:, 0, 0]
    mean = np.concatenate([abs(y[valid] - y[train].mean()) for train,valid in folds]).mean()
    assert abs(touch_folds(cloth, vectors, 'mlb_skip', folds, fit)[:, 0, 0] - y).mean() < .9*mean
    kept = load_touch(save_touch(touch_refit(cloth, vectors, 'mlb_skip', encoder, fit), tmp_path/'weight'))
    said = [predict_touch(cloth.images[i], cloth.blends[i], kept).to_dict()['log_weight']['value'] for i in range(4)]
    again = touch_folds(cloth, vectors, 'mlb_skip', [(np.arange(len(cloth)), np.arange(len(cloth)))], fit)[:4, 0, 0]
    np.testing.assert_allclose(said, again, atol=2e-3)

@needs('touch_survey')
def test_survey():
    fabrics, folds = read_survey()
    ratings, given = (pd.read_csv(data_dir('touch_survey')/f'{n}.csv', dtype=dict(fabric=str)) for n in ('ratings', 'folds'))
    assert len(fabrics) == 69 and len(fabrics.values) == len(ratings) and len(folds) == 5
    assert sorted(i for _,v in folds for i in v) == list(range(69))
    fold = given.set_index('fabric').fold
    for k, (train, valid) in enumerate(folds):
        assert {fold[f] for f in fabrics.items.fabric.iloc[valid]} == {k}                                     # the folds are those given
        for by in ('blend', 'fabric'): assert not set(fabrics.groups(by)[train]) & set(fabrics.groups(by)[valid])
        assert not {tuple(b) for b in fabrics.blends[train]} & {tuple(b) for b in fabrics.blends[valid]}
    counts = fabrics.counts()
    for j, t in enumerate(TOUCHES):
        tab = ratings.groupby('fabric')[t].agg(['count', 'mean']).reindex(fabrics.items.fabric)
        np.testing.assert_array_equal(counts[:, j].sum(-1), tab['count'])
        np.testing.assert_allclose((counts[:, j] @ np.arange(1, 6))/counts[:, j].sum(-1), tab['mean'])
    np.testing.assert_allclose(fabrics.labels().sum(-1), 1, rtol=1e-5)
    assert not any(fabrics.images)

@needs('touch_survey')
def test_a_blend_only_model_runs_on_the_survey():
    fabrics, folds = read_survey()
    preds = touch_folds(fabrics, np.zeros((69, 1)), 'blend', folds, fit=lambda learn: learn.fit_one_cycle(3, 1e-2))
    assert preds.shape == (69, 4, 5) and np.isfinite(preds).all()
    np.testing.assert_allclose(preds.sum(-1), 1, atol=1e-5)
    by_blend = pd.Series([p.round(4).tobytes() for p in preds]).groupby([b.tobytes() for b in fabrics.blends]).nunique()
    assert by_blend.max() == 1                                     # one blend, one answer

# ---- other photos: a few of each, each as it comes

@pytest.mark.parametrize('name', ['pacs_sketch', 'clothing_small', 'coco_mini', 'ccp', 'deepfashion_fine'])
def test_photos_of_every_set_load(name):
    if not has_data(name): pytest.skip(f'{name} is not here; set FABRIC_TOUCH_DATA to the folder that holds it')
    paths = sorted(p for p in data_dir(name).rglob('*') if p.suffix.lower() in ('.jpg', '.jpeg', '.png') and 'mask' not in str(p.parent))
    some = paths[::max(1, len(paths)//8)][:8]
    assert some
    for p in some:
        img = load_photo(p)
        assert img.mode == 'RGB' and 0 < img.width*img.height < MAX_PIXELS and len(np.unique(np.asarray(img))) > 1

@needs('pacs_sketch')
def test_a_sketch_is_predicted_too(model):
    "Whatever it is worth: a drawing is a picture"
    photo = sorted(data_dir('pacs_sketch').rglob('*.png'))[0]
    assert predict_touch(photo, '100% algodón', model).probs.shape == (4, 5)
