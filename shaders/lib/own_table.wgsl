// A token's own row of a table, by its id; without IDS the table's rows in their order.
@group(0) @binding(1) var<storage, read> token_table: array<matrix4>;  // [vocab, STRIDE4]

fn own(row: u32, column4: u32) -> vec4<f32> {
  var id = row;
  if IDS { id = frame_id(row); }
  return matrix_load(token_table[id * STRIDE4 + column4]);
}
