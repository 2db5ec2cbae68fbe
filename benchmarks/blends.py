"""How fast labels are read: a table of 100,000 in ten languages, all different, and again as a shop has them, each some twenty times.

    python benchmarks/blends.py [--json FILE] [--labels 100000] [--repeats 3]

Two ways: `parse_blends`, which reads every distinct label once, many of them on all cores, and a loop over the rows. Each figure is the median of the repeats. The labels are generated: names of the
table in one language, shares that sum to 100, a third with an outer part and a lining, one in twenty with a fault.
"""
import os, random, statistics, time
from json import dumps
from pathlib import Path

from fastcore.script import call_parse
from fabric_touch.blends import FIBRES, NAMES, BlendError, parse_blend, parse_blends

PARTS = dict(en=('Shell', 'Lining'), ko=('겉감', '안감'), es=('Exterior', 'Forro'), nl=('Buitenlaag', 'Voering'), de=('Obermaterial', 'Futter'), fr=('Extérieur', 'Doublure'),
             it=('Esterno', 'Fodera'), pt=('Exterior', 'Forro'), ja=('表地', '裏地'), zh=('面料', '里料'))
KNOWN = {lang: {f: [r.name for r in NAMES if r.lang == lang and r.fibre == f and r.source != 'misspelling'] for f in FIBRES} for lang in PARTS}


def blend(rng, lang):
    "One cloth: one to four fibres, shares that sum to 100 but for one cloth in thirty"
    fibres = rng.sample(FIBRES, rng.choice((1, 2, 2, 2, 3, 3, 4)))
    cuts = sorted(rng.sample(range(1, 100), len(fibres)-1))
    shares = [b-a for a,b in zip([0, *cuts], [*cuts, 100])]
    if rng.random() < 1/30: shares[0] += 1
    names = [rng.choice(KNOWN[lang][f]) for f in fibres]
    return ', '.join(f'{n} {s}%' for n,s in zip(names, shares)) if rng.random() < .5 else ' '.join(f'{s}% {n}' for n,s in zip(names, shares))

def label(rng):
    lang = rng.choice([*PARTS])
    if rng.random() < .65: return blend(rng, lang)
    return '\n'.join(f'{part}: {blend(rng, lang)}' for part in PARTS[lang])

def read(text):
    try: return parse_blend(text)
    except BlendError as e: return e

def timed(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

@call_parse
def main(
    labels:int=100_000, # Rows of each table
    repeats:int=3, # Runs behind each median
    json:str=None, # Where to write the figures
):
    "How fast labels are read, two ways in one run"
    rng = random.Random(0)
    different = [label(rng) for _ in range(labels)]
    shop = [rng.choice(different[:labels//20]) for _ in range(labels)]
    res = dict(labels=labels, cores=os.cpu_count())
    for name, texts in dict(different=different, shop=shop).items():
        table, loop = (statistics.median(timed(f) for _ in range(repeats)) for f in (lambda: parse_blends(texts), lambda: [read(t) for t in texts]))
        refused = int(parse_blends(texts).error.notna().sum())
        res[name] = dict(distinct=len(set(texts)), refused=refused, parse_blends_s=table, loop_s=loop, ratio=loop/table)
        print(f"{name}: {labels:,} labels, {len(set(texts)):,} distinct: parse_blends {table:.2f} s, a loop {loop:.2f} s, {loop/table:.1f} times faster; {refused:,} refused")
    if json: Path(json).write_text(dumps(res, indent=1) + '\n')
