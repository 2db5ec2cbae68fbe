"""Four kostantiniyye, one for each touch, against the same four joined on one trunk: equal outputs, medians and the ratio.

    python benchmarks/galata.py [--json FILE] [--reps 7]

Photos go through CLIP's tower at its real size, with random weights: the time does not depend on them.
"""
import torch
from fastcore.script import call_parse
from fabric_touch.core import TOUCHES
from fabric_touch.encoders import image_encoder
from fabric_touch.galata import Galata
from fabric_touch.swatches import make_blends
from fabric_touch.touch import touch_model
from fusion import seconds, write

def pair():
    "The four models apart, and joined"
    encoder = image_encoder('clip', pretrained=False)
    four = {t: touch_model('kostantiniyye', encoder, t).eval() for t in TOUCHES}
    return four.values(), Galata.from_models(**four)

CASES = {f'{what}, batch {b}': (shape, b) for what,shape in (('photos', (3, 224, 224)), ('stored vectors', (512,))) for b in (1, 8)}

@call_parse
def main(
    json:str=None, # Write the table here
    reps:int=7, # Repetitions; the median counts
):
    "Time Galata against the models it was joined from"
    torch.manual_seed(0)
    (four, galata), rows = pair(), []
    for name,(shape, b) in CASES.items():
        x, blends = torch.rand(b, *shape), torch.from_numpy(make_blends(b, seed=0))
        with torch.no_grad():
            ways = [lambda: torch.cat([m(x, blends) for m in four], 1), lambda: galata(x, blends)]
            diff = (ways[0]() - ways[1]()).abs().max().item()
            t = [seconds(f, reps) for f in ways]
        rows.append(dict(case=name, four_ms=round(1e3*t[0], 1), galata_ms=round(1e3*t[1], 1), ratio=round(t[0]/t[1], 2), largest_difference=diff))
        print('{case:26s} {four_ms:9.1f} ms  {galata_ms:9.1f} ms  x {ratio:5.2f}  differ by {largest_difference:.0e}'.format(**rows[-1]), flush=True)
    write(json, rows)
