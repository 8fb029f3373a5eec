// A convolution of every column on its own along the rows of a text, zero past its ends. One workgroup a token.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, STRIDE4]
@group(0) @binding(2) var<storage, read> filters: array<vec4<f32>>;    // [SIZE, STRIDE4]
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, STRIDE4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  // Rows are counted from SIZE / 2 in front of the first, so that they are never negative.
  let from_row = frame_from(group.x) + SIZE / 2u;
  let until_row = frame_until(group.x) + SIZE / 2u;
  for (var i = lane; i < STRIDE4; i += GROUP) {
    var sum = vec4<f32>(0.0);
    for (var tap = 0u; tap < SIZE; tap++) {
      let row = group.x + tap;
      if row >= from_row && row < until_row {
        sum += filters[tap * STRIDE4 + i] * x[(row - SIZE / 2u) * STRIDE4 + i];
      }
    }
    out[group.x * STRIDE4 + i] = sum;
  }
}
