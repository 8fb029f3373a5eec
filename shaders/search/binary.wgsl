// Rows are bits. Sums are how many of a row's are not those of the query.
alias Sums = vec4<u32>;

fn products(column: u32, at: u32) -> Sums {
  let x = query[column];
  return Sums(
    apart(x, rows[at]),
    apart(x, rows[at + STRIDE4]),
    apart(x, rows[at + 2u * STRIDE4]),
    apart(x, rows[at + 3u * STRIDE4]),
  );
}

fn apart(a: vec4<u32>, b: vec4<u32>) -> u32 {
  let counts = countOneBits(a ^ b);
  return counts.x + counts.y + counts.z + counts.w;
}

fn keys_of(sums: Sums, row: u32) -> vec4<f32> {
  return vec4<f32>(f32(DIMENSIONS)) - 2.0 * vec4<f32>(sums);
}
