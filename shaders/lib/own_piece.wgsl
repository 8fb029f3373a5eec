// Which row of the table is a token's own, and whether it is in the piece of the table that is bound.
fn own_id(row: u32) -> u32 {
  if IDS { return frame_id(row); }
  return row;
}

fn own_here(row: u32) -> bool {
  let id = own_id(row);
  return id >= FIRST && id - FIRST < COUNT;
}
