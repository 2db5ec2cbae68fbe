"Augmentations: the recipe to the letter, the same picture for the same seed, and what is refused."
import multiprocessing, pickle, random
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import cv2, numpy as np, pytest
from PIL import Image
from fabric_touch.augment import AUGMENTS, Augment, sharpen, test_transform as at_test, train_transform as trained, unsharp_mask
from fabric_touch.core import FabricError

pytestmark = pytest.mark.once

def noise(h=60, w=50, seed=0): return np.random.default_rng(seed).integers(0, 256, (h, w, 3), dtype=np.uint8)
def names(compose): return [type(t).__name__ for t in compose]

# ---- the recipe

def test_the_order_of_the_recipe():
    fixed = ['Resize', 'UnsharpMask', 'RandomBrightnessContrast']
    assert names(trained('sketch')) == ['Lambda', 'HorizontalFlip', 'Rotate', 'CoarseDropout', 'GridDistortion', *fixed]
    assert names(trained('none')) == names(at_test('sketch')) == ['Lambda', *fixed]

@pytest.mark.parametrize('name', AUGMENTS)
def test_what_comes_out(name):
    for h,w in ((16, 16), (16, 700), (90, 31)):
        for make in (trained, at_test):
            out = make(name, 48)(image=noise(h, w))['image']
            assert out.shape == (48, 48, 3) and out.dtype == np.uint8

@pytest.mark.parametrize('name', AUGMENTS)
def test_testing_has_no_chance(name):
    x = noise()
    assert (at_test(name, 32)(image=x)['image'] == Augment(at_test(name, 32), 9)(x, 3, 4)).all()

def test_white_paper_stays_white():
    "No row but the recipe's black holes puts anything else on it"
    paper = np.full((70, 60, 3), 255, np.uint8)
    for name,white in dict(sketch=204, none=204, light=255, lines=255).items():
        augment, found = Augment(trained(name, 48)), set()
        for k in range(20): found |= {*np.unique(augment(paper, k)).tolist()}
        if name == 'sketch': assert white in found and 0 in found       # sharpened holes
        else: assert found == {white}

@pytest.mark.parametrize('kernel, sigma, amount', [(7, 1.5, 1.5), (1, 1., 1.5), (3, .5, 0), (21, 8, 4), (5, 1.3, .4)])
def test_sharpen_is_its_formula(kernel, sigma, amount):
    x = noise()
    soft = cv2.GaussianBlur(x, (kernel, kernel), sigma).astype(float)
    assert abs(sharpen(x, kernel, sigma, amount) - np.clip(x + amount*(x - soft), 0, 255)).max() <= .501
    assert (unsharp_mask(kernel, sigma, amount)(image=x)['image'] == sharpen(x, kernel, sigma, amount)).all()

@pytest.mark.parametrize('threshold', [1, 30, 255])
def test_a_threshold_leaves_small_differences_alone(threshold):
    x = noise()
    less = abs(cv2.GaussianBlur(x, (7, 7), 1.5).astype(int) - x) < threshold
    out = sharpen(x, threshold=threshold)
    assert (out[less] == x[less]).all() and (out[~less] == sharpen(x)[~less]).all()

def test_a_step_may_have_a_probability():
    step = unsharp_mask(p=.5)
    step.set_random_seed(0)
    changed = [(step(image=noise())['image'] != noise()).any() for _ in range(40)]
    assert 8 < sum(changed) < 32
    twin = pickle.loads(pickle.dumps(step))
    assert repr(twin) == repr(step) and [twin.py_random.random() for _ in range(3)] == [step.py_random.random() for _ in range(3)]

# ---- the same seed, the same picture

def looks(augment, n=6): return np.stack([augment(noise(), k // 3, k % 3) for k in range(n)])

@pytest.mark.parametrize('name', AUGMENTS)
def test_seed_epoch_and_number_alone_decide(name):
    first = looks(Augment(trained(name, 32), 5))
    augment = Augment(trained(name, 32), 5)
    random.seed(1); np.random.seed(1)
    states = random.getstate(), np.random.get_state()[1].copy()
    for k in (4, 0, 4): assert (augment(noise(), k // 3, k % 3) == first[k]).all()
    assert random.getstate() == states[0] and (np.random.get_state()[1] == states[1]).all()
    assert (looks(pickle.loads(pickle.dumps(augment))) == first).all()
    if name != 'none': assert (looks(Augment(trained(name, 32), 6)) != first).any()

def test_epochs_and_numbers_are_not_mixed_up():
    augment, x = Augment(trained('lines', 32)), noise()
    assert len({augment(x, *at).tobytes() for at in ((0, 1), (1, 0), (1, 1), (0, 11), (11, 0), (2, 0), (0, 2))}) == 7

def test_threads_do_not_disturb_each_other():
    augment = Augment(trained('sketch', 32))
    alone = [augment(noise(), 0, k) for k in range(80)]
    with ThreadPoolExecutor(4) as pool: together = list(pool.map(lambda k: augment(noise(), 0, k), range(80)))
    assert all((a == b).all() for a,b in zip(alone, together))

def test_the_given_transform_is_left_alone():
    transform = trained('sketch', 32)
    before = transform.py_random.getstate()
    Augment(transform)(noise())
    assert transform.py_random.getstate() == before

def test_steps_draw_apart():
    "One seed for all would mirror exactly the pictures that get holes"
    transform = trained('sketch', 32)
    augment, seen = Augment(transform), np.zeros((2, 2), int)
    augment(noise())
    for k in range(200):
        augment(noise(), 0, k)
        flip, _, holes = augment._steps().transforms[1:4]
        seen[int(bool(flip.params)), int(bool(holes.params))] += 1
    assert (seen > 25).all()

def _child(args): return looks(args), cv2.getNumThreads()

@pytest.mark.stress
@pytest.mark.parametrize('how', multiprocessing.get_all_start_methods())
def test_other_processes_see_the_same(how):
    augment = Augment(trained('sketch', 32), 3)
    with ProcessPoolExecutor(2, multiprocessing.get_context(how)) as pool: some = list(pool.map(_child, [augment]*4))
    assert all((x == looks(augment)).all() and n == 1 for x,n in some)

# ---- what is refused

BAD = dict(grey=noise()[..., 0], float=noise()/255, batch=noise()[None], four=np.zeros((30, 30, 4), np.uint8), int=noise().astype(int), empty=noise()[:0], small=noise(15), text='x.png', none=None, pil=Image.new('RGB', (30, 30)), list=[[0]])

@pytest.mark.parametrize('name', BAD)
def test_bad_pictures(name):
    with pytest.raises(FabricError, match='cannot be varied|too small'): Augment(trained('sketch', 32))(BAD[name])
    if isinstance(BAD[name], np.ndarray) and BAD[name].ndim == 3:
        for row in AUGMENTS:
            with pytest.raises(FabricError, match='cannot be varied|too small'): at_test(row, 32)(image=BAD[name])

@pytest.mark.parametrize('call, told', [
    (lambda: trained('sketches'), 'choose from: sketch, none, light, lines'), (lambda: at_test(3), 'unknown set'), (lambda: trained('none', 15), 'size=15'), (lambda: trained('none', 64.), 'size=64.0'),
    (lambda: unsharp_mask(4), 'kernel is 4'), (lambda: unsharp_mask(0), 'kernel=0'), (lambda: unsharp_mask(sigma=-1), 'sigma is -1'), (lambda: unsharp_mask(amount=-.1), 'amount is -0.1'),
    (lambda: unsharp_mask(sigma=float('nan')), 'sigma is nan'), (lambda: unsharp_mask(threshold=256), 'threshold=256'), (lambda: Augment(None, -1), 'seed=-1'), (lambda: Augment(None, 1.5), 'seed=1.5'),
    (lambda: Augment(trained('none', 32))(noise(), 0, -1), 'index=-1'), (lambda: Augment(trained('none', 32))(noise(), 1.5), 'epoch=1.5'), (lambda: Augment(trained('none', 32))(noise(), None), 'epoch=None')])
def test_bad_numbers_and_names(call, told):
    with pytest.raises(FabricError, match=told): call()
