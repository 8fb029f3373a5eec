fn distance_bias(query: u32, key: u32, head: u32) -> f32 { return 0.0; }
