// Compares every row of a piece with the query. An invocation takes four rows, so that it loads the query once for all of them, and
// every LANES-th vector of each; invocations side by side take the vectors between.
@group(0) @binding(1) var<storage, read> rows: array<vec4<u32>>;      // [rows][STRIDE4]
@group(0) @binding(2) var<storage, read> scales: array<f32>;          // a row, where rows have them
@group(0) @binding(3) var<storage, read> query: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> keys: array<vec4<f32>>; // a row

const BITMAP = 4u; // where it begins in the frame

var<workgroup> parts: array<Sums, GROUP>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let four = group.x * (GROUP / LANES) + lane / LANES;
  // The bitmap may end before the last workgroup does.
  let allowed = 4u * four < frame[0] && ((frame[BITMAP + four / 8u] >> (4u * (four % 8u))) & 15u) != 0u;
  if allowed {
    var sums = Sums();
    for (var column = lane % LANES; column < STRIDE4; column += LANES) {
      sums += products(column, 4u * four * STRIDE4 + column);
    }
    parts[lane] = sums;
  }
  workgroupBarrier();
  if allowed && lane % LANES == 0u {
    var sums = parts[lane];
    for (var i = 1u; i < LANES; i++) {
      sums += parts[lane + i];
    }
    keys[four] = keys_of(sums, 4u * four);
  }
}
