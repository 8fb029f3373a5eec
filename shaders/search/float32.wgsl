// Rows are their values.
alias Sums = vec4<f32>;

// Of a vector of the query with those of four rows, the first of which is `at`.
fn products(column: u32, at: u32) -> Sums {
  let x = bitcast<vec4<f32>>(query[column]);
  return Sums(
    dot(x, bitcast<vec4<f32>>(rows[at])),
    dot(x, bitcast<vec4<f32>>(rows[at + STRIDE4])),
    dot(x, bitcast<vec4<f32>>(rows[at + 2u * STRIDE4])),
    dot(x, bitcast<vec4<f32>>(rows[at + 3u * STRIDE4])),
  );
}

fn keys_of(sums: Sums, row: u32) -> vec4<f32> {
  return sums;
}
