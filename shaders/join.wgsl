// Columns of two or three matrices side by side, one workgroup a token. Each part comes from some rows away, and is zero
// where there is no such row in the token's text.
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, A4 + B4 + C4]
@group(0) @binding(2) var<storage, read> a: array<vec4<f32>>;          // [tokens, A4]
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // [tokens, B4]
@group(0) @binding(4) var<storage, read> c: array<vec4<f32>>;          // [tokens, C4]

const OUT4 = A4 + B4 + C4;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let a_row = i32(group.x) + A_AWAY;
  let b_row = i32(group.x) + B_AWAY;
  let c_row = i32(group.x) + C_AWAY;
  for (var i = lane; i < OUT4; i += GROUP) {
    var value = vec4<f32>(0.0);
    if i < A4 {
      if in_text(group.x, a_row) { value = a[u32(a_row) * A4 + i]; }
    } else if i < A4 + B4 {
      if in_text(group.x, b_row) { value = b[u32(b_row) * B4 + i - A4]; }
    } else {
      if in_text(group.x, c_row) { value = c[u32(c_row) * C4 + i - A4 - B4]; }
    }
    out[group.x * OUT4 + i] = value;
  }
}

fn in_text(token: u32, row: i32) -> bool {
  return row >= i32(frame_from(token)) && row < i32(frame_until(token));
}
