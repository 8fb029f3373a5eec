// For each document and query, the sum over the query's vectors of the best product of each with a vector of the document.
// A workgroup takes a document and a query, 32 rows of either at a time: each invocation multiplies four with four.
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;        // [tokens][STRIDE4], the documents
@group(0) @binding(2) var<storage, read> queries: array<vec4<f32>>;  // [rows][STRIDE4]
@group(0) @binding(3) var<storage, read> starts: array<f32>;         // first row of each query, and one past the last
@group(0) @binding(4) var<storage, read_write> out: array<f32>;      // [texts][dimensions], a column a query

const TILE = 32u;
const STEP4 = 8u; // columns that are in workgroup memory at once
const LANES = 8u; // along either side of a tile

var<workgroup> a: array<vec4<f32>, TILE * STEP4>;
var<workgroup> b: array<vec4<f32>, TILE * STEP4>;
var<workgroup> best: array<f32, TILE * LANES>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if group.y >= frame_dimensions() {
    return;
  }
  let from_row = frame_start(group.x);
  let until_row = frame_start(group.x + 1u);
  let from_query = u32(starts[group.y]);
  let until_query = u32(starts[group.y + 1u]);
  let own = 4u * (lane / LANES);
  let other = 4u * (lane % LANES);
  var sum = 0.0;
  // A document without vectors matches nothing.
  for (var query = from_query; query < until_query && from_row < until_row; query += TILE) {
    var highest = vec4<f32>(-3e38);
    for (var row = from_row; row < until_row; row += TILE) {
      // With values: SwiftShader gives a variable of a loop its zero once. Named, not an array: see linear.wgsl.
      var dots0 = vec4<f32>(0.0);
      var dots1 = vec4<f32>(0.0);
      var dots2 = vec4<f32>(0.0);
      var dots3 = vec4<f32>(0.0);
      for (var step = 0u; step < STRIDE4; step += STEP4) {
        for (var i = lane; i < TILE * STEP4; i += GROUP) {
          let column = step + i % STEP4;
          a[i] = vec4<f32>(0.0);
          b[i] = vec4<f32>(0.0);
          if column < STRIDE4 {
            // Rows past the end repeat the last, whose products change no maximum.
            a[i] = queries[min(query + i / STEP4, until_query - 1u) * STRIDE4 + column];
            b[i] = x[min(row + i / STEP4, until_row - 1u) * STRIDE4 + column];
          }
        }
        workgroupBarrier();
        for (var c = 0u; c < STEP4; c++) {
          let rows = transpose(mat4x4<f32>(
            b[other * STEP4 + c], b[(other + 1u) * STEP4 + c], b[(other + 2u) * STEP4 + c], b[(other + 3u) * STEP4 + c],
          ));
          dots0 += rows * a[own * STEP4 + c];
          dots1 += rows * a[(own + 1u) * STEP4 + c];
          dots2 += rows * a[(own + 2u) * STEP4 + c];
          dots3 += rows * a[(own + 3u) * STEP4 + c];
        }
        workgroupBarrier();
      }
      highest = max(highest, vec4<f32>(largest(dots0), largest(dots1), largest(dots2), largest(dots3)));
    }
    for (var i = 0u; i < 4u; i++) {
      best[(own + i) * LANES + lane % LANES] = highest[i];
    }
    workgroupBarrier();
    if lane < min(TILE, until_query - query) {
      var most = best[lane * LANES];
      for (var i = 1u; i < LANES; i++) {
        most = max(most, best[lane * LANES + i]);
      }
      sum += most;
    }
    workgroupBarrier();
  }
  let total = workgroup_sum(sum, lane);
  if lane == 0u {
    out[group.x * frame_dimensions() + group.y] = total;
  }
}

fn largest(x: vec4<f32>) -> f32 {
  return max(max(x.x, x.y), max(x.z, x.w));
}
