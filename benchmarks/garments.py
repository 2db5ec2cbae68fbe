"""From street photo to cut-out: what detectors and segmenters get right on photos with true masks, what each step costs, and what a classifier makes of the cut-outs.

    OMP_NUM_THREADS=1 python benchmarks/garments.py [--json FILE] [--part accuracy|times|cost|memory|classify] [--tuned FOLDER] [--quick]

Photos: the 300 of CCP with a label for each pixel (`ccp`), one true mask per photo and category. A pair is a photo and a category in it. Accessories smaller than 0.5 % of the photo are left out, and counted.
`accuracy`: of every row, the share of pairs whose boxes overlap by half or more (`recall`), the mean overlap of the masks over pairs (`mask_iou`), and the share of garments given whose box overlaps by half with the true one of its category, or of any if it does not say which (`precision`).
Intervals resample photos. `whole photo`: nothing is detected and the photo stands for every category. `yolox` finds people, and its largest box stands for every category. `places` cuts the largest person by the mean place of each category
relative to the person in four fifths of the photos, for the other fifth; it cannot know what is worn and proposes what three in ten of those photos wear; `told` knows, as from a title, and its precision is no achievement. Rows with random weights are there for time and size: their scores are null.
`tuned`: a folder of `tune_detector`; scored on the photos that its card holds out, alone.
`times`: milliseconds from file to masks, [median, lower and upper quartile] over a few photos, put into the rows of `accuracy`. The true boxes take no time. `cost`: the same by step; and all boxes in one call of SAM's decoder against a call for each, in turns,
beside what encoding the photo anew for each box would cost, which is computed. One call for many boxes asks for hundreds of megabytes at a time; glibc can be told to keep them: MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=1000000000.
`memory`: the most that a fresh process held while it scanned so many photos. `classify`: which of four garments is worn, from whole photos and from cut-outs, of the garment by its true box or of the whole person: a logistic regression on ImageNet's vectors, on held-out photos.
A cut-out by its true box tells which garment is meant, a photo does not: there the rows can be compared, the columns cannot. The cut-outs of the person tell nothing. Parameters of files that are no torch modules are their size over the bytes of a weight.
`times` and `cost` are to be run on a quiet machine; onnxruntime takes all cores, the rest one thread. `quick` tries all on a few photos, without the large SAMs.
"""
import json as js, time, warnings
from collections import Counter, namedtuple
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
import numpy as np, pandas as pd, torch
from PIL import Image
from fastcore.script import call_parse
from fabric_touch.checkpoints import read_card
from fabric_touch.core import FabricError, data_dir, pick, seeded
from fabric_touch.data import as_photo
from fabric_touch.detectors import Detector, Segmenter, box_masks, detector, find_weights, found_boxes, sam_segmenter, segmenter, tiny_sam
from fabric_touch.embeds import embed, picture_digest
from fabric_touch.encoders import image_encoder
from fabric_touch.garments import crop, find_garments, label_masks, scan_photos, score_garments, true_detector
from fabric_touch.metrics import bootstrap
from heads import read, write

ACCESSORIES, SMALL = ('bag', 'belt', 'glasses', 'glove', 'hat', 'headwear', 'jewellery', 'scarf', 'sock', 'tie', 'umbrella', 'watch'), .005   # left out below this share of the photo
SURE, WORN, HIT, FOLDS = .3, .3, .5, 5   # least score; least share of photos that wear it; least overlap of a box; folds by photo
DEEPLAB = 'deeplabv3_mnv2_pascal_quant.tflite'
Photo = namedtuple('Photo', 'file labels')
Row = namedtuple('Row', 'detector segmenter fallback least real photos detect segment told', defaults=[lambda photo: None])   # photo -> Detector; a Segmenter; photo -> wanted categories

# The photos and their truth

def all_photos(most=None):
    "CCP's photos, or some of them"
    ccp = data_dir('ccp')
    photos = [Photo(f, ccp/'masks'/f'{f.stem}.png') for f in sorted((ccp/'photos').iterdir())]
    return photos[::max(1, len(photos)//most)][:most] if most else photos

def names(): return js.loads((data_dir('ccp')/'label_names.json').read_text())

def truth(photo):
    "(category -> true mask, the categories that are left out)"
    masks = label_masks(photo.labels, names())
    return masks, [c for c,m in masks.items() if c in ACCESSORIES and m.mean() < SMALL]

def counted(photo):
    "The true masks that count"
    masks, small = truth(photo)
    return {c: m for c,m in masks.items() if c not in small}

# A segmenter and a detector of one's own

def deeplab_segmenter():
    "DeepLab v3 on MobileNet v2, of Pascal VOC's 21 classes: the pixels of persons inside each box"
    from ai_edge_litert.interpreter import Interpreter
    path = data_dir('weights')/DEEPLAB
    net = Interpreter(str(path), num_threads=torch.get_num_threads()); net.allocate_tensors()
    x, y = net.get_input_details()[0], net.get_output_details()[0]
    h, w, (scale, zero) = *map(int, x['shape'][1:3]), x['quantization']
    def encode(img):
        pixels = np.asarray(img.resize((w, h)), np.float32)/127.5 - 1
        net.set_tensor(x['index'], (pixels/scale + zero).round().clip(0, 255).astype(x['dtype'])[None]); net.invoke()
        seen = net.get_tensor(y['index'])[0]                                       # (h, w), the class of each pixel; or (h, w, 21), the scores
        return np.asarray(Image.fromarray((seen if seen.ndim == 2 else seen.argmax(-1)) == 15).resize(img.size))
    return Segmenter('deeplab', encode, lambda person, boxes: person & box_masks(person.shape[::-1], boxes), source=path.name, licence='Apache-2.0')

def people_detector():
    "YOLOX, of its 80 classes people alone: with its bags and ties, a photo with a bag would not fall back to the person"
    yolox = detector('yolox')
    def find(img):
        found = yolox(img)
        return found[found.data['class_name'] == 'person'] if len(found) else found
    return replace(yolox, find=find, labels=('person',))

def largest_person(people, img):
    "The box of the largest person, or nothing"
    found = people(img)
    found = found[found.confidence >= SURE] if len(found) else found
    return found.xyxy[found.area.argmax()] if len(found) else None

def mean_places(photos, boxes):
    "Category -> share of photos that wear it, and its mean place on the person (x1, y1, x2, y2 in units of the person's box)"
    rows = []
    for p in photos:
        if boxes[p] is None: continue
        true, corner, size = true_detector(counted(p)).find(None), boxes[p][:2], boxes[p][2:] - boxes[p][:2]
        rows += [(c, *((b.reshape(2, 2) - corner)/size).ravel()) for c,b in zip(true.data.get('class_name', []), true.xyxy)]
    by = pd.DataFrame(rows, columns=['category', 'x1', 'y1', 'x2', 'y2']).groupby('category')
    return by.mean().assign(share=by.size()/len(photos))

def places_detector(people, places):
    "The garments where they usually are on a person"
    at = places[['x1', 'y1', 'x2', 'y2']].to_numpy().reshape(-1, 2, 2)
    def find(img):
        person = largest_person(people, img)
        if person is None: return found_boxes([], [])
        return found_boxes((person[:2] + at*(person[2:] - person[:2])).reshape(-1, 4), list(places.index), places.share)
    return Detector('yolox + places', find, tuple(places.index), source=people.source)

def learned_places(photos, people):
    "Photo -> the detector of places learned on other photos"
    boxes, fold = {p: largest_person(people, p.file) for p in photos}, np.random.default_rng(0).permutation(len(photos))%FOLDS
    made = [places_detector(people, mean_places([p for p,g in zip(photos, fold) if g != f], boxes)) for f in range(FOLDS)]
    return {p: made[f] for p,f in zip(photos, fold)}

# The rows

def real_segmenters():
    "Name -> segmenter, and why others are not there"
    found = dict(box=segmenter('box'), grabcut=segmenter('grabcut'))
    try: return found | dict(deeplab=deeplab_segmenter()), {}
    except ImportError: return found, dict(deeplab='ai-edge-litert is not installed: pip install ai-edge-litert')

def random_segmenter(name):
    with seeded(0): return segmenter(name, pretrained=False)

def real_rows(photos, segmenters):
    people = people_detector()
    nothing, places = Detector('nothing', lambda img: found_boxes([], [])), learned_places(photos, people)
    ways = {'whole photo': ('whole', SURE, lambda p: nothing), 'true boxes': ('none', SURE, lambda p: true_detector(truth(p)[0])),
            'yolox': ('largest', SURE, lambda p: people), 'yolox + places': ('none', WORN, places.get), 'yolox + places, told': ('none', 0, places.get, lambda p: tuple(counted(p)))}
    return [Row(d, s, fallback, least, True, photos, detect, segment, *told) for d,(fallback, least, detect, *told) in ways.items() for s,segment in segmenters.items() if d != 'whole photo' or s == 'box']

def random_rows(photos, quick):
    return [Row('true boxes', s, 'none', SURE, False, photos[:3], lambda p: true_detector(truth(p)[0]), partial(random_segmenter, s)) for s in (('mobile_sam',) if quick else ('mobile_sam', 'sam2', 'sam_vit_b'))]

def tuned_rows(photos, segmenters, folder):
    "Rows of a tuned detector, on the photos it has not seen"
    if not folder: return []
    card = read_card(folder)
    held, found = set(card['training'].get('held_out_digests') or ()), detector(card['base'], pretrained=folder)
    mine = [p for p in photos if picture_digest(p.file) in held]
    if not mine: raise FabricError(f"{folder}: its card holds out none of these photos, so there is nothing to score it on")
    return [Row(f"{card['base']} tuned", s, 'none', SURE, True, mine, lambda p: found, segment) for s,segment in segmenters.items()]

def all_rows(photos, tuned, quick):
    "The rows, and why others are not there"
    segmenters, left_out = real_segmenters()
    return real_rows(photos, segmenters) + tuned_rows(photos, segmenters, tuned) + random_rows(photos, quick), left_out

def weights_of(row, segment):
    "Parameters and megabytes of both parts"
    parts, files = (row.detect(row.photos[0]), segment), dict(yolox=(find_weights('yolox'), 4), deeplab=(data_dir('weights')/DEEPLAB, 1))
    mine = [files[n] for n in ('yolox', 'deeplab') if n in (row.detector.split()[0], row.segmenter)]
    n, size = sum(p.n_params for p in parts), sum(f.stat().st_size for f,_ in mine)
    return dict(parameters=n + round(sum(f.stat().st_size/b for f,b in mine)), mb=(size + 4*n)/1e6)

# accuracy

def right(garment, true):
    "Does its box overlap by half with that of its category, or of any if it does not say which?"
    mine = true if garment.category is None else {c: m for c,m in true.items() if c == garment.category}
    return bool(mine) and score_garments([garment], mine).box_iou.max() >= HIT

def look(row, photo):
    "(pairs of one photo with their overlaps, whether each garment given is right, names of outcomes)"
    masks, small = truth(photo)
    found = find_garments(photo.file, row.detect(photo), row.segment, row.told(photo), row.least, row.fallback)
    pairs = score_garments(found, {c: m for c,m in masks.items() if c not in small}).assign(photo=photo.file.stem)
    hits = pd.DataFrame(dict(hit=[right(g, masks) for g in found if g.category not in small], photo=photo.file.stem))
    return pairs, hits, dict(photos=[found.outcome], garments=[o for g in found for o in g.outcomes], unused=[u.outcome for u in found.unused])

def mean(x, weights=None): return x.mean() if weights is None else weights@x/np.maximum(weights.sum(1), 1e-9)

def over_photos(x, photo): return list(bootstrap(mean, np.asarray(x, float), groups=photo)) if photo.nunique() > 1 else None

def scores(row):
    "Everything measured of one row"
    pairs, hits, outcomes = zip(*(look(row, p) for p in row.photos))
    pairs, hits = pd.concat(pairs), pd.concat(hits)
    pairs['hit'] = pairs.box_iou >= HIT
    by = pairs.groupby('category')
    return dict(recall=over_photos(pairs.hit, pairs.photo), mask_iou=over_photos(pairs.mask_iou, pairs.photo), precision=over_photos(hits.hit, hits.photo), given_per_photo=len(hits)/len(row.photos), pairs=len(pairs),
                categories=by.agg(pairs=('hit', 'size'), recall=('hit', 'mean'), mask_iou=('mask_iou', 'mean')).sort_values('pairs', ascending=False).to_dict('index'),
                outcomes={k: dict(Counter(o for one in outcomes for o in one[k])) for k in ('photos', 'garments', 'unused')})

NO_SCORES = dict.fromkeys(('recall', 'mask_iou', 'precision'))

def about(row): return dict(detector=row.detector, segmenter=row.segmenter, fallback=row.fallback, least_score=row.least, real=row.real, photos=len(row.photos))

def same(a, b): return (a['detector'], a['segmenter']) == (b['detector'], b['segmenter'])

def part_accuracy(photos, tuned, quick, done):
    rows, left_out = all_rows(photos, tuned, quick)
    small, before = [len(truth(p)[1]) for p in photos], done.get('accuracy', {}).get('rows', [])
    table = dict(photos=len(photos), small_left_out=sum(small), least_share=SMALL, worn_by_least=WORN, left_out=left_out, rows=[])
    for row in rows:
        new = about(row) | (scores(row) if row.real else NO_SCORES)
        table['rows'].append(new | next(({k: old[k] for k in ('ms', 'timed', 'parameters', 'mb') if k in old} for old in before if same(old, new)), {}))
        if row.real: print(f'{row.detector:15} {row.segmenter:8} ' + '   '.join(f'{k} {new[k][0]:.3f}' for k in NO_SCORES if new[k]), new['outcomes']['photos'], flush=True)
        yield table

# times and cost

def spread(seconds): return [1e3*float(q) for q in np.quantile(seconds, [.5, .25, .75])]

def clocked(f, times):
    "The function, noting the seconds of each call"
    def timed(*args):
        start = time.perf_counter(); out = f(*args); times.append(time.perf_counter() - start)
        return out
    return timed

def part_times(photos, tuned, quick, done):
    table = done['accuracy']
    for row in all_rows(photos, tuned, quick)[0]:
        old, segment, few, times = next((r for r in table['rows'] if same(r, about(row))), None), row.segment if row.real else row.segment(), row.photos[:3 if quick else 20], []
        if old is None: raise FabricError(f"the table has no row {row.detector} x {row.segmenter}; run --part accuracy with the same rows first")
        find = clocked(find_garments, times)
        for p in few: find(p.file, row.detect(p), segment, row.told(p), row.least, row.fallback)
        old |= dict(ms=spread(times), timed=len(times)) | weights_of(row, segment)
        print(f"{row.detector:15} {row.segmenter:10} {old['ms'][0]:9.1f} ms {old['parameters']:12,} parameters {old['mb']:7.1f} MB", flush=True)
        yield dict(threads=torch.get_num_threads())

def stages(photos, segment, background='white'):
    "ms of each step of a photo, yolox's largest box and one segmenter"
    times = {k: [] for k in ('decode', 'detect', 'encode', 'mask', 'crop', 'all')}
    yolox, load, cut = people_detector(), clocked(as_photo, times['decode']), clocked(crop, times['crop'])
    yolox, segment = replace(yolox, find=clocked(yolox.find, times['detect'])), replace(segment, encode=clocked(segment.encode, times['encode']), decode=clocked(segment.decode, times['mask']))
    def one(file):
        for g in find_garments(load(file), yolox, segment, fallback='largest'): cut(g, background)
    for p in photos: clocked(one, times['all'])(p.file)
    return {k: spread(t) for k,t in times.items() if t}

def some_boxes(n, size, seed=0):
    "Random boxes inside a photo"
    a, b = np.random.default_rng(seed).random((2, n, 2))*.5
    return np.concatenate([a, a + .1 + b*.8], 1).astype(np.float32)*np.tile(size, 2)

def box_row(n, encode, together, each):
    "One number of boxes; what encoding anew for each box would cost is computed, not run"
    anew = n*encode + each[0]
    return dict(boxes=n, together_ms=together, each_ms=each, ratio=each[0]/together[0], encoded_anew_ms_computed=anew, ratio_anew_computed=anew/(encode + together[0]))

def boxes_cost(photo, quick, reps=5):
    "All boxes in one call of SAM's decoder and a call for each, in turns; the photo is encoded once"
    sam, img, encoding, rows = sam_segmenter('vit_b', False, tiny_sam() if quick else None), as_photo(photo.file), [], []
    state = clocked(sam.encode, encoding)(img)
    for n in (1, 2, 4) if quick else (1, 2, 4, 8, 16, 32):
        boxes, together, single, masks = some_boxes(n, img.size), [], [], None
        for _ in range(reps):
            masks = clocked(sam.decode, together)(state, boxes), clocked(lambda: np.concatenate([sam.decode(state, b[None]) for b in boxes]), single)()
        rows.append(box_row(n, 1e3*encoding[0], spread(together), spread(single)) | dict(pixels_apart=float((masks[0] != masks[1]).mean())))
        print(rows[-1], flush=True)
    return dict(segmenter='tiny_sam' if quick else 'sam_vit_b', real=False, encode_ms=1e3*encoding[0], repeats=reps, rows=rows)

def part_cost(photos, tuned, quick, done):
    plan = dict(grabcut=20, box=20, mobile_sam=5, sam_vit_b=3) if not quick else dict(grabcut=3, box=3, mobile_sam=1)
    table = dict(threads=torch.get_num_threads(), detector='yolox', fallback='largest', background='white', rows=[])
    for name,n in plan.items():
        real = name in ('grabcut', 'box')
        table['rows'].append(r := dict(segmenter=name, real=real, photos=n, ms=stages(photos[:n], segmenter(name) if real else random_segmenter(name))))
        print(f'{name:10}', {k: round(v[0], 1) for k,v in r['ms'].items()}, flush=True)
        yield table
    with seeded(0): table['boxes'] = boxes_cost(photos[0], quick)
    yield table

# memory

def peak_mb(files):
    "Most memory of this process, in megabytes, after scanning files"
    warnings.filterwarnings('ignore')
    n = sum(len(found) for found in scan_photos(files, 'yolox', 'box', fallback='largest', progress=False))
    status = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())
    return int(status['VmHWM'].split()[0])*1024/1e6, n

def part_memory(photos, tuned, quick, done):
    files, table = [p.file for p in photos], dict(detector='yolox', segmenter='box', rows=[])
    for n in (5, 10, 20) if quick else (10, 100, 1000):
        with get_context('spawn').Pool(1) as pool: mb, garments = pool.apply(peak_mb, ((files*(n//len(files) + 1))[:n],))
        table['rows'].append(dict(photos=n, peak_mb=mb, garments=garments))
        print(table['rows'][-1], flush=True)
        yield table

# classify

LOWER, KINDS = ('pants', 'skirt', 'dress', 'shorts'), ('whole', 'cutout', 'both')

def task(photos):
    "Photos that show exactly one of the four, and which"
    worn = [(p, [c for c in LOWER if c in truth(p)[0]]) for p in photos]
    return [(p, c[0]) for p,c in worn if len(c) == 1]

def person_detector():
    "The largest person, as clothing of any kind"
    people = people_detector()
    def find(img): return found_boxes(boxes := [b for b in [largest_person(people, img)] if b is not None], ['clothing']*len(boxes))
    return Detector('person', find, ('clothing',), source=people.source)

def ways_to_cut(quick):
    "Name -> how to cut: category, true mask -> detector, segmenter"
    segmenters, person, true = real_segmenters()[0], person_detector(), lambda m: Segmenter('true', lambda img: m[None], lambda masks, boxes: masks)
    found = {'true mask': lambda c, m: (true_detector({c: m}), true(m)), 'true box, grabcut': lambda c, m: (true_detector({c: m}), segmenters['grabcut'])}
    if 'deeplab' in segmenters: found['person, deeplab'] = lambda c, m: (person, segmenters['deeplab'])
    return {'true mask': found['true mask']} if quick else found

def cutouts(photo, category, way, backgrounds):
    "Cut-outs of one garment on each background, and the outcome; the whole photo stands for what could not be cut"
    found = find_garments(photo.file, *way(category, truth(photo)[0][category]), category, fallback='whole')
    return [crop(found[0], b) for b in backgrounds], found.outcome

def pooled_encoder():
    data = dict(img_size=224, mean=(.5,)*3, std=(.5,)*3, crop_pct=1.)
    return image_encoder('mobilenetv2_100', data_dir('weights')/'mobilenetv2_100_tfptq_fp16.pth', data=data, pad_type='same')

def fitted(x, y, groups):
    "Logistic regression, its C chosen on photos it was not fitted to"
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, class_weight='balanced'))
    grid = dict(logisticregression__C=[1e-5, 1e-4, 1e-3, 1e-2, .1])
    return GridSearchCV(model, grid, scoring='balanced_accuracy', cv=StratifiedGroupKFold(3, shuffle=True, random_state=0)).fit(x, y, groups=groups)

def answers(seen, y, folds):
    "Kind of training -> kind of test -> whether each photo's answer was right; `seen` holds the vectors of whole photos and of cut-outs"
    out = {k: {t: np.zeros(len(y)) for t in seen} for k in KINDS}
    for train,test in folds:
        for kind in KINDS:
            used = [kind] if kind in seen else list(seen)
            model = fitted(np.concatenate([seen[u][train] for u in used]), np.tile(y[train], len(used)), np.tile(train, len(used)))
            for t in seen: out[kind][t][test] = model.predict(seen[t][test]) == y[test]
    return out

def balanced(hit, which, weights=None):
    "Mean over classes of the share that is right; `which` is (n, classes)"
    w = np.ones((1, len(hit))) if weights is None else weights
    share = np.nanmean((w@(which*hit[:, None]))/(w@which), axis=1)
    return share[0] if weights is None else share

def table_of(right, y):
    "Balanced accuracy of the 3 x 2 ways, and what training on both gains over one kind alone"
    which = (y[:, None] == np.unique(y)).astype(float)
    score = lambda hit: list(bootstrap(balanced, hit, which))
    gains = {f'both_over_{k}_on_{t}': score(right['both'][t] - right[k][t]) for k in ('whole', 'cutout') for t in ('whole', 'cutout')}
    return dict(scores={k: {t: score(h) for t,h in tests.items()} for k,tests in right.items()}, gains=gains | dict(cutout_over_whole_on_cutout=score(right['cutout']['cutout'] - right['whole']['cutout'])))

def part_classify(photos, tuned, quick, done):
    from sklearn.model_selection import StratifiedKFold
    items, encoder, backgrounds = task(photos), pooled_encoder(), ('mean',) if quick else ('mean', 'white', 'keep')
    y, see = np.array([c for _,c in items]), partial(embed, encoder, progress=False)
    folds, whole = list(StratifiedKFold(2 if quick else FOLDS, shuffle=True, random_state=0).split(y, y)), see([p.file for p,_ in items]).numpy()
    table = dict(photos=len(items), counts=dict(Counter(y.tolist())), folds=len(folds), encoder='mobilenetv2_100, ImageNet, pooled', most_frequent=1/len(set(y)), rows=[])
    for source,way in ways_to_cut(quick).items():
        pictures, outcomes = zip(*(cutouts(p, c, way, backgrounds) for p,c in items))
        for b,crops in zip(backgrounds, zip(*pictures)):
            table['rows'].append(r := dict(masks=source, background=b, outcomes=dict(Counter(outcomes))) | table_of(answers(dict(whole=whole, cutout=see(list(crops)).numpy()), y, folds), y))
            print(source, b, {k: {t: round(x[0], 3) for t,x in v.items()} for k,v in r['scores'].items()}, flush=True)
            yield table

PARTS = dict(accuracy=part_accuracy, times=part_times, cost=part_cost, memory=part_memory, classify=part_classify)

@call_parse
def main(
    json:str=None, # Write the tables here, after each row; parts that stand there and are not asked for stay
    part:str='', # Only this part
    tuned:str='', # Folder of a tuned detector, for rows of its own
    quick:bool=False, # Try everything on a few photos
):
    "Measure the way from photo to cut-out"
    warnings.filterwarnings('ignore')
    import cv2; cv2.setNumThreads(torch.get_num_threads())
    done = read(json)
    for name in [part] if part else PARTS:
        print(f'\n{name}', flush=True)
        photos = all_photos((60 if name == 'classify' else 12) if quick else None)
        for done[name] in pick(PARTS, name, 'part')(photos, tuned, quick, done): write(json, done)
