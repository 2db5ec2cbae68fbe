"""Run notebooks into themselves, as the docs show saved outputs: python .ci/execute.py nbs/20_touch.ipynb …

Warnings that libraries print while they are imported are left out; then the notebook is brought into the form that git keeps.
"""
import json, subprocess, sys
from pathlib import Path

def execute(nb):
    "Run one notebook, stop at the first error, save the outputs without the error stream"
    subprocess.run(['exec_nb', '--exc_stop', nb, '--dest', nb], check=True)
    d = json.loads(Path(nb).read_text(encoding='utf-8'))
    for cell in d['cells']:
        if 'outputs' in cell: cell['outputs'] = [o for o in cell['outputs'] if o.get('name') != 'stderr']
    Path(nb).write_text(json.dumps(d, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    subprocess.run(['nbdev_clean', '--fname', nb], check=True)

if __name__ == '__main__':
    for nb in sys.argv[1:]: print(nb, flush=True); execute(nb)
