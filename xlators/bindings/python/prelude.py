# SPDX-License-Identifier: Apache-2.0
# The part of the module `windgate` that is Python: built into bindings/python, run at its start.
import collections as _collections
import difflib as _difflib
import keyword as _keyword
import os as _os
import sys as _sys
import traceback as _traceback
import types as _types
import warnings as _warnings


# --- options -------------------------------------------------------------------------------------

class Option:
    """An option that a class declares: its default as text (None: must be given), bounds, a sentence."""
    _type = 0

    def __init__(self, default=None, *, help='', min=0, max=0, reload=True):
        if default is not None and not isinstance(default, str):
            default = ('on' if default else 'off') if isinstance(default, bool) else str(default)
        if min and not max:
            max = 2**63 - 1
        self.default, self.help, self.min, self.max, self.reload = default, str(help), min, max, reload


class Str(Option):
    """Text."""
    _type = 0


class Int(Option):
    """A whole number."""
    _type = 1


class Size(Option):
    """Bytes; K, M, G, T may follow in the configuration. The value is an int."""
    _type = 2


class Time(Option):
    """ms, s, m, h, d may follow in the configuration. The value is in seconds; min and max are in ms."""
    _type = 3


class Bool(Option):
    """on or off."""
    _type = 4


class Path(Option):
    """A file's name, not empty."""
    _type = 5


# --- the base class ------------------------------------------------------------------------------

class Xlator:
    """A translator: methods named after fops; see docs/python-translators.md."""
    options = {}
    leases = False
    name = ''
    opt = _types.SimpleNamespace()

    def timer(self, seconds, fn, *args):
        """Runs fn(*args) on a worker thread after that time; returns a Timer, which can be cancelled."""
        return self._core.timer(seconds, fn, *args)

    def spawn(self, fn, *args):
        """Runs fn(call, *args) as a task of its own, which may yield winds, sleeps and offloads."""
        self._core.spawn(fn, *args)

    def log(self, text, level='info'):
        """A line in the gateway's log: error, warning, notice, info or debug."""
        self._core.log(level, str(text))


class Lru(_collections.OrderedDict):
    """A dictionary of at most max entries, which drops the one used longest ago."""

    def __init__(self, max=65536):
        super().__init__()
        self.max = max

    def __getitem__(self, key):
        value = super().__getitem__(key)
        try:
            self.move_to_end(key)
        except KeyError:        # another thread has dropped it meanwhile
            pass
        return value

    def get(self, key, default=None):
        try:
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        while len(self) > self.max:
            try:
                self.popitem(last=False)
            except KeyError:
                break


# --- what the C side calls -----------------------------------------------------------------------

class _LoadError(Exception):
    pass


def _one_line(e):
    """An exception in one line, with the place where it came from."""
    if isinstance(e, _LoadError):
        return str(e)
    if isinstance(e, SyntaxError) and e.filename:
        return f'{e.filename}:{e.lineno}: {type(e).__name__}: {e.msg}'
    where = ''
    for frame in _traceback.extract_tb(e.__traceback__):
        if not frame.filename.startswith('<'):
            where = f'{frame.filename}:{frame.lineno}: '
    text = ' '.join(str(e).split())
    return f'{where}{type(e).__name__}: {text}' if text else f'{where}{type(e).__name__}'


def _lines(e):
    text = ''.join(_traceback.format_exception(e, limit=-30))
    return [line for line in text.splitlines() if line.strip()][-80:]


def _pick(module, name, path):
    found = {k: v for k, v in vars(module).items()
             if isinstance(v, type) and issubclass(v, Xlator) and v.__module__ == module.__name__}
    if name:
        if name in found:
            return found[name]
        other = getattr(module, name, None)
        if isinstance(other, type) and issubclass(other, Xlator):
            return other
        if other is not None:
            raise _LoadError(f'{path}: {name} is no subclass of windgate.Xlator')
        near = _difflib.get_close_matches(name, found, 1)
        hint = f"; the nearest is '{near[0]}'" if near else ''
        raise _LoadError(f"{path} has no class '{name}'{hint}")
    if len(found) != 1:
        raise _LoadError(f"{path} has {len(found) or 'no'} subclass{'' if len(found) == 1 else 'es'} of "
                         f"windgate.Xlator{': say which by option class' if found else ''}")
    return next(iter(found.values()))


def _load(path, name):
    try:
        with open(path, 'rb') as f:
            source = f.read()
    except OSError as e:
        raise _LoadError(f'{path}: {e.strerror}') from None
    folder = _os.path.dirname(_os.path.abspath(path))
    if folder not in _sys.path:
        _sys.path.append(folder)    # so that it can import what lies beside it
    module = _types.ModuleType('windgate_file:' + path)
    module.__file__ = path
    _sys.modules[module.__name__] = module
    exec(compile(source, path, 'exec', dont_inherit=True), module.__dict__)
    cls = _pick(module, name, path)
    _check(cls, path)
    return cls


def method_name(fop):
    """A fop's method: its name, with an underscore where that is a word of the language (del_)."""
    return fop + '_' if _keyword.iskeyword(fop) else fop


def _methods(cls):
    """fop -> name of the method that treats it."""
    found = {}
    for fop in FOPS:            # noqa: F821 (C's)
        name = method_name(fop)
        if callable(getattr(cls, name, None)):
            found[fop] = name
        elif callable(getattr(cls, 'any', None)):
            found[fop] = 'any'
    return found


def _takes(fn, n):
    """Whether it can be called with n arguments by position."""
    code = fn.__code__
    needed = code.co_argcount - len(fn.__defaults__ or ())
    return needed <= n and (n <= code.co_argcount or code.co_flags & 4) and \
        code.co_kwonlyargcount == len(fn.__kwdefaults__ or {})      # 4: it has *args


def _check(cls, path):
    """What would be wrong in silence: options of no type, and methods whose names are nearly fops."""
    for name, o in cls.options.items():
        if not isinstance(o, Option):
            raise _LoadError(f"{path}: option '{name}' of {cls.__name__} must be a windgate.Str, Int, Size, Time, "
                             'Bool or Path')
        if name in ('module', 'class') or not name.replace('-', '').replace('_', '').isalnum():
            raise _LoadError(f"{path}: '{name}' can't be the name of an option")
    fops = [method_name(f) for f in FOPS]  # noqa: F821
    used = [vars(cls)[f] for f in fops if f in vars(cls)]
    for fop in [*fops, 'any']:
        fn = next((vars(k)[fop] for k in cls.__mro__ if fop in vars(k)), None)    # not bound: static ones differ
        if isinstance(fn, _types.FunctionType) and not _takes(fn, 3):
            raise _LoadError(f'{path}:{fn.__code__.co_firstlineno}: {fop} must take (self, call, args)')
    for name, fn in vars(cls).items():
        if not isinstance(fn, _types.FunctionType) or name in fops or name.startswith('_') or fn in used:
            continue
        code = fn.__code__
        if code.co_varnames[:code.co_argcount] == ('self', 'call', 'args') and name != 'any':
            near = [f for f in _difflib.get_close_matches(name, fops, 3, 0.75) if abs(len(f) - len(name)) < 2]
            if near:
                raise _LoadError(f"{path}:{code.co_firstlineno}: there is no fop '{name}'; the nearest is '{near[0]}' "
                                 f"(if it is a helper, call it _{name})")
    cls._hears = callable(getattr(cls, 'invalidate', None))


def _option_rows(cls):
    return [(name, o._type, o.min, o.max, o.default, o.help or name, bool(o.reload))
            for name, o in cls.options.items()]


def _set_options(self, values):
    self.opt = _types.SimpleNamespace(**{k.replace('-', '_'): v for k, v in values.items()})


def _make(cls, core, name, values):
    self = cls.__new__(cls)
    self._core, self.name = core, name
    _set_options(self, values)
    self.__init__()
    return self


# What Python would print goes to the gateway's log.
def _unraisable(u):
    for line in [f'{u.err_msg or "Exception ignored in"}: {u.object!r}'] + (_lines(u.exc_value) if u.exc_value else []):
        _warn(line)             # noqa: F821


def _show_warning(message, category, filename, lineno, file=None, line=None):
    _warn(f'{filename}:{lineno}: {category.__name__}: {message}')   # noqa: F821


def _thread_exception(e):
    for line in [f'{e.exc_type.__name__} in thread {e.thread.name if e.thread else "?"}'] + \
            (_lines(e.exc_value) if e.exc_value else []):
        _warn(line)             # noqa: F821


import threading as _threading  # noqa: E402
_sys.unraisablehook = _unraisable
_threading.excepthook = _thread_exception
_warnings.showwarning = _show_warning
