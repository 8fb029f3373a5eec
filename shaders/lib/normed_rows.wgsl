// Layer normalisation of rows of x by a workgroup of INVOCATIONS. In the place of plain_rows.wgsl it is made while rows are fetched, which saves a step that
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
const STEPS = (K4 + 15u) / 16u;

const AT_ONCE = INVOCATIONS / TEAM;

var<workgroup> row_parts: array<vec4<f32>, 16u * AT_ONCE>;  // [rows, 16]
// Of a row, at its number modulo NORMED_ROWS.
var<workgroup> row_sums: array<f32, NORMED_ROWS>;
var<workgroup> row_scales: array<f32, NORMED_ROWS>;

struct Row {
  at: u32,
  sum: f32,
  scale: f32,
  kept: bool,
}

struct Columns {
  gain: vec4<f32>,
  shift: vec4<f32>,
}

// Looks at rows from `first` on, up to `end` and as many more as its invocations have; no more than NORMED_ROWS.
fn rows_begin(first: u32, end: u32, index: u32) {
  if AFFINE {
    return;
  }
  let own = index / TEAM;
  for (var start = first; start < end; start += AT_ONCE) {
    let row = start + own;
    let place = row % NORMED_ROWS;
    if !RMS {
      for (var part = 0u; part < 16u / TEAM; part++) {
        let i = index % TEAM + TEAM * part;
        var sum = vec4<f32>(0.0);
        for (var step = 0u; step < STEPS; step++) {
          let k4 = i + 16u * step;
          if K4 % 16u == 0u || k4 < K4 {
            sum += x[row * K4 + k4]; // Columns past WIDTH are zero.
          }
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
    for (var part = 0u; part < 16u / TEAM; part++) {
      let i = index % TEAM + TEAM * part;
      var squares = vec4<f32>(0.0);
      for (var step = 0u; step < STEPS; step++) {
        let k4 = i + 16u * step;
        if K4 % 16u == 0u || k4 < K4 {
          let four = centred(x[row * K4 + k4], sum, k4);
          squares = fma(four, four, squares);
        }
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
  let less = fma(vec4<f32>(sum), vec4<f32>(-SHARE), four);
  if WIDTH % 4u == 0u {
    return less;
  }
  let column = vec4<u32>(4u * k4) + vec4<u32>(0u, 1u, 2u, 3u);
  return select(vec4<f32>(0.0), less, column < vec4<u32>(WIDTH));
}

fn sum_of_parts(own: u32) -> f32 {
  var sum = row_parts[16u * own];
  for (var i = 1u; i < 16u; i++) {
    sum += row_parts[16u * own + i];
  }
  return (sum.x + sum.y) + (sum.z + sum.w);
}

// A row that was looked at, of which others can read what is kept where it stands before row `kept`.
fn row_of(row: u32, kept: u32) -> Row {
  return Row(row * K4, row_sums[row % NORMED_ROWS], row_scales[row % NORMED_ROWS], row < kept);
}

// What all rows share.
fn columns_of(k4: u32) -> Columns { return Columns(GAIN + gain[k4], shift[k4]); }

fn row_four(row: Row, k4: u32, columns: Columns) -> vec4<f32> {
  var four = x[row.at + k4];
  if !AFFINE {
    four = centred(four, row.sum, k4) * row.scale;
  }
  return fma(four, columns.gain, columns.shift);
}

fn row_keep(row: Row, k4: u32, four: vec4<f32>) {
  if row.kept {
    normed[row.at + k4] = four;
  }
}

// Keeps all of these rows.
fn rows_keep(first: u32, end: u32, index: u32) {
  for (var at = first * K4 + index; at < end * K4; at += INVOCATIONS) {
    normed[at] = row_four(row_of(at / K4, 0u), at % K4, columns_of(at % K4));
  }
}
