// What the kernels of a product have in common: out[r, n] = epilogue(sum_k x[r, k] weight[n, k] + bias[n])
//
// GATED: a panel holds four columns of each half, and out = epilogue(first half) * second half.
// The weight may be a piece of its columns, from tile FIRST on: panels are counted from there.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [rows, K4]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [N4], twice that where GATED
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [rows, N4]

fn product_write(row: u32, panel_of_piece: u32, low: vec4<f32>, high: vec4<f32>) {
  let panel = FIRST * 8u + panel_of_piece;
  if row >= product_rows() {
    return;
  }
  if GATED {
    if panel < N4 {
      let at = row * N4 + panel;
      out[at] = epilogue(low + bias[2u * panel], at) * (high + bias[2u * panel + 1u]);
    }
    return;
  }
  let column4 = 2u * panel;
  let at = row * N4 + column4;
  if column4 < N4 {
    out[at] = epilogue(low + bias[column4], at);
  }
  if column4 + 1u < N4 {
    out[at + 1u] = epilogue(high + bias[column4 + 1u], at + 1u);
  }
}

fn product_rows() -> u32 {
  if FIXED_ROWS > 0u {
    return FIXED_ROWS;
  }
  return frame_rows(ROWS);
}
