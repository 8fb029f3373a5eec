// Queries and keys normalised head by head, values as they are. One workgroup a token, an invocation a head at a time.
//   y = x / sqrt(mean(x²) + EPS) * (GAIN + weight)
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;           // [tokens][HEADS, KV_HEADS, KV_HEADS][HEAD4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;   // as x
@group(0) @binding(3) var<storage, read> query_gain: array<vec4<f32>>;  // [HEAD4]
@group(0) @binding(4) var<storage, read> key_gain: array<vec4<f32>>;    // [HEAD4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let parts = HEADS + 2u * KV_HEADS;
  for (var part = lane; part < parts; part += GROUP) {
    let start = (group.x * parts + part) * HEAD4;
    var squares = 0.0;
    for (var d = 0u; d < HEAD4; d++) {
      squares += dot(x[start + d], x[start + d]); // Columns that only pad are zero.
    }
    let scale = inverseSqrt(squares / f32(HEAD) + EPS);
    for (var d = 0u; d < HEAD4; d++) {
      var y = x[start + d];
      if part < HEADS {
        y *= scale * (GAIN + query_gain[d]);
      } else if part < HEADS + KV_HEADS {
        y *= scale * (GAIN + key_gain[d]);
      }
      out[start + d] = y;
    }
  }
}
