// lib/product.wgsl, for many rows: every value is fetched once for a tile of 64 rows x 64 columns.
//
// A workgroup of 128 keeps 16 inputs of the rows and of the columns in memory of its own; an invocation makes 4 rows x one panel of 8 columns
// of them. Inputs are summed in slices, and these in their order: linear_split.wgsl. Rows past the batch are computed from whatever lies
// there and not written.
const DEPTH4 = 4u;
// One more than a tile has, so that inputs begin in other banks.
const STRIDE = 17u;

var<workgroup> rows: array<vec4<f32>, 4u * DEPTH4 * STRIDE>;   // [inputs, 64 rows]
var<workgroup> columns: array<vec4<f32>, 4u * DEPTH4 * 16u>;   // [inputs, 64 columns]

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let four = index / 8u;
  let panel_of_tile = index % 8u;
  var low_total0 = vec4<f32>(0.0);
  var low_total1 = vec4<f32>(0.0);
  var low_total2 = vec4<f32>(0.0);
  var low_total3 = vec4<f32>(0.0);
  var high_total0 = vec4<f32>(0.0);
  var high_total1 = vec4<f32>(0.0);
  var high_total2 = vec4<f32>(0.0);
  var high_total3 = vec4<f32>(0.0);
  for (var slice = 0u; slice < SLICES; slice++) {
    var low0 = vec4<f32>(0.0);
    var low1 = vec4<f32>(0.0);
    var low2 = vec4<f32>(0.0);
    var low3 = vec4<f32>(0.0);
    var high0 = vec4<f32>(0.0);
    var high1 = vec4<f32>(0.0);
    var high2 = vec4<f32>(0.0);
    var high3 = vec4<f32>(0.0);
    for (var step = 0u; step < SLICE4; step += DEPTH4) {
      let k4 = slice * SLICE4 + step;
      // Half of the invocations fetch rows, the others columns.
      if index < 64u {
        fetch_rows(group.x * 64u, k4, index);
      } else {
        fetch_columns(group.y * 8u, k4, index - 64u);
      }
      workgroupBarrier();
      for (var k = 0u; k < 4u * DEPTH4; k++) {
        let four_rows = rows[k * STRIDE + four];
        let low = columns[k * 16u + 2u * panel_of_tile];
        let high = columns[k * 16u + 2u * panel_of_tile + 1u];
        low0 = fma(vec4<f32>(four_rows.x), low, low0);
        high0 = fma(vec4<f32>(four_rows.x), high, high0);
        low1 = fma(vec4<f32>(four_rows.y), low, low1);
        high1 = fma(vec4<f32>(four_rows.y), high, high1);
        low2 = fma(vec4<f32>(four_rows.z), low, low2);
        high2 = fma(vec4<f32>(four_rows.z), high, high2);
        low3 = fma(vec4<f32>(four_rows.w), low, low3);
        high3 = fma(vec4<f32>(four_rows.w), high, high3);
      }
      workgroupBarrier();
    }
    low_total0 += low0;
    low_total1 += low1;
    low_total2 += low2;
    low_total3 += low3;
    high_total0 += high0;
    high_total1 += high1;
    high_total2 += high2;
    high_total3 += high3;
  }
  let row = group.x * 64u + four * 4u;
  let panel = group.y * 8u + panel_of_tile;
  product_write(row, panel, low_total0, high_total0);
  product_write(row + 1u, panel, low_total1, high_total1);
  product_write(row + 2u, panel, low_total2, high_total2);
  product_write(row + 3u, panel, low_total3, high_total3);
}

// Four inputs of four rows, to where the rows of an input are together. Behind the last input there are zeros.
fn fetch_rows(first: u32, first_k4: u32, index: u32) {
  let four = index / DEPTH4;
  let k4 = first_k4 + index % DEPTH4;
  var a = vec4<f32>(0.0);
  var b = vec4<f32>(0.0);
  var c = vec4<f32>(0.0);
  var d = vec4<f32>(0.0);
  if k4 < K4 {
    let row = first + 4u * four;
    a = x[row * K4 + k4];
    b = x[(row + 1u) * K4 + k4];
    c = x[(row + 2u) * K4 + k4];
    d = x[(row + 3u) * K4 + k4];
  }
  let at = index % DEPTH4 * 4u * STRIDE + four;
  rows[at] = vec4<f32>(a.x, b.x, c.x, d.x);
  rows[at + STRIDE] = vec4<f32>(a.y, b.y, c.y, d.y);
  rows[at + 2u * STRIDE] = vec4<f32>(a.z, b.z, c.z, d.z);
  rows[at + 3u * STRIDE] = vec4<f32>(a.w, b.w, c.w, d.w);
}

// Two of the four inputs of a block, for the eight columns of its panel. Behind the last input there are zeros.
fn fetch_columns(first: u32, first_k4: u32, index: u32) {
  let pair = index % 2u;
  let depth = index / 2u % DEPTH4;
  let panel = index / (2u * DEPTH4);
  var a = vec4<f32>(0.0);
  var b = vec4<f32>(0.0);
  var c = vec4<f32>(0.0);
  var d = vec4<f32>(0.0);
  if first_k4 + depth < K4 {
    let block = weight_block(first + panel, first_k4 + depth);
    a = weight_quad(block, 4u * pair);
    b = weight_quad(block, 4u * pair + 1u);
    c = weight_quad(block, 4u * pair + 2u);
    d = weight_quad(block, 4u * pair + 3u);
  }
  let at = (4u * depth + 2u * pair) * 16u + 2u * panel;
  columns[at] = a;
  columns[at + 1u] = b;
  columns[at + 16u] = c;
  columns[at + 17u] = d;
}
