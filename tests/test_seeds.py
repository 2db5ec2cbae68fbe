"Same seed, same result: each trainer gives the same weights twice, bit by bit on a CPU, whatever the dice of the process show; and its card says seed, data and versions."
import numpy as np, pytest, torch
from fabric_touch.attributes import save_attributes, train_attributes
from fabric_touch.blends import FIBRES
from fabric_touch.checkpoints import FORMAT, data_digest, read_card
from fabric_touch.core import seeded
from fabric_touch.deepfashion import make_deepfashion
from fabric_touch.encoders import image_encoder
from fabric_touch.hybrid import train
from fabric_touch.mixture import fit_autoencoder
from fabric_touch.sketch import fit_folds
from fabric_touch.sketches import read_sketches
from fabric_touch.swatches import make_blends
from fabric_touch.touch import save_touch, touch_folds, touch_refit
from unplugged import fabrics_of, write_cloth, write_fabrics, write_multimodal, write_sketches

pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread')]

def refit(home, out, seed):
    model = touch_refit(*fabrics_of(home), 'mlb', 12, lambda learn: learn.fit_one_cycle(2, 5e-3), seed=seed)
    return model, save_touch(model, out/'model')

def folds(home, out, seed): return touch_folds(*fabrics_of(home), 'mlb', fabrics_of(home)[0].folds(2), lambda learn: learn.fit_one_cycle(2, 5e-3), seed=seed), None

def write_garments(home): make_deepfashion(home/'garments', n=60, size=64)

def attributes(home, out, seed):
    from fabric_touch.deepfashion import read_deepfashion
    with seeded(0): encoder = image_encoder('test_resnet', pretrained=False, data=dict(img_size=32))
    model = train_attributes(read_deepfashion(home/'garments'), encoder, seed=seed)
    return model, save_attributes(model, out/'model')

def hybrid(home, out, seed):
    t = train(home/'cloth', output_dir=str(out/'run'), mode='mobilenet', mobilenet='swatch', epochs=1, fine_tune=True, ft_epochs=1, ft_lr=.1, store=str(home/'vectors'), seed=seed)
    return t.model, t.checkpoint

def sketch(home, out, seed):
    m = fit_folds(read_sketches(home/'data'), 'test_resnet', 2, 'modern', folder=out/'member', pretrained=False, size=32, epochs=1, bs=8, store=home/'pixels', seed=seed)
    return m.model, next((out/'member'/'fold_0').glob('epoch_*'))

def multimodal(home, out, seed):
    from fabric_touch.multimodal import train_multimodal
    from test_multimodal import settings
    return train_multimodal(settings(home, num_steps=2, dropout_rate=.1, seed=seed, result_dir=str(out/'run'))).model, out/'run'/'best'

def autoencoder(home, out, seed): return fit_autoencoder(make_blends(200, 0), epochs=2, seed=seed).model, None

def write_boxes(home):
    from test_tuning import toys
    toys(home/'photos').to_csv(home/'boxes.csv', index=False)

def yolos(home, out, seed):
    import pandas as pd
    from fabric_touch.tuning import tune_detector
    from test_tuning import tiny_net
    return tune_detector(pd.read_csv(home/'boxes.csv'), out/'yolos', tiny_net(), valid=.3, epochs=1, size=64, bs=4, seed=seed).model, out/'yolos'

TRAINERS = dict(touch_refit=(write_fabrics, refit), touch_folds=(write_fabrics, folds), train_attributes=(write_garments, attributes), hybrid=(write_cloth, hybrid), sketch=(write_sketches, sketch),
                multimodal=(write_multimodal, multimodal), autoencoder=(lambda home: None, autoencoder), yolos=(write_boxes, yolos))
NEEDS = dict(multimodal=('transformers', 'tokenizers', 'sacrebleu'), yolos=('transformers', 'supervision'))

def weights(result): return data_digest(result if isinstance(result, np.ndarray) else {k: v.float() for k,v in result.state_dict().items()})

@pytest.mark.parametrize('name', TRAINERS)
def test_same_seed_same_weights(name, tmp_path):
    for m in NEEDS.get(name, ()): pytest.importorskip(m)
    write, run = TRAINERS[name]
    (tmp_path/'in').mkdir(); write(tmp_path/'in')
    said, cards = [], []
    for i, seed in enumerate((0, 0, 1)):
        with seeded(i):                                             # the process's own dice lie otherwise each time
            (tmp_path/str(i)).mkdir()
            result, folder = run(tmp_path/'in', tmp_path/str(i), seed)
            said.append(weights(result)); cards.append(folder and read_card(folder))
    assert said[0] == said[1] != said[2]
    if not cards[0]: return
    assert [c['training']['seed'] for c in cards] == [0, 0, 1]
    digests = [c['training']['data_sha256'] for c in cards]
    assert digests[0] == digests[1] and len(bytes.fromhex(digests[0])) == 32
    assert {'fabric_touch', 'python', 'torch', 'numpy', 'fastai', 'timm', 'safetensors'} <= {*cards[0]['versions']} and cards[0]['format'] == FORMAT

def test_other_data_other_digest(tmp_path):
    write_fabrics(tmp_path)
    f, v = fabrics_of(tmp_path)
    fit = lambda learn: learn.fit(1)
    one, other, less = (touch_refit(*data, 'mlb', 12, fit).card['training'] for data in ((f, v), (f, v + 1e-6), (f.take(range(30)), v[:30])))
    assert len({t['data_sha256'] for t in (one, other, less)}) == 3 and (one['fabrics'], less['fabrics']) == (40, 30)
