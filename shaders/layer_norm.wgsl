// Layer normalisation of every row, and a residual added to it. A workgroup has four rows.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;            // [tokens, K4]
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;     // [tokens, K4]

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let first = group.x * 4u;
  rows_begin(first, first + 4u, index);
  let end = min(first + 4u, select(frame_rows(ROWS), FIXED_ROWS, FIXED_ROWS > 0u));
  for (var at = first * K4 + index; at < end * K4; at += 64u) {
    var four = row_four(row_of(at / K4, 0u), at % K4, columns_of(at % K4));
    if RESIDUAL { four += residual[at]; }
    normed[at] = four;
  }
}
