// A convolution of every column on its own along the rows of a text, zero past its ends. One workgroup a token.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, X4]
@group(0) @binding(2) var<storage, read> filters: array<vec4<f32>>;    // [TAPS, STRIDE4]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, STRIDE4]
@group(0) @binding(4) var<storage, read> bias: array<vec4<f32>>;       // [STRIDE4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let from_row = i32(frame_from(group.x));
  let until_row = i32(frame_until(group.x));
  for (var i = lane; i < STRIDE4; i += GROUP) {
    var sum = vec4<f32>(0.0);
    if BIAS { sum = bias[i]; }
    for (var tap = 0u; tap < TAPS; tap++) {
      let row = i32(group.x) + FIRST + STEP * i32(tap);
      if row >= from_row && row < until_row {
        sum += filters[tap * STRIDE4 + i] * x[u32(row) * X4 + i];
      }
    }
    let at = group.x * STRIDE4 + i;
    out[at] = epilogue(sum, at);
  }
}
