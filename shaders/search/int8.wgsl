// Rows are signed bytes, four a word; the query is words. Sums are exact, see `Shape::query` in crate/search/shape.rs.
alias Sums = vec4<i32>;

// Of sixteen values of the query with those of four rows, the first of which begin at `at`.
fn products(column: u32, at: u32) -> Sums {
  let a = bitcast<vec4<i32>>(query[4u * column]);
  let b = bitcast<vec4<i32>>(query[4u * column + 1u]);
  let c = bitcast<vec4<i32>>(query[4u * column + 2u]);
  let d = bitcast<vec4<i32>>(query[4u * column + 3u]);
  return Sums(
    product(a, b, c, d, rows[at]),
    product(a, b, c, d, rows[at + STRIDE4]),
    product(a, b, c, d, rows[at + 2u * STRIDE4]),
    product(a, b, c, d, rows[at + 3u * STRIDE4]),
  );
}

fn product(a: vec4<i32>, b: vec4<i32>, c: vec4<i32>, d: vec4<i32>, codes: vec4<u32>) -> i32 {
  return dot(a, unpacked(codes.x)) + dot(b, unpacked(codes.y)) + dot(c, unpacked(codes.z)) + dot(d, unpacked(codes.w));
}

fn unpacked(word: u32) -> vec4<i32> {
  return (vec4<i32>(bitcast<i32>(word)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u);
}

// One product each, which no compiler can round otherwise than the host does.
fn keys_of(sums: Sums, row: u32) -> vec4<f32> {
  return vec4<f32>(sums) * vec4<f32>(scales[row], scales[row + 1u], scales[row + 2u], scales[row + 3u]);
}
