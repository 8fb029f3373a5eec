// lib/product.wgsl of a matrix in bytes, for few rows: it is read once, by as many workgroups as there can be.
//
// A workgroup of 128 makes 16 rows x one panel of 8 columns, four runs of 64 inputs at a time. It rounds those of its rows; then an invocation has
// 4 rows x 4 columns of a share of a run. The sums of shares are exact, and runs are added in their order, so that the bits are those of
// linear_int8.wgsl. Rows past the batch are computed from whatever lies there and not written.

var<workgroup> sums: array<vec4<i32>, 512>;   // [16 rows, 2 halves of the panel, 4 runs, 4 shares]
var<workgroup> totals: array<vec4<f32>, 32>;  // [16 rows, 2 halves of the panel]

@compute @workgroup_size(128)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let panel = group.y * 8u + group.z;
  // What it multiplies. As runs are rounded, row r of run i is run 16 i + r of the workgroup.
  let half = index % 2u;
  let share = index / 2u % 4u;
  let own_run = index / 8u % 4u;
  let rows = index / 32u * 4u;
  // What it rounds: the same row of two runs that lie two apart.
  let row = group.x * 16u + index / 4u % 16u;
  let near_run = index / 64u;
  var total = vec4<f32>(0.0);
  for (var first = 0u; first < RUNS; first += 4u) {
    // Asked for first, so that they come while rows are rounded.
    let k4 = 16u * (first + own_run) + share;
    let a = weight_words(panel, k4, half);
    let b = weight_words(panel, k4 + 4u, half);
    let c = weight_words(panel, k4 + 8u, half);
    let d = weight_words(panel, k4 + 12u, half);
    let near = share_fetch(row, first + near_run, index % 4u);
    let far = share_fetch(row, first + near_run + 2u, index % 4u);
    share_ranges[index] = share_range(near);
    share_ranges[index + 128u] = share_range(far);
    workgroupBarrier();
    share_round(near, index, first + near_run);
    share_round(far, index + 128u, first + near_run + 2u);
    workgroupBarrier();
    for (var i = 0u; i < 4u; i++) {
      let at = share * STEP + 16u * own_run + rows + i;
      sums[((2u * (rows + i) + half) * 4u + own_run) * 4u + share] = weight_dots(a, rounded[at])
        + weight_dots(b, rounded[at + 4u * STEP]) + weight_dots(c, rounded[at + 8u * STEP]) + weight_dots(d, rounded[at + 12u * STEP]);
    }
    workgroupBarrier();
    if index < 32u {
      for (var run = 0u; run < min(4u, RUNS - first); run++) {
        let at = 16u * index + 4u * run;
        let sum = sums[at] + sums[at + 1u] + sums[at + 2u] + sums[at + 3u];
        total = weight_add(total, sum, panel, first + run, index % 2u, ranges[16u * run + index / 2u]);
      }
    }
  }
  if index < 32u {
    totals[index] = total;
  }
  workgroupBarrier();
  if index < 16u {
    product_write(group.x * 16u + index, panel, totals[2u * index], totals[2u * index + 1u]);
  }
}
