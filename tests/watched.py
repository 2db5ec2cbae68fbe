"Attempts that are watched: each is made in a child process that can die, hang or fill the memory, and a hook sees and stops what no reader of files does."
import faulthandler, gc, json, os, re, resource, select, signal, sys, tempfile, time, warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from fabric_touch.core import FabricError

SECONDS, MEMORY = 10, 500          # of one attempt; MB above what the process had before

@dataclass
class Attempt:
    "What is tried: `prepare()`, then `run()`, which is timed, limited and watched; `check(result)` says what is wrong with what came back"
    name:tuple
    prepare:object
    run:object
    check:object = lambda result: ''
    may_write:tuple = ()   # Folders
    secret:object = None   # A folder in which nothing may be opened
    may_warn:bool = False

@dataclass
class Outcome:
    "What came of an attempt"
    name:tuple
    kind:str           # fine, refused, crash, timeout, memory, or broken, where the attempt itself cannot be made
    error:str = ''     # Type of what was raised
    ours:bool = False  # A `FabricError`?
    text:str = ''      # What it says
    saw:list = field(default_factory=list) # What was done that no reader does
    check:str = ''
    mb:float = 0.      # Memory above what there was before, at most
    seconds:float = 0.

_LEAVES = {'os.remove', 'os.rename', 'os.rmdir', 'os.mkdir', 'os.link', 'os.symlink', 'os.truncate', 'os.chmod', 'os.chown', 'shutil.rmtree'}
_RUNS = {'os.system', 'os.exec', 'os.posix_spawn', 'os.fork', 'subprocess.Popen', 'pickle.find_class', 'socket.connect', 'socket.getaddrinfo', 'webbrowser.open'}

class Watch:
    "An audit hook: what is written, removed or renamed elsewhere, what is run, sockets and secrets are told of, and stopped, so that no fault of a reader reaches the machine"
    def __init__(self, own): self.on, self.saw, self.own, self.may_write, self.secret = False, [], own, (), None
    def inside(self, path, folders):
        real = os.path.join(os.path.realpath(path), '')
        return any(real.startswith(os.path.join(os.path.realpath(o), '')) for o in folders)
    def stop(self, what): self.saw.append(what[:300]); raise PermissionError(f'watched: {what[:200]}')
    def __call__(self, event, args):
        if not self.on: return
        self.on = False
        try: self.look(event, args)
        except (TypeError, ValueError): pass      # of a path that is none
        finally: self.on = True
    def look(self, event, args):
        paths = [os.fsdecode(p) for p in args[:2 if event in ('os.rename', 'os.link', 'os.symlink') else 1] if isinstance(p, (str, bytes, os.PathLike))]
        below = event in ('os.remove', 'os.rmdir') and args[-1] not in (-1, None)      # a folder that shutil.rmtree was allowed
        if event == 'open' and paths: self.look_file(paths[0], args[2])
        elif event in _LEAVES and not below:
            for p in paths[event == 'os.symlink':]:
                if not any(self.inside(o, self.may_write + self.own) for o in (p, os.path.dirname(p) or '.')): self.stop(f'{event} {p}')
        elif event in _RUNS: self.stop(f'{event} {args!r}')
        elif event in ('ctypes.dlopen', 'exec'):
            file = args[0] if event == 'ctypes.dlopen' else getattr(args[0], 'co_filename', None)
            if isinstance(file, str) and os.path.isabs(file) and self.inside(file, self.may_write + self.own): self.stop(f'{event} {file}')
    def look_file(self, path, flags):
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        if writes and path != os.devnull and not self.inside(path, self.may_write + self.own): self.stop(f'wrote {path}')
        if not writes and self.secret and self.inside(path, [self.secret]): self.stop(f'read {path}')

def _memory(what='VmRSS'):
    return next(int(l.split()[1])/1024 for l in Path('/proc/self/status').read_text().splitlines() if l.startswith(what))

def _child_limits(memory):
    "One arena, so that threads reserve nothing; no more address space than `memory` MB above what there is"
    import ctypes
    ctypes.CDLL(None).mallopt(-8, 1)       # M_ARENA_MAX
    most = int((_memory('VmSize') + memory)*2**20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most)); resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

def _no_memory(e):
    "Was memory asked for that was not there, whatever it was turned into?"
    while e is not None:
        if isinstance(e, MemoryError) or re.search(r"MemoryError|can't allocate memory|Unable to allocate|bad_alloc|bad allocation|Cannot allocate memory", str(e)): return True
        e = e.__cause__ or e.__context__

def _tried(a, watch):
    "The outcome of one attempt, as a dict"
    try: a.prepare()
    except Exception as e: return dict(kind='broken', error=type(e).__name__, text=str(e))
    Path('/proc/self/clear_refs').write_text('5')
    before, start, res = _memory(), time.perf_counter(), dict(kind='fine')
    watch.saw, watch.may_write, watch.secret = [], a.may_write, a.secret
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter('always')
        watch.on = True
        try: found = a.run()
        except MemoryError as e: res = dict(kind='memory', text=str(e))
        except (Exception, SystemExit) as e: res = dict(kind='memory' if _no_memory(e) else 'refused', error=type(e).__name__, ours=isinstance(e, FabricError), text=str(e))
        finally: watch.on = False
    res |= dict(seconds=time.perf_counter() - start, mb=max(0, _memory('VmHWM') - before), saw=watch.saw)
    try: res['check'] = a.check(found if res['kind'] == 'fine' else None)
    except Exception as e: res['check'] = f'what came back is no good: {type(e).__name__}: {e}'
    told = [str(w.message) for w in warned if f'{os.sep}fabric_touch{os.sep}' in w.filename and issubclass(w.category, UserWarning)]
    return res | (dict(check=f'only a warning: {told[0]}') if told and res['kind'] == 'fine' and not res['check'] and not a.may_warn else {})

def _child(todo, pipe, memory, home):
    "Make the attempts one after the other; a line of JSON for each"
    try:
        gc.freeze()                                    # what the parent holds is not looked through, so that its memory is not copied
        watch, sys.dont_write_bytecode = Watch((home,)), True
        os.environ.update(HOME=home, XDG_CACHE_HOME=home, TMPDIR=home); tempfile.tempdir = home
        os.chdir(home); faulthandler.disable()
        quiet = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2): os.dup2(quiet, fd)
        sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
        sys.addaudithook(watch)
        _child_limits(memory)
        for a in todo: os.write(pipe, json.dumps(_tried(a, watch), ensure_ascii=True, default=str).encode() + b'\n')
    finally: os._exit(0)

def _lines(pipe, seconds):
    "Lines out of a pipe; None where one takes too long, and an end where it closes"
    waiting = b''
    while True:
        while b'\n' not in waiting:
            if not select.select([pipe], [], [], seconds)[0]: yield None; return
            if not (more := os.read(pipe, 1 << 16)): return
            waiting += more
        line, _, waiting = waiting.partition(b'\n')
        yield json.loads(line)

def attempts(todo, seconds=SECONDS, memory=MEMORY):
    "The outcome of each attempt; many are made in one child, and if it dies the next one goes on behind the attempt that killed it"
    with tempfile.TemporaryDirectory() as home: yield from _attempts(list(todo), seconds, memory, home)

def _attempts(todo, seconds, memory, home):
    while todo:
        sys.stdout.flush(); sys.stderr.flush()
        read, write = os.pipe()
        if not (pid := os.fork()): os.close(read); _child(todo, write, memory, home)
        os.close(write)
        late, n = False, 0
        for line in _lines(read, seconds):
            if line is None: late = True; os.kill(pid, signal.SIGKILL); break
            yield Outcome(todo[n].name, **line); n += 1
        os.close(read)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if n < len(todo): yield Outcome(todo[n].name, 'timeout' if late else 'crash', text=f'longer than {seconds} s' if late else f'signal {-code}'); n += 1
        todo = todo[n:]

def attempt(f, seconds=SECONDS, memory=MEMORY, may_write=()):
    "The outcome of one call, in a child of its own"
    return next(attempts([Attempt(('one',), lambda: None, f, may_write=may_write)], seconds, memory))

# ---- a full disk

@contextmanager
def full_disk(n):
    "Files end at n bytes: what is more fails as on a full disk"
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n, old[1]))
    try: yield
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, old)
