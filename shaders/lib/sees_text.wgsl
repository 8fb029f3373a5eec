// A token attends to its first range, as far as the window goes.
const PARTS = 1u;

fn slides(part: u32) -> bool { return true; }

fn seen(row: u32, part: u32) -> vec2<u32> {
  return vec2<u32>(max(frame_from(row), row - min(row, BEFORE)), min(frame_until(row), row + BEHIND + 1u));
}

// Rows from a query to its key.
fn distance(row: u32, key: u32, part: u32) -> i32 { return i32(key) - i32(row); }

// How often a key counts.
fn repeats(row: u32, key: u32) -> f32 { return 1.0; }

// What is written for what was attended to.
fn finished(row: u32, at: u32, attended: vec4<f32>) -> vec4<f32> { return attended; }
