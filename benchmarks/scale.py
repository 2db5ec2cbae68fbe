"""What a photo and a shop page cost as their number grows tenfold: in one process, and on Ray with one and two workers.

    python benchmarks/scale.py [--json FILE] [--parts photos pages encoders list] [--photos 1000 3000 10000] [--pages 1000 10000] [--repeats 1]

Photos are cuts of 224 pixels out of generated swatches, as JPEG, in a temporary folder. Each run is a process of its own, whose memory and that of all its children is sampled. The seconds of one core that a shard takes are measured in the worker,
which others on the machine disturb less than wall time, but do: to be run on a quiet one. `load` is how busy it was after each run. All ways end with the same bytes, which is checked. `encoders` takes photos of the size that shops have, about 100 kB, and `list` a million
paths. The parts that are run replace their figures in the file; the others stay.
"""
import hashlib, json as js, os, statistics, subprocess, sys, tempfile, threading, time
from argparse import ArgumentParser
from pathlib import Path

import numpy as np, pandas as pd, psutil, pyarrow as pa, torch
from PIL import Image
from fabric_touch import scale
from fabric_touch.encoders import image_encoder
from fabric_touch.swatches import make_swatches

SHARD = 250
RUN = """
import json, sys, time
from fabric_touch.scale import describe_catalog, embed_files
start = time.perf_counter()
done = dict(photos=embed_files, pages=describe_catalog)[sys.argv[1]](sys.argv[2], sys.argv[3], workers=int(sys.argv[4]), shard=int(sys.argv[5]))
print(json.dumps(dict(seconds=done.seconds, failed=done.failed, wall_s=time.perf_counter() - start)))
"""

def make_photos(folder, n, fabrics=100, side=320):
    "Cuts of generated swatches, turned and mirrored: all different"
    rng, images = np.random.default_rng(0), make_swatches(fabrics, size=side, progress=False).images
    for i in range(n):
        y, x = rng.integers(0, side - 224, 2)
        cut = np.rot90(images[i % fabrics][y:y+224, x:x+224], rng.integers(4))
        Image.fromarray(cut).save(folder/f'{i:05d}.jpg', quality=90)
    return sum(p.stat().st_size for p in folder.iterdir())/n

def make_lists(home, n):
    "The first n photos as a list, and as a table of shop pages"
    names = [f'photos/{i:05d}.jpg' for i in range(n)]
    pd.DataFrame(dict(path=names)).to_parquet(home/f'photos_{n}.parquet')
    titles, labels = ('면 스커트', 'linen shirt', 'jeans', '남자 면바지'), ('cotton 95 elastane 5', 'linen 100', '면 60% 폴리에스터 40%')
    rows = dict(title=[titles[i % 4] for i in range(n)], photos=names, label=[labels[i % 3] for i in range(n)])
    pd.DataFrame(rows).to_parquet(home/f'pages_{n}.parquet')

# ---- one run, watched

def memory(p):
    "(resident, its share of what is shared) in MiB"
    said = Path('/proc', str(p.pid), 'smaps_rollup').read_text()
    kB = lambda k: int(said.split(f'{k}:')[1].split()[0])
    return kB('Rss')/1024, kB('Pss')/1024

def watch(pid, peaks, ended):
    "Peaks of the driver, of a worker, and of everything together, each quarter of a second"
    driver = psutil.Process(pid)
    def family():
        try: return [driver, *driver.children(recursive=True)]
        except psutil.Error: return []                                  # it has just ended
    while not ended.wait(.25):
        total = 0.
        for p in family():
            try: (rss, pss), kind = memory(p), 'driver' if p.pid == pid else 'worker' if p.cmdline()[0].startswith('ray::MapWorker') else 'ray'
            except (psutil.Error, OSError, IndexError): continue
            total += pss
            peaks[kind] = max(peaks.get(kind, 0), rss)
        peaks['all'] = max(peaks.get('all', 0), total)

def run_once(what, rows, out, workers):
    "What one run took"
    p = subprocess.Popen([sys.executable, '-W', 'ignore', '-c', RUN, what, rows, out, str(workers), str(SHARD)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    peaks, ended = {}, threading.Event()
    watcher = threading.Thread(target=watch, args=(p.pid, peaks, ended), daemon=True)
    watcher.start()
    said, err = p.communicate()
    ended.set(); watcher.join()
    if p.returncode: raise RuntimeError(f'{what} {rows} with {workers} workers ended with {p.returncode}: {err[-2000:]}')
    return js.loads(said.splitlines()[-1]) | dict(mib={k: round(v) for k, v in peaks.items()})

def run_again(*args):
    "A run; on a machine that is very busy Ray may not come up in its own time, so once more, and told"
    try: return run_once(*args)
    except RuntimeError as e: print('AGAIN:', e, flush=True)
    return run_once(*args)

def pace(out, workers):
    "Rows a second from the moment when every worker has written its first shard"
    times = sorted(p.stat().st_mtime for p in out.glob('shards/*/*.parquet'))
    first = max(workers, 1) - 1
    return (len(times) - 1 - first)*SHARD/(times[-1] - times[first]) if len(times) > first + 2 else float('nan')

def digest(out):
    h = hashlib.sha256()
    for p in sorted(out.glob('shards/*/*.parquet')): h.update(p.name.encode() + p.read_bytes())
    return h.hexdigest()

def compare(home, what, sizes, repeats):
    "A row for each number of rows and of workers: medians"
    rows = []
    for n in sizes:
        digests = set()
        for workers in (0, 1, 2):
            runs = []
            for k in range(repeats):
                out = home/f'{what}_{n}_{workers}_{k}'
                runs.append(run_again(what, home/f'{what}_{n}.parquet', out, workers) | dict(pace=pace(out, workers)))
                digests.add(digest(out))
            mid = lambda f: statistics.median(map(f, runs))
            rows.append(dict(rows=n, workers=workers, core_ms=1e3*mid(lambda r: r['seconds'])/n, per_s=mid(lambda r: r['pace']), wall_s=mid(lambda r: r['wall_s']), failed=runs[0]['failed'],
                             mib={k: mid(lambda r: r['mib'].get(k, 0)) for k in ('driver', 'worker', 'all')}, bytes=sum(p.stat().st_size for p in out.glob('shards/*/*.parquet'))/n, runs=len(runs), load=os.getloadavg()[0]))
            print(f"{n:,} {what}, {workers or 'no'} workers: {rows[-1]['core_ms']:.2f} ms of a core each, {rows[-1]['per_s']:.0f}/s running, {rows[-1]['wall_s']:.0f} s in all, {rows[-1]['mib']}", flush=True)
        assert len(digests) == 1, f'{n} {what}: the ways differ'
    return rows

# ---- parts of the plan to a billion

def cpu(f, repeats=3):
    "Seconds of this process, median"
    def once():
        start = time.process_time(); f()
        return time.process_time() - start
    return statistics.median(once() for _ in range(repeats))

def make_shop_photos(folder, n):
    "Photos of 1000 x 800 pixels, about 100 kB each"
    folder.mkdir()
    for i, a in enumerate(make_swatches(n, size=512, progress=False).images): Image.fromarray(a).resize((800, 1000), Image.BICUBIC).save(folder/f'{i:02d}.jpg', quality=80)
    return [f.name for f in sorted(folder.iterdir())], sum(f.stat().st_size for f in folder.iterdir())/n

def row_bytes(home, n_out, dtype, n=1000):
    "Bytes of a row whose vector, name and digest do not compress"
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(n, n_out)).astype(dtype)
    table = pa.table(dict(path=[f'{rng.bytes(8).hex()}.jpg' for _ in range(n)], digest=[rng.bytes(16).hex() for _ in range(n)], vector=scale._vector_column(vectors, np.arange(n), n), error=pa.array([None]*n, pa.string())))
    (home/'list.parquet').unlink(missing_ok=True)
    names = scale._write_list(home/'list.parquet', [('0000/row.parquet', ['x'])])
    scale._Job(home, lambda rows: table, {})(0, names[0][0])
    return (home/'shards'/names[0][0]).stat().st_size/n

def bench_encoders(home, n=32):
    "Milliseconds of one core from a file to its vector, and bytes of a row"
    torch.set_num_threads(1)
    (paths, size), res = make_shop_photos(home/'shop', n), {}
    for name, encoder in dict(swatch=image_encoder('swatch'), clip=image_encoder('clip', pretrained=False)).items():
        ms = 1e3*cpu(lambda: scale.embed_shard(paths, encoder, str(home/'shop')), 5)/n
        res[name] = dict(core_ms=ms, n_out=encoder.n_out, jpeg_bytes=size, **{f'bytes_{t}': row_bytes(home/name, encoder.n_out, t) for t in scale.VECTOR_TYPES})
    return res

def bench_list(home, n=1_000_000):
    "A list of a million paths: what it takes to cut it, to look at it again, and to read one shard's rows"
    rng, out = np.random.default_rng(0), home/'plan'
    raw = rng.bytes(8*n).hex()
    names = [f'shop/{i % 1000:03d}/{raw[16*i:16*i+16]}.jpg' for i in range(n)]
    out.mkdir()
    plan = lambda: scale._plan(out, iter(names), dict(format=scale.FORMAT, shard=1000), 1000)
    first, job = cpu(plan, 1), scale._Job(out, None, {})
    return dict(paths=n, write_s=first, again_s=cpu(plan, 3), read_ms=1e3*cpu(lambda: job._rows(500), 9), bytes=(out/'list.parquet').stat().st_size/n)

def main(args):
    "The parts, in one run"
    import ray
    path = args.json and Path(args.json)
    res = js.loads(path.read_text()) if path and path.exists() else {}
    with tempfile.TemporaryDirectory() as home:
        home = Path(home); (home/'photos').mkdir()
        sizes = [n for k in ('photos', 'pages') if k in args.parts for n in getattr(args, k)]
        if sizes: res['jpeg_bytes'] = make_photos(home/'photos', max(sizes))
        for n in {*sizes}: make_lists(home, n)
        for k in args.parts: res[k] = dict(encoders=bench_encoders, list=bench_list)[k](home) if k in ('encoders', 'list') else compare(home, k, getattr(args, k), args.repeats)
    res |= dict(shard=SHARD, cores=os.cpu_count(), threads=1, gpu='not measured', torch=torch.__version__, ray=ray.__version__)
    if path: path.write_text(js.dumps(res, indent=1) + '\n')

if __name__ == '__main__':
    p = ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument('--json', help='where to write the figures')
    p.add_argument('--parts', nargs='+', default=['photos', 'pages', 'encoders', 'list'], choices=['photos', 'pages', 'encoders', 'list'], help='what to measure')
    p.add_argument('--photos', type=int, nargs='+', default=[1000, 3000, 10_000], help='numbers of photos')
    p.add_argument('--pages', type=int, nargs='+', default=[1000, 10_000], help='numbers of pages')
    p.add_argument('--repeats', type=int, default=1, help='runs behind each median')
    main(p.parse_args())
