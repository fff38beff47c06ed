"""How a Python function becomes machine code: numba's options, the disk cache, late binding.

Kernels compile at their first use, not at import. Compiled code is kept on disk in a folder named by a
hash of every source file that can hold a kernel, so an edited kernel is never answered from a stale cache
(numba itself only notices edits to the file of the outermost function). A template such as the step loop is
*bound* to the kernels of one loss by giving a copy of the function other globals and another name; unlike
closures over compiled functions, such copies are found in the disk cache by the next process.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import sys
import tempfile
import threading
import types as python_types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import __version__ as numba_version
from numba import njit, types
from numba.core import config as numba_config

PACKAGE = Path(__file__).resolve().parent.parent
KERNEL_FOLDERS = ("kernels", "models", "dynamics", "metrics")

# Never fastmath=True: "ninf" and "nnan" would let the compiler drop the divergence checks.
# Without reference counting ("_nrt"): kernels only make views, and counting those costs more than a step.
OPTIONS: dict[str, Any] = {
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    "error_model": "numpy",
    "nogil": True,
    "_nrt": False,
}

config: Any = numba_config  # its attributes are made at run time
compiler: Any = njit  # typed without the options below that start with "no" or "_"
_lock = threading.RLock()  # numba.config is process-wide, and compilation is not re-entrant across threads


def inline(function: Callable[..., Any]) -> Any:
    """A device function: becomes part of each kernel that calls it, never called from Python.

    Inlined as numba IR, before any optimisation: LLVM would vectorise the function on its own first, guarded by
    run-time overlap checks that fail (and fall back to scalar code) when an update is made in place.
    """
    return compiler(inline="always", **OPTIONS)(function)


@functools.cache
def outlined(device: Any) -> Any:
    """The same device function typed and lowered once, for kernels in which inlining numba IR would cost compile time.

    LLVM inlines it all the same: a call would run the function's own module in the process that compiled it, and the
    copy in the kernel's module in those that load the kernel from disk, which are optimised, and round, differently.
    """
    return compiler(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, **OPTIONS)(device.py_func)


@functools.cache
def source_hash() -> str:
    """Hash of all kernel sources of the package, and of the versions that turn them into code."""
    digest = hashlib.sha256(f"{numba_version} {sys.version}".encode())
    for folder in KERNEL_FOLDERS:
        for path in sorted((PACKAGE / folder).glob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_directory() -> Path:
    """Where compiled kernels live: `$SGDMODELS_CACHE`, else the user's cache folder, else a temporary one."""
    base = os.environ.get("SGDMODELS_CACHE")
    if base is None:
        base = os.path.join(os.environ.get("XDG_CACHE_HOME", os.path.expanduser("~/.cache")), "sgdmodels")
    path = Path(base) / source_hash()
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError:  # read-only home: correct but uncached is better than failing
        path = Path(tempfile.mkdtemp(prefix="sgdmodels-"))
    return path


class Kernel:
    """A function with a fixed signature, compiled (or loaded from disk) when `compiled` is first asked for."""

    def __init__(self, function: Callable[..., Any], signature: Any) -> None:
        self.function = function
        self.signature = signature
        self._compiled: Any = None

    @property
    def compiled(self) -> Any:
        """The numba dispatcher; a first-class function value for other kernels."""
        if self._compiled is None:
            with _lock:
                if self._compiled is None:
                    before = config.CACHE_DIR
                    config.CACHE_DIR = str(cache_directory())
                    try:
                        self._compiled = compiler(self.signature, cache=True, **OPTIONS)(self.function)
                    finally:
                        config.CACHE_DIR = before
        return self._compiled

    @functools.cached_property
    def argument(self) -> FirstClass:
        """This kernel as an argument of another."""
        return FirstClass(self)

    def __call__(self, *arguments: Any) -> Any:
        return self.compiled(*arguments)


class FirstClass(types.WrapperAddressProtocol):
    """A kernel as an argument of another kernel, its address looked up once (numba looks again at every call)."""

    def __init__(self, kernel: Kernel) -> None:
        result = kernel.compiled.get_compile_result(kernel.signature)
        self._signature = kernel.signature
        self._address: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
        self._keep = kernel

    def __wrapper_address__(self) -> int:
        return self._address

    def signature(self) -> Any:
        return self._signature


def kernel(signature: Any) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel with an explicit signature: `@kernel(void(float64[::1], int64))`."""
    return lambda function: Kernel(function, signature)


def _source(function: Callable[..., Any]) -> bytes:
    """Text of the module that holds a function from outside the package; of notebooks and consoles, its bytecode."""
    try:
        return inspect.getsource(inspect.getmodule(function) or function).encode()
    except (OSError, TypeError):
        code = function.__code__
        return repr((code.co_code, code.co_consts, code.co_names)).encode()


def rebind(function: Callable[..., Any], **names: Any) -> Any:
    """A copy of `function` in which the global `names` mean the given device functions.

    The copy's name carries those of what it is bound to and a hash of their sources, which is what keeps
    the cache entries of two losses, or of two versions of a user's own loss, apart.
    """
    digest = hashlib.sha256()
    for name, target in sorted(names.items()):
        python = getattr(target, "py_func", target)
        digest.update(f"{name} {python.__module__}.{python.__qualname__}".encode())
        if not Path(inspect.getfile(python)).is_relative_to(PACKAGE):
            digest.update(_source(python))
    copy = python_types.FunctionType(function.__code__, {**function.__globals__, **names}, function.__name__)
    copy.__qualname__ = f"{function.__qualname__.split('__')[0]}__{digest.hexdigest()[:16]}"
    copy.__module__ = function.__module__
    return copy


@functools.cache
def bind(template: Callable[..., Any], signature: Any, **names: Any) -> Kernel:
    """The kernel that `template` becomes for one loss; the same arguments give the same kernel."""
    return Kernel(rebind(template, **names), signature)
