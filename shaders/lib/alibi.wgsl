// What a head's scores lose with the distance of a key from its query, both ways. Source: ALiBi, arXiv 2108.12409.
fn score_bias(row: u32, key: u32, part: u32, head: u32) -> f32 {
  var slopes = SLOPES;
  return -slopes[head] * f32(abs(distance(row, key, part)));
}
