// What a token's own row is multiplied by where masks count as tokens that were dropped: nothing of a mask, and of the others
// as much as keeps the sum what it was in training, where a share of TRAINED was masked.
fn own_scale(row: u32, lane: u32) -> f32 {
  let first = frame_from(row);
  let end = frame_until(row);
  var masks = 0.0;
  for (var i = first + lane; i < end; i += GROUP) {
    masks += select(0.0, 1.0, frame_id(i) == MASK);
  }
  let share = workgroup_sum(masks, lane) / f32(end - first);
  if frame_id(row) == MASK {
    return 0.0;
  }
  return SCALE * (1.0 - TRAINED) / (1.0 - share);
}
