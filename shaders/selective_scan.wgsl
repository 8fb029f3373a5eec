// y[t] = (h[t] C[t] + skip x[t]) silu(gate[t]) for each channel, where h[t] = exp(dt[t] A) h[t-1] + dt[t] x[t] B[t] are its
// states, dt = softplus(step) and A = -exp(decay). Source: "Mamba", arXiv 2312.00752, algorithm 2.
//
// One text a workgroup along x, one channel an invocation: row after row, with the states in registers.
@group(0) @binding(1) var<storage, read> x: array<f32>;                // [tokens, STRIDE]
@group(0) @binding(2) var<storage, read> steps: array<f32>;            // [tokens, STRIDE]
@group(0) @binding(3) var<storage, read> selection: array<f32>;        // [tokens, SELECTION], from SELECTED on B and C
@group(0) @binding(4) var<storage, read> gate: array<f32>;             // [tokens, GATE], from GATED on
@group(0) @binding(5) var<storage, read> decay: array<f32>;            // [STRIDE / 8][STATES_STRIDE][8]
@group(0) @binding(6) var<storage, read> skip: array<f32>;             // [STRIDE]
@group(0) @binding(7) var<storage, read_write> out: array<f32>;        // [tokens, STRIDE]

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let channel = group.y * GROUP + lane;
  if channel >= STRIDE {
    return;
  }
  var rates: array<f32, STATES>;
  var held: array<f32, STATES>;
  for (var state = 0u; state < STATES; state++) {
    rates[state] = -exp(decay[(channel / 8u * STATES_STRIDE + state) * 8u + channel % 8u]);
  }
  let first = frame_start(group.x);
  let last = frame_start(group.x + 1u) - 1u;
  for (var i = 0u; i <= last - first; i++) {
    let row = select(first + i, last - i, BACKWARD);
    let at = row * STRIDE + channel;
    let dt = softplus(steps[at]);
    let input = dt * x[at];
    let selected = row * SELECTION + SELECTED;
    var y = skip[channel] * x[at];
    for (var state = 0u; state < STATES; state++) {
      held[state] = exp(dt * rates[state]) * held[state] + input * selection[selected + state];
      y += held[state] * selection[selected + STATES + state];
    }
    let z = gate[row * GATE + GATED + channel];
    out[at] = y * z / (1.0 + exp(min(-z, 80.0)));
  }
}

// ln(1 + exp(v)), and v where that is v. What rounding loses of a small exponential, the quotient gives back.
fn softplus(v: f32) -> f32 {
  if v > 20.0 {
    return v;
  }
  let e = exp(v);
  let sum = 1.0 + e;
  if sum == 1.0 {
    return e;
  }
  return log(sum) * e / (sum - 1.0);
}
