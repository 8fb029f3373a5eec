// The bias of a head for the distance of a key from its query; farther than MOST is as far as MOST.
@group(0) @binding(DISTANCE_BINDING) var<storage, read> distances: array<f32>;  // [2 MOST + 1][HEADS]

fn score_bias(row: u32, key: u32, part: u32, head: u32) -> f32 {
  let clamped = clamp(distance(row, key, part), -i32(MOST), i32(MOST));
  return distances[u32(clamped + i32(MOST)) * HEADS + head];
}
