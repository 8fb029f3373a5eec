// The L2 norm and the cut to the dimensions asked for, of vectors that come from a projection.
@group(0) @binding(1) var<storage, read> x: array<f32>;          // [texts, STRIDE]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [texts, dimensions]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var squares = 0.0;
  for (var i = lane; i < frame_norm_dimensions(); i += GROUP) {
    let value = x[group.x * STRIDE + i];
    squares += value * value;
  }
  let norm_scale = normalize_scale(squares, lane);
  let scale = select(1.0, norm_scale, frame_norm_dimensions() > 0u);
  for (var i = lane; i < frame_dimensions(); i += GROUP) {
    out[group.x * frame_dimensions() + i] = scale * x[group.x * STRIDE + i];
  }
}
