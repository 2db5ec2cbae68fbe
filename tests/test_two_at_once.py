"Two processes at one folder: nothing is lost, nothing is doubled; each does its share, waits, or is refused in words."
import os

import pytest, torch
from unplugged import at_once

pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread'), pytest.mark.skipif(os.name != 'posix', reason='needs POSIX'), pytest.mark.filterwarnings('ignore:.*fork'),
              pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU a process that has computed gradients cannot be forked')]

AT_ONCE = dict(vectors='', copy='', link='', checkpoint='',                  # name -> what one of the two may be told; empty: neither is refused anything
               move='it is gone from its place', products='is held by another process', folds='state', sketch='another process trains in')

@pytest.mark.parametrize('name', AT_ONCE)
def test_two_processes(name, tmp_path):
    became, differ = at_once(name, tmp_path)
    assert not differ
    for what, why in became: assert what == 'done' or AT_ONCE[name] and AT_ONCE[name] in why, why
    assert 'done' in dict(became) or name in ('move', 'folds')

@pytest.mark.stress
@pytest.mark.parametrize('name', AT_ONCE)
def test_four_processes(name, tmp_path): assert not at_once(name, tmp_path, 4)[1]
