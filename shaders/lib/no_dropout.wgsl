// What a token's own row is multiplied by.
fn own_scale(row: u32, lane: u32) -> f32 { return SCALE; }
