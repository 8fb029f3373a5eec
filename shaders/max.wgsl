// The largest value of each row and its column, of equal ones the first. One workgroup a row.
@group(0) @binding(1) var<storage, read> x: array<f32>;               // [tokens, STRIDE]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>; // [tokens], the column and the value

var<workgroup> values: array<f32, GROUP>;
var<workgroup> columns: array<u32, GROUP>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  var value = -3e38;
  var column = 0u;
  for (var i = lane; i < WIDTH; i += GROUP) {
    let other = x[group.x * STRIDE + i];
    // In rising order, so that the first stays.
    if other > value {
      value = other;
      column = i;
    }
  }
  values[lane] = value;
  columns[lane] = column;
  workgroupBarrier();
  for (var half = GROUP / 2u; half > 0u; half /= 2u) {
    if lane < half {
      let other = values[lane + half];
      let further = columns[lane + half];
      if other > values[lane] || (other == values[lane] && further < columns[lane]) {
        values[lane] = other;
        columns[lane] = further;
      }
    }
    workgroupBarrier();
  }
  if lane == 0u {
    out[group.x] = vec4<f32>(f32(columns[0]), values[0], 0.0, 0.0);
  }
}
