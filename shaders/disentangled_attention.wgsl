// out = softmax(SCALE (q kᵀ + q Kᵀ + Q kᵀ)) v for each head, over the rows [from, until) that a token attends to. Q and K
// are the query and the key of the distance between the two: the middle term is content to position (C2P), the last is
// position to content (P2C).
//
// One query row an invocation; keys and values pass through workgroup memory, positions come straight from their buffer,
// where neighbours read neighbouring rows. The running maximum and sum are updated as in attention.wgsl.
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // [tokens][queries, keys, values][HEADS][HEAD4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, HEADS][HEAD4]
@group(0) @binding(3) var<storage, read> positions: array<vec4<f32>>;  // [buckets][queries, keys][HEADS][HEAD4]
@group(0) @binding(4) var<storage, read> buckets: array<f32>;          // [2 MOST + 1], of distances

const WIDTH4 = HEADS * HEAD4;

var<workgroup> keys: array<vec4<f32>, KEYS * HEAD4>;
var<workgroup> values: array<vec4<f32>, KEYS * HEAD4>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let head = group.y * HEAD4;
  let first = group.x * GROUP;
  let last = min(first + GROUP, frame_tokens()) - 1u;
  let row = min(first + lane, last); // Lanes past the batch repeat the last row and write nothing.
  let begin = frame_from(row);
  let end = frame_until(row);
  var q: array<vec4<f32>, HEAD4>;
  var sum: array<vec4<f32>, HEAD4>;
  for (var d = 0u; d < HEAD4; d++) {
    q[d] = SCALE * qkv[row * 3u * WIDTH4 + head + d];
  }
  var highest = -1e30;
  var total = 0.0;
  // Bounds never fall from row to row, so the first row's `from` and the last row's `until` cover the tile.
  let tile_end = frame_until(last);
  for (var key0 = frame_from(first); key0 < tile_end; key0 += KEYS) {
    let count = min(KEYS, tile_end - key0);
    for (var i = lane; i < count * HEAD4; i += GROUP) {
      let at = ((key0 + i / HEAD4) * 3u + 1u) * WIDTH4 + head + i % HEAD4;
      keys[i] = qkv[at];
      values[i] = qkv[at + WIDTH4];
    }
    workgroupBarrier();
    let from_key = max(begin, key0) - key0;
    let until_key = min(end, key0 + count) - min(end, key0);
    for (var key = from_key; key < until_key; key++) {
      let distance = clamp(i32(row) - i32(key0 + key), -i32(MOST), i32(MOST));
      let at = u32(buckets[distance + i32(MOST)]) * 2u * WIDTH4 + head;
      var dots = vec4<f32>(0.0);
      for (var d = 0u; d < HEAD4; d++) {
        let k = keys[key * HEAD4 + d];
        dots += q[d] * k;
        if C2P { dots += q[d] * positions[at + WIDTH4 + d]; }
        if P2C { dots += SCALE * positions[at + d] * k; }
      }
      let score = dots.x + dots.y + dots.z + dots.w;
      if score > highest {
        let shrink = exp((highest - score) * frame_sharpness());
        highest = score;
        total *= shrink;
        for (var d = 0u; d < HEAD4; d++) {
          sum[d] *= shrink;
        }
      }
      let weight = exp((score - highest) * frame_sharpness());
      total += weight;
      for (var d = 0u; d < HEAD4; d++) {
        sum[d] += weight * values[key * HEAD4 + d];
      }
    }
    workgroupBarrier();
  }
  if first + lane <= last {
    for (var d = 0u; d < HEAD4; d++) {
      out[row * WIDTH4 + head + d] = sum[d] / total;
    }
  }
}
