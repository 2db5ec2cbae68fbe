"The multimodal T5 from data to files: one experiment gives one result, whenever it is killed; what differs, leaks or lies is refused."
import json, os, shutil, sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np, pandas as pd, pytest, torch

pytest.importorskip('transformers'); pytest.importorskip('tokenizers'); pytest.importorskip('sacrebleu')
from safetensors.torch import save_file
from fabric_touch import multimodal
from fabric_touch.captions import CaptionTable, make_captions, read_datasets
from fabric_touch.checkpoints import CheckpointError, read_card, read_tensors, save_checkpoint
from fabric_touch.cli import ft_multimodal
from fabric_touch.core import FabricError, seeded
from fabric_touch.folders import ClassTable, make_folders
from fabric_touch.multimodal import MultimodalConfig, build_multimodal, class_answers, collate, item_sets, load_multimodal, multimodal_dls, token_loss, train_multimodal, _parts
from fabric_touch.sequences import text_encoder
from fabric_touch.t5 import EOS, IGNORED, PAD

pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread'), pytest.mark.filterwarnings('ignore::UserWarning', 'ignore:.*fork')]
os.environ['TOKENIZERS_PARALLELISM'] = 'false'                    # some tests fork

SIZES = dict(d_model=16, d_kv=4, d_ff=32, num_layers=1, num_heads=2)
SMALL = dict(image_model_name='test_convnext3', image_weights='random', language_model_name='tiny', tokenizer='train', vocab_size=200, ffn=True, loc_vocab_size=10, image_vocab_size=32, d_model=16, num_layers=1, num_heads=2,
             d_ff=32, dropout_rate=0., batch_size=8, valid=.2, test=.2, lr=.005)

def write_data(d):
    "Generated captions, classes, boxes (four to a photo); a language model and a VQGAN of random weights"
    with seeded(0): words = text_encoder('mine', False, feed_forward_proj='relu', relative_attention_num_buckets=32, vocab_size=1000, **SIZES)
    save_file({k: v.clone() for k,v in words.net.state_dict().items()}, d/'t5.safetensors')
    make_captions(d/'capt', n=12); make_folders(d/'cloth', 8)
    rows = [(f'images/{p.name}', ('knit', 'woven')[k % 2], 4*k, 3, 30 + 4*k, 40) for p in sorted((d/'capt'/'images').iterdir()) for k in range(4)]
    pd.DataFrame(rows, columns='image label x0 y0 x1 y1'.split()).to_csv(d/'capt'/'table.csv', index=False)

@pytest.fixture(scope='module')
def d(tmp_path_factory):
    d = tmp_path_factory.mktemp('multimodal')
    write_data(d)
    return d

def settings(d, **kw): return MultimodalConfig(**SMALL | dict(language_weights=str(d/'t5.safetensors'), root_dir=str(d), store=str(d/'store'), num_steps=4, datasets='folders:cloth') | kw)

def train(d, out, **kw):
    c = settings(d, result_dir=str(d/out), **kw)
    return train_multimodal(c)

def state(m): return {k: v.clone() for k,v in m.model.state_dict().items()}

def same(a, b): return {*a} == {*b} and all(torch.equal(a[k], b[k]) for k in a)

@pytest.fixture(scope='module')
def classes(d): return train(d, 'classes', num_steps=None, num_epochs=3, save_interval=1, dropout_rate=.1)

@pytest.fixture(scope='module')
def photos(d): return [str(p) for p in sorted((d/'capt'/'images').iterdir())][:4]

@pytest.fixture(scope='module')
def vqgan(d):
    pytest.importorskip('diffusers')
    from fabric_touch.vqgan import tiny_vqgan
    save_file({k: v.contiguous() for k,v in tiny_vqgan().body.model.state_dict().items()}, d/'vqgan.safetensors')
    return str(d/'vqgan.safetensors')

# ---- one experiment, one result

def test_same_settings_same_bits(d, classes):
    assert same(state(classes), state(train(d, 'again', num_steps=None, num_epochs=3, save_interval=1, dropout_rate=.1)))
    assert not same(state(classes), state(train(d, 'other', num_steps=None, num_epochs=3, dropout_rate=.1, seed=1)))

def test_a_folder_says_what_training_gave(d, classes, photos):
    again = load_multimodal(d/'classes')
    assert same(state(again), state(classes)) and again.config.datasets == ['folders:cloth'] and not again.model.training
    assert again.write(photos) == classes.write(photos)
    np.testing.assert_array_equal(again.label_probs(photos, 'folders:cloth'), classes.label_probs(photos, 'folders:cloth'))
    assert classes.card == again.card
    for k in (1, 2, 3): load_multimodal(d/'classes', f'epoch_{k:03d}')
    assert {*pd.read_csv(d/'classes'/'scores.csv').model} >= {'model', 'no_photo', 'no_text', 'chance', 'most_frequent'}

def test_saved_as_loaded(d, classes, photos, tmp_path):
    load_multimodal(d/'classes').save(tmp_path/'new')
    got = load_multimodal(tmp_path/'new')
    assert same(state(got), state(classes)) and got.card['data'] == read_card(d/'classes'/'best')['data'] != {}
    with pytest.raises(FabricError): classes.save(d/'classes')               # a run's folder is not written over
    assert (tmp_path/'new'/'frozen'/'card.json').exists()

def test_training_and_writing_see_the_same(d, classes, photos):
    table = read_datasets(['folders:cloth'], d)[0].take([0, 9, 17])
    items = item_sets(classes, [[table]])[0]
    image, source, mask, target_in, real, labels = collate([items[i] for i in range(3)])
    x, ids, m = next(classes.batches(list(table.items.image)))
    assert torch.equal(source, ids) and torch.equal(mask, m)
    torch.testing.assert_close(classes.model.image_model(x), image, atol=1e-5, rtol=1e-5)
    assert classes.tokens.text(labels.masked_fill(labels == IGNORED, PAD)) == [f'a photo of {l}' for l in table.items.label]
    assert ((labels != IGNORED).sum(1) == (labels == EOS).int().argmax(1) + 1).all() and ((target_in[:, 1:] == labels[:, :-1]) | (labels[:, :-1] == IGNORED) | (labels[:, :-1] == EOS)).all()

# ---- stopped and gone on with

KILLED = dict(num_steps=None, num_epochs=3, save_interval=1, dropout_rate=.1, resume=True)

OTHERS = [dict(loss='focal'), dict(dropout_rate=.3), dict(prompt='typo'), dict(sees='image'), dict(valid=.3), dict(lr=.001), dict(num_epochs=4), dict(batch_size=4), dict(seed=1), dict(ffn=False), dict(vocab_size=150), dict(datasets='coco:capt')]

@pytest.mark.parametrize('other, lost', [*((o, '') for o in OTHERS), (OTHERS[0], 'best'), (OTHERS[1], 'best')], ids=str)
def test_another_experiment_does_not_go_on(d, classes, other, lost, tmp_path):
    "Also where the first epoch was not through, so that there is no best/ yet"
    shutil.copytree(d/'classes', tmp_path/'run', ignore=shutil.ignore_patterns(lost) if lost else None)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path/'run').rglob('*')}
    with pytest.raises(FabricError): train_multimodal(settings(d, **KILLED | other, result_dir=str(tmp_path/'run')))
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path/'run').rglob('*')}

def test_other_photos_of_the_same_number_are_another_experiment(d, classes, tmp_path):
    make_folders(tmp_path/'cloth', 8, seed=5)
    shutil.copytree(d/'classes', tmp_path/'run')
    with pytest.raises(CheckpointError, match='data'): train_multimodal(settings(d, **KILLED, root_dir=str(tmp_path), result_dir=str(tmp_path/'run')))

def test_moved_data_and_another_language_model(d, classes, tmp_path):
    shutil.copytree(d/'cloth', tmp_path/'cloth'); shutil.copytree(d/'classes', tmp_path/'run')
    train_multimodal(settings(d, **KILLED, root_dir=str(tmp_path), result_dir=str(tmp_path/'run')))
    shutil.copy(d/'t5.safetensors', tmp_path/'keep')
    try:
        with seeded(7): words = text_encoder('mine', False, feed_forward_proj='relu', relative_attention_num_buckets=32, vocab_size=1000, **SIZES)
        save_file({k: v.clone() for k,v in words.net.state_dict().items()}, d/'t5.safetensors')
        with pytest.raises(CheckpointError): train_multimodal(settings(d, **KILLED, result_dir=str(tmp_path/'run')))
    finally: shutil.copy(tmp_path/'keep', d/'t5.safetensors')

def test_a_file_is_no_result_folder(d, tmp_path):
    (tmp_path/'file').write_text('mine')
    with pytest.raises(FabricError, match='is no folder'): train_multimodal(settings(d, result_dir=str(tmp_path/'file')))

def test_rows_without_a_box_are_named(d, tmp_path):
    shutil.copytree(d/'capt'/'images', tmp_path/'own'/'images')
    names = [f'images/{p.name}' for p in sorted((tmp_path/'own'/'images').iterdir())]
    pd.DataFrame(dict(image=names, label=['a', 'b']*6, x0=[1, '']*6, y0=[1, '']*6, x1=[9, '']*6, y1=[9, '']*6)).to_csv(tmp_path/'own'/'table.csv', index=False)
    with pytest.raises(FabricError, match='no box, the first is of .*jpg'): train(d, 'none', root_dir=str(tmp_path), datasets='table:own')

def test_a_run_is_refused_before_anything_is_read(d, classes, monkeypatch):
    monkeypatch.setattr(multimodal, 'read_datasets', lambda *a: pytest.fail('read'))
    with pytest.raises(FabricError, match='holds a run already'): train_multimodal(settings(d, result_dir=str(d/'classes')))

# ---- start from another run

def test_start_from_a_run(d, classes, photos):
    m = train(d, 'tuned', checkpoint=str(d/'classes'), lr=1e-9, weight_decay=0.)
    np.testing.assert_allclose(m.label_probs(photos, 'folders:cloth'), classes.label_probs(photos, 'folders:cloth'), atol=1e-4)
    m = train(d, 'tuned_with', checkpoint=str(d/'classes'), image_model_train=True, lr=1e-9, weight_decay=0.)       # frozen first, then trained along
    np.testing.assert_allclose(m.label_probs(photos, 'folders:cloth'), classes.label_probs(photos, 'folders:cloth'), atol=1e-3)

@pytest.mark.parametrize('other, says', [(dict(seed=1), 'image'), (dict(image_model_name='test_convnext2'), 'image'), (dict(image_model_name='test_vit'), 'image'), (dict(d_model=32), 'weights'), (dict(num_layers=2), 'weights'),
                                         (dict(loc_vocab_size=20), 'loc_vocab_size'), (dict(image_vocab_size=16), 'image_vocab_size')], ids=str)
def test_start_from_what_does_not_fit(d, classes, other, says):
    with pytest.raises(FabricError, match=says): train(d, 'misfit', checkpoint=str(d/'classes'), **other)
    assert not (d/'misfit'/'best').exists()

def test_start_from_nothing(d, tmp_path):
    for place in (tmp_path, tmp_path/'none'):
        with pytest.raises(FabricError): train(d, 'misfit', checkpoint=str(place))

# ---- cards that lie

def forged(d, tmp_path, where, change):
    "A result folder whose card says something else, signed anew"
    out = tmp_path/'forged'
    shutil.copytree(d/'classes', out, ignore=shutil.ignore_patterns('state', 'epoch*'))
    resign(out/where, change)
    if where == 'frozen': resign(out/'best', lambda c: c.update(frozen=read_card(out/'frozen')['card_sha256']))
    return out

def resign(folder, change):
    card, weights = read_card(folder), read_tensors(folder/'model.safetensors')
    change(card)
    save_checkpoint(folder, weights, {k: v for k,v in card.items() if k not in ('format', 'versions', 'weights_sha256', 'card_sha256')})

LIES = {
    'unknown setting': ('best', lambda c: c['config'].update(of_tomorrow=1)), 'no config': ('best', lambda c: c.pop('config')), 'config a list': ('best', lambda c: c.update(config=[1])), 'config None': ('best', lambda c: c.update(config=None)),
    'width of text': ('best', lambda c: c['config'].update(d_model='wide')), 'datasets a number': ('best', lambda c: c['config'].update(datasets=5)), 'terabytes': ('best', lambda c: c['config'].update(d_model=2**24, d_ff=2**24)),
    'endless layers': ('best', lambda c: c['config'].update(num_layers=2**40)), 'other heads': ('best', lambda c: c['config'].update(num_heads=4, d_model=None)), 'labels a number': ('best', lambda c: c.update(labels=3)),
    'labels of numbers': ('best', lambda c: c.update(labels=dict(a=[1, 2]))), 'label a text': ('best', lambda c: c.update(labels=dict(a='bc'))), 'no labels': ('best', lambda c: c.pop('labels')), 'no tokens': ('best', lambda c: c.pop('tokens')),
    'ffn': ('best', lambda c: c['config'].update(ffn=False)), 'trained image model': ('best', lambda c: c['config'].update(image_model_train=True)), 'kind': ('best', lambda c: c.update(kind='touch')),
    'frozen terabytes': ('frozen', lambda c: c['language']['sizes'].update(d_model=2**24, d_ff=2**30)), 'frozen endless': ('frozen', lambda c: c['language']['sizes'].update(num_layers=2**40)), 'frozen text': ('frozen', lambda c: c.update(language='t5')),
    'frozen none': ('frozen', lambda c: c.pop('image')), 'frozen image': ('frozen', lambda c: c['image'].update(name='../../etc')), 'frozen image number': ('frozen', lambda c: c['image'].update(name=5)), 'frozen args': ('frozen', lambda c: c['image'].update(args=dict(of_tomorrow=1)))}

@pytest.mark.parametrize('lie', LIES)
def test_a_card_that_lies_is_told(d, classes, tmp_path, lie):
    with pytest.raises(CheckpointError): load_multimodal(forged(d, tmp_path, *LIES[lie]))

def test_frozen_networks_of_another_run_are_told(d, classes, tmp_path):
    other = train(d, 'elsewhere', seed=1, num_steps=1)
    assert other.tokens.digest == classes.tokens.digest
    out = forged(d, tmp_path, 'best', lambda c: None)
    shutil.rmtree(out/'frozen'); shutil.copytree(d/'elsewhere'/'frozen', out/'frozen')
    for folder,name in ((out, 'best'), (d/'classes', '../elsewhere/best')):
        with pytest.raises(CheckpointError, match='other frozen networks'): load_multimodal(folder, name)

@pytest.mark.parametrize('lie', ['frozen none', 'frozen image'])
def test_start_from_a_card_that_lies(d, classes, tmp_path, lie):
    with pytest.raises(CheckpointError): train(d, 'misfit', checkpoint=str(forged(d, tmp_path, *LIES[lie])))

@pytest.mark.parametrize('lost', ['best', 'frozen', 'tokens.json', 'frozen/model.safetensors', 'best/card.json'])
def test_a_part_that_is_lost_is_told(d, classes, tmp_path, lost):
    out = forged(d, tmp_path, 'best', lambda c: None)
    shutil.rmtree(out/lost) if (out/lost).is_dir() else (out/lost).unlink()
    with pytest.raises(FabricError): load_multimodal(out)

# ---- data

def test_no_photo_on_two_sides(d):
    "Neither the boxes of one photo, nor a photo of two data sets"
    for names in ('table:capt', 'coco:capt', 'folders:cloth', 'coco:capt table:capt folders:cloth'):
        _, *parts = _parts(settings(d, datasets=names))
        a, b, c = ({p for t in tables for p in t.items.image} for tables in parts)
        assert a and b and c and not a & b and not a & c and not b & c, names

def test_groups_of_an_own_table_stay_together(d, tmp_path):
    files = sorted(str(p.relative_to(d)) for p in (d/'cloth').rglob('*.*'))
    pd.DataFrame(dict(image=files, label=[f.split('/')[1] for f in files], group=[f'g{i//2}' for i in range(len(files))])).to_csv(d/'table.csv', index=False)
    _, *parts = _parts(settings(d, datasets='table:.'))
    a, b, c = ({g for t in tables for g in t.items.group} for tables in parts)
    assert not a & b and not a & c and not b & c

def test_boxes_are_asked_and_scored_as_boxes(d):
    m = train(d, 'boxes', datasets='table:capt', num_steps=2)
    scores = pd.read_csv(d/'boxes'/'scores.csv')
    assert 'accuracy' not in {*scores.metric} and {'model', 'no_photo', 'no_text'} <= {*scores.model}       # "a photo of …" was never asked
    items = item_sets(m, [[read_datasets(['table:capt'], d)[0]]])[0]
    assert items.items[0].source.startswith('Where is the ') and items.items[0].target.count('<loc_') == 8 and m.tokens.text(items.target[0]) == items.items[0].target

def test_captions_and_classes_together_with_focal_loss(d):
    m = train(d, 'mixed', datasets='coco:capt folders:cloth', loss='focal')
    scores = pd.read_csv(d/'mixed'/'scores.csv')
    assert {*scores.data} == {'coco:capt', 'folders:cloth'} and {'cider', 'accuracy'} <= {*scores.metric} and (d/'mixed'/'captions.png').exists()
    assert m.labels.keys() == {'folders:cloth'} and load_multimodal(d/'mixed').config.loss == 'focal'
    with pytest.raises(FabricError, match='has classes'): train(d, 'no', datasets='coco:capt folders:cloth', pretrain=True, image_mask_ratio=0)

def test_the_image_model_trained_along(d, classes, photos):
    m = train(d, 'along', image_model_train=True)
    best, frozen = read_tensors(d/'along'/'best'/'model.safetensors'), read_tensors(d/'along'/'frozen'/'model.safetensors')
    assert any(k.startswith('own_image_model.') for k in best) and not any(k.startswith('image.') for k in frozen)
    again = load_multimodal(d/'along')
    assert same(state(again), state(m)) and again.write(photos) == m.write(photos)
    with seeded(m.config.seed): start = multimodal.cell_encoder('test_convnext3', False)
    assert any(not torch.equal(a, b) for a,b in zip(start.state_dict().values(), m.model.image_model.state_dict().values()))
    assert same(start.state_dict(), classes.model.image_model.state_dict())                            # and what is frozen has not moved

@pytest.mark.parametrize('pick', ['one', 'several'])
def test_what_counts_in_pretraining(d, vqgan, pick):
    c = settings(d, pretrain=True, vae_ckpt_path=vqgan, image_mask_ratio=.5)
    table = read_datasets(['coco:capt'], d)[0]
    table = table.take(np.flatnonzero(~table.items.photo.duplicated())[:3] if pick == 'one' else range(5))
    m = build_multimodal(c, list(table.items.text))
    items, n = item_sets(m, [[table]])[0], len(table)
    assert len(items) == 2*n and [o.hidden is None for o in items.items] == [True]*n + [False]*n
    image, source, mask, target_in, real, labels = collate([items[i] for i in range(2*n)])
    for i in range(n):                                     # words: all of the target; codes: those in hidden cells, never the end
        assert (labels[i] != IGNORED).sum() == len(items.target[i]) and (labels[n+i] != IGNORED).sum() == items.counted(n+i).sum() and not (labels[n+i] == EOS).any()
        seen = image[n+i] == m.model.image_model.mean.view(3, 1, 1)
        cells = torch.nn.functional.interpolate(seen.all(0)[None, None].float(), m.model.image_model.grid, mode='area')[0, 0].flatten()
        assert ((cells == 1).numpy() >= items.items[n+i].hidden).all() and (m.tokens.codes(labels[n+i][labels[n+i] != IGNORED].numpy()) >= 0).all()
        assert torch.equal(image[i], m.model.image_model.prepare(items.items[i].image))
    assert target_in.shape == labels.shape == real.shape and (target_in[:, 0] == PAD).all()

def test_pretraining_end_to_end(d, vqgan):
    train(d, 'pre', datasets='coco:capt', pretrain=True, vae_ckpt_path=vqgan, num_steps=2)
    scores = pd.read_csv(d/'pre'/'scores.csv')
    assert {*scores.metric} == {'perplexity of words', 'perplexity of codes'} and (scores.value > 1).all() and (scores.n > 0).all()
    m = train(d, 'after', datasets='folders:cloth', checkpoint=str(d/'pre'), num_steps=1)
    assert m.tokens.digest == load_multimodal(d/'pre').tokens.digest

@pytest.mark.parametrize('kw, says', [(dict(max_target_length=100, truncate=True), 'max_target_length'), (dict(max_target_length=100), 'max_target_length|limit'), (dict(image_mask_ratio=.01), 'image_mask_ratio'), (dict(image_vocab_size=31), 'image_vocab_size')], ids=str)
def test_codes_that_do_not_fit_are_told_before_training(d, vqgan, kw, says):
    with pytest.raises(FabricError, match=says): train(d, 'none', datasets='coco:capt', pretrain=True, vae_ckpt_path=vqgan, **kw)
    assert not (d/'none'/'history.csv').exists()

@pytest.mark.parametrize('kw, says', [(dict(max_target_length=3), 'the limit is 3'), (dict(max_source_length=3), 'the limit is 3'), (dict(datasets='folders:cloth folders:cloth'), 'each once'), (dict(datasets='folders:gone'), 'gone'), (dict(datasets='silk'), "'silk'"),
    (dict(image_model_name='no_such_net'), 'no_such_net'), (dict(num_steps=None), 'num_epochs'), (dict(warmup_steps=9), 'warmup_steps'), (dict(language_weights=None, language_model_name='t5-large'), 'tokenizer'), (dict(ffn=False, d_model=24), 'ffn=True')], ids=str)
def test_what_cannot_be_is_told_before_training(d, kw, says):
    with pytest.raises(FabricError, match=says): train(d, 'none', **kw)
    assert not (d/'none'/'history.csv').exists()

def test_texts_that_are_cut(d):
    m = build_multimodal(settings(d, max_source_length=3, max_target_length=4, truncate=True), ['a photo of knit'])
    items = item_sets(m, [[read_datasets(['folders:cloth'], d)[0].take([0])]])[0]
    assert len(items.source[0]) == 3 and len(items.target[0]) == 4 and items.source[0][-1] == items.target[0][-1] == EOS
    assert next(m.batches([items.items[0].image]))[1].tolist() == [items.source[0]]

@pytest.mark.parametrize('text', ['a <extra_id_3> knit', 'a <loc_3> knit', 'a </s> knit', 'a <pad> knit', 'a <img_99> knit'])
def test_captions_with_tokens_are_told(d, classes, photos, text):
    with pytest.raises(FabricError): item_sets(classes, [[CaptionTable(pd.DataFrame(dict(image=photos[:1], text=text, photo='a')))]])

def test_tables_too_small_to_part(d):
    for n,labels in ((1, 'a'), (2, 'ab'), (2, 'aa')):
        files = [f'capt/images/{i:06d}.jpg' for i in range(n)]
        pd.DataFrame(dict(image=files, label=[*labels])).to_csv(d/'table.csv', index=False)
        with pytest.raises(FabricError): train(d, 'none', datasets='table:.')
        pd.DataFrame(dict(image=files, text='a knit')).to_csv(d/'table.csv', index=False)
        with pytest.raises(FabricError): train(d, 'none', datasets='table:.')
    assert not (d/'none'/'history.csv').exists()

@pytest.mark.parametrize('along', [False, True])
def test_a_photo_that_goes_away_is_named(d, tmp_path, along):
    make_folders(tmp_path/'few', 3)
    table = read_datasets(['folders:few'], tmp_path)[0]
    m = build_multimodal(settings(d, image_model_train=along), ['a photo of knit'])
    Path(table.items.image[4]).unlink()
    with pytest.raises(FabricError, match=Path(table.items.image[4]).name): collate([*map(item_sets(m, [[table]])[0].__getitem__, range(9))])

def test_photos_as_paths(d, classes, photos):
    table = ClassTable(pd.DataFrame(dict(image=[*map(Path, photos[:2])], label=['knit', 'pile'])), ('knit', 'pile'))
    assert item_sets(classes, [[table]])[0][0][0].shape == (25, 128)

def test_two_workers_read_the_same(d, classes):
    table = read_datasets(['folders:cloth'], d)[0]
    a, b = ([*multimodal_dls(replace_config(classes, n_workers=n), [table], [table]).train] for n in (0, 2))
    assert len(a) == len(b) == 3 and all(torch.equal(x, y) for p,q in zip(a, b) for x,y in zip(p, q))

def replace_config(m, **kw): return multimodal.Multimodal(m.model, m.tokens, replace(m.config, **kw), m.labels, m.card)

# ---- writing

@pytest.mark.parametrize('call', [lambda m, p: m.write(p, warmth=3), lambda m, p: m.write(p, num_beams=0), lambda m, p: m.write(p, source=''), lambda m, p: m.write(p, bs=0), lambda m, p: m.write(p, bs=-1), lambda m, p: m.write([]), lambda m, p: m.write(p[0]),
    lambda m, p: m.write(p, ['a']*3), lambda m, p: m.write(torch.zeros(2, 25, 7)), lambda m, p: m.label_probs(p, ['a']), lambda m, p: m.label_probs(p, []), lambda m, p: m.label_probs(p, ['a', 'a']), lambda m, p: m.label_probs(p, ['a', '']),
    lambda m, p: m.label_probs(p, ['\U00013000', '\U00013001']), lambda m, p: m.label_probs(p, 'gone'), lambda m, p: m.write(p, labels=['a', 'a']), lambda m, p: m.write(p, do_sample=True, num_return_sequences=2),
    lambda m, p: m.write(p, labels=['knit', 'pile'], max_new_tokens=2), lambda m, p: m.write(5), lambda m, p: m.write(q for q in p), lambda m, p: m.write(p, 5), lambda m, p: m.write(p, return_dict_in_generate=True), lambda m, p: m.write([str(p[0]) + '.gone'])])
def test_strange_questions_are_told(classes, photos, call):
    with pytest.raises(FabricError): call(classes, photos)

def test_labels_are_written_whole(classes, photos):
    labels = ['x y '*50 + 'z', 'a b '*50 + 'c']
    assert {*classes.write(photos, labels=labels)} <= {f'a photo of {l}' for l in labels}

def test_the_length_is_the_one_asked_for(classes, photos):
    "The first place of max_length is the pad that a target begins after"
    image, source, mask = next(classes.batches(photos[:1]))
    for kw,n in ((dict(max_length=5), 4), (dict(max_new_tokens=5), 5)): assert classes.model.write(image, source, mask, min_length=n, **kw).shape == (1, n)

def test_bs_changes_nothing(classes, photos):
    assert classes.write(photos, bs=1) == classes.write(photos, bs=3)
    np.testing.assert_allclose(classes.label_probs(photos, 'folders:cloth', bs=1), classes.label_probs(photos, 'folders:cloth'), atol=1e-5)

def test_the_mode_is_kept(d, classes, photos):
    classes.model.train()
    try:
        classes.write(photos[:1], max_new_tokens=2); classes.label_probs(photos[:1], ['a', 'b'])
        assert classes.model.training and classes.model.sees == 'both'
        class_answers(classes, read_datasets(['folders:cloth'], d)[0].take([0, 8, 16]))
        assert classes.model.sees == 'both'
    finally: classes.model.eval()

def test_token_loss_is_the_mean_over_tokens(d, classes):
    items = item_sets(classes, [[read_datasets(['coco:capt'], d)[0].take(range(7))]])[0]
    np.testing.assert_allclose(token_loss(classes, items, bs=7), token_loss(classes, items, bs=2), rtol=1e-5)

# ---- settings and the command

@pytest.mark.parametrize('bad', [dict(datasets=5), dict(datasets=None), dict(datasets=[]), dict(datasets=['']), dict(image_weights=3), dict(tokenizer=True), dict(store=1.5), dict(valid=.5, test=.5), dict(valid=float('nan')), dict(lr=float('inf')), dict(seed=True), dict(num_beams=1.)], ids=str)
def test_strange_settings_are_told(bad):
    with pytest.raises(FabricError, match=next(iter(bad))): MultimodalConfig(**bad)

def test_places_may_be_paths(tmp_path):
    c = MultimodalConfig(root_dir=tmp_path, result_dir=tmp_path/'r', language_weights=tmp_path/'t5.safetensors')
    json.dumps(asdict(c)); assert c.language_weights == str(tmp_path/'t5.safetensors')

def test_the_command(d, monkeypatch, capsys):
    c = settings(d, num_steps=1, result_dir=str(d/'command'))
    said = [a for k,v in asdict(c).items() if v != asdict(MultimodalConfig())[k] for a in ([f'--{k}'] if v is True else [f'--{k}', *([*v] if isinstance(v, list) else [str(v)])])]
    monkeypatch.setattr(sys, 'argv', ['ft_multimodal', *said])
    ft_multimodal()
    assert f'wrote {d}/command' in capsys.readouterr().out and same(state(load_multimodal(d/'command')), state(train(d, 'called', num_steps=1)))
    with pytest.raises(SystemExit, match='holds a run already'): ft_multimodal()
