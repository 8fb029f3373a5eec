// The rows of every text transformed, after their columns: for row t of a text of n
//   out[t] = x[t] + sum_s cos(2π t s / n) columns[s].cos - sin(2π t s / n) columns[s].sin
// Cosines and sines are from a table of every n, because a shader's own are not exact.
//
// A workgroup makes 8 rows of 8 times four columns. Values come straight from the buffers: neighbours read the same ones.
@group(0) @binding(1) var<storage, read> columns: array<vec4<f32>>;    // [tokens][cos and sin][STRIDE4]
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;          // [tokens, STRIDE4]
@group(0) @binding(3) var<storage, read> turns: array<vec2<f32>>;      // cos and sin of 2π m / n at n (n - 1) / 2 + m
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, STRIDE4]

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row = group.x * 8u + local.y;
  let column4 = group.y * 8u + local.x;
  if row >= frame_tokens() || column4 >= STRIDE4 {
    return;
  }
  let first = frame_from(row);
  let count = frame_until(row) - first;
  let table = count * (count - 1u) / 2u;
  var turn = 0u; // (row - first) times the row that is read, modulo count
  var sum = vec4<f32>(0.0);
  for (var source = first; source < first + count; source++) {
    let at = source * 2u * STRIDE4 + column4;
    let angle = turns[table + turn];
    sum += angle.x * columns[at] - angle.y * columns[at + STRIDE4];
    turn += row - first;
    turn -= select(0u, count, turn >= count);
  }
  out[row * STRIDE4 + column4] = sum + x[row * STRIDE4 + column4];
}
