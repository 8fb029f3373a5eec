// Layer normalisation of a row that a workgroup holds in registers: lane l has columns 4(l + GROUP i).
//   y = (x - mean) / sqrt(variance + EPS) * weight + bias, with a mean of zero where RMS,
// and GAIN added to the weight
// The variance is taken in a second pass: the one-pass form loses it where |mean| is large.
@group(0) @binding(GAIN_BINDING) var<storage, read> gain: array<vec4<f32>>;  // [STRIDE4], zero past WIDTH
@group(0) @binding(BIAS_BINDING) var<storage, read> shift: array<vec4<f32>>; // [STRIDE4], zero past WIDTH

const STRIDE4 = (WIDTH + 3u) / 4u;
const PER_LANE = (STRIDE4 + GROUP - 1u) / GROUP;

fn layer_norm(row: ptr<function, array<vec4<f32>, PER_LANE>>, lane: u32) {
  var mean = 0.0;
  if !RMS {
    for (var i = 0u; i < PER_LANE; i++) {
      mean += dot((*row)[i], vec4<f32>(1.0)); // Columns past WIDTH are zero.
    }
    mean = workgroup_sum(mean, lane) / f32(WIDTH);
  }
  var squares = 0.0;
  for (var i = 0u; i < PER_LANE; i++) {
    let column = vec4<u32>(4u * (lane + GROUP * i)) + vec4<u32>(0u, 1u, 2u, 3u);
    let centred = select(vec4<f32>(0.0), (*row)[i] - mean, column < vec4<u32>(WIDTH));
    (*row)[i] = centred;
    squares += dot(centred, centred);
  }
  let scale = inverseSqrt(workgroup_sum(squares, lane) / f32(WIDTH) + EPS);
  for (var i = 0u; i < PER_LANE; i++) {
    let column4 = lane + GROUP * i;
    if column4 < STRIDE4 {
      (*row)[i] = (*row)[i] * scale * (GAIN + gain[column4]) + shift[column4];
    }
  }
}
