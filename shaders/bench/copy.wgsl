// As many bytes as the device can move: a workgroup copies 16 KiB.
@group(0) @binding(1) var<storage, read> source: array<vec4<f32>>;     // [groups][1024]
@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;  // [groups][1024]

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let first = group.x * 1024u + lane;
  for (var i = 0u; i < 1024u; i += 256u) {
    out[first + i] = source[first + i];
  }
}
