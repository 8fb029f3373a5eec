// A token's own row of a table, by its id; without IDS the table's rows in their order.
@group(0) @binding(LARGE_BINDING) var<storage, read> token_table: array<matrix4>;  // [rows of the piece, STRIDE4]

fn own(row: u32, column4: u32) -> vec4<f32> {
  return matrix_load(token_table[(own_id(row) - FIRST) * STRIDE4 + column4]);
}
