"""What was tried to break the library, and what came of it: hostile files offered to every reader, and every job killed again and again.

    OMP_NUM_THREADS=1 python benchmarks/trust.py [--json FILE] [--part inputs|kills] [--flips 1000] [--kills_ 20]

The tables are those of the tests, `tests/hostile.py` and `tests/unplugged.py`, with more flips and more kills than there.
`inputs`: each reader against each attack on each of its files: how many inputs were tried, how many were read all the same (the damage hit something harmless, and the result was checked) and how many refused by an error of ours; faults would be anything else.
Memory is what an attempt took above what its process had before, in MB; seconds are of the slowest attempt. A reader whose libraries are not installed is in `left_out`.
`kills`: each job killed by SIGKILL at seeded moments, half of them just before a file is put in place, half at any time; then it went on to its end. `lost` counts files that were half written, and results other than those of a run that nobody stopped.
"""
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
import torch
from fastcore.script import call_parse
from heads import read, write
sys.path.insert(0, str(Path(__file__).parents[1]/'tests'))

def inputs(flips):
    "Every reader against every attack"
    from hostile import READERS, _has, try_all
    start, table = time.perf_counter(), try_all(flips, short=False)
    sums = dict(tried='sum', fine='sum', refused='sum', faults='sum', memory_mb='max', seconds='max')
    by = lambda k: table.groupby(k, sort=False).agg(sums).round(3).reset_index().to_dict('records')
    left_out = {n: [m for m in r.needs if not _has(m)] for n,r in READERS.items() if not all(map(_has, r.needs))}
    return dict(flips=flips, tried=int(table.tried.sum()), faults=int(table.faults.sum()), readers=by('reader'), attacks=by('attack'), left_out=left_out, took_s=time.perf_counter()-start)

def killed(job, n):
    "One job, killed `n` times"
    from unplugged import survive
    torch.set_num_threads(1)
    start = time.perf_counter()
    done, lost = survive(job, n, seed=2)
    print(row := dict(job=job, kills=done, lost=len(lost), took_s=time.perf_counter()-start), flush=True)
    return row

def kills(n):
    "Every job, each in a process of its own, since what one job starts (threads of torch) is no good in the forks of the next"
    from unplugged import JOBS
    with ProcessPoolExecutor(1, mp_context=get_context('spawn'), max_tasks_per_child=1) as pool: return dict(rows=[*pool.map(killed, JOBS, [n]*len(JOBS))])

@call_parse
def main(
    json:str=None, # Write the tables here, after each part; parts that stand there and are not asked for stay
    part:str='', # Only this part
    flips:int=1000, # Flipped bits that are tried for each file of a reader
    kills_:int=20, # Kills of each job
):
    "Try to break every reader and every job"
    torch.set_num_threads(1)
    done = read(json)
    for name,run in dict(inputs=lambda: inputs(flips), kills=lambda: kills(kills_)).items():
        if part in ('', name): done[name] = run(); write(json, done)
