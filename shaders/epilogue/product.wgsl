// * factor
@group(0) @binding(5) var<storage, read> factor: array<vec4<f32>>;  // [rows, N4]

fn epilogue(x: vec4<f32>, at: u32) -> vec4<f32> { return x * factor[at]; }
