// In the place of layer_norm.wgsl where a norm only scales and shifts its columns: y = x * weight + bias
@group(0) @binding(GAIN_BINDING) var<storage, read> gain: array<vec4<f32>>;  // [STRIDE4], zero past WIDTH
@group(0) @binding(BIAS_BINDING) var<storage, read> shift: array<vec4<f32>>; // [STRIDE4], zero past WIDTH

const STRIDE4 = (WIDTH + 3u) / 4u;
const PER_LANE = (STRIDE4 + GROUP - 1u) / GROUP;

fn layer_norm(row: ptr<function, array<vec4<f32>, PER_LANE>>, lane: u32) {
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      (*row)[i] = (*row)[i] * gain[column4] + shift[column4];
    }
  }
}
