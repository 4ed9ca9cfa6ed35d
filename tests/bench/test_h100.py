"""How the benchmark for an H100 reads a compiled program."""

import importlib
import sys
from pathlib import Path

import jax
import jax.numpy as jnp

BENCH = Path(__file__).parents[2] / "bench"
sys.path.append(str(BENCH))
kernels = importlib.import_module("kernels").kernels

PROGRAM = """HloModule two_kernels, is_scheduled=true

%inner (given: f32[100,8], at: s32[]) -> f32[1,8] {
  %given = f32[100,8]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %row = f32[1,8]{1,0} dynamic-slice(%given, %at, %zero), dynamic_slice_sizes={1,8}
}

%written (given: f32[100,8], new: f32[1,8], at: s32[]) -> f32[100,8] {
  %given = f32[100,8]{1,0} parameter(0)
  %new = f32[1,8]{1,0} parameter(1)
  %at = s32[] parameter(2)
  %zero = s32[] constant(0)
  ROOT %update = f32[100,8]{1,0} dynamic-update-slice(%given, %new, %at, %zero)
}

ENTRY %main (table: f32[100,8], at: s32[]) -> (f32[100,8], /*index=1*/f32[8]) {
  %table = f32[100,8]{1,0} parameter(0)
  %at = s32[] parameter(1)
  %read = f32[1,8]{1,0} fusion(%table, %at), kind=kLoop, calls=%inner
  %put = f32[100,8]{1,0} fusion(%table, %read, %at), kind=kLoop, calls=%written
  %flat = f32[8]{0} bitcast(%read)
  %copy = f32[8]{0} copy(%flat)
  ROOT %both = (f32[100,8]{1,0}, f32[8]{0}) tuple(%put, %copy)
}
"""


def test_kernels_are_counted_and_what_they_slice_is_not_read_whole():
    row, number = 8 * 4, 4
    assert [(k.name, k.kind, k.bytes) for k in kernels(PROGRAM)] == [
        ("read", "fusion", row + number + row),  # a row, its place, the row
        ("put", "fusion", row + number + row),  # in place: the rest is not touched
        ("copy", "copy", 2 * row),
    ]


def test_a_program_of_one_loop_reads_and_writes_its_arrays_once():
    x = jax.ShapeDtypeStruct((64, 128), jnp.float32)
    text = jax.jit(lambda x, y: jnp.sin(x) * y).lower(x, x).compile().as_text()
    assert [k.bytes for k in kernels(text)] == [3 * 4 * 64 * 128]
