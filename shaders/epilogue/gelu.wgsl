// x Φ(x), `gelu` of PyTorch. Φ through erf by Abramowitz & Stegun 7.1.26, absolute error 5e-7.
fn erf(x: vec4<f32>) -> vec4<f32> {
  let t = 1.0 / (1.0 + 0.3275911 * abs(x));
  let poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return sign(x) * (1.0 - poly * exp(-x * x));
}

fn epilogue(x: vec4<f32>, at: u32) -> vec4<f32> { return 0.5 * x * (1.0 + erf(x * 0.70710678)); }
