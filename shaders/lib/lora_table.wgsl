// t of a table, by the token's id; without IDS by its type.
@group(0) @binding(3) var<storage, read> down: array<matrix4>;  // [ADAPTERS, TABLE_ROWS, RANK4]

fn lora_down(row: u32, adapter: u32, rank4: u32) -> vec4<f32> {
  var id = frame_type(row);
  if IDS { id = frame_id(row); }
  return matrix_load(down[(adapter * TABLE_ROWS + id) * RANK4 + rank4]);
}
