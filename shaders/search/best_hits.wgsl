// Candidates are what is left of every block.
@group(0) @binding(1) var<storage, read> left: array<vec2<u32>>;
@group(0) @binding(2) var<storage, read_write> out: array<vec2<u32>>;

fn candidate(i: u32) -> vec2<u32> {
  if i >= frame[0] {
    return NONE;
  }
  return left[i];
}
