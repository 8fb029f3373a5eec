// A matrix by steps of four inputs and eight outputs.
@group(0) @binding(LARGE_BINDING) var<storage, read> weight: array<matrix4>;  // [≥ N/8][K][8], see Layout::Linear

alias Block = u32;

fn weight_block(panel: u32, k4: u32) -> Block { return (panel * K4 + k4) * 8u; }

// The lower four outputs of input i / 2 where i is even, else the upper four.
fn weight_quad(block: Block, i: u32) -> vec4<f32> { return matrix_load(weight[block + i]); }
