// Integers of a few bits, as crate/integers.rs lays them: in blocks of 32, of which every LOW + EXTRA bits are one.
@group(0) @binding(LARGE_BINDING) var<storage, read> words: array<u32>;

const BITS = LOW + EXTRA;

// Four integers of the block at `at`, from number 4 i on.
fn integers(at: u32, i: u32) -> vec4<f32> {
  var all = bits_of(at, LOW, i);
  if EXTRA > 0u { all |= bits_of(at + LOW, EXTRA, i) << vec4<u32>(LOW); }
  return vec4<f32>(all);
}

fn bits_of(at: u32, width: u32, i: u32) -> vec4<u32> {
  let bit = 4u * i * width;
  let four = vec4<u32>(words[at + bit / 32u] >> (bit % 32u));
  return (four >> (width * vec4<u32>(0u, 1u, 2u, 3u))) & vec4<u32>((1u << width) - 1u);
}

// What stands behind the blocks for a group: the scale, a half, and the zero point above it.
fn scale_of(group: u32) -> f32 { return unpack2x16float(group & 0xffffu).x; }
fn zero_of(group: u32) -> f32 { return f32(group >> 16u); }
