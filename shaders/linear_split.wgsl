// lib/product.wgsl, for few rows: weights are read once, by as many workgroups as there can be.
//
// A workgroup of 4 SLOTS makes 16 rows x one panel of 8 columns. Its invocations share the inputs, a slice to each of SLOTS; for each slice four
// invocations have 4 rows each. The sums of the slices are added in their order, so that the bits are those of linear_tiled.wgsl. Rows
// past the batch are computed from whatever lies there and not written. A fragment says whether they are normalised first.

// Slices whose sums are in memory at once, and one more, so that the values of a row begin in other banks.
const HELD = 16u;
const STRIDE = HELD + 1u;

var<workgroup> sums: array<vec4<f32>, 32u * STRIDE>;  // [4 of its rows, 2 halves of the panel, 4 invocations, slices]

@compute @workgroup_size(4u * SLOTS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  // Neighbours have the same inputs, so that as few weights as can be are asked for at once.
  let slice = index / 4u;
  let row = group.x * 16u + index % 4u * 4u;
  let panel = group.y * 8u + group.z;
  rows_begin(group.x * 16u, group.x * 16u + 16u, index);
  // Whoever has the first panel keeps them.
  let kept = select(0u, product_rows(), FIRST * 8u + panel == 0u);
  let row0 = row_of(row, kept);
  let row1 = row_of(row + 1u, kept);
  let row2 = row_of(row + 2u, kept);
  let row3 = row_of(row + 3u, kept);
  var low0 = vec4<f32>(0.0);
  var low1 = vec4<f32>(0.0);
  var low2 = vec4<f32>(0.0);
  var low3 = vec4<f32>(0.0);
  var high0 = vec4<f32>(0.0);
  var high1 = vec4<f32>(0.0);
  var high2 = vec4<f32>(0.0);
  var high3 = vec4<f32>(0.0);
  for (var first = slice * SLICE4; first < min((slice + 1u) * SLICE4, K4); first += 4u) {
    // As many as compilers unroll, so that values of several are on their way at once.
    for (var i = 0u; i < 4u; i++) {
      let k4 = first + i;
      if K4 % 4u != 0u && k4 >= K4 {
        break;
      }
      let columns = columns_of(k4);
      let x0 = row_four(row0, k4, columns);
      let x1 = row_four(row1, k4, columns);
      let x2 = row_four(row2, k4, columns);
      let x3 = row_four(row3, k4, columns);
      row_keep(row0, k4, x0);
      row_keep(row1, k4, x1);
      row_keep(row2, k4, x2);
      row_keep(row3, k4, x3);
      let block = weight_block(panel, k4);
      var low = weight_quad(block, 0u);
      var high = weight_quad(block, 1u);
      low0 = fma(vec4<f32>(x0.x), low, low0);
      high0 = fma(vec4<f32>(x0.x), high, high0);
      low1 = fma(vec4<f32>(x1.x), low, low1);
      high1 = fma(vec4<f32>(x1.x), high, high1);
      low2 = fma(vec4<f32>(x2.x), low, low2);
      high2 = fma(vec4<f32>(x2.x), high, high2);
      low3 = fma(vec4<f32>(x3.x), low, low3);
      high3 = fma(vec4<f32>(x3.x), high, high3);
      low = weight_quad(block, 2u);
      high = weight_quad(block, 3u);
      low0 = fma(vec4<f32>(x0.y), low, low0);
      high0 = fma(vec4<f32>(x0.y), high, high0);
      low1 = fma(vec4<f32>(x1.y), low, low1);
      high1 = fma(vec4<f32>(x1.y), high, high1);
      low2 = fma(vec4<f32>(x2.y), low, low2);
      high2 = fma(vec4<f32>(x2.y), high, high2);
      low3 = fma(vec4<f32>(x3.y), low, low3);
      high3 = fma(vec4<f32>(x3.y), high, high3);
      low = weight_quad(block, 4u);
      high = weight_quad(block, 5u);
      low0 = fma(vec4<f32>(x0.z), low, low0);
      high0 = fma(vec4<f32>(x0.z), high, high0);
      low1 = fma(vec4<f32>(x1.z), low, low1);
      high1 = fma(vec4<f32>(x1.z), high, high1);
      low2 = fma(vec4<f32>(x2.z), low, low2);
      high2 = fma(vec4<f32>(x2.z), high, high2);
      low3 = fma(vec4<f32>(x3.z), low, low3);
      high3 = fma(vec4<f32>(x3.z), high, high3);
      low = weight_quad(block, 6u);
      high = weight_quad(block, 7u);
      low0 = fma(vec4<f32>(x0.w), low, low0);
      high0 = fma(vec4<f32>(x0.w), high, high0);
      low1 = fma(vec4<f32>(x1.w), low, low1);
      high1 = fma(vec4<f32>(x1.w), high, high1);
      low2 = fma(vec4<f32>(x2.w), low, low2);
      high2 = fma(vec4<f32>(x2.w), high, high2);
      low3 = fma(vec4<f32>(x3.w), low, low3);
      high3 = fma(vec4<f32>(x3.w), high, high3);
    }
  }
  let value = index % 4u * 8u + index / 4u;
  var low_sum = vec4<f32>(0.0);
  var high_sum = vec4<f32>(0.0);
  for (var first = 0u; first < SLICES; first += HELD) {
    if slice / HELD == first / HELD {
      let at = index % 4u * STRIDE + slice % HELD;
      sums[at] = low0;
      sums[at + 4u * STRIDE] = high0;
      sums[at + 8u * STRIDE] = low1;
      sums[at + 12u * STRIDE] = high1;
      sums[at + 16u * STRIDE] = low2;
      sums[at + 20u * STRIDE] = high2;
      sums[at + 24u * STRIDE] = low3;
      sums[at + 28u * STRIDE] = high3;
    }
    workgroupBarrier();
    if index < 16u {
      for (var i = 0u; i < min(HELD, SLICES - first); i++) {
        low_sum += sums[value * STRIDE + i];
        high_sum += sums[(value + 4u) * STRIDE + i];
      }
    }
    workgroupBarrier();
  }
  if index < 16u {
    product_write(group.x * 16u + index, panel, low_sum, high_sum);
  }
}
