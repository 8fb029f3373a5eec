// Sorts a block of hits, best first, and keeps some: a bitonic sort in workgroup memory. A hit is the bits of its key, and its row.
const GROUP = 256u;
const KEPT = 3u;        // where in the frame: how many to keep,
const FIRST_BLOCK = 2u; // and the first block to be written
// Of rows that are not there: worse than any that is.
const NONE = vec2<u32>(0xff7fffffu, 0xffffffffu);

var<workgroup> hits: array<vec2<u32>, BLOCK>;

// Of two with one key the lower row is better. Compared as floats, so that there is one zero.
fn better(a: vec2<u32>, b: vec2<u32>) -> bool {
  let x = bitcast<f32>(a.x);
  let y = bitcast<f32>(b.x);
  return x > y || (x == y && a.y < b.y);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  for (var i = lane; i < BLOCK; i += GROUP) {
    hits[i] = candidate(group.x * BLOCK + i);
  }
  for (var size = 2u; size <= BLOCK; size *= 2u) {
    for (var step = size / 2u; step > 0u; step /= 2u) {
      workgroupBarrier();
      for (var i = lane; i < BLOCK / 2u; i += GROUP) {
        let a = 2u * i - (i & (step - 1u));
        let b = a + step;
        let first = hits[a];
        let second = hits[b];
        // Every other run the other way round, so that each two make a bitonic one.
        if better(second, first) == ((a & size) == 0u) {
          hits[a] = second;
          hits[b] = first;
        }
      }
    }
  }
  workgroupBarrier();
  for (var i = lane; i < frame[KEPT]; i += GROUP) {
    out[(frame[FIRST_BLOCK] + group.x) * frame[KEPT] + i] = hits[i];
  }
}
