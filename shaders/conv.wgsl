// out[r, n] = residual[r, n] + epilogue(sum_t sum_k x[r + t - TAPS / 2, k] weight[n, k, t] + bias[n])
//
// Rows outside the text count as zero. Tiles are those of linear.wgsl.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, K4]
@group(0) @binding(2) var<storage, read> weight: array<matrix4>;       // [N/8][TAPS][K][8], see Layout::Conv
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [N4]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, N4]
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;   // [tokens, N4]

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row = group.x * 32u + local.y * 4u;
  let panel = group.y * 8u + local.x;
  var low: array<vec4<f32>, 4>;
  var high: array<vec4<f32>, 4>;
  for (var tap = 0u; tap < TAPS; tap++) {
    var near: array<u32, 4>;
    var inside: array<bool, 4>;
    for (var i = 0u; i < 4u; i++) {
      let own = min(row + i, frame_tokens() - 1u);
      let at = own + tap; // Half the taps farther than meant, so that it is not below zero.
      inside[i] = frame_from(own) + TAPS / 2u <= at && at < frame_until(own) + TAPS / 2u;
      near[i] = select(own, at - TAPS / 2u, inside[i]);
    }
    for (var k4 = 0u; k4 < K4; k4++) {
      let at = ((panel * TAPS + tap) * K4 + k4) * 8u;
      let a = matrix4x4(at);
      let b = matrix4x4(at + 1u);
      for (var i = 0u; i < 4u; i++) {
        let values = select(vec4<f32>(0.0), x[near[i] * K4 + k4], inside[i]);
        low[i] += a * values;
        high[i] += b * values;
      }
    }
  }
  for (var i = 0u; i < 4u; i++) {
    write(row + i, 2u * panel, low[i]);
    write(row + i, 2u * panel + 1u, high[i]);
  }
}

// Four inputs to four outputs: half of a panel.
fn matrix4x4(at: u32) -> mat4x4<f32> {
  return mat4x4<f32>(
    matrix_load(weight[at]), matrix_load(weight[at + 2u]), matrix_load(weight[at + 4u]), matrix_load(weight[at + 6u]));
}

fn write(row: u32, column4: u32, sum: vec4<f32>) {
  if row < frame_tokens() && column4 < N4 {
    let at = row * N4 + column4;
    out[at] = residual[at] + epilogue(sum + bias[column4], at);
  }
}
