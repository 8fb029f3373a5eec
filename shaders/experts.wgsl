// Products of rows with the matrices of the experts that their tokens chose: out[t, c] = epilogue(x weight[e]ᵀ) for each
// choice c = e of token t. Nothing is computed for experts that were not chosen.
//
// A workgroup lists which choices of TOKENS tokens fell on its expert, and makes 64 columns for them, 32 choices at a time
// in the way of linear.wgsl. A row's sums do not depend on what else is on the list.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // [tokens, K4], [tokens, TOP, K4] where CHOSEN
@group(0) @binding(2) var<storage, read> routes: array<f32>;           // [tokens, ROUTES_STRIDE]
@group(0) @binding(3) var<storage, read> weight: array<matrix4>;       // [EXPERTS, PANELS, K, 8], see Layout::Experts
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, TOP, N4]

var<workgroup> listed: array<u32, TOKENS * TOP>;
var<workgroup> count: u32;

@compute @workgroup_size(8, 8)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) local: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let expert = group.y / (PANELS / 8u);
  let panel = group.y % (PANELS / 8u) * 8u + local.x;
  if lane == 0u {
    let end = min((group.x + 1u) * TOKENS, frame_tokens());
    var found = 0u;
    for (var choice = group.x * TOKENS * TOP; choice < end * TOP; choice++) {
      let chosen = routes[choice / TOP * ROUTES_STRIDE + 2u * (choice % TOP)];
      if u32(clamp(chosen, 0.0, f32(EXPERTS - 1u))) == expert {
        listed[found] = choice;
        found++;
      }
    }
    count = found;
  }
  workgroupBarrier();
  for (var first = local.y * 4u; first < count; first += 32u) {
    // Rows past the end of the list repeat its last one and are not written.
    let row0 = row_of(first);
    let row1 = row_of(first + 1u);
    let row2 = row_of(first + 2u);
    let row3 = row_of(first + 3u);
    var low0 = vec4<f32>(0.0);
    var low1 = vec4<f32>(0.0);
    var low2 = vec4<f32>(0.0);
    var low3 = vec4<f32>(0.0);
    var high0 = vec4<f32>(0.0);
    var high1 = vec4<f32>(0.0);
    var high2 = vec4<f32>(0.0);
    var high3 = vec4<f32>(0.0);
    for (var k4 = 0u; k4 < K4; k4++) {
      let x0 = x[row0 * K4 + k4];
      let x1 = x[row1 * K4 + k4];
      let x2 = x[row2 * K4 + k4];
      let x3 = x[row3 * K4 + k4];
      let at = ((expert * PANELS + panel) * K4 + k4) * 8u;
      var a = matrix_load(weight[at]);
      var b = matrix_load(weight[at + 2u]);
      var c = matrix_load(weight[at + 4u]);
      var d = matrix_load(weight[at + 6u]);
      low0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
      low1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
      low2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
      low3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
      a = matrix_load(weight[at + 1u]);
      b = matrix_load(weight[at + 3u]);
      c = matrix_load(weight[at + 5u]);
      d = matrix_load(weight[at + 7u]);
      high0 += x0.x * a + x0.y * b + x0.z * c + x0.w * d;
      high1 += x1.x * a + x1.y * b + x1.z * c + x1.w * d;
      high2 += x2.x * a + x2.y * b + x2.z * c + x2.w * d;
      high3 += x3.x * a + x3.y * b + x3.z * c + x3.w * d;
    }
    write(first, panel, low0, high0);
    write(first + 1u, panel, low1, high1);
    write(first + 2u, panel, low2, high2);
    write(first + 3u, panel, low3, high3);
  }
}

// The row of x for an entry of the list.
fn row_of(entry: u32) -> u32 {
  let choice = listed[min(entry, count - 1u)];
  return select(choice / TOP, choice, CHOSEN);
}

fn write(entry: u32, panel: u32, low: vec4<f32>, high: vec4<f32>) {
  if entry >= count {
    return;
  }
  let column4 = 2u * panel;
  let at = listed[entry] * N4 + column4;
  if column4 < N4 {
    out[at] = epilogue(low, at);
  }
  if column4 + 1u < N4 {
    out[at + 1u] = epilogue(high, at + 1u);
  }
}
