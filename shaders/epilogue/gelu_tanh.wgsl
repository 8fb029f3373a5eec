// x/2 (1 + tanh(sqrt(2/π) (x + 0.044715 x³))), `gelu_new` and `gelu_pytorch_tanh` of transformers.
// tanh overflows to NaN in some drivers, so its argument is clamped where the result is 1 in f32 anyway.
fn epilogue(x: vec4<f32>, at: u32) -> vec4<f32> {
  let inner = clamp(0.7978845608 * (x + 0.044715 * x * x * x), vec4<f32>(-10.0), vec4<f32>(10.0));
  return 0.5 * x * (1.0 + tanh(inner));
}
