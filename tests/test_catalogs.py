"Many pages: gone on with gives equal bytes (killed: test_unplugged), nothing of anybody is overwritten, tables of every kind, damaged folders, full disks, other models."
import decimal
import errno
import json
import math
import os
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fabric_touch import catalogs
from fabric_touch.catalogs import COLUMNS, describe_products, describe_rows, read_pages
from fabric_touch.core import FabricError
from fabric_touch.detectors import Detector
from fabric_touch.embeds import locked
from fabric_touch.product import PRODUCT_SCHEMA, ProductModels
from fabric_touch.touch import touch_model

pytestmark = pytest.mark.once
FILES = 'products.jsonl', 'products.csv', 'about.json'


def bytes_of(folder): return [(folder/name).read_bytes() for name in FILES]
def frame(**columns): return pd.DataFrame(columns, dtype=object)
def records(folder): return [json.loads(line) for line in (folder/'products.jsonl').read_bytes().splitlines()]

@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp('photos')
    for i in range(4): Image.fromarray(np.random.default_rng(i).integers(0, 256, (96, 80, 3), np.uint8)).save(folder/f'{i}.png')
    (folder/'bad.png').write_bytes(b'no photo')
    return folder

@pytest.fixture(scope='module')
def pages(photos):
    "Twelve pages, some of them bad"
    rows = [dict(id=i, title=['면 스커트', 'jeans', None, 8][k % 4], photos=f'{k % 4}.png' if k % 5 else 'bad.png|lost.png', label=['cotton 100', 'cotton 120', None][k % 3]) for k,i in enumerate(['a/b', '../c', 'd\ne', '"f"', "'g", '=1+1', 'é', 'e\u0301', 'x\u2028y', '1', '01', ' h'])]
    return read_pages(pd.DataFrame(rows, dtype=object), root=photos)

@pytest.fixture(scope='module')
def models(one_thread): return ProductModels(touch_model('mlb', 'swatch').eval())

@pytest.fixture(scope='module')
def shop(tmp_path_factory, pages, models):
    "A run without a stop"
    out = tmp_path_factory.mktemp('runs')/'shop'
    describe_products(pages, out, models)
    return out


# ---- stops -----------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('cut', [0, 1, 100, -1, None])
def test_a_torn_line_is_described_again(tmp_path, shop, pages, models, cut):
    "A kill may leave any part of the sixth line; nothing before it is done again"
    lines = (shop/'products.jsonl').read_bytes().splitlines(True)
    (tmp_path/'about.json').write_bytes((shop/'about.json').read_bytes())
    (tmp_path/'products.jsonl').write_bytes(b''.join(lines[:5]) + lines[5][:cut])
    (tmp_path/'.products.csv.0123abcd.tmp.csv').write_text('half')
    seen = []
    with pytest.MonkeyPatch.context() as m:
        one = catalogs.describe_rows
        m.setattr(catalogs, 'describe_rows', lambda rows, *args: seen.extend(r['id'] for r in rows) or one(rows, *args))
        describe_products(pages, tmp_path, models)
    assert seen == pages.id.tolist()[6 if cut is None else 5:]
    assert bytes_of(tmp_path) == bytes_of(shop) and not list(tmp_path.glob('.*'))

def test_a_tail_of_zeros_is_cut_off(tmp_path, shop, pages, models):
    "What some file systems leave after the power went"
    (tmp_path/'about.json').write_bytes((shop/'about.json').read_bytes())
    (tmp_path/'products.jsonl').write_bytes((shop/'products.jsonl').read_bytes() + bytes(4096))
    describe_products(pages, tmp_path, models)
    assert bytes_of(tmp_path) == bytes_of(shop)

@pytest.mark.parametrize('spoil', [lambda r: {}, lambda r: [], lambda r: 5, lambda r: dict(id=r['id'], page=r['page']), lambda r: r | dict(version=0), lambda r: r | dict(blend=5), lambda r: r | dict(id=[1]), lambda r: r | dict(id=1), lambda r: r | dict(failures=None),
                                   lambda r: r | dict(photos=[dict(name='x')])])
def test_a_damaged_line_is_named(tmp_path, shop, pages, models, spoil):
    lines = (shop/'products.jsonl').read_bytes().splitlines(True)
    lines[4] = json.dumps(spoil(json.loads(lines[4]))).encode() + b'\n'
    (tmp_path/'about.json').write_bytes((shop/'about.json').read_bytes())
    (tmp_path/'products.jsonl').write_bytes(b''.join(lines))
    with pytest.raises(FabricError, match='line 5 is no record'): describe_products(pages, tmp_path, models)
    assert (tmp_path/'products.jsonl').read_bytes() == b''.join(lines)

@pytest.mark.parametrize('about', ['', '{', '[]', '{"version": 0}', '['*10_000])
def test_a_damaged_about_is_refused(tmp_path, shop, pages, models, about):
    (tmp_path/'about.json').write_text(about)
    (tmp_path/'products.jsonl').write_bytes((shop/'products.jsonl').read_bytes())
    with pytest.raises(FabricError, match='give another folder'): describe_products(pages, tmp_path, models)
    assert (tmp_path/'products.jsonl').read_bytes() == (shop/'products.jsonl').read_bytes()

@pytest.mark.parametrize('call', ['write', 'fsync'])
def test_a_full_disk_loses_nothing(tmp_path, shop, pages, models, monkeypatch, call):
    "The sixth page cannot be written: a clear error, and a later run goes on there"
    n, real = [], os.fsync
    def full(*args):
        n.append(1)
        if len(n) > 6: raise OSError(errno.ENOSPC, 'No space left on device')
        return real(*args)
    with monkeypatch.context() as m:
        if call == 'fsync': m.setattr(os, 'fsync', full); m.setattr(catalogs._Journal.__init__, '__defaults__', (-1.,))
        else:
            line = catalogs._line
            def none_left(*args):
                if len(n) > 5: raise OSError(errno.ENOSPC, 'No space left on device')
                n.append(1)
                return line(*args)
            m.setattr(catalogs, '_line', none_left)
        with pytest.raises(OSError, match='No space left on device.*products.jsonl'): describe_products(pages, tmp_path/'out', models)
    assert not (tmp_path/'out'/'products.csv').exists()
    describe_products(pages, tmp_path/'out', models)
    assert bytes_of(tmp_path/'out') == bytes_of(shop)

def test_a_second_process_is_kept_away(shop, pages, models):
    with locked(shop/'lock'):
        with pytest.raises(FabricError, match='held by another process'): describe_products(pages, shop, models)

def test_ctrl_c_keeps_what_was_done(tmp_path, shop, pages, models, monkeypatch):
    one, n = catalogs.describe_rows, []
    def stop(*args):
        n.append(1)
        if len(n) == 4: raise KeyboardInterrupt
        return one(*args)
    with monkeypatch.context() as m:
        m.setattr(catalogs, 'describe_rows', stop)
        with pytest.raises(KeyboardInterrupt): describe_products(pages, tmp_path/'out', models)
    assert len(records(tmp_path/'out')) == 3
    describe_products(pages, tmp_path/'out', models)
    assert bytes_of(tmp_path/'out') == bytes_of(shop)


# ---- what changes between two runs --------------------------------------------------------------------------------------------------------
def copied(shop, tmp_path):
    for name in FILES: (tmp_path/name).write_bytes((shop/name).read_bytes())
    return tmp_path

def test_rows_in_another_order_are_the_same_records(tmp_path, shop, pages, models):
    out = copied(shop, tmp_path)
    table = describe_products(pages[::-1], out, models)
    assert table.id.tolist() == pages.id.tolist()[::-1] and records(out) == records(shop)[::-1]

def test_a_row_more_and_a_row_less(tmp_path, shop, pages, models):
    out = copied(shop, tmp_path)
    with pytest.raises(FabricError, match='which would be lost'): describe_products(pages[1:], out, models)
    assert bytes_of(out) == bytes_of(shop)
    more = pd.concat([pages, frame(id=['new'], title=['jeans'], photos=[[]], label=[None], fabric_photos=[[]])], ignore_index=True)
    assert describe_products(more, out, models).id.tolist() == more.id.tolist() and records(out)[:-1] == records(shop)

def test_a_page_that_changed_is_described_anew_and_it_alone(tmp_path, shop, pages, models):
    out, changed = copied(shop, tmp_path), pages.copy()
    changed.loc[3, 'label'] = 'linen 100'
    describe_products(changed, out, models)
    assert [a == b for a,b in zip(records(out), records(shop))] == [i != 3 for i in range(len(pages))]
    describe_products(pages, out, models)
    assert bytes_of(out) == bytes_of(shop)

def test_arrays_that_changed_in_the_middle(tmp_path):
    a = np.zeros((400, 400, 3), np.uint8)
    b = a.copy()
    b[100:300, 100:300] = 200
    colours = [describe_products(frame(id=['a'], photos=[[x]]), tmp_path).colour_hex[0] for x in (a, b, Image.fromarray(a))]
    assert colours[0] == colours[2] != colours[1]

def test_formats_of_an_earlier_run_are_kept_up(tmp_path, pages, models):
    pytest.importorskip('pyarrow')
    first = describe_products(pages, tmp_path, models, ('csv', 'parquet'))
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path/'products.parquet').astype(object).fillna(''), first.astype(object).fillna(''), check_dtype=False)
    changed = pages.copy()
    changed.loc[0, 'title'] = 'a raincoat'
    describe_products(changed, tmp_path, models, 'csv')
    assert pd.read_parquet(tmp_path/'products.parquet').title[0] == 'a raincoat' == pd.read_csv(tmp_path/'products.csv').title[0]

def test_other_models_and_settings_are_noticed(tmp_path, shop, pages, models):
    out, touch = copied(shop, tmp_path), models.touch
    before = touch.temperature
    touch.temperature = [3.]*4
    try:
        with pytest.raises(FabricError, match='other touch'): describe_products(pages, out, models)
    finally: touch.temperature = before
    bias = [p for p in touch.head.parameters()][-1].data
    bias += 1
    touch.card = dict(weights_sha256='of the file')                              # trained on after it was loaded
    try:
        with pytest.raises(FabricError, match='other touch'): describe_products(pages, out, models)
    finally: bias -= 1; del touch.card
    for other in (None, ProductModels(touch, fallback='none'), ProductModels(touch, min_score=.5)):
        with pytest.raises(FabricError, match='was made with other'): describe_products(pages, out, other)
    assert bytes_of(out) == bytes_of(shop)

def test_what_is_no_model_is_refused_before_anything_is_written(tmp_path, pages, models):
    with pytest.raises(FabricError, match='ProductModels'): describe_products(pages, tmp_path/'out', models.touch)
    with pytest.raises(FabricError, match='unknown format'): describe_products(pages, tmp_path/'out', models, ('xls',))
    assert not (tmp_path/'out').exists()


# ---- other people's files -------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', ['products.csv', 'products.parquet', 'products.jsonl'])
def test_a_table_that_is_not_ours_is_not_replaced(tmp_path, name):
    "Such as the very table that is read"
    (tmp_path/name).write_text('title,label\njeans,cotton 100\n')
    with pytest.raises(FabricError, match='give another folder'): describe_products(tmp_path/name if name.endswith('csv') else frame(title=['jeans']), tmp_path, formats=('csv',))
    assert (tmp_path/name).read_text() == 'title,label\njeans,cotton 100\n'

def test_folders_that_are_none(tmp_path):
    (tmp_path/'file').write_text('x')
    os.symlink(tmp_path/'gone'/'there', tmp_path/'link')
    for out in ('file', 'link', 'file/in'):
        with pytest.raises((FabricError, OSError)): describe_products(frame(title=['jeans']), tmp_path/out)
    assert (tmp_path/'file').read_text() == 'x'


# ---- tables ---------------------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('none', [None, math.nan, np.float32('nan'), pd.NA, pd.NaT, decimal.Decimal('nan'), '', '  '], ids=repr)
def test_missing_cells_of_every_kind(none):
    row = read_pages(frame(id=['a'], title=[none], photos=[none], label=['linen 100'], fabric_photos=[none])).iloc[0]
    assert (row.title, row.photos, row.label, row.fabric_photos) == (None, [], 'linen 100', [])
    with pytest.raises(FabricError, match='has no id'): read_pages(frame(id=[none], title=['x']))

def test_reading_again_changes_nothing(pages): pd.testing.assert_frame_equal(read_pages(pages), pages)

def test_a_frame_with_all_columns_is_checked_too(tmp_path, photos):
    "It may come from pd.read_csv, and not from read_pages"
    raw = frame(id=['a', 'b'], title=['jeans', math.nan], photos=[f'{photos/"0.png"}|{photos/"1.png"}', ''], label=['cotton 100', 'linen 100'], fabric_photos=[math.nan]*2)[list(COLUMNS)]
    table = describe_products(raw, tmp_path/'out')
    assert table.photos.tolist() == [2, 0] and table.failed.tolist() == ['', '']
    with pytest.raises(FabricError, match='stood before'): describe_products(raw.assign(id='a'), tmp_path/'other')
    with pytest.raises(FabricError, match='stood before'): read_pages(frame(id=[1, '1'], title=['x', 'y']))      # one in every file

@pytest.mark.parametrize('name, text, why', [('x.csv', 'title,photos\njeans,a.jpg,\nskirt,b.jpg,\n', 'more cells'), ('x.csv', 'title,title\na,b\n', 'title'), ('x.csv', 'title\n', 'no row'), ('x.csv', '', 'cannot be read'), ('x.csv', b'\xff\xfet\x00', 'cannot be read'),
                                             ('x.tsv', 'title\tlabel\na\tb\tc\n', 'more cells|cannot be read'), ('x.csv', 'title\n"a\n', 'cannot be read|x'), ('x.jsonl', '{"title":\n', 'cannot be read'), ('x.jsonl', '[1]\n', 'not known'), ('x.parquet', 'PAR1', 'cannot be read|needed'), ('x.xls', '', 'unknown kind')], ids=str)
def test_tables_that_are_none(tmp_path, name, text, why):
    (tmp_path/name).write_bytes(text if isinstance(text, bytes) else text.encode())
    try: read_pages(tmp_path/name)
    except ImportError: pytest.skip('pyarrow is not here')
    except FabricError as e: assert any(w in str(e) for w in why.split('|'))
    else: assert 'x' in why.split('|')

def test_frames_that_are_none():
    with pytest.raises(FabricError, match='twice'): read_pages(pd.DataFrame([['a', 'b']], columns=['title', 'title']))
    for other in (5, None, [dict(title='x')], b'x.csv'):
        with pytest.raises(FabricError, match='a file or a DataFrame'): read_pages(other)

def test_ids_in_the_index():
    assert read_pages(pd.DataFrame(dict(title=['x', 'y']), index=pd.Index(['A', 'B'], name='id'))).id.tolist() == ['A', 'B']

@pytest.mark.parametrize('kind', ['CSV', 'tsv', 'jsonl', 'parquet'])
def test_one_table_in_every_file(tmp_path, photos, kind):
    if kind == 'parquet': pytest.importorskip('pyarrow')
    rows, path = [dict(id='007', title='면, "바지"\n새것', photos=['0.png', 'b, c|d.png'], label=None), dict(id='2020-01-01', title='NA', photos=[], label='=cotton 100')], tmp_path/f'pages.{kind}'
    if kind == 'jsonl': path.write_text('\ufeff' + '\n'.join(json.dumps(r) for r in rows))
    elif kind == 'parquet': pd.DataFrame(rows).to_parquet(path)
    else: pd.DataFrame(rows).assign(photos=[json.dumps(r['photos']) for r in rows]).to_csv(path, index=False, sep='\t' if kind == 'tsv' else ',', encoding='utf-8-sig')
    found = read_pages(path, root='shop')
    assert found.id.tolist() == ['007', '2020-01-01'] and found.title.tolist() == ['면, "바지"\n새것', 'NA'] and found.label.tolist() == [None, '=cotton 100']
    assert found.photos.tolist() == [[os.path.join('shop', f) for f in rows[0]['photos']], []] and read_pages(path).photos[0][0] == str(tmp_path/'0.png')

@pytest.mark.parametrize('cell', [8, 1.5, True, b'a.png', {'a': 1}, '[1]', '["a.png"', '['*100_000, '|||', '[]', [None], [['a.png']], np.array([1.5]), 'x\x00y', 'lost.png'], ids=lambda c: str(c)[:10])
def test_any_cell_of_photos_gives_a_record(cell):
    jsonschema = pytest.importorskip('jsonschema')
    record = describe_rows(read_pages(frame(title=['jeans'], photos=[cell], label=['cotton 100'])).to_dict('records'))[0]
    jsonschema.validate({k: v for k,v in record.items() if k != 'id'}, PRODUCT_SCHEMA)
    assert record['stages']['blend'] == 'done' and all(p['outcome'] == 'unreadable' for p in record['photos'])

def test_a_record_that_json_cannot_hold_stops_nothing(tmp_path, photos):
    sv = pytest.importorskip('supervision')
    find = lambda img: sv.Detections(xyxy=np.array([[0, 0, 64, 64.]]), confidence=np.array([np.inf]), class_id=np.array([0]), data=dict(class_name=np.array(['pants'])))
    table = describe_products(read_pages(frame(title=['jeans']*2, photos=['0.png', None]), photos), tmp_path, ProductModels(detect=Detector('mine', find)))
    assert [bool(f) for f in table.failed] == [True, False]
    with pytest.MonkeyPatch.context() as m:                                       # whatever comes later
        m.setattr(catalogs, 'describe_product', lambda *args, one=catalogs.describe_product: one() | (dict(blend=math.nan) if args else {}))
        assert [f['stage'] for f in describe_rows(frame(**{c: [None] for c in COLUMNS}).to_dict('records'))[0]['failures']] == ['page']

def test_half_a_sign_in_title_and_id(tmp_path):
    "A lone surrogate: no file holds it as it is"
    formats = ('csv', 'parquet') if pytest.importorskip('pyarrow') else ()
    given = frame(id=['a\ud800', 'b'], title=['jeans \ud83d', '=1+1'])
    first = describe_products(given, tmp_path, formats=formats)
    whole = bytes_of(tmp_path)
    again = describe_products(given, tmp_path, formats=formats)
    assert bytes_of(tmp_path) == whole and again.equals(first) and [r['id'] for r in records(tmp_path)] == ['a\ud800', 'b']
    assert first.title[0] == 'jeans \\ud83d' and b"'=1+1" in whole[1]

def test_columns_stand_in_one_order(tmp_path, monkeypatch):
    "Also if no page of the first thousand has a touch"
    monkeypatch.setattr(catalogs._tables, '__defaults__', (2,))
    given, either = frame(id=list('abcd'), title=['x']*4, label=[None, None, 'cotton 100', 'cotton 100']), ProductModels(touch_model('mlb_either', 'swatch').eval())
    assert list(describe_products(given, tmp_path, either))[-3:] == ['view', 'failed', 'why']

def test_a_thousand_pages_are_quick(tmp_path):
    "Linear: no page looks at the others"
    def took(n, out):
        given, start = frame(id=[f'{i}' for i in range(n)], title=['jeans']*n), time.perf_counter()
        describe_products(given, tmp_path/out)
        return time.perf_counter() - start
    few = took(150, 'few')
    assert took(900, 'many') < 18*few + 1 and took(900, 'many') < 6*few + 2
