// A convolution along the rows of a text whose filter each token brings for itself, one a head: softmax(scores). Zero past
// the ends of the text. One workgroup a token.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, HEADS][HEAD4]
@group(0) @binding(2) var<storage, read> scores: array<f32>;           // [tokens][HEADS, SIZE], SCORES apart
@group(0) @binding(3) var<storage, read_write> out: array<vec4<f32>>;  // as x

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  // Rows are counted from SIZE / 2 in front of the first, so that they are never negative.
  let from_row = frame_from(group.x) + SIZE / 2u;
  let until_row = frame_until(group.x) + SIZE / 2u;
  for (var i = lane; i < HEADS * HEAD4; i += GROUP) {
    let first = group.x * SCORES + i / HEAD4 * SIZE;
    var highest = scores[first];
    for (var tap = 1u; tap < SIZE; tap++) {
      highest = max(highest, scores[first + tap]);
    }
    var total = 0.0;
    var sum = vec4<f32>(0.0);
    for (var tap = 0u; tap < SIZE; tap++) {
      let weight = exp(scores[first + tap] - highest);
      total += weight;
      let row = group.x + tap;
      if row >= from_row && row < until_row {
        sum += weight * x[(row - SIZE / 2u) * HEADS * HEAD4 + i];
      }
    }
    out[group.x * HEADS * HEAD4 + i] = sum / total;
  }
}
