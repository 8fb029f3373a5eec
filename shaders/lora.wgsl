// out = epilogue(y + SCALE t up), with the matrix and the part of t that belong to the adapter of the batch; without an
// adapter, epilogue(y). One workgroup a token. A fragment says where t comes from.
@group(0) @binding(1) var<storage, read> y: array<vec4<f32>>;          // [tokens, N4]
@group(0) @binding(2) var<storage, read> up: array<matrix4>;           // [≥ N/8][ADAPTERS][RANK][8], see Layout::LowRank
@group(0) @binding(4) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, N4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let adapter = frame_adapter();
  for (var column4 = lane; column4 < N4; column4 += GROUP) {
    let at = group.x * N4 + column4;
    var sum = vec4<f32>(0.0);
    if adapter < ADAPTERS {
      // A panel has eight columns.
      let first = (column4 / 2u * ADAPTERS + adapter) * RANK4 * 8u + column4 % 2u;
      for (var rank4 = 0u; rank4 < RANK4; rank4++) {
        let t = lora_down(group.x, adapter, rank4);
        let row = first + rank4 * 8u;
        sum += t.x * matrix_load(up[row]) + t.y * matrix_load(up[row + 2u])
          + t.z * matrix_load(up[row + 4u]) + t.w * matrix_load(up[row + 6u]);
      }
    }
    out[at] = epilogue(y[at] + SCALE * sum, at);
  }
}
