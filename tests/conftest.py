"What every test can count on: no network, no surprises from the environment, real data found where it lies beside the checkout."
import os, signal, socket, threading
from pathlib import Path

import pytest

_data = Path(__file__).resolve().parents[2]/'shared'/'data'
if _data.is_dir(): os.environ.setdefault('FABRIC_TOUCH_DATA', str(_data))
os.environ.update(HF_HUB_OFFLINE='1', NO_ALBUMENTATIONS_UPDATE='1', ORT_DISABLE_TELEMETRY='1', MPLBACKEND='Agg')
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ.setdefault('OMP_NUM_THREADS', '1')   # the workers share the cores
# commands run as processes of their own: what asks for a proxy there meets a closed port of this machine
os.environ.update({k: 'http://127.0.0.1:9' for k in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')})
os.environ.update(no_proxy='localhost,127.0.0.1,::1', NO_PROXY='localhost,127.0.0.1,::1')

# what is started in the background of a shell ignores Ctrl-C, and so would the processes that tests interrupt
if threading.current_thread() is threading.main_thread(): signal.signal(signal.SIGINT, signal.default_int_handler)

_connect, _connect_ex, _lookup = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo


class NetworkUsed(RuntimeError): "A test reached for the network"

def is_here(host):
    "Does a host name or address mean this machine?"
    if isinstance(host, bytes): host = host.decode()
    return host in (None, '', 'localhost', '::1', '::', '0.0.0.0') or str(host).startswith('127.')

def _allowed(sock, address):
    if sock.family not in (socket.AF_INET, socket.AF_INET6) or is_here(address[0]): return
    raise NetworkUsed(f'a test tried to connect to {address[0]}:{address[1]}; tests use no network')

def _guarded_connect(sock, address):
    _allowed(sock, address)
    return _connect(sock, address)

def _guarded_connect_ex(sock, address):
    _allowed(sock, address)
    return _connect_ex(sock, address)

def _guarded_lookup(host, *args, **kwargs):
    if not is_here(host) and not str(host).replace('.', '').isdigit(): raise NetworkUsed(f'a test tried to look up {host}; tests use no network')
    return _lookup(host, *args, **kwargs)

@pytest.fixture(scope='session', autouse=True)
def no_network():
    "Sockets reach this machine only"
    with pytest.MonkeyPatch.context() as m:
        m.setattr(socket.socket, 'connect', _guarded_connect)
        m.setattr(socket.socket, 'connect_ex', _guarded_connect_ex)
        m.setattr(socket, 'getaddrinfo', _guarded_lookup)
        yield

def pytest_addoption(parser):
    parser.addoption('--stress', action='store_true', help='also run the tests marked "stress", which take long')

def pytest_configure(config):
    config.addinivalue_line('markers', 'stress: takes long; skipped unless --stress is given')
    config.addinivalue_line('markers', 'once: about our own code alone; `-m "not once"` leaves it out where only the libraries around it are other ones')

def pytest_collection_modifyitems(config, items):
    if config.getoption('--stress'): return
    skip = pytest.mark.skip(reason='a stress test: give --stress to run it')
    for item in items:
        if item.get_closest_marker('stress'): item.add_marker(skip)

@pytest.fixture(scope='module')
def one_thread():
    "Equal sums in every run, and children that may be forked"
    import torch
    n = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n)

# many commands in one process, since loading torch is what takes the time: their lines come as JSON, (code, output, errors) of each goes back
DRIVER = """
import contextlib, io, json, runpy, sys
res = []
for args in json.load(sys.stdin):
    out, err, code = io.StringIO(), io.StringIO(), 0
    sys.argv = args
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try: runpy.run_path(args[0], run_name='__main__')
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 0 if e.code is None else 1
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
        except BaseException:
            import traceback; code = 1; traceback.print_exc()
    res.append((code, out.getvalue(), err.getvalue()))
print(json.dumps(res))
"""
