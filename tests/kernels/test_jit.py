"""The JIT policy: one decorator, plain bodies for primitives, a cache named by all that can change it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import llvmlite.binding
import numba
import numpy as np
import pytest

from kernels import crc32c, int128, jit, slots
from tests.kernels import entries

ROOT = Path(__file__).resolve().parents[2]


@jit.kernel
def quotient(a: int, b: int) -> int:
    """A kernel of its own, to see what the policy does."""
    return a // b


@jit.kernel
def remainder_of_sum(words: np.ndarray, divisor: int) -> int:
    total = 0
    for k in range(words.shape[0]):
        total += words[k]
    return total % divisor


def test_the_mode_is_numbas() -> None:
    assert (os.environ.get("NUMBA_DISABLE_JIT", "0") == "1") == jit.JIT_DISABLED
    assert hasattr(quotient, "signatures") == (not jit.JIT_DISABLED)


def test_a_kernel_divides_as_python_does() -> None:
    for a in (-7, -6, 0, 6, 7):
        for b in (-3, 3):
            assert quotient(a, b) == a // b
    words = np.array([-7, 2], np.int64)
    assert remainder_of_sum(words, 3) == 1


def test_division_by_zero_raises_in_both_modes() -> None:
    with pytest.raises(ZeroDivisionError):
        quotient(1, 0)


@pytest.mark.parametrize(
    ("primitive", "plain", "wrapped", "args"),
    [
        (int128.mul_add_divmod, int128._plain_mul_add_divmod, entries.mul_add_divmod, (7, 5, 1, 4)),
        (
            int128.mul_add_divmod_by,
            int128._plain_mul_add_divmod_by,
            entries.mul_add_divmod_by,
            (7, 5, 1, *int128.by_constant(4)),
        ),
        (int128.reciprocal_of, int128._plain_reciprocal_of, entries.reciprocal_of, (10**9,)),
        (int128.divmod128, int128._plain_divmod128, entries.divmod128, (1, -1, 2**62)),
        (int128.mul_add128, int128._plain_mul_add128, entries.mul_add128, (0, -1, 1, 1)),
        (slots.mix, slots._plain_mix, entries.mix, (3, 4)),
    ],
)
def test_a_primitive_and_its_plain_body_agree(primitive, plain, wrapped, args: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    """With the JIT off the primitive *is* its plain body; with it on a kernel must wrap it."""
    assert (primitive is plain) == jit.JIT_DISABLED
    assert entries.run(wrapped, *args) == plain(*args)


def test_the_cache_lies_in_the_checkout_and_is_in_use() -> None:
    assert jit.cache_dir() == ROOT / ".cache" / "jit" / jit.cache_key()
    assert len(jit.cache_key()) == 20
    if "NUMBA_CACHE_DIR" not in os.environ:
        assert str(jit.cache_dir()) == jit.config.CACHE_DIR


def test_cache_key_names_sources_cpu_and_optimisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An edited, added or renamed file in a compiled room is another set; a file elsewhere is not."""
    monkeypatch.setattr(jit, "_ROOT", tmp_path)
    key = jit.cache_key.__wrapped__
    (tmp_path / "kernels").mkdir()
    (tmp_path / "engine" / "core").mkdir(parents=True)
    seen = [key()]
    (tmp_path / "kernels" / "a.py").write_text("x = 1\n")
    seen.append(key())
    (tmp_path / "kernels" / "a.py").write_text("x = 2\n")
    seen.append(key())
    (tmp_path / "engine" / "core" / "b.py").write_text("x = 1\n")
    seen.append(key())
    (tmp_path / "kernels" / "a.py").rename(tmp_path / "kernels" / "c.py")
    seen.append(key())
    (tmp_path / "elsewhere.py").write_text("x = 1\n")
    assert key() == seen[-1]
    monkeypatch.setattr(jit, "cpu_target", lambda: ("another", "+none"))
    seen.append(key())
    monkeypatch.setattr(jit.config, "OPT", "1")
    seen.append(key())
    assert len(set(seen)) == len(seen)


def test_cpu_features() -> None:
    assert not jit.has_cpu_feature("no-such-feature")
    wanted = not jit.JIT_DISABLED and "+sse4.2" in jit.cpu_target()[1].split(",")
    assert jit.has_cpu_feature("sse4.2") == wanted


def test_cpu_target_follows_numbas_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit.config, "CPU_NAME", "generic")
    monkeypatch.setattr(jit.config, "CPU_FEATURES", "+x,-y")
    assert jit.cpu_target() == ("generic", "+x,-y")
    assert jit.has_cpu_feature("x") == (not jit.JIT_DISABLED)
    assert not jit.has_cpu_feature("y")


def test_cpu_target_is_the_host_where_numba_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit.config, "CPU_FEATURES", None)
    host = llvmlite.binding.get_host_cpu_features().flatten()
    assert jit.cpu_target()[1] == host != ""
    monkeypatch.setattr(jit, "JIT_DISABLED", False)
    name = next(feature[1:] for feature in host.split(",") if feature.startswith("+"))
    assert jit.has_cpu_feature(name)


@pytest.mark.parametrize("off", [False, True])
def test_only_the_jit_prepares_and_needs_a_library(off: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(jit, "JIT_DISABLED", off)
    monkeypatch.setattr(llvmlite.binding, "load_library_permanently", asked.append)
    jit.need_runtime_library()
    jit.prepare(SimpleNamespace(compile=asked.append), 1, numba.types.int32)  # type: ignore[arg-type]
    assert asked == ([] if off else ["libgcc_s.so.1", (numba.typeof(1), numba.types.int32)])


def test_with_the_jit_off_kernels_are_plain_functions() -> None:
    """In a process of its own, whatever the mode of this one."""
    code = (
        "from kernels import jit, crc32c, int128, slots\n"
        "assert jit.JIT_DISABLED and type(crc32c.crc_word) is type(lambda: 0)\n"
        "print(crc32c.crc_word(0, 1), int128.mul_div_floor(7, 5, 4), slots.mix(3, 4))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    here = (
        entries.run(crc32c.crc_word, 0, 1),
        entries.run(int128.mul_div_floor, 7, 5, 4),
        entries.run(entries.mix, 3, 4),
    )
    assert done.stdout.split("\n")[0] == " ".join(str(x) for x in here)


@jit.kernel
def shifted(a: int, by: int) -> int:
    """Called with constants below."""
    return a + by


@jit.kernel
def shifted_twice(a: int) -> int:
    """Two constants, one form."""
    return shifted(shifted(a, 3), 4) + shifted(a, a)


@pytest.mark.skipif(jit.JIT_DISABLED, reason="nothing is compiled with the JIT off")
def test_constants_are_numbers_like_others() -> None:
    assert shifted_twice(5) == 22
    assert len(shifted.signatures) <= 1, "not one for each constant"


SAVING = """
import sys
from kernels import jit
from tests.kernels.test_jit import kept
for k in range(int(sys.argv[1]), 400, 2):
    kept._cache._cache_file.save(("key", k), ("data", k))
"""


@jit.kernel
def kept(a: int) -> int:
    """A kernel whose place in the cache is written to."""
    return a


@pytest.mark.skipif(jit.JIT_DISABLED, reason="nothing is kept with the JIT off")
def test_what_two_processes_keep_at_once_is_all_found_again(tmp_path: Path) -> None:
    """Each form under its own name: numba's own way of saving loses some, or answers with another one's."""
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    prepare = "import pathlib; from tests.kernels.test_jit import kept; kept._cache._impl.locator.ensure_cache_path()"
    subprocess.run([sys.executable, "-c", prepare], cwd=ROOT, env=env, timeout=60, check=True)
    both = [
        subprocess.Popen([sys.executable, "-c", SAVING, str(k)], cwd=ROOT, env=env, stderr=subprocess.PIPE)
        for k in range(2)
    ]
    assert [child.communicate(timeout=60)[1] for child in both] == [b"", b""]
    look = (
        "from tests.kernels.test_jit import kept\n"
        "assert [kept._cache._cache_file.load(('key', k)) for k in range(400)] == [('data', k) for k in range(400)]"
    )
    subprocess.run([sys.executable, "-c", look], cwd=ROOT, env=env, timeout=60, check=True)
