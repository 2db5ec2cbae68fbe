"Photos read no larger than needed: turned as a person sees them, cut to box and mask, kept small; and the squares that encoders are given."
import os

import numpy as np, pandas as pd, pytest, timm
from PIL import Image, ImageOps
from fabric_touch import core, photos
from fabric_touch.core import FabricError, keep_memory
from fabric_touch.data import CROP_MODES, load_photo, square
from fabric_touch.photos import BACKGROUNDS, CUTS, check_cut, cut_out, photo_size, read_cut, small_photos

RED, BOX = (220, 20, 30), (60, 20, 160, 120)                              # a red garment in a photo of 240 x 160
TURN = {1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270}   # how a photo lies in its file

def smooth(w, h, seed=0):
    "Colours that change slowly, so that pictures of two sizes can be compared"
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (5, 6, 3), np.uint8)).resize((w, h), Image.Resampling.BICUBIC)

def garment(w=240, h=160):
    img, (x1, y1, x2, y2) = Image.new('RGB', (w, h), (40, 160, 60)), [round(v*w/240) for v in BOX]
    img.paste(RED, (x1, y1, x2, y2))
    return img

def mask_of(w=240, h=160):
    m = np.zeros((h, w), bool)
    x1, y1, x2, y2 = [round(v*w/240) for v in BOX]
    m[y1:y2, x1:x2] = True
    return m

def saved(img, path, **kwargs):
    img.save(path, **kwargs)
    return str(path)

def colour(img): return np.asarray(img.convert('RGB'), float).mean((0, 1))
def differ(a, b): return abs(np.asarray(a, float) - np.asarray(b, float)).mean()
def frame(*images, **columns): return pd.DataFrame(dict(image=pd.Series(list(map(str, images)), dtype=object), **columns))   # pyarrow's texts hold no half signs

@pytest.fixture
def shop(tmp_path): return [saved(smooth(90+i, 120, i), tmp_path/f'p{i}.jpg', quality=92) for i in range(6)]

# ---- load_photo with a size

@pytest.mark.parametrize('size, want', [(None, (1600, 1200)), (1200, (1600, 1200)), (601, (1600, 1200)), (600, (800, 600)), (301, (800, 600)), (300, (400, 300)),
                                        (150, (200, 150)), (20, (200, 150)), (5000, (1600, 1200))])
def test_decoded_no_larger_than_needed(tmp_path, size, want):
    path = saved(smooth(1600, 1200), tmp_path/'a.jpg', quality=95)
    got = load_photo(path, size)
    assert got.size == want and differ(got, load_photo(path).resize(want, Image.Resampling.BOX)) < 1.5

def test_only_jpegs_are_decoded_small(tmp_path): assert load_photo(saved(smooth(160, 120), tmp_path/'a.png'), 15).size == (160, 120)

def test_a_claim_of_too_many_pixels_is_refused_at_any_size(tmp_path, monkeypatch):
    path = saved(smooth(160, 120), tmp_path/'a.jpg')
    monkeypatch.setattr('fabric_touch.data.MAX_PIXELS', 160*120 - 1)
    with pytest.raises(FabricError, match='claims 160 x 120'): load_photo(path, 15)

# ---- boxes and masks

@pytest.mark.parametrize('turn', TURN)
@pytest.mark.parametrize('cut', ['box', 'mask'])
def test_turned_photos_and_their_boxes(tmp_path, turn, cut):
    "A box and a mask count from the corner that a person sees, however the file is turned"
    upright, exif = garment(1920, 1280), Image.Exif()
    exif[0x0112] = turn
    stored = upright if TURN[turn] is None else upright.transpose(TURN[turn])
    path, mask = saved(stored, tmp_path/'a.jpg', exif=exif, quality=95), saved(Image.fromarray(mask_of(1920, 1280)), tmp_path/'m.png')
    assert ImageOps.exif_transpose(Image.open(path)).size == photo_size(path) == (1920, 1280)
    got = read_cut(path, 50, cut, [8*v for v in BOX], mask, pad=0.)
    assert abs(colour(got) - RED).max() < 12 and 49 <= min(got.size) < 420, (got.size, colour(got))

@pytest.mark.parametrize('box, want', [((60, 20, 160, 120), (100, 100)), ((-30, -10, 120, 80), (120, 80)), ((200, 100, 900, 900), (40, 60)), ((0, 0, 240, 160), (240, 160)),
                                       ((10.4, 10.4, 20.6, 20.6), (11, 11)), (('60', '20', '160', '120'), (100, 100))])
def test_boxes_end_at_the_photo(tmp_path, box, want):
    assert read_cut(saved(garment(), tmp_path/'a.png'), 16, 'box', box, pad=0.).size == want

@pytest.mark.parametrize('pad, want', [(0., (100, 50)), (.1, (120, 70)), (1., (240, 160)), (9, (240, 160))])
def test_margin_is_a_share_of_the_longer_side(tmp_path, pad, want):
    path = saved(garment(), tmp_path/'a.png')
    assert read_cut(path, 16, 'box', (60, 40, 160, 90), pad=pad).size == want
    mask = np.zeros((160, 240), bool); mask[40:90, 60:160] = True
    assert read_cut(path, 16, 'mask', mask=mask, pad=pad).size == want

@pytest.mark.parametrize('box, says', [(None, 'has no box'), ((1, 2, 3), 'has no box'), ((1, 2, np.nan, 4), 'has no box'), ((0, 0, np.inf, 9), 'has no box'), ('abcd', 'has no box'),
                                       (7, 'has no box'), ((50, 50, 40, 90), 'no pixel inside'), ((300, 0, 400, 50), 'no pixel inside of?|no pixel inside the photo of 240 x 160'),
                                       ((10, 10, 10.5, 90), 'no pixel inside')])
def test_boxes_that_are_refused(tmp_path, box, says):
    with pytest.raises(FabricError, match=says) as e: read_cut(saved(garment(), tmp_path/'a.png'), 16, 'box', box)
    assert 'a.png' in str(e.value) and 'whole' in str(e.value)

@pytest.mark.parametrize('cut', ['box', 'mask'])
@pytest.mark.parametrize('size', [20, 64, 200])
def test_a_small_garment_in_a_large_photo_is_decoded_well(tmp_path, cut, size):
    path = saved(garment(1920, 1280), tmp_path/'a.jpg', quality=95)
    box, mask = (100, 100, 400, 500), np.zeros((1280, 1920), bool)
    mask[100:500, 100:400] = True
    got = read_cut(path, size, cut, box, mask, pad=0.)
    assert size - 1 <= min(got.size) <= 300 and got.width/got.height == pytest.approx(.75, abs=.03)
    assert min(got.size) <= max(2*size, 38) + 1                               # an eighth is the least

@pytest.mark.parametrize('scale', [.5, 1, 2])
@pytest.mark.parametrize('mode', ['L', '1', 'RGB', 'P', 'array'])
def test_masks_of_any_size_and_kind(tmp_path, scale, mode):
    mask = Image.fromarray(mask_of()).resize((round(240*scale), round(160*scale)))
    mask = np.asarray(mask).astype(bool) if mode == 'array' else saved(mask.convert(mode), tmp_path/'m.png')
    got = read_cut(saved(garment(), tmp_path/'a.png'), 16, 'mask', mask=mask, pad=0.)
    assert got.mode == 'RGB' and abs(np.array(got.size) - 100).max() <= 1 and abs(colour(got) - RED).max() < 3

@pytest.mark.parametrize('mask, says', [(None, 'has no mask'), (np.nan, 'has no mask'), ('', 'has no mask'), ([[True]], 'has no mask'), ('gone.png', 'no such file'),
                                        (np.zeros((160, 240), bool), 'nothing to cut out'), (np.zeros((0, 0), bool), 'has no mask')])
def test_masks_that_are_refused(tmp_path, mask, says):
    with pytest.raises(FabricError, match=says): read_cut(saved(garment(), tmp_path/'a.png'), 16, 'mask', mask=mask)

def test_a_mask_of_another_shape_is_not_squeezed(tmp_path):
    with pytest.raises(FabricError, match='mask of 160 x 240 pixels has another shape'): read_cut(saved(garment(), tmp_path/'a.png'), 16, 'mask', mask=mask_of().T)

def test_all_but_the_garment_is_white(tmp_path):
    a = np.asarray(read_cut(saved(garment(), tmp_path/'a.png'), 16, 'mask', mask=mask_of(), pad=.1))
    assert a.shape == (120, 120, 3) and (a[10:110, 10:110] == RED).all() and (a[:10] == 255).all() and (a[:, 110:] == 255).all()

@pytest.mark.parametrize('background, corner', [('white', (255, 255, 255)), ('mean', RED), ('keep', (40, 160, 60)), ('transparent', (255, 255, 255, 0))])
def test_backgrounds(background, corner):
    got = cut_out(garment(), mask_of(), background, .1)
    assert got.size == (120, 120) and got.getpixel((0, 0)) == corner and got.getpixel((60, 60))[:3] == RED
    assert {*BACKGROUNDS} == {'white', 'mean', 'keep', 'transparent'}

@pytest.mark.parametrize('kwargs, says', [(dict(background='black'), 'choose from: white, mean'), (dict(pad=-.1), 'pad is -0.1'), (dict(pad=10), 'below 10'), (dict(pad='a'), 'pad is'),
                                          (dict(pad=np.nan), 'pad is nan')])
def test_cuts_that_are_refused(kwargs, says):
    with pytest.raises(FabricError, match=says): check_cut(**kwargs)
    with pytest.raises(FabricError, match=says): cut_out(garment(), mask_of(), **kwargs)

def test_a_mask_of_another_shape_is_refused():
    with pytest.raises(FabricError, match=r'\(240, 160\) and the photo \(160, 240\)'): cut_out(garment(), mask_of().T)

def test_unknown_cut(tmp_path):
    assert CUTS == ('whole', 'box', 'mask')
    with pytest.raises(FabricError, match='choose from: whole, box, mask'): read_cut(tmp_path/'a.jpg', 16, 'boxes')

@pytest.mark.parametrize('make', [lambda p: None, lambda p: p.touch(), lambda p: p.write_bytes(b'\xff\xd8\xff\xe0 no photo'), lambda p: p.mkdir()])
def test_size_of_what_is_no_photo(tmp_path, make):
    make(tmp_path/'a.jpg')
    with pytest.raises(FabricError, match='a.jpg'): photo_size(tmp_path/'a.jpg')

# ---- kept small

@pytest.mark.parametrize('w, h, size, want', [(300, 200, 100, (150, 100)), (200, 300, 100, (100, 150)), (80, 60, 100, (80, 60)), (100, 100, 100, (100, 100)), (1001, 333, 100, (301, 100)), (66, 900, 32, (32, 436))])
def test_sizes_of_small_photos(tmp_path, w, h, size, want):
    path = saved(smooth(w, h), tmp_path/'a.jpg', quality=95)
    small, = small_photos(frame(path), tmp_path/'s', size)
    with Image.open(small) as img:
        assert min(img.size) == min(want) and np.allclose(img.size, want, rtol=.04) and img.format == 'JPEG' and img.mode == 'RGB'
        assert img.quantization == Image.open(saved(smooth(20, 20), tmp_path/'q.jpg', quality=95)).quantization
        assert differ(img, load_photo(path).resize(img.size, Image.Resampling.BICUBIC)) < 3

def rgba(img):
    img = img.convert('RGBA'); img.putalpha(Image.fromarray(mask_of().astype(np.uint8)*255))
    return img

@pytest.mark.parametrize('name, make', [('a.png', rgba), ('a.webp', rgba), ('la.png', lambda i: rgba(i).convert('LA')), ('p.png', lambda i: i.convert('P')), ('p.gif', lambda i: rgba(i).convert('P')),
                                        ('l.jpg', lambda i: i.convert('L')), ('cmyk.jpg', lambda i: i.convert('CMYK')), ('cmyk.tif', lambda i: i.convert('CMYK')), ('one.png', lambda i: i.convert('1')),
                                        ('i16.png', lambda i: Image.fromarray((np.asarray(i.convert('L')).astype(np.uint16)*257))), ('f.tif', lambda i: i.convert('F')), ('a.bmp', lambda i: i)])
@pytest.mark.parametrize('cut', CUTS)
def test_pictures_of_every_mode(tmp_path, name, make, cut):
    path = saved(make(garment()), tmp_path/name)
    small, = small_photos(frame(path, mask=saved(Image.fromarray(mask_of()), tmp_path/'mask.png'), **dict(zip(('x1', 'y1', 'x2', 'y2'), BOX))), tmp_path/'s', 40, cut, 0.)
    with Image.open(small) as img:
        assert (img.mode, min(img.size)) == ('RGB', 40)
        want = load_photo(path) if cut == 'whole' else load_photo(path).crop(BOX)
        assert abs(colour(img) - colour(want)).max() < (20 if cut == 'mask' else 4)   # at its edge a JPEG is not all garment

def test_made_once(shop, tmp_path, monkeypatch):
    files = small_photos(frame(*shop, *shop), tmp_path/'s', 40)
    assert len(files) == 12 and files[:6] == files[6:] and len({*files}) == 6
    before = {f: os.stat(f).st_mtime_ns for f in files}
    monkeypatch.setattr(photos, 'read_cut', lambda *a: pytest.fail('read again'))
    assert small_photos(frame(*shop), tmp_path/'s', 40) == files[:6] and {f: os.stat(f).st_mtime_ns for f in files} == before
    assert small_photos(frame(*shop).iloc[[4, 1]], tmp_path/'s', 40) == [files[4], files[1]]

def test_interrupted_and_taken_up_again(shop, tmp_path, monkeypatch):
    read, seen = photos.read_cut, []
    def stops(path, *args):
        seen.append(path)
        if len(seen) == 4: raise KeyboardInterrupt
        return read(path, *args)
    monkeypatch.setattr(photos, 'read_cut', stops)
    with pytest.raises(KeyboardInterrupt): small_photos(frame(*shop), tmp_path/'s', 40, n_workers=1)
    made = {*(tmp_path/'s').rglob('*.jpg')}
    assert 3 <= len(made) < 6 and all(Image.open(f).load() for f in made)
    seen.clear(); seen.extend([None]*10)
    files = small_photos(frame(*shop), tmp_path/'s', 40, n_workers=1)
    assert len(seen) - 10 == 6 - len(made) and all(map(os.path.exists, files))
    assert not [p for p in (tmp_path/'s').rglob('*') if 'tmp' in p.name]

def test_a_changed_photo_is_made_anew(shop, tmp_path):
    mask = saved(Image.fromarray(np.arange(120)[:, None] + np.zeros(90, int) > 60), tmp_path/'m.png')
    make = lambda cut='whole', **k: small_photos(frame(shop[0], mask=[mask], x1=0, y1=0, x2=50, y2=50), tmp_path/'s', cut=cut, **dict(size=40) | k)[0]
    first, names = make(), [make(), make(size=50), make(pad=.2), make('box'), make('mask'), make('mask', pad=.2)]
    assert names[0] == first and len({*names}) == 6
    masked = make('mask')
    smooth(90, 120, 99).save(shop[0]); os.utime(shop[0], ns=(1, 1))
    again = make()
    assert again != first and differ(Image.open(again), load_photo(shop[0]).resize(Image.open(again).size)) < 3
    now = make('mask')
    assert now != masked
    saved(Image.fromarray(np.arange(120)[:, None] + np.zeros(90, int) > 90), mask); os.utime(mask, ns=(2, 2))
    assert make('mask') != now and make() == again                          # the whole photo does not depend on the mask

def test_masks_given_as_arrays_are_told_apart(tmp_path):
    "Also large ones that differ in the middle, of which numpy prints the corners"
    path, masks = saved(garment(), tmp_path/'a.png'), [mask_of(), mask_of()]
    masks[1][60:80, 60:100] = False
    masks[1][:60] = False
    files = small_photos(frame(path, path, mask=pd.Series(masks, dtype=object)), tmp_path/'s', 40, 'mask')
    assert len({*files}) == 2 and Image.open(files[0]).size != Image.open(files[1]).size

def test_a_box_of_another_row_is_another_file(shop, tmp_path):
    items = frame(*[shop[0]]*3, x1=[0, 0, 10], y1=0, x2=[40, 50, 50], y2=60)
    assert len({*small_photos(items, tmp_path/'s', 40, 'box')}) == 3 and len({*small_photos(items, tmp_path/'s', 40)}) == 1

def test_unreadable_photos_are_named_and_the_others_done(shop, tmp_path):
    for i in range(7): (tmp_path/f'bad{i}.jpg').write_bytes(b'' if i % 2 else b'no photo')
    items = frame(*[tmp_path/f'bad{i}.jpg' for i in range(7)], tmp_path/'gone.jpg', *shop)
    with pytest.raises(FabricError, match='8 of 14 photos cannot be used.*The others are done.*bad0.jpg: cannot be read as a picture.*bad1.jpg: the file is empty.*; …'): small_photos(items, tmp_path/'s', 40)
    assert len([*(tmp_path/'s').rglob('*.jpg')]) == 6
    with pytest.raises(FabricError, match='1 of 1 photos.*gone.jpg: no such file'): small_photos(frame(tmp_path/'gone.jpg'), tmp_path/'s', 40)

@pytest.mark.parametrize('cut, says', [('box', 'has no box'), ('mask', 'has no mask')])
def test_tables_without_boxes_or_masks(shop, tmp_path, cut, says):
    with pytest.raises(FabricError, match=says): small_photos(frame(shop[0]), tmp_path/'s', 40, cut)

NAMES = '../up.jpg', 'a b\n"c".jpg', '셔츠 – ½.jpg', 'x'*200 + '.jpg', '%s {0} $(x).jpg', '-rf.jpg', 'half\udcff.jpg', '.hidden.jpg', 'no ending'

@pytest.mark.parametrize('name', NAMES)
def test_names_stay_in_the_folder(tmp_path, name):
    (root := tmp_path/'in'/'deep').mkdir(parents=True)
    try: saved(smooth(60, 80), root/name, format='JPEG')
    except (OSError, UnicodeError): pytest.skip('this file system cannot have the name')
    before = {*tmp_path.rglob('*')}
    small, = small_photos(frame(f'{root}/{name}'), tmp_path/'s', 40)
    new = {*tmp_path.rglob('*')} - before
    assert all(tmp_path/'s' in [p, *p.parents] for p in new) and len([p for p in new if p.is_file()]) == 1
    assert Image.open(small).size == (40, 53)

def test_as_many_threads_as_you_like(shop, tmp_path):
    made = [[open(f, 'rb').read() for f in small_photos(frame(*shop*20), tmp_path/f's{n}', 40, n_workers=n)] for n in (1, 2, 8)]
    assert made[0] == made[1] == made[2]

def test_the_users_cache_if_no_folder_is_given(shop, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path/'cache'))
    assert small_photos(frame(shop[0]), size=40)[0].startswith(str(tmp_path/'cache'/'fabric_touch'))

def test_a_folder_that_cannot_be_written(shop, tmp_path):
    (tmp_path/'s').touch()
    with pytest.raises(FabricError, match='no small copy can be written'): small_photos(frame(shop[0]), tmp_path/'s', 40)

@pytest.mark.parametrize('kwargs, says', [(dict(size=15), 'from 16 to 4096'), (dict(size=4097), 'size is 4097'), (dict(size=40.), 'size is 40.0'), (dict(size=True), 'size is True'), (dict(cut='boxes'), 'choose from: whole'),
                                          (dict(pad=-1), 'pad is -1'), (dict(pad=None), 'pad is None')])
def test_arguments_are_checked_before_any_photo_is_read(tmp_path, kwargs, says):
    with pytest.raises(FabricError, match=says): small_photos(frame(tmp_path/'gone.jpg'), tmp_path/'s', **kwargs)
    assert not (tmp_path/'s').exists()

def test_a_table_without_images(tmp_path):
    with pytest.raises(FabricError, match="no column 'image'; it has: photo"): small_photos(pd.DataFrame(dict(photo=['a.jpg'])), tmp_path)
    assert small_photos(frame(), tmp_path/'s') == []

# ---- the square that an encoder is given

@pytest.mark.parametrize('w, h', [(90, 60), (60, 90), (64, 64), (57, 101), (33, 50), (63, 64)])
@pytest.mark.parametrize('crop', [1., .875, .95])
@pytest.mark.parametrize('mode', CROP_MODES)
def test_squares_are_those_of_timm(mode, crop, w, h):
    "Pixel for pixel; what has a border may lie a pixel off, by another way to round"
    mean, photo = (.485, .456, .406), smooth(w, h, w)
    theirs = timm.data.create_transform((3, 32, 32), crop_pct=crop, crop_mode=mode, mean=mean, std=(1, 1, 1), interpolation='bicubic', normalize=False)(photo)
    ours = np.moveaxis(np.asarray(square(photo, 32, crop, mode, tuple(round(255*m) for m in mean))), -1, 0)
    theirs = np.asarray(theirs).astype(float)
    if theirs.max() <= 1: theirs = 255*theirs
    if mode == 'border': assert min(differ(ours, np.roll(theirs, (a, b), (1, 2))) for a in (-1, 0, 1) for b in (-1, 0, 1)) < (.01 if crop == 1 else 12)
    else: assert abs(ours - theirs).max() < .6

def test_crop_modes_that_are_refused():
    with pytest.raises(FabricError, match="unknown crop mode 'middle'; choose from: center, border, squash"): square(smooth(20, 20), 16, mode='middle')

# ---- memory

@pytest.mark.parametrize('error', [OSError, TypeError, AttributeError])
def test_systems_without_glibc_keep_no_memory(monkeypatch, error):
    def no(name): raise error('not here')
    monkeypatch.setattr(core.ctypes, 'CDLL', no)
    assert keep_memory() is False

def test_a_library_without_mallopt_keeps_no_memory(monkeypatch):
    monkeypatch.setattr(core.ctypes, 'CDLL', lambda name: object())
    assert keep_memory() is False

@pytest.mark.parametrize('most', [2**31, 2**25])                                # older ones refuse more than 32 MiB for the first
def test_glibc_is_told_both_thresholds(monkeypatch, most):
    told = {}
    class Libc:
        @staticmethod
        def mallopt(what, value):
            if what == -3 and value > most: return 0
            told[what] = value
            return 1
    monkeypatch.setattr(core.ctypes, 'CDLL', lambda name: Libc)
    assert keep_memory() is True and {*told} == {-1, -3} and all(2**25 <= v < 2**31 for v in told.values())
