// Layer normalisation of every row, one workgroup a row, and a residual added to it.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [tokens, STRIDE4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // [tokens, STRIDE4]

const GAIN_BINDING = 3;
const BIAS_BINDING = 4;
@group(0) @binding(5) var<storage, read> residual: array<vec4<f32>>;  // [tokens, STRIDE4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let start = group.x * STRIDE4;
  var row: array<vec4<f32>, PER_LANE>;
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      row[i] = x[start + column4];
    }
  }
  layer_norm(&row, lane);
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      if RESIDUAL { row[i] += residual[start + column4]; }
      out[start + column4] = row[i];
    }
  }
}
