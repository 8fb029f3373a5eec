// 1 / max(‖row‖, 1e-12), the scale of `torch.nn.functional.normalize`; `squares` is the lane's share.
fn normalize_scale(squares: f32, lane: u32) -> f32 {
  return 1.0 / max(sqrt(workgroup_sum(squares, lane)), 1e-12);
}
