"Colour names people would agree with, dyes in light and shade, masks and transparency, and input that is no colour."
import subprocess, sys

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from fabric_touch.colours import COLOURS, COLOUR_NAMES, _inner, dominant_colours, main_colour, name_colour, oklab, oklab_rgb, plot_colours
from fabric_touch.core import FabricError, data_dir, has_data
from fabric_touch.data import as_photo

pytestmark = pytest.mark.once

# name in English, in Korean | shades
NAMES = '''
red 빨강 | ff0000 cc1122 e03030 b01020 c62828 a50f15
orange 주황 | ff8c00 f57c20 e86a17 ffa040 d9601a
yellow 노랑 | ffee00 fdd835 fff176 f5e050
yellow-green 연두 | 9acd32 aed048 7cb518 b2e060
green 초록 | 008000 2e7d32 1b5e20 66a060 0a5030 40a060
teal 청록 | 008080 00796b 127a85 26a69a 1a6068
blue 파랑 | 1565c0 1e40af 2563eb 3b5fa0 5577a8 4a6f9a
navy 남색 | 000080 1a237e 0d1b3e 1c2841 222c46 252e45
purple 보라 | 6a1b9a 800080 7b3fa0 4a2a6a 6b4a80
wine 자주 | 722f37 800020 6d1a36 5c1a2b 88204a
pink 분홍 | ffc0cb f8bbd0 ff69b4 e8a0b0 c88090
brown 갈색 | 5d4037 795548 6b4423 3e2723 8b5a2b 4a3728
white 하양 | ffffff fafafa eeeeee f0f0f5
grey 회색 | 808080 9e9e9e c0c0c0 606060 4a4a4a 707a80 b0aca8
black 검정 | 000000 101010 1f1f1f 202024 28282a
ivory 아이보리 | fffff0 f8f0dd f5ecd8 faf3e0
beige 베이지 | d2b48c d8c3a5 e0cfb0 c9b59a
khaki 카키 | 6b6b3a 556b2f 4b5320 7a7a4a 8a8555
sky blue 하늘색 | 87ceeb add8e6 a0c4e8 b5d5f0
mint 민트 | aaf0d1 b5ead7 a8e0c8 98e0c0
lavender 라벤더 | b39ddb c5b3e6 d8c8f0 e0d0f5
mustard 머스터드 | d4a017 c99700 e0a818 c8951f
'''
CASES = [(*row.split(' | ')[0].rsplit(' ', 1), h) for row in NAMES.strip().splitlines() for h in row.split(' | ')[1].split()]

def rgb(h): return list(bytes.fromhex(h.removeprefix('#')))

def flat(h, n=40): return np.full((n, n, 3), rgb(h), np.uint8)

def stripes(*hexes, n=120, width=10, dark=1.):
    "Stripes of dyes; linear light falls from 1 on the right to `dark` on the left"
    dyes = (np.array([rgb(h) for h in hexes])/255)**2.2
    light = np.linspace(dark, 1, n)[None, :, None]
    return (255*(dyes[np.arange(n)//width % len(dyes)][:, None]*light)**(1/2.2) + .5).astype(np.uint8)

def names(found): return [c.name for c in found]


# the space

@pytest.mark.parametrize('color,lab', [('ffffff', (1, 0, 0)), ('000000', (0, 0, 0)), ('ff0000', (.62796, .22486, .12585)), ('00ff00', (.86644, -.23389, .17950)),
                                       ('0000ff', (.45201, -.03246, -.31153)), ('808080', (.59987, 0, 0))])
def test_oklab_of_known_colours(color, lab):
    np.testing.assert_allclose(oklab(rgb(color)), lab, atol=1e-4)

def test_oklab_there_and_back_on_a_grid():
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15)]*3), -1)
    assert (oklab_rgb(oklab(grid)) == grid).all()

def test_greys_have_no_chroma():
    lab = oklab(np.repeat(np.arange(256), 3).reshape(-1, 3))
    assert abs(lab[:, 1:]).max() < 1e-6 and (np.diff(lab[:, 0]) > 0).all()

def test_what_no_screen_shows_is_clipped():
    assert oklab_rgb([2, 0, 0]).tolist() == [255]*3 and oklab_rgb([-1, 0, 0]).tolist() == [0]*3


# the palette

def test_there_are_enough_cases(): assert len(CASES) >= 100 and {c[0] for c in CASES} == set(COLOUR_NAMES)

@pytest.mark.parametrize('name,ko,color', CASES)
def test_people_would_agree(name, ko, color):
    row = name_colour(rgb(color))
    assert (row.name, row.ko) == (name, ko)

def test_palette_is_well_formed():
    assert COLOUR_NAMES == tuple(COLOURS) and len({c.ko for c in COLOURS.values()}) == len(COLOURS) == 22
    points = [p for c in COLOURS.values() for p in c.points]
    assert len(points) == len(set(points)), 'a point under two names'

@pytest.mark.parametrize('name', COLOUR_NAMES)
def test_every_point_has_its_own_name(name):
    assert all(c.name == name for c in name_colour([rgb(p) for p in COLOURS[name].points]))

def test_grey_ramp_is_black_grey_white_in_order():
    ramp = names(name_colour(np.repeat(np.arange(256), 3).reshape(-1, 3)))
    assert list(dict.fromkeys(ramp)) == ['black', 'grey', 'white']
    assert ramp == sorted(ramp, key=['black', 'grey', 'white'].index)

def test_many_at_once_are_the_same_as_one_by_one():
    x = np.random.default_rng(0).integers(0, 256, (200, 3))
    assert name_colour(x) == [name_colour(c) for c in x]
    assert name_colour(np.empty((0, 3))) == []

@pytest.mark.parametrize('bad', ['red', None, [1, 2], [[1, 2, 3, 4]], 5, [256, 0, 0], [-1, 0, 0], [float('nan'), 0, 0], ['a', 'b', 'c'], np.zeros((2, 2, 3)), {}])
def test_what_is_no_colour(bad):
    with pytest.raises(FabricError, match='255'): name_colour(bad)


# dominant colours

@pytest.mark.parametrize('name,ko,color', CASES)
def test_flat_cloth_is_one_colour(name, ko, color):
    (c,) = dominant_colours(flat(color))
    assert (c.name, c.ko, c.hex) == (name, ko, '#' + color) and c.share == pytest.approx(1)

@pytest.mark.parametrize('hexes,expected', [
    (('ffffff', '1b2a49'), {'white', 'navy'}), (('ffffff', '000000'), {'white', 'black'}), (('ffffff', '808080'), {'white', 'grey'}), (('000000', '808080'), {'black', 'grey'}),
    (('2a52be', '1b2a49'), {'blue', 'navy'}), (('c41e3a', 'ffffff', '1b2a49'), {'red', 'white', 'navy'}), (('d2b48c', '5c4033'), {'beige', 'brown'}), (('ffc0cb', 'c41e3a'), {'pink', 'red'})])
@pytest.mark.parametrize('dark', [1., .6])
def test_stripes_stay_apart(hexes, expected, dark):
    found = dominant_colours(stripes(*hexes, dark=dark))
    assert set(names(found)) == expected
    assert all(c.share == pytest.approx(1/len(hexes), abs=.02) for c in found)

@pytest.mark.parametrize('color', ['c41e3a', 'ff7f00', '1e5fd0', '2e8b57', '800080', 'f4a6b8', 'd2b48c', '6b4423', '1b2a49', 'ffffff', '808080'])
@pytest.mark.parametrize('dark', [.7, .4])
def test_shade_does_not_split_a_dye(color, dark):
    (c,) = dominant_colours(stripes(color, dark=dark))
    assert c.name == name_colour(rgb(color)).name

def test_sorted_by_share_and_cut_at_n_and_min_share():
    photo = np.concatenate([flat('c41e3a', 60)[:, :36], flat('1e5fd0', 60)[:, :18], flat('ffffff', 60)[:, :6]], 1)
    found = dominant_colours(photo)
    assert names(found) == ['red', 'blue', 'white'] and [round(c.share, 3) for c in found] == [.6, .3, .1]
    assert dominant_colours(photo, n=2) == found[:2] and dominant_colours(photo, min_share=.2) == found[:2]
    assert dominant_colours(photo, min_share=.9) == [] and dominant_colours(photo, min_share=0, n=99) == found
    assert main_colour(photo) == found[0]

def test_two_dyes_of_one_name_are_added_before_sorting():
    photo = np.concatenate([flat('ffffff', 60)[:, :24], flat('0000ff', 60)[:, :20], flat('6d839c', 60)[:, :16]], 1)
    assert [(c.name, round(c.share, 2), c.hex) for c in dominant_colours(photo)] == [('blue', .6, '#0000ff'), ('white', .4, '#ffffff')]

@pytest.mark.parametrize('hexes,expected', [(('ffffff', '000000'), {'white', 'black'}), (('ffffff', '707070'), {'white', 'grey'}), (('c41e3a', 'ffffff', '1b2a49'), {'red', 'white', 'navy'})])
def test_a_noisy_camera(hexes, expected):
    photo = np.random.default_rng(0).normal(stripes(*hexes), 6).clip(0, 255).astype(np.uint8)
    assert set(names(dominant_colours(photo))) == expected

def test_main_colour_is_there_when_all_are_small():
    photo = np.concatenate([flat(c) for c in ('ff0000', '0000ff', '008000', 'ffee00', '000000', 'ffffff', '800080')], 1)
    assert dominant_colours(photo, min_share=.5) == [] and main_colour(photo).share == pytest.approx(1/7)

def test_same_answer_twice_and_random_state_left_alone():
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    np.random.seed(1); before = np.random.get_state()[1].copy()
    assert dominant_colours(photo) == dominant_colours(photo.copy())
    assert (np.random.get_state()[1] == before).all()

def test_order_of_pixels_does_not_matter():
    photo = stripes('c41e3a', 'ffffff', '1b2a49', dark=.5)
    mixed = np.random.default_rng(0).permutation(photo.reshape(-1, 3)).reshape(photo.shape)
    assert dominant_colours(mixed) == dominant_colours(photo)

def test_one_pixel():
    (c,) = dominant_colours(np.array([[[196, 30, 58]]], np.uint8))
    assert tuple(c) == ('red', '빨강', 1., '#c41e3a')
    mask = np.zeros((40, 40), bool); mask[3, 4] = True
    assert main_colour(flat('c41e3a'), mask).name == 'red'

@settings(max_examples=60, deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12), st.just(3))), st.integers(1, 8), st.floats(0, 1))
def test_any_image(photo, n, min_share):
    found = dominant_colours(photo, n=n, min_share=min_share)
    assert len(found) <= n and sum(c.share for c in found) <= 1 + 1e-6
    assert all(c.name in COLOURS and c.ko == COLOURS[c.name].ko and min_share <= c.share for c in found)
    assert names(found) == list(dict.fromkeys(names(found))) and found == sorted(found, key=lambda c: -c.share)
    assert all(name_colour(rgb(c.hex)).name == c.name for c in found)
    assert sum(c.share for c in dominant_colours(photo, n=99, min_share=0)) == pytest.approx(1)


# which pixels count

def patched(color='c41e3a', ground='ffffff'):
    photo, mask = flat(ground, 60), np.zeros((60, 60), bool)
    mask[15:45, 20:40] = True
    photo[mask] = rgb(color)
    return photo, mask

def test_mask():
    photo, mask = patched()
    assert names(dominant_colours(photo)) == ['white', 'red']
    assert names(dominant_colours(photo, mask)) == ['red'] and names(dominant_colours(photo, ~mask)) == ['white']
    assert main_colour(photo, mask).share == 1

def test_a_mask_slightly_too_large_does_not_see_the_ground():
    photo, mask = patched()
    wide = mask | ~_inner(~mask)
    assert wide.sum() > mask.sum() and names(dominant_colours(photo, wide, min_share=0)) == ['red']

def test_a_thin_mask_keeps_its_pixels():
    photo, _ = patched()
    line = np.zeros((60, 60), bool); line[30, 20:40] = True
    assert names(dominant_colours(photo, line)) == ['red']

@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'PA'])
def test_transparent_pixels_do_not_count(mode):
    photo, mask = patched('606060', 'ffffff')
    cut = Image.fromarray(np.dstack([photo, mask*np.uint8(255)])).convert(mode)
    assert names(dominant_colours(cut, min_share=0)) == ['grey']

def test_transparency_of_a_palette_and_of_a_file(tmp_path):
    photo, mask = patched()
    cut = Image.fromarray(np.dstack([photo, mask*np.uint8(255)]))
    cut.save(tmp_path/'cut.png'); cut.quantize().save(tmp_path/'p.png')
    expected = dominant_colours(photo, mask)
    assert dominant_colours(tmp_path/'cut.png') == dominant_colours(str(tmp_path/'cut.png')) == expected
    assert names(dominant_colours(tmp_path/'p.png')) == ['red']

def test_mask_and_transparency_together():
    photo, mask = patched()
    cut, left = Image.fromarray(np.dstack([photo, mask*np.uint8(255)])), np.zeros((60, 60), bool)
    left[:, :30] = True
    assert names(dominant_colours(cut, left)) == ['red']
    with pytest.raises(FabricError, match='no pixel'): dominant_colours(cut, ~mask)

def test_a_turned_photo_is_masked_as_a_person_sees_it(tmp_path):
    photo, mask = flat('ffffff', 40)[:30], np.zeros((40, 30), bool)
    photo[:, :20] = rgb('c41e3a')                                # left as stored is on top once turned
    exif = Image.Exif(); exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path/'turned.png', exif=exif)
    mask[:20] = True
    assert names(dominant_colours(tmp_path/'turned.png', mask)) == ['red']
    cut = np.dstack([photo, np.full(photo.shape[:2], 255, np.uint8)]); cut[:, 20:, 3] = 0
    Image.fromarray(cut).save(tmp_path/'cut.png', exif=exif)
    assert names(dominant_colours(tmp_path/'cut.png', mask)) == ['red']

@pytest.mark.parametrize('mode', ['L', '1', 'CMYK', 'I;16', 'F', 'YCbCr'])
def test_other_modes(mode):
    image = Image.fromarray(flat('808080')[..., 0])
    image = Image.fromarray(np.full((9, 9), 128*257, np.uint16)) if mode == 'I;16' else image.convert(mode)
    assert set(names(dominant_colours(image))) <= {'grey', 'black', 'white'}


# wrong input

@pytest.mark.parametrize('mask', [np.ones((40, 39), bool), np.ones((40, 40)), np.ones((40, 40), np.uint8), np.ones((40, 40, 1), bool), [[True]], 'mask'])
def test_wrong_masks(mask):
    with pytest.raises(FabricError, match=r'give bool of the photo'): dominant_colours(flat('ff0000'), mask)

@pytest.mark.parametrize('image,kw,why', [
    (flat('ff0000'), dict(mask=np.zeros((40, 40), bool)), 'no pixel is left'), (Image.new('RGBA', (9, 9)), {}, 'transparent'),
    (flat('ff0000'), dict(n=0), 'n is 0'), (flat('ff0000'), dict(n=True), 'n is True'), (flat('ff0000'), dict(n=2.5), 'n is 2.5'), (flat('ff0000'), dict(n='3'), "n is '3'"),
    (flat('ff0000'), dict(min_share=-.1), 'min_share is -0.1'), (flat('ff0000'), dict(min_share=1.1), 'min_share is 1.1'), (flat('ff0000'), dict(min_share=float('nan')), 'min_share is nan'),
    (flat('ff0000'), dict(min_share=None), 'min_share is None'), (flat('ff0000')/255, {}, 'a photo is'), (None, {}, 'a photo is'), ('no_such.png', {}, 'no such file'), (np.zeros((0, 4, 3), np.uint8), {}, 'a photo is')])
def test_wrong_input(image, kw, why):
    with pytest.raises(FabricError, match=why): dominant_colours(image, **kw)

def test_plot():
    found = dominant_colours(stripes('c41e3a', 'ffffff', '1b2a49'))
    ax = plot_colours(found[:2])
    assert len(ax.patches) == 3 and sum(p.get_width() for p in ax.patches) == pytest.approx(1)
    assert [t.get_text().split('\n')[0] for t in ax.texts] == names(found[:2])
    assert plot_colours(found, ax) is ax
    with pytest.raises(FabricError, match='no colour to draw'): plot_colours([])

def test_no_torch_at_import():
    code = "import sys, fabric_touch.colours; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout.strip() == 'False'


# photos of garments

@pytest.mark.parametrize('photo,expected', [('longsleeve/bfac0100', 'mustard'), ('dress/377c407c', 'blue'), ('dress/b769e3fb', 'wine'), ('skirt/70045b01', 'lavender'),
    ('shorts/7a9d5c6f', 'blue'), ('dress/ac4e79c1', 'black'), ('dress/6eaff8d0', 'navy'), ('t-shirt/84c5becd', 'mint'), ('shorts/639705b1', 'beige')])
def test_garments_in_the_middle_of_a_photo(photo, expected):
    if not has_data('clothing_small'): pytest.skip('clothing_small is not on this machine')
    image = as_photo(next(data_dir('clothing_small').glob(f'{photo}*')))
    mask = np.zeros((image.height, image.width), bool)
    mask[image.height//4:3*image.height//4, 3*image.width//10:7*image.width//10] = True
    assert main_colour(image, mask).name == expected
