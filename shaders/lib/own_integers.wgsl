// The same of a table in integers.
const BLOCKS = (STRIDE4 + 7u) / 8u;
const GROUPS = (STRIDE4 + GROUP4 - 1u) / GROUP4;

fn own(row: u32, column4: u32) -> vec4<f32> {
  let run = (own_id(row) - FIRST) * (BLOCKS * BITS + GROUPS);
  let group = words[run + BLOCKS * BITS + column4 / GROUP4];
  return scale_of(group) * (integers(run + column4 / 8u * BITS, column4 % 8u) - vec4<f32>(zero_of(group)));
}
