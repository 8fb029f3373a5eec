// x / (1 + exp(-1.702 x)), `quick_gelu` of transformers. The exponent is clamped so that exp stays finite.
fn epilogue(x: vec4<f32>, at: u32) -> vec4<f32> { return x / (1.0 + exp(min(-1.702 * x, vec4<f32>(80.0)))); }
