"Two processes at one folder from the same moment on: nothing is lost, nothing is doubled; each does its share, waits, or is refused in words."
import os

import pytest, torch
from test_unplugged import needed
from unplugged import JOBS, at_once

pytestmark = [pytest.mark.once, pytest.mark.usefixtures('one_thread'), pytest.mark.skipif(os.name != 'posix', reason='needs POSIX'), pytest.mark.filterwarnings('ignore:.*fork'),
              pytest.mark.skipif(torch.cuda.is_available(), reason='with a GPU a process that has computed gradients cannot be forked')]

TRAINS = 'another process trains in'
AT_ONCE = dict(folds='another process trains the folds of', hybrid=TRAINS, sketch=TRAINS, frozen_sketch=TRAINS, multimodal=TRAINS, products='is held by another process',
               touch='', sort='', copy='', move='', link='', vectors='', checkpoint='')      # name -> what those are told that are refused; empty: none is
NOT_HERE = dict(saved_twice='checkpoint does the same more often')
IN_ANY_ORDER = dict(vectors='out/stores/', hybrid='out/vectors/')      # rows of a store stand in the order in which they came

def both(name, place, n=2):
    needed(name)
    became, differ = at_once(name, place, n)
    assert not [f for f in differ if name not in IN_ANY_ORDER or not f.startswith(IN_ANY_ORDER[name])]
    for what, why in became: assert what == 'done' or AT_ONCE[name] and AT_ONCE[name] in why, why
    assert 'done' in dict(became)

@pytest.mark.parametrize('name', AT_ONCE)
def test_two_processes(name, tmp_path): both(name, tmp_path)

@pytest.mark.stress
@pytest.mark.parametrize('name', AT_ONCE)
def test_four_processes(name, tmp_path): both(name, tmp_path, 4)

def test_each_job_is_tried_or_has_a_reason(): assert sorted([*AT_ONCE, *NOT_HERE]) == sorted(JOBS)
