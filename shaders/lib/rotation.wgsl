// Column 4d of head `part` (queries, then keys, then values) of a row, turned against the column half a head away by the angle of
// the row's position. Source: RoFormer, arXiv 2104.09864, with the halves of a head.
@group(0) @binding(ROTATIONS_BINDING) var<storage, read> rotations: array<vec4<f32>>;  // [positions, cos and sin][HALF4]

const HALF4 = HEAD4 / 2u;

fn turned(row: u32, part: u32, d: u32) -> vec4<f32> {
  let start = row * TOKEN4 + part * HEAD4;
  let angle = frame_position(row) * HEAD4 + d % HALF4;
  let across = qkv[start + (d + HALF4) % HEAD4];
  return qkv[start + d] * rotations[angle] + select(across, -across, d < HALF4) * rotations[angle + HALF4];
}
