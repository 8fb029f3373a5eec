// Four values of a matrix or table, stored as f16 pairs. Unpacking is exact and needs no device feature.
alias matrix4 = vec2<u32>;

fn matrix_load(stored: matrix4) -> vec4<f32> {
  return vec4<f32>(unpack2x16float(stored.x), unpack2x16float(stored.y));
}
