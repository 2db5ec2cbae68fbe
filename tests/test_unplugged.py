"The plug pulled: whatever is killed at whatever moment leaves files that are whole or absent, and goes on to the same bytes."
import os

import pytest, torch
from unplugged import JOBS, Trial, survive, survive_every_move

pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread'), pytest.mark.skipif(os.name != 'posix', reason='needs POSIX'), pytest.mark.filterwarnings('ignore:.*fork'),
              pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU a process that has computed gradients cannot be forked')]

def needed(name):
    if name == 'multimodal': [pytest.importorskip(m) for m in ('transformers', 'tokenizers', 'sacrebleu')]

@pytest.mark.parametrize('n, seed', [(2, 0), pytest.param(20, 1, marks=pytest.mark.stress)])
@pytest.mark.parametrize('name', JOBS)
def test_killed_at_any_moment(name, n, seed, tmp_path):
    needed(name)
    kills, lost = survive(name, n, seed, tmp_path)
    assert kills >= n and not lost

@pytest.mark.parametrize('name', ['saved_twice', *(pytest.param(n, marks=pytest.mark.stress) for n in JOBS if n != 'saved_twice')])
def test_killed_before_every_move(name, tmp_path):
    needed(name)
    kills, lost = survive_every_move(name, tmp_path)
    assert kills > 10 and not lost

def test_what_is_torn_is_seen(tmp_path):
    "The test above would notice"
    trial = Trial('products', tmp_path/'trial')
    home = trial.fresh()
    trial.finish(home)
    shop = home/'out'/'shop'
    (shop/'about.json').write_text('{"cut'); (shop/'products.csv').write_bytes((shop/'products.csv').read_bytes()[:-9]); (shop/'.products.csv.0123abcd.tmp.csv').touch()
    from unplugged import torn
    assert [n.split(':')[0] for n in torn(home)] == ['out/shop/about.json', 'out/shop/products.csv']
    assert {*trial.go_on(trial.fresh())} == set() and '.products.csv.0123abcd.tmp.csv' not in os.listdir(shop)
