// A token that lies in its own second range, which is one of the leading tokens of its text, attends to all of its first.
// The others attend to nothing, and keep what `rest` has for them.
@group(0) @binding(REST_BINDING) var<storage, read> rest: array<vec4<f32>>;  // [tokens, HEADS][HEAD4]

const PARTS = 1u;

fn slides(part: u32) -> bool { return false; }

fn leads(row: u32) -> bool { return frame_also_from(row) <= row && row < frame_also_until(row); }

fn seen(row: u32, part: u32) -> vec2<u32> {
  if leads(row) {
    return vec2<u32>(frame_from(row), frame_until(row));
  }
  return vec2<u32>(0u);
}

fn distance(row: u32, key: u32, part: u32) -> i32 { return i32(key) - i32(row); }

fn repeats(row: u32, key: u32) -> f32 { return 1.0; }

fn finished(row: u32, at: u32, attended: vec4<f32>) -> vec4<f32> {
  if leads(row) {
    return attended;
  }
  return rest[at];
}
