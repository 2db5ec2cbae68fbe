"Garments: which boxes count, what happens when none does, cut-outs of photos of any kind, data sets of them."
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

pytest.importorskip('supervision', reason='needs the extra garments')

from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.data import as_photo
from fabric_touch.detectors import Detector, Segmenter, box_masks, found_boxes
from fabric_touch.garments import (BACKGROUNDS, OUTCOMES, Garment, Garments, crop, find_garments, label_masks, make_outfit, plot_cutouts, plot_garments,
                                   scan_photos, score_garments, true_detector, write_cutouts)

NAN, INF = float('nan'), float('inf')
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)

def says(*rows, name='says'):
    "A detector that answers with rows of (label, score, box)"
    return Detector(name, lambda img: found_boxes([b for _,_,b in rows], [l for l,_,_ in rows], [s for _,s,_ in rows]))

def masker(make): return Segmenter('mine', lambda img: img.size, lambda size, boxes: np.stack([make(size, b) for b in boxes]))

EMPTY, FULL = masker(lambda size, b: np.zeros(size[::-1], bool)), masker(lambda size, b: np.ones(size[::-1], bool))
PANTS, TOP, BIG = ('pants', .9, [10, 30, 30, 55]), ('top, t-shirt, sweatshirt', .8, [10, 5, 30, 30]), ('person', .7, [2, 2, 40, 58])


@pytest.mark.parametrize('rows, category, outcome, n, unused', [
    ([], None, 'nothing', 0, []),
    ([PANTS, TOP], None, 'found', 2, []),
    ([PANTS, TOP], 'pants', 'found', 1, ['other_category']),
    ([PANTS, TOP], ('pants', 'top'), 'found', 2, []),
    ([PANTS, TOP], (), 'nothing', 0, ['other_category']*2),                 # a title that names nothing
    ([PANTS, BIG], None, 'found', 1, ['no_garment']),
    ([BIG], 'pants', 'nothing', 0, ['no_garment']),
    ([('pants', .2, [1, 1, 9, 9])], 'pants', 'nothing', 0, ['low_score']),
    ([('pants', NAN, [1, 1, 9, 9])], 'pants', 'nothing', 0, ['low_score']),
    ([('pants', .9, [NAN, 1, 9, 9])], 'pants', 'nothing', 0, ['bad_box']),
    ([('pants', .9, [INF, 1, INF, 9])], 'pants', 'nothing', 0, ['bad_box']),
    ([('pants', .9, [9, 9, 1, 1])], 'pants', 'nothing', 0, ['bad_box']),
    ([('pants', .9, [80, 0, 99, 60])], 'pants', 'nothing', 0, ['bad_box']),
    ([('pants', .9, [-9, -9, 0, 0])], 'pants', 'nothing', 0, ['bad_box']),
    ([('pants', .9, [5, 5, 5.2, 50])], 'pants', 'nothing', 0, ['bad_box']),
    ([PANTS, ('pants', .5, [10, 30, 30, 54])], 'pants', 'found', 1, ['duplicate']),
    ([('바지', .9, [10, 30, 30, 55])], 'pants', 'found', 1, []),
    ([('clothing', .9, [10, 30, 30, 55])], 'pants', 'found', 1, []),
    ([('whole', .9, [10, 30, 30, 55])], None, 'found', 1, []),
])
def test_every_box_is_used_or_has_a_reason(rows, category, outcome, n, unused):
    found = find_garments(PHOTO, says(*rows), category=category)
    assert (found.outcome, len(found), [u.outcome for u in found.unused]) == (outcome, n, unused)
    assert len(found) + len(found.unused) == len(rows)
    assert isinstance(found.why, str) and all(u.outcome in OUTCOMES for u in found.unused) and found.outcome in OUTCOMES

@pytest.mark.parametrize('rows, segment, told', [
    ([('pants', .9, [10, 30, 300, 55])], 'box', 'clipped'),
    ([('pants', .9, [-20, 30, 30, 55])], 'box', 'clipped'),
    ([PANTS], FULL, 'full_mask'),
    ([('pants', .9, [0, 0, 80, 60])], 'box', 'full_mask'),
    ([PANTS, ('pants', .9, [50, 30, 70, 55])], 'box', 'several_people'),
    ([PANTS, BIG, ('person', .6, [42, 2, 78, 58])], 'box', 'several_people'),
])
def test_what_is_told_of_a_garment(rows, segment, told):
    found = find_garments(PHOTO, says(*rows), segment)
    assert found and all(g.outcomes[0] == 'found' and told in g.outcomes for g in found)

@pytest.mark.parametrize('rows', [
    [PANTS, BIG, ('person', .6, [60, 2, 66, 10])],                           # a passer-by
    [PANTS, BIG, ('person', .1, [42, 2, 78, 58])],                           # not sure enough
    [('shoe', .9, [5, 50, 12, 58]), ('shoe', .9, [20, 50, 28, 58]), BIG],    # two shoes are one pair
])
def test_what_is_no_second_person(rows):
    assert not any('several_people' in g.outcomes for g in find_garments(PHOTO, says(*rows)))

@pytest.mark.parametrize('fallback, rows, outcome, area', [
    ('none', [TOP, BIG], 'nothing', None),
    ('largest', [TOP, BIG], 'largest', 38*56/4800),
    ('largest', [('elephant', .9, [0, 0, 80, 60]), TOP], 'largest', 20*25/4800),
    ('largest', [('elephant', .9, [0, 0, 80, 60])], 'nothing', None),
    ('largest', [('person', .2, [2, 2, 40, 58])], 'nothing', None),
    ('largest', [], 'nothing', None),
    ('whole', [], 'whole', 1.),
    ('whole', [TOP, BIG], 'whole', 1.),
])
def test_fallback_is_told(fallback, rows, outcome, area):
    found = find_garments(PHOTO, says(*rows), category='pants', fallback=fallback)
    assert found.outcome == outcome and len(found) == (area is not None)
    if found:
        assert found[0].area == pytest.approx(area) and found[0].outcomes[0] == outcome and found[0].category == 'pants' and found[0].source['category'] == 'wanted'

@pytest.mark.parametrize('fallback, outcome', [('none', 'nothing'), ('largest', 'nothing'), ('whole', 'whole')])
def test_empty_masks_fall_back(fallback, outcome):
    found = find_garments(PHOTO, says(PANTS, BIG), EMPTY, 'pants', fallback=fallback)
    assert found.outcome == outcome and 'empty_mask' in [u.outcome for u in found.unused]

def test_nothing_is_lost_when_the_fallback_fails_too():
    found = find_garments(PHOTO, says(PANTS, BIG), EMPTY, 'pants', fallback='largest')
    assert sorted(u.outcome for u in found.unused) == ['empty_mask', 'empty_mask']

def test_all_boxes_go_to_the_segmenter_at_once_and_unwanted_ones_do_not():
    calls = []
    spy = Segmenter('spy', lambda img: calls.append('encode') or img.size, lambda size, boxes: calls.append(len(boxes)) or box_masks(size, boxes))
    find_garments(PHOTO, says(PANTS, TOP, ('skirt', .9, [40, 5, 60, 50])), spy)
    find_garments(PHOTO, says(PANTS, TOP), spy, category='coat')
    assert calls == ['encode', 3]

def test_best_score_first_and_sources_named():
    found = find_garments(PHOTO, says(TOP, PANTS))
    assert [g.category for g in found] == ['pants', 'top'] and found[0].source == dict(box='says', mask='box', category='label')
    assert repr(found[0]) == 'pants 0.90, 10% of the photo, found (says, box)'

@pytest.mark.parametrize('kwargs, match', [
    (dict(fallback='best'), 'choose from: none, largest, whole'), (dict(category='trousers'), 'unknown category'), (dict(category=['pants', 3]), 'unknown category 3'),
    (dict(min_score=NAN), 'in 0..1'), (dict(min_score='a'), 'in 0..1'), (dict(min_score=2), 'in 0..1'),
    (dict(segment='sma'), 'choose from'), (dict(segment=len), 'a Segmenter is wanted'), (dict(detect='yolo99'), 'choose from'), (dict(detect=None), 'a Detector is wanted'),
])
def test_bad_arguments(kwargs, match):
    with pytest.raises(FabricError, match=match): find_garments(**(dict(image=PHOTO, detect=says(PANTS)) | kwargs))

@pytest.mark.parametrize('masks', [np.ones((1, 9, 9), bool), np.ones((2, 60, 80), bool), np.ones((1, 60, 80)), np.ones((60, 80), bool)])
def test_masks_of_another_size_are_refused(masks):
    with pytest.raises(FabricError, match='must give'): find_garments(PHOTO, says(PANTS), Segmenter('odd', np.asarray, lambda s, b: masks))


def _picture(mode, folder):
    "A picture of a red upper half, saved in some mode; turned by its flag for 'exif'"
    a = np.zeros((40, 60, 3), np.uint8); a[:20] = 220, 10, 10
    img = Image.fromarray(a)
    path = folder/f"{mode.replace(';', '')}.{dict(CMYK='jpg', exif='jpg').get(mode, 'tif' if mode in ('I;16', 'F') else 'png')}"
    if mode == 'exif':
        flag = Image.Exif(); flag[0x0112] = 6                                # turn right by a quarter to see it upright
        img.rotate(90, expand=True).save(path, exif=flag)
    elif mode == 'I;16': Image.fromarray(np.asarray(img.convert('L')).astype(np.uint16)*257).save(path)
    elif mode == 'RGBA': img.putalpha(255); img.save(path)
    else: img.convert(mode).save(path)
    return path

@pytest.mark.parametrize('mode', ['RGB', 'RGBA', 'P', 'L', '1', 'CMYK', 'I;16', 'exif', 'LA'])
def test_photos_of_any_mode_come_out_upright_in_rgb(mode, tmp_path):
    found = find_garments(_picture(mode, tmp_path), says(('top', .9, [0, 0, 60, 20])))
    cut = np.asarray(crop(found[0], pad=0)).astype(int)
    assert found[0].photo.mode == 'RGB' and found[0].photo.size == (60, 40) and cut.shape == (20, 60, 3)
    light = cut.mean() if mode in ('L', '1', 'I;16', 'LA') else cut[..., 0].mean() - cut[..., 1].mean()
    assert light > 40

@pytest.mark.parametrize('size', [(1, 1), (2, 3), (1, 400), (400, 1), (3000, 7)])
@pytest.mark.parametrize('segment', ['box', 'grabcut'])
def test_photos_of_any_size(size, segment):
    photo = np.full((*size[::-1], 3), 90, np.uint8)
    found = find_garments(photo, 'whole', segment, category='top')
    assert len(found) == 1 and crop(found[0]).size == size

def _garment(mask=None, photo=PHOTO): return Garment(as_photo(photo), np.array([10., 10, 30, 30]), box_masks((80, 60), np.array([[10, 10, 30, 40]]))[0] if mask is None else mask, 'top', 1., 'top', {})

@pytest.mark.parametrize('background', BACKGROUNDS)
def test_crop_keeps_the_garment_pixel_for_pixel(background):
    mask = np.zeros((60, 80), bool); mask[20:40, 30:50] = np.eye(20, dtype=bool)[::-1] | np.eye(20, dtype=bool)
    cut = np.asarray(crop(_garment(mask), background, pad=.1))
    inner, m = cut[2:-2, 2:-2], mask[20:40, 30:50]
    assert inner.shape[:2] == (20, 20) and (inner[m][:, :3] == PHOTO[20:40, 30:50][m]).all()
    outside = inner[~m]
    if background == 'white': assert (outside == 255).all()
    if background == 'transparent': assert (outside[:, 3] == 0).all() and (inner[m][:, 3] == 255).all()
    if background == 'keep': assert (cut == PHOTO[18:42, 28:52]).all()
    if background == 'mean': assert (outside == PHOTO[mask].mean(0).round()).all()

@pytest.mark.parametrize('kwargs, match', [
    (dict(background='black'), 'choose from'), (dict(pad=-.1), 'pad is -0.1'), (dict(pad=NAN), 'pad is nan'), (dict(pad='5px'), 'pad is'), (dict(pad=1e9), 'pad is')])
def test_crop_says_what_is_wrong(kwargs, match):
    with pytest.raises(FabricError, match=match): crop(_garment(), **kwargs)

def test_crop_of_a_mask_that_does_not_fit():
    with pytest.raises(FabricError, match='must be the same'): crop(_garment(np.ones((9, 9), bool)))
    with pytest.raises(FabricError, match='nothing to cut out'): crop(_garment(np.zeros((60, 80), bool)))

def test_pad_stops_at_the_edge(): assert crop(_garment(), pad=5).size == (80, 60)

def test_the_photo_is_not_changed():
    photo = PHOTO.copy(); g = _garment(photo=photo)
    for b in BACKGROUNDS: crop(g, b)
    assert (np.asarray(g.photo) == PHOTO).all() and (photo == PHOTO).all()


def _folder(tmp_path, n=4):
    for i in range(n): Image.fromarray(make_outfit(seed=i, size=64)[0]).save(tmp_path/f'{i}.png')
    return [tmp_path/f'{i}.png' for i in range(n)]

def test_scan_goes_on_past_broken_photos(tmp_path):
    paths = _folder(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:200]); paths[2].write_bytes(b''); paths.append(tmp_path/'gone.png')
    found = list(scan_photos(paths, 'whole', categories=['top']*5))
    assert [f.outcome for f in found] == ['found', 'unreadable', 'unreadable', 'found', 'unreadable']
    assert '1.png' in found[1].why and 'empty' in found[2].why and 'no such file' in found[4].why

def test_scan_checks_before_it_starts(tmp_path):
    with pytest.raises(FabricError, match='1 categories for 4'): scan_photos(_folder(tmp_path), 'whole', categories=['top'])
    with pytest.raises(FabricError, match='unknown category'): scan_photos(['a'], 'whole', categories=['trousers'])

def test_scan_is_lazy(tmp_path):
    seen = []
    watch = Detector('watch', lambda img: seen.append(1) or found_boxes([], []))
    scan = scan_photos(_folder(tmp_path), watch)
    assert not seen
    next(scan)
    assert len(seen) == 1

def _items(tmp_path, **kwargs):
    table = pd.DataFrame(dict(image=_folder(tmp_path), category=['top', 'pants', 'top', 'coat'], colour=['red', 'blue', 'red', 'green']))
    return pd.read_csv(write_cutouts(table, tmp_path/'out', says(('top', .9, [10, 10, 40, 40]), ('pants', .8, [10, 40, 40, 60])), **kwargs)), tmp_path/'out'

@pytest.mark.parametrize('kinds, expected', [('both', ['whole', 'cutout']*3 + ['whole']), ('cutout', ['cutout']*3), ('whole', ['whole']*4)])
def test_cutouts_keep_the_labels(kinds, expected, tmp_path):
    items, out = _items(tmp_path, kinds=kinds)
    assert list(items.kind) == expected and all((out/p).is_file() for p in items.image)
    assert (items.colour == items.photo.map(lambda p: ['red', 'blue', 'red', 'green'][int(Path(p).stem)])).all()
    left = pd.read_csv(out/'left_out.csv')
    assert len(left) == (kinds != 'whole') and (kinds == 'whole' or left.outcome[0] == 'nothing')
    assert sorted(p.name for p in out.iterdir()) == sorted([*items.image, 'items.csv', 'left_out.csv'])

def test_a_whole_photo_that_stands_for_a_cutout_is_called_whole(tmp_path):
    items, _ = _items(tmp_path, kinds='cutout', fallback='whole')
    assert list(items.kind) == ['cutout']*3 + ['whole'] and items.outcome.iloc[-1] == 'whole'

def test_transparent_cutouts_are_png(tmp_path):
    items, out = _items(tmp_path, kinds='cutout', background='transparent', pad=0)
    assert all(Image.open(out/p).mode == 'RGBA' for p in items.image)

def test_cutouts_of_titles(tmp_path):
    table = pd.DataFrame(dict(image=_folder(tmp_path, 2), title=['남자 면바지', 'a mug']))
    items = pd.read_csv(write_cutouts(table, tmp_path/'out', says(PANTS[:2] + ([10, 40, 40, 60],)), kinds='cutout'))
    assert list(items.title) == ['남자 면바지']

@pytest.mark.parametrize('table, match', [
    (dict(photo=['a']), "no column 'image'"), (dict(image=['a.png'], kind=['x']), "a column 'kind'"), (dict(image=['gone.png']), 'cannot be read')])
def test_bad_tables_write_nothing(table, match, tmp_path):
    with pytest.raises(FabricError, match=match): write_cutouts(pd.DataFrame(table), tmp_path/'out', 'whole')
    assert not list(tmp_path.iterdir())

def test_a_failure_midway_leaves_the_old_folder(tmp_path):
    _items(tmp_path)
    before = sorted((p.name, p.stat().st_size) for p in (tmp_path/'out').iterdir())
    turns = iter([0, 1])
    def fails(img): return next(turns) and 1/0 or found_boxes([], [])
    table = pd.DataFrame(dict(image=[tmp_path/'0.png', tmp_path/'1.png']))
    with pytest.raises(ZeroDivisionError): write_cutouts(table, tmp_path/'out', Detector('fails', fails))
    assert sorted((p.name, p.stat().st_size) for p in (tmp_path/'out').iterdir()) == before

def test_skip_bad_leaves_out_and_goes_on(tmp_path):
    paths = _folder(tmp_path, 2); paths[0].write_bytes(b'x')
    items = pd.read_csv(write_cutouts(pd.DataFrame(dict(image=paths)), tmp_path/'out', 'whole', kinds='whole', skip_bad=True))
    assert len(items) == 1


def test_scores_against_a_plain_count():
    true = dict(top=box_masks((80, 60), np.array([[10, 5, 30, 30]]))[0], pants=np.zeros((60, 80), bool), skirt=box_masks((80, 60), np.array([[50, 5, 60, 30]]))[0])
    s = score_garments(find_garments(PHOTO, says(('top', .9, [20, 5, 40, 30]))), true).set_index('category')
    assert list(s.index) == ['top', 'skirt'] and s.loc['top'].tolist() == pytest.approx([1/3]*2) and s.loc['skirt'].tolist() == [0, 0]

def test_two_shoes_are_scored_as_one_pair():
    pair = box_masks((80, 60), np.array([[5, 50, 15, 58], [30, 50, 40, 58]]))
    s = score_garments(find_garments(PHOTO, says(('shoe', .9, [5, 50, 15, 58]), ('shoe', .8, [30, 50, 40, 58]))), dict(shoe=pair.any(0)))
    assert s.iloc[0, 1:].tolist() == [1, 1]

def test_label_masks():
    a = np.array([[0, 1], [2, 1]], np.uint8)
    assert {k: v.tolist() for k,v in label_masks(a, ['null', 'jeans', 'pants']).items()} == dict(pants=[[False, True], [True, True]])
    assert list(label_masks(a, ['null', 'boots', 'hair'])) == ['shoe']
    with pytest.raises(FabricError, match='has no name'): label_masks(a, ['null'])
    with pytest.raises(FabricError, match='one whole number'): label_masks(np.zeros((2, 2, 3), np.uint8), ['null'])

def test_pictures_are_drawn():
    photo, masks = make_outfit(size=64)
    found = find_garments(photo, true_detector(masks))
    assert plot_garments(found).images and plot_garments(Garments(), image=photo).images and plot_cutouts(list(found)).axes
    with pytest.raises(FabricError, match='give the photo'): plot_garments(Garments())
    with pytest.raises(FabricError, match='no garment'): plot_cutouts([])

def test_outfits_are_the_same_for_the_same_seed():
    (a, m), (b, _), (c, _) = make_outfit(seed=3, size=64), make_outfit(seed=3, size=64), make_outfit(seed=4, size=64)
    assert (a == b).all() and (a != c).any() and not (m['top'] & m['pants']).any()

@pytest.mark.skipif(not (has_data('ccp') and has_data('weights')), reason='ccp or weights is not on this machine')
def test_real_photos_from_file_to_cutout():
    pytest.importorskip('onnxruntime')
    photos = sorted((data_dir('ccp')/'photos').iterdir())[:12]
    found = list(scan_photos(photos, 'yolox', 'box', ['pants']*12, fallback='largest'))
    assert sum(f.outcome == 'largest' for f in found) >= 10
    for f in found:
        for g in f: assert min(crop(g).size) > 0 and 0 < g.area <= 1


@pytest.mark.parametrize('label, category, given', [
    ('clothing', ('jacket', 'pants'), None), ('whole', ('jacket', 'pants'), None),     # one box for a suit: it may be either
    (' Clothing ', None, None), ('WHOLE', 'top', 'top'),
    ('suit', ('jacket', 'pants'), None), ('suit', 'pants', 'pants'), ('suit', None, None),
    ('pants', ('pants', 'pants'), 'pants'), ('pants', {'pants'}, 'pants'), ('pants', (c for c in ['pants']), 'pants')])
def test_labels_that_fit_what_is_wanted(label, category, given):
    found = find_garments(PHOTO, says((label, .9, [5, 5, 50, 50])), category=category)
    assert found.outcome == 'found' and [g.category for g in found] == [given]

@pytest.mark.parametrize('label, category, outcome', [
    ('suit', 'shoe', 'other_category'), ('clothing', (), 'other_category'), ('suit', (), 'other_category'), ('', 'pants', 'no_garment'), ('man in suit', 'pants', 'no_garment')])
def test_labels_that_do_not_fit(label, category, outcome):
    assert [u.outcome for u in find_garments(PHOTO, says((label, .9, [5, 5, 50, 50])), category=category).unused] == [outcome]

@pytest.mark.parametrize('label', ['person', 'Person', ' WOMAN '])
def test_people_are_known_by_any_spelling(label):
    found = find_garments(PHOTO, says((label, .9, [5, 5, 50, 50])), category='pants', fallback='largest')
    assert [(g.label, g.category, *g.outcomes) for g in found] == [(label, 'pants', 'largest')]

def test_a_person_boxed_twice_is_one_person():
    found = find_garments(PHOTO, says(PANTS, BIG, ('person', .6, [3, 2, 41, 58]), ('man', .2, [2, 3, 40, 58])))
    assert found[0].outcomes == ('found',) and sorted(u.outcome for u in found.unused) == ['duplicate', 'duplicate', 'no_garment']

def test_a_person_does_not_make_a_garment_a_duplicate():
    found = find_garments(PHOTO, says(('person', .9, [10, 5, 40, 58]), ('whole', .8, [10, 5, 40, 58]), ('dress', .7, [10, 5, 40, 58])))
    assert [g.label for g in found] == ['whole', 'dress']

def test_a_title_that_names_nothing_is_told():
    assert 'names no garment' in find_garments(PHOTO, says(PANTS), category=()).why
    assert 'names no garment' not in find_garments(PHOTO, says(TOP), category='pants').why

@pytest.mark.parametrize('category', [5, NAN, '', ['pants', NAN], [['pants']]])
def test_categories_that_are_none(category):
    with pytest.raises(FabricError, match='unknown category'): find_garments(PHOTO, says(PANTS), category=category)

def test_garments_can_be_compared_and_looked_up():
    found = find_garments(PHOTO, says(PANTS, TOP))
    assert found[0] != found[1] and found[1] in found and found.index(found[1]) == 1 and len({*found}) == 2

@pytest.mark.parametrize('flag', range(1, 9))
def test_every_turning_flag(flag, tmp_path):
    a = np.zeros((40, 60, 3), np.uint8); a[:20, :30] = 250, 10, 10
    T = Image.Transpose
    undo = [None, T.FLIP_LEFT_RIGHT, T.ROTATE_180, T.FLIP_TOP_BOTTOM, T.TRANSPOSE, T.ROTATE_90, T.TRANSVERSE, T.ROTATE_270][flag-1]
    told, img = Image.Exif(), Image.fromarray(a)
    told[0x0112] = flag
    (img if undo is None else img.transpose(undo)).save(tmp_path/'a.png', exif=told)
    for given in (tmp_path/'a.png', Image.open(tmp_path/'a.png')):
        photo = find_garments(given, 'whole')[0].photo
        assert (np.asarray(photo) == a).all() and (np.asarray(find_garments(photo, 'whole')[0].photo) == a).all()

def test_nothing_hides_under_transparency():
    mask = np.zeros((60, 80), bool); mask[20:40, 30:50] = np.eye(20, dtype=bool)
    cut = np.asarray(crop(_garment(mask), 'transparent'))
    assert (cut[cut[..., 3] == 0] == [255, 255, 255, 0]).all()

def test_crop_of_one_pixel_in_a_corner():
    for y, x in ((0, 0), (59, 79), (0, 79)):
        mask = np.zeros((60, 80), bool); mask[y, x] = True
        for b in BACKGROUNDS: assert crop(_garment(mask), b).size == (1, 1) and (np.asarray(crop(_garment(mask), b))[0, 0, :3] == PHOTO[y, x]).all()

def test_a_strip_is_drawn_in_a_figure_of_sane_size():
    assert plot_garments(find_garments(np.zeros((6000, 20, 3), np.uint8), 'whole')).figure.get_figheight() <= 12

@pytest.mark.parametrize('images', ['photos/a.png', Path('a.png'), PHOTO, Image.fromarray(PHOTO)])
def test_scan_wants_a_list(images):
    with pytest.raises(FabricError, match='give a list of photos'): scan_photos(images, 'whole')

@pytest.mark.parametrize('kwargs, error', [(dict(min_score=9), FabricError), (dict(fallback='best'), FabricError), (dict(min_scor=.3), TypeError), (dict(segment='sma'), FabricError)])
def test_scan_checks_its_settings_before_it_starts(kwargs, error):
    with pytest.raises(error): scan_photos(['a.png'], says(PANTS), **kwargs)

def test_scan_takes_generators(tmp_path):
    found = list(scan_photos((p for p in _folder(tmp_path, 2)), says(PANTS, TOP), categories=((c for c in [n]) for n in ('pants', 'top'))))
    assert [[g.category for g in f] for f in found] == [['pants'], ['top']]

def test_an_opened_picture_that_is_cut_off_is_an_outcome(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)).save(tmp_path/'a.jpg')
    (tmp_path/'b.jpg').write_bytes((tmp_path/'a.jpg').read_bytes()[:9000])
    assert [f.outcome for f in scan_photos([Image.open(tmp_path/'b.jpg'), tmp_path/'a.jpg'], 'whole')] == ['unreadable', 'found']

@pytest.mark.skipif(sys.version_info < (3, 11), reason='notes came with Python 3.11')
def test_a_detector_that_fails_names_the_photo(tmp_path):
    with pytest.raises(ZeroDivisionError) as e: list(scan_photos(_folder(tmp_path, 1), Detector('fails', lambda img: 1/0)))
    assert any('0.png' in n for n in e.value.__notes__)

def test_photos_are_let_go():
    import gc, weakref
    refs = []
    for f in scan_photos([make_outfit(seed=i, size=64)[0] for i in range(5)], 'whole'): refs.append(weakref.ref(f[0].photo))
    gc.collect()
    assert sum(r() is not None for r in refs) <= 1

def _photos(tmp_path, n=2): (tmp_path/'photos').mkdir(); return _folder(tmp_path/'photos', n)

@pytest.mark.parametrize('out', ['photos', '.', 'mine'])
def test_a_folder_of_others_is_never_replaced(out, tmp_path):
    table = pd.DataFrame(dict(image=_photos(tmp_path)))
    (tmp_path/'mine').mkdir(); (tmp_path/'mine'/'thesis.txt').write_text('x')
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(FabricError, match='which would be lost'): write_cutouts(table, tmp_path/out, 'whole')
    assert sorted(tmp_path.rglob('*')) == before

def test_an_earlier_data_set_is_replaced_but_not_under_its_own_photos(tmp_path):
    table = pd.DataFrame(dict(image=_photos(tmp_path)))
    for kinds in ('both', 'whole'): write_cutouts(table, tmp_path/'out', 'whole', kinds=kinds)
    assert len(list((tmp_path/'out').iterdir())) == 2 + 2
    with pytest.raises(FabricError, match='would be replaced'): write_cutouts(pd.DataFrame(dict(image=[tmp_path/'out'/'000000.jpg'])), tmp_path/'out', 'whole')
    assert (tmp_path/'out'/'000000.jpg').is_file()

def test_what_skip_bad_leaves_out_is_told(tmp_path):
    paths = _photos(tmp_path, 3); paths[1].write_bytes(b'x')
    for kinds in ('cutout', 'whole', 'both'):
        items = pd.read_csv(write_cutouts(pd.DataFrame(dict(image=[*paths, NAN])), tmp_path/'out', says(('top', .9, [10, 10, 40, 40])), kinds=kinds, skip_bad=True))
        left = pd.read_csv(tmp_path/'out'/'left_out.csv', keep_default_na=False)
        assert items.photo.nunique() == 2 and list(left.photo) == [str(paths[1]), 'nan'] and {*left.outcome} == {'unreadable'}

def test_a_photo_that_vanishes_midway_is_told(tmp_path):
    paths = _photos(tmp_path)
    vanish = Detector('vanish', lambda img: paths[1].unlink(missing_ok=True) or found_boxes([[5, 5, 30, 30]], ['top']))
    assert len(pd.read_csv(write_cutouts(pd.DataFrame(dict(image=paths)), tmp_path/'out', vanish))) == 2
    assert pd.read_csv(tmp_path/'out'/'left_out.csv').outcome.tolist() == ['unreadable']

@pytest.mark.parametrize('kwargs', [dict(background='green'), dict(pad=-1), dict(detect='yolo99'), dict(segment='sma'), dict(fallback='best'), dict(kinds='all')])
def test_settings_are_checked_before_a_photo_is_read(kwargs, tmp_path, monkeypatch):
    monkeypatch.setattr('fabric_touch.garments.check_photos', lambda photos: 1/0)
    with pytest.raises(FabricError): write_cutouts(pd.DataFrame(dict(image=['gone.png'])), tmp_path/'out', **dict(detect=says(PANTS)) | kwargs)

@pytest.mark.parametrize('table, match', [
    (dict(image=['a.png'], category=[5]), 'unknown category 5'), (dict(image=['a.png'], category=['Trousers']), 'unknown category'), (dict(image=[]), 'no row'),
    (dict(image=['a.png'], title=['cut \ud83d']), 'no file can hold')])
def test_tables_are_checked_before_a_photo_is_read(table, match, tmp_path):
    with pytest.raises(FabricError, match=match): write_cutouts(pd.DataFrame(table, dtype=object), tmp_path/'out', 'whole')
    assert not list(tmp_path.iterdir())

def test_two_columns_of_one_name_are_refused(tmp_path):
    with pytest.raises(FabricError, match="two columns 'a'"): write_cutouts(pd.DataFrame([['a.png', 1, 2]], columns=['image', 'a', 'a']), tmp_path/'out', 'whole')

def test_tables_of_any_index_order_and_names(tmp_path):
    paths = _photos(tmp_path, 3)
    named = tmp_path/'photos'/'바지 é, "x".png'; paths[0].rename(named)
    table = pd.DataFrame({'image': [named, paths[1], paths[1]], 5: [1, 2, 3], 'n': pd.array([1, None, 2**60], 'Int64'), 'category': ['top', NAN, None]}, index=[7, 7, -1])
    items = pd.read_csv(write_cutouts(table, tmp_path/'출력', says(('top', .9, [10, 10, 40, 40]))), dtype=dict(n='Int64'))
    assert items['5'].tolist() == [1, 1, 2, 2, 3, 3] and items.n.tolist()[-1] == 2**60 and items.photo[0] == str(named) and list(items.kind) == ['whole', 'cutout']*3

def test_a_strip_too_long_for_jpeg(tmp_path):
    Image.new('RGB', (4, 66_000), 'red').save(tmp_path/'strip.png')
    items = pd.read_csv(write_cutouts(pd.DataFrame(dict(image=[tmp_path/'strip.png'])), tmp_path/'out', 'whole'))
    assert Image.open(tmp_path/'out'/items.image[0]).size == (4, 66_000)

def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    table = pd.DataFrame(dict(image=_photos(tmp_path)))
    write_cutouts(table, tmp_path/'out', 'whole')
    before = sorted(tmp_path.rglob('*'))
    def full(*args, **kwargs): raise OSError(28, 'No space left on device')
    monkeypatch.setattr(Image.Image, 'save', full)
    with pytest.raises(OSError, match='No space'): write_cutouts(table, tmp_path/'out', 'whole')
    assert sorted(tmp_path.rglob('*')) == before

def test_scores_of_random_boxes_and_masks_against_loops():
    rng, names = np.random.default_rng(0), ['top', 'pants', 'shoe', 'hat']
    for _ in range(30):
        h, w = rng.integers(5, 40, 2)
        true = {c: rng.random((h, w)) < rng.choice([0, .01, .3]) for c in names}
        rows = [(str(rng.choice(names)), 1., [*np.sort(rng.choice(w+1, 2, replace=False)), *np.sort(rng.choice(h+1, 2, replace=False))]) for _ in range(4)]
        rows = [(l, s, [a, c, b, d]) for l,s,(a,b,c,d) in rows]
        found = find_garments(np.zeros((h, w, 3), np.uint8), says(*rows))
        scores = score_garments(found, true).set_index('category')
        assert list(scores.index) == [c for c in names if true[c].any()]
        for c, (box_iou, mask_iou) in scores.iterrows():
            mine = [g for g in found if g.category == c]
            mask = np.any([g.mask for g in mine] or [np.zeros((h, w), bool)], 0)
            def filled(m): ys, xs = np.nonzero(m); full = np.zeros((h, w), bool); full[ys.min():ys.max()+1, xs.min():xs.max()+1] = True; return full
            assert mask_iou == pytest.approx((mask & true[c]).sum()/(mask | true[c]).sum(), abs=1e-6)
            a, b = filled(true[c]), filled(mask) if mine else mask
            assert box_iou == pytest.approx((a & b).sum()/(a | b).sum(), abs=1e-6)
            assert (filled(true[c]) == box_masks((w, h), true_detector({c: true[c]})(np.zeros((h, w, 3), np.uint8)).xyxy)[0]).all()

def test_true_masks_of_another_photo_are_refused():
    with pytest.raises(FabricError, match='must be of one photo'): score_garments(find_garments(PHOTO, says(PANTS)), dict(skirt=np.ones((5, 5), bool)))

def test_label_pictures_that_cannot_be_used(tmp_path):
    with pytest.raises(FabricError, match='label -1 has no name'): label_masks(np.array([[0, -1]]), ['null', 'pants'])
    (tmp_path/'bad.png').write_bytes(b'x')
    for f in ('bad.png', 'gone.png'):
        with pytest.raises(FabricError, match='cannot be read as a picture of labels'): label_masks(tmp_path/f, ['null', 'pants'])
