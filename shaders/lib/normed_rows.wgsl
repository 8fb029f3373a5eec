// Layer normalisation of rows of x by a workgroup of 64. In the place of plain_rows.wgsl it is made while rows are fetched, which saves a step that
// does nothing else:
//   y = (x - mean) / sqrt(variance + EPS) * weight + bias, with a mean of zero where RMS,
// GAIN added to the weight; and y = x * weight + bias where AFFINE
// The variance is taken in a second pass: the one-pass form loses it where |mean| is large.
//
// Of every row there are 16 sums, each of every sixteenth four of columns, which are then added in their order; TEAM invocations share them. Whatever
// TEAM is, the bits are the same: nothing but an fma adds a product, and what is computed twice from a sum stands in memory in between, so
// that there is nothing that a compiler could put in another order.
@group(0) @binding(GAIN_BINDING) var<storage, read> gain: array<vec4<f32>>;              // [K4], zero past WIDTH
@group(0) @binding(BIAS_BINDING) var<storage, read> shift: array<vec4<f32>>;             // [K4], zero past WIDTH
@group(0) @binding(NORMED_BINDING) var<storage, read_write> normed: array<vec4<f32>>;    // [rows, K4]

const SHARE = 1.0 / f32(WIDTH);

var<workgroup> row_parts: array<vec4<f32>, 1024u / TEAM>;  // [64 / TEAM rows, 16]
// Of a row, at its number modulo NORMED_ROWS.
var<workgroup> row_sums: array<f32, NORMED_ROWS>;
var<workgroup> row_scales: array<f32, NORMED_ROWS>;

struct Row {
  at: u32,
  sum: f32,
  scale: f32,
  kept: bool,
}

// Looks at rows from `first` on, up to `end` and as many more as its invocations have; no more than NORMED_ROWS.
fn rows_begin(first: u32, end: u32, index: u32) {
  if AFFINE {
    return;
  }
  let own = index / TEAM;
  for (var start = first; start < end; start += 64u / TEAM) {
    let row = start + own;
    let place = row % NORMED_ROWS;
    if !RMS {
      for (var i = index % TEAM; i < 16u; i += TEAM) {
        var sum = vec4<f32>(0.0);
        for (var k4 = i; k4 < K4; k4 += 16u) {
          sum += x[row * K4 + k4]; // Columns past WIDTH are zero.
        }
        row_parts[16u * own + i] = sum;
      }
      workgroupBarrier();
      if index % TEAM == 0u {
        row_sums[place] = sum_of_parts(own);
      }
      workgroupBarrier();
    }
    let sum = row_sums[place];
    for (var i = index % TEAM; i < 16u; i += TEAM) {
      var squares = vec4<f32>(0.0);
      for (var k4 = i; k4 < K4; k4 += 16u) {
        let four = centred(x[row * K4 + k4], sum, k4);
        squares = fma(four, four, squares);
      }
      row_parts[16u * own + i] = squares;
    }
    workgroupBarrier();
    if index % TEAM == 0u {
      row_scales[place] = inverseSqrt(fma(sum_of_parts(own), SHARE, EPS));
    }
    workgroupBarrier();
  }
}

fn centred(four: vec4<f32>, sum: f32, k4: u32) -> vec4<f32> {
  if RMS {
    return four;
  }
  let column = vec4<u32>(4u * k4) + vec4<u32>(0u, 1u, 2u, 3u);
  return select(vec4<f32>(0.0), fma(vec4<f32>(sum), vec4<f32>(-SHARE), four), column < vec4<u32>(WIDTH));
}

fn sum_of_parts(own: u32) -> f32 {
  var sum = row_parts[16u * own];
  for (var i = 1u; i < 16u; i++) {
    sum += row_parts[16u * own + i];
  }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

// A row that was looked at. What is fetched of it is kept, for others to read, where it stands before row `kept`.
fn row_of(row: u32, kept: u32) -> Row {
  return Row(row * K4, row_sums[row % NORMED_ROWS], row_scales[row % NORMED_ROWS], row < kept);
}

fn row_four(row: Row, k4: u32) -> vec4<f32> {
  var four = x[row.at + k4];
  if !AFFINE {
    four = centred(four, row.sum, k4) * row.scale;
  }
  four = fma(four, GAIN + gain[k4], shift[k4]);
  if row.kept {
    normed[row.at + k4] = four;
  }
  return four;
}

// Keeps all of these rows.
fn rows_keep(first: u32, end: u32, index: u32) {
  for (var i = index; i < (end - first) * K4; i += 64u) {
    _ = row_four(row_of(first + i / K4, end), i % K4);
  }
}
