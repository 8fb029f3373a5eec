// A token's own, type, position and task rows summed and normalised, one workgroup a row. A fragment says where its own row
// comes from, and whether it is there: of a table in pieces each dispatch has one.
// Ids are checked against the tables on the host: a shader would silently read another row.
@group(0) @binding(2) var<storage, read> position_table: array<matrix4>;  // [positions, STRIDE4]
@group(0) @binding(3) var<storage, read> type_table: array<matrix4>;      // [types, STRIDE4]
@group(0) @binding(4) var<storage, read> task_table: array<matrix4>;      // [tasks, STRIDE4]
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;     // [tokens, STRIDE4]

const GAIN_BINDING = 6;
const BIAS_BINDING = 7;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  if !own_here(group.x) {
    return;
  }
  let kind = frame_type(group.x) * STRIDE4;
  let position = frame_position(group.x) * STRIDE4;
  let scale = own_scale(group.x, lane);
  var row: array<vec4<f32>, PER_LANE>;
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      var sum = scale * own(group.x, column4);
      if TYPES { sum += matrix_load(type_table[kind + column4]); }
      if POSITIONS { sum += matrix_load(position_table[position + column4]); }
      if TASKS { sum += matrix_load(task_table[column4]); }
      row[i] = sum;
    }
  }
  layer_norm(&row, lane);
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      out[group.x * STRIDE4 + column4] = row[i];
    }
  }
}
