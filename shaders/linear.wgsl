// out[r, n] = epilogue(sum_k x[r, k] weight[n, k] + bias[n])
//
// GATED: a panel holds four columns of each half, and out = epilogue(first half) * second half.
//
// A workgroup of 8 x 8 makes a tile of 32 rows x 64 columns, an invocation 4 rows x one panel of 8 columns. Values
// come straight from the buffers: neighbours read the same ones, which caches serve. Rows past the batch are
// computed from whatever lies there and not written. The weight may be a piece of its columns, from tile FIRST on.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [rows, K4]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [N4], twice that where GATED
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [rows, N4]

@compute @workgroup_size(8, 8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {
  let row = group.x * 32u + local.y * 4u;
  let panel = group.y * 8u + local.x;
  // Named sums, not an array: software drivers keep an indexed array in memory.
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
    let x1 = x[(row + 1u) * K4 + k4];
    let x2 = x[(row + 2u) * K4 + k4];
    let x3 = x[(row + 3u) * K4 + k4];
    let block = weight_block(panel, k4);
    var a = weight_quad(block, 0u);
    var b = weight_quad(block, 2u);
    var c = weight_quad(block, 4u);
    var d = weight_quad(block, 6u);
    low0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
    low1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
    low2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
    low3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
    a = weight_quad(block, 1u);
    b = weight_quad(block, 3u);
    c = weight_quad(block, 5u);
    d = weight_quad(block, 7u);
    high0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
    high1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
    high2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
    high3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
  }
  write(row, panel, low0, high0);
  write(row + 1u, panel, low1, high1);
  write(row + 2u, panel, low2, high2);
  write(row + 3u, panel, low3, high3);
}

fn write(row: u32, panel_of_piece: u32, low: vec4<f32>, high: vec4<f32>) {
  let panel = FIRST * 8u + panel_of_piece;
  if row >= linear_rows() {
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

fn linear_rows() -> u32 {
  if FIXED_ROWS > 0u {
    return FIXED_ROWS;
  }
  return frame_rows(ROWS);
}
