// The same of a matrix in integers. What it gives is exact: the product of a half and a difference of bytes fits f32.
const GROUPS = (K4 + GROUP4 - 1u) / GROUP4;

struct Block {
  at: u32,
  low_scale: vec4<f32>,
  low_zero: vec4<f32>,
  high_scale: vec4<f32>,
  high_zero: vec4<f32>,
}

fn weight_block(panel: u32, k4: u32) -> Block {
  let run = panel * (K4 * BITS + GROUPS * 8u);
  let group = run + K4 * BITS + k4 / GROUP4 * 8u;
  let a = words[group];
  let b = words[group + 1u];
  let c = words[group + 2u];
  let d = words[group + 3u];
  let e = words[group + 4u];
  let f = words[group + 5u];
  let g = words[group + 6u];
  let h = words[group + 7u];
  return Block(
    run + k4 * BITS,
    vec4<f32>(scale_of(a), scale_of(b), scale_of(c), scale_of(d)), vec4<f32>(zero_of(a), zero_of(b), zero_of(c), zero_of(d)),
    vec4<f32>(scale_of(e), scale_of(f), scale_of(g), scale_of(h)), vec4<f32>(zero_of(e), zero_of(f), zero_of(g), zero_of(h)));
}

fn weight_quad(block: Block, i: u32) -> vec4<f32> {
  let quad = integers(block.at, i);
  if i % 2u == 0u {
    return block.low_scale * (quad - block.low_zero);
  }
  return block.high_scale * (quad - block.high_zero);
}
