// lib/product.wgsl, for many rows: every value is fetched once for a tile of 64 BLOCKS rows x 64 columns.
//
// A workgroup of 128 keeps 16 inputs of the rows and of the columns in memory of its own; an invocation makes 4 rows x one panel of 8 columns
// of them, in each block of 64 rows. Inputs are summed in slices, and these in their order: linear_split.wgsl. Rows past the batch are
// computed from whatever lies there and not written.
//
// Neighbours always have neighbouring fours in the workgroup's memory, of which a GPU serves eight at once where they lie in as many banks.
const DEPTH4 = 4u;
const ROWS4 = 16u * BLOCKS;

var<workgroup> rows: array<vec4<f32>, 4u * DEPTH4 * ROWS4>;   // [inputs, 64 BLOCKS rows]
var<workgroup> columns: array<vec4<f32>, 4u * DEPTH4 * 16u>;  // [inputs, 2 halves of the panels, 8 panels]

// 4 rows x 8 columns.
struct Sums {
  low0: vec4<f32>,
  low1: vec4<f32>,
  low2: vec4<f32>,
  low3: vec4<f32>,
  high0: vec4<f32>,
  high1: vec4<f32>,
  high2: vec4<f32>,
  high3: vec4<f32>,
}

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let four = index / 8u;
  let panel = index % 8u;
  var total = Sums();
  var far_total = Sums();
  for (var slice = 0u; slice < SLICES; slice++) {
    var sums = Sums();
    var far_sums = Sums();
    for (var step = 0u; step < SLICE4; step += DEPTH4) {
      let k4 = slice * SLICE4 + step;
      if index < 4u * ROWS4 {
        fetch_rows(group.x * 4u * ROWS4, k4, index);
      }
      if index >= 64u {
        fetch_columns(group.y * 8u, k4, index - 64u);
      }
      workgroupBarrier();
      for (var k = 0u; k < 4u * DEPTH4; k++) {
        let low = columns[k * 16u + panel];
        let high = columns[k * 16u + 8u + panel];
        add_products(&sums, rows[k * ROWS4 + four], low, high);
        if BLOCKS > 1u {
          add_products(&far_sums, rows[k * ROWS4 + 16u + four], low, high);
        }
      }
      workgroupBarrier();
    }
    add(&total, sums);
    if BLOCKS > 1u {
      add(&far_total, far_sums);
    }
  }
  let row = group.x * 4u * ROWS4 + 4u * four;
  write(row, group.y * 8u + panel, total);
  if BLOCKS > 1u {
    write(row + 64u, group.y * 8u + panel, far_total);
  }
}

fn add_products(sums: ptr<function, Sums>, four_rows: vec4<f32>, low: vec4<f32>, high: vec4<f32>) {
  (*sums).low0 = fma(vec4<f32>(four_rows.x), low, (*sums).low0);
  (*sums).high0 = fma(vec4<f32>(four_rows.x), high, (*sums).high0);
  (*sums).low1 = fma(vec4<f32>(four_rows.y), low, (*sums).low1);
  (*sums).high1 = fma(vec4<f32>(four_rows.y), high, (*sums).high1);
  (*sums).low2 = fma(vec4<f32>(four_rows.z), low, (*sums).low2);
  (*sums).high2 = fma(vec4<f32>(four_rows.z), high, (*sums).high2);
  (*sums).low3 = fma(vec4<f32>(four_rows.w), low, (*sums).low3);
  (*sums).high3 = fma(vec4<f32>(four_rows.w), high, (*sums).high3);
}

fn add(total: ptr<function, Sums>, sums: Sums) {
  (*total).low0 += sums.low0;
  (*total).low1 += sums.low1;
  (*total).low2 += sums.low2;
  (*total).low3 += sums.low3;
  (*total).high0 += sums.high0;
  (*total).high1 += sums.high1;
  (*total).high2 += sums.high2;
  (*total).high3 += sums.high3;
}

fn write(row: u32, panel: u32, sums: Sums) {
  product_write(row, panel, sums.low0, sums.high0);
  product_write(row + 1u, panel, sums.low1, sums.high1);
  product_write(row + 2u, panel, sums.low2, sums.high2);
  product_write(row + 3u, panel, sums.low3, sums.high3);
}

// Four inputs of four rows, to where the rows of an input are together. Behind the last input there are zeros.
fn fetch_rows(first: u32, first_k4: u32, index: u32) {
  let four = index % ROWS4;
  let depth = index / ROWS4;
  let k4 = first_k4 + depth;
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
  let at = 4u * depth * ROWS4 + four;
  rows[at] = vec4<f32>(a.x, b.x, c.x, d.x);
  rows[at + ROWS4] = vec4<f32>(a.y, b.y, c.y, d.y);
  rows[at + 2u * ROWS4] = vec4<f32>(a.z, b.z, c.z, d.z);
  rows[at + 3u * ROWS4] = vec4<f32>(a.w, b.w, c.w, d.w);
}

// Two of the four inputs of a block, for the eight columns of its panel. Behind the last input there are zeros.
fn fetch_columns(first: u32, first_k4: u32, index: u32) {
  let panel = index % 8u;
  let pair = index / 8u % 2u;
  let depth = index / 16u;
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
  let at = (4u * depth + 2u * pair) * 16u + panel;
  columns[at] = a;
  columns[at + 8u] = b;
  columns[at + 16u] = c;
  columns[at + 24u] = d;
}
