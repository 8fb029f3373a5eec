// lib/product.wgsl of a matrix in bytes, for many rows: integers are fetched once for a tile of 64 rows x 64 columns.
//
// A workgroup of 128 takes a run of 64 inputs at a time: it rounds those of its rows, and an invocation makes 4 rows x one panel of 8 columns.
// Their sums are exact; runs are added in their order, as the host adds them. Rows past the batch are computed from whatever lies there
// and not written.

// One more than there are panels, so that entries begin in other banks.
const STRIDE = 9u;

var<workgroup> columns: array<vec4<u32>, 32u * STRIDE>;  // [16 fours of inputs, 2 halves, 8 panels]

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let four = index / 8u * 4u;
  let panel = group.y * 8u + index % 8u;
  let near_row = group.x * 64u + index / 4u;
  var low0 = vec4<f32>(0.0);
  var low1 = vec4<f32>(0.0);
  var low2 = vec4<f32>(0.0);
  var low3 = vec4<f32>(0.0);
  var high0 = vec4<f32>(0.0);
  var high1 = vec4<f32>(0.0);
  var high2 = vec4<f32>(0.0);
  var high3 = vec4<f32>(0.0);
  for (var run = 0u; run < RUNS; run++) {
    let near = share_fetch(near_row, run, index % 4u);
    let far = share_fetch(near_row + 32u, run, index % 4u);
    share_ranges[index] = share_range(near);
    share_ranges[index + 128u] = share_range(far);
    workgroupBarrier();
    share_round(near, index, run);
    share_round(far, index + 128u, run);
    fetch_columns(group.y * 8u + index / 16u, run, index % 16u, index / 16u);
    workgroupBarrier();
    var low_sum0 = vec4<i32>(0);
    var low_sum1 = vec4<i32>(0);
    var low_sum2 = vec4<i32>(0);
    var low_sum3 = vec4<i32>(0);
    var high_sum0 = vec4<i32>(0);
    var high_sum1 = vec4<i32>(0);
    var high_sum2 = vec4<i32>(0);
    var high_sum3 = vec4<i32>(0);
    for (var k4 = 0u; k4 < 16u; k4++) {
      let low = columns[2u * k4 * STRIDE + index % 8u];
      let high = columns[(2u * k4 + 1u) * STRIDE + index % 8u];
      let at = k4 * STEP + four;
      let x0 = rounded[at];
      let x1 = rounded[at + 1u];
      let x2 = rounded[at + 2u];
      let x3 = rounded[at + 3u];
      low_sum0 += weight_dots(low, x0);
      high_sum0 += weight_dots(high, x0);
      low_sum1 += weight_dots(low, x1);
      high_sum1 += weight_dots(high, x1);
      low_sum2 += weight_dots(low, x2);
      high_sum2 += weight_dots(high, x2);
      low_sum3 += weight_dots(low, x3);
      high_sum3 += weight_dots(high, x3);
    }
    low0 = weight_add(low0, low_sum0, panel, run, 0u, ranges[four]);
    high0 = weight_add(high0, high_sum0, panel, run, 1u, ranges[four]);
    low1 = weight_add(low1, low_sum1, panel, run, 0u, ranges[four + 1u]);
    high1 = weight_add(high1, high_sum1, panel, run, 1u, ranges[four + 1u]);
    low2 = weight_add(low2, low_sum2, panel, run, 0u, ranges[four + 2u]);
    high2 = weight_add(high2, high_sum2, panel, run, 1u, ranges[four + 2u]);
    low3 = weight_add(low3, low_sum3, panel, run, 0u, ranges[four + 3u]);
    high3 = weight_add(high3, high_sum3, panel, run, 1u, ranges[four + 3u]);
  }
  let row = group.x * 64u + four;
  product_write(row, panel, low0, high0);
  product_write(row + 1u, panel, low1, high1);
  product_write(row + 2u, panel, low2, high2);
  product_write(row + 3u, panel, low3, high3);
}

// Two entries of a panel's run, sixteen apart, so that invocations fetch what lies together.
fn fetch_columns(panel: u32, run: u32, entry: u32, column: u32) {
  let k4 = 16u * run + entry / 2u;
  columns[entry * STRIDE + column] = weight_words(panel, k4, entry % 2u);
  columns[(entry + 16u) * STRIDE + column] = weight_words(panel, k4 + 8u, entry % 2u);
}
