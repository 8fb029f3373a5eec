// out[i] = x[pick i], the rows of the tokens that the batch picks. One workgroup a row.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, STRIDE4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;  // [picks, STRIDE4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let row = frame_pick(group.x);
  for (var column4 = lane; column4 < STRIDE4; column4 += GROUP) {
    out[group.x * STRIDE4 + column4] = x[row * STRIDE4 + column4];
  }
}
