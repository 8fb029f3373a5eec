fn score_bias(row: u32, key: u32, part: u32, head: u32) -> f32 { return 0.0; }
