// As many multiplications and additions as the device can do: eight independent chains an invocation, nothing read.
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;  // [invocations]

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  // Not known before, so that nothing can be computed ahead.
  let m = vec4<f32>(1.0 - f32(frame[0]) * 1e-3);
  let c = vec4<f32>(f32(id.x) * 1e-9);
  var a0 = c;
  var a1 = c + 1.0;
  var a2 = c + 2.0;
  var a3 = c + 3.0;
  var a4 = c + 4.0;
  var a5 = c + 5.0;
  var a6 = c + 6.0;
  var a7 = c + 7.0;
  for (var i = 0u; i < LOOPS; i++) {
    a0 = a0 * m + c;
    a1 = a1 * m + c;
    a2 = a2 * m + c;
    a3 = a3 * m + c;
    a4 = a4 * m + c;
    a5 = a5 * m + c;
    a6 = a6 * m + c;
    a7 = a7 * m + c;
  }
  out[id.x] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
}
