// attention.wgsl where GPUs have many invocations to keep busy: a query row is STREAMS of them, each of which takes every STREAMS-th key,
// counted from where the text begins. Running maxima and sums are updated key by key, and those of the streams put together in their
// order, so a text's bits do not depend on what it is packed with.
@group(0) @binding(1) var<storage, read> qkv: array<vec4<f32>>;        // [tokens][HEADS, KV_HEADS, KV_HEADS][HEAD4]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, HEADS][HEAD4]

const TOKEN4 = (HEADS + 2u * KV_HEADS) * HEAD4;
const STREAMS = 4u;
const INVOCATIONS = GROUP * STREAMS;
// Keys of a stream whose products are made first, since none waits for another.
const AHEAD = 4u;
const VALUES = KEYS * HEAD4;
const TILE = max(2u * VALUES, INVOCATIONS);
// Columns of a row for which the tile has room, from all invocations.
const COLUMNS4 = min(TILE / INVOCATIONS, HEAD4);

var<workgroup> tile: array<vec4<f32>, TILE>;  // [keys, values][KEYS][HEAD4], at the end [COLUMNS4][STREAMS][GROUP]

@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let lane = index % GROUP;
  let stream = index / GROUP;
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
      // Where bounds slide, neighbours begin with the same key nevertheless, and read the same.
      let begin = select(own.x, frame_from(row), slides(part));
      for (var key0 = span.x; key0 < span.y; key0 += KEYS) {
        let count = min(KEYS, span.y - key0);
        for (var i = index; i < count * HEAD4; i += INVOCATIONS) {
          let key = key0 + i / HEAD4;
          tile[i] = turned(key, kv, i % HEAD4);
          if TURNED_VALUES {
            tile[VALUES + i] = turned(key, kv + KV_HEADS, i % HEAD4);
          } else {
            tile[VALUES + i] = qkv[key * TOKEN4 + (kv + KV_HEADS) * HEAD4 + i % HEAD4];
          }
        }
        workgroupBarrier();
        let from_key = max(begin, key0);
        let until_key = min(own.y, key0 + count) - min(own.y, key0);
        // The first of the stream.
        var key = from_key - key0 + (stream + begin - from_key) % STREAMS;
        for (; key < until_key; key += AHEAD * STREAMS) {
          var dots = array<vec4<f32>, AHEAD>();
          for (var d = 0u; d < HEAD4; d++) {
            for (var i = 0u; i < AHEAD; i++) {
              dots[i] += q[d] * tile[min(key + i * STREAMS, KEYS - 1u) * HEAD4 + d];
            }
          }
          for (var i = 0u; i < AHEAD; i++) {
            let at = key + i * STREAMS;
            if own.x <= key0 + at && at < until_key {
              let score = dots[i].x + dots[i].y + dots[i].z + dots[i].w + score_bias(row, key0 + at, part, head);
              if score > highest {
                let shrink = exp((highest - score) * frame_sharpness());
                highest = score;
                total *= shrink;
                for (var d = 0u; d < HEAD4; d++) {
                  sum[d] *= shrink;
                }
              }
              let weight = repeats(row, key0 + at) * exp((score - highest) * frame_sharpness());
              total += weight;
              for (var d = 0u; d < HEAD4; d++) {
                sum[d] += weight * tile[VALUES + at * HEAD4 + d];
              }
            }
          }
        }
        workgroupBarrier();
      }
      from_row = until_row;
    }
  }
  tile[index] = vec4<f32>(highest, total, 0.0, 0.0);
  workgroupBarrier();
  var most = highest;
  for (var other = 0u; other < STREAMS; other++) {
    most = max(most, tile[other * GROUP + lane].x);
  }
  var all_totals = 0.0;
  for (var other = 0u; other < STREAMS; other++) {
    let theirs = tile[other * GROUP + lane];
    all_totals += theirs.y * exp((theirs.x - most) * frame_sharpness());
  }
  let shrink = exp((highest - most) * frame_sharpness());
  for (var d0 = 0u; d0 < HEAD4; d0 += COLUMNS4) {
    workgroupBarrier();
    for (var c = 0u; c < COLUMNS4; c++) {
      if d0 + c < HEAD4 {
        tile[c * INVOCATIONS + index] = shrink * sum[d0 + c];
      }
    }
    workgroupBarrier();
    for (var d = d0 + stream; d < min(d0 + COLUMNS4, HEAD4); d += STREAMS) {
      var attended = vec4<f32>(0.0);
      for (var other = 0u; other < STREAMS; other++) {
        attended += tile[(d - d0) * INVOCATIONS + other * GROUP + lane];
      }
      if first + lane <= last {
        let at = (row * HEADS + head) * HEAD4 + d;
        out[at] = finished(row, at, attended / all_totals);
      }
    }
  }
}
