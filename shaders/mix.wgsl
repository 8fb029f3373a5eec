// out = residual + bias + what the experts of a token made of it, each by its weight. One workgroup a token.
@group(0) @binding(1) var<storage, read> parts: array<vec4<f32>>;      // [tokens, TOP, STRIDE4]
@group(0) @binding(2) var<storage, read> routes: array<f32>;           // [tokens, ROUTES_STRIDE]
@group(0) @binding(3) var<storage, read> bias: array<vec4<f32>>;       // [STRIDE4]
@group(0) @binding(4) var<storage, read> residual: array<vec4<f32>>;   // [tokens, STRIDE4]
@group(0) @binding(5) var<storage, read_write> out: array<vec4<f32>>;  // [tokens, STRIDE4]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let token = group.x;
  for (var column4 = lane; column4 < STRIDE4; column4 += GROUP) {
    var sum = vec4<f32>(0.0);
    for (var choice = 0u; choice < TOP; choice++) {
      let weight = routes[token * ROUTES_STRIDE + 2u * choice + 1u];
      sum += weight * parts[(token * TOP + choice) * STRIDE4 + column4];
    }
    out[token * STRIDE4 + column4] = residual[token * STRIDE4 + column4] + (sum + bias[column4]);
  }
}
