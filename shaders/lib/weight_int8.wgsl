// A matrix in bytes, as Int8Matrix has it: of every panel the integers, four inputs of a column in a word, then what its runs of 64 inputs
// stand for, eight scales and eight times the sum of the integers times the scale.
@group(0) @binding(LARGE_BINDING) var<storage, read> weight: array<vec4<u32>>;

const RUNS = (K4 + 15u) / 16u;

fn weight_panel(panel: u32) -> u32 { return panel * (2u * K4 + 4u * RUNS); }

// Four inputs of the lower four columns, or the upper. Behind the last input it is anything.
fn weight_words(panel: u32, k4: u32, half: u32) -> vec4<u32> {
  return weight[weight_panel(panel) + 2u * min(k4, K4 - 1u) + half];
}

// The sum of a run and what was before it. range: of the row's run, its lowest value and its step.
fn weight_add(y: vec4<f32>, sums: vec4<i32>, panel: u32, run: u32, half: u32, range: vec2<f32>) -> vec4<f32> {
  let at = weight_panel(panel) + 2u * K4 + 4u * run + half;
  let scales = bitcast<vec4<f32>>(weight[at]);
  let low = fma(vec4<f32>(range.x), bitcast<vec4<f32>>(weight[at + 2u]), y);
  return fma(range.y * scales, vec4<f32>(sums), low);
}

// Products of four inputs with those of four columns.
fn weight_dots(columns: vec4<u32>, x: u32) -> vec4<i32> {
  return vec4<i32>(dot4I8Packed(columns.x, x), dot4I8Packed(columns.y, x), dot4I8Packed(columns.z, x), dot4I8Packed(columns.w, x));
}
