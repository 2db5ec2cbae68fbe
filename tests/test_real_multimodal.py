"Real photos of COCO and MobileNetV2's real weights: eight captions by heart, each tied to its photo. Skipped by name where either is absent."
import warnings
import pytest, torch

pytest.importorskip('transformers'); pytest.importorskip('tokenizers')
from safetensors.torch import save_file
from fabric_touch.captions import read_coco
from fabric_touch.core import data_dir, has_data, seeded
from fabric_touch.embeds import EmbeddingStore
from fabric_touch.multimodal import build_multimodal, load_multimodal, multimodal_dls, multimodal_learner, run_of
from fabric_touch.options import MultimodalConfig
from fabric_touch.sequences import photo_cells, text_encoder
from fabric_touch.steps import fit_steps
from fabric_touch.texts import exact_match

absent = [d for d in ('coco_mini', 'weights') if not has_data(d)]
pytestmark = [pytest.mark.usefixtures('one_thread'), pytest.mark.skipif(bool(absent), reason=f'{", ".join(absent)} not here; set FABRIC_TOUCH_DATA to the folder that holds it')]

@pytest.fixture(scope='module')
def table():
    t = read_coco(data_dir('coco_mini')/'coco_mini.json', data_dir('coco_mini')/'images')
    short = t.items.text.str.len().sort_values(kind='stable').index            # the shortest caption of each photo, so that few steps do
    return t.take(t.items.loc[short].drop_duplicates('photo').sort_index().index[:8])

@pytest.fixture(scope='module')
def learned(table, tmp_path_factory):
    "Eight captions after 80 steps, and their cells"
    tmp = tmp_path_factory.mktemp('real')
    with seeded(0): net = text_encoder('tiny', False, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, vocab_size=1000, feed_forward_proj='relu').net
    save_file({k: v.contiguous().clone() for k,v in net.state_dict().items()}, tmp/'t5.safetensors')
    c = MultimodalConfig(image_model_name='mobilenetv2_tf', image_weights=str(data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth'), language_model_name='tiny', language_weights=str(tmp/'t5.safetensors'), ffn=True, tokenizer='train', vocab_size=200,
                         loc_vocab_size=10, image_vocab_size=32, d_model=64, num_layers=2, num_heads=4, d_ff=256, dropout_rate=0., lr=.01, lr_scheduler='CosineWarmup', grad_clip=1., num_steps=80, batch_size=8, seed=0, store=str(tmp/'store'))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)                 # so few texts give fewer pieces
        m = build_multimodal(c, list(table.items.text))
    learn = multimodal_learner(m, multimodal_dls(m, [table], [table.take([0])]))
    with learn.no_bar(), learn.no_logging(): history = fit_steps(learn, run_of(c))
    e = m.model.image_model
    return m, photo_cells(e, list(table.items.image), EmbeddingStore(tmp/'store', e.id, e.n_out)), history

def test_every_caption_by_heart(table, learned):
    m, cells, history = learned
    assert history.train_loss.iloc[-1] < .1
    assert exact_match(m.write(cells), list(table.items.text)).all()
    assert exact_match(m.write(cells, num_beams=3), list(table.items.text)).all()

def test_the_photo_decides(table, learned):
    m, cells, _ = learned
    turned = list(range(1, 8)) + [0]
    assert m.write(cells[turned]) == [m.write(cells)[i] for i in turned]
    m.model.sees = 'text'
    try: assert len({*m.write(cells)}) == 1                          # one prompt, one answer
    finally: m.model.sees = 'both'

def test_files_and_cells_say_the_same(table, learned):
    m, cells, _ = learned
    assert m.write(list(table.items.image[:2])) == m.write(cells[:2])

def test_written_and_read_again(table, learned, tmp_path):
    m, cells, _ = learned
    m.save(tmp_path/'model')
    again = load_multimodal(tmp_path/'model')
    assert all(torch.equal(a, b) for a,b in zip(m.model.state_dict().values(), again.model.state_dict().values()))
    assert again.write(list(table.items.image[:1])) == m.write(cells[:1])
