// One vector a text from its token rows: the poolings of sentence-transformers, concatenated, and where this
// is the last step (LAST) their L2 norm and the cut to the dimensions asked for. One workgroup a text. A fragment says
// whether rows are normalised first.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;       // [tokens, K4]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;     // [texts, dimensions or OUT_STRIDE]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let text = group.x;
  rows_begin(frame_start(text), frame_start(text + 1u), lane);
  rows_keep(frame_start(text), frame_start(text + 1u), lane);
  let modes = min(frame_modes(), MODES);
  let dimensions = select(modes * WIDTH, frame_dimensions(), LAST);
  let stride = select(OUT_STRIDE, dimensions, LAST);
  let norm_dimensions = select(0u, frame_norm_dimensions(), LAST);
  var squares = 0.0;
  for (var i = lane; i < modes * K4; i += GROUP) {
    let mode = i / K4;
    let column = 4u * (i % K4);
    let pooled = pool(frame_mode(mode), text, i % K4);
    for (var c = 0u; c < min(4u, WIDTH - column); c++) {
      let at = mode * WIDTH + column + c;
      if at < norm_dimensions {
        squares += pooled[c] * pooled[c];
      }
      if at < dimensions {
        out[text * stride + at] = pooled[c];
      }
    }
  }
  if !LAST {
    for (var at = modes * WIDTH + lane; at < OUT_STRIDE; at += GROUP) {
      out[text * stride + at] = 0.0;
    }
  }
  let scale = normalize_scale(squares, lane);
  if norm_dimensions == 0u {
    return;
  }
  // Each lane scales what it wrote itself.
  for (var i = lane; i < modes * K4; i += GROUP) {
    let column = 4u * (i % K4);
    for (var c = 0u; c < min(4u, WIDTH - column); c++) {
      let at = (i / K4) * WIDTH + column + c;
      if at < dimensions {
        out[text * stride + at] *= scale;
      }
    }
  }
}

// Modes as `Pooling` in crate/head.rs numbers them. A text may have nothing to pool (it is all prompt): then
// cls takes the first token and the others are zero, as in sentence-transformers; max is refused on the host.
fn pool(mode: u32, text: u32, column4: u32) -> vec4<f32> {
  let start = frame_start(text);
  let end = frame_start(text + 1u);
  let counted = start + frame_pool_from(text);
  if mode == 0u { // cls
    return four_of(select(start, counted, counted < end), column4);
  }
  if counted >= end {
    return vec4<f32>(0.0);
  }
  if mode == 5u { // lasttoken
    return four_of(end - 1u, column4);
  }
  var sum = vec4<f32>(0.0);
  var highest = four_of(counted, column4);
  for (var first = counted; first < end; first += RUN) {
    var part = vec4<f32>(0.0);
    for (var row = first; row < min(first + RUN, end); row++) {
      let value = four_of(row, column4);
      let weight = select(1.0, f32(row - start + 1u), mode == 4u); // weightedmean
      part = fma(vec4<f32>(weight), value, part);
      highest = max(highest, value);
    }
    sum += part;
  }
  if mode == 1u { // max
    return highest;
  }
  let total = f32(select(end - counted, up_to(end - start) - up_to(counted - start), mode == 4u));
  return sum / select(total, sqrt(total), mode == 3u); // mean, mean_sqrt_len_tokens
}

// The sum of the weights of so many rows.
fn up_to(rows: u32) -> u32 { return rows * (rows + 1u) / 2u; }

fn four_of(row: u32, column4: u32) -> vec4<f32> { return row_four(row_of(row, 0u), column4, columns_of(column4)); }
