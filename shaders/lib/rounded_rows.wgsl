// Rows in integers of seven bits, as crate/host/int8.rs makes them: x = low + step q in runs of 64 inputs, of which a workgroup of 128 has 64
// at a time. Each of four neighbours has a share of a run: every fourth four of inputs, so that they fetch what lies together.

// More than there are runs, so that the four shares begin in other banks.
const STEP = 72u;

var<workgroup> share_ranges: array<vec2<f32>, 256>;     // [64 runs, 4 shares]: lowest and highest
var<workgroup> ranges: array<vec2<f32>, 64>;            // [64 runs]: low and step
var<workgroup> rounded: array<u32, 16u * STEP>;          // [16 fours of inputs, 64 runs]

struct Share {
  a: vec4<f32>,
  b: vec4<f32>,
  c: vec4<f32>,
  d: vec4<f32>,
}

// A share of a row's run. Behind the last input it is the last four again, which change no range.
fn share_fetch(row: u32, run: u32, share: u32) -> Share {
  let k4 = 16u * run + share;
  return Share(share_four(row, k4), share_four(row, k4 + 4u), share_four(row, k4 + 8u), share_four(row, k4 + 12u));
}

fn share_four(row: u32, k4: u32) -> vec4<f32> { return x[row * K4 + min(k4, K4 - 1u)]; }

// An infinite one where a value is infinite or no number, which min and max may leave out: the row must not come out as if it had been.
fn share_range(share: Share) -> vec2<f32> {
  let low = min(min(share.a, share.b), min(share.c, share.d));
  let high = max(max(share.a, share.b), max(share.c, share.d));
  let most = max(max(size_bits(share.a), size_bits(share.b)), max(size_bits(share.c), size_bits(share.d)));
  let bits = min(max(max(most.x, most.y), max(most.z, most.w)), 0x7f800000u);
  let highest = max(max(high.x, high.y), max(high.z, high.w));
  return vec2<f32>(min(min(low.x, low.y), min(low.z, low.w)), select(highest, bitcast<f32>(bits), bits == 0x7f800000u));
}

// Bits that are ordered as the values without their signs, numbers before what is none.
fn size_bits(x: vec4<f32>) -> vec4<u32> { return bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu); }

// Rounds share `index % 4` of run `index / 4` of the workgroup, once the ranges of all shares are there. Behind the last input there are zeros.
fn share_round(share: Share, index: u32, run: u32) {
  let own = index / 4u;
  let first = share_ranges[4u * own];
  let second = share_ranges[4u * own + 1u];
  let third = share_ranges[4u * own + 2u];
  let fourth = share_ranges[4u * own + 3u];
  let low = min(min(first.x, second.x), min(third.x, fourth.x));
  let step = (max(max(first.y, second.y), max(third.y, fourth.y)) - low) / 127.0;
  let factor = select(0.0, 1.0 / step, step > 0.0);
  if index % 4u == 0u {
    ranges[own] = vec2<f32>(low, step);
  }
  let k4 = 16u * run + index % 4u;
  let at = index % 4u * STEP + own;
  rounded[at] = share_word(share.a, low, factor, k4);
  rounded[at + 4u * STEP] = share_word(share.b, low, factor, k4 + 4u);
  rounded[at + 8u * STEP] = share_word(share.c, low, factor, k4 + 8u);
  rounded[at + 12u * STEP] = share_word(share.d, low, factor, k4 + 12u);
}

fn share_word(x: vec4<f32>, low: f32, factor: f32, k4: u32) -> u32 {
  let scaled = min((x - vec4<f32>(low)) * factor, vec4<f32>(127.0));
  return select(0u, pack4xU8(vec4<u32>(round(scaled))), k4 < K4);
}
