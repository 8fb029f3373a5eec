// out = softmax(SCALE q kᵀ + bias) v for each head, over the rows [from, until) that a token attends to. Fragments
// say whether queries and keys are turned by their positions, and whether distances have a bias.
//
// One query row an invocation; keys and values pass through workgroup memory. The running maximum and sum
// are updated key by key in the order of the rows, so a text's bits do not depend on what it is packed with.
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // [tokens][HEADS, KV_HEADS, KV_HEADS][HEAD4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, HEADS][HEAD4]

const TOKEN4 = (HEADS + 2u * KV_HEADS) * HEAD4;

var<workgroup> keys: array<vec4<f32>, KEYS * HEAD4>;
var<workgroup> values: array<vec4<f32>, KEYS * HEAD4>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y;
  let kv = HEADS + head / (HEADS / KV_HEADS);
  let first = group.x * GROUP;
  let last = min(first + GROUP, frame_tokens()) - 1u;
  let row = min(first + lane, last); // Lanes past the batch repeat the last row and write nothing.
  let begin = max(frame_from(row), row - min(row, BEFORE));
  let end = min(frame_until(row), row + BEHIND + 1u);
  var q: array<vec4<f32>, HEAD4>;
  var sum: array<vec4<f32>, HEAD4>;
  for (var d = 0u; d < HEAD4; d++) {
    q[d] = SCALE * turned(row, head, d);
  }
  var highest = -1e30;
  var total = 0.0;
  // Bounds never fall from row to row, so the first row's `from` and the last row's `until` cover the tile.
  let tile_end = min(frame_until(last), last + BEHIND + 1u);
  for (var key0 = max(frame_from(first), first - min(first, BEFORE)); key0 < tile_end; key0 += KEYS) {
    let count = min(KEYS, tile_end - key0);
    for (var i = lane; i < count * HEAD4; i += GROUP) {
      let key = key0 + i / HEAD4;
      keys[i] = turned(key, kv, i % HEAD4);
      values[i] = qkv[key * TOKEN4 + (kv + KV_HEADS) * HEAD4 + i % HEAD4];
    }
    workgroupBarrier();
    let from_key = max(begin, key0) - key0;
    let until_key = min(end, key0 + count) - min(end, key0);
    for (var key = from_key; key < until_key; key++) {
      var dots = vec4<f32>(0.0);
      for (var d = 0u; d < HEAD4; d++) {
        dots += q[d] * keys[key * HEAD4 + d];
      }
      let score = dots.x + dots.y + dots.z + dots.w + distance_bias(row, key0 + key, head);
      if score > highest {
        let shrink = exp(highest - score);
        highest = score;
        total *= shrink;
        for (var d = 0u; d < HEAD4; d++) {
          sum[d] *= shrink;
        }
      }
      let weight = exp(score - highest);
      total += weight;
      for (var d = 0u; d < HEAD4; d++) {
        sum[d] += weight * values[key * HEAD4 + d];
      }
    }
    workgroupBarrier();
  }
  if first + lane <= last {
    for (var d = 0u; d < HEAD4; d++) {
      out[(row * HEADS + head) * HEAD4 + d] = sum[d] / total;
    }
  }
}
