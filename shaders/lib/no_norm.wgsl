// In the place of layer_norm.wgsl where nothing is normalised.
const STRIDE4 = (WIDTH + 3u) / 4u;
const PER_LANE = (STRIDE4 + GROUP - 1u) / GROUP;

fn layer_norm(row: ptr<function, array<vec4<f32>, PER_LANE>>, lane: u32) {}
