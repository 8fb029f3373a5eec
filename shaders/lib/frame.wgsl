// What changes from batch to batch, written by `Batch::frame` in crate/batch.rs.
@group(0) @binding(0) var<storage, read> frame: array<u32>;

const FRAME_HEADER = 16u;

fn frame_tokens() -> u32 { return frame[0]; }
fn frame_texts() -> u32 { return frame[1]; }
fn frame_dimensions() -> u32 { return frame[2]; }       // columns of the vectors
fn frame_norm_dimensions() -> u32 { return frame[3]; }  // columns whose norm becomes one, 0 for none
fn frame_modes() -> u32 { return frame[4]; }            // poolings to concatenate
fn frame_mode(i: u32) -> u32 { return frame[5u + i]; }
fn frame_picks() -> u32 { return frame[11]; }
fn frame_sharpness() -> f32 { return bitcast<f32>(frame[12]); } // what attention scores are multiplied by

fn frame_adapter() -> u32 { return frame[13]; }         // past the last for none

// One value a token.
fn frame_id(row: u32) -> u32 { return frame[FRAME_HEADER + row]; }
fn frame_position(row: u32) -> u32 { return frame[FRAME_HEADER + frame_tokens() + row]; }
fn frame_type(row: u32) -> u32 { return frame[FRAME_HEADER + 2u * frame_tokens() + row]; }
// Two ranges of rows that the token attends to; the second may be empty.
fn frame_from(row: u32) -> u32 { return frame[FRAME_HEADER + 3u * frame_tokens() + row]; }
fn frame_until(row: u32) -> u32 { return frame[FRAME_HEADER + 4u * frame_tokens() + row]; }
fn frame_also_from(row: u32) -> u32 { return frame[FRAME_HEADER + 5u * frame_tokens() + row]; }
fn frame_also_until(row: u32) -> u32 { return frame[FRAME_HEADER + 6u * frame_tokens() + row]; }

// One value a text; `frame_start(texts)` is one past the last row.
fn frame_start(text: u32) -> u32 { return frame[FRAME_HEADER + 7u * frame_tokens() + text]; }
fn frame_pool_from(text: u32) -> u32 {
  return frame[FRAME_HEADER + 7u * frame_tokens() + frame_texts() + 1u + text];
}

// One value a picked token: its row.
fn frame_pick(i: u32) -> u32 {
  return frame[FRAME_HEADER + 7u * frame_tokens() + 2u * frame_texts() + 1u + i];
}

// Rows of a matrix; `kind` is that of `Rows` in crate/program.rs.
fn frame_rows(kind: u32) -> u32 {
  switch kind {
    case 0u: { return frame_tokens(); }
    case 1u: { return frame_texts(); }
    default: { return frame_picks(); }
  }
}
