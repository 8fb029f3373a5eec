// Candidates are the rows of a piece that are allowed and behind those that were found before.
@group(0) @binding(1) var<storage, read> keys: array<f32>;       // a row
@group(0) @binding(2) var<storage, read> last: array<vec2<u32>>; // the last that was found
@group(0) @binding(3) var<storage, read_write> out: array<vec2<u32>>;

const BITMAP = 4u; // where it begins in the frame

fn candidate(row: u32) -> vec2<u32> {
  if row >= frame[0] || ((frame[BITMAP + row / 32u] >> (row % 32u)) & 1u) == 0u {
    return NONE;
  }
  let hit = vec2<u32>(bitcast<u32>(keys[row]), frame[1] + row);
  return select(NONE, hit, better(last[0], hit));
}
