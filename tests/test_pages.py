"Pages of products: other people's text is escaped, nothing is loaded from anywhere, every subset has its picture, folders are written whole or not at all."
import json
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from fabric_touch.core import FabricError
from fabric_touch.pages import plot_product, product_html, write_product
from fabric_touch.product import PRODUCT_SCHEMA, Product, describe_product, rle

EVIL = '<script>alert("1")</script>\'"><img src=http://evil.example/x onerror=alert(1)> \u202e \x00 \ud800 $x$ 남자'
PHOTO = np.random.default_rng(0).integers(0, 256, (90, 60, 3), np.uint8)
SHOWN = ('src', 'href', 'srcset', 'action', 'data', 'poster', 'background', 'xlink:href')


class Page(HTMLParser):
    "What a browser would see: tags, links, texts; complains about tags that are not closed in turn"
    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.tags, self.links, self.ids, self.text, self.open, self.attrs = [], [], [], '', [], []
        self.feed(page); self.close()
        assert not self.open
    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attrs += attrs
        self.links += [v for k,v in attrs if k in SHOWN]
        self.ids += [v for k,v in attrs if k == 'id']
        if tag == 'img': assert dict(attrs).get('alt') is not None
        if tag not in ('img', 'meta', 'input'): self.open.append(tag)
    def handle_endtag(self, tag): assert self.open.pop() == tag
    def handle_data(self, data): self.text += '' if self.open[-1:] == ['style'] else data


def garment(photo, k, word='pants', size=(60, 90)):
    mask = np.zeros(size[::-1], bool); mask[30:80, 10 + 5*k:40 + 5*k] = True
    return dict(photo=photo, category=None if k else 'pants', label=word, score=.5, box=[10. + 5*k, 30., 40. + 5*k, 80.], area=.3, mask=rle(mask), cutout=f'cutout_{k + 3*photo:02d}.png',
                source=dict(box=word, mask=word, category='wanted'), outcomes=['found', 'several_people'], attributes={word: [dict(name=word, prob=.9)], 'part': []},
                colours=[dict(name='grey', ko='회색', share=.6, hex='#808080'), dict(name='yellow-green', ko='연두', share=.01, hex='#9acd32')])

def touches(word='softness'):
    return {word: dict(level=4, expected=3.6, sure=False, probs=[.1, .1, .2, .3, .3], interval=[2, 5]), 'warmth': dict(level=2, expected=1.8, sure=True, probs=[.4, .4, .2], interval=[1, 3]),
            'weight': dict(value=210.5), 'stiffness': dict(level=3, expected=2.9)}

def made(n_photos=1, n_garments=1, word='pants', title='남자 면바지', whole=False):
    "A product with everything, without a model"
    photos, rows = [Image.fromarray(PHOTO)]*n_photos, [dict(name=f'/home/me/{word}.jpg', role='product', width=60, height=90, outcome='found', why=word) for _ in range(n_photos)]
    garments = [garment(i, k, word) for i in range(n_photos) for k in range(n_garments)]
    views = [dict(photo=g['photo'], garment=k, crop='garment', box=[12, 32, 38, 58], levels=dict(softness=4)) for k,g in enumerate(garments)]
    base = describe_product(title, (), '면 95% 폴리우레탄 5%')
    base.update(photos=rows, garments=garments, touches=touches(word), views=views, models=[dict(stage='touch', name=word, card=dict(data=word, licence=word, encoder=dict(name=word)))],
                failures=[dict(stage='blend', photo=None, garment=0, error='FabricError', why=word)]*(n_photos + 3))
    base['blend']['notes'].append(word)
    base['blend']['parts'][word] = {'cotton': 1., word: 0.}
    return Product(base, photos, [Image.fromarray(np.dstack([PHOTO, np.full((90, 60), 255, np.uint8)]))]*len(garments))

def subsets(tmp_path):
    bad = tmp_path/'front.jpg'; bad.write_bytes(b'no photo')
    full = made()
    return dict(nothing=describe_product(), title=describe_product('면바지'), empty=describe_product(''), label=describe_product(label_text='cotton 100'), whole=describe_product('pants', PHOTO, 'cotton 100'),
                failed=describe_product('x', [bad, bad], 'cotton 60 poly 60'), close=describe_product(fabric_photos=PHOTO), full=full, many=made(10, 3), evil=made(2, 2, EVIL, EVIL),
                read=Product(full), alone=Product(full | dict(views=[dict(photo=None, garment=None, crop='none', box=None, levels={})])), long=made(title='여성용 부드러운 면 혼방 바지 '*60),
                **{k: Product({**full, k: v}, full.photos, full.cutouts) for k,v in dict(garments=[], touches=None, blend=None, models=[], failures=[]).items()})


def test_every_subset_has_a_picture_and_a_page(tmp_path, recwarn):
    for name,product in subsets(tmp_path).items():
        page = Page(product_html(product))
        assert page.tags.count('h1') == 1 and len(page.ids) == len(set(page.ids)), name
        assert [f['why'][:20] in re.sub(r'\s+', ' ', page.text) for f in product['failures'] if name != 'evil'] == [True]*len(product['failures'])*(name != 'evil'), name
        if name in ('empty', 'close', 'models', 'failures'): continue                       # as others
        fig = plot_product(product)
        assert all(np.isfinite(fig.get_size_inches())) and max(fig.get_size_inches()) < 20, name
        if name in ('evil', 'many', 'failed'): fig.canvas.draw()
        plt.close(fig)
    assert not [w for w in recwarn if 'Glyph' in str(w.message)]

def test_a_page_loads_nothing_and_runs_nothing(tmp_path):
    for name,product in subsets(tmp_path).items():
        text = product_html(product)
        page = Page(text)
        assert not {'script', 'iframe', 'object', 'embed', 'link', 'base', 'form', 'svg'} & set(page.tags), name
        assert all(v.startswith(('data:image/png;base64,', 'data:image/jpeg;base64,', '#')) for v in page.links), name
        assert all(v[1:] in page.ids for v in page.links if v[0] == '#'), name
        assert not [k for k,_ in page.attrs if k.startswith('on')], name
        assert 'url(' not in text and '@import' not in text and ('http-equiv', 'Content-Security-Policy') in page.attrs and any(str(v).startswith("default-src 'none'; img-src data:;") for _,v in page.attrs), name
        assert ('lang', 'en') in page.attrs and ('charset', 'utf-8') in page.attrs and any(v.startswith('width=device-width') for k,v in page.attrs if k == 'content')

def test_other_peoples_text_is_text():
    text = product_html(made(2, 2, EVIL, EVIL))
    page = Page(text)
    assert '<script>alert("1")</script>' in page.text and 'evil.example' in page.text      # read as words
    assert '\\u202e' in page.text and '\\ud800' in page.text and '\\x00' in page.text
    assert not re.search('[\u202a-\u202e\u2066-\u2069\ud800-\udfff\x00-\x08]', text) and text.encode('utf-8')
    assert '/home/me' not in text                                                           # folders stay at home
    assert ('lang', 'ko') in page.attrs

def test_a_very_long_title_is_cut():
    assert len(product_html(Product(describe_product() | dict(input=dict(title='x'*10**6, label=None))))) < 20_000

def test_pictures_are_small():
    big = made(4, 2)
    big.photos[:] = [Image.fromarray(np.kron(PHOTO, np.ones((20, 20, 1), np.uint8)))]*4
    for row in big['photos']: row.update(width=1200, height=1800)
    sizes = [len(v) for v in Page(product_html(big)).links if v.startswith('data:')]
    assert sum(sizes) < 1_500_000                                                           # noise, which no JPEG makes small

def test_marks_lie_where_the_record_says():
    text = product_html(made())
    assert 'left:16.67%;top:33.33%;width:50.00%;height:55.56%;--c:' in text                 # the box 10, 30, 40, 80 of 60 x 90
    assert 'left:20.00%;top:35.56%;width:43.33%;height:28.89%' in text                      # the square of cloth 12, 32, 38, 58

def test_a_cutout_stays_transparent():
    import base64, io
    product = made()
    alpha = np.zeros((90, 60), np.uint8); alpha[20:70, 10:50] = 255
    product.cutouts = [Image.fromarray(np.dstack([np.full((90, 60, 3), 200, np.uint8), alpha]))]
    link = re.search('<img src="([^"]+)" alt="cut-out', product_html(product))[1]
    image = Image.open(io.BytesIO(base64.b64decode(link.split(',')[1]))).convert('RGBA')
    assert (np.asarray(image)[..., 3] == alpha).all() and (np.asarray(image)[40, 30, :3] == 200).all()


def test_what_is_written_is_the_record(tmp_path):
    jsonschema = pytest.importorskip('jsonschema')
    for k,product in enumerate((describe_product('a\ud800b "면"', PHOTO), made(1, 2, EVIL, EVIL))):
        out = write_product(product, tmp_path/f'{k}')
        read = json.loads((out/'product.json').read_text('utf-8'))
        assert read == product
        jsonschema.Draft202012Validator(PRODUCT_SCHEMA).validate(read)
        assert {p.name for p in out.iterdir()} == {'product.json', 'report.png', 'index.html'} | {g['cutout'] for g in product['garments']} - {None}
    assert '면' in (tmp_path/'0'/'product.json').read_text('utf-8')

def test_same_product_same_bytes(tmp_path):
    a, b = ({p.name: p.read_bytes() for p in write_product(made(1, 2), tmp_path/n).iterdir()} for n in 'ab')
    assert a == b
    write_product(describe_product('pants'), tmp_path/'a')                                  # an earlier product is replaced, with all its files
    assert len(list((tmp_path/'a').iterdir())) == 3

def test_whole_or_not_at_all(tmp_path, monkeypatch):
    out = write_product(made(), tmp_path/'out')
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    def full(*args, **kwargs): raise OSError('no space left')
    monkeypatch.setattr('fabric_touch.pages.save_figure', full)
    with pytest.raises(OSError, match='no space'): write_product(describe_product('other'), out)
    with pytest.raises(OSError, match='no space'): write_product(describe_product('other'), tmp_path/'new')
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before and [p.name for p in tmp_path.iterdir()] == ['out']
    assert not plt.get_fignums()

@pytest.mark.parametrize('name', ['notes.txt', 'cutout_00.jpg', '.git', 'index.htm'])
def test_foreign_files_are_kept(tmp_path, name):
    out = write_product(describe_product('pants'), tmp_path/'out')
    (out/name).write_text('mine')
    with pytest.raises(FabricError, match='would be lost'): write_product(describe_product('pants'), out)
    assert (out/name).read_text() == 'mine'

def test_other_places_that_are_refused(tmp_path):
    (tmp_path/'site').mkdir(); (tmp_path/'site'/'index.html').write_text('my own page')    # a name of ours alone makes no product
    with pytest.raises(FabricError, match="holds 'index.html'"): write_product(describe_product(), tmp_path/'site')
    with pytest.raises(FabricError, match='not a folder'): write_product(describe_product(), tmp_path/'site'/'index.html')
    with pytest.raises(FabricError, match='names cutout_00.png'): write_product(Product(made()), tmp_path/'new')
    with pytest.raises(ValueError, match='JSON'): write_product(Product(describe_product() | dict(models=[dict(stage='touch', name='x', card=dict(score=float('nan')))])), tmp_path/'new')
    away = made(); away['garments'][0]['cutout'] = '../cutout_00.png'
    with pytest.raises(FabricError, match='no name'): write_product(away, tmp_path/'new')
    assert [p.name for p in tmp_path.iterdir()] == ['site'] and (tmp_path/'site'/'index.html').read_text() == 'my own page'

def test_a_colour_is_a_colour():
    product = made(); product['garments'][0]['colours'][0]['hex'] = 'red;background:url(http://evil.example)'
    with pytest.raises(FabricError, match='is no colour'): product_html(product)
