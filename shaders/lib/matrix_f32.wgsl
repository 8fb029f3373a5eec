// Four values of a matrix or table, stored as f32.
alias matrix4 = vec4<f32>;

fn matrix_load(stored: matrix4) -> vec4<f32> { return stored; }
