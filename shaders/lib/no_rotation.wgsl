// Column 4d of head `part` (queries, then keys, then values) of a row, as it is.
fn turned(row: u32, part: u32, d: u32) -> vec4<f32> { return qkv[row * TOKEN4 + part * HEAD4 + d]; }
