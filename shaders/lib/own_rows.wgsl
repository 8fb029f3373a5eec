// A token's own row where an earlier step has made them.
@group(0) @binding(1) var<storage, read> own_rows: array<vec4<f32>>;  // [tokens, STRIDE4]

fn own(row: u32, column4: u32) -> vec4<f32> { return own_rows[row * STRIDE4 + column4]; }

fn own_here(row: u32) -> bool { return true; }
