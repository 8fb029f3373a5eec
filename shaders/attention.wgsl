// out = softmax((SCALE q kᵀ + bias) sharpness) v for each head, over the rows that a token attends to. Fragments say which rows those
// are, in how many PARTS and how often they count, whether queries and keys are turned by their positions, and whether
// distances have a bias.
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
  var q: array<vec4<f32>, HEAD4>;
  var sum: array<vec4<f32>, HEAD4>;
  for (var d = 0u; d < HEAD4; d++) {
    q[d] = SCALE * turned(row, head, d);
  }
  var highest = -1e30;
  var total = 0.0;
  for (var part = 0u; part < PARTS; part++) {
    for (var from_row = first; from_row <= last;) {
      // The rows up to `until_row` pass over the same keys. Bounds that slide never fall from row to row, so that those of
      // the first and the last row hold all; other bounds are shared by neighbours, and those who share pass together.
      var until_row = last + 1u;
      var span = vec2<u32>(seen(from_row, part).x, seen(last, part).y);
      if !slides(part) {
        span = seen(from_row, part);
        until_row = from_row + 1u;
        while until_row <= last && all(seen(until_row, part) == span) {
          until_row++;
        }
      }
      let own = select(vec2<u32>(0u), seen(row, part), from_row <= row && row < until_row);
      for (var key0 = span.x; key0 < span.y; key0 += KEYS) {
        let count = min(KEYS, span.y - key0);
        for (var i = lane; i < count * HEAD4; i += GROUP) {
          let key = key0 + i / HEAD4;
          keys[i] = turned(key, kv, i % HEAD4);
          if TURNED_VALUES {
            values[i] = turned(key, kv + KV_HEADS, i % HEAD4);
          } else {
            values[i] = qkv[key * TOKEN4 + (kv + KV_HEADS) * HEAD4 + i % HEAD4];
          }
        }
        workgroupBarrier();
        let from_key = max(own.x, key0) - key0;
        let until_key = min(own.y, key0 + count) - min(own.y, key0);
        for (var key = from_key; key < until_key; key++) {
          var dots = vec4<f32>(0.0);
          for (var d = 0u; d < HEAD4; d++) {
            dots += q[d] * keys[key * HEAD4 + d];
          }
          let score = dots.x + dots.y + dots.z + dots.w + score_bias(row, key0 + key, part, head);
          if score > highest {
            let shrink = exp((highest - score) * frame_sharpness());
            highest = score;
            total *= shrink;
            for (var d = 0u; d < HEAD4; d++) {
              sum[d] *= shrink;
            }
          }
          let weight = repeats(row, key0 + key) * exp((score - highest) * frame_sharpness());
          total += weight;
          for (var d = 0u; d < HEAD4; d++) {
            sum[d] += weight * values[key * HEAD4 + d];
          }
        }
        workgroupBarrier();
      }
      from_row = until_row;
    }
  }
  if first + lane <= last {
    for (var d = 0u; d < HEAD4; d++) {
      let at = (row * HEADS + head) * HEAD4 + d;
      out[at] = finished(row, at, sum[d] / total);
    }
  }
}
