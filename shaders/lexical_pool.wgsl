// out[t, n] = the maximum, or the sum (SUM), over the rows r of text t of ln(1 + max(0, sum_k x[r, k] weight[n, k] + bias[n]))
// where LOGS is 1; the logarithm is taken twice where it is 2.
//
// An invocation makes one panel of 8 columns of one text, four rows at a time, so that the scores of the vocabulary, a row a
// token, are never in memory. The logarithm grows with its argument: a maximum is taken before it.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, K4]
@group(0) @binding(2) var<storage, read> weight: array<matrix4>;       // [N/8][K][8], see Layout::Linear
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [N4]
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [texts, N4]

struct Columns {
  low: vec4<f32>,
  high: vec4<f32>,
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let text = group.x;
  let panel = group.y * GROUP + lane;
  if 2u * panel >= N4 {
    return;
  }
  let end = frame_start(text + 1u);
  var pooled = Columns(vec4<f32>(0.0), vec4<f32>(0.0));
  for (var row = frame_start(text); row < end; row += 4u) {
    // Rows past the text repeat its last one and do not count.
    let r1 = min(row + 1u, end - 1u);
    let r2 = min(row + 2u, end - 1u);
    let r3 = min(row + 3u, end - 1u);
    var low0 = vec4<f32>(0.0);
    var low1 = vec4<f32>(0.0);
    var low2 = vec4<f32>(0.0);
    var low3 = vec4<f32>(0.0);
    var high0 = vec4<f32>(0.0);
    var high1 = vec4<f32>(0.0);
    var high2 = vec4<f32>(0.0);
    var high3 = vec4<f32>(0.0);
    for (var k4 = 0u; k4 < K4; k4++) {
      let x0 = x[row * K4 + k4];
      let x1 = x[r1 * K4 + k4];
      let x2 = x[r2 * K4 + k4];
      let x3 = x[r3 * K4 + k4];
      let at = (panel * K4 + k4) * 8u;
      for (var c = 0u; c < 4u; c++) {
        let low = matrix_load(weight[at + 2u * c]);
        let high = matrix_load(weight[at + 2u * c + 1u]);
        low0 += x0[c] * low;
        low1 += x1[c] * low;
        low2 += x2[c] * low;
        low3 += x3[c] * low;
        high0 += x0[c] * high;
        high1 += x1[c] * high;
        high2 += x2[c] * high;
        high3 += x3[c] * high;
      }
    }
    pooled = pool(pooled, Columns(low0, high0), panel, true);
    pooled = pool(pooled, Columns(low1, high1), panel, row + 1u < end);
    pooled = pool(pooled, Columns(low2, high2), panel, row + 2u < end);
    pooled = pool(pooled, Columns(low3, high3), panel, row + 3u < end);
  }
  let at = text * N4 + 2u * panel;
  out[at] = finished(pooled.low);
  if 2u * panel + 1u < N4 {
    out[at + 1u] = finished(pooled.high);
  }
}

fn pool(pooled: Columns, scores: Columns, panel: u32, counts: bool) -> Columns {
  if !counts {
    return pooled;
  }
  let last = min(2u * panel + 1u, N4 - 1u);
  let low = max(scores.low + bias[2u * panel], vec4<f32>(0.0));
  let high = max(scores.high + bias[last], vec4<f32>(0.0));
  if SUM {
    return Columns(pooled.low + logarithm(low), pooled.high + logarithm(high));
  }
  return Columns(max(pooled.low, low), max(pooled.high, high));
}

fn finished(pooled: vec4<f32>) -> vec4<f32> {
  if SUM {
    return pooled;
  }
  return logarithm(pooled);
}

fn logarithm(x: vec4<f32>) -> vec4<f32> {
  let once = ln_1p(x);
  if LOGS == 2u {
    return ln_1p(once);
  }
  return once;
}

// ln(1 + x) without the loss of small x: what is lost in 1 + x is put back by the quotient (Goldberg 1991, theorem 4).
fn ln_1p(x: vec4<f32>) -> vec4<f32> {
  let sum = 1.0 + x;
  let exact = sum - 1.0;
  return select(x * log(sum) / exact, x, exact == vec4<f32>(0.0));
}
