"Hostile input: every reader of files and every command, each with a good input; what is offered in its place stands in attacks.py, how it is watched in watched.py."
import contextlib, importlib.util, io, json, os, pickle, random, re, shutil, sys, tempfile, unittest.mock, warnings, zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np, pandas as pd, torch
from fastai.basics import Callback, DataLoaders, Learner
from PIL import Image
from safetensors.torch import save as bytes_of

from attacks import ATTACKS, DRAWN, PLACES, THIEVES, Dice, Thief, photo, signed
from fabric_touch import (attributes, captions, catalogs, checkpoints, cli, data, deepfashion, detectors, embeds, encoders, ensembles, filing, folders, galata, garments, hybrid, mixture,
                          multimodal, photos, pixels, plots, product, scale, sequences, serving, sketch, sketches, steps, tokens, touch, train, tuning, vqgan)
from fabric_touch.core import need, seeded
from watched import MEMORY, SECONDS, Attempt, Outcome, attempts, full_disk

DECOY = 'root:x:0:0:root:/root:/bin/sh\n'*20     # stands for a file of the system

# ---- what a reader is

FORM = {k: k for k in 'csv json jsonl txt safetensors npy npz'.split()} | dict(tsv='txt', pth='torch', tar='torch') | dict.fromkeys('png jpeg gif tiff webp bmp'.split(), 'photo')

@dataclass
class Reader:
    "One who reads files: how good ones are made, how they are read, and what is attacked"
    make:object        # folder -> None
    read:object        # folder -> what was read, and all of it
    files:str          # Names in the folder, with a blank between them
    says:tuple = ()    # One of these, or the name of the file or of a folder that it lies in, stands in each error
    same:bool = False  # Is what is read guarded, so that it is refused or as it was, unless it is signed anew?
    stays:bool = True  # Does it open nothing outside the folder?
    writes:tuple = ()  # Names in the folder that it may change
    needs:tuple = ()   # Modules of an extra
    dear:bool = False  # Does a read cost more than 20 ms? Then a short run has 5 flips of it in place of 20, and a third of all else

    @property
    def forms(self):
        "Name of each file -> its row in `ATTACKS`"
        return {f: 'card' if f.endswith(checkpoints.CARD) else FORM.get(f.rsplit('.')[-1], 'rows') for f in self.files.split()}

READERS = {}     # name -> Reader; a row beside what makes its input. To add one: a function that writes a good file, and
#     'a note': Reader(lambda f: put(f, {'note.json': '{"a": 1}'}), lambda f: my_module.read_note(f/'note.json'), 'note.json'),
# The ending of the file says which attacks it gets (`FORM`); `python -m pytest tests/test_hostile.py -k 'a_note or note'` runs them, `--stress` with 1,000 flips.

def look(x):
    "What was read, as text that is equal where it is"
    if isinstance(x, torch.nn.Module): return look(x.state_dict())
    if isinstance(x, Mapping): return str({str(k): look(v) for k,v in x.items()})
    if isinstance(x, torch.Tensor): return f'{x.dtype} ' + look(x.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()) if x.numel() else str(x.shape)
    if isinstance(x, np.ndarray): return f'{x.dtype} {x.shape} {zlib.crc32(np.ascontiguousarray(x).tobytes())}'
    if isinstance(x, pd.DataFrame): return x.to_csv()
    if isinstance(x, (list, tuple)): return str([look(o) for o in x])
    return re.sub(r' at 0x[0-9a-f]+', '', repr(x))

def _has(module): return importlib.util.find_spec(module) is not None

def put(folder, files):
    "Write files, name -> bytes or text"
    for name,what in files.items():
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(what if isinstance(what, bytes) else what.encode())

def putting(**files): return lambda f: put(f, {k.replace('__', '.'): v for k,v in files.items()})

def put_photos(folder, names):
    "Write photos of noise, each another"
    for i,n in enumerate(names.split()):
        (folder/n).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 40, 3), dtype=np.uint8)).save(folder/n)

def putting_photos(names): return lambda f: put_photos(f, names)

def put_weights(file, net): file.write_bytes(bytes_of({k: v.contiguous().clone() for k,v in net.state_dict().items()}))

def table(t):
    "What a reader of tables gives, as what can be compared"
    assert all(isinstance(p, str) for p in t.items.image)
    return t.items

# ---- photos

def _load_photo(path):
    img = data.load_photo(path)
    assert img.mode == 'RGB' and img.width*img.height <= 10**8
    return img.size

def _labels_picture(f): Image.fromarray(np.random.default_rng(0).integers(0, 2, (30, 40), dtype=np.uint8)).save(f/'labels.png')
def _photo_reader(kind): return Reader(lambda f: put(f, {f'a.{kind}': photo(kind.upper())}), lambda f: _load_photo(f/f'a.{kind}'), f'a.{kind}')

READERS |= {f'photo.{kind}': _photo_reader(kind) for kind in ('png', 'jpeg', 'gif', 'tiff', 'webp', 'bmp')}
READERS |= {
    'a cut photo':         Reader(putting_photos('a.png'), lambda f: photos.read_cut(f/'a.png', 16, 'box', box=(1, 1, 20, 20)).size, 'a.png'),
    'a mask':              Reader(putting_photos('a.png mask.png'), lambda f: photos.read_cut(f/'a.png', 16, 'mask', mask=f/'mask.png').size, 'mask.png'),
    'a digest':            Reader(putting_photos('a.png'), lambda f: embeds.picture_digest(f/'a.png'), 'a.png'),
    'a picture of labels': Reader(_labels_picture, lambda f: garments.label_masks(f/'labels.png', ['shirt', 'skirt'] + ['skin']*254), 'labels.png'),
    'folders':             Reader(putting_photos('x/a.png x/b.png y/c.png y/d.png'), lambda f: captions.read_classes(f, check='decode').items, 'x/a.png'),
}

# ---- tables of fabrics, classes and sketches

def _fabrics(f):
    put_photos(f, 'a.png b.png c.png')
    put(f, {'fabrics.csv': 'fabric,article,image,blend,softness,smoothness,thickness,flexibility\n'
                           'a,x,a.png,100% cotton,1,2,3,4\nb,y,b.png,95% cotton 5% elastane,2,3,4,5\nc,z,c.png,50% wool 50% polyester,5,4,3,2\n'})

def _read_fabrics(f):
    t = data.read_fabrics(f/'fabrics.csv')
    np.testing.assert_allclose(t.blends.sum(1), 1, atol=1e-5)
    assert len(t) and np.isfinite(t.blends).all() and (t.blends >= 0).all()
    return t.items

_survey = putting(blends__csv='fabric,blend\na,100% cotton\nb,100% wool\n', folds__csv='fabric,fold\na,0\nb,1\n',
                  ratings__csv='fabric,rater,softness,smoothness,thickness,flexibility\na,1,1,2,3,4\nb,1,5,4,3,2\n')

def _sketches(f): f.rmdir(); sketches.make_sketches(f, n=2, classes=('dress', 'shoe'), size=32)

def _outputs(f):
    put(f, {'test.csv': 'id,image_path\n0,a.png\n1,b.png\n2,c.png\n'})
    for m,p in dict(one=.7, two=.6).items():
        put(f, {f'output_{m}.csv': 'id,image_path,target,p_knit,p_woven\n' + ''.join(f'{i},{n}.png,knit,{p},{1-p:.1f}\n' for i,n in enumerate('abc')),
                f'oof_{m}.csv': 'image_path,target,fold,predicted,p_knit,p_woven\n' + ''.join(f'{n}.png,{("knit", "woven")[i % 2]},{i % 2},knit,{p},{1-p:.1f}\n' for i,n in enumerate('abcd'))})

def _read_outputs(f, read):
    o = read(f)
    for p in o.probs.values(): np.testing.assert_allclose(p.sum(1), 1, atol=2e-3)
    return o.table()

READERS |= {
    'fabrics':          Reader(_fabrics, _read_fabrics, 'fabrics.csv a.png', ('row ',), stays=False),
    'the survey':       Reader(_survey, lambda f: data.read_survey(f)[0].items, 'ratings.csv blends.csv folds.csv'),
    'a class table':    Reader(putting(t__csv='image,label\na.png,knit\nb.png,woven\nc.png,knit\n'), lambda f: table(folders.class_table(f/'t.csv')), 't.csv'),
    'sketches':         Reader(_sketches, lambda f: table(sketches.read_sketches(f/'train.csv')), 'train.csv'),
    'sketches to test': Reader(_sketches, lambda f: sketches.read_test(f/'test.csv'), 'test.csv'),
    'outputs':          Reader(_outputs, lambda f: _read_outputs(f, lambda f: ensembles.read_outputs(f, pd.read_csv(f/'test.csv', dtype=str))), 'output_one.csv output_two.csv', ('output_',)),
    'out of fold':      Reader(_outputs, lambda f: _read_outputs(f, ensembles.read_oofs), 'oof_one.csv', ('oof_',)),
}

# ---- DeepFashion

def _deepfashion(fine): return lambda f: (f.rmdir(), deepfashion.make_deepfashion(f, 8, size=32, fine=fine))
def _anno(folder, names): return ' '.join(f'{folder}/{n}.txt' for n in names.split())

def _fine_csv(f):
    rows = [f'{g}_{i}   {k}' for k,g in enumerate(deepfashion.FINE, 1) for i in range(2)]
    put(f, {'labels.csv': 'image,category1,category2,category3,category4,category5,category6\nimg/a.jpg,0,0,0,0,0,0\nimg/b.jpg,1,1,0,1,0,0\n',
            'list_attr_cloth.txt': '\n'.join([str(len(rows)), 'attribute_name attribute_type', *rows, ''])})

_labels = putting(t__csv='image,labels,part\na.png,striped; cotton,train\nb.png,plain;wool,val\n')
_GROUPS = dict(striped='pattern', plain='pattern', cotton='fabric', wool='fabric')
_COARSE = _anno('Anno', 'list_attr_cloth list_attr_img list_category_cloth list_category_img list_bbox') + ' Eval/list_eval_partition.txt colours.csv'
_FINE = _anno('Anno_fine', 'list_attr_cloth list_category_cloth train train_attr train_bbox train_cate')

READERS |= {
    'DeepFashion':             Reader(_deepfashion(False), lambda f: table(deepfashion.read_deepfashion(f)), _COARSE, ('colours.csv',)),
    'DeepFashion, fine':       Reader(_deepfashion(True), lambda f: table(deepfashion.read_fine(f)), _FINE, ('colours.csv', 'bbox.txt', 'cate.txt')),
    'DeepFashion, labels.csv': Reader(_fine_csv, lambda f: table(deepfashion.read_fine(f)), 'labels.csv', ('DeepFashion_labels_csv',)),
    'an attribute table':      Reader(_labels, lambda f: table(deepfashion.attribute_table(f/'t.csv', groups=_GROUPS, exclusive=('pattern',))), 't.csv', ('row ',)),
}

# ---- captions and annotations

COCO = dict(images=[dict(id=1, file_name='a.png', width=40, height=32, license=1), dict(id=2, file_name='b.png', width=40, height=32)], licenses=[dict(id=1, name='CC BY')])
NAMES = 'a.png b.png c.png d.png'

def _coco(f):
    put_photos(f, 'images/a.png images/b.png')
    put(f, {'coco.json': json.dumps(COCO | dict(annotations=[dict(id=i, image_id=1 + i % 2, caption=f'a cloth number {i}') for i in range(3)]))})

def _short(f):
    put_photos(f, ' '.join(f'images/{n}' for n in NAMES.split()))
    put(f, {'short.json': json.dumps(dict(images=[dict(id=i, file=n, captions=['a cloth', 'some cloth'], split='train') for i,n in enumerate(NAMES.split())]))})

def _redcaps(f):
    put_photos(f, 'images/knit/a.jpg images/knit/b.jpg')
    put(f, {'red.json': json.dumps(dict(annotations=[dict(image_id=n, subreddit='knit', caption='my cloth', raw_caption='My cloth!', author='me', url='u') for n in 'ab']))})

def _pairs(f):
    put_photos(f, 'a.png b.png')
    put(f, {'pairs.csv': 'image,text,photo,group,x0,y0,x1,y1\na.png,a cloth,1,g,0,0,9,9\nb.png,more cloth,2,h,,,,\n', 'labels.csv': 'image,label\na.png,knit\nb.png,woven\n'})

def _classes(f):
    put_photos(f, 'classes/x/a.png classes/x/b.png classes/y/a.png classes/y/b.png sun/a/abbey/a.png sun/b/bar/indoor/b.png')
    put(f, {'names.txt': 'x knit cloth\ny woven cloth, a kind\n', 'sun/ClassName.txt': '/a/abbey\n/b/bar/indoor\n'})

def _tuning(f):
    put_photos(f, 'a.png b.png')
    shape = dict(category_id=7, bbox=[1, 2, 10, 12.5], iscrowd=0, area=50, attribute_ids=[3], segmentation=[[1, 2, 11, 2, 11, 14]])
    kinds = dict(categories=[dict(id=7, name='shirt'), dict(id=8, name='skirt')], attributes=[dict(id=3, name='plain')])
    put(f, {'coco.json': json.dumps(COCO | kinds | dict(annotations=[dict(id=i, image_id=1 + i % 2, **shape) for i in range(3)]))})

READERS |= {
    "COCO's captions":   Reader(_coco, lambda f: table(captions.read_coco(f/'coco.json', f/'images')), 'coco.json'),
    'captions in short': Reader(_short, lambda f: table(captions.read_coco(f/'short.json', f/'images')), 'short.json'),
    'RedCaps':           Reader(_redcaps, lambda f: table(captions.read_redcaps(f/'red.json', f/'images')), 'red.json'),
    'pairs with texts':  Reader(_pairs, lambda f: table(captions.read_pairs(f/'pairs.csv')), 'pairs.csv'),
    'pairs with labels': Reader(_pairs, lambda f: table(captions.read_pairs(f/'labels.csv')), 'labels.csv'),
    'names of classes':  Reader(_classes, lambda f: table(captions.read_classes(f/'classes', names=f/'names.txt')), 'names.txt'),
    "SUN397's list":     Reader(_classes, lambda f: table(captions.read_classes(f/'sun')), 'sun/ClassName.txt'),
    'annotations':       Reader(_tuning, lambda f: tuning.read_coco(f/'coco.json'), 'coco.json'),
}

# ---- pages of a shop

def _pages(f):
    put_photos(f, NAMES)
    t = pd.DataFrame([dict(id=f'p{i}', title=f'cotton dress {i}', photos='a.png|b.png', label='100% cotton', fabric_photos='c.png') for i in range(4)])
    t.to_csv(f/'pages.csv', index=False); t.to_csv(f/'pages.tsv', index=False, sep='\t'); t.to_json(f/'pages.jsonl', orient='records', lines=True)
    if _has('pyarrow'): t.to_parquet(f/'pages.parquet', engine='pyarrow', index=False)
    put(f, {'page.json': json.dumps(dict(title='cotton dress', photos=['a.png'], label='100% cotton', fabric_photos=['b.png']))})

def _read_pages(path):
    t = catalogs.read_pages(path)
    assert list(t) == list(catalogs.COLUMNS) and len(t) and t.id.is_unique and all(isinstance(v, list) for v in t.photos)
    return t

def _product(f):
    put_photos(f, 'a.png')
    put(f, {'product.json': json.dumps(dict(product.describe_product('cotton dress', [f/'a.png'], '95% cotton 5% elastane')))})

def _catalog(f): _pages(f); catalogs.describe_products(f/'pages.csv', f/'out', progress=False)

def _go_on_with_catalog(f):
    t = catalogs.describe_products(f/'pages.csv', f/'out', progress=False)
    assert len(t) >= 4
    return len(t)

READERS |= {
    'pages.csv':     Reader(_pages, lambda f: _read_pages(f/'pages.csv'), 'pages.csv'),
    'pages.tsv':     Reader(_pages, lambda f: _read_pages(f/'pages.tsv'), 'pages.tsv'),
    'pages.jsonl':   Reader(_pages, lambda f: _read_pages(f/'pages.jsonl'), 'pages.jsonl'),
    'pages.parquet': Reader(_pages, lambda f: _read_pages(f/'pages.parquet'), 'pages.parquet', needs=('pyarrow',)),
    'a page':        Reader(_pages, lambda f: product.read_page(f/'page.json'), 'page.json'),
    'a product':     Reader(_product, lambda f: dict(product.read_product(f/'product.json')), 'product.json'),
    'a catalog':     Reader(_catalog, _go_on_with_catalog, 'out/products.jsonl out/about.json', writes=('out',), dear=True),
}

# ---- weights and cards

class Net(torch.nn.Module):
    "A small net with a layer that counts"
    def __init__(self):
        super().__init__()
        gen = torch.Generator().manual_seed(0)
        self.a, self.b = torch.nn.Linear(6, 4), torch.nn.BatchNorm1d(4)
        for p in self.parameters(): p.data = torch.randn(p.shape, generator=gen)

def _checkpoint(f): checkpoints.save_checkpoint(f/'m', Net(), dict(kind='net', classes=['knit', 'woven'], sizes=[6, 4], deep=dict(a=[1, dict(b=None)], lr=.001)))

def _weights(f):
    put_weights(f/'m.safetensors', Net())
    torch.save(dict(epoch=3, state_dict=Net().state_dict()), f/'m.pth'); torch.save(Net().state_dict(), f/'old.pth', _use_new_zipfile_serialization=False)

def _sealed(folder): return f'{folder}/card.json {folder}/model.safetensors'

READERS |= {
    'a card':            Reader(_checkpoint, lambda f: checkpoints.read_card(f/'m'), 'm/card.json', same=True),
    'a checkpoint':      Reader(_checkpoint, lambda f: checkpoints.load_checkpoint(f/'m', lambda card: Net(), kind='net')[0], 'm/model.safetensors', same=True),
    'tensors':           Reader(_weights, lambda f: checkpoints.read_tensors(f/'m.safetensors'), 'm.safetensors'),
    'a torch file':      Reader(_weights, lambda f: checkpoints.safe_torch_load(f/'m.pth'), 'm.pth'),
    'an old torch file': Reader(_weights, lambda f: checkpoints.read_state(f/'old.pth'), 'old.pth'),
}

# ---- models of touch, attributes, cloth and sketches

def _touch(f, encoder=8): touch.save_touch(touch.touch_model('mlb', encoder, pretrained=False).eval(), f/'m', data='nothing')
def _touch_that_sees(f): _touch(f, 'test_resnet')

def _reference(f):
    parts, back = touch.touch_model('venezia', 512, ('softness',), pretrained=False), sorted(((o, t) for t,o in galata.REFERENCES['venezia'].items()), reverse=True)
    torch.save({next((t + k[len(o):] for o,t in back if k.startswith(o + '.')), k): v.half() if v.is_floating_point() else v for k,v in parts.state_dict().items()}, f/'venezia.pth')

def _blend_weights(f): put_weights(f/'ae.safetensors', mixture.autoencoder('simple_gelu_ae'))
def _encoder_weights(f): torch.save(encoders.image_encoder('test_resnet', False).body.state_dict(), f/'e.pth')

def _attributes(f):
    t = deepfashion.attribute_table(pd.DataFrame(dict(image=['a.png', 'b.png'], labels=[['striped', 'cotton'], ['plain', 'wool']])), _GROUPS, ('pattern',))
    m = attributes.attribute_model(t, 'test_resnet', pretrained=False).eval()
    m.thresholds = dict.fromkeys(t.groups, .5)
    attributes.save_attributes(m, f/'m')

def _hybrid(f):
    m = hybrid.HybridModel(dict(mobilenet=encoders.image_encoder('test_resnet', False)), ('knit', 'woven'), 'mobilenet')
    m.seen, m.looks = torch.zeros(2, 16, dtype=torch.uint8), torch.zeros(2, 100, dtype=torch.uint8)
    hybrid.save_hybrid(m.eval(), f/'m')

def _old_hybrid(f):
    "As the earlier version wrote it, with a tower of MobileNetV3 cut to halves, which is not loaded whole but is all looked at"
    state = {'mobilenet.a': torch.ones(2), **{f'classifier.{k}': v for k,v in hybrid.HybridHead(960, 2).state_dict().items()}}
    torch.save(dict(state_dict=state, classes=['knit', 'woven'], mode='mobilenet', epoch=3), f/'m.pth.tar')

def _options(f):
    config, mine = hybrid._config(hybrid.TrainOptions(str(f), output_dir=str(f)))
    config.write_text(json.dumps(mine))

def _check_options(f): return hybrid._check_same(hybrid.TrainOptions(str(f), output_dir=str(f), resume=True))

def _member(f):
    with tempfile.TemporaryDirectory() as d:
        t = sketches.make_sketches(Path(d)/'data', n=6, classes=('dress', 'shoe'), size=32)
        sketch.fit_folds(t, 'test_resnet', folder=f/'m', pretrained=False, recipe='scratch', n_folds=2, size=32, epochs=1, lr=.01, bs=8, augment='none', store=Path(d)/'pixels')
    for p in f.rglob('*'):
        if p.is_file() and (p.name.startswith('.') or 'said' in p.parts): p.unlink()

READERS |= {
    'a touch model':              Reader(_touch, lambda f: touch.load_touch(f/'m'), _sealed('m'), same=True, dear=True),
    'a touch model that sees':    Reader(_touch_that_sees, lambda f: touch.load_touch(f/'m'), 'm/card.json', same=True, dear=True),
    'a reference':                Reader(_reference, lambda f: galata.load_reference(f/'venezia.pth', encoder=512, touch='softness'), 'venezia.pth', dear=True),
    'weights of a blend encoder': Reader(_blend_weights, lambda f: mixture.blend_encoder('simple_gelu_ae', pretrained=f/'ae.safetensors'), 'ae.safetensors'),
    'weights of an encoder':      Reader(_encoder_weights, lambda f: encoders.image_encoder('test_resnet', pretrained=f/'e.pth').n_out, 'e.pth', dear=True),
    'an attribute model':         Reader(_attributes, lambda f: attributes.load_attributes(f/'m'), _sealed('m'), same=True, dear=True),
    'a hybrid model':             Reader(_hybrid, lambda f: hybrid.load_hybrid(f/'m'), _sealed('m'), same=True, dear=True),
    'an old hybrid model':        Reader(_old_hybrid, lambda f: hybrid._old_parts(f/'m.pth.tar'), 'm.pth.tar'),
    'options of a training':      Reader(_options, _check_options, 'config_hybrid.json'),
    'a member':                   Reader(_member, lambda f: sketch.load_member(f/'m').model, 'm/member.json m/history.csv m/oof.npz', dear=True),
}

# ---- images and texts together

_TOKENIZERS, _TRANSFORMERS = ('transformers', 'tokenizers'), ('transformers',)
_SIZES = dict(relative_attention_num_buckets=32, feed_forward_proj='relu', num_layers=1, num_heads=2)

def _multimodal(f):
    put_weights(f/'t5.safetensors', sequences.text_encoder('mine', False, vocab_size=1000, d_model=16, d_kv=4, d_ff=32, **_SIZES).net)
    c = multimodal.MultimodalConfig(image_model_name='test_convnext3', image_weights='random', language_model_name='tiny', tokenizer='train', vocab_size=200, ffn=True, loc_vocab_size=10,
                                    image_vocab_size=32, d_model=16, num_layers=1, num_heads=2, d_ff=32, language_weights=str(f/'t5.safetensors'), datasets='folders:cloth')
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        multimodal.build_multimodal(c, ['a photo of knit', 'a photo of woven cloth']).save(f/'m')

def _tokens(f):
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        tokens.train_tokens(['a photo of knit cloth', 'woven cotton and wool'], 140, 4, 4).save(f)

def _read_tokens(f):
    t = tokens.load_tokens(f)
    return t.ids(['a photo of knit cloth']), t.digest

def _t5(f): put_weights(f/'t5.safetensors', sequences.text_encoder('mine', False, vocab_size=20, d_model=8, d_kv=4, d_ff=8, **_SIZES).net)
def _vqgan(f): put_weights(f/'vqgan.safetensors', vqgan.tiny_vqgan().body.model)

READERS |= {
    'a multimodal model': Reader(_multimodal, lambda f: multimodal.load_multimodal(f/'m'), f"m/tokens.json {_sealed('m/best')} {_sealed('m/frozen')}", same=True, needs=_TOKENIZERS, dear=True),
    'tokens':             Reader(_tokens, _read_tokens, 'tokenizer.json', needs=_TOKENIZERS),
    'weights of a T5':    Reader(_t5, lambda f: sequences.text_encoder('mine', f/'t5.safetensors').sizes, 't5.safetensors', needs=_TRANSFORMERS),
    'a VQGAN':            Reader(_vqgan, lambda f: vqgan.load_vqgan(f/'vqgan.safetensors', None), 'vqgan.safetensors', needs=('diffusers',), dear=True),
}

# ---- detectors

def _yolox(f):
    from test_detectors import onnx, raw
    onnx(f/'x.onnx', raw(3))

def _read_yolox(f):
    found = detectors.yolox_detector(f/'x.onnx', labels=('a', 'b', 'c'))(Image.new('RGB', (96, 64)))
    assert np.isfinite(found.xyxy).all()
    return len(found)

def _yolos(f):
    p = detectors.tiny_yolos(f/'hub')
    net = need('transformers').AutoModelForObjectDetection.from_pretrained(p)
    card = dict(kind='detector', base='yolos', arch=json.loads(net.config.to_json_string(use_diff=False)), processor=json.loads((p/'preprocessor_config.json').read_text()))
    checkpoints.save_checkpoint(f/'m', net, card)

_HUB = 'hub/config.json hub/preprocessor_config.json hub/model.safetensors'
def _sam(f): torch.save(detectors.tiny_sam().state_dict(), f/'sam.pth')

READERS |= {
    'a YOLOX':       Reader(_yolox, _read_yolox, 'x.onnx', needs=('onnxruntime', 'supervision')),
    'a YOLOS':       Reader(_yolos, lambda f: detectors.yolos_detector(f/'hub').labels, _HUB, needs=('transformers', 'supervision'), dear=True),
    'a tuned YOLOS': Reader(_yolos, lambda f: detectors.yolos_detector(f/'m').labels, _sealed('m'), needs=('transformers', 'supervision'), dear=True),
    'a SAM':         Reader(_sam, lambda f: detectors.segmenter('sam_vit_b', pretrained=f/'sam.pth', net=detectors.tiny_sam()).name, 'sam.pth', needs=('segment_anything', 'supervision'), dear=True),
}

# ---- stores, journals and states

_DIGESTS, _VECTORS = [f'{i:032x}' for i in range(20)], np.random.default_rng(0).random((20, 4), np.float32)

def _store(f):
    s = embeds.EmbeddingStore(f, 'toy', 4)
    s.add(_DIGESTS, _VECTORS)
    s.folder.rename(f/'store'); (f/s.folder.name).symlink_to('store')

def _read_store(f):
    s = embeds.EmbeddingStore(f, 'toy', 4)
    known, vectors = s.get(_DIGESTS)
    assert np.array_equal(vectors, _VECTORS[known]) or np.array_equal(vectors[known], _VECTORS[known]), 'another vector than was stored'
    s.add([f'{99:032x}'], np.ones((1, 4), np.float32))
    assert np.array_equal(embeds.EmbeddingStore(f, 'toy', 4).get([f'{99:032x}'])[1], np.ones((1, 4))), 'a vector that was added is not there'

def _pixels(f):
    put_photos(f, NAMES); put(f, {'e.png': b'no photo'})
    pixels.read_pixels([f/n for n in f'{NAMES} e.png'.split()], 16, f).file.replace(f/'pixels.npy')

def _read_pixels(f):
    p = pixels.open_pixels(f/'pixels.npy')
    assert all(p[i].shape == (p.size, p.size, 3) for i in range(len(p)))
    return len(p)

class Halted(Exception): "The end of a fit that is to be gone on with"

class Halt(Callback):
    "Stop behind an epoch, or before a step"
    order = 99
    def __init__(self, epoch=None, step=None): self.last, self.step = epoch, step
    def after_epoch(self):
        if self.epoch == self.last: raise Halted('enough')
    def after_batch(self):
        if self.training and self.train_iter == self.step: raise Halted('enough')

def _items(n):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(5))
    return [*zip(x, x[:, :2].argmax(1))]

def _net():
    with seeded(7): return torch.nn.Sequential(torch.nn.Linear(6, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))

def _learner():
    items = _items(20)
    return train.fit_learner(DataLoaders.from_dsets(items[:15], items[15:], bs=5, shuffle=True, drop_last=True, num_workers=0), _net(), torch.nn.functional.cross_entropy)

def _fit(f, halt=None):
    "Fit two epochs, or stop after the first"
    with seeded(0):
        learn = _learner()
        with contextlib.suppress(Halted), learn.no_bar(), learn.no_logging(): learn.fit(2, .01, cbs=[train.KeepState(f/'m'), Halt(epoch=halt)])
    return learn.model

class _Loss:
    "What `fit_steps` wants of a loss"
    def __call__(self, pred, y): return torch.nn.functional.cross_entropy(pred, y)
    def count(self, y): return len(y)

def _steps(f, halt=None):
    run = steps.Run(batch_size=5, num_epochs=2)
    learn = Learner(steps.step_dls(_items(20), _items(6), run), _net(), _Loss())
    with contextlib.suppress(Halted), learn.no_bar(), learn.no_logging(): steps.fit_steps(learn, run, f/'m', halt is None, cbs=Halt(step=halt))
    return learn.model

def _folds(f):
    def fit(learn):
        with learn.no_bar(), learn.no_logging(): learn.fit(1, .01)
    return train.fit_folds(lambda fold: _learner(), fit, [(np.arange(15), np.arange(15, 20)), (np.arange(5, 20), np.arange(5))], f/'m').preds

def _sort(f, names):
    with filing.Sorting(f/'m', about=dict(model='toy', classes=['knit'])) as s:
        for n in names.split():
            if not s.done(f/'in'/n): s.put(f/'in'/n, 'knit', label='knit', probability=.9)

def _sorted(f): put_photos(f/'in', NAMES); _sort(f, 'a.png b.png c.png')

def _sort_on(f):
    _sort(f, NAMES)
    assert {p.read_bytes() for p in (f/'m'/'knit').iterdir()} == {(f/'in'/n).read_bytes() for n in NAMES.split()}, 'a photo is lost or doubled'

def _shards(f):
    if not _has('pyarrow'): return
    with tempfile.TemporaryDirectory() as d:
        for i in range(3): Image.new('RGB', (20, 16), (80*i, 0, 9)).save(Path(d)/f'{i}.png')
        made = scale.embed_files(d, f/'m', workers=0, progress=False)
    next((made.folder/'shards').rglob('*.parquet')).rename(made.folder/'shards'/'0000'/'a.parquet')

def _export(f):
    if _has('onnx') and _has('onnxscript'): serving.export_touch(touch.touch_model('mlb', 8, pretrained=False).eval(), 'onnx', f/'m', vectors=True)

def _read_export(f):
    m = serving.load_exported(f/'m')
    return m.card['fibres'], m.probs(np.ones((1, 8)), np.eye(12)[:1]).round(4)

READERS |= {
    'a store of vectors':   Reader(_store, _read_store, 'store/store.json store/vectors.f32 store/digests.bin', writes=('store',)),
    'pixels':               Reader(_pixels, _read_pixels, 'pixels.npy'),
    'a state of training':  Reader(lambda f: _fit(f, 0), _fit, _sealed('m'), same=True, writes=('m',), dear=True),
    'a state of steps':     Reader(lambda f: _steps(f, 6), _steps, _sealed('m/state'), same=True, writes=('m',), dear=True),
    'folds':                Reader(_folds, _folds, 'm/folds.json m/fold_0.npz', writes=('m',), dear=True),
    'a journal of sorting': Reader(_sorted, _sort_on, 'm/sorted.csv m/sorting.json', stays=False, writes=('m',)),
    'shards':               Reader(_shards, lambda f: [scale.open_shards(f/'m').schema.names, *scale.read_vectors(f/'m')], 'm/card.json m/shards/0000/a.parquet', needs=('pyarrow',)),
    'an export':            Reader(_export, _read_export, 'm/card.json m/model.onnx', same=True, needs=('onnx', 'onnxscript', 'onnxruntime'), dear=True),
}

# ---- readers and attacks

def _tree(folder):
    "Name -> what is there: the bytes of a file, where a link leads, None of a folder, or True of a pipe"
    def what(p): return os.readlink(p) if p.is_symlink() else p.read_bytes() if p.is_file() else None if p.is_dir() else True
    return {str(p.relative_to(folder)): what(p) for p in sorted(folder.rglob('*'))}

def _facts(folder, start=''):
    "Name -> when it was changed and how large it is, of all that is in a folder"
    res = {}
    for e in os.scandir(folder):
        s, name = e.stat(follow_symlinks=False), start + e.name
        res[name] = s.st_mtime_ns, s.st_size
        if e.is_dir(follow_symlinks=False): res |= _facts(e.path, f'{name}/')
    return res

def renew(path, data):
    "Write a file in the place of another; where one is cut to nothing first, the disk is waited for"
    path.unlink()
    path.write_bytes(data)

def _restore(folder, tree):
    "Put back what a tree holds"
    shutil.rmtree(folder, ignore_errors=True); folder.mkdir()
    for name,what in tree.items():
        p = folder/name
        if what is None: p.mkdir()
        elif what is True: os.mkfifo(p)
        elif isinstance(what, str): p.symlink_to(what)
        else: p.write_bytes(what)

def seat(name, room):
    "The good input of a reader, beside a folder of secrets: (place, what was made, the secrets). It is made here, so that the children find loaded what it loads"
    place, r = room/re.sub(r'\W+', '_', name), READERS[name]
    for d in ('given', 'secret'): (place/d).mkdir(parents=True)
    put(place/'secret', {'photo.png': photo(), 'decoy': DECOY}); os.mkfifo(place/'secret'/'pipe')
    for m in r.needs: need(m)
    r.make(place/'given')
    return place, _tree(place/'given'), _tree(place/'secret')

def _resign(folder, file):
    "Where weights were exchanged, the card beside them with their digest"
    card = (folder/file).parent/checkpoints.CARD
    if card.exists(): card.write_bytes(signed(json.loads(card.read_bytes()) | dict(weights_sha256=checkpoints.file_sha256(folder/file))))

def _changed(now, before, allowed):
    "What was left behind, changed or removed, but for what may be"
    names = {k for k,v in now.items() if before.get(k) != v} | {*before} - {*now}
    return sorted(k for k in names if not k.startswith(allowed) and not k.endswith('lock'))

def tried(name, place, tree, secrets, file, attack, k, clean):
    "The attempt to read what an attack made of a good file; `clean` is what all attempts on it share: the facts of the good folder, and what is read of it"
    r, given = READERS[name], place/'given'
    dice, before, secret = Dice(f'{name} {file} {attack} {k}', place), {}, place/'secret'
    def prepare():
        if clean.get('facts') != _facts(given): _restore(given, tree); clean['facts'] = _facts(given)
        clean.setdefault('secret', _facts(secret))
        if attack in PLACES: PLACES[attack](given/file, dice)
        elif file:
            renew(given/file, ATTACKS[r.forms[file]][attack](tree[file], dice))
            if attack.startswith('signed: ') and r.forms[file] == 'safetensors': _resign(given, file)
        before.update(_facts(given))
    def check(found):
        if dice.marker.exists(): dice.marker.unlink(); return 'the thief was let in'
        if _facts(secret) != clean['secret']: _restore(secret, secrets); del clean['secret']; return 'a file outside the folder was changed'
        if r.same and found is not None and not attack.startswith('signed: ') and clean.setdefault('good', look(found)) != look(found): return 'read as something else than it was'
        now = _facts(given)
        if file and now == before and attack not in PLACES: renew(given/file, tree[file]); clean['facts'] = _facts(given)      # all else is as it was
        left = [k for k in _changed(now, before, r.writes) if not (given/k).is_dir()]
        return f'left behind or changed: {left[:3]}' if left else ''
    return Attempt((name, file, attack, k), prepare, lambda: r.read(given), check, (given,), secret if r.stays and attack not in PLACES else None)

ALWAYS = (*THIEVES, 'thieves beside it', 'thieves in its place')

def plan(name, flips=20, short=True):
    "(file, attack, number) of each attempt on a reader; a short run has a seeded sample of what is neither a flip nor a thief, and three thieves where many would go one way"
    r, dice = READERS[name], random.Random(name)
    files, some, few = [*r.forms], 12 if r.dear else 36, short and (r.dear or len(r.forms) > 2)
    for file,form in r.forms.items():
        rest = [(file, a, k) for a in (*ATTACKS[form], *PLACES) if a != 'flip' and a not in ALWAYS for k in range(1 if short or a not in DRAWN else 5)]
        yield from dice.sample(rest, min(len(rest), max(some//len(files), some//6))) if short else rest
        yield from ((file, a, 0) for a in (dice.sample(ALWAYS, 3) if few else ALWAYS))
    yield from ((files[k % len(files)], 'flip', k) for k in range(max(len(files), flips//4) if short and r.dear else flips))

def outcomes(name, room, flips=20, short=True, seconds=SECONDS, memory=MEMORY):
    "What came of all that was tried on a reader; first of what is good, which has to be read"
    place, *trees = seat(name, room)
    clean, todo = {}, [(None, 'nothing', 0), *plan(name, flips, short)]
    yield from attempts([tried(name, place, *trees, *t, clean) for t in todo], seconds, memory)
    shutil.rmtree(place, ignore_errors=True)

def fault(o, memory=MEMORY):
    "What is wrong with an outcome; nothing if it is what was promised"
    name, file, attack, _ = o.name
    if attack == 'nothing' and o.kind != 'fine': return f'what is good was not read: {o.kind} {o.error}: {o.text[-300:]}'
    if o.kind not in ('fine', 'refused'): return f'{o.kind}: {o.error} {o.text[:300]}'
    if o.check: return o.check
    if o.saw: return f'did what no reader does: {o.saw[:3]}'
    if o.mb > memory: return f'took {o.mb:.0f} MB'
    if o.kind == 'fine': return ''
    path = Path(file or '')
    return told_badly(o, (path.name, *path.parts[:-1], *READERS[name].says, *['card']*(path.name == checkpoints.CARD)))

def told_badly(o, names):
    "What is wrong with an error"
    if not o.ours: return f'not an error of ours: {o.error}: {o.text[:300]}'
    odd = sorted({c for c in o.text if c not in '\n\t' and not c.isprintable()})
    if odd: return f'holds {odd}: {o.text[:300]!r}'
    if len(o.text) > 2000: return f'has {len(o.text)} letters: {o.text[:200]}'
    return '' if any(n in o.text for n in names) else f'names none of {names}: {o.text[:300]}'

def try_all(flips=20, short=True, names=None, room=None):
    "A table of what was tried: reader, dear?, attack, tried, fine, refused, faults, most memory (MB) and time (seconds) of one attempt; dear readers get a quarter of the flips in a short run"
    torch.set_num_threads(1)                      # children are forked
    here = [n for n in names or READERS if all(map(_has, READERS[n].needs))]
    def row(n, o):
        what = dict(reader=n, dear=READERS[n].dear, attack=o.name[2], tried=1, fine=o.kind == 'fine', refused=o.kind == 'refused')
        return what | dict(faults=bool(fault(o)), memory_mb=o.mb, seconds=o.seconds)
    with tempfile.TemporaryDirectory() as d: rows = [row(n, o) for n in here for o in outcomes(n, Path(room or d), flips, short)]
    how = dict(tried='sum', fine='sum', refused='sum', faults='sum', memory_mb='max', seconds='max')
    return pd.DataFrame(rows).groupby(['reader', 'dear', 'attack'], sort=False).agg(how).reset_index()

# ---- commands

@dataclass
class Command:
    "What a command is given, rightly, and which options name files or folders"
    given:dict
    reads:str          # Options, or places, whose values it reads
    writes:str = ''    # Those that it writes
    more:dict = None   # Option -> what has to be given with it

COMMANDS = {   # name -> Command
    'ft_demo':       Command(dict(out='new/out'), '', 'out'),
    'ft_predict':    Command(dict(model='touch/m', image='a.png', blend='100% cotton', json='new.json', png='new.png'), 'model image', 'json png'),
    'ft_train':      Command(dict(data_dir='classes', mode='mobilenet', mobilenet='swatch', mobilenet_weights='random', epochs=1, output_dir='new', store='vectors'),
                             'data_dir mobilenet_weights', 'output_dir store'),
    'ft_evaluate':   Command(dict(data_dir='classes', checkpoint='hybrid/m', output_dir='new', store='vectors'), 'data_dir checkpoint', 'output_dir store'),
    'ft_sort':       Command(dict(input_dir='classes', checkpoint='hybrid/m', output_dir='new'), 'input_dir checkpoint', 'output_dir'),
    'ft_multimodal': Command(dict(root_dir='.', datasets='folders:classes', num_steps=1, image_model_name='test_convnext3', image_weights='random', language_model_name='mine',
                                  language_weights='m.safetensors', tokenizer='train', result_dir='new', store='vectors'), 'root_dir language_weights tokenizer image_weights checkpoint'),
    'ft_product':    Command(dict(page='pages/page.json', out='new'), 'page touch attributes detect_weights', 'out', dict(detect_weights=dict(detect='yolox'))),
    'ft_embed':      Command(dict(photos='classes', out='new', workers=0), 'photos weights', 'out'),
}
POSITIONAL, ENDINGS = {'page', 'photos'}, dict(page=('.json', '.csv', '.parquet'), photos=('', '.csv'))
ALLOWED = {('ft_predict', 'image', 'photo'), ('ft_sort', 'input_dir', 'folder')}       # a photo is a photo, and of no photos none is sorted

def make_shop(f):
    "What commands are given: photos in classes, models, pages"
    for place,make in dict(touch=_touch_that_sees, attributes=_attributes, hybrid=_hybrid, pages=_pages).items(): (f/place).mkdir(parents=True); make(f/place)
    put_photos(f, ' '.join(['a.png'] + [f'classes/{c}/{n}' for c in ('knit', 'woven') for n in NAMES.split()])); _weights(f)

def run_command(name, args):
    "(exit code, what it says on the error stream) of a command, in this process"
    err, code = io.StringIO(), 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()), unittest.mock.patch.object(sys, 'argv', [name, *map(str, args)]):
        try: getattr(cli, name)()
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
    return code, err.getvalue()

def _sham(path, dice, end=''):
    "Files and folders to stand in the place of what a command reads: what -> path"
    path.mkdir()
    files = {'empty': b'', 'photo': photo(), 'noise': dice.randbytes(999), 'text': b'no such thing\n', 'brackets': b'['*100_000, 'a\u202eb\x1b[2J': b'x', 'a\nline': b'x',
             'pickle': pickle.dumps(Thief(dice.marker)), 'torch': THIEVES['a torch file'](b'', dice)}
    put(path, {f'{name}{end}': what for name,what in files.items()})
    (path/f'folder{end}').mkdir(); (path/f'loop{end}').symlink_to(f'loop{end}'); os.mkfifo(path/f'pipe{end}')
    return {p.name[:40]: p for p in [*sorted(path.iterdir()), path/f'nowhere{end}', path/('x'*5000 + end)]}

def command_attempts(name, room, most=4):
    "Attempts to have a command read and write what it should not"
    c, f, dice = COMMANDS[name], room/'shop', Dice(name, room)
    def args(option, value):
        options = c.given | {option: value} | (c.more or {}).get(option, {})
        return [v for k,v in options.items() for v in ([v] if k in POSITIONAL else [f'--{k}', v])]
    for option,end in ((o, e) for o in c.reads.split() for e in ENDINGS.get(o, ('',))):
        shams = _sham(room/f'sham_{name}_{option}{end}', dice, end)
        drawn = {*dice.sample(sorted(shams), min(most, len(shams))), f'pickle{end}', f'torch{end}', f'a\nline{end}'}
        yield from (_command(name, option, what, args(option, p), f, room, p) for what,p in shams.items() if what in drawn and (name, option, what) not in ALLOWED)
    for option in c.writes.split():
        place = room/f'out_{name}_{option}'
        put(place, {'file': 'mine', 'full/thesis.txt': 'mine'}); (place/'loop').symlink_to('loop')
        there = {'a file in the way': 'full' if option in ('json', 'png') else 'file', 'below a file': 'file/new', 'below a loop': 'loop/new', 'a name too long': 'x'*5000,
                 'a long name below a folder': f'full/{"x"*300}'}
        yield from (_command(name, option, what, args(option, place/to), f, room, place/to, place) for what,to in there.items())

def _command(name, option, what, args, cwd, room, path, kept=None):
    "The attempt to run a command: it ends with one line that names the path, and leaves nothing"
    before = {}
    def prepare(): os.chdir(cwd); before.update(cwd=_facts(cwd), kept=kept and _tree(kept)); os.environ['COLUMNS'] = '200'
    def check(found):
        if (room/'STOLEN').exists(): (room/'STOLEN').unlink(); return 'the thief was let in'
        if found is None: return ''
        (code, err), new = found, [k for k in _facts(cwd) if k not in before['cwd'] and k.split('/')[0] != 'vectors']
        if kept and _tree(kept) != before['kept']: return f'changed {_changed(_tree(kept), before["kept"], ())[:3]}'
        for p in ('new', 'vectors'): shutil.rmtree(cwd/p, ignore_errors=True)
        for p in ('new.json', 'new.png'): (cwd/p).unlink(missing_ok=True)
        if code not in (1, 2) or 'Traceback' in err: return f'exit code {code}: {err[-300:]}'
        if new: return f'left {new[:3]}'
        if code == 2: return ''                  # argparse says how it is used
        last = err.rstrip().splitlines()[-1] if err.strip() else ''
        if not last.startswith(f'{name}: ') or sum(l.startswith(f'{name}: ') for l in err.splitlines()) != 1: return f'not one line: {err[-400:]!r}'
        return told_badly(Outcome((), 'refused', ours=True, text=last), (path.name[:60], path.parent.name))
    return Attempt((name, option, what, 0), prepare, lambda: run_command(name, args), check, (room,), may_warn=True)

def command_fault(o): return o.check or o.saw or (f'{o.kind} {o.error}: {o.text[:200]}' if o.kind != 'fine' else '')

# ---- full disks

@dataclass
class Writer:
    "One who writes: what is there before, what is written, and names that may grow before the disk is full"
    make:object        # folder -> None
    write:object       # folder -> anything
    grows:tuple = ()

def _nothing(f): pass
def _save_output(f):
    test = pd.DataFrame(dict(id=range(300), image_path=[f'{i}.png' for i in range(300)]))
    ensembles.write_output(f/'out.csv', test, ('knit', 'woven'), np.full((300, 2), .5))

def _save_figure(f): plots.save_figure(plots.plot_touch(np.full((4, 5), .2)).figure, f/'out.png')

def _add_rows(f):
    s = embeds.EmbeddingStore(f, 'toy', 4)
    s.add([f'{i:032x}' for i in range(len(s), len(s) + 500)], np.ones((500, 4), np.float32))

def _sort_photos(f):
    with filing.Sorting(f/'out') as s:
        for n in 'ab': s.put(f/'in'/n, 'knit')

WRITERS = {   # name -> Writer
    'a checkpoint':       Writer(_checkpoint, _checkpoint),
    'a touch model':      Writer(_touch, _touch),
    'an attribute model': Writer(_attributes, _attributes),
    'an output':          Writer(_nothing, _save_output),
    'a figure':           Writer(putting(out__png='mine'), _save_figure),
    'a store of vectors': Writer(_add_rows, _add_rows, ('toy',)),
    'a sorting':          Writer(lambda f: put(f/'in', dict(a=bytes(5000), b=bytes(5000))), _sort_photos, ('out',)),
    'a catalog':          Writer(_nothing, lambda f: catalogs.describe_products(pd.DataFrame(dict(title=['cotton dress']*3)), f/'out', progress=False), ('out',)),
    'pixels':             Writer(putting_photos(NAMES), lambda f: pixels.read_pixels([f/n for n in NAMES.split()], 64, f/'out'), ('out',)),
    'captions':           Writer(_nothing, lambda f: captions.make_captions(f/'out', 2)),
    'folders':            Writer(_nothing, lambda f: folders.make_folders(f/'out', 2)),
    'sketches':           Writer(_nothing, lambda f: sketches.make_sketches(f/'out', 2)),
    'DeepFashion':        Writer(_nothing, lambda f: deepfashion.make_deepfashion(f/'out', 2)),
}

def full_attempts(room):
    "Attempts to write where the disk is full, from the first byte on or a little later"
    for name,w in WRITERS.items():
        f = room/re.sub(r'\W+', '_', name)
        f.mkdir()
        yield from (_full(name, w, f, n) for n in (0, 100, 1500))

def _full(name, w, f, n):
    before = {}
    def prepare(): shutil.rmtree(f); f.mkdir(); w.make(f); before.clear(); before.update(_tree(f))
    def run():
        with full_disk(n): w.write(f)
        return True
    def check(found):
        now = _tree(f)
        half, changed = [k for k in now if '.tmp' in k], [k for k in _changed(now, before, w.grows) if k in before or now[k] is not None]
        return f'changed: {changed[:3]}' if changed and found is not True else f'half written: {half[:3]}' if half else ''
    return Attempt((name, 'full disk', f'{n} bytes', n), prepare, run, check, (f,))

def full_fault(o):
    "What is wrong with what came of writing to a full disk"
    if o.kind not in ('refused', 'fine') or o.check or o.saw: return f'{o.kind} {o.error}: {o.text[:200]} {o.check} {o.saw}'
    if o.kind == 'fine': return ''                # it was small enough
    if not o.ours and o.error != 'OSError': return f'not an error of ours, nor of the system: {o.error}: {o.text[:200]}'
    return '' if re.sub(r'\W+', '_', o.name[0]) in o.text else f'names no file: {o.error}: {o.text[:200]}'
