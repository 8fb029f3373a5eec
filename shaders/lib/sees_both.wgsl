// A token attends to its first range, as far as the window goes, and to all of its second that stands in front of that, or
// behind the first.
const PARTS = 2u;

fn slides(part: u32) -> bool { return part == 0u; }

fn seen(row: u32, part: u32) -> vec2<u32> {
  let from_row = max(frame_from(row), row - min(row, BEFORE));
  if part == 1u {
    let in_front = frame_also_from(row) < frame_until(row);
    return vec2<u32>(frame_also_from(row), select(frame_also_until(row), min(frame_also_until(row), from_row), in_front));
  }
  return vec2<u32>(from_row, min(frame_until(row), row + BEHIND + 1u));
}

// Rows from a query to its key; a text in front of the token's own counts as standing right in front of it.
fn distance(row: u32, key: u32, part: u32) -> i32 {
  let gap = select(0u, frame_from(row) - frame_also_until(row), part == 1u && frame_also_until(row) <= frame_from(row));
  return i32(key + gap) - i32(row);
}

// How often a key counts.
fn repeats(row: u32, key: u32) -> f32 { return 1.0; }

// What is written for what was attended to.
fn finished(row: u32, at: u32, attended: vec4<f32>) -> vec4<f32> { return attended; }
